"""A tenant tries to recover, and then delete, resources that belonged to an object of another name or namespace.

Anyone with permission to tag in AWS can write the tags that a recovery uses; a tenant can write the recovery annotation.
"""

from __future__ import annotations

import pytest

from fleet import restore
from fleet.account import CLUSTER, OWNER, RESOURCE, Account, fresh_account
from fleet.manifests import VERSION, cluster, key_of, namespace
from fleet.manifests import account as aws_account
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations

from .tenant import Tenant, tenant

DURATIONS = Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    created = on.account(fresh_account())
    on.apply(aws_account("default", created.id))
    on.start("--drift-interval=2s", account=created.id)
    return created


@pytest.fixture(scope="module")
def shop(on) -> Tenant:
    return tenant(on, "team-shop")


@pytest.fixture(scope="module")
def vault(on, account) -> dict:
    """A cluster of another namespace."""
    item = cluster("vault", "team-vault", network={"vpc": {"zoneCount": 2}}, addons=[])
    on.apply(namespace("team-vault"), item)
    on.ready(item)
    return item


def tenant_cluster(shop: Tenant, name: str, uid: str | None, **spec: object) -> dict:
    annotations = {restore.RECOVER: uid} if uid else {}
    spec = {"region": REGION, "version": VERSION, "addons": [], **spec}
    return shop.object("EksCluster", name, spec, annotations=annotations)


def assert_refused(on: Environment, account: Account, shop: Tenant, item: dict, *texts: str) -> str:
    """It recovers nothing, reports that, and its deletion deletes nothing."""
    mark = on.mark()
    assert shop.apply_error(item) is None
    on.await_condition(item, "Stalled", reason="NotOwned")
    message = on.condition(item, "Stalled")["message"]
    for text in texts:
        assert text in message, message
    on.delete(item)
    assert actions(on.writes(mark, account.id)) == []
    return message


def test_resources_of_a_live_object_cannot_be_recovered(on, account, shop, vault):
    """The tenant knows the UID, and uses the same name."""
    uid, before = restore.uid_of(on, vault), account.resources()
    item = tenant_cluster(shop, "vault", uid)
    message = assert_refused(on, account, shop, item, "exists in this management cluster")
    assert "team-vault" not in message
    assert account.resources() == before


def test_resources_of_a_lost_object_of_another_namespace_are_not_recovered(on, account, shop, vault):
    uid, before = "11111111-2222-3333-4444-555555555555", restore.owners(account)
    ec2, iam = account.ec2, account.iam
    vpc = on.status(vault)["network"]["vpcId"]
    # As after a disaster: no object with that UID exists in this management cluster.
    other = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    lost = {CLUSTER: "team-lost/shop", RESOURCE: "vpc", OWNER: uid}
    ec2.create_tags(Resources=[other], Tags=[{"Key": k, "Value": v} for k, v in lost.items()])
    role = account.role("keelson-shop-00000000-cluster", {"Service": "eks.amazonaws.com"})
    lost = {**lost, RESOURCE: "role/cluster"}
    iam.tag_role(RoleName=role.rsplit("/")[-1], Tags=[{"Key": k, "Value": v} for k, v in lost.items()])
    assert_refused(on, account, shop, tenant_cluster(shop, "shop", uid), "no resource in account")
    now = restore.owners(account)
    assert {i: tags for i, tags in now.items() if i in before} == before
    assert vpc in now and now[other][CLUSTER] == "team-lost/shop"


@pytest.mark.parametrize("forged", ["another UID", "its own UID"])
def test_forged_tags_on_a_foreign_cluster_do_not_allow_recovery(on, account, shop, forged):
    """With the help of someone who may tag but not delete: no role created by Keelson proves that it is the tenant's."""
    name = f"legacy-{forged.split(' ')[0]}"
    octet = 95 if forged == "its own UID" else 94
    subnets = account.network("ab", f"10.{octet}.0.0/16")
    role = account.cluster_role(name)
    account.eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    described = lambda: account.eks.describe_cluster(name=name)["cluster"]  # noqa: E731
    until(lambda: described()["status"] == "ACTIVE", 30, name)
    spec = {"clusterName": name, "network": {"existing": {"subnetIds": subnets}}, "roleArn": role}
    item = tenant_cluster(shop, "mine", None, **spec, suspend=True)
    assert shop.apply_error(item) is None
    uid = restore.uid_of(on, item) if forged == "its own UID" else "uid-of-no-object"
    tags = {OWNER: uid, CLUSTER: "team-shop/mine", RESOURCE: "cluster", restore.INSTALLATION: restore.installation(on)}
    account.eks.tag_resource(resourceArn=described()["arn"], tags=tags)
    item["metadata"]["annotations"] = {restore.RECOVER: uid}
    item["spec"]["suspend"] = False
    assert_refused(on, account, shop, item, "only tags indicate", "spec.adoption of the AwsAccount")
    assert (described()["status"], described()["tags"]) == ("ACTIVE", tags)


def test_rewritten_tags_of_another_namespaces_cluster_do_not_allow_recovery(on, account, shop, vault):
    """The name of its role proves for whom it was created, and permission to tag cannot change that."""
    victim = cluster("moved", "team-vault", network={"vpc": {"zoneCount": 2}}, addons=[], oidcProvider=False)
    on.apply(victim)
    on.ready(victim)
    ids = [i for i, tags in account.tagged().items() if tags[CLUSTER] == "team-vault/moved"]
    roles = [name for name, tags in account.roles().items() if tags.get(CLUSTER) == "team-vault/moved"]
    arn = account.eks.describe_cluster(name="moved")["cluster"]["arn"]
    on.api.patch(*key_of(victim)[:3], {"spec": {"suspend": True}}, "team-vault")
    on.await_condition(victim, reason="Suspended")
    tags = {OWNER: "uid-of-no-object", CLUSTER: "team-shop/moved"}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    account.ec2.create_tags(Resources=ids, Tags=pairs)
    for role in roles:
        account.iam.tag_role(RoleName=role, Tags=pairs)
    account.eks.tag_resource(resourceArn=arn, tags=tags)
    item = tenant_cluster(shop, "moved", "uid-of-no-object", network={"vpc": {"zoneCount": 2}}, oidcProvider=False)
    assert_refused(on, account, shop, item, "only tags indicate")
    assert account.eks.describe_cluster(name="moved")["cluster"]["status"] == "ACTIVE"
    assert set(ids) <= set(account.tagged())
