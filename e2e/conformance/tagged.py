"""What in an account carries a run's tags, each resource with its own tags read from its own service. I/O: reads of AWS.

The Resource Groups Tagging API lags, lists what is deleted, and has no IAM roles. So it only finds kinds that are not in
this file (`other_kinds`); what is deleted is decided by what each service answers.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from . import tags
from .account import AwsAccount

# Kinds in the order in which they can be deleted.
ORDER = (
    "node group", "add-on", "Fargate profile", "pod identity association", "cluster", "NAT gateway", "VPC endpoint", "flow log",
    "log group", "network interface", "subnet", "route table", "internet gateway", "security group", "VPC", "elastic IP", "launch template",
    "role", "OIDC provider",
)
# EC2's words for them in DescribeTags.
EC2_KINDS = {
    "natgateway": "NAT gateway", "vpc-endpoint": "VPC endpoint", "vpc-flow-log": "flow log", "network-interface": "network interface",
    "subnet": "subnet", "route-table": "route table", "internet-gateway": "internet gateway", "security-group": "security group",
    "vpc": "VPC", "elastic-ip": "elastic IP", "launch-template": "launch template",
}
GONE = ("NotFound", "NotFoundException", "NoSuchEntity")


@dataclass(frozen=True)
class Resource:
    kind: str
    id: str
    tags: dict[str, str] = field(compare=False)
    # The cluster of a part of one.
    cluster: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.cluster}/{self.id}" if self.cluster else f"{self.kind} {self.id}"


TagFilter = Callable[[dict[str, str]], bool]


def of_run(run: str) -> TagFilter:
    return lambda found: found.get(tags.RUN) == run and tags.expiry(found) is not None


def expired(at: datetime.datetime) -> TagFilter:
    return lambda found: tags.is_expired(found, at)


def any_run(found: dict[str, str]) -> bool:
    return tags.RUN in found


def is_gone(error: ClientError) -> bool:
    code = error.response["Error"]["Code"]
    return code.endswith(GONE)


def find(account: AwsAccount, wanted: TagFilter, kind: str = "") -> list[Resource]:
    """In the order of their deletion; only those of a kind, if one is named."""
    found = [resource for kinds, list_them in SOURCES for resource in (list_them(account) if kind in ("", *kinds) else ())]
    return sorted((r for r in found if wanted(r.tags) and kind in ("", r.kind)), key=lambda r: (ORDER.index(r.kind), r.id))


def _pages(client: Any, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
    for page in client.get_paginator(operation).paginate(**parameters):
        yield from page[key]


def _described(call: Callable[..., dict[str, Any]], **parameters: Any) -> dict[str, Any]:
    """An answer; empty if the resource went away since it was listed."""
    try:
        return call(**parameters)
    except ClientError as error:
        if is_gone(error):
            return {}
        raise


def _parts(eks: Any, operation: str, key: str, cluster: str) -> Iterator[Any]:
    """What a list of a cluster has; nothing if the cluster went away since it was listed."""
    try:
        yield from _pages(eks, operation, key, clusterName=cluster)
    except ClientError as error:
        if not is_gone(error):
            raise


def _in_eks(account: AwsAccount) -> Iterator[Resource]:
    eks = account.client("eks")
    for name in _pages(eks, "list_clusters", "clusters"):
        cluster = _described(eks.describe_cluster, name=name).get("cluster")
        # Parts are read of a run's clusters only: others are none of its business.
        if not cluster or not any_run(cluster.get("tags", {})):
            continue
        yield Resource("cluster", name, cluster["tags"])
        for group in _parts(eks, "list_nodegroups", "nodegroups", name):
            found = _described(eks.describe_nodegroup, clusterName=name, nodegroupName=group).get("nodegroup", {})
            yield Resource("node group", group, found.get("tags", {}), name)
        for addon in _parts(eks, "list_addons", "addons", name):
            found = _described(eks.describe_addon, clusterName=name, addonName=addon).get("addon", {})
            yield Resource("add-on", addon, found.get("tags", {}), name)
        for profile in _parts(eks, "list_fargate_profiles", "fargateProfileNames", name):
            found = _described(eks.describe_fargate_profile, clusterName=name, fargateProfileName=profile).get("fargateProfile", {})
            yield Resource("Fargate profile", profile, found.get("tags", {}), name)
        for one in _parts(eks, "list_pod_identity_associations", "associations", name):
            called = {"clusterName": name, "associationId": one["associationId"]}
            found = _described(eks.describe_pod_identity_association, **called).get("association", {})
            yield Resource("pod identity association", one["associationId"], found.get("tags", {}), name)


def _in_ec2(account: AwsAccount) -> Iterator[Resource]:
    ec2 = account.client("ec2")
    by_id: dict[str, tuple[str, dict[str, str]]] = {}
    runs = sorted({tag["Value"] for tag in _pages(ec2, "describe_tags", "Tags", Filters=[{"Name": "key", "Values": [tags.RUN]}])})
    for tag in _pages(ec2, "describe_tags", "Tags", Filters=[{"Name": "key", "Values": [tags.RUN, tags.EXPIRES]}]) if runs else ():
        by_id.setdefault(tag["ResourceId"], (tag["ResourceType"], {}))[1][tag["Key"]] = tag["Value"]
    ended = _ended(ec2, [i for i, (kind, _) in by_id.items() if kind in ("natgateway", "vpc-endpoint")])
    for resource_id, (kind, found) in by_id.items():
        # Instances, volumes and their templates go with the node group; `other_kinds` reports what stays.
        if kind in EC2_KINDS and resource_id not in ended:
            yield Resource(EC2_KINDS[kind], resource_id, found)


def _ended(ec2: Any, ids: list[str]) -> set[str]:
    """Of NAT gateways and endpoints, those that EC2 still lists for a while after their deletion."""
    gateways = [i for i in ids if i.startswith("nat-")]
    found = {i for i in ids if not i.startswith("nat-")}
    if gateways:
        listed = _pages(ec2, "describe_nat_gateways", "NatGateways", Filters=[{"Name": "nat-gateway-id", "Values": gateways}])
        alive = {g["NatGatewayId"] for g in listed if g["State"] not in ("deleted", "failed")}
        ended = set(gateways) - alive
    else:
        ended = set()
    if found:
        listed = _pages(ec2, "describe_vpc_endpoints", "VpcEndpoints", Filters=[{"Name": "vpc-endpoint-id", "Values": sorted(found)}])
        ended |= found - {e["VpcEndpointId"] for e in listed if e["State"].lower() != "deleted"}
    return ended


def _log_groups(account: AwsAccount) -> Iterator[Resource]:
    """EKS's log groups and those that a run named itself. EKS tags none of its own: they are found where somebody tagged them."""
    logs = account.client("logs")
    for prefix in ("/aws/eks/conformance-", "/keelson/conformance-"):
        for group in _pages(logs, "describe_log_groups", "logGroups", logGroupNamePrefix=prefix):
            arn = group["arn"].removesuffix(":*")
            found = _described(logs.list_tags_for_resource, resourceArn=arn).get("tags", {})
            yield Resource("log group", group["logGroupName"], found)


def _in_iam(account: AwsAccount) -> Iterator[Resource]:
    iam = account.client("iam")
    for role in _pages(iam, "list_roles", "Roles"):
        # What Keelson names its roles: reading the tags of each role of an account takes a call each.
        if role["RoleName"].startswith(("keelson-", "conformance-")):
            found = _described(iam.list_role_tags, RoleName=role["RoleName"]).get("Tags")
            yield Resource("role", role["RoleName"], tags.from_list(found))
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        if ":oidc-provider/oidc.eks" in provider["Arn"] or account.is_emulated:
            found = _described(iam.get_open_id_connect_provider, OpenIDConnectProviderArn=provider["Arn"]).get("Tags")
            yield Resource("OIDC provider", provider["Arn"], tags.from_list(found))


SOURCES: tuple[tuple[tuple[str, ...], Callable[[AwsAccount], Iterator[Resource]]], ...] = (
    (ORDER[: ORDER.index("cluster") + 1], _in_eks),
    (tuple(EC2_KINDS.values()), _in_ec2),
    (("log group",), _log_groups),
    (("role", "OIDC provider"), _in_iam),
)


def other_kinds(account: AwsAccount, wanted: TagFilter) -> list[str]:
    """ARNs of tagged resources of kinds that are not in this file. Raises ClientError where the Tagging API may not be called."""
    client = account.client("resourcegroupstaggingapi")
    found = _pages(client, "get_resources", "ResourceTagMappingList", TagFilters=[{"Key": tags.RUN}])
    arns = (entry["ResourceARN"] for entry in found if wanted(tags.from_list(entry["Tags"])))
    return sorted(arn for arn in arns if _kind_in(arn) not in OUR_ARNS)


def _kind_in(arn: str) -> str:
    _, _, service, _, _, resource = arn.split(":", 5)
    return f"{service}:{resource.partition('/')[0].partition(':')[0]}"


# `service:kind` of the ARNs of the kinds above.
OUR_ARNS = {
    "eks:cluster", "eks:nodegroup", "eks:addon", "eks:fargateprofile", "eks:podidentityassociation", "eks:access-entry", "ec2:natgateway",
    "ec2:vpc-endpoint", "ec2:vpc-flow-log", "ec2:network-interface", "ec2:subnet", "ec2:route-table", "ec2:internet-gateway",
    "ec2:security-group", "ec2:security-group-rule", "ec2:vpc", "ec2:elastic-ip", "ec2:launch-template", "logs:log-group", "iam:oidc-provider", "iam:role",
}
