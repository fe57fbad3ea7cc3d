"""Settings of a running cluster reach AWS once each, though the operator is killed at every write: those of the control plane, access entries,
add-ons, Fargate profiles, flow logs and the log group. Other features have such a test in a file of their own.
"""

from __future__ import annotations

import pytest

from fleet.account import OWNER, Account, fresh_account
from fleet.environment import Environment, environment, is_in_sync
from fleet.killing import Killings, killed_at
from fleet.manifests import cluster, key_of
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

FLAGS = ("--drift-interval=1s", "--max-deletions=100")
UPDATE = "eks:UpdateClusterConfig"
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": [{"name": "vpc-cni"}]}
STRATEGY = {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 5}]}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


class Crashing:
    """A cluster in an account of its own, whose operators are killed at every write of an edit."""

    def __init__(self, on: Environment, name: str, **spec: object):
        self.on, self.name, self.account = on, name, on.account(fresh_account())
        self.item = cluster(name, **{**SMALL, **spec})

    def is_done(self) -> bool:
        found = self.on.api.find(*key_of(self.item)) or {}
        return bool(found) and is_in_sync(found) and conditions(found).get("Ready", {}).get("status") == "True"

    def create(self) -> None:
        """`test_crash.py` kills operators that create clusters."""
        self.on.apply(self.item)
        with self.on.operator(*FLAGS, account=self.account.id):
            self.on.ready(self.item)

    def edit(self, **spec: object) -> Killings:
        self.on.api.patch(*key_of(self.item)[:3], {"spec": spec})
        return self.killed()

    def killed(self) -> Killings:
        try:
            return killed_at(self.on, self.account.id, self.is_done, flags=FLAGS, timeout=200)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.on.describe(self.item)}") from None

    def delete(self) -> Killings:
        self.on.api.delete(*key_of(self.item))
        return killed_at(self.on, self.account.id, lambda: not self.on.api.find(*key_of(self.item)), flags=FLAGS, timeout=200)

    def forget(self) -> None:
        self.on.force_delete(self.item)

    def described(self) -> dict:
        return self.account.eks.describe_cluster(name=self.name)["cluster"]


def times(killings: Killings, action: str) -> int:
    """How often a write succeeded."""
    return len([write for write in killings.writes if write.split(" ")[0] == action])


def test_settings_of_the_control_plane_reach_eks_once(on: Environment, capsys) -> None:
    shop = Crashing(on, "settings")
    shop.create()
    edited = shop.edit(
        controlPlane={
            "egressMode": "CustomerRouted",
            "apiServer": {"eventTtl": "30m"},
            "controllerManager": {"podGcControllerConfig": {"terminatedPodGcThreshold": 1000}},
            "scheduler": {"nodeResourcesFit": {"scoringStrategy": STRATEGY}},
        },
        remoteNetworks={"nodeCidrs": ["10.80.0.0/16"], "podCidrs": ["10.85.0.0/16"]},
        autoMode={"nodePools": ["system"]},
        zonalShift=True,
        supportType="Extended",
        logging=["audit"],
    )
    found = shop.described()
    assert found["resourcesVpcConfig"]["controlPlaneEgressMode"] == "CUSTOMER_ROUTED"
    assert found["kubeApiServerConfig"]["eventTtl"] == "30m"
    assert found["kubeControllerManagerConfig"]["podGcControllerConfig"] == {"terminatedPodGcThreshold": 1000}
    assert found["kubeSchedulerConfig"]["nodeResourcesFit"]["scoringStrategy"] == STRATEGY
    assert found["remoteNetworkConfig"]["remoteNodeNetworks"] == [{"cidrs": ["10.80.0.0/16"]}]
    assert found["computeConfig"]["nodePools"] == ["system"] and found["zonalShiftConfig"] == {"enabled": True}
    updates = [shop.account.eks.describe_update(name=shop.name, updateId=id_)["update"] for id_ in shop.account.eks.list_updates(name=shop.name)["updateIds"]]
    kinds = [update["type"] for update in updates]
    assert len(kinds) == len(set(kinds)), kinds
    assert times(edited, UPDATE) == len(kinds) and edited.points.count(f"{UPDATE} {shop.name}") >= 1, edited.summary("settings")
    vpc = found["resourcesVpcConfig"]["vpcId"]
    more = shop.account.ec2.create_security_group(GroupName="more", Description="of others", VpcId=vpc)["GroupId"]
    off = shop.edit(
        autoMode={"enabled": False, "nodePools": []},
        remoteNetworks={"nodeCidrs": [], "podCidrs": []},
        network={"vpc": {"securityGroupIds": [more]}},
    )
    assert shop.described()["computeConfig"]["enabled"] is False
    assert shop.described()["resourcesVpcConfig"]["securityGroupIds"] == [more]
    assert times(off, UPDATE) == 3, off.writes
    with capsys.disabled():
        print(f"\n  {edited.summary('settings')}\n  {off.summary('off')}")
    shop.forget()


def test_parts_of_the_cluster_are_made_changed_and_removed_once(on: Environment, capsys) -> None:
    shop = Crashing(on, "parts")
    shop.create()
    pods = shop.account.role("pods", {"Service": "eks-fargate-pods.amazonaws.com"}, "AmazonEKSFargatePodExecutionRolePolicy")
    nodes = shop.account.role("nodes", {"Service": "ec2.amazonaws.com"}, "AmazonEKSWorkerNodePolicy")
    person = shop.account.role("person", {"AWS": f"arn:aws:iam::{shop.account.id}:root"})
    private = [one["id"] for one in on.status(shop.item)["network"]["subnets"] if one["tier"] == "Private"]
    profile = {"name": "jobs", "selectors": [{"namespace": "jobs"}], "podExecutionRoleArn": pods, "subnetIds": private[:1]}
    agent = {"name": "eks-pod-identity-agent", "preserveOnDelete": True}
    made = shop.edit(
        access={"prune": True, "entries": [{"principalArn": nodes, "type": "Ec2Linux"}, {"principalArn": person, "username": "sso:person"}]},
        addons=[{"name": "vpc-cni"}, agent],
        fargateProfiles=[profile],
        pruneAddons=True,
        pruneCoreAddons="Delete",
        pruneFargateProfiles=True,
        # Without a type of log, EKS creates none.
        logGroup={"retentionDays": 30},
    )
    for action in ("eks:CreateFargateProfile", "eks:CreateAddon", "logs:CreateLogGroup", "logs:PutRetentionPolicy"):
        assert times(made, action) == 1, made.writes
    assert times(made, "eks:CreateAccessEntry") == 2
    entry = shop.account.eks.describe_access_entry(clusterName=shop.name, principalArn=person)["accessEntry"]
    assert entry["username"] == "sso:person"
    changed = shop.edit(access={"entries": [{"principalArn": person, "username": "sso:other"}]}, addons=[{"name": "vpc-cni"}], fargateProfiles=[])
    for action in ("eks:DeleteFargateProfile", "eks:DeleteAddon", "eks:DeleteAccessEntry", "eks:UpdateAccessEntry"):
        assert times(changed, action) == 1, changed.writes
    with capsys.disabled():
        print(f"\n  {made.summary('make')}\n  {changed.summary('remove')}")
    shop.forget()


def test_flow_logs_are_made_replaced_and_removed_once(on: Environment, capsys) -> None:
    account: Account = on.account(fresh_account())
    name = f"flow-{account.id}"
    account.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": account.region})
    vpc = {**SMALL["network"]["vpc"], "flowLogs": {"s3": {"bucketArn": f"arn:aws:s3:::{name}"}}}
    shop = Crashing(on, "flows", network={"vpc": vpc})
    shop.account = account

    def logs() -> list[dict]:
        return account.ec2.describe_flow_logs(Filters=[{"Name": "tag-key", "Values": [OWNER]}])["FlowLogs"]

    shop.create()
    (first,) = logs()
    replaced = shop.edit(network={"vpc": {"flowLogs": {"traffic": "Rejected"}}})
    (second,) = logs()
    assert second["TrafficType"] == "REJECT" and second["FlowLogId"] != first["FlowLogId"]
    assert (times(replaced, "ec2:DeleteFlowLogs"), times(replaced, "ec2:CreateFlowLogs")) == (1, 1), replaced.writes
    removed = shop.edit(network={"vpc": {"flowLogs": None}})
    assert logs() == [] and times(removed, "ec2:DeleteFlowLogs") == 1, removed.writes
    with capsys.disabled():
        print(f"\n  {replaced.summary('replace')}\n  {removed.summary('remove')}")
    shop.forget()


def test_log_group_is_tagged_edited_and_deleted_once(on: Environment, capsys) -> None:
    shop = Crashing(on, "logged", logging=["audit"])
    shop.create()
    logs, group = shop.account.client("logs"), "/aws/eks/logged/cluster"
    assert OWNER not in shop.account.log_groups()[group], "EKS's, until the spec has the field"
    taken = shop.edit(logGroup={"retentionDays": 30})
    assert OWNER in shop.account.log_groups()[group]
    for action in ("logs:TagResource", "logs:PutRetentionPolicy"):
        assert times(taken, action) == 1 and any(point.startswith(action) for point in taken.points), taken.summary("take")
    edited = shop.edit(logGroup={"retentionDays": 90}, tags={"team": "b"})
    (found,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found["retentionInDays"] == 90 and times(edited, "logs:PutRetentionPolicy") == 1, edited.writes
    assert shop.account.log_groups()[group]["team"] == "b"
    deleted = shop.delete()
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
    assert times(deleted, "logs:DeleteLogGroup") == 1, deleted.writes
    with capsys.disabled():
        print(f"\n  {taken.summary('take')}\n  {edited.summary('edit')}\n  {deleted.summary('delete')}")
