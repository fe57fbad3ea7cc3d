"""Service quotas: the creates that use them up obey them, and Service Quotas reads them."""

from __future__ import annotations

import boto3
from conftest import Cloud, Server, expect_error


def limit(server: Server, cloud: Cloud, code: str, value: float) -> None:
    server.post("quotas", {"account": cloud.account, "region": cloud.region, "code": code, "value": value})


def test_network_quotas(server: Server, cloud: Cloud) -> None:
    vpc, _ = cloud.vpc("a")
    limit(server, cloud, "L-F678F1CE", 1)
    limit(server, cloud, "L-0263D0A3", 1)
    limit(server, cloud, "L-A4707A72", 0)
    with expect_error("VpcLimitExceeded"):
        cloud.ec2.create_vpc(CidrBlock="10.9.0.0/16")
    address = cloud.ec2.allocate_address(Domain="vpc")["AllocationId"]
    with expect_error("AddressLimitExceeded"):
        cloud.ec2.allocate_address(Domain="vpc")
    with expect_error("InternetGatewayLimitExceeded"):
        cloud.ec2.create_internet_gateway()
    zones = [zone["ZoneName"] for zone in cloud.ec2.describe_availability_zones()["AvailabilityZones"]]
    cidrs = [block["CidrBlock"] for block in cloud.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]]
    base = cidrs[0].rsplit(".", 2)[0]
    subnets = [
        cloud.ec2.create_subnet(VpcId=vpc, CidrBlock=f"{base}.{200 + n}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"] for n, zone in enumerate(zones[:2])
    ]
    limit(server, cloud, "L-FE5A380F", 1)
    cloud.ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address)
    with expect_error("NatGatewayLimitExceeded", "limit of 1"):
        cloud.ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private")
    # The quota counts in each zone.
    cloud.ec2.create_nat_gateway(SubnetId=subnets[1], ConnectivityType="private")


def test_quotas_of_eks(server: Server, cloud: Cloud) -> None:
    first = cloud.cluster()
    limit(server, cloud, "L-1194D53C", 1)
    limit(server, cloud, "L-6D54EA21", 0)
    with expect_error("ResourceLimitExceededException"):
        cloud.eks.create_cluster(name="two", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})
    with expect_error("ResourceLimitExceededException", "node groups"):
        cloud.nodegroup()


def test_service_quotas_knows_applied_values_apart_from_defaults(server: Server, cloud: Cloud) -> None:
    quotas = boto3.client(
        "service-quotas", endpoint_url=server.url, region_name=cloud.region, aws_access_key_id=cloud.account, aws_secret_access_key="test"
    )
    asked = {"ServiceCode": "vpc", "QuotaCode": "L-F678F1CE"}
    with expect_error("NoSuchResourceException"):
        quotas.get_service_quota(**asked)
    assert quotas.get_aws_default_service_quota(**asked)["Quota"]["Value"] == 1000
    limit(server, cloud, "L-F678F1CE", 7)
    assert quotas.get_service_quota(**asked)["Quota"]["Value"] == 7
    with expect_error("NoSuchResourceException"):
        quotas.get_service_quota(ServiceCode="eks", QuotaCode="L-F678F1CE")
