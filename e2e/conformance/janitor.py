"""Deletes what runs left behind: what carries a run's tags and is expired, and nothing else. I/O: AWS.

One pass starts each deletion that is possible in the order of dependencies and waits for those that take AWS time. A resource that cannot be deleted is
named with AWS's reason; the others are deleted all the same. Before each deletion the resource's tags are those of its own service, read in this pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from botocore.exceptions import ClientError

from .account import AwsAccount
from .tagged import ORDER, Resource, TagFilter, find, is_gone

# Kinds whose deletion takes AWS time: the next kind has to wait for it.
SLOW = {"node group", "add-on", "Fargate profile", "cluster", "NAT gateway", "VPC endpoint", "network interface"}
# EC2 shows for a while what depended on a resource after it is deleted.
RETRIED = {"DependencyViolation", "ResourceInUseException", "DeleteConflict", "InvalidIPAddress.InUse", "AuthFailure", "InvalidNetworkInterface.InUse"}
LONGEST_POLL = 15.0


@dataclass
class Result:
    deleted: list[Resource] = field(default_factory=list)
    # With AWS's reason.
    failed: dict[Resource, str] = field(default_factory=dict)


@dataclass
class Janitor:
    """patience: seconds to wait for one kind that AWS deletes slowly. retry: seconds to repeat a deletion that something else still prevents."""

    account: AwsAccount
    wanted: TagFilter
    log: Callable[[str], None] = print
    patience: float = 1800
    retry: float = 180

    def find(self, kind: str = "") -> list[Resource]:
        return find(self.account, self.wanted, kind)

    def run(self) -> Result:
        result = Result()
        found = self.find()
        for kind, group in groupby(found, key=lambda resource: resource.kind):
            self._delete_kind(kind, list(group), result)
        return result

    def _delete_kind(self, kind: str, resources: list[Resource], result: Result) -> None:
        patience = self.patience if kind in SLOW else self.retry
        deadline = time.monotonic() + patience
        # One Fargate profile of a cluster is deleted at a time.
        batches: Iterable[list[Resource]] = ([r] for r in resources) if kind == "Fargate profile" else [resources]
        for batch in batches:
            self._delete_batch(kind, batch, deadline, result)

    def _delete_batch(self, kind: str, batch: list[Resource], deadline: float, result: Result) -> None:
        waiting, reasons, pause = list(batch), {}, 0.2
        started: list[Resource] = []
        while True:
            for resource in list(waiting):
                try:
                    DELETE[kind](self.account, resource)
                except ClientError as error:
                    if not is_gone(error):
                        reasons[resource] = f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
                        if error.response["Error"]["Code"] not in RETRIED:
                            waiting.remove(resource)
                            result.failed[resource] = reasons[resource]
                            self.log(f"cannot delete {resource}: {reasons[resource]}")
                        continue
                waiting.remove(resource)
                started.append(resource)
                self.log(f"deleting {resource}")
            remaining = self._remaining(kind, started) if kind in SLOW and started else []
            if not waiting and not remaining:
                break
            if time.monotonic() > deadline:
                for resource in [*waiting, *remaining]:
                    result.failed[resource] = reasons.get(resource, "AWS has not deleted it in time")
                    self.log(f"cannot delete {resource}: {result.failed[resource]}")
                break
            time.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)
        result.deleted += [resource for resource in started if resource not in result.failed]

    def _remaining(self, kind: str, started: list[Resource]) -> list[Resource]:
        there = {(r.kind, r.cluster, r.id) for r in self.find(kind)}
        return [r for r in started if (r.kind, r.cluster, r.id) in there]


# Deletions of each kind


def _eks(operation: str, parameter: str) -> Callable[[AwsAccount, Resource], None]:
    def delete(account: AwsAccount, resource: Resource) -> None:
        owner = {"clusterName": resource.cluster} if resource.cluster else {}
        getattr(account.client("eks"), operation)(**owner, **{parameter: resource.id})

    return delete


def _ec2(operation: str, parameter: str, several: bool = False) -> Callable[[AwsAccount, Resource], None]:
    def delete(account: AwsAccount, resource: Resource) -> None:
        answer = getattr(account.client("ec2"), operation)(**{parameter: [resource.id] if several else resource.id})
        # DeleteFlowLogs and DeleteVpcEndpoints succeed with a list of what failed.
        for failed in answer.get("Unsuccessful") or []:
            raise ClientError({"Error": {"Code": failed["Error"]["Code"], "Message": failed["Error"]["Message"]}}, operation)

    return delete


def _delete_cluster(account: AwsAccount, resource: Resource) -> None:
    eks = account.client("eks")
    if eks.describe_cluster(name=resource.id)["cluster"]["status"] == "DELETING":
        return
    eks.delete_cluster(name=resource.id)


def _delete_interface(account: AwsAccount, resource: Resource) -> None:
    ec2 = account.client("ec2")
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[resource.id])["NetworkInterfaces"]
    if attachment := found.get("Attachment", {}).get("AttachmentId"):
        ec2.detach_network_interface(AttachmentId=attachment, Force=True)
    ec2.delete_network_interface(NetworkInterfaceId=resource.id)


def _delete_route_table(account: AwsAccount, resource: Resource) -> None:
    ec2 = account.client("ec2")
    (found,) = ec2.describe_route_tables(RouteTableIds=[resource.id])["RouteTables"]
    for association in found["Associations"]:
        if not association.get("Main"):
            ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    ec2.delete_route_table(RouteTableId=resource.id)


def _delete_internet_gateway(account: AwsAccount, resource: Resource) -> None:
    ec2 = account.client("ec2")
    (found,) = ec2.describe_internet_gateways(InternetGatewayIds=[resource.id])["InternetGateways"]
    for attachment in found["Attachments"]:
        ec2.detach_internet_gateway(InternetGatewayId=resource.id, VpcId=attachment["VpcId"])
    ec2.delete_internet_gateway(InternetGatewayId=resource.id)


def _delete_security_group(account: AwsAccount, resource: Resource) -> None:
    """With its own rules first: two groups may refer to each other."""
    ec2 = account.client("ec2")
    (group,) = ec2.describe_security_groups(GroupIds=[resource.id])["SecurityGroups"]
    if group["IpPermissions"]:
        ec2.revoke_security_group_ingress(GroupId=resource.id, IpPermissions=group["IpPermissions"])
    if group["IpPermissionsEgress"]:
        ec2.revoke_security_group_egress(GroupId=resource.id, IpPermissions=group["IpPermissionsEgress"])
    ec2.delete_security_group(GroupId=resource.id)


def _delete_role(account: AwsAccount, resource: Resource) -> None:
    iam: Any = account.client("iam")
    name = resource.id
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for profile in iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=profile["InstanceProfileName"], RoleName=name)
    iam.delete_role(RoleName=name)


def _delete_log_group(account: AwsAccount, resource: Resource) -> None:
    account.client("logs").delete_log_group(logGroupName=resource.id)


def _delete_oidc_provider(account: AwsAccount, resource: Resource) -> None:
    account.client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=resource.id)


DELETE: dict[str, Callable[[AwsAccount, Resource], None]] = {
    "node group": _eks("delete_nodegroup", "nodegroupName"),
    "add-on": _eks("delete_addon", "addonName"),
    "Fargate profile": _eks("delete_fargate_profile", "fargateProfileName"),
    "pod identity association": _eks("delete_pod_identity_association", "associationId"),
    "cluster": _delete_cluster,
    "NAT gateway": _ec2("delete_nat_gateway", "NatGatewayId"),
    "VPC endpoint": _ec2("delete_vpc_endpoints", "VpcEndpointIds", several=True),
    "flow log": _ec2("delete_flow_logs", "FlowLogIds", several=True),
    "log group": _delete_log_group,
    "network interface": _delete_interface,
    "subnet": _ec2("delete_subnet", "SubnetId"),
    "route table": _delete_route_table,
    "internet gateway": _delete_internet_gateway,
    "security group": _delete_security_group,
    "VPC": _ec2("delete_vpc", "VpcId"),
    "elastic IP": _ec2("release_address", "AllocationId"),
    "launch template": _ec2("delete_launch_template", "LaunchTemplateId"),
    "role": _delete_role,
    "OIDC provider": _delete_oidc_provider,
}
assert tuple(DELETE) == ORDER, "each kind has its deletion, in the order of deletion"
