"""Forged tags: foreign resources that carry Keelson's tags, or a cluster's name.

A tenant knows the UID of every object in its namespace; someone in AWS may write tags but not delete. Together they could try to
make the operator adopt, release or delete resources that neither of them owns.
"""

from __future__ import annotations

import pytest

from fleet.account import CLUSTER, OWNER, RESOURCE, Account, fresh_account
from fleet.manifests import VERSION, cluster, key_of
from fleet.foreign_network import Neighbours, now
from fleet.environment import environment, until
from keelson_harness.aws import REGION, Durations

from .tenant import Tenant, tenant

DURATIONS = Durations(1, 1, 0.5, 0.5, 0.2, 0.5)
ZONE = f"{REGION}a"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def operator(on, account):
    return on.start(account=account.id)


@pytest.fixture(scope="module")
def shop(on) -> Tenant:
    return tenant(on, "team-shop")


def forge(account: Account, resource_id: str, uid: str, cluster_name: str, key: str) -> str:
    """Writes the tags that the operator writes on its own resources."""
    tags = {OWNER: uid, CLUSTER: cluster_name, RESOURCE: key}
    account.ec2.create_tags(Resources=[resource_id], Tags=[{"Key": k, "Value": v} for k, v in tags.items()])
    return resource_id


def uid_of(on, item: dict) -> str:
    return on.api.get(*key_of(item))["metadata"]["uid"]


def test_foreign_resources_with_keelson_tags_are_not_used_deleted_or_blocking(on, account, operator):
    vpc = {"zoneCount": 2, "endpoints": ["ecr.api"]}
    item = cluster("forged", network={"vpc": vpc}, addons=[])
    on.apply(item)
    on.ready(item)
    before = account.resources()
    uid, ec2 = uid_of(on, item), account.ec2
    elsewhere = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    address = lambda: ec2.allocate_address(Domain="vpc")["AllocationId"]  # noqa: E731
    group = ec2.create_security_group(GroupName="theirs", Description="theirs", VpcId=elsewhere)["GroupId"]
    subnet = ec2.create_subnet(VpcId=elsewhere, CidrBlock="10.99.1.0/24", AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    forged = [
        forge(account, resource, uid, "default/forged", key)
        for resource, key in (
            (elsewhere, "vpc"),
            (address(), f"elasticIp/{ZONE}"),
            (address(), f"elasticIp/{REGION}b"),
            (group, "securityGroup/endpoints"),
            (subnet, f"subnet/private/{REGION}c"),
            (gateway, "internetGateway"),
        )
    ]
    tags = [{"Key": OWNER, "Value": uid}, {"Key": RESOURCE, "Value": "oidcProvider"}]
    provider = account.iam.create_open_id_connect_provider(
        Url=f"https://oidc.eks.{REGION}.amazonaws.com/id/THEIRS", ClientIDList=["sts.amazonaws.com"], Tags=tags
    )["OpenIDConnectProviderArn"]
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    until(lambda: [c for c in on.calls(mark, account.id) if c["action"] == "DescribeAddresses"], 30, "a reconcile")
    on.ready(item)
    assert on.writes(mark, account.id) == []
    shown = {r["key"]: r.get("id") for r in on.status(item)["resources"]}
    assert set(forged) & set(shown.values()) == set()
    assert {key: shown[key] for key in ("vpc", f"elasticIp/{ZONE}", "internetGateway")} == {
        key: before[key] for key in ("vpc", f"elasticIp/{ZONE}", "internetGateway")
    }

    on.delete(item, timeout=90)
    left = {i for ids in account.inventory().values() for i in ids}
    assert set(forged) <= left and provider in left
    assert set(before.values()) & left == set()
    (event,) = [event for event in on.events(item) if event["reason"] == "NotOwned"]
    assert all(resource in event["note"] for resource in forged)
    account.ec2.delete_tags(Resources=forged)


def test_foreign_resource_tagged_before_creation_is_named_and_not_used(on, account, operator):
    item = cluster("squatted", network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, addons=[], suspend=True)
    on.apply(item)
    foreign = account.ec2.create_vpc(CidrBlock="10.98.0.0/16")["Vpc"]["VpcId"]
    forge(account, foreign, uid_of(on, item), "default/squatted", "vpc")
    # A restart, so that no cached read from before counts.
    operator.kill()
    operator.restart()
    on.await_ready(operator)
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"spec": {"suspend": False}})
    on.await_condition(item, "Stalled", reason="NotOwned")
    message = on.condition(item)["message"]
    assert foreign in message and "remove it" in message
    assert [call for call in on.writes(mark, account.id) if call["service"] == "ec2"] == []
    account.ec2.delete_tags(Resources=[foreign], Tags=[{"Key": OWNER}])
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    on.ready(item)
    on.delete(item)
    assert account.ec2.describe_vpcs(VpcIds=[foreign])["Vpcs"]


def test_foreign_cluster_tagged_for_a_tenant_is_not_deleted(on, account, operator, shop):
    subnets = account.network("ab", "10.97.0.0/16")
    role = account.cluster_role("legacy")
    account.eks.create_cluster(name="legacy", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    until(lambda: account.eks.describe_cluster(name="legacy")["cluster"]["status"] == "ACTIVE", 30, "legacy")
    network = {"existing": {"subnetIds": subnets}}
    spec = {"region": REGION, "version": VERSION, "clusterName": "legacy", "network": network, "oidcProvider": False, "addons": []}
    item = shop.object("EksCluster", "mine", {**spec, "suspend": True})
    assert shop.apply_error(item) is None
    arn = account.eks.describe_cluster(name="legacy")["cluster"]["arn"]
    tags = {OWNER: uid_of(on, item), CLUSTER: "team-shop/mine", RESOURCE: "cluster"}
    account.eks.tag_resource(resourceArn=arn, tags=tags)
    mark = on.mark()
    assert shop.apply_error(shop.object("EksCluster", "mine", spec)) is None
    on.await_condition(item, "Stalled", reason="NotOwned")
    assert "not recorded" in on.condition(item)["message"]
    on.delete(item)
    assert [call for call in on.writes(mark, account.id) if call["service"] in ("eks", "ec2")] == []
    assert account.eks.describe_cluster(name="legacy")["cluster"]["status"] == "ACTIVE"


def test_deletion_keeps_resources_of_a_foreign_cluster_of_the_same_name(on, account, operator, shop):
    """`prod` in the VPC of a self-managed `prod` with its security groups, rules and node interfaces."""
    foreign = Neighbours(account, "prod", "10.96.0.0/16")
    nodes, backend = foreign.terraform_group("nodes.prod"), foreign.load_balancer_group("k8s-traffic-prod")
    foreign.allow(nodes, backend)
    foreign.allow(backend, nodes)
    network = {"existing": {"subnetIds": foreign.subnets}}
    spec = {"region": REGION, "version": VERSION, "network": network, "oidcProvider": False, "addons": []}
    item = shop.object("EksCluster", "prod", spec)
    assert shop.apply_error(item) is None
    on.ready(item)
    # A foreign node starts meanwhile: its interface is not attached yet.
    starting = foreign.node_interface(foreign.node(), now(), nodes)
    before = foreign.groups()
    mark = on.mark()
    shop.api.delete(*key_of(item))
    on.api.wait_gone(*key_of(item), 60)
    assert [call for call in on.writes(mark, account.id) if call["service"] == "ec2"] == []
    assert {group: rules for group, rules in foreign.groups().items() if group in (nodes, backend)} == {
        group: before[group] for group in (nodes, backend)
    }
    assert starting in foreign.interfaces()
