"""The Resource Groups Tagging API's GetResources, over what this emulator keeps: moto's knows a few kinds of EC2 and none of EKS.

https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html. As there, IAM roles are not found, and what is global only in
us-east-1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends

from .call import Call
from .ec2.tags import resource_type
from .eks.service import Eks
from .errors import AwsError
from .http import Reply

GLOBAL_REGION = "us-east-1"
MOST_FILTERS = 50
PAGE, LARGEST_PAGE = 50, 100
Tagged = tuple[str, dict[str, str]]


def answer(call: Call, eks: Eks) -> Reply:
    if call.action != "GetResources":
        raise AwsError("InvalidAction", f"The emulator does not implement the Resource Groups Tagging API's {call.action}", 501)
    request = json.loads(call.request.body or b"{}")
    filters = request.get("TagFilters") or []
    kinds = request.get("ResourceTypeFilters") or []
    size = request.get("ResourcesPerPage") or PAGE
    token = request.get("PaginationToken") or "0"
    if len(filters) > MOST_FILTERS or not all(isinstance(f.get("Key"), str) and f["Key"] for f in filters):
        raise AwsError("InvalidParameterException", f"TagFilters must be at most {MOST_FILTERS}, each with a Key")
    if not 1 <= size <= LARGEST_PAGE:
        raise AwsError("InvalidParameterException", f"ResourcesPerPage must be between 1 and {LARGEST_PAGE}")
    if not token.isdigit():
        raise AwsError("PaginationTokenExpiredException", "The pagination token is invalid or expired")
    found = sorted(
        (arn, tags) for arn, tags in everything(call.account, call.region, eks) if tags and matches_kind(arn, kinds) and matches(tags, filters)
    )
    start, end = int(token), int(token) + size
    body = {
        "PaginationToken": str(end) if end < len(found) else "",
        "ResourceTagMappingList": [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())]} for arn, tags in found[start:end]
        ],
    }
    return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.1"})


def matches(tags: dict[str, str], filters: list[dict[str, Any]]) -> bool:
    """Each filter by key, and by one of its values if it has any."""
    return all(f["Key"] in tags and (not f.get("Values") or tags[f["Key"]] in f["Values"]) for f in filters)


def matches_kind(arn: str, kinds: list[str]) -> bool:
    """`ec2` or `ec2:vpc`."""
    service, resource = arn.split(":", 5)[2], arn.split(":", 5)[5]
    kind = resource.replace(":", "/").partition("/")[0]
    return not kinds or service in kinds or f"{service}:{kind}" in kinds


def everything(account: str, region: str, eks: Eks) -> Iterator[Tagged]:
    for resource_id, tags in ec2_backends[account][region].tags.items():
        yield f"arn:aws:ec2:{region}:{account}:{resource_type(resource_id)}/{resource_id}", dict(tags)
    here = eks.regions.get((account, region))
    for cluster in here.clusters.values() if here else ():
        yield cluster.body["arn"], dict(cluster.body.get("tags") or {})
        parts = (
            (cluster.nodegroups, "nodegroupArn"), (cluster.addons, "addonArn"), (cluster.fargate_profiles, "fargateProfileArn"),
            (cluster.access_entries, "accessEntryArn"), (cluster.pod_identities, "associationArn"),
        )
        for found, arn in parts:
            for part in found.values():
                yield part.body[arn], dict(part.body.get("tags") or {})
    logs = logs_backends[account][region]
    for group in logs.groups.values():
        yield group.arn, dict(logs.list_tags_for_resource(group.arn) or {})
    if region == GLOBAL_REGION:
        for provider in iam_backends[account]["aws"].open_id_providers.values():
            yield provider.arn, {tag["Key"]: tag["Value"] for tag in provider.tag_list_type}
