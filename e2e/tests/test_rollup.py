"""status.gitops: the state of the real Flux, kept current by watches; and clusters whose API server is unreachable."""

from __future__ import annotations

import datetime
import time

import pytest
import yaml

from fleet import API
from fleet.manifests import cluster, flux
from fleet.environment import Environment, environment, until
from keelson_harness.kubeapi import conditions
from keelson_harness.load import busy_factor

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
    created = on.cloud.git.repository("rollup")
    created.commit({f"{PATH}/one.yaml": config_map("one")})
    return created


@pytest.fixture(scope="module")
def item(on: Environment, operator, repository) -> dict:
    gitops = flux(repository.url, PATH, interval=f"{INTERVAL}s")
    created = cluster("rollup", addons=[{"name": "vpc-cni"}], gitops=gitops)
    on.apply(created)
    on.ready(created)
    return created


def config_map(name: str) -> str:
    metadata = {"name": name, "namespace": "default"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def kustomization(name: str, **spec: object) -> str:
    """A Kustomization of a sibling folder, applied by the root."""
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


def event_notes(on: Environment, item: dict, reason: str, words: str = "") -> list[str]:
    return [e["note"] for e in on.events(item) if e["reason"] == reason and words in e["note"]]


def lag(on: Environment, repository, name: str) -> tuple[float, float]:
    """Seconds from a commit until status shows it as applied, and seconds since Flux itself reported it."""
    head = repository.commit({f"{PATH}/{name}.yaml": config_map(name)})
    start, wanted = time.monotonic(), f"main@sha1:{head}"

    def applied_by_flux() -> bool:
        root = on.cloud.workload.api.get(KUSTOMIZATION, "Kustomization", FLUX, FLUX)
        return root["status"].get("lastAppliedRevision") == wanted

    # After an outage of its API server, Flux retries with its own backoff.
    until(applied_by_flux, 90, "Flux")
    at_flux = time.monotonic()
    await_applied(on, head)
    now = time.monotonic()
    return now - start, now - at_flux


def test_status_shows_agent_source_and_components(on, item, repository):
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
    # Once the last of them has reported.
    names = ("helm-controller", "kustomize-controller", "notification-controller", "source-controller")
    running = [{"name": name, "ready": True} for name in names]
    until(lambda: gitops(on)["components"] == running, 20, "all components")


def test_commit_is_in_status_within_interval_plus_two_seconds(
    on, operator, item, repository, capsys
):
    await_watch(operator)
    lags = [lag(on, repository, f"lag-{number}") for number in range(3)]
    with capsys.disabled():
        formatted = ", ".join(f"{total:.1f} s ({after_flux:.1f} s after Flux)" for total, after_flux in lags)
        print(f"\n  from a commit to status.gitops, interval {INTERVAL} s: {formatted}")
    assert max(after_flux for _, after_flux in lags) < 2 * busy_factor()
    # On a loaded machine, Flux itself is sometimes slower.
    assert min(total for total, _ in lags) < INTERVAL + 2 * busy_factor()


def test_failing_kustomization_is_named_and_its_dependents_are_not(on, item, repository):
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
    until(lambda: event_notes(on, item, "SyncFailed", f"{FLUX}/infra"), 10, "the event")
    # Flux retries every five seconds: there is one event.
    time.sleep(6)
    assert len(event_notes(on, item, "SyncFailed")) == 1


def test_suspended_object_is_not_counted_as_failing(on, item, repository):
    files = {f"{PATH}/infra.yaml": kustomization("infra", suspend=True)}
    await_applied(on, repository.commit(files))
    wanted = {"running": 2, "failing": 0, "suspended": 1}
    until(lambda: gitops(on)["objects"] == wanted, 20, "the suspended one")


def test_recovery_has_one_event_and_all_objects_are_counted(on, item, repository):
    repository.commit({f"{PATH}/infra.yaml": kustomization("infra")})
    until(lambda: failing(on), 30, "the failure, which is no longer suspended")
    before = len(event_notes(on, item, "Synced"))
    files = {"apps/infra/infra.yaml": config_map("infra")}
    head = repository.commit(files, delete=("apps/infra/broken.yaml",))
    await_applied(on, head)
    wanted = {"running": 3, "failing": 0, "suspended": 0}
    until(lambda: gitops(on)["objects"] == wanted, 40, "all of them running")
    until(lambda: len(event_notes(on, item, "Synced")) == before + 1, 10, "the event")
    # four ConfigMaps and two Kustomizations of the root's, and one of each of these
    until(lambda: gitops(on)["inventory"] == 8, 20, "the inventory")


def test_root_build_failure_is_in_gitops_ready(on, item, repository):
    last_applied = gitops(on)["lastAppliedRevision"]
    head = repository.commit({f"{PATH}/broken.yaml": "kind: ["})
    on.await_condition(item, "GitOpsReady", "False", "SyncFailed", timeout=30)
    message = on.condition(item, "GitOpsReady")["message"]
    assert "BuildFailed" in message and head[:7] in message
    until(lambda: gitops(on)["lastAttemptedRevision"] == f"main@sha1:{head}", 10, "the attempt")
    assert gitops(on)["lastAppliedRevision"] == last_applied
    await_applied(on, repository.commit(delete=(f"{PATH}/broken.yaml",)))
    on.ready(item)


def test_variable_of_a_shell_script_is_named_with_the_advice_which_works(on, item, repository):
    name = f"{PATH}/script.yaml"
    script = yaml.safe_load(config_map("script")) | {"data": {"run": "cd ${WORKSPACE}"}}
    repository.commit({name: yaml.safe_dump(script)})
    on.await_condition(item, "GitOpsReady", "False", "SyncFailed", timeout=30)
    message = on.condition(item, "GitOpsReady")["message"]
    assert "WORKSPACE" in message and "$${NAME}" in message, message
    (root,) = [found for found in gitops(on)["failing"] if found["name"] == f"{FLUX}/{FLUX}"]
    assert "$${NAME}" in root["message"]
    script["data"]["run"] = "cd $${WORKSPACE}"
    await_applied(on, repository.commit({name: yaml.safe_dump(script)}))
    assert on.cloud.workload.api.get("v1", "ConfigMap", "script", "default")["data"] == {"run": "cd ${WORKSPACE}"}
    await_applied(on, repository.commit(delete=(name,)))
    on.ready(item)


def test_failing_helm_release_is_named(on, item):
    api = on.cloud.workload.api
    release = {
        "apiVersion": HELM_RELEASE[0],
        "kind": HELM_RELEASE[1],
        "metadata": {"name": HELM_RELEASE[2], "namespace": "default"},
        "spec": {"interval": "1m", "chartRef": {"kind": "OCIRepository", "name": "redis"}},
    }
    api.apply(release)
    failed_condition = {
        "type": "Ready",
        "status": "False",
        "reason": "InstallFailed",
        "message": "timed out waiting for the condition",
        "lastTransitionTime": now(),
        "observedGeneration": 1,
    }
    # There is no helm-controller: the test writes its status.
    api.patch(*HELM_RELEASE, {"status": {"conditions": [failed_condition], "observedGeneration": 1}}, subresource="status")
    start = time.monotonic()
    until(lambda: failing(on) == [("HelmRelease", "default/redis", "InstallFailed")], 10, "redis")
    assert time.monotonic() - start < 5 * busy_factor(), "it was polled, not watched"
    assert gitops(on)["failing"][0]["message"] == failed_condition["message"]
    api.delete(*HELM_RELEASE)
    until(lambda: not failing(on), 10, "its removal")


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_metrics_per_cluster(on, operator, item):
    until(lambda: metric(operator, "ready") == 1, 10, "the cluster's own series")
    assert metric(operator, 'ready{namespace="default",cluster="rollup"}') == 1
    assert metric(operator, "failing_objects") == 0
    assert metric(operator, "contact_age_seconds") < 90
    assert metric(operator, "watches") == 1


def test_unreachable_cluster_reports_since_when_also_after_operator_restart(on, operator, item):
    workload = on.cloud.workload
    workload.apiserver.kill()
    start = time.monotonic()
    found = on.await_condition(item, "GitOpsReady", "False", "AgentUnreachable", timeout=15)
    noticed = time.monotonic() - start
    assert noticed < 10 * busy_factor(), "the closed watch did not trigger an observation"
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
    assert len(event_notes(on, item, "AgentUnreachable")) <= 2, "once per process"
    assert event_notes(on, item, "Synced")


def test_closed_watch_is_reestablished(on, operator, item, repository):
    await_watch(operator)
    # The first may be slower, as other work is caught up after the outage.
    assert min(lag(on, repository, f"again-{number}")[1] for number in range(2)) < 2 * busy_factor()


def test_suspended_cluster_is_not_watched(on, operator, item):
    on.api.patch(*NAMED, {"spec": {"suspend": True}})
    await_watch(operator, 0)
    on.api.patch(*NAMED, {"spec": {"suspend": False}})
    await_watch(operator)


def test_clusters_beyond_the_watch_limit_are_polled(on, operator, item, repository):
    operator.stop()
    other = on.start("--drift-interval=5s", "--max-watches=0", name="keelson-1")
    head = repository.commit({f"{PATH}/polled.yaml": config_map("polled")})
    await_applied(on, head, 40)
    assert metric(other, "watches") == 0
    other.stop()
