"""Elastic IP addresses and network interfaces: cannot be released or deleted while in use."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from ..errors import AwsError
from .base import Guard


class AddressGuard(Guard, EC2Response):
    def allocate_address(self) -> ActionResult:
        result = super().allocate_address()
        group = self._get_param("NetworkBorderGroup") or self.region_state.region_name
        address: Any = self.region_state.addresses[-1]
        address.network_border_group = group
        return result

    def release_address(self) -> ActionResult:
        backend = self.region_state
        allocation_id, public_ip = self._get_param("AllocationId"), self._get_param("PublicIp")
        found = backend.address_by_allocation([allocation_id]) if allocation_id else backend.address_by_ip([public_ip])
        if found[0].association_id or found[0].eni or found[0].instance:
            raise AwsError("InvalidIPAddress.InUse", f"Address {found[0].public_ip} is in use.")
        return super().release_address()

    def disassociate_address(self) -> ActionResult:
        association_id = self._get_param("AssociationId")
        if association_id:
            (address,) = self.region_state.address_by_association([association_id])
            if address.eni and address.eni.requester_managed:
                raise AwsError("AuthFailure", "You do not have permission to access the specified resource.")
        return super().disassociate_address()

    def associate_address(self) -> ActionResult:
        interface = self.region_state.enis.get(self._get_param("NetworkInterfaceId") or "")
        if interface is not None and interface.requester_managed:
            raise AwsError("AuthFailure", "You do not have permission to access the specified resource.")
        return super().associate_address()

    def create_network_interface(self) -> ActionResult:
        backend = self.region_state
        for group_id in self._get_param("Groups", []):
            if backend.get_security_group_from_id(group_id) is None:
                raise AwsError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        return super().create_network_interface()

    def delete_network_interface(self) -> ActionResult:
        interface_id = self._get_param("NetworkInterfaceId")
        interface = self.region_state.get_network_interface(interface_id)
        if interface.requester_managed:
            raise AwsError("AuthFailure", "You do not have permission to access the specified resource.")
        if interface.status == "in-use" or interface.instance:
            raise AwsError("InvalidParameterValue", f"Network interface '{interface_id}' is currently in use.")
        return super().delete_network_interface()
