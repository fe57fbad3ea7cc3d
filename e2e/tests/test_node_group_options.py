"""Options of a NodeGroup that EKS takes as they are: launch templates by name, Capacity Blocks, repair limits and warm pools.

`test_changes_nodes.py` has the edits of repair and warm pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.account import OWNER, Account, fresh_account
from fleet.environment import Environment, actions, environment, is_in_sync, until
from fleet.killing import killed_at
from fleet.manifests import CLOSED, account as aws_account
from fleet.manifests import cluster, key_of, node_group
from fleet.upgrading import SMALL
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions

OVERRIDE = {
    "nodeMonitoringCondition": "KernelReady", "nodeUnhealthyReason": "SoftLockup", "minRepairWaitTimeMins": 10, "repairAction": "Reboot"
}
SHOP = cluster("shop", **{**SMALL, "addons": []})
# The zone of the reservation.
ZONE = {"zones": [f"{REGION}a"]}


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(git=False, flux=False, durations=Durations(1, 1, 1, 1.2, 0.3, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on: Environment) -> Account:
    return on.account(fresh_account())


def template_of(account: Account, name: str) -> str:
    created = account.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "m7i.large"})
    return created["LaunchTemplate"]["LaunchTemplateId"]


@pytest.fixture(scope="module")
def allowed(account: Account) -> str:
    return template_of(account, "base")


@pytest.fixture(scope="module")
def shop(on: Environment, account: Account, allowed: str) -> dict:
    """A cluster whose account allows one launch template."""
    template_of(account, "foreign")
    on.start("--drift-interval=2s", account=account.id)
    on.apply(aws_account("default", account.id, **CLOSED | {"allowedLaunchTemplateIds": [allowed], "allowedCapacityReservationIds": ["*"]}), SHOP)
    on.ready(SHOP)
    return SHOP


def described(account: Account, name: str) -> dict:
    return account.eks.describe_nodegroup(clusterName="shop", nodegroupName=name)["nodegroup"]


def test_launch_template_by_name_is_used_by_its_id_and_its_version_changes(on, shop, account, allowed):
    group = node_group("shop", "named", launchTemplate={"name": "base", "version": "1"}, scaling={"min": 1, "max": 2})
    on.apply(group)
    on.ready(group)
    used = described(account, "named")["launchTemplate"]
    assert (used["id"], used["name"], used["version"]) == (allowed, "base", "1")
    account.ec2.create_launch_template_version(LaunchTemplateId=allowed, LaunchTemplateData={"InstanceType": "m7i.xlarge"})
    on.api.patch(*key_of(group)[:3], {"spec": {"launchTemplate": {"version": "2"}}})
    on.await_in_sync(group, 40, "version 2")
    assert described(account, "named")["launchTemplate"]["version"] == "2"


def test_name_of_another_template_later_is_reported_and_changes_no_nodes(on, shop, account, allowed):
    group = node_group("shop", "named")
    mark = on.mark()
    account.ec2.delete_launch_template(LaunchTemplateId=allowed)
    other = template_of(account, "base")
    found = on.await_condition(group, "Stalled", "True", "AccessDenied", timeout=30)
    assert "base is not a launch template that this namespace may use" in conditions(found)["Stalled"]["message"]
    on.apply(aws_account("default", account.id, **CLOSED | {"allowedLaunchTemplateIds": [allowed, other], "allowedCapacityReservationIds": ["*"]}))
    found = on.await_condition(group, "Stalled", "True", "InvalidSpec", timeout=30)
    message = conditions(found)["Stalled"]["message"]
    assert allowed in message and other in message and "create a new NodeGroup" in message
    assert [call for call in actions(on.writes(mark, account.id)) if call.startswith("eks:")] == []
    on.delete(group)


def test_name_that_the_account_does_not_allow_is_refused_whether_or_not_it_exists(on, shop, account):
    mark = on.mark()
    groups = {name: node_group("shop", name, launchTemplate={"name": name}) for name in ("foreign", "missing")}
    on.apply(*groups.values())
    for name, group in groups.items():
        found = on.await_condition(group, "Stalled", "True", "AccessDenied", timeout=20)
        message = conditions(found)["Stalled"]["message"]
        assert f"spec.launchTemplate.name: {name} is not a launch template" in message and "allowedLaunchTemplateIds" in message
    assert actions(on.writes(mark, account.id)) == []
    on.delete(*groups.values())


def test_capacity_block_has_a_template_with_its_reservation_and_is_updated_without_nodes(on, shop, account):
    # No type of Capacity Blocks is offered in the emulator's first two zones.
    block = node_group(
        "shop", "block", capacityType="CapacityBlock", instanceTypes=["g5.xlarge"], amiType="AL2023_x86_64_NVIDIA", subnets=ZONE,
        node={"capacityReservationId": "cr-0123"}, scaling={"min": 0, "max": 2, "desired": 1, "desiredPolicy": "Enforce"},
    )
    on.apply(block)
    on.ready(block)
    group = described(account, "block")
    assert group["capacityType"] == "CAPACITY_BLOCK" and "instanceTypes" not in group
    template = group["launchTemplate"]
    (version,) = account.ec2.describe_launch_template_versions(LaunchTemplateId=template["id"], Versions=[template["version"]])[
        "LaunchTemplateVersions"
    ]
    data = version["LaunchTemplateData"]
    assert data["InstanceMarketOptions"] == {"MarketType": "capacity-block"} and data["InstanceType"] == "g5.xlarge"
    assert data["CapacityReservationSpecification"]["CapacityReservationTarget"] == {"CapacityReservationId": "cr-0123"}
    # The next block. EKS updates the group only without nodes.
    mark = on.mark()
    on.api.patch(*key_of(block)[:3], {"spec": {"node": {"capacityReservationId": "cr-0456"}}})

    def waits() -> bool:
        return "only without nodes" in on.condition(block, "InSync").get("message", "")

    until(waits, 30, f"why it waits: {on.describe(block)}")
    assert actions(on.writes(mark, account.id)) == []
    on.api.patch(*key_of(block)[:3], {"spec": {"scaling": {"desired": 0}}})
    on.await_in_sync(block, 40, "the next block")
    assert described(account, "block")["launchTemplate"]["version"] == "2"
    on.delete(block)


def test_settings_reach_eks_through_a_kill_at_each_write(on, shop, account):
    """The last test of the file: it ends the operator."""
    group = node_group(
        "shop", "tuned", repair={"enabled": True, "maxUnhealthyCount": 2, "overrides": [OVERRIDE]},
        warmPool={"enabled": True, "minSize": 1, "maxGroupPreparedCapacity": 4, "reuseOnScaleIn": True}, scaling={"min": 1, "max": 3},
    )
    for operator in on.cloud.controllers:
        if operator.alive:
            operator.stop()
    named = node_group("shop", "by-name", launchTemplate={"name": "base", "version": "1"}, scaling={"min": 1, "max": 2})
    block = node_group(
        "shop", "next-block", capacityType="CapacityBlock", instanceTypes=["g5.xlarge"], amiType="AL2023_x86_64_NVIDIA", subnets=ZONE,
        node={"capacityReservationId": "cr-0123"}, scaling={"min": 0, "max": 2},
    )
    groups = (group, named, block)
    on.apply(*groups)
    killings = killed_at(on, account.id, lambda: all(is_in_sync(on.api.get(*key_of(one))) for one in groups))
    for name in ("tuned", "by-name", "next-block"):
        assert f"eks:CreateNodegroup shop/{name}" in killings.points, killings.points
    templates = account.ec2.describe_launch_templates(Filters=[{"Name": "tag-key", "Values": [OWNER]}])["LaunchTemplates"]
    ours = [one for one in templates if not any(tag["Key"].startswith("eks:") for tag in one["Tags"])]
    assert len(ours) == 1, templates
    assert described(account, "by-name")["launchTemplate"]["name"] == "base"
    assert described(account, "next-block")["capacityType"] == "CAPACITY_BLOCK"
    found = described(account, "tuned")
    assert found["nodeRepairConfig"] == {"enabled": True, "maxUnhealthyNodeThresholdCount": 2, "nodeRepairConfigOverrides": [OVERRIDE]}
    pool = {"enabled": True, "minSize": 1, "maxGroupPreparedCapacity": 4, "poolState": "STOPPED", "reuseOnScaleIn": True}
    assert found["warmPoolConfig"] == pool
    on.api.patch(*key_of(group)[:3], {"spec": {"repair": {"maxUnhealthyCount": None, "maxUnhealthyPercentage": 10}, "warmPool": {"enabled": False}}})
    killings = killed_at(on, account.id, lambda: is_in_sync(on.api.get(*key_of(group))))
    assert killings.points == ["eks:UpdateNodegroupConfig shop/tuned"], killings.summary("an edit")
    found = described(account, "tuned")
    assert found["nodeRepairConfig"] == {"enabled": True, "maxUnhealthyNodeThresholdPercentage": 10, "nodeRepairConfigOverrides": [OVERRIDE]}
    assert found["warmPoolConfig"] == {"enabled": False}
