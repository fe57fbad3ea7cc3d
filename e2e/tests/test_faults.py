"""AWS fails in the ways it does, and the operator goes on: all scenes at once, each in its account, under one operator."""

from __future__ import annotations

import time

import pytest

from faults import Played, play
from faults.scenes import SCENES
from fleet.manifests import key_of, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

STORM_SECONDS = 8


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start("--drift-interval=10s")


@pytest.fixture(scope="module")
def played(on: Environment, operator) -> dict[str, Played]:
    return {scene.name: play(on, scene) for scene in SCENES}


def calls(on: Environment, scene: Played, action: str) -> list[dict]:
    return [c for c in on.calls(0, scene.account.id) if c["action"] == action]


def made(on: Environment, scene: Played, action: str) -> int:
    """How often it was called and went well."""
    return sum(call["status"] < 400 for call in calls(on, scene, action))


# Reason of the Ready condition, and what the message names, by scene.
STORMS = {
    "outage": ("AwsError", "internal error"),
    "throttled-ec2": ("Throttled", "RequestLimitExceeded"),
    "throttled-eks": ("Throttled", "ThrottlingException"),
}


@pytest.fixture(scope="module")
def storms(on, played) -> dict[str, tuple[dict, int]]:
    """Waits all three out: their conditions, and how many calls each saw in its last seconds."""
    told = {
        name: on.await_condition(played[name].cluster, status="False", reason=reason, timeout=30)
        for name, (reason, _) in STORMS.items()
    }
    mark = on.mark()
    time.sleep(STORM_SECONDS)
    asked = {name: len(on.calls(mark, played[name].account.id)) for name in STORMS}
    for name in STORMS:
        end(on, played[name])
    return {name: (told[name], asked[name]) for name in STORMS}


def end(on: Environment, scene: Played) -> None:
    for rule in scene.rules:
        on.aws.control("DELETE", "faults", params={"id": rule})


@pytest.mark.parametrize("name", STORMS)
def test_a_storm_is_told_makes_no_hot_loop_and_passes(on, played, storms, name):
    found, asked = storms[name]
    assert STORMS[name][1].lower() in conditions(found)["Ready"]["message"].lower()
    assert asked < 4 * STORM_SECONDS, f"{asked} calls in {STORM_SECONDS} s"
    on.ready(*played[name].items, timeout=60)
    counts = played[name].account.counts()
    assert (counts["vpcs"], counts["subnets"], counts["clusters"]) == (1, 4, 1)


def test_one_account_in_trouble_holds_up_no_other(on, played):
    on.ready(played["quiet"].cluster, timeout=30)
    started = conditions(on.api.get(*key_of(played["quiet"].cluster)))["Ready"]
    assert started["status"] == "True"


def test_a_role_that_eks_does_not_see_yet_is_tried_again(on, played):
    scene = played["role-not-visible"]
    on.ready(scene.cluster, timeout=60)
    assert len(calls(on, scene, "CreateCluster")) == 4
    warnings = [e for e in on.events(scene.cluster) if e["type"] == "Warning"]
    assert [e["note"] for e in warnings if "trusted entity" in e["note"]] == []


def test_a_nat_gateway_that_failed_is_replaced_and_its_address_used_again(on, played):
    scene = played["nat-failed"]
    on.ready(scene.cluster, timeout=60)
    ec2 = scene.account.ec2
    gateways = {g["State"]: g for g in ec2.describe_nat_gateways()["NatGateways"]}
    assert set(gateways) - {"deleted"} <= {"available", "failed"}
    (address,) = ec2.describe_addresses()["Addresses"]
    used = gateways["available"]["NatGatewayAddresses"][0]["AllocationId"]
    assert used == address["AllocationId"]
    assert made(on, scene, "AllocateAddress") == 1 and made(on, scene, "CreateNatGateway") == 2
    ways = [
        route["NatGatewayId"]
        for table in ec2.describe_route_tables()["RouteTables"]
        for route in table["Routes"]
        if route.get("NatGatewayId")
    ]
    assert set(ways) == {gateways["available"]["NatGatewayId"]}


def test_a_node_group_that_failed_by_iam_throttling_is_made_again(on, played):
    scene = played["nodes-iam-throttled"]
    on.ready(*scene.items, timeout=60)
    assert made(on, scene, "CreateNodegroup") == 2 and made(on, scene, "DeleteNodegroup") == 1
    assert scene.account.counts()["nodegroups"] == 1


def test_no_capacity_is_a_condition_and_the_network_stays(on, played):
    scene = played["no-capacity"]
    found = on.await_condition(
        scene.nodes, status="False", reason="InsufficientCapacity", timeout=60
    )
    assert "m7i.large" in conditions(found)["Ready"]["message"]
    on.ready(scene.cluster)
    assert scene.account.counts()["subnets"] == 4
    assert made(on, scene, "CreateNodegroup") == 1, "it is made again by itself"


def test_an_addon_that_is_degraded_is_waited_for_with_its_issue_in_status(on, played):
    scene = played["addon-degraded"]
    version, kind, name, _ = key_of(scene.cluster)
    degraded = on.api.wait(
        version,
        kind,
        name,
        lambda i: any(a["state"] == "DEGRADED" for a in i.get("status", {}).get("addons", [])),
        timeout=60,
    )
    (addon,) = degraded["status"]["addons"]
    assert addon["issues"][0]["code"] == "InsufficientNumberOfReplicas"
    found = on.await_condition(scene.cluster, "AddonsReady", "False", timeout=20)
    assert "coredns" in conditions(found)["AddonsReady"]["message"]
    # More nodes, on which its replicas find room.
    more = node_group(name, f"{name}-more", scaling={"min": 1, "max": 1})
    on.apply(more)
    on.ready(scene.cluster, more, timeout=60)
    assert made(on, scene, "CreateAddon") == 1 and made(on, scene, "DeleteAddon") == 0


def test_a_cluster_that_failed_says_why_and_is_not_made_again_by_itself(on, played):
    scene = played["cluster-failed"]
    found = on.await_condition(scene.cluster, "Stalled", timeout=60)
    ready = conditions(found)["Ready"]
    assert ready["status"] == "False" and "the control plane did not come up" in ready["message"]
    time.sleep(3)
    assert made(on, scene, "CreateCluster") == 1 and made(on, scene, "DeleteCluster") == 0
    on.delete(scene.cluster, timeout=60)
    assert scene.account.inventory() == {"roles": ["keelson"]}


def test_a_quota_is_named_and_tried_slowly(on, played):
    scene = played["vpc-quota"]
    found = on.await_condition(scene.cluster, status="False", reason="QuotaExceeded", timeout=30)
    ready = conditions(found)["Ready"]
    assert "CreateVpc" in ready["message"] and "Service Quotas" in ready["message"]
    assert conditions(found)["Stalled"]["status"] == "True"
    assert len(calls(on, scene, "CreateVpc")) <= 3
    # Somebody had the quota raised, and does not want to wait.
    end(on, scene)
    version, kind, name, _ = key_of(scene.cluster)
    now = {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}}
    on.api.patch(version, kind, name, now)
    on.ready(scene.cluster, timeout=30)


def test_a_permission_that_is_missing_is_named(on, played):
    scene = played["denied"]
    found = on.await_condition(scene.cluster, status="False", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "ec2:CreateSubnet" in message and scene.account.id in message
    assert len(calls(on, scene, "CreateSubnet")) <= 4 * 5, "a denial is asked again and again"
    on.delete(scene.cluster, timeout=60)
    assert scene.account.inventory() == {"roles": ["keelson"]}


def test_a_route_deleted_by_hand_is_put_back(on, played):
    scene = played["drift"]
    on.ready(scene.cluster)
    ec2 = scene.account.ec2
    table = next(
        t["RouteTableId"]
        for t in ec2.describe_route_tables()["RouteTables"]
        if any(r.get("GatewayId", "").startswith("igw-") for r in t["Routes"])
    )
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")

    def back() -> bool:
        (found,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return any(r.get("DestinationCidrBlock") == "0.0.0.0/0" for r in found["Routes"])

    until(back, 30, "the route")


def test_what_others_have_in_the_vpc_is_named_and_never_deleted(on, played):
    scene = played["blocked"]
    on.ready(scene.cluster)
    subnet = on.status(scene.cluster)["network"]["subnets"][0]["id"]
    ec2 = scene.account.ec2
    theirs = ec2.create_network_interface(SubnetId=subnet, Description="of another team")
    theirs = theirs["NetworkInterface"]["NetworkInterfaceId"]
    version, kind, name, _ = key_of(scene.cluster)
    on.api.delete(version, kind, name)
    found = on.api.wait(
        version,
        kind,
        name,
        lambda i: theirs in conditions(i).get("Ready", {}).get("message", ""),
        timeout=60,
        what="the blocker's name",
    )
    assert conditions(found)["Ready"]["reason"] in ("Deleting", "DeletionBlocked")
    assert ec2.describe_network_interfaces(NetworkInterfaceIds=[theirs])["NetworkInterfaces"]
    ec2.delete_network_interface(NetworkInterfaceId=theirs)
    on.api.wait_gone(version, kind, name, timeout=60)
    assert scene.account.inventory() == {"roles": ["keelson"]}


def test_a_call_that_hangs_is_given_up(on, played):
    """Last, as it takes the longest: half a minute from the beginning."""
    scene = played["hanging"]
    on.ready(scene.cluster, timeout=90)
    assert [c["action"] for c in on.calls(0, scene.account.id) if c.get("fault") == "hang"] == [
        "DescribeCluster"
    ]


def test_everything_can_be_deleted_after_all_that(on, played):
    names = ("quiet", "throttled-ec2", "throttled-eks", "nat-failed", "no-capacity", "drift")
    on.delete(*(item for name in names for item in played[name].items), timeout=90)
    for name in names:
        assert played[name].account.inventory() == {"roles": ["keelson"]}, name
