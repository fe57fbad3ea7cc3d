"""Failures of AWS: the operator recovers from them. All scenes run concurrently, each in its own account, under one operator."""

from __future__ import annotations

import time

import pytest

from faults import Played, play
from faults.scenes import SCENES
from fleet.manifests import key_of, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

OUTAGE_SECONDS = 8


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start("--drift-interval=10s")


@pytest.fixture(scope="module")
def scenes(on: Environment, operator) -> dict[str, Played]:
    return {scene.name: play(on, scene) for scene in SCENES}


def calls(on: Environment, scene: Played, action: str) -> list[dict]:
    return [c for c in on.calls(0, scene.account.id) if c["action"] == action]


def succeeded_calls(on: Environment, scene: Played, action: str) -> int:
    """How many calls of the action succeeded."""
    return sum(call["status"] < 400 for call in calls(on, scene, action))


# Reason of the Ready condition, and text that its message contains, by scene.
OUTAGES = {
    "outage": ("AwsError", "internal error"),
    "throttled-ec2": ("Throttled", "RequestLimitExceeded"),
    "throttled-eks": ("Throttled", "ThrottlingException"),
}


@pytest.fixture(scope="module")
def outages(on, scenes) -> dict[str, tuple[dict, int]]:
    """Waits for the conditions of all three, counts the calls of a few seconds under each, then ends the failures."""
    reported = {
        name: on.await_condition(scenes[name].cluster, status="False", reason=reason, timeout=30)
        for name, (reason, _) in OUTAGES.items()
    }
    mark = on.mark()
    time.sleep(OUTAGE_SECONDS)
    call_counts = {name: len(on.calls(mark, scenes[name].account.id)) for name in OUTAGES}
    for name in OUTAGES:
        end_faults(on, scenes[name])
    return {name: (reported[name], call_counts[name]) for name in OUTAGES}


def end_faults(on: Environment, scene: Played) -> None:
    for rule in scene.rules:
        on.aws.control("DELETE", "faults", params={"id": rule})


@pytest.mark.parametrize("name", OUTAGES)
def test_aws_outage_or_throttling_is_reported_without_hot_loop_and_recovers(on, scenes, outages, name):
    found, call_counts = outages[name]
    assert OUTAGES[name][1].lower() in conditions(found)["Ready"]["message"].lower()
    assert call_counts < 4 * OUTAGE_SECONDS, f"{call_counts} calls in {OUTAGE_SECONDS} s"
    on.ready(*scenes[name].items, timeout=60)
    counts = scenes[name].account.counts()
    assert (counts["vpcs"], counts["subnets"], counts["clusters"]) == (1, 4, 1)


def test_failing_account_does_not_delay_other_accounts(on, scenes):
    on.ready(scenes["quiet"].cluster, timeout=30)
    started = conditions(on.api.get(*key_of(scenes["quiet"].cluster)))["Ready"]
    assert started["status"] == "True"


def test_role_not_yet_visible_to_eks_is_retried(on, scenes):
    scene = scenes["role-not-visible"]
    on.ready(scene.cluster, timeout=60)
    assert len(calls(on, scene, "CreateCluster")) == 4
    warnings = [e for e in on.events(scene.cluster) if e["type"] == "Warning"]
    assert [e["note"] for e in warnings if "trusted entity" in e["note"]] == []


def test_failed_nat_gateway_is_replaced_and_reuses_its_elastic_ip(on, scenes):
    scene = scenes["nat-failed"]
    on.ready(scene.cluster, timeout=60)
    ec2 = scene.account.ec2
    gateways = {g["State"]: g for g in ec2.describe_nat_gateways()["NatGateways"]}
    assert set(gateways) - {"deleted"} <= {"available", "failed"}
    (address,) = ec2.describe_addresses()["Addresses"]
    used = gateways["available"]["NatGatewayAddresses"][0]["AllocationId"]
    assert used == address["AllocationId"]
    assert succeeded_calls(on, scene, "AllocateAddress") == 1 and succeeded_calls(on, scene, "CreateNatGateway") == 2
    nat_gateway_ids = [
        route["NatGatewayId"]
        for table in ec2.describe_route_tables()["RouteTables"]
        for route in table["Routes"]
        if route.get("NatGatewayId")
    ]
    assert set(nat_gateway_ids) == {gateways["available"]["NatGatewayId"]}


def test_node_group_failed_by_iam_throttling_is_recreated(on, scenes):
    scene = scenes["nodes-iam-throttled"]
    on.ready(*scene.items, timeout=60)
    assert succeeded_calls(on, scene, "CreateNodegroup") == 2 and succeeded_calls(on, scene, "DeleteNodegroup") == 1
    assert scene.account.counts()["nodegroups"] == 1


def test_insufficient_capacity_sets_condition_and_keeps_network(on, scenes):
    scene = scenes["no-capacity"]
    found = on.await_condition(
        scene.nodes, status="False", reason="InsufficientCapacity", timeout=60
    )
    assert "m7i.large" in conditions(found)["Ready"]["message"]
    on.ready(scene.cluster)
    assert scene.account.counts()["subnets"] == 4
    assert succeeded_calls(on, scene, "CreateNodegroup") == 1, "it is created again automatically"


def test_degraded_addon_is_awaited_and_its_issue_is_in_status(on, scenes):
    scene = scenes["addon-degraded"]
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
    # More nodes, with room for its replicas.
    more = node_group(name, f"{name}-more", scaling={"min": 1, "max": 1})
    on.apply(more)
    on.ready(scene.cluster, more, timeout=60)
    assert succeeded_calls(on, scene, "CreateAddon") == 1 and succeeded_calls(on, scene, "DeleteAddon") == 0


def test_failed_cluster_reports_cause_and_is_not_recreated_automatically(on, scenes):
    scene = scenes["cluster-failed"]
    found = on.await_condition(scene.cluster, "Stalled", timeout=60)
    ready = conditions(found)["Ready"]
    assert ready["status"] == "False" and "the control plane did not come up" in ready["message"]
    time.sleep(3)
    assert succeeded_calls(on, scene, "CreateCluster") == 1 and succeeded_calls(on, scene, "DeleteCluster") == 0
    on.delete(scene.cluster, timeout=60)
    assert scene.account.inventory() == {"roles": ["keelson"]}


def test_exceeded_quota_is_reported_and_retried_slowly(on, scenes):
    scene = scenes["vpc-quota"]
    found = on.await_condition(scene.cluster, status="False", reason="QuotaExceeded", timeout=30)
    ready = conditions(found)["Ready"]
    assert "CreateVpc" in ready["message"] and "Service Quotas" in ready["message"]
    assert conditions(found)["Stalled"]["status"] == "True"
    assert len(calls(on, scene, "CreateVpc")) <= 3
    # A user had the quota raised, and requests a reconcile instead of waiting.
    end_faults(on, scene)
    version, kind, name, _ = key_of(scene.cluster)
    now = {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}}
    on.api.patch(version, kind, name, now)
    on.ready(scene.cluster, timeout=30)


def test_missing_permission_is_named(on, scenes):
    scene = scenes["denied"]
    found = on.await_condition(scene.cluster, status="False", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "ec2:CreateSubnet" in message and scene.account.id in message
    assert len(calls(on, scene, "CreateSubnet")) <= 4 * 5, "a denied call is retried too often"
    on.delete(scene.cluster, timeout=60)
    assert scene.account.inventory() == {"roles": ["keelson"]}


def test_manually_deleted_route_is_recreated(on, scenes):
    scene = scenes["drift"]
    on.ready(scene.cluster)
    ec2 = scene.account.ec2
    table = next(
        t["RouteTableId"]
        for t in ec2.describe_route_tables()["RouteTables"]
        if any(r.get("GatewayId", "").startswith("igw-") for r in t["Routes"])
    )
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")

    def is_recreated() -> bool:
        (found,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return any(r.get("DestinationCidrBlock") == "0.0.0.0/0" for r in found["Routes"])

    until(is_recreated, 30, "the route")


def test_foreign_resources_in_vpc_are_named_and_never_deleted(on, scenes):
    scene = scenes["blocked"]
    on.ready(scene.cluster)
    subnet = on.status(scene.cluster)["network"]["subnets"][0]["id"]
    ec2 = scene.account.ec2
    foreign_eni = ec2.create_network_interface(SubnetId=subnet, Description="of another team")
    foreign_eni = foreign_eni["NetworkInterface"]["NetworkInterfaceId"]
    version, kind, name, _ = key_of(scene.cluster)
    on.api.delete(version, kind, name)
    found = on.api.wait(
        version,
        kind,
        name,
        lambda i: foreign_eni in conditions(i).get("Ready", {}).get("message", ""),
        timeout=60,
        what="the blocker's name",
    )
    assert conditions(found)["Ready"]["reason"] in ("Deleting", "DeletionBlocked")
    assert ec2.describe_network_interfaces(NetworkInterfaceIds=[foreign_eni])["NetworkInterfaces"]
    ec2.delete_network_interface(NetworkInterfaceId=foreign_eni)
    on.api.wait_gone(version, kind, name, timeout=60)
    assert scene.account.inventory() == {"roles": ["keelson"]}


def test_hanging_call_times_out(on, scenes):
    """Last, as it takes the longest: half a minute from the start."""
    scene = scenes["hanging"]
    on.ready(scene.cluster, timeout=90)
    assert [c["action"] for c in on.calls(0, scene.account.id) if c.get("fault") == "hang"] == [
        "DescribeCluster"
    ]


def test_clusters_can_be_deleted_after_all_failures(on, scenes):
    names = ("quiet", "throttled-ec2", "throttled-eks", "nat-failed", "no-capacity", "drift")
    on.delete(*(item for name in names for item in scenes[name].items), timeout=90)
    for name in names:
        assert scenes[name].account.inventory() == {"roles": ["keelson"]}, name
