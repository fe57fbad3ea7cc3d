"""Hooks: Jobs of the user's at points of a cluster's life. The Job controller is the real one; a Pod's command is a process here.

Whether something waits for a hook is read from the call log of AWS.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from fleet import API, command_line
from fleet.environment import Environment, actions, environment, stays, until
from fleet.hook_jobs import (
    BINDING, CORRECTED_SECONDS, FLAGS, OF_UPGRADE, RBAC, SKIP, UPGRADE_BY_TWO, annotate, assert_no_credentials, await_state, await_version,
    entry, failed, hook, jobs, kill_at_every_write, lines, tells, template, upgrades, upgrading,
)
from fleet.manifests import key_of
from fleet.shop import A_MOMENT, Shop
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError, KubeApi, documents
from keelson_harness.paths import DEPLOY

ALL_POINTS = [
    "BeforeCreate", "AfterCreate", "BeforeUpgrade", "AfterUpgrade", "BeforeControlPlane", "AfterControlPlane", "BeforeNodeGroups",
    "AfterNodeGroups", "BeforeDelete",
]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def on():
    options = {"workload": False, "git": False, "flux": False, "management_pods": True}
    with environment(**options, durations=Durations(1, 1, 0.5, 0.5, 0.3, 0.2)) as started:
        started.cloud.management_kubelet.namespaces.add("default")
        started.cloud.operator_account()
        started.apply(BINDING)
        yield started


@pytest.fixture
def running(on: Environment):
    with on.operator(*FLAGS):
        yield


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """The file to which the Jobs write."""
    return tmp_path / "said"


def test_each_point_comes_once_a_minor_and_the_job_knows_where_it_is(on, running, said):
    shop = Shop(on, nodes=True, version="1.33", hooks=[hook("log", ALL_POINTS, tells(said))])
    shop.apply()
    on.ready(*shop.items)
    assert lines(said) == ["BeforeCreate   1", "AfterCreate   1"]
    shop.edit(version="1.35")
    # Seven Jobs, one after the other.
    await_version(shop, "1.35", 150)
    await_state(shop, "log", "Succeeded", "AfterUpgrade")
    assert lines(said)[2:] == UPGRADE_BY_TWO
    on.ready(*shop.items)
    events = {event["reason"] for event in on.events(shop.cluster)}
    assert {"HookStarted", "HookSucceeded"} <= events and "HookFailed" not in events
    [environment] = {
        tuple(sorted(one["name"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"])) for job in jobs(on, shop).values()
    }
    assert {"KEELSON_CLUSTER", "KEELSON_HOOK", "KEELSON_NAMESPACE", "AWS_REGION", "CLUSTER_NAME", "VPC_ID"} <= set(environment)
    assert_no_credentials(jobs(on, shop))
    on.api.delete(*key_of(shop.cluster))
    on.api.wait_gone(*key_of(shop.cluster), 60)
    assert lines(said)[10:] == ["BeforeDelete   1"]
    until(lambda: not jobs(on, shop), 20, "no Job of a cluster that is gone")
    on.delete(*shop.reference)


def test_nothing_is_created_before_its_hook_has_succeeded(on, running, said):
    wanted = f"until [ -e {said} ]; do sleep 0.1; done"
    shop = Shop(on, hooks=[hook("ask", ["BeforeCreate"], wanted)])
    shop.apply()
    await_state(shop, "ask", "Running", "BeforeCreate")
    on.await_condition(shop.cluster, "Ready", "False", "WaitingForHook")
    stays(lambda: actions(shop.writes()) == [], A_MOMENT, "no write before the hook has passed")
    said.touch()
    on.ready(*shop.items)
    shop.go_away()


def test_failure_stops_before_the_write_shows_its_last_words_and_is_tried_again_when_corrected(on, running):
    shop = upgrading(on, hook("backup", ["BeforeControlPlane"], "echo starting; echo no space left; exit 3"))
    shop.edit(version="1.34")
    message = failed(shop)
    assert "hook backup (BeforeControlPlane, 1.33->1.34) failed: container main exited with code 3" in message, message
    assert "no space left" in message and f"{SKIP}=backup" in message, message
    printed = command_line.output(on, "status", shop.name)
    assert "no space left" in printed and entry(shop, "backup")["job"] in printed, printed
    shop.reconcile_all()
    assert upgrades(shop) == 0
    assert "HookFailed" in {event["reason"] for event in on.events(shop.cluster)}
    shop.edit(hooks=[hook("backup", ["BeforeControlPlane"], "true")])
    await_version(shop, "1.34")
    assert upgrades(shop) == 1
    shop.go_away()


def test_template_of_a_cron_job_is_used_and_a_correction_of_it_counts(on, running, said):
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"backup-{next(_numbers)}", "namespace": "default"},
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": template("exit 1", ttlSecondsAfterFinished=0)},
    }
    name = cron_job["metadata"]["name"]
    backup = {"name": "backup", "at": ["BeforeControlPlane"], "job": {"cronJob": {"name": name}}}
    shop = upgrading(on, backup)
    shop.edit(version="1.34")
    assert f"CronJob default/{name} does not exist" in failed(shop)
    on.apply(cron_job)
    state = await_state(shop, "backup", "Failed", seconds=CORRECTED_SECONDS)
    job = jobs(on, shop)[state["job"]]
    assert "ttlSecondsAfterFinished" not in job["spec"] and job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    cron_job["spec"]["jobTemplate"] = template(tells(said), ttlSecondsAfterFinished=0)
    on.apply(cron_job)
    await_state(shop, "backup", "Succeeded", seconds=CORRECTED_SECONDS)
    await_version(shop, "1.34")
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 2"]
    shop.go_away()


def test_job_that_is_deleted_by_hand_is_lost_and_no_success(on, running, said):
    shop = upgrading(on, hook("slow", ["BeforeControlPlane"], f"{tells(said)}; sleep 600"))
    shop.edit(version="1.34")
    running_job = await_state(shop, "slow", "Running")["job"]
    on.api.request("DELETE", f"/apis/batch/v1/namespaces/default/jobs/{running_job}", params={"propagationPolicy": "Background"})
    assert "was deleted before its result was recorded" in failed(shop)
    assert entry(shop, "slow")["state"] == "Lost"
    shop.reconcile_all()
    assert upgrades(shop) == 0
    # `keelson reconcile` tries again; a skip deletes the Job that runs.
    await_state(shop, "slow", "Running")
    assert entry(shop, "slow")["attempt"] == 2
    annotate(shop, skip="other, slow")
    await_version(shop, "1.34")
    assert entry(shop, "slow")["state"] == "Skipped"
    assert "HookSkipped" in {event["reason"] for event in on.events(shop.cluster)}
    until(lambda: not jobs(on, shop), 20, "no Job that nobody waits for")
    # The same value does not count again.
    shop.edit(version="1.35")
    assert await_state(shop, "slow", "Running")["step"] == "1.34->1.35"
    assert upgrades(shop) == 1
    shop.go_away()


def test_hanging_job_ends_at_its_timeout_and_a_failure_that_is_ignored_stays_visible(on, running):
    shop = upgrading(on, hook("hang", ["BeforeControlPlane"], "sleep 600", timeout="2s", onFailure="Continue"))
    shop.edit(version="1.34")
    await_version(shop, "1.34")
    shown = entry(shop, "hang")
    assert (shown["state"], shown["message"]) == ("Failed", "the Job did not end within 2s")
    assert jobs(on, shop) == {}
    assert "HookFailed" in {event["reason"] for event in on.events(shop.cluster)}
    shop.go_away()


def test_failure_after_a_step_holds_the_next_one(on, running):
    shop = upgrading(on, hook("smoke", ["AfterControlPlane"], "echo down; exit 1"))
    shop.edit(version="1.35")
    assert "hook smoke (AfterControlPlane, 1.33->1.34) failed" in failed(shop)
    shop.reconcile_all()
    assert upgrades(shop) == 1 and shop.found()["status"]["version"] == "1.34"
    annotate(shop, skip="smoke/1")
    until(lambda: "1.34->1.35) failed" in failed(shop), 40, "the next step")
    annotate(shop, skip="smoke/2")
    await_version(shop, "1.35")
    shop.go_away()


def test_cluster_is_kept_until_its_last_hook_succeeds_or_is_skipped(on, running):
    shop = Shop(on, nodes=True)
    shop.make()
    shop.edit(hooks=[hook("archive", ["BeforeDelete"], "echo not archived; exit 1")])
    on.reconcile(shop.cluster)
    before = shop.account.inventory()
    mark = on.mark()
    # As Argo CD deletes.
    options = {"params": {"propagationPolicy": "Foreground"}}
    on.api.request("DELETE", on.api.path(API, "EksCluster", shop.name, "default"), **options)
    on.api.delete(*key_of(shop.nodes))
    assert "not archived" in failed(shop)
    stays(lambda: actions(shop.writes(mark)) == [] and shop.account.inventory() == before, A_MOMENT, "no deletion")
    assert on.api.find(*key_of(shop.nodes))
    annotate(shop, skip="archive")
    for item in shop.items:
        on.api.wait_gone(*key_of(item), 60)
    until(lambda: not jobs(on, shop), 20, "no Job of a cluster that is gone")
    on.delete(*shop.reference)


def test_cluster_without_resources_is_deleted_without_a_hook(on, running):
    shop = Shop(on, hooks=[hook("never", ["BeforeCreate", "BeforeDelete"], "exit 1")])
    shop.apply()
    failed(shop)
    on.api.delete(*key_of(shop.cluster))
    on.api.wait_gone(*key_of(shop.cluster), 30)
    assert actions(shop.writes()) == []
    on.delete(*shop.reference)


def test_operator_without_permission_says_which_to_give(on, running):
    shop = upgrading(on, hook("backup", ["BeforeControlPlane"], "true"))
    on.api.delete(RBAC, "RoleBinding", "keelson-jobs", "default")
    try:
        shop.edit(version="1.34")
        message = failed(shop)
        assert "kubectl create rolebinding keelson-jobs --namespace=default --clusterrole=keelson-jobs" in message, message
        assert upgrades(shop) == 0
    finally:
        on.apply(BINDING)
    annotate(shop, again="permitted")
    await_version(shop, "1.34")
    shop.go_away()


def test_author_of_hooks_must_be_allowed_to_create_jobs(on):
    on.apply(*documents(DEPLOY / "admission-hooks.yaml"))
    for name, rules in {
        "clusters": [{"apiGroups": ["keelson.dev"], "resources": ["eksclusters"], "verbs": ["*"]}],
        "jobs": [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}],
    }.items():
        on.apply({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": name, "namespace": "default"}, "rules": rules})
    users = {}
    for user, roles in {"tenant": ["clusters"], "admin": ["clusters", "jobs"]}.items():
        on.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": user, "namespace": "default"}})
        for role in roles:
            on.apply({
                "apiVersion": RBAC,
                "kind": "RoleBinding",
                "metadata": {"name": f"{user}-{role}", "namespace": "default"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": user, "namespace": "default"}],
            })
        plane = on.cloud.management
        users[user] = KubeApi(plane.url, plane.ca_file, token=on.api.service_account_token("default", user))
    item = Shop(on, by_role=False, hooks=[hook("run", ["BeforeCreate"], "true")]).cluster
    without = {**item, "spec": {key: value for key, value in item["spec"].items() if key != "hooks"}}

    def refused(api: KubeApi, written: dict) -> str:
        with contextlib.suppress(ApiError):
            api.apply(written, dry_run=True)
            return ""
        with pytest.raises(ApiError) as error:
            api.apply(written, dry_run=True)
        return error.value.message

    # The API server watches policies: until it has this one, it allows everything.
    until(lambda: refused(users["tenant"], item), 30, "the policy")
    message = refused(users["tenant"], item)
    assert 'may not create Jobs in namespace "default"' in message, message
    assert refused(users["admin"], item) == "" and refused(users["tenant"], without) == ""
    # Who writes the cluster decides who administers it: what runs there needs no permission here.
    inside = {**item["spec"]["hooks"][0], "at": ["AfterCreate"], "in": "Workload"}
    with_hooks = lambda *hooks: {**item, "spec": {**item["spec"], "hooks": list(hooks)}}
    assert refused(users["tenant"], with_hooks(inside)) == ""
    assert "may not create Jobs" in refused(users["tenant"], with_hooks(inside, {**item["spec"]["hooks"][0], "name": "other"}))
    # Edits: a cluster that has hooks can be edited, its hooks cannot, and no hook can be added.
    users["admin"].apply(item)
    try:
        edit = lambda spec: users["tenant"].patch(*key_of(item)[:3], {"spec": spec})
        edit({"logging": ["audit"]})
        for changed in ([hook("run", ["BeforeCreate"], "id")], [*item["spec"]["hooks"], hook("more", ["BeforeDelete"], "true")]):
            with pytest.raises(ApiError, match="may not create Jobs"):
                edit({"hooks": changed})
        more = {**inside, "name": "more"}
        edit({"hooks": [more, *item["spec"]["hooks"]]})
        with pytest.raises(ApiError, match="may not create Jobs"):
            edit({"hooks": [{**more, "in": "Management"}, *item["spec"]["hooks"]]})
        edit({"hooks": [more]})
        with pytest.raises(ApiError, match="may not create Jobs"):
            edit({"hooks": [{**more, "in": None}]})
        edit({"hooks": None})
        with pytest.raises(ApiError, match="may not create Jobs"):
            edit({"hooks": item["spec"]["hooks"]})
    finally:
        on.force_delete(item)


def test_operator_that_is_killed_at_every_write_of_a_hook_loses_and_passes_nothing(on, said, capsys):
    with on.operator(*FLAGS):
        shop = upgrading(on, hook("log", OF_UPGRADE, tells(said)), nodes=True)
    shop.edit(version="1.34")
    killed = kill_at_every_write(on, lambda: entry(shop, "log", "AfterUpgrade").get("state") == "Succeeded", seconds=400)
    with capsys.disabled():
        print(f"\n  killed at {len(killed)} writes of hooks")
    # Before and after each step: the intent, the Job, its UID, its end; and what comes after is recorded before the step.
    assert killed.count("CREATE jobs") == 6 and len(killed) >= 6 * 4, killed
    with on.operator(*FLAGS):
        await_version(shop, "1.34")
    updates = [write["action"] for write in shop.writes() if write["action"] in ("UpdateClusterVersion", "UpdateNodegroupVersion")]
    assert updates == ["UpdateClusterVersion", "UpdateNodegroupVersion"], updates
    # Each Job that was created before a crash was adopted.
    assert lines(said) == [
        "BeforeUpgrade 1.33 1.34 1",
        "BeforeControlPlane 1.33 1.34 1",
        "AfterControlPlane 1.33 1.34 1",
        "BeforeNodeGroups  1.34 1",
        "AfterNodeGroups  1.34 1",
        "AfterUpgrade 1.33 1.34 1",
    ]
    shop.go_away()


def test_operator_that_is_killed_at_every_write_of_a_try_that_fails_and_of_the_next_one(on, tmp_path, said, capsys):
    """With the deletions: of the Job that ends at its timeout, and of the Job before another try."""
    go = tmp_path / "go"
    with on.operator(*FLAGS):
        command = f"if [ -e {go} ]; then {tells(said)}; else sleep 600; fi"
        shop = upgrading(on, hook("slow", ["BeforeControlPlane"], command, timeout="3s"))
    shop.edit(version="1.34")
    killed = kill_at_every_write(on, lambda: entry(shop, "slow").get("state") == "Failed")
    assert killed.count("CREATE jobs") == killed.count("DELETE jobs") == 1, killed
    assert upgrades(shop) == 0 and jobs(on, shop) == {}
    shop.edit(hooks=[hook("slow", ["BeforeControlPlane"], f"echo no; exit 1; {command}", timeout="20s")])
    killed += kill_at_every_write(on, lambda: "no" in entry(shop, "slow").get("message", "").split())
    go.touch()
    shop.edit(hooks=[hook("slow", ["BeforeControlPlane"], command, timeout="20s")])
    killed += kill_at_every_write(on, lambda: entry(shop, "slow").get("state") == "Succeeded")
    with capsys.disabled():
        print(f"\n  killed at {len(killed)} writes of hooks")
    assert killed.count("CREATE jobs") == 3 and killed.count("DELETE jobs") == 2, killed
    with on.operator(*FLAGS):
        await_version(shop, "1.34")
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 3"] and upgrades(shop) == 1
    shop.go_away()


def test_operator_that_is_killed_at_every_write_of_the_hooks_of_a_creation_and_a_deletion(on, said, capsys):
    shop = Shop(on, hooks=[hook("log", ["BeforeCreate", "AfterCreate", "BeforeDelete"], tells(said))])
    before = shop.account.inventory()
    shop.apply()
    killed = kill_at_every_write(on, lambda: entry(shop, "log", "AfterCreate").get("state") == "Succeeded")
    assert lines(said) == ["BeforeCreate   1", "AfterCreate   1"]
    with on.operator(*FLAGS):
        on.ready(shop.cluster)
    on.api.delete(*key_of(shop.cluster))
    killed += kill_at_every_write(on, lambda: on.api.find(*key_of(shop.cluster)) is None)
    with capsys.disabled():
        print(f"\n  killed at {len(killed)} writes of hooks")
    assert killed.count("CREATE jobs") == 3, killed
    assert lines(said)[2:] == ["BeforeDelete   1"] and shop.account.inventory() == before
    until(lambda: not jobs(on, shop), 20, "no Job of a cluster that is gone")
    on.force_delete(*shop.reference)


def test_replica_that_takes_over_in_the_middle_of_a_hook_goes_on_with_its_job(on, tmp_path, said):
    go = tmp_path / "go"
    leader = on.start(*FLAGS, name="keelson-0")
    shop = upgrading(on, hook("ask", ["BeforeControlPlane"], f"{tells(said)}; until [ -e {go} ]; do sleep 0.1; done"))
    with on.operator(*FLAGS, name="keelson-1"):
        shop.edit(version="1.34")
        job = await_state(shop, "ask", "Running")["job"]
        leader.stop()
        on.reconcile(shop.cluster)
        assert upgrades(shop) == 0
        go.touch()
        await_version(shop, "1.34")
    assert entry(shop, "ask")["job"] == job and list(jobs(on, shop)) == [job]
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 1"] and upgrades(shop) == 1
    shop.go_away()
