"""Security groups: need an existing VPC; cannot be deleted while anything refers to them."""

from __future__ import annotations

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.responses import EC2Response

from ..errors import AwsError
from .base import Guard


class SecurityGroupGuard(Guard, EC2Response):
    def create_security_group(self) -> ActionResult:
        vpc_id = self._get_param("VpcId")
        if vpc_id:
            self.region_state.get_vpc(vpc_id)
        elif self.region_state.get_default_vpc() is None:
            raise AwsError("VPCIdNotSpecified", "No default VPC for this user")
        name = str(self._get_param("GroupName") or "")
        if name.startswith("sg-"):
            raise AwsError("InvalidParameterValue", "Invalid value for parameter groupName: it cannot begin with sg-")
        return super().create_security_group()

    def delete_security_group(self) -> ActionResult:
        backend = self.region_state
        group_id, name = self._get_param("GroupId"), self._get_param("GroupName")
        group = backend.get_security_group_from_id(group_id) if group_id else backend.get_security_group_from_name(name)
        if group is None:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{group_id or name}' does not exist")
        if group.is_default or group.name == "default":
            raise AwsError("CannotDelete", f'the specified group: "{group.id}" name: "{group.name}" cannot be deleted by a user')
        backend.drop_security_group(group.id)
        return EmptyResult()
