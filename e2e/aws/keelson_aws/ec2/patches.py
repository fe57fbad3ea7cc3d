"""Monkey patches of moto, where subclassing is not possible because moto instantiates its own classes."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import cache
from typing import Any

import moto.core.responses
import moto.ec2.utils
from moto.autoscaling.models import FakeAutoScalingGroup
from moto.ec2.exceptions import EC2ClientError, InvalidAllocationIdError, InvalidSecurityGroupNotFoundError, InvalidVPCIdError
from moto.ec2.models import ec2_backends
from moto.ec2.models import elastic_ip_addresses
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.route_tables import Route
from moto.ec2.models.subnets import Subnet
from moto.ec2.utils import format_timestamp, random_public_ip

from .. import quotas
from ..errors import AwsError
from . import template_model
from .region import Ec2Region
from .tags import matches_any, resource_type


def get_tags(self: Any) -> list[dict[str, str]]:
    """Replaces moto's method, which searches all tags of the region by regular expression for each resource."""
    if not self.id:
        return []
    kind = resource_type(self.id)
    return [
        {"resource_id": self.id, "key": key, "value": value, "resource_type": kind}
        for key, value in self.ec2_backend.tags.get(self.id, {}).items()
    ]


def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
    if filter_name.startswith("tag:"):
        return self.ec2_backend.tags.get(self.id, {}).get(filter_name[4:])
    if filter_name == "tag-key":
        return list(self.ec2_backend.tags.get(self.id, {}))
    if filter_name == "tag-value":
        return list(self.ec2_backend.tags.get(self.id, {}).values())
    if filter_name == f"{resource_type(self.id)}-id":
        return self.id
    first, *rest = filter_name.lower().replace("-", "_").split(".")
    if filter_name == "group-name" and hasattr(self, "group_set"):
        return [group.name for group in self.group_set]
    if first == "ipv6_cidr_block_association" and hasattr(self, "ipv6_cidr_block_association_set"):
        blocks = self.ipv6_cidr_block_association_set
        if rest == ["state"]:
            return [block["Ipv6CidrBlockState"]["State"] for block in blocks]
        member = {"association_id": "AssociationId", "ipv6_cidr_block": "Ipv6CidrBlock"}.get(".".join(rest), "")
        return [block.get(member) for block in blocks]
    if filter_name == "status-code" and hasattr(self, "requester_vpc_info"):
        return self.status["Code"]
    if not hasattr(self, first):
        raise AwsError("InvalidParameterValue", f"The filter '{filter_name}' is invalid")
    value = getattr(self, first)
    for name in rest:
        if isinstance(value, dict):
            camel = name.split("_")[0] + "".join(part.capitalize() for part in name.split("_")[1:])
            value = value.get(name, value.get(camel, value.get(camel[:1].upper() + camel[1:])))
        else:
            value = getattr(value, name, None)
    return value


def available_ip_address_count(self: Subnet) -> int:
    used: int = self.ec2_backend.enis.used.get(self.id, 0)
    return self._available_ip_addresses - used


def ipv6_blocks(self: Subnet) -> list[dict[str, Any]]:
    """moto nests the state of a subnet's block twice, so that clients receive the text of a Python dict."""
    return [
        {"AssociationId": block["associationId"], "Ipv6CidrBlock": block["ipv6CidrBlock"], "Ipv6CidrBlockState": {"State": "associated"}}
        for block in self.ipv6_cidr_block_associations.values()
        if block["ipv6CidrBlockState"]["State"] == "associated"
    ]


def launch_across_subnets(self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
    """Distributes the instances of an Auto Scaling group over its subnets, as many as the quota of vCPUs allows; moto launches all in the
    first one."""
    # Set by EKS for its Spot groups only (`eks/fleet.py`).
    spot = bool(self.capacity_rebalance)
    backend = self.autoscaling_backend.ec2_backend
    instances = [instance for reservation in backend.reservations.values() for instance in reservation.instances if instance.state == "running"]
    running = [(instance.instance_type, instance.lifecycle == "spot") for instance in instances]
    count_needed = quotas.launchable(self.account_id, self.region, self.instance_type, spot, count_needed, running)
    launch_in_subnets(self, count_needed, propagated_tags)
    if spot:
        for state in self.instance_states:
            state.instance.lifecycle = "spot"


def launch_in_subnets(self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
    subnets = self.vpc_zone_identifier.split(",") if self.vpc_zone_identifier else []
    if len(subnets) < 2:
        if count_needed:
            launch_in_first_subnet(self, count_needed, propagated_tags)
        return
    taken = Counter(state.instance.subnet_id for state in self.instance_states)
    for _ in range(count_needed):
        subnet = min(subnets, key=lambda s: taken[s])
        taken[subnet] += 1
        self.vpc_zone_identifier = ",".join([subnet, *(s for s in subnets if s != subnet)])
        try:
            launch_in_first_subnet(self, 1, propagated_tags)
        finally:
            self.vpc_zone_identifier = ",".join(subnets)


launch_in_first_subnet = FakeAutoScalingGroup.replace_autoscaling_group_instances


def is_filter_matching(resource: Any, name: str, wanted: Any) -> bool:
    """A filter matches if any of its values matches any value of the resource; moto requires all of them."""
    if wanted is None:
        return False
    patterns = wanted if isinstance(wanted, list) else [wanted]
    value = resource.get_filter_value(name)
    if value is None:
        return False
    if isinstance(value, datetime):
        value = format_timestamp(value)
    if isinstance(value, (bool, int)):
        return str(value).lower() in patterns
    if isinstance(value, str):
        return matches_any(value, patterns)
    return any(matches_any(str(v), patterns) for v in value)


def route_state(self: Route) -> str:
    """A route whose target was deleted stays in its table as a blackhole."""
    backend = self.route_table.ec2_backend
    if self.nat_gateway is not None and self.nat_gateway.state in ("deleted", "failed"):
        return "blackhole"
    if self.gateway is not None and self.gateway.id.startswith("igw-"):
        gateway = backend.internet_gateways.get(self.gateway.id)
        if gateway is None or gateway.vpc is None:
            return "blackhole"
    return "active"


# AWS's not-found errors; moto's differ, or format several ids as a Python set.
NOT_FOUND: dict[type[EC2ClientError], tuple[str, str]] = {
    InvalidVPCIdError: ("InvalidVpcID.NotFound", "The vpc ID '{}' does not exist"),
    InvalidAllocationIdError: ("InvalidAllocationID.NotFound", "The allocation ID '{}' does not exist"),
    InvalidSecurityGroupNotFoundError: ("InvalidGroup.NotFound", "The security group '{}' does not exist"),
}


def not_found(self: EC2ClientError, names: Any) -> None:
    code, text = NOT_FOUND[type(self)]
    ids = ", ".join(sorted(map(str, names))) if isinstance(names, (set, list)) else names
    EC2ClientError.__init__(self, code, text.format(ids))


def apply() -> None:
    ec2_backends.backend = Ec2Region
    template_model.apply()
    FakeAutoScalingGroup.replace_autoscaling_group_instances = launch_across_subnets  # type: ignore[method-assign]
    TaggedEC2Resource.get_tags = get_tags  # type: ignore[method-assign]
    TaggedEC2Resource.get_filter_value = get_filter_value  # type: ignore[method-assign]
    # moto inspects the whole response class on each call.
    moto.core.responses.method_names_from_class = cache(moto.core.responses.method_names_from_class)
    moto.ec2.utils.is_filter_matching = is_filter_matching  # type: ignore[assignment]
    # Not moto's 127.x addresses, which clients may take for loopback.
    elastic_ip_addresses.random_ip = random_public_ip  # type: ignore[attr-defined]
    Route.state = property(route_state)  # type: ignore[method-assign, assignment]
    for error in NOT_FOUND:
        error.__init__ = not_found  # type: ignore[method-assign, assignment]
    Subnet.available_ip_address_count = property(available_ip_address_count)  # type: ignore[method-assign, assignment]
    Subnet.ipv6_cidr_block_association_set = property(ipv6_blocks)  # type: ignore[method-assign, assignment]
