"""Runs of the conformance program against an emulator, and what a run leaves behind when it is killed halfway."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from keelson_harness.aws import REGION, Aws
from keelson_harness.paths import CHECKOUT
from keelson_harness.processes import Process

E2E = CHECKOUT / "e2e"
PATH = os.pathsep.join(str(E2E / part) for part in ("harness", "aws", "tests", "."))
COMMAND_SECONDS = 120


def environment_of(aws: Aws, account: str) -> dict[str, str]:
    """Credentials of that account at the emulator's public endpoint, as a user would set them."""
    return {**aws.env(), "AWS_ACCESS_KEY_ID": account, "PYTHONPATH": PATH}


def conformance(aws: Aws, account: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the program, without a terminal."""
    command = [sys.executable, "-m", "conformance", *arguments]
    env = {**os.environ, **environment_of(aws, account)}
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)


def start(aws: Aws, account: str, log: Path, *arguments: str) -> Process:
    """The same as a process that a test can interrupt."""
    command = [sys.executable, "-m", "conformance", *arguments]
    return Process(f"conformance {account}", command, log, env=environment_of(aws, account))


def conformance_on_terminal(aws: Aws, account: str, typed: str, *arguments: str) -> tuple[int, str]:
    """The same on a terminal, where that line is typed. Returns the exit code and the output."""
    terminal, stdin = pty.openpty()
    command = [sys.executable, "-m", "conformance", *arguments]
    env = {**os.environ, **environment_of(aws, account)}
    try:
        os.write(terminal, f"{typed}\n".encode())
        done = subprocess.run(
            command, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_SECONDS, check=False
        )
    finally:
        os.close(stdin)
        os.close(terminal)
    return done.returncode, done.stdout


def counts(aws: Aws, account: str) -> dict[str, int]:
    """Number of resources by kind that must be deleted to empty the account."""
    regions = aws.control("GET", "inventory", params={"account": account})["accounts"].get(account, {})
    found: dict[str, int] = {}
    for kinds in regions.values():
        for kind, ids in kinds.items():
            found[kind] = found.get(kind, 0) + len(ids)
    return found


class Leftovers:
    """Some of everything that a run creates, with those tags, made with boto3."""

    def __init__(self, aws: Aws, account: str, tags: dict[str, str], name: str):
        self.aws, self.account, self.tags, self.name = aws, account, tags, name
        self.ec2, self.eks, self.iam, self.logs = (aws.client(s, REGION, account) for s in ("ec2", "eks", "iam", "logs"))

    def listed(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def of(self, kind: str) -> dict[str, list]:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": self.listed()}]} if self.tags else {}

    def network(self) -> tuple[str, list[str]]:
        """A VPC in which everything holds something else."""
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", **self.of("vpc"))["Vpc"]["VpcId"]
        for attribute in ("EnableDnsHostnames", "EnableDnsSupport"):
            ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}", **self.of("subnet"))["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")
        ]
        gateway = ec2.create_internet_gateway(**self.of("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = ec2.create_route_table(VpcId=vpc, **self.of("route-table"))["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
        address = ec2.allocate_address(Domain="vpc", **self.of("elastic-ip"))["AllocationId"]
        ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address, **self.of("natgateway"))
        groups = [ec2.create_security_group(GroupName=f"{self.name}-{n}", Description="d", VpcId=vpc, **self.of("security-group"))["GroupId"] for n in "ab"]
        for one, other in (groups, reversed(groups)):
            rule = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": other}]}]
            ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=rule)
        endpoint = {"VpcId": vpc, "ServiceName": f"com.amazonaws.{REGION}.sts", "VpcEndpointType": "Interface", "SubnetIds": subnets}
        ec2.create_vpc_endpoint(**endpoint, SecurityGroupIds=groups[:1], **self.of("vpc-endpoint"))
        ec2.create_network_interface(SubnetId=subnets[1], Groups=groups[1:], **self.of("network-interface"))
        bucket = f"flow-logs-{self.account}-{self.name}"
        self.aws.client("s3", REGION, self.account).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        logged = {"ResourceIds": [vpc], "ResourceType": "VPC", "TrafficType": "ALL", "LogDestinationType": "s3", "LogDestination": f"arn:aws:s3:::{bucket}"}
        refused = ec2.create_flow_logs(**logged, **self.of("vpc-flow-log"))["Unsuccessful"]
        assert refused == [], refused
        ec2.create_launch_template(LaunchTemplateName=self.name, LaunchTemplateData={"InstanceType": "t3.medium"}, **self.of("launch-template"))
        return vpc, subnets

    def role(self, service: str, *policies: str) -> str:
        trust = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "%s"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}' % service
        name = f"keelson-{self.name}-{service.partition('.')[0]}"
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=self.listed())["Role"]["Arn"]
        for policy in policies:
            self.iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
        return arn

    def cluster(self, subnets: list[str]) -> None:
        """With parts: a node group that is still created, an add-on, a Fargate profile, an association."""
        eks, name = self.eks, self.name
        role = self.role("eks.amazonaws.com", "AmazonEKSClusterPolicy")
        eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, tags=self.tags, accessConfig={"authenticationMode": "API"})
        eks.get_waiter("cluster_active").wait(name=name, WaiterConfig={"Delay": 1})
        nodes = self.role("ec2.amazonaws.com", "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly", "AmazonEKS_CNI_Policy")
        eks.create_addon(clusterName=name, addonName="vpc-cni", tags=self.tags)
        eks.create_nodegroup(
            clusterName=name, nodegroupName="n", nodeRole=nodes, subnets=subnets[1:], scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1}, tags=self.tags
        )
        fargate = self.role("eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
        eks.create_fargate_profile(
            clusterName=name, fargateProfileName="f", podExecutionRoleArn=fargate, subnets=subnets[1:], selectors=[{"namespace": "batch"}], tags=self.tags
        )
        # What holds a role besides attached policies.
        held = nodes.rpartition("/")[2]
        inline = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}'
        self.iam.put_role_policy(RoleName=held, PolicyName="inline", PolicyDocument=inline)
        self.iam.create_instance_profile(InstanceProfileName=f"eks-{name}")
        self.iam.add_role_to_instance_profile(InstanceProfileName=f"eks-{name}", RoleName=held)
        pods = self.role("pods.eks.amazonaws.com")
        eks.create_pod_identity_association(clusterName=name, namespace="default", serviceAccount="a", roleArn=pods, tags=self.tags)
        issuer = eks.describe_cluster(name=name)["cluster"]["identity"]["oidc"]["issuer"]
        self.iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"], Tags=self.listed())
        self.logs.create_log_group(logGroupName=f"/aws/eks/{name}/cluster", **({"tags": self.tags} if self.tags else {}))
