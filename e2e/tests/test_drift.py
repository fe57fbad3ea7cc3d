"""Manual changes to a running cluster are reverted, and resources left in its network and roles do not block its deletion."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fleet.cluster_checks import ANYWHERE, default_route, resource_id
from fleet.account import CLUSTER, RESOURCE, Account, fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.aws import REGION, Durations

TIMEOUT = 30


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def shop(on: Environment, account) -> dict:
    """A cluster with some of everything, checked for drift every two seconds."""
    operators = account.role("operators", {"AWS": f"arn:aws:iam::{account.id}:root"})
    csi = account.role("csi", {"Service": "pods.eks.amazonaws.com"})
    item = cluster(
        "shop",
        network={"vpc": {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}},
        access={"entries": [{"principalArn": operators, "kubernetesGroups": ["viewers"]}]},
        addons=[{"name": "vpc-cni"}, {"name": "aws-ebs-csi-driver", "podIdentityRoleArn": csi}],
    )
    on.start("--drift-interval=2s", account=account.id)
    on.apply(item, node_group("shop"))
    on.ready(item, node_group("shop"))
    return item


def assert_reverted(holds: Callable[[], bool]) -> None:
    assert not holds(), "nothing was changed"
    until(holds, TIMEOUT, "the revert of the manual change")


def test_deleted_route_is_restored(shop, account):
    table = resource_id(account, "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    assert_reverted(lambda: default_route(account, table).get("GatewayId", "").startswith("igw-"))


def test_replaced_route_is_restored(shop, account):
    table = resource_id(account, f"routeTable/private/{REGION}a")
    gateway = resource_id(account, "internetGateway")
    account.ec2.replace_route(
        RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway
    )
    assert_reverted(lambda: default_route(account, table).get("NatGatewayId", "").startswith("nat-"))


def test_route_table_association_is_restored(shop, account):
    subnet = resource_id(account, f"subnet/private/{REGION}a")
    right = resource_id(account, f"routeTable/private/{REGION}a")
    wrong = resource_id(account, "routeTable/public")

    def associated() -> tuple[str, str]:
        by_subnet = [{"Name": "association.subnet-id", "Values": [subnet]}]
        (table,) = account.ec2.describe_route_tables(Filters=by_subnet)["RouteTables"]
        (one,) = [a for a in table["Associations"] if a.get("SubnetId") == subnet]
        return table["RouteTableId"], one["RouteTableAssociationId"]

    account.ec2.replace_route_table_association(
        AssociationId=associated()[1], RouteTableId=wrong
    )
    assert_reverted(lambda: associated()[0] == right)


def test_route_table_of_an_endpoint_is_restored(shop, account):
    endpoint = resource_id(account, "vpcEndpoint/s3")
    table = resource_id(account, f"routeTable/private/{REGION}b")

    def tables() -> list[str]:
        found = account.ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"]
        return found[0]["RouteTableIds"]

    account.ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, RemoveRouteTableIds=[table])
    assert_reverted(lambda: table in tables())


def test_detached_policy_is_attached_again(shop, account):
    (role,) = [n for n, tags in account.roles().items() if tags.get(RESOURCE) == "role/node"]
    policy = "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"

    def attached() -> bool:
        found = account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return policy in [one["PolicyArn"] for one in found]

    account.iam.detach_role_policy(RoleName=role, PolicyArn=policy)
    assert_reverted(attached)


def test_removed_owner_tag_is_restored(shop, account):
    vpc = resource_id(account, "vpc")
    account.ec2.delete_tags(Resources=[vpc], Tags=[{"Key": CLUSTER}, {"Key": "Name"}])
    assert_reverted(lambda: account.tagged()[vpc].get(CLUSTER) == "default/shop")
    # The spec does not set Name and Keelson does not use it: a person may change it.
    assert "Name" not in account.tagged()[vpc]


def test_access_entry_groups_follow_the_spec(on, shop, account):
    (principal,) = [e["principalArn"] for e in shop["spec"]["access"]["entries"]]
    entries = [{"principalArn": principal, "kubernetesGroups": ["editors"]}]
    on.api.patch(*key_of(shop)[:3], {"spec": {"access": {"entries": entries}}})

    def groups() -> list[str]:
        found = account.eks.describe_access_entry(clusterName="shop", principalArn=principal)
        return found["accessEntry"]["kubernetesGroups"]

    until(lambda: groups() == ["editors"], TIMEOUT, "the new group")


def test_addon_gets_its_role_by_pod_identity(shop, account):
    addon = account.eks.describe_addon(clusterName="shop", addonName="aws-ebs-csi-driver")["addon"]
    assert len(addon["podIdentityAssociations"]) == 1


def test_deletion_removes_leftovers_of_the_cluster_and_manual_additions_to_its_roles(on, shop, account):
    """A node's interface, a load balancer's group, and an inline policy and an instance profile of the node role."""
    ec2, iam = account.ec2, account.iam
    vpc, subnet = resource_id(account, "vpc"), resource_id(account, f"subnet/private/{REGION}a")
    tags = [
        {"Key": "node.k8s.amazonaws.com/instance_id", "Value": "i-0123456789abcdef0"},
        {"Key": "cluster.k8s.amazonaws.com/name", "Value": "shop"},
    ]
    ec2.create_network_interface(
        SubnetId=subnet, TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}]
    )
    owned = [{"Key": "kubernetes.io/cluster/shop", "Value": "owned"}]
    ec2.create_security_group(
        GroupName="k8s-elb-1",
        Description="of a load balancer",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": owned}],
    )
    (role,) = [n for n, tags in account.roles().items() if tags.get(RESOURCE) == "role/node"]
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="by-hand", PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName="by-hand")
    iam.add_role_to_instance_profile(InstanceProfileName="by-hand", RoleName=role)
    on.delete(node_group("shop"), shop, timeout=90)
    # The profile was created manually, so it stays: only Keelson's role is removed from it.
    assert account.inventory() == {"roles": ["csi", "operators"], "instanceProfiles": ["by-hand"]}
