"""What AWS can say beforehand is said before the first write: names that do not exist, types that do not fit, versions that are not
offered. Each ends as InvalidSpec with the field, the value and what is valid; of node groups while the control plane is still made.
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
# A control plane that takes longer than all that is told before it is there.
SLOW = Durations(cluster_create=25, cluster_update=0.5, cluster_delete=0.5, nodegroup=0.5, addon=0.3, nat=0.3)
# What is read beforehand and for nothing else.
READS = {"DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "GetRole", "GetUser", "GetPolicy"}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=SLOW) as started:
        yield started


@dataclass
class World:
    account: Account
    subnets: list[str]
    vpc: str
    # Of another VPC.
    group: str
    template: str

    def arn(self, what: str) -> str:
        return f"arn:aws:iam::{self.account.id}:{what}"


@pytest.fixture(scope="module")
def world(on: Environment) -> World:
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
    made = account.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "m7i.large"})
    on.start(account=account.id)
    return World(account, subnets, vpc, group, made["LaunchTemplate"]["LaunchTemplateId"])


def clusters(w: World) -> list[Mistake]:
    def wrong(what: str, says: tuple[str, ...], **spec: object) -> Mistake:
        spec = {"network": existing(*w.subnets[:2]), "addons": [], **spec}
        return Mistake(what, cluster(what.replace(" ", "-"), **spec), says, "InvalidSpec")

    net = existing(*w.subnets[:2])["existing"]
    entry = {"kubernetesGroups": ["viewers"]}
    return [
        wrong("role", ("spec.roleArn", w.arn("role/missing"), "no IAM role"), roleArn=w.arn("role/missing")),
        wrong("role of others", ("spec.roleArn", "trust policy", "eks.amazonaws.com"), roleArn=w.arn("role/pods")),
        wrong("role without path", ("principalArn", w.arn("role/deep"), "its path is another"), access={"entries": [{"principalArn": w.arn("role/deep"), **entry}]}),
        wrong("user", ("spec.access.entries", w.arn("user/nobody")), access={"entries": [{"principalArn": w.arn("user/nobody"), **entry}]}),
        wrong("add-on", ("spec.addons[vpc-cnj]", "no add-on vpc-cnj in eu-west-1"), addons=[{"name": "vpc-cnj"}]),
        wrong("add-on version", ("spec.addons[vpc-cni]", "v0.0.1-eksbuild.1", "for Kubernetes 1.34", "the newest are v1."), addons=[{"name": "vpc-cni", "version": "v0.0.1-eksbuild.1"}]),
        wrong("add-on role", ("spec.addons[vpc-cni].podIdentityRoleArn", w.arn("role/missing")), addons=[{"name": "vpc-cni", "podIdentityRoleArn": w.arn("role/missing")}]),
        wrong("group", ("securityGroupIds", w.group, w.vpc), network={"existing": {**net, "securityGroupIds": [w.group]}}),
        wrong("vpc", ("spec.network.existing.vpcId", w.vpc, "vpc-0f00000000000000f"), network={"existing": {**net, "vpcId": "vpc-0f00000000000000f"}}),
        wrong(
            "several",
            ("spec.roleArn", "spec.addons[nothing]", "spec.podIdentities[shop/till].roleArn"),
            roleArn=w.arn("role/missing"),
            addons=[{"name": "nothing"}],
            podIdentities=[{"namespace": "shop", "serviceAccount": "till", "roleArn": w.arn("role/missing")}],
        ),
    ]


def groups(w: World, of: str) -> list[Mistake]:
    def wrong(name: str, says: tuple[str, ...], **spec: object) -> Mistake:
        return Mistake(name, node_group(of, name, **spec), says, "InvalidSpec")

    return [
        wrong("type", ("spec.instanceTypes", "m7i.lrge", "m7i.large, ", "m7i.xlarge"), instanceTypes=["m7i.lrge"]),
        wrong("region", ("spec.instanceTypes", "trn1.2xlarge in eu-west-1"), instanceTypes=["trn1.2xlarge"]),
        wrong("arm", ("spec.instanceTypes", "m7g.large is arm64", "AL2023_x86_64_STANDARD"), instanceTypes=["m7g.large"]),
        wrong("gpu", ("spec.instanceTypes", "m7i.large", "AL2023_x86_64_NVIDIA"), amiType="AL2023_x86_64_NVIDIA"),
        wrong("ami", ("spec.amiType", "AL2023_x86_64", "AL2023_x86_64_STANDARD, "), amiType="AL2023_x86_64"),
        wrong("al2", ("spec.amiType", "AL2_x86_64", "Kubernetes 1.34", "its last is 1.32"), amiType="AL2_x86_64"),
        wrong("own-role", ("spec.roleArn", w.arn("role/missing")), roleArn=w.arn("role/missing")),
        wrong("own-trust", ("spec.roleArn", "ec2.amazonaws.com"), roleArn=w.arn("role/pods")),
        wrong("policy", ("spec.additionalRolePolicies", w.arn("policy/missing")), additionalRolePolicies=[w.arn("policy/missing")]),
        wrong("template", ("spec.launchTemplate", "lt-0f00000000000000f"), launchTemplate={"id": "lt-0f00000000000000f"}),
        wrong("template-version", ("spec.launchTemplate", "version 9", w.template), launchTemplate={"id": w.template, "version": "9"}),
        wrong("subnet", ("spec.subnets.ids", "subnet-0f00000000000000f"), subnets={"ids": ["subnet-0f00000000000000f"]}),
    ]


@pytest.fixture(scope="module")
def told(on: Environment, world: World) -> tuple[int, list[Mistake]]:
    mark, mistakes = on.mark(), clusters(world)
    on.apply(*(mistake.item for mistake in mistakes))
    return mark, mistakes


def refused(on: Environment, mistake: Mistake, timeout: float = 15) -> None:
    found = conditions(on.await_condition(mistake.item, "Stalled", "True", "InvalidSpec", timeout))
    for words in mistake.says:
        assert words in found["Stalled"]["message"], f"{words!r} is not in {found['Stalled']['message']!r}"
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", "InvalidSpec")
    until(lambda: "InvalidSpec" in {event["reason"] for event in on.events(mistake.item)}, 10, "an event")


def test_a_cluster_that_names_what_is_not_there_is_told_so_and_nothing_is_written(on, world, told):
    mark, mistakes = told
    for mistake in mistakes:
        refused(on, mistake)
    assert actions(on.writes(mark, world.account.id)) == []
    on.delete(*(mistake.item for mistake in mistakes))


@pytest.fixture(scope="module")
def shop(on: Environment, world: World, told) -> dict:
    item = cluster("shop", network=existing(*world.subnets[:2]), addons=[{"name": "vpc-cni"}])
    on.apply(item)
    return item


def test_a_node_group_is_told_while_its_cluster_is_still_being_made(on, world, shop):
    good, mistakes = node_group("shop", "good"), groups(world, "shop")
    on.apply(good, *(mistake.item for mistake in mistakes))
    for mistake in mistakes:
        refused(on, mistake)
    on.await_condition(good, status="False", reason="WaitingForCluster", timeout=10)
    assert on.condition(shop)["reason"] == "Creating", on.describe(shop)
    on.delete(*(mistake.item for mistake in mistakes))
    # Neither did the cluster take a policy that there is not from them.
    on.ready(shop, good)
    (role,) = [name for name in world.account.roles() if name.endswith("-node")]
    attached = world.account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert not [one for one in attached if "missing" in one["PolicyArn"]]


def test_what_is_made_later_is_found_by_itself(on, world, shop):
    """A role that comes after the cluster that names it, as when both are applied at once."""
    identity = {"namespace": "shop", "serviceAccount": "till", "roleArn": world.arn("role/late")}
    mark = on.mark()
    on.api.patch(*key_of(shop)[:3], {"spec": {"podIdentities": [identity]}})
    found = on.await_condition(shop, "Stalled", "True", "InvalidSpec", timeout=15)
    assert world.arn("role/late") in conditions(found)["Stalled"]["message"]
    assert actions(on.writes(mark, world.account.id)) == []
    assert conditions(found)["Available"]["status"] == "True", "it runs on"
    world.account.role("late", PODS)
    on.ready(shop, timeout=60)
    listed = world.account.eks.list_pod_identity_associations(clusterName="shop")["associations"]
    assert [one["serviceAccount"] for one in listed] == ["till"]


def test_an_edit_that_names_what_is_not_there_touches_nothing_and_can_be_taken_back(on, world, shop):
    mark = on.mark()
    on.api.patch(*key_of(shop)[:3], {"spec": {"addons": [{"name": "vpc-cni"}, {"name": "vpc-cnj"}]}})
    on.await_condition(shop, "Stalled", "True", "InvalidSpec", timeout=15)
    on.api.patch(*key_of(shop)[:3], {"spec": {"addons": [{"name": "vpc-cni"}]}})
    on.ready(shop, timeout=20)
    assert actions(on.writes(mark, world.account.id)) == []


def test_what_may_not_be_read_is_not_refused(on, world):
    denied = {"error": {"code": "AccessDenied", "message": "not authorized to perform iam:GetRole", "status": 403}}
    rule = on.aws.add_fault({"action": "GetRole", "account": world.account.id}, denied)
    try:
        item = cluster("unseen", network=existing(*world.subnets[:2]), addons=[], roleArn=world.account.cluster_role("unseen"))
        on.apply(item)
        on.await_condition(item, reason="Creating", status="False", timeout=20)
        until(lambda: "unseen" in world.account.eks.list_clusters()["clusters"], 20, "CreateCluster")
    finally:
        on.aws.control("DELETE", "faults", params={"id": rule})
    on.ready(item)
    on.delete(item)


def test_nothing_of_it_is_read_again_once_aws_matches(on, world, shop):
    """Not by a process that has just begun, either."""
    good = node_group("shop", "good")
    for controller in [one for one in on.cloud.controllers if one.alive]:
        controller.stop()
    mark = on.mark()
    on.start(account=world.account.id)
    for item in (shop, good):
        word = {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}
        on.api.patch(*key_of(item)[:3], word)
    until(lambda: any(call["action"] == "DescribeNodegroup" for call in on.calls(mark, world.account.id)), 20, "a look")
    on.ready(shop, good)
    read = [call["action"] for call in on.calls(mark, world.account.id) if call["action"] in READS]
    assert read == []


def test_the_plan_says_the_same(on, world, tmp_path):
    """`keelson plan --live`, with no operator at all."""
    for mistake in (clusters(world)[4], Mistake("arm", node_group("other", "arm", instanceTypes=["m7g.large"]), ("spec.instanceTypes", "m7g.large is arm64"), "")):
        items = [mistake.item]
        if mistake.item["kind"] == "NodeGroup":
            items.insert(0, cluster("other", network=existing(*world.subnets[:2]), addons=[]))
        manifest = tmp_path / "planned.yaml"
        manifest.write_text(yaml.safe_dump_all(items))
        command = [str(keelson_binary()), "plan", "--live", "-f", str(manifest)]
        env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": world.account.id, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert done.returncode != 0, done.stdout
        for words in mistake.says:
            assert words in done.stderr, done.stderr
