"""Every field of a node group that can change: an edit makes the AWS writes that it takes and no other, and then nothing is left
to write."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, until
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
    made = account.ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "m7i.xlarge"}
    )
    return made["LaunchTemplate"]["LaunchTemplateId"]


@pytest.fixture(scope="module")
def shop(on: Environment, account, template) -> dict:
    """A cluster with a node group, and one with a launch template. Drift is not looked for in the meantime."""
    on.start("--drift-interval=1h", account=account.id)
    on.apply(SHOP, WEB, node_group("shop", "own", launchTemplate={"id": template, "version": "1"}))
    on.ready(SHOP, WEB, node_group("shop", "own"))
    return WEB


def described(account: Account, name: str = "web") -> dict:
    return account.eks.describe_nodegroup(clusterName="shop", nodegroupName=name)["nodegroup"]


def settled(on: Environment, item: dict) -> bool:
    found = on.api.get(*key_of(item))
    says = conditions(found)
    return all(
        says[kind]["status"] == "True" and says[kind]["observedGeneration"] == found["metadata"]["generation"]
        for kind in ("Ready", "InSync")
    )


def edit(on: Environment, spec: dict, name: str = "web") -> int:
    """Edits the node group, waits until it is as asked, and returns the place in the call log before the edit."""
    item = node_group("shop", name)
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"spec": spec})
    until(lambda: settled(on, item), 40, f"{spec} in AWS: {on.describe(item)}")
    return mark


def look_again(on: Environment, account: Account, name: str = "web") -> list[str]:
    """Everything is compared anew. Returns what was written."""
    mark = on.mark()
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}
    on.api.patch(*key_of(node_group("shop", name))[:3], annotation)
    looked = f"eks:DescribeNodegroup shop/{name}"
    until(lambda: looked in actions(on.calls(mark, account.id)), 20, "a look")
    until(lambda: settled(on, node_group("shop", name)), 20, "InSync")
    return actions(on.writes(mark, account.id))


@dataclass
class Edit:
    """What a person writes, the calls it takes, and what AWS says then."""

    name: str
    spec: dict
    expected: dict
    writes: list[str] = field(default_factory=lambda: SETTINGS)


SPOT = {"key": "spot", "value": "true", "effect": "NO_SCHEDULE"}
EDITS = [
    Edit("most nodes", {"scaling": {"max": 6}}, {"scalingConfig": {"minSize": 1, "maxSize": 6, "desiredSize": 1}}),
    Edit(
        "fewest nodes, which moves the size",
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
    Edit("nodes at a time", {"update": {"maxUnavailable": 2}}, {"updateConfig": {"maxUnavailable": 2}}),
    Edit(
        "percentage at a time",
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
        "several settings at once, in one update",
        {"scaling": {"max": 5}, "labels": {"c": "4"}, "repair": {"enabled": False}},
        {"labels": {"a": "3", "c": "4"}, "nodeRepairConfig": {"enabled": False}},
    ),
    Edit("tags", {"tags": {"team": "web"}}, {}, ["eks:TagResource"]),
    Edit(
        "a size that is enforced",
        {"scaling": {"desired": 3, "desiredPolicy": "Enforce"}},
        {"scalingConfig": {"minSize": 2, "maxSize": 5, "desiredSize": 3}},
    ),
    Edit(
        "a size that is not enforced any more",
        {"scaling": {"desiredPolicy": "Initial"}},
        {"scalingConfig": {"minSize": 2, "maxSize": 5, "desiredSize": 3}},
        [],
    ),
    Edit("nothing that AWS knows of: force", {"update": {"force": True}}, {}, []),
]


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.name)
def test_an_edit_takes_the_writes_it_needs_and_then_none(on, shop, account, change):
    mark = edit(on, change.spec)
    written = actions(on.writes(mark, account.id))
    assert [call.split(" arn:")[0] for call in written] == change.writes
    found = described(account)
    assert {key: found.get(key) for key in change.expected} == change.expected
    assert look_again(on, account) == []


def test_bounds_do_not_take_back_what_an_autoscaler_has_added_since_the_last_look(on, shop, account):
    autoscaling = account.client("autoscaling")
    (group,) = described(account)["resources"]["autoScalingGroups"]
    autoscaling.set_desired_capacity(AutoScalingGroupName=group["name"], DesiredCapacity=5)
    edit(on, {"scaling": {"min": 4, "max": 6, "desired": None}})
    assert described(account)["scalingConfig"] == {"minSize": 4, "maxSize": 6, "desiredSize": 5}
    edit(on, {"scaling": {"min": 1, "max": 2}})
    assert described(account)["scalingConfig"] == {"minSize": 1, "maxSize": 2, "desiredSize": 2}


def test_its_nodes_are_counted(on, shop):
    until(lambda: on.status(shop).get("readyNodes") == 2, 30, "two nodes")
    assert on.condition(shop)["message"] == "2 of 2 nodes ready"


def test_a_release_by_name_and_never_back(on, shop, account):
    """A node group of an old release goes to the newest, and is not taken back."""
    on.apply(node_group("shop", "old", releaseVersion=OLD_RELEASE, scaling={"min": 1, "max": 2}))
    old = node_group("shop", "old")
    on.ready(old)
    assert described(account, "old")["releaseVersion"] == OLD_RELEASE
    mark = edit(on, {"releaseVersion": "Pinned"}, "old")
    assert actions(on.writes(mark, account.id)) == []
    mark = edit(on, {"releaseVersion": "Latest"}, "old")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/old"]
    assert described(account, "old")["releaseVersion"] == NEW_RELEASE
    assert look_again(on, account, "old") == []
    on.api.patch(*key_of(old)[:3], {"spec": {"releaseVersion": OLD_RELEASE}})
    found = on.await_condition(old, "Stalled", "True", timeout=20)
    assert "never taken back" in conditions(found)["Stalled"]["message"]
    assert described(account, "old")["releaseVersion"] == NEW_RELEASE
    on.delete(old)


def test_a_version_of_the_launch_template(on, shop, account, template):
    data = {"InstanceType": "m7i.2xlarge"}
    account.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
    assert described(account, "own").get("instanceTypes") is None
    mark = edit(on, {"launchTemplate": {"id": template, "version": "2"}}, "own")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/own"]
    assert described(account, "own")["launchTemplate"]["version"] == "2"
    assert look_again(on, account, "own") == []


def test_nodes_on_their_way_to_a_version_are_counted(on, shop, account):
    """An own version, behind the control plane's: 1.32 to 1.33 in one update."""
    on.aws.control("POST", "settings", json={"NODEGROUP_SECONDS": 12})
    on.apply(node_group("shop", "behind", version="1.32", scaling={"min": 2, "max": 4}))
    behind = node_group("shop", "behind")
    on.ready(behind)
    mark = on.mark()
    on.api.patch(*key_of(behind)[:3], {"spec": {"version": "1.33"}})
    seen: set[str] = set()

    def arrived() -> bool:
        seen.add(on.condition(behind)["message"])
        return settled(on, behind)

    until(arrived, 60, "1.33")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/behind"]
    told = [message for message in seen if "nodes on v1.33, " in message and "cordoned" in message]
    assert told, json.dumps(sorted(seen), indent=1)
    assert on.status(behind)["version"] == "1.33"
    on.aws.control("POST", "settings", json={"NODEGROUP_SECONDS": 1.5})


def test_an_own_version_that_the_control_plane_has_not_waits_for_it(on, shop, account):
    mark = on.mark()
    on.api.patch(*key_of(shop)[:3], {"spec": {"version": "1.34"}})
    found = on.await_condition(shop, "Ready", "False", "WaitingForCluster", timeout=20)
    assert "waits for the control plane" in conditions(found)["Ready"]["message"]
    assert conditions(found)["NodesReady"]["status"] == "True"
    edit(on, {"version": None})
    assert actions(on.writes(mark, account.id)) == []


def test_a_node_group_newer_than_the_control_plane_is_not_made_before_that_has_its_version(on, shop, account):
    early = node_group("shop", "early", version="1.34")
    mark = on.mark()
    on.apply(early)
    until(lambda: "waits for the control plane" in on.condition(early).get("message", ""), 20, "why it waits")
    assert on.condition(early, "Stalled")["status"] == "False"
    assert actions(on.writes(mark, account.id)) == []
    on.delete(early)


def test_a_newest_release_that_may_not_be_read_holds_nothing_up(on, shop, account):
    match = {"service": "ssm", "action": "GetParameter", "account": account.id}
    denied = {"code": "AccessDeniedException", "message": "not authorized", "status": 400}
    on.aws.add_fault(match, {"error": denied})
    blind = node_group("shop", "blind", version="1.31", scaling={"min": 1, "max": 2})
    on.apply(blind)
    on.ready(blind)
    assert any(c["action"] == "GetParameter" and c["error"] for c in on.calls(0, account.id))
    on.aws.clear_faults()
    on.delete(blind)


def test_pods_that_cannot_be_evicted_are_named_and_nothing_is_forced(on, shop, account):
    on.apply(node_group("shop", "kept", version="1.32", scaling={"min": 1, "max": 2}))
    kept = node_group("shop", "kept")
    on.ready(kept)
    api = on.cloud.workload.api
    labels = {"eks.amazonaws.com/nodegroup": "kept"}

    def name_of_node() -> str:
        nodes = api.list("v1", "Node")
        return next((n["metadata"]["name"] for n in nodes if labels.items() <= n["metadata"]["labels"].items()), "")

    node = until(name_of_node, 20, "a node")
    guard(api, str(node))
    fault = {"service": "eks", "action": "UpdateNodegroupVersion", "account": account.id}
    issue = {"code": "PodEvictionFailure", "message": "Reached max retries while trying to evict pods"}
    on.aws.add_fault(fault, {"health_issue": issue})
    mark = on.mark()
    on.api.patch(*key_of(kept)[:3], {"spec": {"version": "1.33"}})

    def named() -> bool:
        message = on.condition(kept, "Stalled").get("message", "")
        return "PodEvictionFailure" in message and "pod default/stubborn" in message and "budget" in message.lower()

    until(named, 40, f"the pod's name: {on.describe(kept)}")
    assert actions(on.writes(mark, account.id)) == ["eks:UpdateNodegroupVersion shop/kept"]
    on.aws.clear_faults()
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": "again"}}}
    on.api.patch(*key_of(kept)[:3], annotation)
    until(lambda: described(account, "kept")["version"] == "1.33", 40, "1.33")


def guard(api, node: str) -> None:
    """A pod on that node, with a budget that lets it go nowhere."""
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
    made = api.create(budget)
    # The disruption controller does not run here: this is what it would say.
    status = {
        "observedGeneration": made["metadata"]["generation"],
        "disruptionsAllowed": 0,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    api.patch("policy/v1", "PodDisruptionBudget", "none", {"status": status}, "default", "status")
