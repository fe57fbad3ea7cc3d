"""EC2 networking: the order of creation and deletion, and the states of NAT gateways."""

from __future__ import annotations

import time
from typing import Any

import boto3
import pytest

from conftest import Cloud, Server, expect_error


class Network:
    """A VPC with a public subnet, an internet gateway and a route to it."""

    def __init__(self, cloud: Cloud) -> None:
        self.ec2 = cloud.ec2
        self.vpc, (self.subnet, self.private) = cloud.vpc()
        self.gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.create_route(RouteTableId=self.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)
        self.ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.subnet)

    def nat(self, **more: Any) -> tuple[str, str]:
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = self.ec2.create_nat_gateway(SubnetId=self.subnet, AllocationId=address, **more)["NatGateway"]
        assert nat["State"] == "pending"
        return nat["NatGatewayId"], address

    def state(self, nat: str) -> str:
        return str(self.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]["State"])


def test_new_account_is_empty(cloud: Cloud) -> None:
    assert cloud.ec2.describe_vpcs()["Vpcs"] == []
    assert cloud.ec2.describe_subnets()["Subnets"] == [] and cloud.ec2.describe_security_groups()["SecurityGroups"] == []
    assert cloud.inventory() == {}


def test_zones_of_both_regions(cloud: Cloud) -> None:
    for region in ("eu-west-1", "eu-central-1"):
        zones = Cloud(cloud.server, cloud.account, region).ec2.describe_availability_zones()["AvailabilityZones"]
        assert [zone["ZoneName"] for zone in zones] == [region + letter for letter in "abc"]


def test_vpc_and_subnet_cidrs_are_validated(cloud: Cloud) -> None:
    for bad in ("10.0.0.0/15", "10.0.0.0/29"):
        with expect_error("InvalidVpc.Range"):
            cloud.ec2.create_vpc(CidrBlock=bad)
    vpc_id, _ = cloud.vpc("a")
    for cidr, code in (("10.0.0.0/25", "InvalidSubnet.Conflict"), ("10.1.0.0/24", "InvalidSubnet.Range"), ("10.0.9.0/29", "InvalidSubnet.Range")):
        with expect_error(code):
            cloud.ec2.create_subnet(VpcId=vpc_id, CidrBlock=cidr, AvailabilityZone="eu-west-1a")
    with expect_error("InvalidParameterValue", "eu-west-1a, eu-west-1b, eu-west-1c"):
        cloud.ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.9.0/24", AvailabilityZone="us-east-1a")
    with expect_error("InvalidVpcID.NotFound"):
        cloud.ec2.create_subnet(VpcId="vpc-00000000000000000", CidrBlock="10.0.9.0/24")


def test_subnets_assign_no_public_addresses_by_default(cloud: Cloud) -> None:
    vpc_id, (subnet,) = cloud.vpc("a")
    (found,) = cloud.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    assert (found["MapPublicIpOnLaunch"], found["DefaultForAz"], found["AvailableIpAddressCount"]) == (False, False, 251)
    cloud.ec2.create_network_interface(SubnetId=subnet)
    assert cloud.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"] == 250


def test_nat_gateway_is_pending_then_available(cloud: Cloud) -> None:
    network = Network(cloud)
    nat, address = network.nat()
    cloud.until(lambda: network.state(nat) == "available")
    (found,) = cloud.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
    assert found["VpcId"] == network.vpc
    (used,) = found["NatGatewayAddresses"]
    (elastic,) = cloud.ec2.describe_addresses(AllocationIds=[address])["Addresses"]
    assert (used["AllocationId"], used["PublicIp"], used["NetworkInterfaceId"]) == (address, elastic["PublicIp"], elastic["NetworkInterfaceId"])
    assert used["PrivateIp"].startswith("10.0.0.")


def test_deleted_nat_gateway_releases_its_address_and_interface(cloud: Cloud) -> None:
    network = Network(cloud)
    nat, address = network.nat()
    with expect_error("InvalidIPAddress.InUse"):
        cloud.ec2.release_address(AllocationId=address)
    cloud.until(lambda: network.state(nat) == "available")
    table = cloud.ec2.create_route_table(VpcId=network.vpc)["RouteTable"]["RouteTableId"]
    cloud.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    cloud.ec2.delete_nat_gateway(NatGatewayId=nat)
    assert network.state(nat) == "deleting"
    with expect_error("DependencyViolation"):
        cloud.ec2.delete_subnet(SubnetId=network.subnet)
    cloud.until(lambda: network.state(nat) == "deleted")
    assert cloud.ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    routes = cloud.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert [r["State"] for r in routes if r.get("NatGatewayId") == nat] == ["blackhole"]
    cloud.ec2.release_address(AllocationId=address)
    with expect_error("NatGatewayNotFound"):
        cloud.ec2.delete_nat_gateway(NatGatewayId=nat)


def test_nat_gateway_honours_its_client_token(cloud: Cloud) -> None:
    network = Network(cloud)
    address = cloud.ec2.allocate_address(Domain="vpc")["AllocationId"]
    asked = {"SubnetId": network.subnet, "AllocationId": address, "ClientToken": "t"}
    first = cloud.ec2.create_nat_gateway(**asked)["NatGateway"]["NatGatewayId"]
    assert cloud.ec2.create_nat_gateway(**asked)["NatGateway"]["NatGatewayId"] == first
    with expect_error("IdempotentParameterMismatch"):
        cloud.ec2.create_nat_gateway(**{**asked, "SubnetId": network.private})
    # EC2 creates one with an address that is in use, and it fails.
    second = cloud.ec2.create_nat_gateway(**{**asked, "ClientToken": "u"})["NatGateway"]["NatGatewayId"]
    cloud.until(lambda: network.state(second) == "failed")
    (found,) = cloud.ec2.describe_nat_gateways(NatGatewayIds=[second])["NatGateways"]
    assert found["FailureCode"] == "Resource.AlreadyAssociated" and "is already associated" in found["FailureMessage"]
    with expect_error("InvalidElasticIpID.NotFound"):
        cloud.ec2.create_nat_gateway(**{**asked, "ClientToken": "v", "AllocationId": "eipalloc-00000000000000000"})


def test_address_of_another_network_border_group_cannot_be_used(cloud: Cloud) -> None:
    network = Network(cloud)
    address = cloud.ec2.allocate_address(Domain="vpc", NetworkBorderGroup="eu-west-1-wl1-lon-wlz-1")["AllocationId"]
    (found,) = cloud.ec2.describe_addresses(AllocationIds=[address])["Addresses"]
    assert found["NetworkBorderGroup"] == "eu-west-1-wl1-lon-wlz-1"
    with expect_error("InvalidParameterValue", "network border group"):
        cloud.ec2.create_nat_gateway(SubnetId=network.subnet, AllocationId=address)


def test_address_of_a_failed_nat_gateway_can_be_reused(cloud: Cloud, server: Server) -> None:
    network = Network(cloud)
    server.post("faults", {"match": {"account": cloud.account, "action": "CreateNatGateway", "times": 1}, "then": {"fail": "no capacity"}})
    nat, address = network.nat()
    cloud.until(lambda: network.state(nat) == "failed")
    (found,) = cloud.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
    assert found["FailureMessage"] == "no capacity"
    again = cloud.ec2.create_nat_gateway(SubnetId=network.subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    cloud.until(lambda: network.state(again) == "available")


def test_nat_gateway_needs_an_internet_gateway(cloud: Cloud) -> None:
    _, (subnet,) = cloud.vpc("a")
    address = cloud.ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = cloud.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    found = cloud.until(lambda: (n := cloud.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0])["State"] == "failed" and n)
    assert found["FailureCode"] == "Gateway.NotAttached"


def test_nat_gateways_are_found_by_tag_and_state(cloud: Cloud) -> None:
    network = Network(cloud)
    nat, _ = network.nat(TagSpecifications=[{"ResourceType": "natgateway", "Tags": [{"Key": "owner", "Value": "me"}]}])

    def found(**filters: list[str]) -> list[str]:
        wanted = [{"Name": name.replace("_", ":"), "Values": values} for name, values in filters.items()]
        return [n["NatGatewayId"] for n in cloud.ec2.describe_nat_gateways(Filters=wanted)["NatGateways"]]

    assert found(tag_owner=["me"], state=["pending", "available"]) == [nat]
    assert found(tag_owner=["you"]) == [] and found(state=["failed"]) == []


def test_network_can_only_be_deleted_in_order(cloud: Cloud) -> None:
    network = Network(cloud)
    nat, address = network.nat()
    cloud.until(lambda: network.state(nat) == "available")
    ec2 = cloud.ec2
    with expect_error("DependencyViolation", "mapped public address(es)"):
        ec2.detach_internet_gateway(InternetGatewayId=network.gateway, VpcId=network.vpc)
    with expect_error("DependencyViolation"):
        ec2.delete_internet_gateway(InternetGatewayId=network.gateway)
    with expect_error("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=network.table)
    with expect_error("DependencyViolation"):
        ec2.delete_vpc(VpcId=network.vpc)
    ec2.delete_nat_gateway(NatGatewayId=nat)
    cloud.until(lambda: network.state(nat) == "deleted")
    ec2.release_address(AllocationId=address)
    ec2.detach_internet_gateway(InternetGatewayId=network.gateway, VpcId=network.vpc)
    ec2.delete_internet_gateway(InternetGatewayId=network.gateway)
    ec2.delete_subnet(SubnetId=network.subnet)
    ec2.delete_subnet(SubnetId=network.private)
    # Deleting the subnet deleted its association, so the table can be deleted now.
    ec2.delete_route_table(RouteTableId=network.table)
    ec2.delete_vpc(VpcId=network.vpc)
    assert cloud.inventory() == {}
    with expect_error("InvalidVpcID.NotFound"):
        ec2.delete_vpc(VpcId=network.vpc)


@pytest.mark.parametrize("kind", ["subnet", "gateway", "table", "group", "interface endpoint"])
def test_vpc_with_dependents_cannot_be_deleted(cloud: Cloud, kind: str) -> None:
    ec2 = cloud.ec2
    vpc_id, subnets = cloud.vpc("a" if "endpoint" in kind or kind == "subnet" else "")
    if kind == "gateway":
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc_id)
    elif kind == "table":
        ec2.create_route_table(VpcId=vpc_id)
    elif kind == "group":
        ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc_id)
    elif "endpoint" in kind:
        ec2.create_vpc_endpoint(
            VpcId=vpc_id, ServiceName="com.amazonaws.eu-west-1.ec2", VpcEndpointType="Interface", SubnetIds=subnets, PrivateDnsEnabled=False
        )
    with expect_error("DependencyViolation", f"The vpc '{vpc_id}' has dependencies and cannot be deleted."):
        ec2.delete_vpc(VpcId=vpc_id)


def test_security_groups_in_use_cannot_be_deleted(cloud: Cloud) -> None:
    ec2 = cloud.ec2
    vpc_id, (subnet,) = cloud.vpc("a")
    group, other = (ec2.create_security_group(GroupName=n, Description="x", VpcId=vpc_id)["GroupId"] for n in ("a", "b"))
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}])
    with expect_error("DependencyViolation", f"resource {group} has a dependent object"):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_security_group(GroupId=other)
    interface = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    with expect_error("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.delete_security_group(GroupId=group)
    (default,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["SecurityGroups"]
    with expect_error("CannotDelete"):
        ec2.delete_security_group(GroupId=default["GroupId"])


def test_route_targets_must_exist(cloud: Cloud) -> None:
    vpc_id, subnets = cloud.vpc()
    ec2 = cloud.ec2
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with expect_error("InvalidParameterValue", "belong to different networks"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    with expect_error("InvalidNatGatewayID.NotFound"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId="nat-0")
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc_id)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    with expect_error("RouteAlreadyExists"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
    other = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    with expect_error("Resource.AlreadyAssociated"):
        ec2.associate_route_table(RouteTableId=other, SubnetId=subnets[0])


def test_gateway_endpoints_are_the_default_type(cloud: Cloud) -> None:
    vpc_id, _ = cloud.vpc("")
    table = cloud.ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    asked = {"VpcId": vpc_id, "ServiceName": "com.amazonaws.eu-west-1.s3", "RouteTableIds": [table], "ClientToken": "e"}
    created = cloud.ec2.create_vpc_endpoint(**asked)["VpcEndpoint"]
    assert cloud.ec2.create_vpc_endpoint(**asked)["VpcEndpoint"]["VpcEndpointId"] == created["VpcEndpointId"]
    assert (created["VpcEndpointType"], created["State"]) == ("Gateway", "available")

    def routes() -> list[str]:
        found = cloud.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return [route["GatewayId"] for route in found]

    assert routes() == ["local", created["VpcEndpointId"]]
    assert cloud.ec2.delete_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])["Unsuccessful"] == []
    assert routes() == ["local"]
    with expect_error("InvalidVpcEndpointId.NotFound"):
        cloud.ec2.describe_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])


def test_interface_endpoints_have_interfaces_in_their_subnets(cloud: Cloud) -> None:
    vpc_id, subnets = cloud.vpc()
    ec2 = cloud.ec2
    group = ec2.create_security_group(GroupName="e", Description="e", VpcId=vpc_id)["GroupId"]
    asked = {
        "VpcId": vpc_id, "ServiceName": "com.amazonaws.eu-west-1.ecr.api", "VpcEndpointType": "Interface", "SubnetIds": subnets,
        "SecurityGroupIds": [group],
    }
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": False})
    with expect_error("InvalidParameter", "enableDnsHostnames"):
        ec2.create_vpc_endpoint(**asked)
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
    created = ec2.create_vpc_endpoint(**asked)["VpcEndpoint"]
    interfaces = ec2.describe_network_interfaces(NetworkInterfaceIds=created["NetworkInterfaceIds"])["NetworkInterfaces"]
    assert {i["SubnetId"] for i in interfaces} == set(subnets) and {g["GroupId"] for i in interfaces for g in i["Groups"]} == {group}
    cloud.until(lambda: ec2.describe_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])["VpcEndpoints"][0]["State"] == "available")
    with expect_error("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    for on in (False, True):
        ec2.modify_vpc_endpoint(VpcEndpointId=created["VpcEndpointId"], PrivateDnsEnabled=on)
        assert ec2.describe_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])["VpcEndpoints"][0]["PrivateDnsEnabled"] is on
    ec2.delete_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])
    cloud.until(lambda: ec2.describe_vpc_endpoints()["VpcEndpoints"] == [])
    ec2.delete_security_group(GroupId=group)


def test_endpoint_services_are_listed(cloud: Cloud) -> None:
    seconds = []
    # Several times: the machine may be busy for a moment.
    while not seconds or (min(seconds) >= 1 and len(seconds) < 10):
        started = time.monotonic()
        found = cloud.ec2.describe_vpc_endpoint_services(
            Filters=[{"Name": "service-name", "Values": ["com.amazonaws.eu-west-1.s3"]}, {"Name": "service-type", "Values": ["Gateway"]}]
        )
        seconds.append(time.monotonic() - started)
        assert found["ServiceNames"] == ["com.amazonaws.eu-west-1.s3"]
    assert min(seconds) < 1, seconds
    with expect_error("InvalidServiceName"):
        cloud.ec2.create_vpc_endpoint(VpcId=cloud.vpc("")[0], ServiceName="com.amazonaws.eu-west-1.nonsense")


def test_launch_template_honours_its_client_token(cloud: Cloud) -> None:
    asked = {"LaunchTemplateName": "mine", "LaunchTemplateData": {"InstanceType": "m5.large"}, "ClientToken": "l"}
    first = cloud.ec2.create_launch_template(**asked)["LaunchTemplate"]["LaunchTemplateId"]
    assert cloud.ec2.create_launch_template(**asked)["LaunchTemplate"]["LaunchTemplateId"] == first
    with expect_error("InvalidLaunchTemplateName.AlreadyExistsException"):
        cloud.ec2.create_launch_template(**{**asked, "ClientToken": "m"})


def test_dry_run_changes_nothing(cloud: Cloud) -> None:
    with expect_error("DryRunOperation") as error:
        cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
    assert error.status == 412 and cloud.inventory() == {}


def test_tags_are_set_on_creation_and_deleted_with_the_resource(cloud: Cloud) -> None:
    tags = [{"Key": "keelson.dev/owner", "Value": "uid-1"}, {"Key": "Name", "Value": "x y"}]
    vpc_id = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": tags}])["Vpc"]["VpcId"]
    wanted = [{"Name": "tag:keelson.dev/owner", "Values": ["uid-0", "uid-1"]}]
    assert [v["VpcId"] for v in cloud.ec2.describe_vpcs(Filters=wanted)["Vpcs"]] == [vpc_id]
    assert [v["VpcId"] for v in cloud.ec2.describe_vpcs(Filters=[{"Name": "tag-key", "Values": ["a", "keelson.dev/*"]}])["Vpcs"]] == [vpc_id]
    found = cloud.ec2.describe_tags(Filters=[{"Name": "key", "Values": ["keelson.dev/owner"]}])["Tags"]
    assert found == [{"Key": "keelson.dev/owner", "Value": "uid-1", "ResourceId": vpc_id, "ResourceType": "vpc"}]
    with expect_error("InvalidParameterValue", "aws:"):
        cloud.ec2.create_tags(Resources=[vpc_id], Tags=[{"Key": "aws:x", "Value": "y"}])
    cloud.ec2.delete_vpc(VpcId=vpc_id)
    assert cloud.ec2.describe_tags()["Tags"] == []


def test_fast_writer_has_the_same_output_as_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: writes the same objects with both writers and parses the output with boto3."""
    from botocore.parsers import create_parser
    from keelson_aws.ec2.xml import FAST_PATH
    from keelson_aws.http import Request
    from keelson_aws.server import Emulator
    from keelson_aws.settings import Settings

    emulator = Emulator(Settings())
    monkeypatch.setattr("keelson_aws.ec2.responses.FAST_PATH", set())
    model = boto3.client("ec2", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x").meta.service_model

    def call(action: str, **parameters: str) -> bytes:
        form = "&".join(f"{k}={v}" for k, v in {"Action": action, "Version": "2016-11-15", **parameters}.items()).replace("_", ".")
        signed = "AWS4-HMAC-SHA256 Credential=299999999999/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=x"
        headers = {"authorization": signed, "host": "x", "content-type": "application/x-www-form-urlencoded", "content-length": str(len(form))}
        reply = emulator.handle(Request("POST", "/", headers, form.encode()))
        assert reply.status == 200, reply.body
        return reply.body

    def read(action: str, body: bytes) -> Any:
        parsed = create_parser("ec2").parse({"body": body, "headers": {}, "status_code": 200}, model.operation_model(action).output_shape)
        parsed.pop("ResponseMetadata")
        return parsed

    vpc = read("CreateVpc", call("CreateVpc", CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]
    tags = {"TagSpecification_1_ResourceType": "subnet", "TagSpecification_1_Tag_1_Key": "a%26b", "TagSpecification_1_Tag_1_Value": "%3Cx%3E"}
    subnet = read("CreateSubnet", call("CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24", **tags))["Subnet"]["SubnetId"]
    gateway = read("CreateInternetGateway", call("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    call("AttachInternetGateway", VpcId=vpc, InternetGatewayId=gateway)
    address = read("AllocateAddress", call("AllocateAddress", Domain="vpc"))["AllocationId"]
    call("CreateNatGateway", SubnetId=subnet, AllocationId=address)
    table = read("CreateRouteTable", call("CreateRouteTable", VpcId=vpc))["RouteTable"]["RouteTableId"]
    call("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    call("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    call("CreateVpcEndpoint", VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3", RouteTableId_1=table)
    group = read("CreateSecurityGroup", call("CreateSecurityGroup", VpcId=vpc, GroupName="g", GroupDescription="d"))["GroupId"]
    rule = {"IpPermissions_1_IpProtocol": "tcp", "IpPermissions_1_FromPort": "443", "IpPermissions_1_ToPort": "443"}
    call("AuthorizeSecurityGroupIngress", GroupId=group, **rule, IpPermissions_1_IpRanges_1_CidrIp="10.0.0.0/8")
    call("CreateNetworkInterface", SubnetId=subnet, SecurityGroupId_1=group)
    for action in sorted(FAST_PATH):
        by_moto = read(action, call(action))
        monkeypatch.setattr("keelson_aws.ec2.responses.FAST_PATH", FAST_PATH)
        by_us = read(action, call(action))
        monkeypatch.setattr("keelson_aws.ec2.responses.FAST_PATH", set())
        assert by_us == by_moto, action
        assert any(by_us.values()), f"{action} has nothing to compare"
