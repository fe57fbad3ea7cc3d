"""Zones: their ids differ by account, and EKS refuses some by id."""

from __future__ import annotations

import pytest

from conftest import Cloud, Server, expect_error


def zones_of(cloud: Cloud, **asked: object) -> dict[str, dict[str, str]]:
    return {zone["ZoneName"]: zone for zone in cloud.ec2.describe_availability_zones(**asked)["AvailabilityZones"]}


def subnets_in(cloud: Cloud, *names: str) -> list[str]:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    return [
        cloud.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=name)["Subnet"]["SubnetId"] for i, name in enumerate(names)
    ]


def create_cluster(cloud: Cloud, *zones: str) -> None:
    role = cloud.cluster_role()
    cloud.eks.create_cluster(name="demo", roleArn=role, resourcesVpcConfig={"subnetIds": subnets_in(cloud, *zones)})


@pytest.fixture
def at(cloud: Cloud, server: Server):
    """The account in another region."""
    return lambda region: Cloud(server, cloud.account, region)


def test_ids_of_zones_differ_between_accounts(server: Server) -> None:
    one, other = (zones_of(Cloud(server, account, "us-east-1")) for account in ("200000000000", "200000000001"))
    assert one.keys() == other.keys()
    assert {zone["ZoneId"] for zone in one.values()} == {zone["ZoneId"] for zone in other.values()}
    assert one["us-east-1a"]["ZoneId"] != other["us-east-1a"]["ZoneId"]
    assert {(zone["ZoneType"], zone["OptInStatus"]) for zone in one.values()} == {("availability-zone", "opt-in-not-required")}


def test_cluster_in_a_zone_that_eks_refuses_is_rejected_with_the_valid_zones(at) -> None:
    cloud = at("us-east-1")
    names = {zone["ZoneId"]: name for name, zone in zones_of(cloud).items()}
    refused = names["use1-az3"]
    with expect_error("UnsupportedAvailabilityZoneException") as error:
        create_cluster(cloud, refused, names["use1-az1"], names["use1-az2"])
    assert (error.body["clusterName"], error.body["validZones"]) == ("demo", sorted(set(names.values()) - {refused}))
    assert error.message.startswith(f"Cannot create cluster 'demo' because {refused}, the targeted availability zone, does not")


def test_refused_zones_can_be_set_for_an_account_and_region(cloud: Cloud) -> None:
    zone_id = zones_of(cloud)["eu-west-1b"]["ZoneId"]
    cloud.server.post("zones", {"account": cloud.account, "region": "eu-west-1", "refused": [zone_id]})
    with expect_error("UnsupportedAvailabilityZoneException") as error:
        create_cluster(cloud, "eu-west-1a", "eu-west-1b")
    assert error.body["validZones"] == ["eu-west-1a", "eu-west-1c"]


def test_fargate_profile_in_a_refused_zone_is_rejected(cloud: Cloud) -> None:
    cloud.cluster()
    zone_id = zones_of(cloud)["eu-west-1b"]["ZoneId"]
    cloud.server.post("zones", {"account": cloud.account, "region": "eu-west-1", "refused": [zone_id]})
    role = cloud.role("pods", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
    with expect_error("UnsupportedAvailabilityZoneException") as error:
        cloud.eks.create_fargate_profile(
            clusterName="demo", fargateProfileName="p", podExecutionRoleArn=role, subnets=cloud.subnets, selectors=[{"namespace": "default"}]
        )
    assert error.body["validZones"] == ["eu-west-1a", "eu-west-1c"]


def test_local_zone_is_listed_after_opt_in_and_takes_no_control_plane(at) -> None:
    cloud, local = at("us-west-2"), "us-west-2-lax-1a"
    assert local not in zones_of(cloud)
    assert zones_of(cloud, AllAvailabilityZones=True)[local]["OptInStatus"] == "not-opted-in"
    with expect_error("InvalidParameterValue"):
        subnets_in(cloud, local)
    cloud.ec2.modify_availability_zone_group(GroupName="us-west-2-lax-1", OptInStatus="opted-in")
    zone = zones_of(cloud)[local]
    assert (zone["ZoneType"], zone["OptInStatus"], zone["ParentZoneName"]) == ("local-zone", "opted-in", "us-west-2a")
    assert local not in zones_of(cloud, Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])
    subnet = subnets_in(cloud, local)[0]
    found = cloud.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]
    assert (found["AvailabilityZone"], found["AvailabilityZoneId"]) == (local, "usw2-lax1-az1")
    with expect_error("UnsupportedAvailabilityZoneException") as error:
        create_cluster(cloud, local, "us-west-2a", "us-west-2b")
    assert local not in error.body["validZones"]


def test_subnet_by_zone_id_is_in_the_zone_that_has_it_in_the_account(cloud: Cloud) -> None:
    name, zone = next(iter(zones_of(cloud).items()))
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    created = cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZoneId=zone["ZoneId"])["Subnet"]
    assert created["AvailabilityZone"] == name
    with expect_error("InvalidParameterValue", "availabilityZoneId"):
        cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZoneId="euw1-az9")
