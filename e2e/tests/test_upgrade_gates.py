"""The conditions for an upgrade step to start, and what happens when they are not met: all scenes concurrently, under one operator."""

from __future__ import annotations

import datetime
import socket
import time

import pytest

from fleet.account import fresh_account
from fleet.manifests import cluster, key_of
from fleet.environment import Environment, environment, until
from fleet.upgrading import SMALL, reach
from gates import GateScenario
from gates.scenes import ENDING_SUPPORT, FAR_MONTH, INSIGHT, SCENES, UPDATE_FAILURE, opening
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import ApiError

UPGRADED = ["UpdateClusterVersion 1.34"]


@pytest.fixture(scope="module")
def on():
    """Without a workload cluster, as all clusters would share it and see each other's nodes."""
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.3, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def scenarios(on: Environment) -> dict[str, GateScenario]:
    """The clusters of all scenes, created and edited."""
    on.start("--drift-interval=3s")
    created = [GateScenario(on, gate) for gate in [*SCENES, *ENDING_SUPPORT]]
    for scenario in created:
        on.ready(*scenario.items, timeout=120)
    for scenario in created:
        scenario.gate.before(scenario)
        for match, then in scenario.gate.faults:
            on.aws.add_fault({"account": scenario.account.id, **match}, then)
    for scenario in created:
        if scenario.gate not in ENDING_SUPPORT:
            scenario.edit()
    return {scenario.name: scenario for scenario in created}


# A window that opens soon: the first test and the last, so that the others run meanwhile


def test_window_that_opens_soon_is_in_status_before_it_opens(on, scenarios):
    scenario = scenarios["window-opens"]
    opens = opening(window_of(scenario))
    found = on.await_state(scenario.cluster, lambda item: item["status"].get("upgrade", {}).get("nextWindow"), 30, "the next window")
    assert datetime.datetime.fromisoformat(found["status"]["upgrade"]["nextWindow"]) == opens
    calls = scenario.calls()
    assert calls == [] or datetime.datetime.now(datetime.timezone.utc) >= opens, calls


def window_of(scenario: GateScenario) -> dict:
    (window,) = scenario.found()["spec"]["upgrade"]["windows"]
    return window


# Insights


def test_insight_with_error_blocks_upgrade_before_any_write(on, scenarios):
    scenario = scenarios["insight-block"]
    ready = scenario.blocked(INSIGHT)
    assert ready["reason"] == "UpgradeBlocked"
    verdict, message = scenario.verdict("Insights")
    assert verdict == "Failed" and INSIGHT in message
    assert scenario.calls() == []
    # A user has fixed it, and requests a reconcile instead of waiting.
    scenario.insight(INSIGHT, "PASSING")
    scenario.reconcile_now()
    on.ready(scenario.cluster, timeout=30)
    assert scenario.steps() == UPGRADED
    assert [call["asked"].get("force", False) for call in scenario.calls()] == [False]


def test_fixed_insight_is_refreshed_and_does_not_block(on, scenarios):
    scenario = scenarios["insight-fixed"]
    on.ready(scenario.cluster, timeout=60)
    assert (scenario.version(), scenario.steps()) == ("1.34", UPGRADED)
    refreshes = [call for call in on.calls(0, scenario.account.id) if call["action"] == "StartInsightsRefresh"]
    assert len(refreshes) == 1, refreshes


def test_insights_warn_continues_with_a_warning(on, scenarios):
    scenario = scenarios["insight-warn"]
    on.ready(scenario.cluster, timeout=40)
    assert (scenario.version(), scenario.steps()) == ("1.34", UPGRADED)
    verdict, message = scenario.verdict("Insights")
    assert verdict == "Warning" and INSIGHT in message


def test_insights_ignore_continues_without_a_warning(on, scenarios):
    scenario = scenarios["insight-ignore"]
    on.ready(scenario.cluster, timeout=40)
    assert (scenario.version(), scenario.steps()) == ("1.34", UPGRADED)
    verdict, message = scenario.verdict("Insights")
    assert verdict == "Passed" and INSIGHT not in message


def test_insight_about_a_later_version_does_not_block(on, scenarios):
    on.ready(scenarios["insight-of-later"].cluster, timeout=40)
    assert scenarios["insight-of-later"].steps() == UPGRADED


# A closed window, and soak


def test_outside_window_nothing_is_written_and_next_window_is_reported(on, scenarios):
    scenario = scenarios["window-closed"]
    found = on.await_condition(
        scenario.cluster, "Reconciling", reason="OutsideMaintenanceWindow", timeout=30
    )
    opens = datetime.datetime.fromisoformat(scenario.upgrade()["nextWindow"])
    assert (opens.month, opens.day, opens.hour, opens.minute) == (FAR_MONTH, 1, 3, 0)
    assert opens.utcoffset() in (datetime.timedelta(hours=1), datetime.timedelta(hours=2))
    assert opens > datetime.datetime.now(datetime.timezone.utc)
    assert scenario.conditions()["Stalled"]["status"] == "False"
    assert scenario.conditions()["Ready"]["reason"] == "OutsideMaintenanceWindow"
    assert opens.date().isoformat() in next(
        c["message"] for c in found["status"]["conditions"] if c["type"] == "Reconciling"
    )
    time.sleep(3)
    assert scenario.calls() == []


def test_outside_window_nodes_are_not_replaced(on, scenarios):
    scenario = scenarios["window-closed"]
    version, kind, name = "keelson.dev/v1alpha1", "NodeGroup", "window-closed-web"
    on.api.patch(version, kind, name, {"spec": {"labels": {"a": "b"}}})
    until(lambda: scenario.calls(), 20, "a change that replaces no node")
    on.ready(scenario.groups[0], timeout=20)
    assert [call["action"] for call in scenario.calls()] == ["UpdateNodegroupConfig"]


def test_soak_time_passes_between_steps(on, scenarios):
    scenario = scenarios["soaking"]
    on.ready(scenario.cluster, timeout=60)
    first, second = scenario.calls()
    times = [datetime.datetime.fromisoformat(call["time"]) for call in (first, second)]
    # The update itself takes one second.
    assert (times[1] - times[0]).total_seconds() >= 1 + 6
    assert scenario.version() == "1.34"


# Manual


def test_manual_addons_are_not_updated_and_pending_update_is_reported(on, scenarios):
    scenario = scenarios["addons-manual"]
    until(lambda: scenario.version() == "1.34", 40, "the control plane")
    until(lambda: "v1.34.0-eksbuild.4" in scenario.messages(), 20, "the pending update")
    assert scenario.steps() == UPGRADED
    assert "kube-proxy" in scenario.messages()


def test_manual_node_groups_are_not_updated_and_pending_update_is_reported(on, scenarios):
    scenario = scenarios["nodes-manual"]
    until(lambda: scenario.version() == "1.34", 40, "the control plane")
    until(lambda: "web" in scenario.messages(), 20, f"the pending update: {scenario.messages()}")
    time.sleep(2)
    assert scenario.steps() == UPGRADED
    # A user starts it.
    version, kind, name = "keelson.dev/v1alpha1", "NodeGroup", "nodes-manual-web"
    on.api.patch(version, kind, name, {"spec": {"version": "1.34"}})
    until(lambda: len(scenario.steps()) == 2, 20, "the node group's update")
    assert scenario.steps() == [*UPGRADED, "UpdateNodegroupVersion web 1.34"]
    on.ready(*scenario.items, timeout=30)
    until(lambda: "web" not in scenario.conditions()["Ready"]["message"], 20, "nothing is left")


# Failures


def test_version_not_offered_in_region_is_named(scenarios):
    scenario = scenarios["not-offered"]
    assert scenario.blocked("1.37")["reason"] == "UpgradeBlocked"
    assert scenario.calls() == []


def test_subnets_without_free_addresses_block_upgrade(scenarios):
    scenario = scenarios["no-addresses"]
    subnet = scenario.account.ec2.describe_subnets()["Subnets"][0]
    assert subnet["AvailableIpAddressCount"] < 5
    assert scenario.blocked(subnet["SubnetId"])["reason"] == "UpgradeBlocked"
    assert scenario.calls() == []


def test_failed_update_is_tried_three_times_and_again_on_request(on, scenarios):
    scenario = scenarios["failing"]
    until(lambda: len(scenario.steps()) == 3, 60, "three attempts")
    scenario.blocked(UPDATE_FAILURE["message"])
    time.sleep(4)
    assert scenario.steps() == UPGRADED * 3
    failed = [u for u in updates(scenario) if u["status"] == "Failed"]
    assert len(failed) == 3
    on.aws.clear_faults()
    scenario.reconcile_now()
    on.ready(scenario.cluster, timeout=30)
    assert scenario.steps() == UPGRADED * 4 and scenario.version() == "1.34"


def updates(scenario: GateScenario, **owner: str) -> list[dict]:
    eks, name = scenario.account.eks, scenario.name
    ids = eks.list_updates(name=name, **owner)["updateIds"]
    return [eks.describe_update(name=name, updateId=i, **owner)["update"] for i in ids]


def test_pod_eviction_failure_is_reported_and_nothing_is_forced(on, scenarios):
    scenario = scenarios["evicting"]
    (web,) = scenario.groups
    (update,) = until(lambda: updates(scenario, nodegroupName="web"), 60, "the update")
    ready = scenario.blocked("PodEvictionFailure", item=web)
    assert ready["reason"] == "UpgradeBlocked"
    (update,) = updates(scenario, nodegroupName="web")
    (node,) = update["errors"][0]["resourceIds"]
    assert update["id"] in ready["message"] and node in ready["message"]
    until(lambda: "web" in scenario.conditions()["Ready"]["message"], 15, "the group's name")
    time.sleep(4)
    node_group_update = "UpdateNodegroupVersion web 1.34"
    assert scenario.steps() == [*UPGRADED, node_group_update], "it was retried automatically"
    assert not any(call["asked"].get("force") for call in scenario.calls())
    on.aws.clear_faults()
    scenario.reconcile_now(web)
    on.ready(*scenario.items, timeout=40)
    assert scenario.steps() == [*UPGRADED, node_group_update, node_group_update]


# Rollback


def test_rollback_needs_permission_and_is_limited_to_one_minor(on, scenarios):
    scenario = scenarios["rolled-back"]
    on.ready(*scenario.items, timeout=60)
    until(lambda: len(scenario.steps()) == 2, 20, "the update of the node group")
    on.ready(*scenario.items, timeout=20)
    for spec in (
        {"version": "1.33"},
        {"version": "1.32", "upgrade": {"allowRollback": True}},
    ):
        with pytest.raises(ApiError) as rejected:
            scenario.edit(**spec)
        assert rejected.value.code == 422 and "roll" in rejected.value.message
    # The node group was upgraded too, and cannot be rolled back.
    scenario.edit(version="1.33", upgrade={"allowRollback": True})
    assert scenario.blocked("web", "1.34")["reason"] == "UpgradeBlocked"
    assert scenario.calls() == []
    web = scenario.groups[0]
    on.api.delete(web["apiVersion"], web["kind"], web["metadata"]["name"])
    until(lambda: scenario.version() == "1.33", 60, "the rollback")
    on.ready(scenario.cluster, timeout=30)
    kinds = [update["type"] for update in updates(scenario)]
    assert sorted(kinds) == ["VersionRollback", "VersionUpdate"]
    assert scenario.found()["status"]["version"] == "1.33"


# Support


@pytest.mark.parametrize(("name", "days"), [("ends-in-60-days", 60), ("ends-in-20-days", 20)])
def test_end_of_support_is_in_status_and_has_a_warning_event(on, scenarios, name, days):
    scenario = scenarios[name]
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    end = end.date().isoformat()
    until(lambda: scenario.found()["status"].get("support", {}).get("standardEnds") == end, 30, end)

    def warnings() -> list[str]:
        events = [e for e in on.events(scenario.cluster) if e["type"] == "Warning"]
        return [e["note"] for e in events if end in e["note"]]

    until(warnings, 20, "the warning")
    assert len(warnings()) == 1, warnings()
    assert "1.33" in warnings()[0]
    # It does not affect Ready.
    assert scenario.conditions()["Ready"]["status"] == "True"


# A version that does not exist


def test_unavailable_version_in_spec_can_be_lowered_again(on, scenarios):
    scenario = scenarios["typo"]
    ready = scenario.blocked("1.63", "set spec.version")
    assert ready["reason"] == "UpgradeBlocked"
    assert scenario.calls() == []
    # Lower than the version in the spec and not lower than the running one, as the message advises.
    scenario.edit(version="1.34")
    on.ready(scenario.cluster, timeout=40)
    assert scenario.steps() == UPGRADED


# The workload cluster


def test_hanging_workload_api_blocks_only_the_upgrade(on, scenarios):
    """It accepts connections and never answers."""
    account = on.account(fresh_account())
    hanging_server = socket.create_server(("127.0.0.1", 0), backlog=100)
    endpoint = f"https://127.0.0.1:{hanging_server.getsockname()[1]}"
    upgrade = {"unreadableNodes": "Block"}
    spec = {"version": "1.33", "addons": [], "accountRef": {"name": "silent"}, **SMALL}
    item = cluster("silent", upgrade=upgrade, **spec)
    version, kind, name, namespace = key_of(item)
    hanging_api = {"endpoint": endpoint, "caFile": str(on.cloud.management.ca_file), "kubeconfig": "none"}
    with hanging_server:
        on.apply(*reach(on, account, name), item)
        on.ready(item, timeout=60)
        target = {"account": account.id, "region": REGION, "cluster": name}
        on.aws.control("POST", "api-servers", json={**target, **hanging_api})
        until(lambda: on.status(item)["endpoint"] == endpoint, 20, "the endpoint")
        on.api.patch(version, kind, name, {"spec": {"version": "1.34"}}, namespace)
        # The preflight waits for the nodes and budgets of the workload cluster.
        until(lambda: "preflight for 1.34" in on.condition(item)["message"], 20, "the preflight")
        # An unrelated edit is applied at once.
        on.api.patch(version, kind, name, {"spec": {"tags": {"stage": "test"}}}, namespace)
        arn = on.status(item)["arn"]

        def tag() -> str | None:
            return account.eks.list_tags_for_resource(resourceArn=arn)["tags"].get("stage")

        until(tag, 10, "the tag")
        until(lambda: "unreadableNodes" in on.condition(item)["message"], 60, "the remedy in the message")
        assert account.eks.describe_cluster(name=name)["cluster"]["version"] == "1.33"
        ignore = {"spec": {"upgrade": {"unreadableNodes": "Ignore"}}}
        on.api.patch(version, kind, name, ignore, namespace)
        on.ready(item, timeout=60)
        assert account.eks.describe_cluster(name=name)["cluster"]["version"] == "1.34"


def test_upgrade_starts_when_window_opens(on, scenarios):
    scenario = scenarios["window-opens"]
    opens = opening(window_of(scenario))
    seconds_until_open = (opens - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    on.ready(scenario.cluster, timeout=max(seconds_until_open, 0) + 60)
    (call,) = scenario.calls()
    start = datetime.datetime.fromisoformat(call["time"])
    assert 0 <= (start - opens).total_seconds() < 30
    assert scenario.version() == "1.34"
