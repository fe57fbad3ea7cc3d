"""A tenant who would take over, and then delete, what is not of an object of its own name.

Anybody who may tag in AWS can write the tags that a recovery goes by; a tenant may write the word.
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

LIFE = Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    made = on.account(fresh_account())
    on.apply(aws_account("default", made.id))
    on.start("--drift-interval=2s", account=made.id)
    return made


@pytest.fixture(scope="module")
def shop(on) -> Tenant:
    return tenant(on, "team-shop")


@pytest.fixture(scope="module")
def vault(on, account) -> dict:
    """The cluster of another namespace."""
    item = cluster("vault", "team-vault", network={"vpc": {"zoneCount": 2}}, addons=[])
    on.apply(namespace("team-vault"), item)
    on.ready(item)
    return item


def mine(shop: Tenant, name: str, uid: str | None, **spec: object) -> dict:
    annotations = {restore.RECOVER: uid} if uid else {}
    spec = {"region": REGION, "version": VERSION, "addons": [], **spec}
    return shop.object("EksCluster", name, spec, annotations=annotations)


def is_refused(on: Environment, account: Account, shop: Tenant, item: dict, *says: str) -> str:
    """It takes nothing over, says so, and its deletion takes nothing along."""
    mark = on.mark()
    assert shop.refusal(item) is None
    on.await_condition(item, "Stalled", reason="NotOwned")
    message = on.condition(item, "Stalled")["message"]
    for part in says:
        assert part in message, message
    on.delete(item)
    assert actions(on.writes(mark, account.id)) == []
    return message


def test_a_live_object_of_another_namespace_is_not_recovered_from(on, account, shop, vault):
    """The tenant knows the UID, and has a cluster of the same name."""
    uid, before = restore.uid_of(on, vault), account.resources()
    item = mine(shop, "vault", uid)
    message = is_refused(on, account, shop, item, "exists in this management cluster")
    assert "team-vault" not in message
    assert account.resources() == before


def test_what_a_lost_object_of_another_namespace_had_is_not_recovered(on, account, shop, vault):
    uid, before = "11111111-2222-3333-4444-555555555555", restore.owners(account)
    ec2, iam = account.ec2, account.iam
    vpc = on.status(vault)["network"]["vpcId"]
    # As after a disaster: the object with that UID is none of this cluster.
    other = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    lost = {CLUSTER: "team-lost/shop", RESOURCE: "vpc", OWNER: uid}
    ec2.create_tags(Resources=[other], Tags=[{"Key": k, "Value": v} for k, v in lost.items()])
    role = account.role("keelson-shop-00000000-cluster", {"Service": "eks.amazonaws.com"})
    lost = {**lost, RESOURCE: "role/cluster"}
    iam.tag_role(RoleName=role.rsplit("/")[-1], Tags=[{"Key": k, "Value": v} for k, v in lost.items()])
    is_refused(on, account, shop, mine(shop, "shop", uid), "nothing in account")
    now = restore.owners(account)
    assert {i: tags for i, tags in now.items() if i in before} == before
    assert vpc in now and now[other][CLUSTER] == "team-lost/shop"


@pytest.mark.parametrize("forged", ["another UID", "its own UID"])
def test_tags_that_somebody_wrote_on_a_cluster_of_others_give_it_to_nobody(on, account, shop, forged):
    """Together with whoever may tag and not delete: no role of Keelson's says that it is the tenant's."""
    name = f"legacy-{forged.split(' ')[0]}"
    third = 95 if forged == "its own UID" else 94
    subnets = account.network("ab", f"10.{third}.0.0/16")
    role = account.cluster_role(name)
    account.eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    described = lambda: account.eks.describe_cluster(name=name)["cluster"]  # noqa: E731
    until(lambda: described()["status"] == "ACTIVE", 30, name)
    spec = {"clusterName": name, "network": {"existing": {"subnetIds": subnets}}, "roleArn": role}
    item = mine(shop, "mine", None, **spec, suspend=True)
    assert shop.refusal(item) is None
    uid = restore.uid_of(on, item) if forged == "its own UID" else "uid-of-nobody"
    tags = {OWNER: uid, CLUSTER: "team-shop/mine", RESOURCE: "cluster", restore.INSTALLATION: restore.installation(on)}
    account.eks.tag_resource(resourceArn=described()["arn"], tags=tags)
    item["metadata"]["annotations"] = {restore.RECOVER: uid}
    item["spec"]["suspend"] = False
    is_refused(on, account, shop, item, "only tags say", "spec.adoption of the AwsAccount")
    assert (described()["status"], described()["tags"]) == ("ACTIVE", tags)


def test_tags_that_somebody_moved_from_another_namespaces_cluster_give_it_to_nobody(on, account, shop, vault):
    """Its role says for whom it was made, and whoever may only tag cannot change that."""
    victim = cluster("moved", "team-vault", network={"vpc": {"zoneCount": 2}}, addons=[], oidcProvider=False)
    on.apply(victim)
    on.ready(victim)
    ids = [i for i, tags in account.tagged().items() if tags[CLUSTER] == "team-vault/moved"]
    roles = [name for name, tags in account.roles().items() if tags.get(CLUSTER) == "team-vault/moved"]
    arn = account.eks.describe_cluster(name="moved")["cluster"]["arn"]
    on.api.patch(*key_of(victim)[:3], {"spec": {"suspend": True}}, "team-vault")
    on.await_condition(victim, reason="Suspended")
    tags = {OWNER: "uid-of-nobody", CLUSTER: "team-shop/moved"}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    account.ec2.create_tags(Resources=ids, Tags=pairs)
    for role in roles:
        account.iam.tag_role(RoleName=role, Tags=pairs)
    account.eks.tag_resource(resourceArn=arn, tags=tags)
    item = mine(shop, "moved", "uid-of-nobody", network={"vpc": {"zoneCount": 2}}, oidcProvider=False)
    is_refused(on, account, shop, item, "only tags say")
    assert account.eks.describe_cluster(name="moved")["cluster"]["status"] == "ACTIVE"
    assert set(ids) <= set(account.tagged())
