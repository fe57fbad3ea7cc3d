"""Ranges of a VPC: those that may be added, their states, and what keeps one."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from ..errors import AwsError
from .base import Guard
from .region import canonical

LIMIT = 5
RFC_1918 = tuple(ipaddress.IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
SHARED = ipaddress.IPv4Network("100.64.0.0/10")
BENCHMARK = ipaddress.IPv4Network("198.19.0.0/16")
RESERVED = tuple(ipaddress.IPv4Network(cidr) for cidr in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))


def private_range(cidr: ipaddress.IPv4Network) -> ipaddress.IPv4Network | None:
    return next((block for block in RFC_1918 if cidr.overlaps(block)), None)


def is_restricted(existing: list[ipaddress.IPv4Network], added: ipaddress.IPv4Network) -> bool:
    """AWS's table of restrictions: one range of RFC 1918 in a VPC, and only if the VPC was made with it."""
    if not 16 <= added.prefixlen <= 28 or any(added.overlaps(block) for block in (*RESERVED, BENCHMARK)):
        return True
    block = private_range(added)
    if block is None:
        return False
    if any(private_range(one) not in (None, block) for one in existing) or private_range(existing[0]) != block:
        return True
    lower, default = ipaddress.IPv4Network("10.0.0.0/15"), ipaddress.IPv4Network("172.31.0.0/16")
    if any(one.overlaps(lower) for one in existing) and added.overlaps(ipaddress.IPv4Network("10.0.0.0/16")):
        return True
    return added.overlaps(default)


class CidrGuard(Guard, EC2Response):
    def associate_vpc_cidr_block(self) -> ActionResult:
        vpc = self.region_state.get_vpc(self._get_param("VpcId"))
        asked = self._get_param("CidrBlock")
        if asked:
            self.check_added_range(vpc, str(asked))
        result = super().associate_vpc_cidr_block()
        association = list(vpc._cidr_block_association_set.values())[-1]
        state = association["cidr_block_state"]
        state["state"] = "associating"

        def associated() -> None:
            if state["state"] == "associating":
                state["state"] = "associated"

        self.timeline.after(self.settings.nat_seconds, associated)
        return result

    def check_added_range(self, vpc: Any, cidr: str) -> None:
        try:
            added = ipaddress.IPv4Network(canonical(cidr))
        except ValueError:
            raise AwsError("InvalidParameterValue", f"Value ({cidr}) for parameter cidrBlock is invalid.") from None
        live = [one for one in vpc.get_cidr_block_association_set(ipv6=False) if one["cidr_block_state"]["state"] in ("associating", "associated")]
        existing = [ipaddress.IPv4Network(one["cidr_block"]) for one in live]
        if len(existing) >= LIMIT:
            raise AwsError("CidrLimitExceeded", f"This network '{vpc.id}' has met its maximum number of allowed CIDRs: {LIMIT}")
        if is_restricted(existing, added):
            raise AwsError(
                "InvalidVpc.Range",
                f"The CIDR '{cidr}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, "
                "or use a publicly-routable CIDR.",
            )
        if any(added.overlaps(one) for one in existing):
            raise AwsError("CidrConflict", f"The CIDR '{cidr}' conflicts with another CIDR of the VPC")

    def disassociate_vpc_cidr_block(self) -> ActionResult:
        association_id = self._get_param("AssociationId")
        backend = self.region_state
        for vpc in backend.vpcs.values():
            association = vpc._cidr_block_association_set.get(association_id)
            if association is None or association["cidr_block_state"]["state"] == "disassociated":
                continue
            cidr = ipaddress.ip_network(association["cidr_block"])
            for zone in backend.subnets.values():
                for subnet in zone.values():
                    ranges = [subnet.cidr_block, *(block["ipv6CidrBlock"] for block in subnet.ipv6_cidr_block_associations.values())]
                    if subnet.vpc_id == vpc.id and any(cidr.overlaps(ipaddress.ip_network(one)) for one in ranges if one):  # type: ignore[arg-type]
                        raise AwsError("InvalidCidrBlock.InUse", f"The vpc {vpc.id} currently has a subnet within CIDR block {cidr}")
            result = super().disassociate_vpc_cidr_block()
            for table in backend.route_tables.values():
                for route_id, route in list(table._routes.items()):
                    if route.local and association["cidr_block"] in (route.destination_cidr_block, route.destination_ipv6_cidr_block):
                        del table._routes[route_id]
            return result
        raise AwsError("InvalidVpcCidrBlockAssociationID.NotFound", f"The vpc CIDR block association ID '{association_id}' does not exist")
