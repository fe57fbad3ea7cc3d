"""Quotas of EC2 (`../quotas.py`): what a create uses up is counted first. NAT gateways are counted in `nat.py`, vCPUs where an Auto
Scaling group launches instances (`patches.py`)."""

from __future__ import annotations

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from .. import quotas
from ..errors import AwsError
from .base import Guard


class LimitGuard(Guard, EC2Response):
    def create_vpc(self) -> ActionResult:
        self.check(quotas.VPCS, len(self.region_state.vpcs), "VpcLimitExceeded", "The maximum number of VPCs has been reached.")
        return super().create_vpc()

    def create_internet_gateway(self) -> ActionResult:
        used = len(self.region_state.internet_gateways)
        self.check(quotas.GATEWAYS, used, "InternetGatewayLimitExceeded", "The maximum number of internet gateways has been reached.")
        return super().create_internet_gateway()

    def allocate_address(self) -> ActionResult:
        used = len(self.region_state.addresses)
        self.check(quotas.ADDRESSES, used, "AddressLimitExceeded", "The maximum number of addresses has been reached.")
        return super().allocate_address()

    def check(self, code: str, used: int, error: str, message: str) -> None:
        quotas.check(self.current_account, self.region_state.region_name, code, used, AwsError(error, message))
