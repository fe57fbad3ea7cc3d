"""Validation against AWS before the first write: names that do not exist, incompatible types, versions that are not offered. Each
mistake becomes InvalidSpec with the field, the value and what is valid; for node groups while the control plane is still being created.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import pytest
import yaml

from bad_input import Mistake
from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, key_of, node_group
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.paths import keelson_binary
from keelson_harness.kubeapi import conditions

PODS = {"Service": "pods.eks.amazonaws.com"}
# The control plane takes longer than all validation before it exists.
SLOW = Durations(cluster_create=25, cluster_update=0.5, cluster_delete=0.5, nodegroup=0.5, addon=0.3, nat=0.3)
# Reads that only this validation makes.
READS = {"DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "GetRole", "GetUser", "GetPolicy"}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=SLOW) as started:
        yield started


@dataclass
class AwsSetup:
    account: Account
    subnets: list[str]
    vpc: str
    # A security group of another VPC.
    group: str
    template: str

    def arn(self, what: str) -> str:
        return f"arn:aws:iam::{self.account.id}:{what}"


@pytest.fixture(scope="module")
def aws_setup(on: Environment) -> AwsSetup:
    account = on.account(fresh_account())
    subnets = account.network()
    vpc = account.ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    other = account.ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    group = account.ec2.create_security_group(GroupName="other", Description="of others", VpcId=other)["GroupId"]
    account.role("pods", PODS)
    account.iam.create_role(
        RoleName="deep",
        Path="/team/",
        AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}',
    )
    response = account.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "m7i.large"})
    on.start(account=account.id)
    return AwsSetup(account, subnets, vpc, group, response["LaunchTemplate"]["LaunchTemplateId"])


def clusters(setup: AwsSetup) -> list[Mistake]:
    def mistake(what: str, texts: tuple[str, ...], **spec: object) -> Mistake:
        spec = {"network": existing(*setup.subnets[:2]), "addons": [], **spec}
        return Mistake(what, cluster(what.replace(" ", "-"), **spec), texts, "InvalidSpec")

    net = existing(*setup.subnets[:2])["existing"]
    entry = {"kubernetesGroups": ["viewers"]}
    return [
        mistake("role", ("spec.roleArn", setup.arn("role/missing"), "IAM role"), roleArn=setup.arn("role/missing")),
        mistake("role of others", ("spec.roleArn", "trust policy", "eks.amazonaws.com"), roleArn=setup.arn("role/pods")),
        mistake("role without path", ("principalArn", setup.arn("role/deep"), "its path differs"), access={"entries": [{"principalArn": setup.arn("role/deep"), **entry}]}),
        mistake("user", ("spec.access.entries", setup.arn("user/nobody")), access={"entries": [{"principalArn": setup.arn("user/nobody"), **entry}]}),
        mistake("add-on", ("spec.addons[vpc-cnj]", "no add-on vpc-cnj in eu-west-1"), addons=[{"name": "vpc-cnj"}]),
        mistake("add-on version", ("spec.addons[vpc-cni]", "v0.0.1-eksbuild.1", "for Kubernetes 1.34", "the newest are v1."), addons=[{"name": "vpc-cni", "version": "v0.0.1-eksbuild.1"}]),
        mistake("add-on role", ("spec.addons[vpc-cni].podIdentityRoleArn", setup.arn("role/missing")), addons=[{"name": "vpc-cni", "podIdentityRoleArn": setup.arn("role/missing")}]),
        mistake("group", ("securityGroupIds", setup.group, setup.vpc), network={"existing": {**net, "securityGroupIds": [setup.group]}}),
        mistake("vpc", ("spec.network.existing.vpcId", setup.vpc, "vpc-0f00000000000000f"), network={"existing": {**net, "vpcId": "vpc-0f00000000000000f"}}),
        mistake(
            "several",
            ("spec.roleArn", "spec.addons[nothing]", "spec.podIdentities[shop/till].roleArn"),
            roleArn=setup.arn("role/missing"),
            addons=[{"name": "nothing"}],
            podIdentities=[{"namespace": "shop", "serviceAccount": "till", "roleArn": setup.arn("role/missing")}],
        ),
    ]


def groups(setup: AwsSetup, of: str) -> list[Mistake]:
    def mistake(name: str, texts: tuple[str, ...], **spec: object) -> Mistake:
        return Mistake(name, node_group(of, name, **spec), texts, "InvalidSpec")

    return [
        mistake("type", ("spec.instanceTypes", "m7i.lrge", "m7i.large, ", "m7i.xlarge"), instanceTypes=["m7i.lrge"]),
        mistake("region", ("spec.instanceTypes", "trn1.2xlarge in eu-west-1"), instanceTypes=["trn1.2xlarge"]),
        mistake("arm", ("spec.instanceTypes", "m7g.large is arm64", "AL2023_x86_64_STANDARD"), instanceTypes=["m7g.large"]),
        mistake("gpu", ("spec.instanceTypes", "m7i.large", "AL2023_x86_64_NVIDIA"), amiType="AL2023_x86_64_NVIDIA"),
        mistake("ami", ("spec.amiType", "AL2023_x86_64", "AL2023_x86_64_STANDARD, "), amiType="AL2023_x86_64"),
        mistake("al2", ("spec.amiType", "AL2_x86_64", "Kubernetes 1.34", "the last supported version is 1.32"), amiType="AL2_x86_64"),
        mistake("own-role", ("spec.roleArn", setup.arn("role/missing")), roleArn=setup.arn("role/missing")),
        mistake("own-trust", ("spec.roleArn", "ec2.amazonaws.com"), roleArn=setup.arn("role/pods")),
        mistake("policy", ("spec.additionalRolePolicies", setup.arn("policy/missing")), additionalRolePolicies=[setup.arn("policy/missing")]),
        mistake("template", ("spec.launchTemplate", "lt-0f00000000000000f"), launchTemplate={"id": "lt-0f00000000000000f"}),
        mistake("template-version", ("spec.launchTemplate", "version 9", setup.template), launchTemplate={"id": setup.template, "version": "9"}),
        mistake("subnet", ("spec.subnets.ids", "subnet-0f00000000000000f"), subnets={"ids": ["subnet-0f00000000000000f"]}),
    ]


@pytest.fixture(scope="module")
def invalid_clusters(on: Environment, aws_setup: AwsSetup) -> tuple[int, list[Mistake]]:
    mark, mistakes = on.mark(), clusters(aws_setup)
    on.apply(*(mistake.item for mistake in mistakes))
    return mark, mistakes


def assert_invalid(on: Environment, mistake: Mistake, timeout: float = 15) -> None:
    found = conditions(on.await_condition(mistake.item, "Stalled", "True", "InvalidSpec", timeout))
    for words in mistake.texts:
        assert words in found["Stalled"]["message"], f"{words!r} is not in {found['Stalled']['message']!r}"
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", "InvalidSpec")
    until(lambda: "InvalidSpec" in {event["reason"] for event in on.events(mistake.item)}, 10, "an event")


def test_cluster_with_missing_references_is_invalid_and_nothing_is_written(on, aws_setup, invalid_clusters):
    mark, mistakes = invalid_clusters
    for mistake in mistakes:
        assert_invalid(on, mistake)
    assert actions(on.writes(mark, aws_setup.account.id)) == []
    on.delete(*(mistake.item for mistake in mistakes))


@pytest.fixture(scope="module")
def shop(on: Environment, aws_setup: AwsSetup, invalid_clusters) -> dict:
    item = cluster("shop", network=existing(*aws_setup.subnets[:2]), addons=[{"name": "vpc-cni"}])
    on.apply(item)
    return item


def test_node_group_is_validated_while_its_cluster_is_being_created(on, aws_setup, shop):
    good, mistakes = node_group("shop", "good"), groups(aws_setup, "shop")
    on.apply(good, *(mistake.item for mistake in mistakes))
    for mistake in mistakes:
        assert_invalid(on, mistake)
    on.await_condition(good, status="False", reason="WaitingForCluster", timeout=10)
    on.await_condition(shop, status="False", reason="Creating", timeout=10)
    on.delete(*(mistake.item for mistake in mistakes))
    # Nor did the node role get the missing policy of one of them.
    on.ready(shop, good)
    (role,) = [name for name in aws_setup.account.roles() if name.endswith("-node")]
    attached = aws_setup.account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert not [one for one in attached if "missing" in one["PolicyArn"]]


def test_reference_created_later_is_found_automatically(on, aws_setup, shop):
    """A role that is created after the cluster that names it, as when both are applied together."""
    identity = {"namespace": "shop", "serviceAccount": "till", "roleArn": aws_setup.arn("role/late")}
    mark = on.mark()
    on.api.patch(*key_of(shop)[:3], {"spec": {"podIdentities": [identity]}})
    found = on.await_condition(shop, "Stalled", "True", "InvalidSpec", timeout=15)
    assert aws_setup.arn("role/late") in conditions(found)["Stalled"]["message"]
    assert actions(on.writes(mark, aws_setup.account.id)) == []
    assert conditions(found)["Available"]["status"] == "True", "the cluster keeps running"
    aws_setup.account.role("late", PODS)
    on.ready(shop, timeout=60)
    listed = aws_setup.account.eks.list_pod_identity_associations(clusterName="shop")["associations"]
    assert [one["serviceAccount"] for one in listed] == ["till"]


def test_edit_with_missing_reference_writes_nothing_and_can_be_reverted(on, aws_setup, shop):
    mark = on.mark()
    on.api.patch(*key_of(shop)[:3], {"spec": {"addons": [{"name": "vpc-cni"}, {"name": "vpc-cnj"}]}})
    on.await_condition(shop, "Stalled", "True", "InvalidSpec", timeout=15)
    on.api.patch(*key_of(shop)[:3], {"spec": {"addons": [{"name": "vpc-cni"}]}})
    on.ready(shop, timeout=20)
    assert actions(on.writes(mark, aws_setup.account.id)) == []


def test_unreadable_reference_is_not_rejected(on, aws_setup):
    denied = {"error": {"code": "AccessDenied", "message": "not authorized to perform iam:GetRole", "status": 403}}
    rule = on.aws.add_fault({"action": "GetRole", "account": aws_setup.account.id}, denied)
    try:
        item = cluster("unseen", network=existing(*aws_setup.subnets[:2]), addons=[], roleArn=aws_setup.account.cluster_role("unseen"))
        on.apply(item)
        on.await_condition(item, reason="Creating", status="False", timeout=20)
        until(lambda: "unseen" in aws_setup.account.eks.list_clusters()["clusters"], 20, "CreateCluster")
    finally:
        on.aws.control("DELETE", "faults", params={"id": rule})
    on.ready(item)
    on.delete(item)


def test_validation_reads_are_not_repeated_once_aws_matches(on, aws_setup, shop):
    """Not by a new process, either."""
    good = node_group("shop", "good")
    for controller in [one for one in on.cloud.controllers if one.alive]:
        controller.stop()
    mark = on.mark()
    on.start(account=aws_setup.account.id)
    for item in (shop, good):
        annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}
        on.api.patch(*key_of(item)[:3], annotation)
    until(lambda: any(call["action"] == "DescribeNodegroup" for call in on.calls(mark, aws_setup.account.id)), 20, "an observation")
    on.ready(shop, good)
    read = [call["action"] for call in on.calls(mark, aws_setup.account.id) if call["action"] in READS]
    assert read == []


def test_plan_reports_the_same_mistakes(on, aws_setup, tmp_path):
    """`keelson plan --live`, without an operator."""
    for mistake in (clusters(aws_setup)[4], Mistake("arm", node_group("other", "arm", instanceTypes=["m7g.large"]), ("spec.instanceTypes", "m7g.large is arm64"), "")):
        items = [mistake.item]
        if mistake.item["kind"] == "NodeGroup":
            items.insert(0, cluster("other", network=existing(*aws_setup.subnets[:2]), addons=[]))
        manifest = tmp_path / "planned.yaml"
        manifest.write_text(yaml.safe_dump_all(items))
        command = [str(keelson_binary()), "plan", "--live", "-f", str(manifest)]
        env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": aws_setup.account.id, "PATH": "/usr/bin:/bin"}
        result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert result.returncode != 0, result.stdout
        for words in mistake.texts:
            assert words in result.stderr, result.stderr
