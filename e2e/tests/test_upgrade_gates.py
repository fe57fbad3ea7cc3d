"""What has to hold before an upgrade's step begins, and what happens when it does not: all scenes at once, under one operator."""

from __future__ import annotations

import datetime
import socket
import time

import pytest

from fleet.account import fresh_account
from fleet.manifests import cluster, key_of
from fleet.environment import Environment, environment, until
from fleet.upgrading import SMALL, reach
from gates import Played
from gates.scenes import BROKEN, ENDING, FAR, INSIGHT, SCENES
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import ApiError

UPGRADED = ["UpdateClusterVersion 1.34"]


@pytest.fixture(scope="module")
def on():
    """Without the workload cluster, which all would share: nodes of others would be in the way."""
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.3, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def played(on: Environment) -> dict[str, Played]:
    """Every cluster there and edited."""
    on.start("--drift-interval=3s")
    scenes = [Played(on, gate) for gate in [*SCENES, *ENDING]]
    for scene in scenes:
        on.ready(*scene.items, timeout=120)
    for scene in scenes:
        scene.gate.before(scene)
        for match, then in scene.gate.faults:
            on.aws.add_fault({"account": scene.account.id, **match}, then)
    for scene in scenes:
        if scene.gate not in ENDING:
            scene.edit()
    return {scene.name: scene for scene in scenes}


# Insights


def test_an_insight_of_status_error_stops_it_before_anything_is_written(on, played):
    scene = played["insight-block"]
    ready = scene.blocked(INSIGHT)
    assert ready["reason"] == "UpgradeBlocked"
    verdict, message = scene.verdict("Insights")
    assert verdict == "Failed" and INSIGHT in message
    assert scene.calls() == []
    # Somebody has put it right, and does not want to wait.
    scene.insight(INSIGHT, "PASSING")
    scene.look_now()
    on.ready(scene.cluster, timeout=30)
    assert scene.steps() == UPGRADED
    assert [call["asked"].get("force", False) for call in scene.calls()] == [False]


def test_with_warn_it_goes_on_and_says_what_was_found(on, played):
    scene = played["insight-warn"]
    on.ready(scene.cluster, timeout=40)
    assert (scene.version(), scene.steps()) == ("1.34", UPGRADED)
    verdict, message = scene.verdict("Insights")
    assert verdict == "Warning" and INSIGHT in message


def test_with_ignore_it_goes_on_and_says_nothing(on, played):
    scene = played["insight-ignore"]
    on.ready(scene.cluster, timeout=40)
    assert (scene.version(), scene.steps()) == ("1.34", UPGRADED)
    verdict, message = scene.verdict("Insights")
    assert verdict == "Passed" and INSIGHT not in message


def test_an_insight_about_a_later_version_is_in_nobody_s_way(on, played):
    on.ready(played["insight-of-later"].cluster, timeout=40)
    assert played["insight-of-later"].steps() == UPGRADED


# Windows and soak


def test_outside_a_window_nothing_is_written_and_the_next_one_is_told(on, played):
    scene = played["window-closed"]
    found = on.await_condition(
        scene.cluster, "Reconciling", reason="OutsideMaintenanceWindow", timeout=30
    )
    opens = datetime.datetime.fromisoformat(scene.upgrade()["nextWindow"])
    assert (opens.month, opens.day, opens.hour, opens.minute) == (FAR, 1, 3, 0)
    assert opens.utcoffset() in (datetime.timedelta(hours=1), datetime.timedelta(hours=2))
    assert opens > datetime.datetime.now(datetime.timezone.utc)
    assert scene.conditions()["Stalled"]["status"] == "False"
    assert scene.conditions()["Ready"]["reason"] == "OutsideMaintenanceWindow"
    assert opens.date().isoformat() in next(
        c["message"] for c in found["status"]["conditions"] if c["type"] == "Reconciling"
    )
    time.sleep(3)
    assert scene.calls() == []


def test_outside_a_window_a_node_group_of_its_own_version_is_not_replaced(on, played):
    scene = played["window-closed"]
    version, kind, name = "keelson.dev/v1alpha1", "NodeGroup", "window-closed-web"
    on.api.patch(version, kind, name, {"spec": {"labels": {"a": "b"}}})
    until(lambda: scene.calls(), 20, "a change that replaces no node")
    on.ready(scene.groups[0], timeout=20)
    assert [call["action"] for call in scene.calls()] == ["UpdateNodegroupConfig"]


def test_it_begins_when_the_window_opens_and_not_before(on, played):
    scene = played["window-opens"]
    (window,) = scene.found()["spec"]["upgrade"]["windows"]
    minute, hour, day, month, _ = window["schedule"].split()
    now = datetime.datetime.now(datetime.timezone.utc)
    opens = now.replace(month=int(month), day=int(day), hour=int(hour), minute=int(minute), second=0, microsecond=0)
    if opens > now:
        assert datetime.datetime.fromisoformat(scene.upgrade()["nextWindow"]) == opens
    left = (opens - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert scene.calls() == [] or left < 0
    on.ready(scene.cluster, timeout=max(left, 0) + 40)
    (call,) = scene.calls()
    began = datetime.datetime.fromisoformat(call["time"])
    assert 0 <= (began - opens).total_seconds() < 10
    assert scene.version() == "1.34"


def test_between_two_steps_it_waits_until_the_cluster_was_healthy_for_long_enough(on, played):
    scene = played["soaking"]
    on.ready(scene.cluster, timeout=60)
    first, second = scene.calls()
    times = [datetime.datetime.fromisoformat(call["time"]) for call in (first, second)]
    # The update itself takes one second.
    assert (times[1] - times[0]).total_seconds() >= 1 + 6
    assert scene.version() == "1.34"


# Manual


def test_manual_add_ons_are_left_and_what_is_due_is_told(on, played):
    scene = played["addons-manual"]
    until(lambda: scene.version() == "1.34", 40, "the control plane")
    until(lambda: "v1.34.0-eksbuild.4" in scene.messages(), 20, "what is due")
    assert scene.steps() == UPGRADED
    assert "kube-proxy" in scene.messages()


def test_manual_node_groups_are_left_and_what_is_due_is_told(on, played):
    scene = played["nodes-manual"]
    until(lambda: scene.version() == "1.34", 40, "the control plane")
    until(lambda: "web" in scene.messages(), 20, f"what is due: {scene.messages()}")
    time.sleep(2)
    assert scene.steps() == UPGRADED
    # A person says when.
    version, kind, name = "keelson.dev/v1alpha1", "NodeGroup", "nodes-manual-web"
    on.api.patch(version, kind, name, {"spec": {"version": "1.34"}})
    until(lambda: len(scene.steps()) == 2, 20, "the node group's update")
    assert scene.steps() == [*UPGRADED, "UpdateNodegroupVersion web 1.34"]
    on.ready(*scene.items, timeout=30)
    assert "web" not in scene.conditions()["Ready"]["message"]


# What fails


def test_a_version_that_the_region_does_not_offer_is_named(played):
    scene = played["not-offered"]
    assert scene.blocked("1.37")["reason"] == "UpgradeBlocked"
    assert scene.calls() == []


def test_subnets_without_free_addresses_stop_it(played):
    scene = played["no-addresses"]
    subnet = scene.account.ec2.describe_subnets()["Subnets"][0]
    assert subnet["AvailableIpAddressCount"] < 5
    assert scene.blocked(subnet["SubnetId"])["reason"] == "UpgradeBlocked"
    assert scene.calls() == []


def test_an_update_that_fails_is_tried_three_times_and_again_when_asked(on, played):
    scene = played["failing"]
    until(lambda: len(scene.steps()) == 3, 60, "three tries")
    scene.blocked(BROKEN["message"])
    time.sleep(4)
    assert scene.steps() == UPGRADED * 3
    failed = [u for u in updates(scene) if u["status"] == "Failed"]
    assert len(failed) == 3
    on.aws.clear_faults()
    scene.look_now()
    on.ready(scene.cluster, timeout=30)
    assert scene.steps() == UPGRADED * 4 and scene.version() == "1.34"


def updates(scene: Played, **owner: str) -> list[dict]:
    eks, name = scene.account.eks, scene.name
    ids = eks.list_updates(name=name, **owner)["updateIds"]
    return [eks.describe_update(name=name, updateId=i, **owner)["update"] for i in ids]


def test_pods_that_cannot_be_evicted_are_told_and_nothing_is_forced(on, played):
    scene = played["evicting"]
    (web,) = scene.groups
    (update,) = until(lambda: updates(scene, nodegroupName="web"), 60, "the update")
    ready = scene.blocked("PodEvictionFailure", item=web)
    assert ready["reason"] == "UpgradeBlocked"
    (update,) = updates(scene, nodegroupName="web")
    (node,) = update["errors"][0]["resourceIds"]
    assert update["id"] in ready["message"] and node in ready["message"]
    until(lambda: "web" in scene.conditions()["Ready"]["message"], 15, "the group's name")
    time.sleep(4)
    tried = "UpdateNodegroupVersion web 1.34"
    assert scene.steps() == [*UPGRADED, tried], "it was tried again by itself"
    assert not any(call["asked"].get("force") for call in scene.calls())
    on.aws.clear_faults()
    scene.look_now(web)
    on.ready(*scene.items, timeout=40)
    assert scene.steps() == [*UPGRADED, tried, tried]


# Rollback


def test_a_lower_version_is_refused_unless_it_is_allowed_and_goes_back_one_minor(on, played):
    scene = played["rolled-back"]
    on.ready(*scene.items, timeout=60)
    until(lambda: len(scene.steps()) == 2, 20, "the node group, too")
    on.ready(*scene.items, timeout=20)
    for spec in (
        {"version": "1.33"},
        {"version": "1.32", "upgrade": {"allowRollback": True}},
    ):
        with pytest.raises(ApiError) as refused:
            scene.edit(**spec)
        assert refused.value.code == 422 and "roll" in refused.value.message
    # The node group went along, and cannot go back.
    scene.edit(version="1.33", upgrade={"allowRollback": True})
    assert scene.blocked("web", "1.34")["reason"] == "UpgradeBlocked"
    assert scene.calls() == []
    web = scene.groups[0]
    on.api.delete(web["apiVersion"], web["kind"], web["metadata"]["name"])
    until(lambda: scene.version() == "1.33", 60, "the rollback")
    on.ready(scene.cluster, timeout=30)
    kinds = [update["type"] for update in updates(scene)]
    assert sorted(kinds) == ["VersionRollback", "VersionUpdate"]
    assert scene.found()["status"]["version"] == "1.33"


# Support


@pytest.mark.parametrize(("name", "days"), [("ends-in-60-days", 60), ("ends-in-20-days", 20)])
def test_the_end_of_support_is_in_status_and_warned_of(on, played, name, days):
    scene = played[name]
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    end = end.date().isoformat()
    until(lambda: scene.found()["status"].get("support", {}).get("standardEnds") == end, 30, end)

    def warned() -> list[str]:
        events = [e for e in on.events(scene.cluster) if e["type"] == "Warning"]
        return [e["note"] for e in events if end in e["note"]]

    until(warned, 20, "the warning")
    assert len(warned()) == 1, warned()
    assert "1.33" in warned()[0]
    # It is no reason not to be ready.
    assert scene.conditions()["Ready"]["status"] == "True"


# A version that there is not


def test_a_version_that_was_never_carried_out_is_taken_back(on, played):
    scene = played["typo"]
    ready = scene.blocked("1.63", "set spec.version")
    assert ready["reason"] == "UpgradeBlocked"
    assert scene.calls() == []
    # Lower than what was asked for, and not lower than what runs: what the message advises.
    scene.edit(version="1.34")
    on.ready(scene.cluster, timeout=40)
    assert scene.steps() == UPGRADED


# The workload cluster


def test_a_workload_api_that_hangs_holds_the_upgrade_and_nothing_else(on, played):
    """It accepts connections and never answers."""
    account = on.account(fresh_account())
    silent = socket.create_server(("127.0.0.1", 0), backlog=100)
    endpoint = f"https://127.0.0.1:{silent.getsockname()[1]}"
    upgrade = {"unreadableNodes": "Block"}
    spec = {"version": "1.33", "addons": [], "accountRef": {"name": "silent"}, **SMALL}
    made = cluster("silent", upgrade=upgrade, **spec)
    version, kind, name, namespace = key_of(made)
    behind = {"endpoint": endpoint, "caFile": str(on.cloud.management.ca_file), "kubeconfig": "none"}
    with silent:
        on.apply(*reach(on, account, name), made)
        on.ready(made, timeout=60)
        where = {"account": account.id, "region": REGION, "cluster": name}
        on.aws.control("POST", "api-servers", json={**where, **behind})
        until(lambda: on.status(made)["endpoint"] == endpoint, 20, "the endpoint")
        on.api.patch(version, kind, name, {"spec": {"version": "1.34"}}, namespace)
        # The preflight waits for the nodes and budgets of the workload cluster.
        until(lambda: "preflight for 1.34" in on.condition(made)["message"], 20, "the preflight")
        # An edit that has nothing to do with it is carried out at once.
        on.api.patch(version, kind, name, {"spec": {"tags": {"stage": "test"}}}, namespace)
        arn = on.status(made)["arn"]

        def tag() -> str | None:
            return account.eks.list_tags_for_resource(resourceArn=arn)["tags"].get("stage")

        until(tag, 10, "the tag")
        until(lambda: "unreadableNodes" in on.condition(made)["message"], 60, "what to do")
        assert account.eks.describe_cluster(name=name)["cluster"]["version"] == "1.33"
        ignore = {"spec": {"upgrade": {"unreadableNodes": "Ignore"}}}
        on.api.patch(version, kind, name, ignore, namespace)
        on.ready(made, timeout=60)
        assert account.eks.describe_cluster(name=name)["cluster"]["version"] == "1.34"
