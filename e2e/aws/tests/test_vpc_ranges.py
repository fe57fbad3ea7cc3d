"""Further ranges of a VPC: which EC2 adds, their states, what keeps them; IPv6 ranges and the egress-only gateway; endpoint services."""

from __future__ import annotations

import pytest

from conftest import Cloud, Server, expect_error


def ranges(cloud: Cloud, vpc: str) -> dict[str, str]:
    (found,) = cloud.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    return {one["CidrBlock"]: one["CidrBlockState"]["State"] for one in found["CidrBlockAssociationSet"]}


@pytest.mark.parametrize(
    ("first", "added", "code"),
    [
        ("10.0.0.0/16", "172.16.0.0/16", "InvalidVpc.Range"),
        ("10.0.0.0/16", "192.168.0.0/16", "InvalidVpc.Range"),
        ("10.1.0.0/16", "10.0.0.0/16", "InvalidVpc.Range"),
        ("10.0.0.0/16", "198.19.0.0/16", "InvalidVpc.Range"),
        ("172.16.0.0/16", "172.31.0.0/16", "InvalidVpc.Range"),
        ("172.16.0.0/16", "10.0.0.0/16", "InvalidVpc.Range"),
        ("100.64.0.0/16", "10.0.0.0/16", "InvalidVpc.Range"),
        ("10.0.0.0/16", "100.64.0.0/10", "InvalidVpc.Range"),
        ("10.2.0.0/16", "10.2.1.0/24", "CidrConflict"),
        ("10.0.0.0/16", "100.64.0.0/16", None),
        ("10.2.0.0/16", "10.3.0.0/16", None),
        ("192.168.0.0/24", "192.168.1.0/24", None),
        ("172.16.0.0/16", "8.8.0.0/16", None),
    ],
)
def test_only_some_ranges_can_be_added(cloud: Cloud, first: str, added: str, code: str | None) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock=first)["Vpc"]["VpcId"]
    if code:
        with expect_error(code):
            cloud.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=added)
        assert list(ranges(cloud, vpc)) == [first]
        return
    cloud.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=added)
    assert set(ranges(cloud, vpc)) == {first, added}


def test_range_is_associating_before_subnets_can_be_in_it_and_they_keep_it(cloud: Cloud) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    association = cloud.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/16")["CidrBlockAssociation"]
    assert association["CidrBlockState"]["State"] == "associating"
    pods = {"VpcId": vpc, "CidrBlock": "100.64.0.0/19", "AvailabilityZone": "eu-west-1a"}
    with expect_error("InvalidSubnet.Range"):
        cloud.ec2.create_subnet(**pods)
    cloud.until(lambda: ranges(cloud, vpc)["100.64.0.0/16"] == "associated")
    subnet = cloud.ec2.create_subnet(**pods)["Subnet"]["SubnetId"]
    with expect_error("InvalidCidrBlock.InUse"):
        cloud.ec2.disassociate_vpc_cidr_block(AssociationId=association["AssociationId"])
    cloud.ec2.delete_subnet(SubnetId=subnet)
    cloud.ec2.disassociate_vpc_cidr_block(AssociationId=association["AssociationId"])
    with expect_error("InvalidVpcCidrBlockAssociationID.NotFound"):
        cloud.ec2.disassociate_vpc_cidr_block(AssociationId=association["AssociationId"])
    cloud.ec2.delete_vpc(VpcId=vpc)


def test_vpc_has_at_most_five_ranges(cloud: Cloud) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
    for number in range(64, 68):
        cloud.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=f"100.{number}.0.0/16")
    with expect_error("CidrLimitExceeded"):
        cloud.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.68.0.0/16")
    # Its ranges go with it.
    cloud.ec2.delete_vpc(VpcId=vpc)


def test_subnet_takes_a_64_of_the_ipv6_range_once_it_is_associated(cloud: Cloud) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]

    def ipv6() -> dict:
        return cloud.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]

    assert ipv6()["Ipv6CidrBlockState"]["State"] == "associating"
    block = ipv6()["Ipv6CidrBlock"]
    subnet = {"VpcId": vpc, "CidrBlock": "10.0.0.0/24", "AvailabilityZone": "eu-west-1a"}
    first = block.replace("/56", "/64")
    with expect_error("InvalidSubnet.Range"):
        cloud.ec2.create_subnet(**subnet, Ipv6CidrBlock=first)
    cloud.until(lambda: ipv6()["Ipv6CidrBlockState"]["State"] == "associated")
    for wrong in (block, "2001:db8::/64"):
        with expect_error("InvalidSubnet.Range"):
            cloud.ec2.create_subnet(**subnet, Ipv6CidrBlock=wrong)
    created = cloud.ec2.create_subnet(**subnet, Ipv6CidrBlock=first)["Subnet"]["SubnetId"]
    with expect_error("InvalidSubnet.Conflict"):
        cloud.ec2.create_subnet(**{**subnet, "CidrBlock": "10.0.1.0/24"}, Ipv6CidrBlock=first)
    cloud.ec2.modify_subnet_attribute(SubnetId=created, AssignIpv6AddressOnCreation={"Value": True})
    assert cloud.ec2.describe_subnets(SubnetIds=[created])["Subnets"][0]["AssignIpv6AddressOnCreation"] is True
    plain = cloud.ec2.create_subnet(**{**subnet, "CidrBlock": "10.0.2.0/24"})["Subnet"]["SubnetId"]
    with expect_error("InvalidParameterValue"):
        cloud.ec2.modify_subnet_attribute(SubnetId=plain, AssignIpv6AddressOnCreation={"Value": True})


def test_egress_only_gateway_takes_ipv6_only_and_is_found_by_tags(cloud: Cloud) -> None:
    vpc, _ = cloud.vpc("")
    tags = [{"ResourceType": "egress-only-internet-gateway", "Tags": [{"Key": "a", "Value": "b"}]}]
    created = cloud.ec2.create_egress_only_internet_gateway(VpcId=vpc, TagSpecifications=tags)["EgressOnlyInternetGateway"]
    gateway = created["EgressOnlyInternetGatewayId"]
    by_tag = [{"Name": "tag-key", "Values": ["a"]}]
    (found,) = cloud.ec2.describe_egress_only_internet_gateways(Filters=by_tag)["EgressOnlyInternetGateways"]
    assert found["EgressOnlyInternetGatewayId"] == gateway and found["Attachments"][0]["VpcId"] == vpc
    assert cloud.ec2.describe_egress_only_internet_gateways(Filters=[{"Name": "tag-key", "Values": ["c"]}])["EgressOnlyInternetGateways"] == []
    table = cloud.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    with expect_error("InvalidParameterCombination"):
        cloud.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", EgressOnlyInternetGatewayId=gateway)
    cloud.ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId=gateway)
    with expect_error("InvalidGatewayID.NotFound"):
        cloud.ec2.replace_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId="eigw-00000000000000000")
    cloud.ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=gateway)
    with expect_error("InvalidGatewayID.NotFound"):
        cloud.ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=gateway)


def test_region_may_lack_an_endpoint_service(cloud: Cloud, server: Server) -> None:
    vpc, _ = cloud.vpc("")
    server.post("settings", {"MISSING_ENDPOINT_SERVICES": "eks-auth,ssm"})
    try:
        names = cloud.ec2.describe_vpc_endpoint_services(Filters=[{"Name": "owner", "Values": ["amazon"]}])["ServiceNames"]
        assert "com.amazonaws.eu-west-1.eks" in names and "com.amazonaws.eu-west-1.eks-auth" not in names
        with expect_error("InvalidServiceName"):
            cloud.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.ssm", VpcEndpointType="Interface")
    finally:
        server.post("settings", {"MISSING_ENDPOINT_SERVICES": ""})
