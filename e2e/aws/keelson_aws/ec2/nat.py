"""NAT gateways: pending, then available or failed; deleting, then deleted."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import InvalidSubnetIdError
from moto.ec2.models.nat_gateways import NatGateway
from moto.ec2.utils import add_tag_specification, generic_filter, random_nat_gateway_id

from .. import quotas
from ..errors import AwsError
from .base import Guard
from .region import Ec2Region


class Gateway(NatGateway):
    """A NAT gateway with states and with an interface that has an address of its subnet."""

    def __init__(
        self, backend: Ec2Region, subnet_id: str, allocation_id: str | None, tags: dict[str, str], kind: str, associates: bool
    ) -> None:
        subnet = backend.find_subnet(subnet_id)
        if subnet is None:
            raise InvalidSubnetIdError(subnet_id)
        self.id = random_nat_gateway_id()
        self.ec2_backend = backend
        self.subnet_id = subnet_id
        self.vpc_id = subnet.vpc_id
        self.connectivity_type = kind
        self.state = "pending"
        self.failure_code: str | None = None
        self.failure_message: str | None = None
        self.delete_time: Any = None
        self._created_at = utcnow()
        self._eni = backend.create_network_interface(
            subnet, backend.free_address(subnet), description=f"Interface for NAT Gateway {self.id}"
        )
        self._eni.requester_managed = True
        self._eni.status = "in-use"
        self._eni.interface_type = "nat_gateway"
        # A NAT gateway's interface has no security group.
        self._eni._group_set = []
        self.private_ip = str(self._eni.private_ip_address)
        address: dict[str, Any] = {"networkInterfaceId": self._eni.id, "privateIp": self.private_ip, "isPrimary": True, "status": "succeeded"}
        if allocation_id and not associates:
            address.update(allocationId=allocation_id, status="failed")
        elif allocation_id:
            elastic = backend.associate_address(eni=self._eni, allocation_id=allocation_id)
            address.update(allocationId=allocation_id, publicIp=elastic.public_ip, associationId=elastic.association_id)
        self.address_set = [address]
        self.add_tags(tags)

    @property
    def nat_gateway_id(self) -> str:
        return self.id

    @property
    def create_time(self) -> Any:
        return self._created_at.replace(microsecond=0)

    def leave_pending(self, state: str) -> None:
        if self.state == "pending":
            self.state = state

    def fail(self, code: str, message: str) -> None:
        if self.state == "pending":
            self.state, self.failure_code, self.failure_message = "failed", code, message
            self.release()

    def release(self) -> None:
        """Releases the address and the interface. Describe calls still show them."""
        for address in self.ec2_backend.addresses:
            if address.eni is self._eni:
                address.eni = None
                address.association_id = None
        self.ec2_backend.enis.pop(self._eni.id, None)

    def finish_deletion(self) -> None:
        self.release()
        self.state = "deleted"


class NatGuard(Guard):
    def create_nat_gateway(self) -> ActionResult:
        created_id = self.create_once("CreateNatGateway", self.create_gateway)
        return ActionResult({"NatGateway": self.region_state.nat_gateways[created_id], "ClientToken": self._get_param("ClientToken")})

    def create_gateway(self) -> str:
        backend = self.region_state
        kind = self._get_param("ConnectivityType") or "public"
        allocation_id = self._get_param("AllocationId")
        if kind == "public" and not allocation_id:
            raise AwsError("MissingParameter", "The request must include the AllocationId parameter.")
        is_used = self.is_used(allocation_id) if allocation_id else False
        self.check_quota()
        tags = add_tag_specification(self._get_param("TagSpecifications", []))
        gateway = Gateway(  # type: ignore[abstract]
            backend, self._get_param("SubnetId"), allocation_id, tags, kind, not is_used
        )
        backend.nat_gateways[gateway.id] = gateway
        seconds = self.settings.nat_seconds
        outcome = self.outcome
        attached = any(igw.vpc is not None and igw.vpc.id == gateway.vpc_id for igw in backend.internet_gateways.values())
        if "fail" in outcome:
            self.timeline.after(seconds, lambda: gateway.fail(outcome.get("status", "InternalError"), outcome["fail"]))
        elif is_used:
            why = f"Elastic IP address [{allocation_id}] is already associated"
            self.timeline.after(seconds, lambda: gateway.fail("Resource.AlreadyAssociated", why))
        elif kind == "public" and not attached:
            why = f"Network {gateway.vpc_id} has no Internet gateway attached"
            self.timeline.after(seconds, lambda: gateway.fail("Gateway.NotAttached", why))
        else:
            self.timeline.after(seconds, lambda: gateway.leave_pending("available"))
        return gateway.id

    def is_used(self, allocation_id: str) -> bool:
        """Whether the address is associated already: EC2 creates the gateway, which then fails. A missing address is refused at once."""
        backend = self.region_state
        address = next((one for one in backend.addresses if one.allocation_id == allocation_id), None)
        if address is None:
            raise AwsError("InvalidElasticIpID.NotFound", f"The elasticIp ID '{allocation_id}' does not exist")
        group = getattr(address, "network_border_group", backend.region_name)
        if group != backend.region_name:
            why = f"The network border group {group} of {allocation_id} is not the one of the subnet, {backend.region_name}"
            raise AwsError("InvalidParameterValue", why)
        return bool(address.association_id)

    def check_quota(self) -> None:
        """Those that are pending, available or deleting count, in their zone."""
        backend = self.region_state
        subnet = backend.find_subnet(self._get_param("SubnetId"))
        live = [one for one in backend.nat_gateways.values() if one.state in ("pending", "available", "deleting")]
        zones = [found.availability_zone for one in live if (found := backend.find_subnet(one.subnet_id))]
        if subnet is not None:
            limit = quotas.value(backend.account_id, backend.region_name, quotas.NATS)
            error = AwsError("NatGatewayLimitExceeded", f"Performing this operation would exceed the limit of {int(limit)} NAT gateways")
            quotas.check(backend.account_id, backend.region_name, quotas.NATS, zones.count(subnet.availability_zone), error)

    def delete_nat_gateway(self) -> ActionResult:
        gateway_id = self._get_param("NatGatewayId")
        gateway = self.region_state.nat_gateways.get(gateway_id)
        if gateway is None or gateway.state == "deleted":
            raise not_found(gateway_id)
        assert isinstance(gateway, Gateway)
        if gateway.state != "deleting":
            gateway.state = "deleting"
            gateway.delete_time = utcnow()
            self.timeline.after(self.settings.nat_seconds, gateway.finish_deletion)
        return ActionResult({"NatGatewayId": gateway_id})

    def describe_nat_gateways(self) -> ActionResult:
        gateways = list(self.region_state.nat_gateways.values())
        requested_ids = self._get_param("NatGatewayIds") or []
        for gateway_id in requested_ids:
            if gateway_id not in self.region_state.nat_gateways:
                raise not_found(gateway_id)
        if requested_ids:
            gateways = [gateway for gateway in gateways if gateway.id in requested_ids]
        return ActionResult({"NatGateways": generic_filter(self._filters_from_querystring(), gateways)})


def not_found(gateway_id: str) -> AwsError:
    return AwsError("NatGatewayNotFound", f"NatGateway {gateway_id} was not found")
