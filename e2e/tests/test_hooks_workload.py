"""Hooks in the workload cluster (`in: Workload`): its API server and its Job controller are real, and the test can close the way to it.

Whether something waits for a hook is read from the call log of AWS.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fleet.environment import Environment, actions, environment, stays, until
from fleet.hook_jobs import (
    CORRECTED_SECONDS, FLAGS, UPGRADE_BY_TWO, annotate, assert_no_credentials, await_state, await_version, entry, failed, hook, jobs,
    kill_at_every_write, lines, tells, template, upgrades, upgrading,
)
from fleet.manifests import key_of, namespace
from fleet.proxies import TlsProxy
from fleet.shop import A_MOMENT, Shop
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

WORKLOAD = {"in": "Workload"}
ALLOWED_POINTS = [
    "AfterCreate", "BeforeUpgrade", "AfterUpgrade", "BeforeControlPlane", "AfterControlPlane", "BeforeNodeGroups", "AfterNodeGroups",
    "BeforeDelete",
]
# A deletion waits no longer for the load balancers of a cluster that does not answer.
ENV = {"KEELSON_LOAD_BALANCER_TIMEOUT": "2s"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def on():
    with environment(git=False, flux=False, durations=Durations(1, 1, 0.5, 0.5, 0.3, 0.2)) as started:
        started.cloud.kubelet.namespaces.add("default")
        yield started


@pytest.fixture(scope="module")
def way(on: Environment):
    """The way to the API server of the workload cluster, which a test closes."""
    opened = TlsProxy(on.cloud.workload, on.cloud.directory)
    on.aws.control("POST", "settings", json={"workload_endpoint": opened.url, "workload_ca_file": str(opened.ca_file)})
    yield opened
    opened.close()


@pytest.fixture
def running(on: Environment, way: TlsProxy):
    with on.operator(*FLAGS, env=ENV):
        yield


@pytest.fixture
def closed(way: TlsProxy):
    """Opens the way at the end."""
    yield way
    way.close()
    way.open()


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """The file to which the Jobs write."""
    return tmp_path / "said"


def inside(on: Environment, shop: Shop) -> dict[str, dict]:
    """The Jobs of its hooks in the workload cluster."""
    return jobs(on, shop, on.cloud.workload)


def waiting(shop: Shop) -> str:
    return conditions(shop.on.await_condition(shop.cluster, "Ready", "False", "WaitingForHook", 40))["Ready"]["message"]


def await_message(shop: Shop, *parts: str) -> str:
    ready = lambda found: conditions(found).get("Ready", {})
    holds = lambda found: all(part in ready(found).get("message", "") for part in parts)
    found = shop.on.await_state(shop.cluster, holds, CORRECTED_SECONDS, f"{parts}")
    return ready(found)["message"]


def test_hook_runs_in_the_workload_cluster_at_each_point_at_which_it_exists(on, running, said):
    log = hook("log", ALLOWED_POINTS, tells(said), **WORKLOAD)
    shop = Shop(on, nodes=True, version="1.33", hooks=[log])
    shop.apply()
    on.ready(*shop.items)
    assert lines(said) == ["AfterCreate   1"]
    shop.edit(version="1.35")
    # Seven Jobs, one after the other.
    await_version(shop, "1.35", 150)
    await_state(shop, "log", "Succeeded", "AfterUpgrade")
    assert lines(said)[1:] == UPGRADE_BY_TWO
    on.ready(*shop.items)
    assert jobs(on, shop) == {} and len(inside(on, shop)) == 9
    for job in inside(on, shop).values():
        # Nothing of the management cluster owns it, so that Kubernetes deletes it some day; it has no credentials.
        assert job["metadata"]["namespace"] == "default" and "ownerReferences" not in job["metadata"], job["metadata"]
        assert job["spec"]["ttlSecondsAfterFinished"] == 7 * 24 * 3600
        [container] = job["spec"]["template"]["spec"]["containers"]
        names = {one["name"] for one in container["env"]}
        assert {"KEELSON_CLUSTER", "CLUSTER_NAME", "CLUSTER_ENDPOINT"} <= names
    assert_no_credentials(inside(on, shop))
    shown = entry(shop, "log", "AfterUpgrade")
    assert (shown["in"], shown["namespace"]) == ("Workload", "default"), shown
    on.api.delete(*key_of(shop.cluster))
    on.api.wait_gone(*key_of(shop.cluster), 60)
    assert lines(said)[9:] == ["BeforeDelete   1"]
    on.delete(*shop.reference)


def test_cron_job_of_the_workload_cluster_is_used_and_its_failure_stops_before_the_write(on, running, said):
    api, name = on.cloud.workload.api, f"checks-{next(_numbers)}"
    on.cloud.kubelet.namespaces.add(name)
    smoke = {"name": "smoke", "at": ["BeforeControlPlane"], **WORKLOAD, "namespace": name, "job": {"cronJob": {"name": "smoke"}}}
    shop = upgrading(on, smoke)
    shop.edit(version="1.34")
    assert f"namespace {name} of the workload cluster does not exist: create it" in failed(shop)
    api.apply(namespace(name))
    annotate(shop, again="namespace")
    await_message(shop, f"CronJob {name}/smoke of the workload cluster does not exist: create it")
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "smoke", "namespace": name},
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": template("echo starting; echo no shop; exit 3")},
    }
    api.apply(cron_job)
    message = await_message(shop, "smoke (BeforeControlPlane, 1.33->1.34) failed: container main exited with code 3", "no shop")
    assert entry(shop, "smoke")["job"] in message
    shop.reconcile_all()
    assert upgrades(shop) == 0
    cron_job["spec"]["jobTemplate"] = template(tells(said))
    api.apply(cron_job)
    await_state(shop, "smoke", "Succeeded", seconds=CORRECTED_SECONDS)
    await_version(shop, "1.34")
    assert lines(said)[-1].startswith("BeforeControlPlane 1.33 1.34 ")
    assert upgrades(shop) == 1
    shop.go_away()


def test_namespace_that_does_not_exist_is_named_and_the_hook_goes_on_once_it_does(on, running, said):
    name = f"later-{next(_numbers)}"
    on.cloud.kubelet.namespaces.add(name)
    shop = upgrading(on, hook("smoke", ["BeforeControlPlane"], tells(said), **WORKLOAD, namespace=name))
    shop.edit(version="1.34")
    assert f"namespace {name} of the workload cluster does not exist" in failed(shop)
    assert upgrades(shop) == 0
    on.cloud.workload.api.apply(namespace(name))
    await_state(shop, "smoke", "Succeeded", seconds=CORRECTED_SECONDS)
    await_version(shop, "1.34")
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 1"]
    shop.go_away()


def test_job_without_a_node_says_that_its_pod_is_not_scheduled(on, running, said):
    on.cloud.kubelet.pause()
    try:
        shop = Shop(on, hooks=[hook("smoke", ["AfterCreate"], tells(said), **WORKLOAD)])
        shop.apply()
        message = await_message(shop, "its Pod is Pending: it is not scheduled on a node")
        assert "of the workload cluster runs since" in message, message
    finally:
        on.cloud.kubelet.resume()
    on.ready(shop.cluster)
    assert lines(said) == ["AfterCreate   1"]
    shop.go_away()


def test_job_that_is_deleted_by_hand_is_lost_and_a_hanging_one_ends_at_its_timeout(on, running):
    shop = upgrading(on, hook("slow", ["BeforeControlPlane"], "sleep 600", **WORKLOAD))
    shop.edit(version="1.34")
    job = await_state(shop, "slow", "Running")["job"]
    path = f"/apis/batch/v1/namespaces/default/jobs/{job}"
    on.cloud.workload.api.request("DELETE", path, params={"propagationPolicy": "Background"})
    assert "was deleted before its result was recorded" in failed(shop)
    assert entry(shop, "slow")["state"] == "Lost" and upgrades(shop) == 0
    shop.edit(hooks=[hook("slow", ["BeforeControlPlane"], "sleep 600", **WORKLOAD, timeout="2s")])
    await_message(shop, "hook slow (BeforeControlPlane, 1.33->1.34) failed: the Job did not end within 2s")
    assert inside(on, shop) == {} and upgrades(shop) == 0
    annotate(shop, skip="slow")
    await_version(shop, "1.34")
    shop.go_away()


def test_hook_whose_job_cannot_be_deleted_fails_at_its_timeout(on, running, said):
    """A webhook that nobody serves refuses the deletion of Jobs."""
    kind = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "broken")
    deletions = [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["jobs"]}]
    webhook = {
        "name": "broken.example.com", "rules": deletions, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail", "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:9/"},
    }
    inner = on.cloud.workload.api
    inner.apply({"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": kind[2]}, "webhooks": [webhook]})
    try:
        shop = upgrading(on, hook("slow", ["BeforeControlPlane"], "sleep 600", **WORKLOAD, timeout="3s"))
        shop.edit(version="1.34")
        await_message(shop, "hook slow (BeforeControlPlane, 1.33->1.34) failed: the Job did not end within 3s")
        state = entry(shop, "slow")
        assert (state["state"], list(inside(on, shop))) == ("Failed", [state["job"]]) and state["uid"]
        # Another try waits until it is deleted.
        shop.edit(hooks=[hook("slow", ["BeforeControlPlane"], tells(said), **WORKLOAD)])
        message = await_message(shop, "its Job", "is not deleted yet")
        assert "keelson.dev/skip-hook=slow" in message, message
        stays(lambda: list(inside(on, shop)) == [state["job"]] and upgrades(shop) == 0, A_MOMENT, "no second Job")
    finally:
        inner.delete(*kind, None)
    await_version(shop, "1.34")
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 2"]
    shop.go_away()


def test_hook_waits_for_an_api_server_that_does_not_answer_and_goes_on_when_it_does(on, running, closed, said):
    shop = upgrading(on, hook("smoke", ["BeforeControlPlane"], tells(said), **WORKLOAD))
    closed.close()
    shop.edit(version="1.34")
    message = await_message(shop, "hook smoke (BeforeControlPlane, 1.33->1.34): failed to create Jobs", "it is tried until")
    assert "cannot be reached since" in message and "keelson.dev/skip-hook=smoke" in message, message
    assert conditions(shop.found())["Ready"]["reason"] == "WaitingForHook"
    assert entry(shop, "smoke")["state"] == "Intended" and entry(shop, "smoke")["waitingSince"]
    assert upgrades(shop) == 0
    closed.open()
    await_version(shop, "1.34")
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 1"] and "waitingSince" not in entry(shop, "smoke")
    shop.go_away()


def test_job_that_ends_while_nobody_can_see_it_counts_once_it_is_seen(on, running, closed, said):
    wanted = f"until [ -e {said} ]; do sleep 0.1; done"
    shop = upgrading(on, hook("ask", ["BeforeControlPlane"], wanted, **WORKLOAD))
    shop.edit(version="1.34")
    job = await_state(shop, "ask", "Running")["job"]
    closed.close()
    assert "cannot be reached since" in await_message(shop, "hook ask (BeforeControlPlane, 1.33->1.34): failed to read Jobs")
    said.touch()
    until(lambda: inside(on, shop)[job].get("status", {}).get("succeeded"), 20, "the end of the Job")
    stays(lambda: upgrades(shop) == 0, A_MOMENT, "no upgrade before its end is seen")
    closed.open()
    await_version(shop, "1.34")
    assert entry(shop, "ask")["attempt"] == 1
    shop.go_away()


def test_hook_has_failed_when_the_api_server_does_not_answer_within_its_timeout(on, running, closed, said):
    shop = upgrading(on, hook("smoke", ["BeforeControlPlane"], tells(said), **WORKLOAD, timeout="2s"))
    closed.close()
    shop.edit(version="1.34")
    message = failed(shop)
    assert "the Job was not created within 2s, as far as is known: failed to create Jobs in namespace default" in message, message
    assert "HookFailed" in {event["reason"] for event in on.events(shop.cluster)}
    assert entry(shop, "smoke")["state"] == "Failed" and upgrades(shop) == 0
    # A person passes it, also while the cluster does not answer.
    annotate(shop, skip="smoke")
    await_version(shop, "1.34")
    assert lines(said) == []
    # With Continue the upgrade goes on by itself.
    shop.edit(hooks=[hook("smoke", ["BeforeControlPlane"], tells(said), **WORKLOAD, timeout="1s", onFailure="Continue")], version="1.35")
    await_version(shop, "1.35")
    assert entry(shop, "smoke")["state"] == "Failed" and lines(said) == []
    shop.go_away()


def test_cluster_that_does_not_answer_is_kept_until_its_hook_is_skipped(on, running, closed):
    shop = Shop(on)
    shop.make()
    shop.edit(hooks=[hook("archive", ["BeforeDelete"], "true", **WORKLOAD)])
    on.reconcile(shop.cluster)
    before, mark = shop.account.inventory(), on.mark()
    closed.close()
    on.api.delete(*key_of(shop.cluster))
    message = await_message(shop, "hook archive (BeforeDelete, delete): failed to create Jobs", "cannot be reached since")
    assert "keelson.dev/skip-hook=archive" in message, message
    stays(lambda: actions(shop.writes(mark)) == [] and shop.account.inventory() == before, A_MOMENT, "no deletion")
    annotate(shop, skip="archive")
    on.api.wait_gone(*key_of(shop.cluster), 60)
    on.delete(*shop.reference)


def test_control_plane_that_is_gone_is_named_and_its_hook_can_be_skipped(on, way):
    with on.operator(*FLAGS, env=ENV):
        shop = Shop(on)
        shop.make()
        shop.edit(hooks=[hook("archive", ["BeforeDelete"], "true", **WORKLOAD)])
        on.reconcile(shop.cluster)
    shop.account.eks.delete_cluster(name=shop.name)
    on.api.delete(*key_of(shop.cluster))
    # A new process, which has observed nothing.
    with on.operator(*FLAGS, env=ENV):
        message = await_message(shop, "hook archive (BeforeDelete, delete)", "in EKS it has no control plane that is this object's")
        assert "keelson.dev/skip-hook=archive" in message, message
        annotate(shop, skip="archive")
        on.api.wait_gone(*key_of(shop.cluster), 60)
        on.delete(*shop.reference)


def test_new_process_runs_the_hook_before_a_deletion(on, way, said):
    with on.operator(*FLAGS, env=ENV):
        shop = Shop(on)
        shop.make()
        shop.edit(hooks=[hook("archive", ["BeforeDelete"], tells(said), **WORKLOAD)])
        on.reconcile(shop.cluster)
    on.api.delete(*key_of(shop.cluster))
    with on.operator(*FLAGS, env=ENV):
        on.api.wait_gone(*key_of(shop.cluster), 60)
        on.delete(*shop.reference)
    assert lines(said) == ["BeforeDelete   1"]


def test_cluster_is_deleted_while_a_hook_of_another_point_runs(on, running):
    shop = upgrading(on, hook("slow", ["BeforeControlPlane"], "sleep 600", **WORKLOAD))
    shop.edit(version="1.34")
    await_state(shop, "slow", "Running")
    on.api.delete(*key_of(shop.cluster))
    on.api.wait_gone(*key_of(shop.cluster), 60)
    assert upgrades(shop) == 0
    on.delete(*shop.reference)


def test_operator_that_is_killed_at_every_write_of_a_hook_loses_and_passes_nothing(on, way, said, capsys):
    with on.operator(*FLAGS, env=ENV):
        shop = upgrading(on, hook("log", ["BeforeControlPlane", "AfterControlPlane"], tells(said), **WORKLOAD))
    shop.edit(version="1.34")
    is_done = lambda: entry(shop, "log", "AfterControlPlane").get("state") == "Succeeded"
    killed = kill_at_every_write(on, is_done, on.cloud.workload)
    with capsys.disabled():
        print(f"\n  killed at {len(killed)} writes of hooks")
    assert killed.count("CREATE jobs") == 2 and len(killed) >= 9, killed
    with on.operator(*FLAGS, env=ENV):
        await_version(shop, "1.34")
    assert upgrades(shop) == 1
    # Each Job that was created before a crash was adopted.
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 1", "AfterControlPlane 1.33 1.34 1"]
    shop.go_away()


def test_operator_that_is_killed_at_every_write_of_the_hooks_of_a_creation_and_a_deletion(on, way, said, capsys):
    shop = Shop(on, hooks=[hook("log", ["AfterCreate", "BeforeDelete"], tells(said), **WORKLOAD)])
    before = shop.account.inventory()
    shop.apply()
    killed = kill_at_every_write(on, lambda: entry(shop, "log", "AfterCreate").get("state") == "Succeeded", on.cloud.workload)
    assert lines(said) == ["AfterCreate   1"]
    with on.operator(*FLAGS, env=ENV):
        on.ready(shop.cluster)
    on.api.delete(*key_of(shop.cluster))
    killed += kill_at_every_write(on, lambda: on.api.find(*key_of(shop.cluster)) is None, on.cloud.workload)
    with capsys.disabled():
        print(f"\n  killed at {len(killed)} writes of hooks")
    # The intent, the Job, its UID, its end; and what comes after the creation is recorded before it.
    assert killed.count("CREATE jobs") == 2 and len(killed) >= 2 * 4 + 1, killed
    assert lines(said)[1:] == ["BeforeDelete   1"] and shop.account.inventory() == before
    on.force_delete(*shop.reference)


def test_operator_that_is_killed_at_every_write_of_a_skip_passes_the_hook_once(on, way, capsys):
    with on.operator(*FLAGS, env=ENV):
        shop = upgrading(on, hook("slow", ["BeforeControlPlane"], "sleep 600", **WORKLOAD))
        shop.edit(version="1.34")
        await_state(shop, "slow", "Running")
    annotate(shop, skip="slow")
    killed = kill_at_every_write(on, lambda: entry(shop, "slow").get("state") == "Skipped", on.cloud.workload)
    with capsys.disabled():
        print(f"\n  killed at {len(killed)} writes of hooks")
    # The Job that runs is deleted, and only then the hook has passed.
    assert killed == ["DELETE jobs", "UPDATE eksclusters"], killed
    assert inside(on, shop) == {} and upgrades(shop) == 0
    with on.operator(*FLAGS, env=ENV):
        await_version(shop, "1.34")
    assert upgrades(shop) == 1 and entry(shop, "slow")["state"] == "Skipped"
    shop.go_away()
