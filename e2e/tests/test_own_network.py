"""What a VPC of Keelson's can have besides its own range: addresses of others for NAT, further security groups, the endpoints of a private
cluster, ranges for Pods, IPv6. Created in order, kept through kills at every write, never mixed up with what is not ours."""

from __future__ import annotations

import ipaddress
import json

import pytest

from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.environment import Environment, actions, environment, until
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of, node_group
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions

QUICK = Durations(1, 1, 1, 1, 0.3, 1)
ZONES = [f"{REGION}{zone}" for zone in "ab"]
PODS = "100.64.0.0/16"
IPV6_POLICY = "AmazonEKS_CNI_IPv6_Policy"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=QUICK) as started:
        yield started
        lack(started, "")


def lack(on: Environment, services: str) -> None:
    """The regions do not have these endpoint services."""
    on.aws.control("POST", "settings", json={"MISSING_ENDPOINT_SERVICES": services})


def address(account: Account, **more: object) -> str:
    return account.ec2.allocate_address(Domain="vpc", **more)["AllocationId"]


def network(**vpc: object) -> dict:
    return {"network": {"vpc": {"zoneCount": 2, "nat": "None", **vpc}}}


class Shop:
    """A cluster with addresses of others, ranges for Pods and the endpoints of a private cluster, in a region without two of them."""

    def __init__(self, on: Environment):
        self.on, self.account = on, on.account(fresh_account())
        self.addresses = [address(self.account) for _ in range(2)]
        lack(on, "eks-auth,ssm")
        vpc = {"nat": "Single", "natAddresses": self.addresses[:1], "endpoints": ["private"], "podCidrs": [PODS]}
        self.item = cluster("shop", addons=[], **network(**vpc))
        self.mark = on.mark()
        # Each write of the creation is followed by a kill.
        on.apply(self.item)
        self.killings = killed_at(on, self.account.id, self.is_ready, flags=("--drift-interval=2s",), timeout=300)
        self.operator = on.start("--drift-interval=2s", account=self.account.id)

    def is_ready(self) -> bool:
        return self.on.condition(self.item).get("status") == "True"

    def edit(self, **vpc: object) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": {"network": {"vpc": vpc}}})
        return mark

    def writes(self, mark: int) -> list[str]:
        return [action.split(" ")[0] for action in actions(self.on.writes(mark, self.account.id))]

    def gateways(self) -> list[dict]:
        live = [{"Name": "state", "Values": ["pending", "available"]}]
        return self.account.ec2.describe_nat_gateways(Filters=live)["NatGateways"]

    def tags(self, resource_id: str) -> dict[str, str]:
        found = self.account.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource_id]}])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}


@pytest.fixture(scope="module")
def shop(on: Environment) -> Shop:
    return Shop(on)


def test_kills_at_every_write_of_the_creation_double_nothing(shop):
    points = [point.split(" ")[0] for point in shop.killings.points]
    for action in ("AssociateVpcCidrBlock", "CreateNatGateway", "CreateVpcEndpoint", "CreateSubnet", "AuthorizeSecurityGroupIngress"):
        assert f"ec2:{action}" in points, shop.killings.summary("creation")
    writes = shop.writes(shop.mark)
    assert writes.count("ec2:CreateNatGateway") >= 1 and "ec2:AllocateAddress" not in writes and "ec2:ReleaseAddress" not in writes
    counts = shop.account.counts()
    assert (counts["natGateways"], counts["subnets"], counts["vpcEndpoints"], counts["addresses"]) == (1, 6, 9, 2)
    # Fails when two have the same key.
    assert "elasticIp" not in " ".join(shop.account.resources())


def test_nat_gateway_uses_the_given_address_which_gets_no_tags(shop):
    (gateway,) = shop.gateways()
    assert [one["AllocationId"] for one in gateway["NatGatewayAddresses"]] == shop.addresses[:1]
    assert shop.tags(shop.addresses[0]) == {}


def test_pods_have_a_subnet_in_each_zone_with_the_route_of_the_private_one(shop):
    found = shop.on.status(shop.item)["network"]["podSubnets"]
    assert [(one["zone"], one["cidr"]) for one in found] == [(ZONES[0], "100.64.0.0/19"), (ZONES[1], "100.64.32.0/19")]
    tables = shop.account.ec2.describe_route_tables()["RouteTables"]
    of_subnet = {one["SubnetId"]: table["RouteTableId"] for table in tables for one in table["Associations"] if "SubnetId" in one}
    resources = shop.account.resources()
    for one in found:
        tags = shop.tags(one["id"])
        assert tags[RESOURCE] == f"subnet/pods/{one['zone']}/{PODS}" and tags["kubernetes.io/role/cni"] == "1"
        assert of_subnet[one["id"]] == resources[f"routeTable/private/{one['zone']}"]
    # Neither the control plane nor nodes are placed there.
    ids = {one["id"] for one in found}
    status = shop.on.status(shop.item)["network"]["subnets"]
    assert not ids & {subnet["id"] for subnet in status}
    assert not ids & set(shop.account.eks.describe_cluster(name="shop")["cluster"]["resourcesVpcConfig"]["subnetIds"])


def test_private_endpoints_leave_out_what_the_region_lacks_and_say_so(shop):
    endpoints = shop.account.ec2.describe_vpc_endpoints()["VpcEndpoints"]
    names = sorted(one["ServiceName"].partition(f".{REGION}.")[2] for one in endpoints)
    assert names == ["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "elasticloadbalancing", "logs", "s3", "sts"]
    message = shop.on.condition(shop.item, "NetworkReady")["message"]
    assert "endpoints of eks-auth, ssm are left out" in message, message
    # Pods reach the endpoints too.
    group = shop.account.resources()["securityGroup/endpoints"]
    (found,) = shop.account.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert sorted(one["CidrIp"] for rule in found["IpPermissions"] for one in rule["IpRanges"]) == ["10.0.0.0/16", PODS]


def test_endpoint_that_the_region_gets_later_is_added_and_one_that_it_loses_stays(shop):
    lack(shop.on, "sts,ssm")
    # The region's services are read once a day.
    shop.operator.stop()
    mark = shop.on.mark()
    shop.operator = shop.on.start("--drift-interval=2s", account=shop.account.id)
    until(lambda: "vpcEndpoint/eks-auth" in shop.account.resources(), 60, "the endpoint of eks-auth")
    shop.on.await_in_sync(shop.item)
    assert "vpcEndpoint/sts" in shop.account.resources() and "ec2:DeleteVpcEndpoints" not in shop.writes(mark)


def test_range_that_somebody_disassociates_is_reported_or_corrected(shop):
    """EC2 keeps the range while it has subnets: those were deleted before."""
    vpc = shop.account.resources()["vpc"]
    for one in shop.on.status(shop.item)["network"]["podSubnets"]:
        shop.account.ec2.delete_subnet(SubnetId=one["id"])
    (found,) = shop.account.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    (association,) = [one["AssociationId"] for one in found["CidrBlockAssociationSet"] if one["CidrBlock"] == PODS]
    shop.account.ec2.disassociate_vpc_cidr_block(AssociationId=association)
    shop.on.api.patch(*key_of(shop.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "range"}}})
    keys = [f"subnet/pods/{zone}/{PODS}" for zone in ZONES]
    until(lambda: set(keys) <= set(shop.account.resources()), 60, "the subnets for Pods")
    shop.on.await_in_sync(shop.item)


def test_groups_of_the_control_plane_must_be_in_the_vpc(shop):
    other = shop.account.ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    foreign = shop.account.ec2.create_security_group(GroupName="foreign", Description="-", VpcId=other)["GroupId"]
    mark = shop.edit(securityGroupIds=[foreign])
    found = shop.on.await_condition(shop.item, "Stalled", reason="InvalidSpec", timeout=30)
    vpc = shop.account.resources()["vpc"]
    assert f"{foreign} does not exist in {vpc}, the cluster's VPC" in conditions(found)["Ready"]["message"]
    assert shop.writes(mark) == []
    shop.account.ec2.delete_security_group(GroupId=foreign)
    shop.account.ec2.delete_vpc(VpcId=other)


def test_groups_of_the_control_plane_are_updated_in_place_and_never_deleted(shop):
    vpc = shop.account.resources()["vpc"]
    # As another tool creates one for its nodes.
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": "kubernetes.io/cluster/shop", "Value": "owned"}]}]
    made = shop.account.ec2.create_security_group(GroupName="more", Description="-", VpcId=vpc, TagSpecifications=tags)
    shop.group = made["GroupId"]
    mark = shop.edit(securityGroupIds=[shop.group])
    shop.on.await_in_sync(shop.item)
    config = shop.account.eks.describe_cluster(name="shop")["cluster"]["resourcesVpcConfig"]
    assert config["securityGroupIds"] == [shop.group] and shop.writes(mark) == ["eks:UpdateClusterConfig"]


def test_nat_gateways_for_more_zones_keep_the_first_address(shop):
    before = {gateway["NatGatewayId"] for gateway in shop.gateways()}
    mark = shop.edit(nat="PerZone", natAddresses=shop.addresses)
    shop.on.await_in_sync(shop.item)
    gateways = shop.gateways()
    used = {gateway["NatGatewayAddresses"][0]["AllocationId"] for gateway in gateways}
    assert used == set(shop.addresses) and before < {gateway["NatGatewayId"] for gateway in gateways}
    assert "ec2:DeleteNatGateway" not in shop.writes(mark)


def test_given_address_with_copied_owner_tags_is_not_released_with_its_gateway(shop):
    """Whoever may tag the address could otherwise have Keelson release it."""
    uid = shop.on.api.get(*key_of(shop.item))["metadata"]["uid"]
    copied = {OWNER: uid, RESOURCE: f"elasticIp/{ZONES[1]}"}
    shop.account.ec2.create_tags(Resources=shop.addresses[1:], Tags=[{"Key": key, "Value": value} for key, value in copied.items()])
    mark = shop.edit(nat="Single", natAddresses=shop.addresses[:1])
    shop.on.await_in_sync(shop.item)
    until(lambda: len(shop.gateways()) == 1, 30, "one NAT gateway")
    assert "ec2:ReleaseAddress" not in shop.writes(mark)


def test_deletion_removes_what_is_ours_and_releases_no_address(shop):
    mark = shop.on.mark()
    # A group of others in our VPC holds it up, and is named.
    shop.on.api.delete(*key_of(shop.item))
    until(lambda: shop.group in json.dumps(shop.on.status(shop.item)["conditions"]), 60, "the group is named")
    assert shop.account.ec2.describe_security_groups(GroupIds=[shop.group])["SecurityGroups"]
    shop.account.ec2.delete_security_group(GroupId=shop.group)
    until(lambda: shop.on.api.find(*key_of(shop.item)) is None, 60, "the deletion")
    writes = shop.writes(mark)
    assert "ec2:ReleaseAddress" not in writes and "ec2:DisassociateVpcCidrBlock" not in writes
    assert sorted(shop.account.inventory()["addresses"]) == sorted(shop.addresses)
    assert set(shop.account.inventory()) == {"addresses"}
    shop.operator.stop()
    lack(shop.on, "")


# Refusals: before anything is created.


@pytest.fixture(scope="module")
def refusing(on: Environment):
    account = on.account(fresh_account())
    with on.operator(account=account.id):
        yield account


def used_address(account: Account) -> str:
    subnet = account.network("ab")[0]
    interface = account.ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    allocation = address(account)
    account.ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=interface)
    return allocation


REFUSED = {
    "missing": (lambda _: {"nat": "Single", "natAddresses": ["eipalloc-00000000000000000"]}, "does not exist in this account and region"),
    "used": (lambda account: {"nat": "Single", "natAddresses": [used_address(account)]}, "is associated with eni-"),
    "elsewhere": (
        lambda account: {"nat": "Single", "natAddresses": [address(account, NetworkBorderGroup="eu-west-1-wl1-lon-wlz-1")]},
        "network border group eu-west-1-wl1-lon-wlz-1",
    ),
    "early-group": (lambda _: {"securityGroupIds": ["sg-00000000000000000"]}, "which does not exist yet"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_created(on, refusing, name):
    vpc, words = REFUSED[name]
    item = cluster(f"refused-{name}", addons=[], **network(**vpc(refusing)))
    mark = on.mark()
    on.apply(item)
    found = on.await_condition(item, "Stalled", reason="InvalidSpec", timeout=30)
    assert words in conditions(found)["Ready"]["message"], conditions(found)["Ready"]["message"]
    assert on.writes(mark, refusing.id) == []
    on.delete(item)


def test_ipv6_without_the_policy_of_the_cni_is_refused_before_anything_is_created(on, refusing):
    item = cluster("refused-ipv6", addons=[], kubernetesNetwork={"ipFamily": "IPv6"}, **network())
    mark = on.mark()
    on.apply(item)
    found = on.await_condition(item, "Stalled", reason="InvalidSpec", timeout=30)
    assert f"policy/{IPV6_POLICY} does not exist" in conditions(found)["Ready"]["message"]
    assert on.writes(mark, refusing.id) == []
    on.delete(item)


def test_address_that_the_account_no_longer_lists_is_denied(on, refusing):
    """Admission lets an object keep what it had: the operator decides."""
    allocation = address(refusing)
    closed = aws_account("closed", refusing.id, allowedElasticIpAllocationIds=[allocation])
    item = cluster("denied", addons=[], accountRef={"name": "closed"}, suspend=True, **network(nat="Single", natAddresses=[allocation]))
    on.apply(closed, item)
    on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "closed", {"spec": {"allowedElasticIpAllocationIds": []}}, None)
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"spec": {"suspend": False}})
    found = on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "spec.network.vpc.natAddresses" in message and "allowedElasticIpAllocationIds" in message, message
    assert on.writes(mark, refusing.id) == []
    on.delete(item)


# IPv6.


class Six:
    """An IPv6 cluster in a VPC of its own, created with a kill after each write."""

    def __init__(self, on: Environment):
        self.on, self.account = on, on.account(fresh_account())
        statements = [
            {"Effect": "Allow", "Action": ["ec2:AssignIpv6Addresses", "ec2:DescribeInstances"], "Resource": "*"},
            {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "arn:aws:ec2:*:*:network-interface/*"},
        ]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.policy = self.account.iam.create_policy(PolicyName=IPV6_POLICY, PolicyDocument=document)["Policy"]["Arn"]
        self.item = cluster("six", addons=[], kubernetesNetwork={"ipFamily": "IPv6"}, **network(nat="Single"))
        self.nodes = node_group("six")
        # Another operator would reconcile it with the credentials of its own account.
        for other in on.cloud.controllers:
            if other.alive:
                other.stop()
        on.apply(self.item, self.nodes)
        # Not at each write: that takes a minute, and the other cluster has such kills.
        self.killings = killed_at(on, self.account.id, self.is_ready, stride=3, timeout=300)
        self.operator = on.start("--drift-interval=2s", account=self.account.id)

    def is_ready(self) -> bool:
        return all(self.on.condition(item).get("status") == "True" for item in (self.item, self.nodes))


@pytest.fixture(scope="module")
def six(on: Environment) -> Six:
    return Six(on)


def test_ipv6_cluster_survives_kills(six):
    writes = [write.split(" ")[0] for write in six.killings.writes]
    assert len(six.killings.points) > 5, six.killings.summary("creation")
    for action in ("ec2:CreateVpc", "ec2:CreateEgressOnlyInternetGateway", "ec2:ModifySubnetAttribute", "iam:AttachRolePolicy"):
        assert action in writes, six.killings.summary("creation")
    counts = six.account.counts()
    assert (counts["vpcs"], counts["subnets"], counts["egressOnlyInternetGateways"]) == (1, 4, 1)
    family = six.account.eks.describe_cluster(name="six")["cluster"]["kubernetesNetworkConfig"]["ipFamily"]
    assert family == "ipv6"


def test_subnets_of_an_ipv6_cluster_have_ranges_and_routes_of_amazons(six):
    resources = six.account.resources()
    (vpc,) = six.account.ec2.describe_vpcs(VpcIds=[resources["vpc"]])["Vpcs"]
    block = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    subnets = six.account.ec2.describe_subnets()["Subnets"]
    ranges = [ipaddress.ip_network(one["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]) for one in subnets]
    assert len(set(ranges)) == 4 and all(one.prefixlen == 64 and one.subnet_of(block) for one in ranges)
    assert all(one["AssignIpv6AddressOnCreation"] for one in subnets)
    targets = {}
    for table in six.account.ec2.describe_route_tables()["RouteTables"]:
        for route in table["Routes"]:
            if route.get("DestinationIpv6CidrBlock") == "::/0":
                targets[table["RouteTableId"]] = route.get("EgressOnlyInternetGatewayId") or route.get("GatewayId")
    gateway = resources["egressOnlyInternetGateway"]
    wanted = {resources[f"routeTable/private/{zone}"]: gateway for zone in ZONES}
    assert targets == {**wanted, resources["routeTable/public"]: resources["internetGateway"]}


def test_nodes_of_an_ipv6_cluster_may_assign_addresses(six):
    attached = six.account.iam.list_attached_role_policies(RoleName=six.account.resources()["role/node"])["AttachedPolicies"]
    assert six.policy in [one["PolicyArn"] for one in attached]


def test_manual_changes_of_the_ipv6_network_are_corrected(six):
    resources = six.account.resources()
    subnet = resources[f"subnet/private/{ZONES[0]}"]
    table = resources[f"routeTable/private/{ZONES[0]}"]
    six.account.ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": False})
    six.account.ec2.delete_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0")

    def is_corrected() -> bool:
        (found,) = six.account.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
        (routes,) = six.account.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        has_route = any(route.get("DestinationIpv6CidrBlock") == "::/0" for route in routes["Routes"])
        return has_route and found["AssignIpv6AddressOnCreation"]

    until(is_corrected, 60, "the attribute and the route")


def test_deletion_of_an_ipv6_cluster_leaves_the_policy_of_the_account(six):
    six.operator.stop()
    for item in (six.nodes, six.item):
        six.on.api.delete(*key_of(item))
    gone = lambda: not any(six.on.api.find(*key_of(item)) for item in (six.item, six.nodes))  # noqa: E731
    killings = killed_at(six.on, six.account.id, gone, stride=3, timeout=300)
    writes = [write.split(" ")[0] for write in killings.writes]
    for action in ("ec2:DeleteEgressOnlyInternetGateway", "ec2:DeleteVpc"):
        assert action in writes, killings.summary("deletion")
    assert len(killings.points) > 3, killings.summary("deletion")
    assert set(six.account.inventory()) == {"policies"}
