"""`driftPolicy`: Correct reverts manual changes; Report names them, field by field, and changes nothing. Values that the spec does
not set (absent fields, other writers' values, an autoscaler's sizes) are not drift under either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fleet.account import RESOURCE
from fleet.shop import ONE_ADDON, Shop
from fleet.environment import Environment, actions, environment, until, within
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions
from keelson_harness.load import busy_factor

VPC = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "endpoints": ["s3"]}}}
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
INTERVAL = "2s"
ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.4, 0.4, 0.4, 0.1, 0.2)) as started:
        started.start(f"--drift-interval={INTERVAL}")
        yield started


def create_shop(on: Environment, **spec: object) -> Shop:
    shop = Shop(on, nodes=True, **{**VPC, "logging": ["audit"], "tags": {"team": "shop"}, "addons": ONE_ADDON, **spec})
    shop.nodes["spec"] |= {"labels": {"workload": "batch"}, "scaling": {"min": 1, "max": 3}}
    shop.make()
    return shop


@dataclass
class ManualChange:
    """A change outside the operator: the function that makes it, and the expected drift entry."""

    name: str
    apply: Callable[[Shop], object]
    resource: str
    field: str
    actual: str
    wanted: str
    of_nodes: bool = False

    def __str__(self) -> str:
        return self.name

    def item(self, shop: Shop) -> dict:
        return shop.nodes if self.of_nodes else shop.cluster


def resource_id(shop: Shop, resource: str) -> str:
    (found,) = [i for i, tags in shop.account.tagged().items() if tags[RESOURCE] == resource]
    return found


def node_group(shop: Shop) -> dict:
    return {"clusterName": shop.name, "nodegroupName": shop.nodes["metadata"]["name"]}


def logging_off(shop: Shop) -> None:
    off = {"clusterLogging": [{"types": ["audit"], "enabled": False}]}
    shop.account.eks.update_cluster_config(name=shop.name, logging=off)


def await_active(shop: Shop) -> None:
    """Waits for ACTIVE: EKS accepts one update of a cluster at a time."""
    until(lambda: shop.account.eks.describe_cluster(name=shop.name)["cluster"]["status"] == "ACTIVE", 10)


CHANGES = [
    ManualChange("logging is switched off", logging_off, "cluster", "logging", "", "audit"),
    ManualChange(
        "a tag of the VPC is changed",
        lambda shop: shop.account.ec2.create_tags(Resources=[resource_id(shop, "vpc")], Tags=[{"Key": "team", "Value": "other"}]),
        "vpc",
        "team",
        "other",
        "shop",
    ),
    ManualChange(
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


DETACHED_POLICY = ManualChange(
    "a policy is detached from the cluster's role",
    lambda shop: shop.account.iam.detach_role_policy(
        RoleName=role_name(shop, "role/cluster"), PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
    ),
    "role/cluster",
    "polic",
    "",
    "AmazonEKSClusterPolicy",
)


def role_name(shop: Shop, resource: str) -> str:
    (found,) = [name for name, tags in shop.account.roles().items() if tags.get(RESOURCE) == resource]
    return found


@pytest.fixture(scope="module")
def reported(on: Environment) -> Shop:
    """A cluster with Report, after all manual changes at once."""
    shop = create_shop(on, driftPolicy="Report")
    for change in CHANGES:
        change.apply(shop)
    return shop


def drift(shop: Shop, change: ManualChange) -> dict | None:
    status = shop.found(change.item(shop)).get("status", {})
    for one in status.get("drift", []):
        if one["resource"].startswith(change.resource) and change.field in one["field"]:
            return one
    return None


def await_or_explain(shop: Shop, holds: Callable[[], object], seconds: float = 40) -> object:
    try:
        return until(holds, seconds)
    except AssertionError:
        details = [shop.on.describe(item) + f"\n  drift: {shop.found(item)['status'].get('drift')}" for item in shop.items]
        written = actions(shop.writes())
        raise AssertionError("\n".join([f"not in {seconds} s", *details, f"written: {written}"])) from None


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_report_names_each_field_with_wanted_and_actual_value(on, reported, change):
    found = await_or_explain(reported, lambda: drift(reported, change))
    assert change.wanted in found["wanted"] and change.actual in found["seen"], found
    found = on.await_condition(change.item(reported), "InSync", "False", "Drifted", timeout=30)
    message = conditions(found)["InSync"]["message"]
    assert change.field in message and change.wanted in message and change.actual in message


def test_report_changes_nothing_and_the_cluster_stays_ready(on, reported):
    for change in CHANGES:
        await_or_explain(reported, lambda change=change: drift(reported, change))
    manual = {"UpdateClusterConfig", "CreateTags", "UpdateNodegroupConfig"}
    since = {change.name: drift(reported, change)["since"] for change in CHANGES}
    reported.reconcile_all()
    writes = reported.writes()
    assert {write["action"] for write in writes} == manual and len(writes) == len(CHANGES)
    assert on.condition(reported.cluster)["status"] == "True"
    assert {change.name: drift(reported, change)["since"] for change in CHANGES} == since


def test_report_changes_nothing_after_a_requested_reconcile(on):
    shop = create_shop(on, driftPolicy="Report")
    change = CHANGES[0]
    mark = on.mark()
    change.apply(shop)
    # Before the drift poll detects it.
    shop.reconcile_all()
    await_or_explain(shop, lambda: drift(shop, change))
    assert len(on.writes(mark, shop.account.id)) == 1, "only the manual change"
    shop.go_away()


def test_report_does_not_attach_a_detached_policy_and_reports_it(on):
    shop = Shop(on, driftPolicy="Report")
    shop.make()
    DETACHED_POLICY.apply(shop)
    found = await_or_explain(shop, lambda: drift(shop, DETACHED_POLICY))
    assert DETACHED_POLICY.wanted in found["wanted"]
    shop.nothing_is_written(on.mark())
    assert on.condition(shop.cluster)["status"] == "True"
    shop.edit(driftPolicy="Correct")
    await_or_explain(shop, lambda: not drift(shop, DETACHED_POLICY))
    assert [write["action"] for write in shop.writes()] == ["DetachRolePolicy", "AttachRolePolicy"]
    shop.go_away()


def test_report_applies_an_edit_of_the_spec_and_nothing_else(on, reported):
    for change in CHANGES:
        await_or_explain(reported, lambda change=change: drift(reported, change))
    await_active(reported)
    mark = on.mark()
    reported.edit(endpointAccess={"public": True, "publicCidrs": ["203.0.113.0/24"], "private": True})
    await_or_explain(reported, lambda: reported.writes(mark))
    reported.reconcile_all()
    assert actions(reported.writes(mark)) == [f"eks:UpdateClusterConfig {reported.name}"]
    cidrs = reported.account.eks.describe_cluster(name=reported.name)["cluster"]["resourcesVpcConfig"]
    assert cidrs["publicAccessCidrs"] == ["203.0.113.0/24"]
    assert all(drift(reported, change) for change in CHANGES), "still reported"


def test_report_applies_an_edit_that_is_reverted_immediately(on):
    """A partly applied edit of the operator does not count as drift."""
    shop = Shop(on, driftPolicy="Report", logging=["audit"])
    shop.make()
    shop.edit(logging=["api"])
    await_or_explain(shop, lambda: shop.writes())
    shop.edit(logging=["audit"])

    def as_before() -> bool:
        logs = shop.account.eks.describe_cluster(name=shop.name)["cluster"]["logging"]["clusterLogging"]
        return [log["types"] for log in logs if log["enabled"]] == [["audit"]]

    await_or_explain(shop, lambda: len(shop.writes()) == 2 and as_before())
    on.await_condition(shop.cluster, "InSync")
    assert not shop.found()["status"].get("drift")
    shop.go_away()


def test_switching_to_correct_reverts_all_drift(on, reported):
    for change in CHANGES:
        await_or_explain(reported, lambda change=change: drift(reported, change))
    await_active(reported)
    reported.edit(driftPolicy="Correct")
    await_or_explain(reported, lambda: not any(drift(reported, change) for change in CHANGES))
    for item in reported.items:
        on.await_condition(item, "InSync", timeout=40)
        assert not reported.found(item)["status"].get("drift")
    account = reported.account
    assert account.tagged()[resource_id(reported, "vpc")]["team"] == "shop"
    labels = account.eks.describe_nodegroup(**node_group(reported))["nodegroup"]["labels"]
    assert labels == {"workload": "batch"}
    logs = account.eks.describe_cluster(name=reported.name)["cluster"]["logging"]["clusterLogging"]
    assert [log["types"] for log in logs if log["enabled"]] == [["audit"]]
    reported.go_away()


@pytest.fixture(scope="module")
def corrected(on: Environment) -> Shop:
    return create_shop(on, driftPolicy="Correct")


def test_correct_recreates_manually_deleted_resources(on, corrected):
    """An add-on, a VPC endpoint, a route, a node group."""
    ec2, eks = corrected.account.ec2, corrected.account.eks
    table, endpoint = resource_id(corrected, "routeTable/public"), resource_id(corrected, "vpcEndpoint/s3")
    mark = on.mark()
    eks.delete_addon(clusterName=corrected.name, addonName="vpc-cni")
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    eks.delete_nodegroup(**node_group(corrected))
    recreated = {"CreateAddon", "CreateRoute", "CreateVpcEndpoint", "CreateNodegroup"}
    await_or_explain(corrected, lambda: recreated <= {write["action"] for write in corrected.writes(mark)}, 60)
    on.ready(*corrected.items)
    assert resource_id(corrected, "vpcEndpoint/s3") != endpoint
    assert eks.describe_nodegroup(**node_group(corrected))["nodegroup"]["status"] == "ACTIVE"
    counts = [write["action"] for write in corrected.writes(mark) if write["action"].startswith("Create")]
    assert len(counts) == len(set(counts)), "one of each"
    corrected.go_away()


def test_report_names_manually_deleted_resources(on):
    shop = create_shop(on, driftPolicy="Report")
    shop.account.eks.delete_addon(clusterName=shop.name, addonName="vpc-cni")
    shop.account.eks.delete_nodegroup(**node_group(shop))
    for item, resource in ((shop.cluster, "addon/vpc-cni"), (shop.nodes, "nodeGroup/")):
        entry = await_or_explain(shop, lambda item=item, resource=resource: missing_resource(shop, item, resource))
        assert entry["seen"]
        message = conditions(shop.found(item))["InSync"]["message"]
        assert "no longer exists" in message
    shop.reconcile_all()
    assert {write["action"] for write in shop.writes()} == {"DeleteAddon", "DeleteNodegroup"}
    shop.go_away()


def missing_resource(shop: Shop, item: dict, resource: str) -> dict | None:
    status = shop.found(item).get("status", {})
    return next((d for d in status.get("drift", []) if d["resource"].startswith(resource) and not d["field"]), None)


@pytest.mark.parametrize("policy", ["Correct", "Report"])
def test_manually_deleted_cluster_is_never_recreated_automatically(on, policy):
    shop = Shop(on, driftPolicy=policy)
    shop.make()
    shop.account.eks.delete_cluster(name=shop.name)
    found = on.await_condition(shop.cluster, "Stalled", timeout=40)
    message = conditions(found)["Ready"]["message"]
    assert "no longer exists" in message and "delete" in message.lower(), message
    shop.reconcile_all()
    assert [w["action"] for w in shop.writes() if w["action"].startswith("Create")] == []
    shop.go_away()


@pytest.mark.parametrize("policy", ["Correct", "Report"])
def test_fields_absent_from_the_spec_are_not_drift(on, policy):
    """Absent fields, tags and resources of other writers, and the size that an autoscaler set."""
    shop = Shop(on, nodes=True, driftPolicy=policy)
    shop.make()
    account, eks = shop.account, shop.account.eks
    eks.update_cluster_config(name=shop.name, zonalShiftConfig={"enabled": True})
    await_active(shop)
    eks.update_cluster_config(name=shop.name, logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    await_active(shop)
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
    await_active(shop)
    mark = on.mark()
    for _ in range(2):
        shop.reconcile_all()
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


def test_drift_is_detected_within_the_interval(on):
    """By polling alone: every 2 s here, ten minutes by default."""
    shop = Shop(on, driftPolicy="Report", logging=["audit"])
    shop.make()
    logging_off(shop)
    change = CHANGES[0]
    within(lambda: drift(shop, change), 2 * float(INTERVAL.rstrip("s")) + 2 * busy_factor(), "the drift")
    shop.go_away()
