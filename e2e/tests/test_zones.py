"""Zones where EKS takes no control plane: left out by zone id, refused by name, and answered when only EKS knows of them, without a second
network.
"""

from __future__ import annotations

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import Environment, environment, stays
from fleet.manifests import cluster, key_of
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

QUICK = Durations(1, 1, 1, 1, 0.3, 0.5)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=QUICK) as started:
        yield started


def zone_ids(account: Account) -> dict[str, str]:
    """Names by id."""
    return {zone["ZoneId"]: zone["ZoneName"] for zone in account.ec2.describe_availability_zones()["AvailabilityZones"]}


def refuse(on: Environment, account: Account, *names: str) -> None:
    """EKS takes no control plane in these zones either, which nobody can know before."""
    ids = {name: zone for zone, name in zone_ids(account).items()}
    body = {"account": account.id, "region": account.region, "refused": [ids[name] for name in names]}
    on.aws.control("POST", "zones", json=body)


def subnet_zones(account: Account, ids: list[str]) -> set[str]:
    return {subnet["AvailabilityZone"] for subnet in account.ec2.describe_subnets(SubnetIds=ids)["Subnets"]}


def create_calls(on: Environment, account: Account) -> list[str]:
    calls = [call for call in on.calls(account=account.id) if call["action"] in ("CreateCluster", "CreateFargateProfile")]
    return [f"{call['action']} {call['status']}" for call in calls]


def test_cluster_is_placed_in_zones_that_eks_takes_by_their_id(on: Environment):
    # In this account the refused id is one of the first three names.
    account = next(a for a in (on.account(fresh_account(), "us-east-1") for _ in range(12)) if zone_ids(a)["use1-az3"] in ("us-east-1a", "us-east-1b"))
    item = cluster("virginia", region="us-east-1", addons=[], network={"vpc": {"zoneCount": 3, "nat": "None"}})
    with on.operator(account=account.id):
        on.apply(item)
        on.ready(item)
        found = account.eks.describe_cluster(name="virginia")["cluster"]["resourcesVpcConfig"]["subnetIds"]
        zones = subnet_zones(account, found)
        assert len(zones) == 3 and zone_ids(account)["use1-az3"] not in zones
        assert create_calls(on, account) == ["CreateCluster 200"]
        on.delete(item)


def test_named_zone_that_eks_refuses_is_rejected_with_its_id_before_the_first_write(on: Environment):
    account = on.account(fresh_account(), "us-east-1")
    refused, taken = zone_ids(account)["use1-az3"], zone_ids(account)["use1-az1"]
    item = cluster("by-id", region="us-east-1", addons=[], network={"vpc": {"zones": [refused, taken]}})
    with on.operator(account=account.id):
        on.apply(item)
        on.await_condition(item, "Stalled", reason="InvalidSpec")
        message = on.condition(item)["message"]
        assert "spec.network.vpc.zones" in message and f"{refused} (use1-az3: EKS takes no control plane there)" in message, message
        assert on.writes(account=account.id) == []
        on.delete(item)


def test_refusal_of_a_zone_is_answered_without_a_second_network(on: Environment):
    account = on.account(fresh_account())
    refuse(on, account, "eu-west-1b")
    fargate = [{"name": "jobs", "selectors": [{"namespace": "jobs"}]}]
    item = cluster("answered", addons=[], fargateProfiles=fargate, network={"vpc": {"zoneCount": 3, "nat": "Single"}})
    with on.operator("--drift-interval=2s", account=account.id):
        on.apply(item)
        on.ready(item)
        placed = account.eks.describe_cluster(name="answered")["cluster"]["resourcesVpcConfig"]["subnetIds"]
        assert subnet_zones(account, placed) == {"eu-west-1a", "eu-west-1c"}
        profile = account.eks.describe_fargate_profile(clusterName="answered", fargateProfileName="jobs")["fargateProfile"]
        assert subnet_zones(account, profile["subnets"]) == {"eu-west-1a", "eu-west-1c"}
        both = ["CreateCluster 400", "CreateCluster 200", "CreateFargateProfile 400", "CreateFargateProfile 200"]
        assert create_calls(on, account) == both, create_calls(on, account)
        made = account.counts()
        assert (made["vpcs"], made["natGateways"]) == (1, 1), made
        # The subnets of the refused zone are kept for nodes, and are no difference that EKS would refuse to change.
        mark = on.mark()
        on.await_condition(item, "InSync")
        stays(lambda: on.writes(mark, account.id) == [] and on.condition(item)["status"] == "True", 5, "nothing is sent")
        placement = on.condition(item, "ControlPlaneReady")
        assert placement["status"] == "True" and "eu-west-1b" in placement["message"], placement
        on.delete(item)


def test_network_with_too_few_zones_left_is_reported_and_not_made_again(on: Environment):
    account = on.account(fresh_account())
    refuse(on, account, "eu-west-1a")
    item = cluster("too-few", addons=[], network={"vpc": {"zoneCount": 2, "nat": "None"}})
    with on.operator(account=account.id):
        on.apply(item)
        on.await_condition(item, "Stalled", reason="InsufficientCapacity")
        stalled = on.condition(item)
        for text in ("eu-west-1a", "Available zones: eu-west-1b, eu-west-1c", "delete this EksCluster, and apply it again with spec.network.vpc.zones"):
            assert text in stalled["message"], stalled
        assert account.counts()["vpcs"] == 1
        on.delete(item)
        named = cluster("too-few", addons=[], network={"vpc": {"zones": ["eu-west-1b", "eu-west-1c"], "nat": "None"}})
        on.apply(named)
        on.ready(named)
        assert conditions(on.api.get(*key_of(named)))["InSync"]["status"] == "True"
        on.delete(named)
