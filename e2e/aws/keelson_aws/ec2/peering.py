"""VPC peering connections: supports filters, which moto ignores."""

from __future__ import annotations

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response
from moto.ec2.utils import generic_filter

from .base import Guard


class PeeringGuard(Guard, EC2Response):
    def describe_vpc_peering_connections(self) -> ActionResult:
        requested_ids = self._get_param("VpcPeeringConnectionIds", [])
        found = self.region_state.describe_vpc_peering_connections(vpc_peering_ids=requested_ids)
        return ActionResult({"VpcPeeringConnections": generic_filter(self._filters_from_querystring(), found)})
