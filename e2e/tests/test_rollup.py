"""status.gitops: what the real Flux says of a cluster, kept up by watching it; and a cluster that does not answer."""

from __future__ import annotations

import datetime
import time

import pytest
import yaml

from fleet import API
from fleet.manifests import cluster, flux
from fleet.environment import Environment, environment, until
from keelson_harness.kubeapi import conditions

FLUX = "flux-system"
NAMED = (API, "EksCluster", "rollup")
KUSTOMIZATION = "kustomize.toolkit.fluxcd.io/v1"
HELM_RELEASE = ("helm.toolkit.fluxcd.io/v2", "HelmRelease", "redis")
PATH = "clusters/rollup"
INTERVAL = 3


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start("--drift-interval=5s")


@pytest.fixture(scope="module")
def repository(on):
    made = on.cloud.git.repository("rollup")
    made.commit({f"{PATH}/one.yaml": config_map("one")})
    return made


@pytest.fixture(scope="module")
def item(on: Environment, operator, repository) -> dict:
    gitops = flux(repository.url, PATH, interval=f"{INTERVAL}s")
    made = cluster("rollup", addons=[{"name": "vpc-cni"}], gitops=gitops)
    on.apply(made)
    on.ready(made)
    return made


def config_map(name: str) -> str:
    metadata = {"name": name, "namespace": "default"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def kustomization(name: str, **spec: object) -> str:
    """One that the root applies, of a folder beside it."""
    source = {"kind": "GitRepository", "name": FLUX}
    body = {
        "apiVersion": KUSTOMIZATION,
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": FLUX},
        "spec": {
            "interval": "1m",
            "retryInterval": "5s",
            "path": f"./apps/{name}",
            "prune": True,
            "sourceRef": source,
            **spec,
        },
    }
    return yaml.safe_dump(body)


def gitops(on: Environment) -> dict:
    return on.api.get(*NAMED)["status"]["gitops"]


def metric(operator, name: str) -> float | None:
    lines = operator.metrics().splitlines()
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"keelson_gitops_{name}")]
    return found[0] if found else None


def await_watch(operator, count: int = 1) -> None:
    until(lambda: metric(operator, "watches") == count, 30, f"{count} watches")


def await_applied(on: Environment, head: str, seconds: float = 30) -> None:
    wanted = f"main@sha1:{head}"
    until(lambda: gitops(on).get("lastAppliedRevision") == wanted, seconds, f"{head} in status")


def failing(on: Environment) -> list[tuple[str, str, str]]:
    return [(f["kind"], f["name"], f["reason"]) for f in gitops(on).get("failing", [])]


def told(on: Environment, item: dict, reason: str, words: str = "") -> list[str]:
    return [e["note"] for e in on.events(item) if e["reason"] == reason and words in e["note"]]


def lag(on: Environment, repository, name: str) -> tuple[float, float]:
    """Seconds from a commit to status showing it applied, and of these since Flux itself said so."""
    head = repository.commit({f"{PATH}/{name}.yaml": config_map(name)})
    began, wanted = time.monotonic(), f"main@sha1:{head}"

    def by_flux() -> bool:
        root = on.cloud.workload.api.get(KUSTOMIZATION, "Kustomization", FLUX, FLUX)
        return root["status"].get("lastAppliedRevision") == wanted

    # After an outage of its API server Flux comes back with pauses of its own.
    until(by_flux, 90, "Flux")
    at_flux = time.monotonic()
    await_applied(on, head)
    now = time.monotonic()
    return now - began, now - at_flux


def test_status_tells_agent_source_and_what_runs(on, item, repository):
    status = gitops(on)
    head = repository.commit()
    await_applied(on, head)
    status = gitops(on)
    revision = f"main@sha1:{head}"
    assert {name: status[name] for name in ("agent", "url", "adopted", "revision")} == {
        "agent": "flux",
        "url": repository.url,
        "adopted": False,
        "revision": head[:7],
    }
    for name in ("sourceRevision", "lastAttemptedRevision", "lastAppliedRevision"):
        assert status[name] == revision
    assert status["objects"] == {"running": 1, "failing": 0, "suspended": 0}
    assert "failing" not in status and "unreachableSince" not in status
    assert status["inventory"] == 1
    # In a moment, when the last of them has said so.
    names = ("helm-controller", "kustomize-controller", "notification-controller", "source-controller")
    running = [{"name": name, "ready": True} for name in names]
    until(lambda: gitops(on)["components"] == running, 20, "all components")


def test_a_commit_is_in_status_within_the_interval_and_two_seconds(
    on, operator, item, repository, capsys
):
    await_watch(operator)
    lags = [lag(on, repository, f"lag-{number}") for number in range(3)]
    with capsys.disabled():
        told = ", ".join(f"{whole:.1f} s ({ours:.1f} s after Flux)" for whole, ours in lags)
        print(f"\n  from a commit to status.gitops, interval {INTERVAL} s: {told}")
    assert max(ours for _, ours in lags) < 2
    # Of Flux's own time a machine with much else to do takes more now and then.
    assert min(whole for whole, _ in lags) < INTERVAL + 2


def test_what_fails_below_the_root_is_named_and_what_waits_for_it_is_not(on, item, repository):
    files = {
        f"{PATH}/infra.yaml": kustomization("infra"),
        f"{PATH}/web.yaml": kustomization("web", dependsOn=[{"name": "infra"}]),
        "apps/infra/broken.yaml": "kind: ConfigMap\n  apiVersion: [",
        "apps/web/web.yaml": config_map("web"),
    }
    await_applied(on, repository.commit(files))
    until(lambda: failing(on) == [("Kustomization", f"{FLUX}/infra", "BuildFailed")], 30, "infra")
    assert gitops(on)["objects"] == {"running": 2, "failing": 1, "suspended": 0}
    ready = on.condition(item, "GitOpsReady")
    assert ready["status"] == "True" and f"{FLUX}/infra" in ready["message"]
    until(lambda: told(on, item, "SyncFailed", f"{FLUX}/infra"), 10, "the event")
    # Flux tries every five seconds: it is told once.
    time.sleep(6)
    assert len(told(on, item, "SyncFailed")) == 1


def test_suspended_outranks_failing(on, item, repository):
    files = {f"{PATH}/infra.yaml": kustomization("infra", suspend=True)}
    await_applied(on, repository.commit(files))
    wanted = {"running": 2, "failing": 0, "suspended": 1}
    until(lambda: gitops(on)["objects"] == wanted, 20, "the suspended one")


def test_recovery_is_told_once_and_everything_is_counted(on, item, repository):
    repository.commit({f"{PATH}/infra.yaml": kustomization("infra")})
    until(lambda: failing(on), 30, "the failure, which is no longer suspended")
    before = len(told(on, item, "Synced"))
    files = {"apps/infra/infra.yaml": config_map("infra")}
    head = repository.commit(files, delete=("apps/infra/broken.yaml",))
    await_applied(on, head)
    wanted = {"running": 3, "failing": 0, "suspended": 0}
    until(lambda: gitops(on)["objects"] == wanted, 40, "all of them running")
    until(lambda: len(told(on, item, "Synced")) == before + 1, 10, "the event")
    # four ConfigMaps and two Kustomizations of the root's, and one of each of these
    until(lambda: gitops(on)["inventory"] == 8, 20, "the inventory")


def test_a_root_that_cannot_be_built_is_what_gitops_ready_says(on, item, repository):
    good = gitops(on)["lastAppliedRevision"]
    head = repository.commit({f"{PATH}/broken.yaml": "kind: ["})
    on.await_condition(item, "GitOpsReady", "False", "SyncFailed", timeout=30)
    message = on.condition(item, "GitOpsReady")["message"]
    assert "BuildFailed" in message and head[:7] in message
    until(lambda: gitops(on)["lastAttemptedRevision"] == f"main@sha1:{head}", 10, "the attempt")
    assert gitops(on)["lastAppliedRevision"] == good
    await_applied(on, repository.commit(delete=(f"{PATH}/broken.yaml",)))
    on.ready(item)


def test_a_helm_release_that_fails_is_named(on, item):
    api = on.cloud.workload.api
    release = {
        "apiVersion": HELM_RELEASE[0],
        "kind": HELM_RELEASE[1],
        "metadata": {"name": HELM_RELEASE[2], "namespace": "default"},
        "spec": {"interval": "1m", "chartRef": {"kind": "OCIRepository", "name": "redis"}},
    }
    api.apply(release)
    says = {
        "type": "Ready",
        "status": "False",
        "reason": "InstallFailed",
        "message": "timed out waiting for the condition",
        "lastTransitionTime": now(),
        "observedGeneration": 1,
    }
    # There is no helm-controller: what it would say is said for it.
    api.patch(*HELM_RELEASE, {"status": {"conditions": [says], "observedGeneration": 1}}, subresource="status")
    began = time.monotonic()
    until(lambda: failing(on) == [("HelmRelease", "default/redis", "InstallFailed")], 10, "redis")
    assert time.monotonic() - began < 5, "it was not the watch that told"
    assert gitops(on)["failing"][0]["message"] == says["message"]
    api.delete(*HELM_RELEASE)
    until(lambda: not failing(on), 10, "its end")


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_metrics_tell_of_each_cluster(on, operator, item):
    until(lambda: metric(operator, "ready") == 1, 10, "the cluster's own series")
    assert metric(operator, 'ready{namespace="default",cluster="rollup"}') == 1
    assert metric(operator, "failing_objects") == 0
    assert metric(operator, "contact_age_seconds") < 90
    assert metric(operator, "watches") == 1


def test_a_cluster_that_does_not_answer_says_since_when_also_after_a_restart(on, operator, item):
    workload = on.cloud.workload
    workload.apiserver.kill()
    began = time.monotonic()
    found = on.await_condition(item, "GitOpsReady", "False", "AgentUnreachable", timeout=15)
    noticed = time.monotonic() - began
    assert noticed < 10, "the watch that was cut was no reason to look"
    since = found["status"]["gitops"]["unreachableSince"]
    assert since in conditions(found)["GitOpsReady"]["message"].replace("+00:00", "Z")
    operator.kill()
    time.sleep(2)
    operator.restart()
    on.await_ready(operator)
    time.sleep(5)
    found = on.api.get(*NAMED)
    assert found["status"]["gitops"]["unreachableSince"] == since
    assert conditions(found)["GitOpsReady"]["reason"] == "AgentUnreachable"
    workload.start_apiserver(on.cloud.etcd.url)
    workload.wait_apiserver()
    on.ready(item, timeout=90)
    until(lambda: "unreachableSince" not in gitops(on), 10, "the contact")
    assert len(told(on, item, "AgentUnreachable")) <= 2, "once by each process"
    assert told(on, item, "Synced")


def test_the_watch_that_was_cut_is_back(on, operator, item, repository):
    await_watch(operator)
    # The first may meet what else is caught up on after the outage.
    assert min(lag(on, repository, f"again-{number}")[1] for number in range(2)) < 2


def test_a_suspended_cluster_is_not_watched(on, operator, item):
    on.api.patch(*NAMED, {"spec": {"suspend": True}})
    await_watch(operator, 0)
    on.api.patch(*NAMED, {"spec": {"suspend": False}})
    await_watch(operator)


def test_beyond_the_cap_clusters_are_asked_now_and_then(on, operator, item, repository):
    operator.stop()
    other = on.start("--drift-interval=5s", "--max-watches=0", name="keelson-1")
    head = repository.commit({f"{PATH}/polled.yaml": config_map("polled")})
    await_applied(on, head, 40)
    assert metric(other, "watches") == 0
    other.stop()
