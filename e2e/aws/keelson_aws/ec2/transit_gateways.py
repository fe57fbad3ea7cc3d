"""Attachments of transit gateways to VPCs: each has an interface in each of its subnets, which nobody else can delete."""

from __future__ import annotations

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from .base import Guard


class TransitGatewayGuard(Guard, EC2Response):
    def create_transit_gateway_vpc_attachment(self) -> ActionResult:
        answer = super().create_transit_gateway_vpc_attachment()
        attachment = answer.result["TransitGatewayVpcAttachment"]  # type: ignore[index]
        backend = self.region_state
        for subnet_id in attachment.subnet_ids:
            subnet = backend.get_subnet(subnet_id)
            interface = backend.create_network_interface(
                subnet, backend.free_address(subnet), description=f"Network Interface for Transit Gateway Attachment {attachment.id}"
            )
            interface.requester_managed = True
            interface.status = "in-use"
            interface.interface_type = "transit_gateway"
            interface._group_set = []
        return answer

    def delete_transit_gateway_vpc_attachment(self) -> ActionResult:
        attachment_id = self._get_param("TransitGatewayAttachmentId")
        backend = self.region_state
        answer = super().delete_transit_gateway_vpc_attachment()
        for interface in [i for i in backend.enis.values() if str(i.description).endswith(attachment_id)]:
            backend.enis.pop(interface.id)
        return answer
