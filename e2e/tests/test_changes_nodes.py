"""Each mutable field of a node group: an edit causes exactly the expected AWS writes, and a further reconcile causes none."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, is_in_sync, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

SETTINGS = ["eks:UpdateNodegroupConfig shop/web"]
NODES = ["eks:UpdateNodegroupVersion shop/web"]
SHOP = cluster("shop", version="1.33", network={"vpc": {"zoneCount": 2, "nat": "None"}}, addons=[{"name": "vpc-cni"}])
WEB = node_group("shop", "web", scaling={"min": 1, "max": 4})
OLD_RELEASE = "1.33.7-20260923"
NEW_RELEASE = "1.33.7-20261106"


@pytest.fixture(scope="module")
def on():
    with environment(git=False, flux=False, durations=Durations(1, 1, 1, 1.5, 0.3, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def template(account) -> str:
    created = account.ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "m7i.xlarge"}
    )
    return created["LaunchTemplate"]["LaunchTemplateId"]


@pytest.fixture(scope="module")
def shop(on: Environment, account, template) -> dict:
    """A cluster with a node group and one with a launch template. Drift detection is effectively off."""
    on.start("--drift-interval=1h", account=account.id)
    on.apply(SHOP, WEB, node_group("shop", "own", launchTemplate={"id": template, "version": "1"}))
    on.ready(SHOP, WEB, node_group("shop", "own"))
    return WEB


def described(account: Account, name: str = "web") -> dict:
    return account.eks.describe_nodegroup(clusterName="shop", nodegroupName=name)["nodegroup"]


def edit(on: Environment, spec: dict, name: str = "web") -> int:
    """Edits the node group, waits until it is in sync, and returns the call log position before the edit."""
    item = node_group("shop", name)
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"spec": spec})
    on.await_in_sync(item, 40, f"{spec} in AWS")
    return mark


def reconcile_and_list_writes(on: Environment, account: Account, name: str = "web") -> list[str]:
    """Triggers a full reconcile and returns its writes."""
    mark = on.mark()
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}
    on.api.patch(*key_of(node_group("shop", name))[:3], annotation)
    observed = f"eks:DescribeNodegroup shop/{name}"
    until(lambda: observed in actions(on.calls(mark, account.id)), 20, "a reconcile")
    on.await_in_sync(node_group("shop", name), 20)
    return actions(on.writes(mark, account.id))


@dataclass
class Edit:
    """An edit of the spec, the expected writes, and the expected state in AWS."""

    name: str
    spec: dict
    expected: dict
    writes: list[str] = field(default_factory=lambda: SETTINGS)


OVERRIDE = {
    "nodeMonitoringCondition": "KernelReady", "nodeUnhealthyReason": "SoftLockup", "minRepairWaitTimeMins": 10, "repairAction": "Reboot"
}
SPOT = {"key": "spot", "value": "true", "effect": "NO_SCHEDULE"}
EDITS = [
    Edit("maximum size", {"scaling": {"max": 6}}, {"scalingConfig": {"minSize": 1, "maxSize": 6, "desiredSize": 1}}),
    Edit(
        "minimum size, which raises the desired size",
        {"scaling": {"min": 2}},
        {"scalingConfig": {"minSize": 2, "maxSize": 6, "desiredSize": 2}},
    ),
    Edit("labels", {"labels": {"a": "1", "b": "2"}}, {"labels": {"a": "1", "b": "2"}}),
    Edit("a label changed and one removed", {"labels": {"a": "3", "b": None}}, {"labels": {"a": "3"}}),
    Edit(
        "taints",
        {"taints": [{"key": "spot", "value": "true", "effect": "NoSchedule"}]},
        {"taints": [SPOT]},
    ),
    Edit(
        "a taint with another effect",
        {"taints": [{"key": "spot", "value": "true", "effect": "PreferNoSchedule"}]},
        {"taints": [{**SPOT, "effect": "PREFER_NO_SCHEDULE"}]},
    ),
    Edit("no taints", {"taints": []}, {"taints": []}),
    Edit("maximum unavailable nodes", {"update": {"maxUnavailable": 2}}, {"updateConfig": {"maxUnavailable": 2}}),
    Edit(
        "maximum unavailable percentage",
        {"update": {"maxUnavailable": None, "maxUnavailablePercentage": 50}},
        {"updateConfig": {"maxUnavailablePercentage": 50}},
    ),
    Edit(
        "strategy",
        {"update": {"strategy": "Minimal"}},
        {"updateConfig": {"maxUnavailablePercentage": 50, "updateStrategy": "MINIMAL"}},
    ),
    Edit("repair", {"repair": {"enabled": True}}, {"nodeRepairConfig": {"enabled": True}}),
    Edit(
        "limits of repair",
        {"repair": {"maxUnhealthyPercentage": 10, "maxParallelRepairedCount": 2, "overrides": [OVERRIDE]}},
        {
            "nodeRepairConfig": {
                "enabled": True, "maxUnhealthyNodeThresholdPercentage": 10, "maxParallelNodesRepairedCount": 2,
                "nodeRepairConfigOverrides": [OVERRIDE],
            },
        },
    ),
    Edit(
        "a limit that is no longer managed, and no overrides",
        {"repair": {"maxUnhealthyPercentage": None, "overrides": []}},
        {"nodeRepairConfig": {"enabled": True, "maxUnhealthyNodeThresholdPercentage": 10, "maxParallelNodesRepairedCount": 2}},
    ),
    Edit(
        "a warm pool",
        {"warmPool": {"enabled": True, "minSize": 1, "poolState": "Running"}},
        {"warmPoolConfig": {"enabled": True, "minSize": 1, "poolState": "RUNNING", "reuseOnScaleIn": False}},
    ),
    Edit(
        "another size of the warm pool",
        {"warmPool": {"maxGroupPreparedCapacity": 7}},
        {"warmPoolConfig": {"enabled": True, "minSize": 1, "poolState": "RUNNING", "reuseOnScaleIn": False, "maxGroupPreparedCapacity": 7}},
    ),
    Edit("no warm pool", {"warmPool": {"enabled": False}}, {"warmPoolConfig": {"enabled": False}}),
    Edit(
        "several settings at once, in one update",
        {"scaling": {"max": 5}, "labels": {"c": "4"}, "repair": {"enabled": False}},
        {
            "labels": {"a": "3", "c": "4"},
            "nodeRepairConfig": {"enabled": False, "maxUnhealthyNodeThresholdPercentage": 10, "maxParallelNodesRepairedCount": 2},
        },
    ),
    Edit("tags", {"tags": {"team": "web"}}, {}, ["eks:TagResource"]),
    Edit(
        "an enforced size",
        {"scaling": {"desired": 3, "desiredPolicy": "Enforce"}},
        {"scalingConfig": {"minSize": 2, "maxSize": 5, "desiredSize": 3}},
    ),
    Edit(
        "a size that is no longer enforced",
        {"scaling": {"desiredPolicy": "Initial"}},
        {"scalingConfig": {"minSize": 2, "maxSize": 5, "desiredSize": 3}},
        [],
    ),
    Edit("force, which AWS does not store", {"update": {"force": True}}, {}, []),
]


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.name)
def test_node_group_edit_causes_exactly_the_expected_writes(on, shop, account, change):
    mark = edit(on, change.spec)
    written = actions(on.writes(mark, account.id))
    assert [call.split(" arn:")[0] for call in written] == change.writes
    found = described(account)
    assert {key: found.get(key) for key in change.expected} == change.expected
    assert reconcile_and_list_writes(on, account) == []


def test_new_bounds_keep_nodes_added_by_an_autoscaler(on, shop, account):
    autoscaling = account.client("autoscaling")
    (group,) = described(account)["resources"]["autoScalingGroups"]
    autoscaling.set_desired_capacity(AutoScalingGroupName=group["name"], DesiredCapacity=5)
    edit(on, {"scaling": {"min": 4, "max": 6, "desired": None}})
    assert described(account)["scalingConfig"] == {"minSize": 4, "maxSize": 6, "desiredSize": 5}
    edit(on, {"scaling": {"min": 1, "max": 2}})
    assert described(account)["scalingConfig"] == {"minSize": 1, "maxSize": 2, "desiredSize": 2}


def test_ready_nodes_are_counted(on, shop):
    until(lambda: on.status(shop).get("readyNodes") == 2, 30, "two nodes")
    assert on.condition(shop)["message"] == "2 of 2 nodes ready"


def test_release_version_is_pinned_upgraded_and_never_downgraded(on, shop, account):
    """A node group with an old release is upgraded to the latest, and is not downgraded."""
    on.apply(node_group("shop", "old", releaseVersion=OLD_RELEASE, scaling={"min": 1, "max": 2}))
    old = node_group("shop", "old")
    on.ready(old)
    assert described(account, "old")["releaseVersion"] == OLD_RELEASE
    mark = edit(on, {"releaseVersion": "Pinned"}, "old")
    assert actions(on.writes(mark, account.id)) == []
    mark = edit(on, {"releaseVersion": "Latest"}, "old")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/old"]
    assert described(account, "old")["releaseVersion"] == NEW_RELEASE
    assert reconcile_and_list_writes(on, account, "old") == []
    on.api.patch(*key_of(old)[:3], {"spec": {"releaseVersion": OLD_RELEASE}})
    found = on.await_condition(old, "Stalled", "True", timeout=20)
    assert "never downgraded" in conditions(found)["Stalled"]["message"]
    assert described(account, "old")["releaseVersion"] == NEW_RELEASE
    on.delete(old)


def test_launch_template_version_is_updated(on, shop, account, template):
    data = {"InstanceType": "m7i.2xlarge"}
    account.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
    assert described(account, "own").get("instanceTypes") is None
    mark = edit(on, {"launchTemplate": {"id": template, "version": "2"}}, "own")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/own"]
    assert described(account, "own")["launchTemplate"]["version"] == "2"
    assert reconcile_and_list_writes(on, account, "own") == []


def test_progress_of_a_node_upgrade_is_reported(on, shop, account):
    """The node group's own version, behind the control plane's: 1.32 to 1.33 in one update."""
    on.aws.control("POST", "settings", json={"NODEGROUP_SECONDS": 12})
    on.apply(node_group("shop", "behind", version="1.32", scaling={"min": 2, "max": 4}))
    behind = node_group("shop", "behind")
    on.ready(behind)
    mark = on.mark()
    on.api.patch(*key_of(behind)[:3], {"spec": {"version": "1.33"}})
    messages: set[str] = set()

    def upgraded() -> bool:
        messages.add(on.condition(behind)["message"])
        return is_in_sync(on.api.get(*key_of(behind)))

    until(upgraded, 60, "1.33")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/behind"]
    progress = [message for message in messages if "nodes on v1.33, " in message and "cordoned" in message]
    assert progress, json.dumps(sorted(messages), indent=1)
    assert on.status(behind)["version"] == "1.33"
    on.aws.control("POST", "settings", json={"NODEGROUP_SECONDS": 1.5})


def test_node_version_newer_than_the_control_plane_waits(on, shop, account):
    mark = on.mark()
    on.api.patch(*key_of(shop)[:3], {"spec": {"version": "1.34"}})
    found = on.await_condition(shop, "Ready", "False", "WaitingForCluster", timeout=20)
    assert "waits for the control plane" in conditions(found)["Ready"]["message"]
    assert conditions(found)["NodesReady"]["status"] == "True"
    edit(on, {"version": None})
    assert actions(on.writes(mark, account.id)) == []


def test_new_node_group_newer_than_the_control_plane_is_not_created(on, shop, account):
    early = node_group("shop", "early", version="1.34")
    mark = on.mark()
    on.apply(early)
    until(lambda: "waits for the control plane" in on.condition(early).get("message", ""), 20, "why it waits")
    assert on.condition(early, "Stalled")["status"] == "False"
    assert actions(on.writes(mark, account.id)) == []
    on.delete(early)


def test_unreadable_latest_release_blocks_nothing(on, shop, account):
    match = {"service": "ssm", "action": "GetParameter", "account": account.id}
    denied = {"code": "AccessDeniedException", "message": "not authorized", "status": 400}
    on.aws.add_fault(match, {"error": denied})
    group = node_group("shop", "unreadable", version="1.31", scaling={"min": 1, "max": 2})
    on.apply(group)
    on.ready(group)
    assert any(c["action"] == "GetParameter" and c["error"] for c in on.calls(0, account.id))
    on.aws.clear_faults()
    on.delete(group)


def test_blocking_pods_are_named_and_no_eviction_is_forced(on, shop, account):
    on.apply(node_group("shop", "blocked", version="1.32", scaling={"min": 1, "max": 2}))
    blocked = node_group("shop", "blocked")
    on.ready(blocked)
    api = on.cloud.workload.api
    labels = {"eks.amazonaws.com/nodegroup": "blocked"}

    def node_name() -> str:
        nodes = api.list("v1", "Node")
        return next((n["metadata"]["name"] for n in nodes if labels.items() <= n["metadata"]["labels"].items()), "")

    node = until(node_name, 20, "a node")
    create_unevictable_pod(api, str(node))
    fault = {"service": "eks", "action": "UpdateNodegroupVersion", "account": account.id}
    issue = {"code": "PodEvictionFailure", "message": "Reached max retries while trying to evict pods"}
    on.aws.add_fault(fault, {"health_issue": issue})
    mark = on.mark()
    on.api.patch(*key_of(blocked)[:3], {"spec": {"version": "1.33"}})

    def named() -> bool:
        message = on.condition(blocked, "Stalled").get("message", "")
        return "PodEvictionFailure" in message and "pod default/stubborn" in message and "budget" in message.lower()

    until(named, 40, f"the pod's name: {on.describe(blocked)}")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/blocked"]
    on.aws.clear_faults()
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": "again"}}}
    on.api.patch(*key_of(blocked)[:3], annotation)
    until(lambda: described(account, "blocked")["version"] == "1.33", 40, "1.33")


def create_unevictable_pod(api, node: str) -> None:
    """A pod on that node, with a budget that allows no eviction."""
    template = {"metadata": {"labels": {"app": "stubborn"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stubborn", "namespace": "default", "labels": {"app": "stubborn"}},
        "spec": {**template["spec"], "nodeName": node},
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "none", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "stubborn"}}},
    }
    api.create(pod)
    created = api.create(budget)
    # The disruption controller does not run here: this is the status that it would write.
    status = {
        "observedGeneration": created["metadata"]["generation"],
        "disruptionsAllowed": 0,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    api.patch("policy/v1", "PodDisruptionBudget", "none", {"status": status}, "default", "status")
