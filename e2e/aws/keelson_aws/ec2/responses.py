"""EC2 responses: moto's, with the guards' validation before them."""

from __future__ import annotations

import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import get_service_model
from moto.ec2.responses import EC2Response

from ..errors import AwsError
from .addresses import AddressGuard
from .cidrs import CidrGuard
from .endpoints import EndpointGuard
from .flow_logs import FlowLogGuard
from .images import ImageGuard
from .instance_types import InstanceTypeGuard
from .launch_templates import LaunchTemplateGuard
from .limits import LimitGuard
from .nat import NatGuard
from .network import NetworkGuard
from .peering import PeeringGuard
from .security_groups import SecurityGroupGuard
from .transit_gateways import TransitGatewayGuard
from .xml import FAST_PATH, write_response
from .zones import ZoneGuard

# Delete actions that also delete the resource's tags, and the parameter with the resource id.
DELETES_TAGS = {
    "DeleteVpc": "VpcId", "DeleteSubnet": "SubnetId", "DeleteInternetGateway": "InternetGatewayId", "DeleteRouteTable": "RouteTableId",
    "ReleaseAddress": "AllocationId", "DeleteNetworkInterface": "NetworkInterfaceId",
    "DeleteEgressOnlyInternetGateway": "EgressOnlyInternetGatewayId",
}


class Ec2Response(
    NatGuard,
    NetworkGuard,
    AddressGuard,
    CidrGuard,
    SecurityGroupGuard,
    EndpointGuard,
    FlowLogGuard,
    LaunchTemplateGuard,
    ImageGuard,
    InstanceTypeGuard,
    PeeringGuard,
    LimitGuard,
    ZoneGuard,
    TransitGatewayGuard,
    EC2Response,
):
    def call_action(self) -> Any:
        if str(self._get_param("DryRun", "false")).lower() == "true":
            # Permissions are not modelled, so every dry run succeeds, which EC2 reports as an error.
            raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        self.reject_reserved_tags()
        response = super().call_action()
        action = self._get_action()
        if action in DELETES_TAGS and int(response[0]) == 200:
            resource_id = self._get_param(DELETES_TAGS[action])
            if resource_id:
                self.region_state.tags.pop(resource_id, None)
        return response

    def serialized(self, action_result: ActionResult) -> Any:
        action = self._get_action()
        if action not in FAST_PATH or isinstance(action_result.result, Exception):
            return super().serialized(action_result)
        request_id = str(uuid.uuid4())
        body = write_response(get_service_model("ec2").operation_model(action), action_result.result, request_id)
        return 200, {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": request_id}, body

    @staticmethod
    def _enrich_response(headers: dict[str, str], body: Any) -> tuple[dict[str, str], Any]:
        # Skips moto's rewriting of the request id by a regular expression over the whole response.
        return headers, body

    def reject_reserved_tags(self) -> None:
        tags = list(self._get_param("Tags") or []) if self._get_action() in ("CreateTags", "DeleteTags") else []
        for specification in self._get_param("TagSpecifications") or []:
            tags += specification.get("Tags") or []
        if any(str(tag.get("Key", "")).lower().startswith("aws:") for tag in tags if isinstance(tag, dict)):
            raise AwsError("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
