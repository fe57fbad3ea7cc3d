"""An AWS account as boto3 sees it: reads what the operator created, independently of the operator."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import itertools
import json
import re
import uuid
from collections import Counter

from keelson_harness.aws import REGION, Aws

from .aws_calls import count_calls_of

OWNER, CLUSTER, RESOURCE = "keelson.dev/owner", "keelson.dev/cluster", "keelson.dev/resource"
EC2_ID = re.compile("[a-z]+-[0-9a-f]{17}")
_numbers = itertools.count(300000000001)


def fresh_account() -> str:
    """The id of an unused account; its access key is the id itself (see the emulator)."""
    return str(next(_numbers))


class Account:
    """One account in one region.

    owner: the UID of an object; then `tagged`, `roles` and `resources` list only what it owns. In a real account there is more.
    """

    def __init__(self, aws: Aws, account_id: str, region: str = REGION, owner: str = ""):
        self.aws = aws
        self.id = account_id
        self.region = region
        self.owner = owner

    @functools.cache
    def client(self, service: str):
        made = self.aws.client(service, self.region, self.id)
        count_calls_of(made)
        return made

    @property
    def ec2(self):
        return self.client("ec2")

    @property
    def iam(self):
        return self.client("iam")

    @property
    def eks(self):
        return self.client("eks")

    # What exists

    def inventory(self) -> dict[str, list[str]]:
        """Ids by kind of all resources that must be deleted to leave the account empty."""
        regions = self.aws.control("GET", "inventory", params={"account": self.id})["accounts"]
        found: dict[str, list[str]] = {}
        for kinds in regions.get(self.id, {}).values():
            for kind, ids in kinds.items():
                found.setdefault(kind, []).extend(ids)
        return found

    def counts(self) -> dict[str, int]:
        return {kind: len(ids) for kind, ids in sorted(self.inventory().items())}

    def tagged(self) -> dict[str, dict[str, str]]:
        """Tags by id of all EC2 resources with an owner tag.

        Excludes deleted and failed NAT gateways, and resources that EKS creates with its cluster's tags.
        """
        filters = [{"Name": "resource-id", "Values": ids}] if self.owner and (ids := self._owned_ids()) else []
        pages = self.ec2.get_paginator("describe_tags").paginate(Filters=filters)
        tags: dict[str, dict[str, str]] = {}
        for page in pages:
            for tag in page["Tags"]:
                tags.setdefault(tag["ResourceId"], {})[tag["Key"]] = tag["Value"]
        gone = [{"Name": "state", "Values": ["deleted", "failed"]}]
        dead = {g["NatGatewayId"] for g in self.ec2.describe_nat_gateways(Filters=gone)["NatGateways"]}
        return {
            i: t
            for i, t in tags.items()
            if OWNER in t and t[OWNER] == (self.owner or t[OWNER]) and "aws:eks:cluster-name" not in t and i not in dead
        }

    def _owned_ids(self) -> list[str]:
        owned = [{"Name": "key", "Values": [OWNER]}, {"Name": "value", "Values": [self.owner]}]
        pages = self.ec2.get_paginator("describe_tags").paginate(Filters=owned)
        return [tag["ResourceId"] for page in pages for tag in page["Tags"]]

    def resources(self) -> dict[str, str]:
        """Ids by resource key of all that the operator created in EC2, IAM and EKS. Fails when two share a key."""
        found = [(tags[RESOURCE], i) for i, tags in self.tagged().items()]
        found += [(tags[RESOURCE], name) for name, tags in self.roles().items() if OWNER in tags]
        found += [(tags[RESOURCE], name) for name, tags in self.log_groups().items() if OWNER in tags]
        for name in self.eks.list_clusters()["clusters"]:
            if not self.owner or self.eks.describe_cluster(name=name)["cluster"]["tags"].get(OWNER) == self.owner:
                found += self._of_cluster(name)
        double = [key for key, times in Counter(key for key, _ in found).items() if times > 1]
        assert not double, f"created twice: {sorted(pair for pair in found if pair[0] in double)}"
        return dict(found)

    def _of_cluster(self, name: str) -> list[tuple[str, str]]:
        found = [("cluster", name)]
        groups = self.eks.list_nodegroups(clusterName=name)["nodegroups"]
        found += [(f"nodeGroup/{group}", group) for group in groups]
        addons = self.eks.list_addons(clusterName=name)["addons"]
        return found + [(f"addon/{addon}", addon) for addon in addons]

    def security_group(self, vpc_id: str) -> str:
        """A new security group of others."""
        name = f"others-{uuid.uuid4().hex[:8]}"
        return self.ec2.create_security_group(GroupName=name, Description="made by others", VpcId=vpc_id)["GroupId"]

    def log_groups(self) -> dict[str, dict[str, str]]:
        """Tags by name of all log groups."""
        logs = self.client("logs")
        arns = {group["logGroupName"]: group["arn"].removesuffix(":*") for group in logs.describe_log_groups()["logGroups"]}
        return {name: logs.list_tags_for_resource(resourceArn=arn)["tags"] for name, arn in arns.items()}

    def roles(self) -> dict[str, dict[str, str]]:
        """Tags by name of all roles except service-linked roles."""
        pages = self.iam.get_paginator("list_roles").paginate()
        names = [
            role["RoleName"]
            for page in pages
            for role in page["Roles"]
            if not role["Path"].startswith("/aws-service-role/") and (not self.owner or role["RoleName"].startswith("keelson-"))
        ]
        found = {}
        for name in names:
            # One may be deleted after the list was read.
            with contextlib.suppress(self.iam.exceptions.NoSuchEntityException):
                found[name] = {t["Key"]: t["Value"] for t in self.iam.list_role_tags(RoleName=name)["Tags"]}
        return {name: tags for name, tags in found.items() if not self.owner or tags.get(OWNER) == self.owner}

    # Resources that the tests create in it, as another team would

    def role(self, name: str, principal: dict, *policies: str, external_id: str = "") -> str:
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        if external_id:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        for policy in policies:
            self.iam.attach_role_policy(
                RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}"
            )
        return arn

    def cluster_role(self, name: str) -> str:
        return self.role(name, {"Service": "eks.amazonaws.com"}, "AmazonEKSClusterPolicy")

    def network(self, zones: str = "abc", cidr: str = "10.9.0.0/16", bits: int = 24) -> list[str]:
        """Creates a VPC with a subnet in each zone, as another team's Terraform would. Returns the subnet ids.

        Nodes can join there: it has DNS and a default route to a transit gateway.
        """
        vpc = self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        self.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        transit = self.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
        main = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]
        self.ec2.create_route(
            RouteTableId=main["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", TransitGatewayId=transit
        )
        blocks = ipaddress.ip_network(cidr).subnets(new_prefix=bits)
        return [
            self.ec2.create_subnet(
                VpcId=vpc, CidrBlock=str(block), AvailabilityZone=f"{self.region}{zone}"
            )["Subnet"]["SubnetId"]
            for zone, block in zip(zones, blocks, strict=False)
        ]
