"""What hands change on a running cluster is put back, and what they leave in its network and roles is in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fleet.account import CLUSTER, RESOURCE, Account, fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.aws import REGION, Durations

PUT_BACK = 30
ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def shop(on: Environment, account) -> dict:
    """A cluster with a bit of everything, compared with its spec every other second."""
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


def tagged(account: Account, resource: str) -> str:
    """The id of a resource of the graph."""
    (found,) = [i for i, tags in account.tagged().items() if tags[RESOURCE] == resource]
    return found


def way_out(account: Account, table: str) -> dict:
    (found,) = account.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    return next((r for r in found["Routes"] if r.get("DestinationCidrBlock") == ANYWHERE), {})


def put_back(holds: Callable[[], bool]) -> None:
    assert not holds(), "nothing was changed"
    until(holds, PUT_BACK, "what was changed by hand")


def test_a_route_that_was_deleted(shop, account):
    table = tagged(account, "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    put_back(lambda: way_out(account, table).get("GatewayId", "").startswith("igw-"))


def test_a_route_that_leads_elsewhere(shop, account):
    table = tagged(account, f"routeTable/private/{REGION}a")
    gateway = tagged(account, "internetGateway")
    account.ec2.replace_route(
        RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway
    )
    put_back(lambda: way_out(account, table).get("NatGatewayId", "").startswith("nat-"))


def test_a_subnet_that_was_given_another_route_table(shop, account):
    subnet = tagged(account, f"subnet/private/{REGION}a")
    right = tagged(account, f"routeTable/private/{REGION}a")
    wrong = tagged(account, "routeTable/public")

    def associated() -> tuple[str, str]:
        by_subnet = [{"Name": "association.subnet-id", "Values": [subnet]}]
        (table,) = account.ec2.describe_route_tables(Filters=by_subnet)["RouteTables"]
        (one,) = [a for a in table["Associations"] if a.get("SubnetId") == subnet]
        return table["RouteTableId"], one["RouteTableAssociationId"]

    account.ec2.replace_route_table_association(
        AssociationId=associated()[1], RouteTableId=wrong
    )
    put_back(lambda: associated()[0] == right)


def test_an_endpoint_that_lost_a_route_table(shop, account):
    endpoint = tagged(account, "vpcEndpoint/s3")
    table = tagged(account, f"routeTable/private/{REGION}b")

    def tables() -> list[str]:
        found = account.ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"]
        return found[0]["RouteTableIds"]

    account.ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, RemoveRouteTableIds=[table])
    put_back(lambda: table in tables())


def test_a_policy_that_was_detached_from_a_role(shop, account):
    (role,) = [n for n, tags in account.roles().items() if tags.get(RESOURCE) == "role/node"]
    policy = "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"

    def attached() -> bool:
        found = account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return policy in [one["PolicyArn"] for one in found]

    account.iam.detach_role_policy(RoleName=role, PolicyArn=policy)
    put_back(attached)


def test_a_tag_of_ours_that_was_removed(shop, account):
    vpc = tagged(account, "vpc")
    account.ec2.delete_tags(Resources=[vpc], Tags=[{"Key": CLUSTER}, {"Key": "Name"}])
    put_back(lambda: account.tagged()[vpc].get(CLUSTER) == "default/shop")
    # Nobody asked for that name, and nothing goes by it: a person may choose another.
    assert "Name" not in account.tagged()[vpc]


def test_groups_of_an_access_entry_that_the_spec_changes(on, shop, account):
    (principal,) = [e["principalArn"] for e in shop["spec"]["access"]["entries"]]
    entries = [{"principalArn": principal, "kubernetesGroups": ["editors"]}]
    on.api.patch(*key_of(shop)[:3], {"spec": {"access": {"entries": entries}}})

    def groups() -> list[str]:
        found = account.eks.describe_access_entry(clusterName="shop", principalArn=principal)
        return found["accessEntry"]["kubernetesGroups"]

    until(lambda: groups() == ["editors"], PUT_BACK, "the new group")


def test_an_addon_gets_its_role_by_pod_identity(shop, account):
    addon = account.eks.describe_addon(clusterName="shop", addonName="aws-ebs-csi-driver")["addon"]
    assert len(addon["podIdentityAssociations"]) == 1


def test_what_the_cluster_and_people_left_in_it_goes_with_it(on, shop, account):
    """An interface of a node, a load balancer's group, an inline policy and a profile on the node role."""
    ec2, iam = account.ec2, account.iam
    vpc, subnet = tagged(account, "vpc"), tagged(account, f"subnet/private/{REGION}a")
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
    # Made by hand, so not ours to delete: only our role was taken out of it.
    assert account.inventory() == {"roles": ["csi", "operators"], "instanceProfiles": ["by-hand"]}
