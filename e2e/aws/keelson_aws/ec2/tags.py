"""Tags of EC2 resources, indexed by resource: moto searches all tags of the region by regular expression."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

# Resource types whose name in moto differs from AWS's.
RENAMED = {
    "nat-gateway": "natgateway", "flow-logs": "vpc-flow-log", "vpc-elastic-ip": "elastic-ip", "dedicated_host": "dedicated-host",
    "managed-prefix-list": "prefix-list", "spot-instance-request": "spot-instances-request", "reserved-instance": "reserved-instances",
}
FILTERS = ("key", "value", "resource-id", "resource-type")


def resource_type(resource_id: str) -> str:
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource_id), "")
    return RENAMED.get(kind, kind)


def is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def matches_any(value: str, patterns: list[str]) -> bool:
    return value in patterns or any(is_glob(p) and fnmatchcase(value, p) for p in patterns)


def find_tags(tags: dict[str, dict[str, str]], filters: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Every tag that matches all filters. Ignores unknown filters, as moto does."""
    wanted = {name: values for name, values in filters.items() if name in FILTERS}
    ids = wanted.get("resource-id")
    ids_are_exact = ids is not None and not any(is_glob(i) for i in ids)
    for resource_id in [i for i in ids if i in tags] if ids_are_exact and ids is not None else list(tags):
        if ids is not None and not ids_are_exact and not matches_any(resource_id, ids):
            continue
        kind = resource_type(resource_id)
        if "resource-type" in wanted and kind not in wanted["resource-type"]:
            continue
        for key, value in tags[resource_id].items():
            if ("key" not in wanted or matches_any(key, wanted["key"])) and ("value" not in wanted or matches_any(value, wanted["value"])):
                yield {"resource_id": resource_id, "key": key, "value": value, "resource_type": kind}
