"""Nodes join only in subnets where they can: each rule as AWS's health code."""

from __future__ import annotations

from conftest import Cloud, expect_error

ENDPOINTS = ("ec2", "ecr.api", "ecr.dkr")


def route_tables(cloud: Cloud) -> str:
    found = cloud.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [cloud.vpc_id]}])["RouteTables"]
    return str(found[0]["RouteTableId"])


def isolate(cloud: Cloud) -> str:
    """Removes the way out."""
    table = route_tables(cloud)
    cloud.ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    return table


def issue(cloud: Cloud, **asked: object) -> tuple[str, str]:
    group = cloud.nodegroup(**asked)
    issues = group["health"]["issues"]
    return group["status"], issues[0]["code"] if issues else ""


def test_nodes_without_a_way_out_do_not_join(cloud: Cloud) -> None:
    cloud.cluster()
    isolate(cloud)
    assert issue(cloud) == ("CREATE_FAILED", "NodeCreationFailure")


def test_endpoints_and_private_access_replace_a_way_out(cloud: Cloud) -> None:
    cloud.cluster()
    table = isolate(cloud)
    for service in ENDPOINTS:
        name = f"com.amazonaws.eu-west-1.{service}"
        cloud.ec2.create_vpc_endpoint(VpcId=cloud.vpc_id, ServiceName=name, VpcEndpointType="Interface", SubnetIds=cloud.subnets)
    role = cloud.node_role()
    cloud.ec2.create_vpc_endpoint(VpcId=cloud.vpc_id, ServiceName="com.amazonaws.eu-west-1.s3", RouteTableIds=[table])
    assert issue(cloud, name="public-api", nodeRole=role) == ("CREATE_FAILED", "NodeCreationFailure")
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"endpointPrivateAccess": True}))
    assert issue(cloud, name="private-api", nodeRole=role) == ("ACTIVE", "")


def test_nodes_need_dns_of_the_vpc(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.ec2.modify_vpc_attribute(VpcId=cloud.vpc_id, EnableDnsHostnames={"Value": False})
    assert issue(cloud) == ("CREATE_FAILED", "NodeCreationFailure")


def test_public_subnet_must_assign_public_addresses(cloud: Cloud) -> None:
    cloud.cluster()
    table = isolate(cloud)
    gateway = cloud.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    cloud.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=cloud.vpc_id)
    cloud.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    role = cloud.node_role()
    assert issue(cloud, name="without", nodeRole=role) == ("CREATE_FAILED", "Ec2SubnetInvalidConfiguration")
    for subnet in cloud.subnets:
        cloud.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    assert issue(cloud, name="with", nodeRole=role) == ("ACTIVE", "")


def test_instance_type_that_a_zone_does_not_offer_cannot_be_launched(cloud: Cloud) -> None:
    pages = cloud.ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone")
    offers = [offer for page in pages for offer in page["InstanceTypeOfferings"]]
    here = {zone: {o["InstanceType"] for o in offers if o["Location"] == zone} for zone in ("eu-west-1a", "eu-west-1b")}
    only_there = sorted(here["eu-west-1b"] - here["eu-west-1a"])
    found = cloud.ec2.describe_instance_types(InstanceTypes=only_there)["InstanceTypes"]
    x86 = [one["InstanceType"] for one in found if "x86_64" in one["ProcessorInfo"]["SupportedArchitectures"]]
    cloud.cluster()
    assert issue(cloud, instanceTypes=x86[:1]) == ("CREATE_FAILED", "AsgInstanceLaunchFailures")


def test_own_image_excludes_version_and_release(cloud: Cloud) -> None:
    cloud.cluster()
    data = {"ImageId": "ami-12345678", "InstanceType": "t3.large"}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]
    role = cloud.node_role()
    for field, value, name in (("version", "1.34", "kubernetes"), ("releaseVersion", "1.34.1-20261101", "release")):
        with expect_error("InvalidParameterException", f"cannot specify a {name} version"):
            cloud.nodegroup(nodeRole=role, launchTemplate={"id": template}, **{field: value})
    with expect_error("InvalidParameterException", "amiType CUSTOM"):
        cloud.nodegroup(nodeRole=role, amiType="CUSTOM")


def test_nodes_of_an_ipv6_cluster_need_addresses_and_a_role_that_assigns_them(cloud: Cloud) -> None:
    cloud.cluster(kubernetesNetworkConfig={"ipFamily": "ipv6"})
    role = cloud.node_role()
    assert issue(cloud, name="no-range", nodeRole=role) == ("CREATE_FAILED", "Ec2SubnetMissingIpv6Assignment")
    association = cloud.ec2.associate_vpc_cidr_block(VpcId=cloud.vpc_id, AmazonProvidedIpv6CidrBlock=True)["Ipv6CidrBlockAssociation"]
    for number, subnet in enumerate(cloud.subnets):
        block = association["Ipv6CidrBlock"].replace("00::/56", f"{number:02x}::/64")
        cloud.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block)
        cloud.ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
    assert issue(cloud, name="no-policy", nodeRole=role) == ("CREATE_FAILED", "NodeCreationFailure")
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:AssignIpv6Addresses", "Resource": "*"}]}'
    cloud.iam.put_role_policy(RoleName=role.rpartition("/")[2], PolicyName="ipv6", PolicyDocument=document)
    assert issue(cloud, name="six", nodeRole=role) == ("ACTIVE", "")
