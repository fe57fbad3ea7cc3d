"""Tags that others write: what carries our tags, or a cluster's name, and is not ours.

A tenant knows the UID of every object of its namespace; somebody in AWS may write tags and not delete. Together they would have
the operator take over, release or delete for them what is neither's.
"""

from __future__ import annotations

import pytest

from fleet.account import CLUSTER, OWNER, RESOURCE, Account, fresh_account
from fleet.manifests import VERSION, cluster, key_of
from fleet.neighbours import Neighbours, now
from fleet.environment import environment, until
from keelson_harness.aws import REGION, Durations

from .tenant import Tenant, tenant

LIFE = Durations(1, 1, 0.5, 0.5, 0.2, 0.5)
ZONE = f"{REGION}a"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
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
    """Writes the tags that the operator writes on what it makes."""
    tags = {OWNER: uid, CLUSTER: cluster_name, RESOURCE: key}
    account.ec2.create_tags(Resources=[resource_id], Tags=[{"Key": k, "Value": v} for k, v in tags.items()])
    return resource_id


def uid_of(on, item: dict) -> str:
    return on.api.get(*key_of(item))["metadata"]["uid"]


def test_what_others_tagged_as_ours_is_neither_used_nor_deleted_and_holds_nothing_up(on, account, operator):
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
    until(lambda: [c for c in on.calls(mark, account.id) if c["action"] == "DescribeAddresses"], 30, "a look")
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
    (told,) = [event for event in on.events(item) if event["reason"] == "NotOwned"]
    assert all(resource in told["note"] for resource in forged)
    account.ec2.delete_tags(Resources=forged)


def test_what_was_tagged_before_anything_was_made_is_named_and_made_part_of_nothing(on, account, operator):
    item = cluster("squatted", network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, addons=[], suspend=True)
    on.apply(item)
    theirs = account.ec2.create_vpc(CidrBlock="10.98.0.0/16")["Vpc"]["VpcId"]
    forge(account, theirs, uid_of(on, item), "default/squatted", "vpc")
    # What an operator read before it began does not count.
    operator.kill()
    operator.restart()
    on.await_ready(operator)
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"spec": {"suspend": False}})
    on.await_condition(item, "Stalled", reason="NotOwned")
    message = on.condition(item)["message"]
    assert theirs in message and "remove it" in message
    assert [call for call in on.writes(mark, account.id) if call["service"] == "ec2"] == []
    account.ec2.delete_tags(Resources=[theirs], Tags=[{"Key": OWNER}])
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    on.ready(item)
    on.delete(item)
    assert account.ec2.describe_vpcs(VpcIds=[theirs])["Vpcs"]


def test_a_cluster_that_somebody_tagged_for_a_tenant_is_not_deleted_by_it(on, account, operator, shop):
    subnets = account.network("ab", "10.97.0.0/16")
    role = account.cluster_role("legacy")
    account.eks.create_cluster(name="legacy", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    until(lambda: account.eks.describe_cluster(name="legacy")["cluster"]["status"] == "ACTIVE", 30, "legacy")
    network = {"existing": {"subnetIds": subnets}}
    spec = {"region": REGION, "version": VERSION, "clusterName": "legacy", "network": network, "oidcProvider": False, "addons": []}
    item = shop.object("EksCluster", "mine", {**spec, "suspend": True})
    assert shop.refusal(item) is None
    arn = account.eks.describe_cluster(name="legacy")["cluster"]["arn"]
    tags = {OWNER: uid_of(on, item), CLUSTER: "team-shop/mine", RESOURCE: "cluster"}
    account.eks.tag_resource(resourceArn=arn, tags=tags)
    mark = on.mark()
    assert shop.refusal(shop.object("EksCluster", "mine", spec)) is None
    on.await_condition(item, "Stalled", reason="NotOwned")
    assert "not on record" in on.condition(item)["message"]
    on.delete(item)
    assert [call for call in on.writes(mark, account.id) if call["service"] in ("eks", "ec2")] == []
    assert account.eks.describe_cluster(name="legacy")["cluster"]["status"] == "ACTIVE"


def test_a_tenants_cluster_of_the_name_of_another_takes_nothing_of_it_along(on, account, operator, shop):
    """`prod` in the VPC of a self-managed `prod`: its groups, its nodes' interfaces, its rules."""
    theirs = Neighbours(account, "prod", "10.96.0.0/16")
    nodes, backend = theirs.terraform_group("nodes.prod"), theirs.load_balancer_group("k8s-traffic-prod")
    theirs.allow(nodes, backend)
    theirs.allow(backend, nodes)
    network = {"existing": {"subnetIds": theirs.subnets}}
    spec = {"region": REGION, "version": VERSION, "network": network, "oidcProvider": False, "addons": []}
    item = shop.object("EksCluster", "prod", spec)
    assert shop.refusal(item) is None
    on.ready(item)
    # A node of theirs starts meanwhile: its interface is not attached yet.
    starting = theirs.node_interface(theirs.node(), now(), nodes)
    kept = theirs.groups()
    mark = on.mark()
    shop.api.delete(*key_of(item))
    on.api.wait_gone(*key_of(item), 60)
    assert [call for call in on.writes(mark, account.id) if call["service"] == "ec2"] == []
    assert {group: rules for group, rules in theirs.groups().items() if group in (nodes, backend)} == {
        group: kept[group] for group in (nodes, backend)
    }
    assert starting in theirs.interfaces()
