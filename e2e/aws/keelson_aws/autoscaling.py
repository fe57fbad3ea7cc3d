"""Auto Scaling: what moto lacks for the tags of groups. AWS's checks of a tag, at most 50 on a group, pages, and reads of earlier tags.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateOrUpdateTags.html and
https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html#tag_restrictions
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from .call import Call
from .errors import AwsError
from .timeline import Timeline

MAX_TAGS = 50
# What eksctl sends at most, as it found more to be refused; AWS's pages name no number.
MAX_TAGS_PER_CALL = 25
MAX_PAGE, DEFAULT_PAGE = 100, 50
# Earlier tags that are kept for stale reads.
MAX_EARLIER = 50
MEMBER = re.compile(r"Tags\.member\.(\d+)\.(\w+)")

Tag = dict[str, Any]


def invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def groups_of(account: str, region: str) -> dict[str, Any]:
    found: dict[str, Any] = autoscaling_backends[account][region].autoscaling_groups
    return found


def tags_of(params: dict[str, Any]) -> list[Tag]:
    """The tags of a request, as members."""
    tags: dict[int, Tag] = {}
    for name, value in params.items():
        if found := MEMBER.fullmatch(name):
            tags.setdefault(int(found[1]), {})[found[2]] = value
    return [tags[number] for number in sorted(tags)]


def check(call: Call) -> None:
    """Refuses what Auto Scaling refuses and moto does not, before anything is changed."""
    if call.action in ("CreateOrUpdateTags", "DeleteTags"):
        check_tags(call)
    elif call.action in ("DescribeAutoScalingGroups", "DescribeTags"):
        size = int(call.params.get("MaxRecords", DEFAULT_PAGE))
        if not 1 <= size <= MAX_PAGE:
            raise invalid(f"1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint: Member must be between 1 and {MAX_PAGE}")


def check_tags(call: Call) -> None:
    tags, groups = tags_of(call.params), groups_of(call.account, call.region)
    if not tags:
        raise invalid("1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null")
    if len(tags) > MAX_TAGS_PER_CALL:
        raise invalid(f"You can't create, update or delete more than {MAX_TAGS_PER_CALL} tags in a call")
    keys: dict[str, set[str]] = {}
    for tag in tags:
        key, name = tag.get("Key", ""), tag.get("ResourceId", "")
        if not 1 <= len(key) <= 128:
            raise invalid(f"1 validation error detected: Value '{key}' at 'tags.member.key' failed to satisfy constraint: Member must have length less than or equal to 128")
        if len(tag.get("Value", "")) > 256:
            raise invalid("1 validation error detected: a value at 'tags.member.value' failed to satisfy constraint: Member must have length less than or equal to 256")
        if key.lower().startswith("aws:"):
            raise invalid(f"The tag key {key} begins with a prefix that is reserved for AWS")
        if tag.get("ResourceType") != "auto-scaling-group":
            raise invalid(f"The resource type {tag.get('ResourceType')} is not valid: the only supported value is auto-scaling-group")
        if name not in groups:
            raise invalid(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        if key in keys.setdefault(name, set()):
            raise invalid(f"Duplicate tag key {key}")
        keys[name].add(key)
    for name, named in keys.items():
        present = {tag["Key"] for tag in groups[name].tags}
        if call.action == "CreateOrUpdateTags" and len(present | named) > MAX_TAGS:
            raise AwsError("LimitExceeded", f"You have exceeded the limit of {MAX_TAGS} tags of the AutoScalingGroup {name}")


def remember(call: Call, timeline: Timeline) -> None:
    """Keeps the tags that a call is about to change, for stale reads."""
    if call.action in ("CreateOrUpdateTags", "DeleteTags"):
        for name in {tag["ResourceId"] for tag in tags_of(call.params)}:
            group = groups_of(call.account, call.region)[name]
            earlier = group.__dict__.setdefault("keelson_earlier_tags", [])
            earlier.append((timeline.now(), list(group.tags)))
            del earlier[:-MAX_EARLIER]


@contextmanager
def as_of(call: Call, then: float) -> Iterator[None]:
    """With the tags that the groups had at that time."""
    groups = groups_of(call.account, call.region).values()
    current = [(group, group.tags) for group in groups]
    for group, tags in current:
        # The first change after that time replaced these.
        group.tags = next((before for at, before in group.__dict__.get("keelson_earlier_tags", []) if at > then), tags)
    try:
        yield
    finally:
        for group, tags in current:
            group.tags = tags


class Response(AutoScalingResponse):
    def create_or_update_tags(self) -> ActionResult:
        tags = [{"Value": "", "PropagateAtLaunch": False, **tag} for tag in self._get_param("Tags", [])]
        self.autoscaling_backend.create_or_update_tags(tags)
        return EmptyResult()

    def describe_tags(self) -> ActionResult:
        """In pages: the token is the index of the next tag."""
        tags = self.autoscaling_backend.describe_tags(filters=self._get_param("Filters", []))
        size = self._get_int_param("MaxRecords", DEFAULT_PAGE)
        token = self._get_param("NextToken")
        if token and not token.isdecimal():
            raise AwsError("InvalidNextToken", f"The token '{token}' is invalid.")
        start = int(token or 0)
        rest = start + size < len(tags)
        return ActionResult({"Tags": tags[start : start + size], "NextToken": str(start + size) if rest else None})

    def describe_auto_scaling_groups(self) -> ActionResult:
        token = self._get_param("NextToken")
        if token and token not in self.autoscaling_backend.autoscaling_groups:
            raise AwsError("InvalidNextToken", f"The token '{token}' is invalid.")
        return super().describe_auto_scaling_groups()
