"""`driftPolicy`: what hands changed is put back under Correct, and under Report named, field by field, and left alone. What
nobody asked for (absent fields, other writers' values, an autoscaler's sizes) is no drift under either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fleet.account import RESOURCE
from fleet.shop import ONE_ADDON, Shop
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

VPC = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "endpoints": ["s3"]}}}
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
INTERVAL = "2s"
ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.4, 0.4, 0.4, 0.1, 0.2)) as started:
        started.start(f"--drift-interval={INTERVAL}")
        yield started


def make(on: Environment, **spec: object) -> Shop:
    shop = Shop(on, nodes=True, **{**VPC, "logging": ["audit"], "tags": {"team": "shop"}, "addons": ONE_ADDON, **spec})
    shop.nodes["spec"] |= {"labels": {"workload": "batch"}, "scaling": {"min": 1, "max": 3}}
    shop.make()
    return shop


@dataclass
class ByHand:
    """A change past the operator: what it does, on which resource's which field, and whether it is as asked for."""

    what: str
    do: Callable[[Shop], object]
    resource: str
    field: str
    seen: str
    wanted: str
    of_nodes: bool = False

    def __str__(self) -> str:
        return self.what

    def item(self, shop: Shop) -> dict:
        return shop.nodes if self.of_nodes else shop.cluster


def id_of(shop: Shop, resource: str) -> str:
    (found,) = [i for i, tags in shop.account.tagged().items() if tags[RESOURCE] == resource]
    return found


def node_group(shop: Shop) -> dict:
    return {"clusterName": shop.name, "nodegroupName": shop.nodes["metadata"]["name"]}


def logging_off(shop: Shop) -> None:
    off = {"clusterLogging": [{"types": ["audit"], "enabled": False}]}
    shop.account.eks.update_cluster_config(name=shop.name, logging=off)


def settle(shop: Shop) -> None:
    """EKS takes one update of a cluster at a time."""
    until(lambda: shop.account.eks.describe_cluster(name=shop.name)["cluster"]["status"] == "ACTIVE", 10)


HANDS = [
    ByHand("logging is switched off", logging_off, "cluster", "logging", "", "audit"),
    ByHand(
        "a tag of the VPC is changed",
        lambda shop: shop.account.ec2.create_tags(Resources=[id_of(shop, "vpc")], Tags=[{"Key": "team", "Value": "other"}]),
        "vpc",
        "team",
        "other",
        "shop",
    ),
    ByHand(
        "labels of nodes are changed",
        lambda shop: shop.account.eks.update_nodegroup_config(
            **node_group(shop), labels={"addOrUpdateLabels": {"workload": "web"}}
        ),
        "nodeGroup/",
        "labels",
        "web",
        "batch",
        of_nodes=True,
    ),
]


DETACHED = ByHand(
    "a policy is detached from the cluster's role",
    lambda shop: shop.account.iam.detach_role_policy(
        RoleName=id_of_role(shop, "role/cluster"), PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
    ),
    "role/cluster",
    "polic",
    "",
    "AmazonEKSClusterPolicy",
)


def id_of_role(shop: Shop, resource: str) -> str:
    (found,) = [name for name, tags in shop.account.roles().items() if tags.get(RESOURCE) == resource]
    return found


@pytest.fixture(scope="module")
def reported(on: Environment) -> Shop:
    """All hands at once on a cluster whose drift is only reported."""
    shop = make(on, driftPolicy="Report")
    for hand in HANDS:
        hand.do(shop)
    return shop


def drift(shop: Shop, hand: ByHand) -> dict | None:
    status = shop.found(hand.item(shop)).get("status", {})
    for one in status.get("drift", []):
        if one["resource"].startswith(hand.resource) and hand.field in one["field"]:
            return one
    return None


def comes(shop: Shop, holds: Callable[[], object], seconds: float = 40) -> object:
    try:
        return until(holds, seconds)
    except AssertionError:
        told = [shop.on.describe(item) + f"\n  drift: {shop.found(item)['status'].get('drift')}" for item in shop.items]
        written = actions(shop.writes())
        raise AssertionError("\n".join([f"not in {seconds} s", *told, f"written: {written}"])) from None


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_report_names_each_field_with_wanted_and_seen(on, reported, hand):
    found = comes(reported, lambda: drift(reported, hand))
    assert hand.wanted in found["wanted"] and hand.seen in found["seen"], found
    word = on.await_condition(hand.item(reported), "InSync", "False", "Drifted", timeout=30)
    message = conditions(word)["InSync"]["message"]
    assert hand.field in message and hand.wanted in message and hand.seen in message


def test_report_leaves_it_alone_and_what_works_stays_ready(on, reported):
    for hand in HANDS:
        comes(reported, lambda hand=hand: drift(reported, hand))
    theirs = {"UpdateClusterConfig", "CreateTags", "UpdateNodegroupConfig"}
    since = {hand.what: drift(reported, hand)["since"] for hand in HANDS}
    reported.look_again()
    writes = reported.writes()
    assert {write["action"] for write in writes} == theirs and len(writes) == len(HANDS)
    assert on.condition(reported.cluster)["status"] == "True"
    assert {hand.what: drift(reported, hand)["since"] for hand in HANDS} == since


def test_report_leaves_alone_what_is_found_by_a_look_that_a_person_asked_for(on):
    shop = make(on, driftPolicy="Report")
    hand = HANDS[0]
    mark = on.mark()
    hand.do(shop)
    # Before it is noticed by itself.
    shop.look_again()
    comes(shop, lambda: drift(shop, hand))
    assert len(on.writes(mark, shop.account.id)) == 1, "the one by hand"
    shop.go_away()


def test_report_leaves_a_role_without_its_policy_and_says_so(on):
    shop = Shop(on, driftPolicy="Report")
    shop.make()
    DETACHED.do(shop)
    found = comes(shop, lambda: drift(shop, DETACHED))
    assert DETACHED.wanted in found["wanted"]
    shop.nothing_is_written(on.mark())
    assert on.condition(shop.cluster)["status"] == "True"
    shop.edit(driftPolicy="Correct")
    comes(shop, lambda: not drift(shop, DETACHED))
    assert [write["action"] for write in shop.writes()] == ["DetachRolePolicy", "AttachRolePolicy"]
    shop.go_away()


def test_under_report_an_edit_of_the_spec_is_carried_out_and_nothing_else(on, reported):
    for hand in HANDS:
        comes(reported, lambda hand=hand: drift(reported, hand))
    settle(reported)
    mark = on.mark()
    reported.edit(endpointAccess={"public": True, "publicCidrs": ["203.0.113.0/24"], "private": True})
    comes(reported, lambda: reported.writes(mark))
    reported.look_again()
    assert actions(reported.writes(mark)) == [f"eks:UpdateClusterConfig {reported.name}"]
    cidrs = reported.account.eks.describe_cluster(name=reported.name)["cluster"]["resourcesVpcConfig"]
    assert cidrs["publicAccessCidrs"] == ["203.0.113.0/24"]
    assert all(drift(reported, hand) for hand in HANDS), "reported still"


def test_under_report_an_edit_that_is_taken_back_at_once_is_taken_back_in_aws(on):
    """What the operator itself has half carried out is nobody's drift."""
    shop = Shop(on, driftPolicy="Report", logging=["audit"])
    shop.make()
    shop.edit(logging=["api"])
    comes(shop, lambda: shop.writes())
    shop.edit(logging=["audit"])

    def as_before() -> bool:
        logs = shop.account.eks.describe_cluster(name=shop.name)["cluster"]["logging"]["clusterLogging"]
        return [log["types"] for log in logs if log["enabled"]] == [["audit"]]

    comes(shop, lambda: len(shop.writes()) == 2 and as_before())
    on.await_condition(shop.cluster, "InSync")
    assert not shop.found()["status"].get("drift")
    shop.go_away()


def test_switched_to_correct_all_of_it_is_put_back(on, reported):
    for hand in HANDS:
        comes(reported, lambda hand=hand: drift(reported, hand))
    settle(reported)
    reported.edit(driftPolicy="Correct")
    comes(reported, lambda: not any(drift(reported, hand) for hand in HANDS))
    for item in reported.items:
        on.await_condition(item, "InSync", timeout=40)
        assert not reported.found(item)["status"].get("drift")
    account = reported.account
    assert account.tagged()[id_of(reported, "vpc")]["team"] == "shop"
    labels = account.eks.describe_nodegroup(**node_group(reported))["nodegroup"]["labels"]
    assert labels == {"workload": "batch"}
    logs = account.eks.describe_cluster(name=reported.name)["cluster"]["logging"]["clusterLogging"]
    assert [log["types"] for log in logs if log["enabled"]] == [["audit"]]


@pytest.fixture(scope="module")
def corrected(on: Environment) -> Shop:
    return make(on, driftPolicy="Correct")


def test_what_was_deleted_by_hand_comes_back_under_correct(on, corrected):
    """An add-on, a VPC endpoint, the roads of a subnet, a whole node group."""
    ec2, eks = corrected.account.ec2, corrected.account.eks
    table, endpoint = id_of(corrected, "routeTable/public"), id_of(corrected, "vpcEndpoint/s3")
    mark = on.mark()
    eks.delete_addon(clusterName=corrected.name, addonName="vpc-cni")
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    eks.delete_nodegroup(**node_group(corrected))
    again = {"CreateAddon", "CreateRoute", "CreateVpcEndpoint", "CreateNodegroup"}
    comes(corrected, lambda: again <= {write["action"] for write in corrected.writes(mark)}, 60)
    on.ready(*corrected.items)
    assert id_of(corrected, "vpcEndpoint/s3") != endpoint
    assert eks.describe_nodegroup(**node_group(corrected))["nodegroup"]["status"] == "ACTIVE"
    counts = [write["action"] for write in corrected.writes(mark) if write["action"].startswith("Create")]
    assert len(counts) == len(set(counts)), "one of each"


def test_what_was_deleted_by_hand_is_named_as_gone_under_report(on):
    shop = make(on, driftPolicy="Report")
    shop.account.eks.delete_addon(clusterName=shop.name, addonName="vpc-cni")
    shop.account.eks.delete_nodegroup(**node_group(shop))
    for item, resource in ((shop.cluster, "addon/vpc-cni"), (shop.nodes, "nodeGroup/")):
        gone = comes(shop, lambda item=item, resource=resource: lost(shop, item, resource))
        assert gone["seen"]
        message = conditions(shop.found(item))["InSync"]["message"]
        assert "gone" in message
    shop.look_again()
    assert {write["action"] for write in shop.writes()} == {"DeleteAddon", "DeleteNodegroup"}
    shop.go_away()


def lost(shop: Shop, item: dict, resource: str) -> dict | None:
    status = shop.found(item).get("status", {})
    return next((d for d in status.get("drift", []) if d["resource"].startswith(resource) and not d["field"]), None)


@pytest.mark.parametrize("policy", ["Correct", "Report"])
def test_a_cluster_that_was_deleted_by_hand_is_never_made_again_by_itself(on, policy):
    shop = Shop(on, driftPolicy=policy)
    shop.make()
    shop.account.eks.delete_cluster(name=shop.name)
    found = on.await_condition(shop.cluster, "Stalled", timeout=40)
    message = conditions(found)["Ready"]["message"]
    assert "gone" in message and "delete" in message.lower(), message
    shop.look_again()
    assert [w["action"] for w in shop.writes() if w["action"].startswith("Create")] == []
    shop.go_away()


@pytest.mark.parametrize("policy", ["Correct", "Report"])
def test_what_the_spec_does_not_name_is_nobodys_drift(on, policy):
    """Absent fields, tags and objects of other writers, and the size that an autoscaler chose."""
    shop = Shop(on, nodes=True, driftPolicy=policy)
    shop.make()
    account, eks = shop.account, shop.account.eks
    eks.update_cluster_config(name=shop.name, zonalShiftConfig={"enabled": True})
    settle(shop)
    eks.update_cluster_config(name=shop.name, logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    settle(shop)
    arn = eks.describe_cluster(name=shop.name)["cluster"]["arn"]
    eks.tag_resource(resourceArn=arn, tags={"cost-center": "theirs"})
    visitor = account.role("visitor", {"AWS": f"arn:aws:iam::{account.id}:root"})
    eks.create_access_entry(clusterName=shop.name, principalArn=visitor)
    eks.associate_access_policy(
        clusterName=shop.name, principalArn=visitor, policyArn=VIEW, accessScope={"type": "cluster"}
    )
    eks.create_addon(clusterName=shop.name, addonName="kube-proxy")
    eks.update_nodegroup_config(
        **node_group(shop),
        scalingConfig={"desiredSize": 2},
        labels={"addOrUpdateLabels": {"theirs": "yes"}},
    )
    until(lambda: eks.describe_nodegroup(**node_group(shop))["nodegroup"]["status"] == "ACTIVE", 10)
    settle(shop)
    mark = on.mark()
    for _ in range(2):
        shop.look_again()
    for item in shop.items:
        on.await_condition(item, "InSync", timeout=10)
        assert not shop.found(item)["status"].get("drift")
    assert actions(shop.writes(mark)) == []
    found = eks.describe_cluster(name=shop.name)["cluster"]
    assert found["zonalShiftConfig"]["enabled"] and found["tags"]["cost-center"] == "theirs"
    group = eks.describe_nodegroup(**node_group(shop))["nodegroup"]
    assert group["scalingConfig"]["desiredSize"] == 2 and group["labels"]["theirs"] == "yes"
    assert "kube-proxy" in eks.list_addons(clusterName=shop.name)["addons"]
    shop.go_away()


def test_drift_is_noticed_within_the_interval(on):
    """By the poll alone: 2 s here, ten minutes by default."""
    shop = Shop(on, driftPolicy="Report", logging=["audit"])
    shop.make()
    logging_off(shop)
    hand = HANDS[0]
    until(lambda: drift(shop, hand), 2 * float(INTERVAL.rstrip("s")) + 2, "the drift")
    shop.go_away()
