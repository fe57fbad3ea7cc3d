"""Service quotas: the creates that use them up obey them, and Service Quotas reads them."""

from __future__ import annotations

from typing import Any

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


def failure(group: dict[str, Any]) -> str:
    (issue,) = group["health"]["issues"]
    assert issue["code"] == "AsgInstanceLaunchFailures"
    return str(issue["message"])


def instances(cloud: Cloud) -> int:
    found = cloud.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])["Reservations"]
    return sum(len(reservation["Instances"]) for reservation in found)


def scaling(desired: int, most: int = 9) -> dict[str, int]:
    return {"minSize": 0, "maxSize": most, "desiredSize": desired}


def test_node_group_over_the_quota_of_vcpus_fails_with_what_it_could_launch(server: Server, cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    # An m5.large has two.
    limit(server, cloud, "L-1216C47A", 5)
    group = cloud.nodegroup(nodeRole=role, instanceTypes=["m5.large"], scalingConfig=scaling(3))
    assert group["status"] == "CREATE_FAILED" and instances(cloud) == 2
    assert "VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit of 5 allows" in failure(group)
    # Spot Instances and other families have quotas of their own.
    spot = cloud.nodegroup("spot", nodeRole=role, capacityType="SPOT", instanceTypes=["m5.large"], scalingConfig=scaling(1))
    assert spot["status"] == "ACTIVE"
    graphics = cloud.nodegroup("graphics", nodeRole=role, instanceTypes=["g4dn.xlarge"], amiType="AL2023_x86_64_NVIDIA", scalingConfig=scaling(1))
    assert graphics["status"] == "ACTIVE"


def test_spot_instances_over_their_quota(server: Server, cloud: Cloud) -> None:
    cloud.cluster()
    limit(server, cloud, "L-34B43A08", 0)
    group = cloud.nodegroup(capacityType="SPOT", instanceTypes=["m5.large"], scalingConfig=scaling(1))
    assert group["status"] == "CREATE_FAILED" and instances(cloud) == 0
    assert failure(group).startswith("Could not launch Spot Instances. MaxSpotInstanceCountExceeded")


def test_group_that_grows_over_the_quota_is_degraded_until_it_is_raised(server: Server, cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup(instanceTypes=["m5.large"], scalingConfig=scaling(1))
    limit(server, cloud, "L-1216C47A", 4)
    grown = cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", scalingConfig=scaling(3))
    assert cloud.update_done(grown, nodegroupName="nodes")["status"] == "Successful"
    group = cloud.describe_nodegroup()
    assert group["status"] == "DEGRADED" and "VcpuLimitExceeded" in failure(group) and instances(cloud) == 2
    limit(server, cloud, "L-1216C47A", 6)
    cloud.until(lambda: cloud.describe_nodegroup()["status"] == "ACTIVE")
    assert instances(cloud) == 3 and cloud.describe_nodegroup()["health"]["issues"] == []


def test_update_needs_vcpus_for_additional_nodes(server: Server, cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    cloud.nodegroup(instanceTypes=["m5.large"], scalingConfig=scaling(2))
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    limit(server, cloud, "L-1216C47A", 6)
    done = cloud.update_done(cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes"), nodegroupName="nodes")
    assert done["status"] == "Failed" and done["errors"][0]["errorCode"] == "NodeCreationFailure"
    assert "new nodes are not joining" in done["errors"][0]["errorMessage"]
    assert cloud.describe_nodegroup()["version"] == "1.33" and instances(cloud) == 2
    limit(server, cloud, "L-1216C47A", 12)
    done = cloud.update_done(cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes"), nodegroupName="nodes")
    assert done["status"] == "Successful" and instances(cloud) == 2
