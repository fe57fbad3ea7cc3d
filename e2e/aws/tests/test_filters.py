"""EC2 filters: any value of a filter, all filters; for each describe call that the operator, Terraform and Cluster API use."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, expect_error

OWNER = "tag:keelson.dev/owner"
# Filters that every resource type supports, and whether they match a resource tagged owner=u1, b=2.
TAGS: list[tuple[dict[str, list[str]], bool]] = [
    ({OWNER: ["u0", "u1"]}, True),
    ({OWNER: ["u0"]}, False),
    ({OWNER: ["u*"]}, True),
    ({OWNER: ["u1"], "tag:b": ["3"]}, False),
    ({OWNER: ["u1"], "tag:b": ["2"]}, True),
    ({"tag-key": ["keelson.dev/owner", "other"]}, True),
    ({"tag-key": ["other"]}, False),
]


def tagged(kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": "keelson.dev/owner", "Value": "u1"}, {"Key": "b", "Value": "2"}]}]


@pytest.fixture
def things(cloud: Cloud) -> dict[str, str]:
    """One resource of each type, by the name of its describe call."""
    ec2 = cloud.ec2
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone="eu-west-1a", TagSpecifications=tagged("subnet")
    )["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, TagSpecifications=tagged("natgateway"))["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tagged("route-table"))["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(
        GroupName="mine", Description="d", VpcId=vpc, TagSpecifications=tagged("security-group")
    )["GroupId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", RouteTableIds=[table], TagSpecifications=tagged("vpc-endpoint")
    )["VpcEndpoint"]["VpcEndpointId"]
    interface = ec2.create_network_interface(
        SubnetId=subnet, Groups=[group], TagSpecifications=tagged("network-interface")
    )["NetworkInterface"]["NetworkInterfaceId"]
    template = ec2.create_launch_template(
        LaunchTemplateName="mine", LaunchTemplateData={"InstanceType": "t3.small"}, TagSpecifications=tagged("launch-template")
    )["LaunchTemplate"]["LaunchTemplateId"]
    return {
        "vpcs": vpc, "subnets": subnet, "internet_gateways": gateway, "addresses": address, "nat_gateways": nat, "route_tables": table,
        "security_groups": group, "vpc_endpoints": endpoint, "network_interfaces": interface, "launch_templates": template,
    }


def test_filters_return_matching_resources(cloud: Cloud, things: dict[str, str]) -> None:
    vpc, subnet, group = things["vpcs"], things["subnets"], things["security_groups"]
    own: dict[str, list[tuple[dict[str, list[str]], bool]]] = {
        "vpcs": [({"vpc-id": [vpc, "vpc-0"]}, True), ({"state": ["available"]}, True), ({"is-default": ["true"]}, False)],
        "subnets": [({"vpc-id": [vpc]}, True), ({"availability-zone": ["eu-west-1a"]}, True), ({"default-for-az": ["true"]}, False)],
        "internet_gateways": [({"attachment.vpc-id": [vpc]}, True), ({"attachment.vpc-id": ["vpc-0"]}, False)],
        "addresses": [({"domain": ["vpc"]}, True), ({"network-interface-id": ["eni-0"]}, False)],
        "nat_gateways": [({"vpc-id": [vpc], "state": ["pending", "available"]}, True), ({"subnet-id": ["subnet-0"]}, False)],
        "route_tables": [({"association.main": ["false"]}, True), ({"association.subnet-id": [subnet, "subnet-0"]}, True)],
        "security_groups": [({"group-name": ["mine", "x"]}, True), ({"vpc-id": ["vpc-0"]}, False)],
        "vpc_endpoints": [({"vpc-endpoint-type": ["Gateway"]}, True), ({"vpc-endpoint-id": [things["vpc_endpoints"]]}, True)],
        "network_interfaces": [
            ({"group-id": [group, "sg-0"]}, True), ({"group-name": ["mine"]}, True), ({"status": ["available"]}, True),
            ({"attachment.status": ["attached"]}, False), ({"association.public-ip": ["192.0.2.1"]}, False),
            ({"requester-managed": ["false"]}, True), ({"description": ["ELB *"]}, False),
        ],
        "launch_templates": [({"launch-template-name": ["mine"]}, True)],
    }
    for kind, thing in things.items():
        describe = getattr(cloud.ec2, "describe_" + kind)
        for filters, wanted in TAGS + own[kind]:
            answer = describe(Filters=[{"Name": name, "Values": values} for name, values in filters.items()])
            found = [value for value in answer.values() if isinstance(value, list)][0]
            assert any(thing in item.values() for item in found) is wanted, (kind, filters)


def test_unknown_filter_is_rejected(cloud: Cloud, things: dict[str, str]) -> None:
    with expect_error("InvalidParameterValue", "nonsense"):
        cloud.ec2.describe_vpcs(Filters=[{"Name": "nonsense", "Values": ["x"]}])


def test_instance_types_of_the_region_can_be_filtered_by_family(cloud: Cloud) -> None:
    def names(pattern: str) -> set[str]:
        found = cloud.ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [pattern]}])["InstanceTypes"]
        return {one["InstanceType"] for one in found}

    assert {"m7i.large", "m7i.xlarge"} <= names("m7i.*") and all(name.startswith("m7i.") for name in names("m7i.*"))
    assert names("m7i.lrge") == set()
    assert names("trn1.*") == set(), "not in eu-west-1"
    with expect_error("InvalidInstanceType"):
        cloud.ec2.describe_instance_types(InstanceTypes=["m7i.lrge"])
    filters = [{"Name": "instance-type", "Values": ["m7i.*"]}, {"Name": "location", "Values": ["eu-west-1a"]}]
    offers = cloud.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)["InstanceTypeOfferings"]
    assert {"InstanceType": "m7i.large", "LocationType": "availability-zone", "Location": "eu-west-1a"} in offers
    assert {one["Location"] for one in offers} == {"eu-west-1a"}
