"""Tags of EKS resources: by ARN, at most 50 per resource, none with the prefix aws:."""

from __future__ import annotations

from typing import Any

from ..errors import AwsError
from .operations import Context, operation
from .state import Region, bad_parameter

MAX_TAGS = 50


def check_tags(tags: dict[str, str] | None) -> dict[str, str]:
    """Validates the tags of a create call."""
    tags = tags or {}
    if len(tags) > MAX_TAGS:
        raise bad_parameter(f"The number of tags exceeds the limit of {MAX_TAGS}")
    for key in tags:
        if key.lower().startswith("aws:"):
            raise bad_parameter("Tag keys cannot begin with the reserved prefix aws:")
    return dict(tags)


def tags_of(region: Region, arn: str) -> dict[str, str]:
    kind, _, rest = arn.partition(":eks:")[2].partition(":")[2].partition(":")[2].partition("/")
    name = rest.partition("/")[0]
    cluster = region.clusters.get(name)
    if cluster is not None:
        if kind == "cluster" and cluster.body["arn"] == arn:
            tags: dict[str, str] = cluster.body.setdefault("tags", {})
            return tags
        kinds: dict[str, tuple[Any, str]] = {
            "nodegroup": (cluster.nodegroups, "nodegroupArn"),
            "addon": (cluster.addons, "addonArn"),
            "fargateprofile": (cluster.fargate_profiles, "fargateProfileArn"),
            "access-entry": (cluster.access_entries, "accessEntryArn"),
            "podidentityassociation": (cluster.pod_identities, "associationArn"),
            "capability": (cluster.capabilities, "arn"),
            "identityproviderconfig": (cluster.identity_providers, "identityProviderConfigArn"),
        }
        parts, key = kinds.get(kind, ({}, ""))
        for part in parts.values():
            if part.body[key] == arn:
                found: dict[str, str] = part.body.setdefault("tags", {})
                return found
    raise AwsError("NotFoundException", f"Resource not found: {arn}", 404)


@operation
def tag_resource(context: Context) -> dict[str, Any]:
    new = context.params["tags"]
    for key in new:
        if key.lower().startswith("aws:"):
            raise AwsError("BadRequestException", "Tag keys cannot begin with the reserved prefix aws:")
    tags = tags_of(context.region, context.params["resourceArn"])
    if len({**tags, **new}) > MAX_TAGS:
        raise AwsError("BadRequestException", f"The number of tags exceeds the limit of {MAX_TAGS}")
    tags.update(new)
    return {}


@operation
def untag_resource(context: Context) -> dict[str, Any]:
    tags = tags_of(context.region, context.params["resourceArn"])
    for key in context.params["tagKeys"]:
        tags.pop(key, None)
    return {}


@operation
def list_tags_for_resource(context: Context) -> dict[str, Any]:
    return {"tags": tags_of(context.region, context.params["resourceArn"])}
