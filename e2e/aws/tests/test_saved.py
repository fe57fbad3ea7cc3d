"""Saved state can be loaded and used in another emulator."""

from __future__ import annotations

from pathlib import Path

from conftest import Cloud, Server
from keelson_aws import saved
from keelson_aws.eks.state import Cluster, Region

ACCOUNT = "377777777777"


def filled(cloud: Cloud) -> dict[str, str]:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = enumerate(("eu-west-1a", "eu-west-1b"))
    subnets = [
        cloud.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for n, zone in zones
    ]
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
        '"Principal": {"Service": "eks.amazonaws.com"}}]}'
    )
    role = cloud.iam.create_role(RoleName="control", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    cloud.iam.attach_role_policy(RoleName="control", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    cloud.eks.create_cluster(name="kept", version="1.34", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    cloud.eks.get_waiter("cluster_active").wait(name="kept", WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    return {"vpc": vpc, "subnet": subnets[0]}


def seen(cloud: Cloud) -> list[object]:
    return [
        cloud.server.get("inventory"),
        cloud.ec2.describe_subnets()["Subnets"],
        cloud.ec2.describe_security_groups()["SecurityGroups"],
        cloud.ec2.describe_network_interfaces()["NetworkInterfaces"],
        cloud.iam.list_attached_role_policies(RoleName="control")["AttachedPolicies"],
        cloud.iam.get_policy(PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")["Policy"]["AttachmentCount"],
        cloud.eks.describe_cluster(name="kept")["cluster"],
    ]


def test_saved_state_works_in_another_emulator(tmp_path: Path) -> None:
    first, second = (Server(tmp_path) for _ in range(2))
    try:
        before = Cloud(first, ACCOUNT)
        created = filled(before)
        kept = first.get("saved")
        # Existing state is replaced.
        Cloud(second, "388888888888").ec2.create_vpc(CidrBlock="10.1.0.0/16")
        second.post("saved", kept)
        after = Cloud(second, ACCOUNT)
        assert seen(after) == seen(before)
        more = after.ec2.create_subnet(VpcId=created["vpc"], CidrBlock="10.0.9.0/24")["Subnet"]["SubnetId"]
        interface = after.ec2.create_network_interface(SubnetId=more)["NetworkInterface"]
        assert interface["PrivateIpAddress"].startswith("10.0.9.")
        after.iam.detach_role_policy(RoleName="control", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
        after.eks.delete_cluster(name="kept")
        after.eks.get_waiter("cluster_deleted").wait(name="kept", WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    finally:
        first.stop()
        second.stop()


def test_fields_missing_in_older_saved_state_get_defaults() -> None:
    older = Cluster("kept", {}, "arn")
    del older.insights
    region = Region(ACCOUNT, "eu-west-1", {"kept": older})
    saved.set_missing_fields({("a", "b"): region})
    assert older.insights == {}


def test_state_with_operations_in_progress_cannot_be_saved(tmp_path: Path) -> None:
    server = Server(tmp_path, NAT_SECONDS="60")
    try:
        cloud = Cloud(server, ACCOUNT)
        created = filled(cloud)
        address = cloud.ec2.allocate_address(Domain="vpc")["AllocationId"]
        cloud.ec2.create_nat_gateway(SubnetId=created["subnet"], AllocationId=address)
        try:
            server.get("saved")
        except AssertionError as refused:
            assert "in progress" in str(refused)
        else:
            raise AssertionError("a NAT gateway that is still pending was saved")
    finally:
        server.stop()
