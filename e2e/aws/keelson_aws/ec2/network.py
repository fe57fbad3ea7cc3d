"""VPCs, subnets, internet gateways, route tables: the allowed order of creation and deletion."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.responses import EC2Response
from moto.ec2.utils import generic_filter

from .. import zones
from ..errors import AwsError
from .base import Guard, has_dependencies


class NetworkGuard(Guard, EC2Response):
    def delete_vpc(self) -> ActionResult:
        vpc_id = self._get_param("VpcId")
        backend = self.region_state
        backend.get_vpc(vpc_id)
        if any(self.vpc_dependents(vpc_id)):
            raise has_dependencies("vpc", vpc_id)
        backend.delete_vpc(vpc_id)
        for acl in [a for a in backend.network_acls.values() if a.vpc_id == vpc_id]:
            del backend.network_acls[acl.id]
        backend.groups.pop(vpc_id, None)
        # They hold up no deletion.
        for log in [log for log in backend.flow_logs.values() if log.resource_id == vpc_id]:
            del backend.flow_logs[log.id]
            backend.tags.pop(log.id, None)
        return EmptyResult()

    def vpc_dependents(self, vpc_id: str) -> list[Any]:
        backend = self.region_state
        return [
            *(s for zone in backend.subnets.values() for s in zone.values() if s.vpc_id == vpc_id),
            *(g for g in backend.internet_gateways.values() if g.vpc is not None and g.vpc.id == vpc_id),
            *(g for g in backend.egress_only_internet_gateways.values() if g.vpc_id == vpc_id),
            *(t for t in backend.route_tables.values() if t.vpc_id == vpc_id and t.main_association_id is None),
            *(g for g in backend.groups.get(vpc_id, {}).values() if not g.is_default and g.name != "default"),
            *(e for e in backend.vpc_end_points.values() if e.vpc_id == vpc_id),
            *(i for i in backend.enis.values() if i.subnet.vpc_id == vpc_id),
            *(a for a in backend.network_acls.values() if a.vpc_id == vpc_id and not is_default(a)),
            *backend.attachments_of(vpc_id),
            *backend.peerings(vpc_id),
            *backend.vpn_gateways_of(vpc_id),
        ]

    def create_subnet(self) -> ActionResult:
        zone = self._get_param("AvailabilityZone")
        usable = [z.name for z in self.region_state.describe_availability_zones()]
        zone_id = self._get_param("AvailabilityZoneId")
        if zone_id and zone_id not in [z.zone_id for z in self.region_state.describe_availability_zones()]:
            raise AwsError("InvalidParameterValue", f"Value ({zone_id}) for parameter availabilityZoneId is invalid.")
        if zone and zone not in usable:
            raise AwsError(
                "InvalidParameterValue",
                f"Value ({zone}) for parameter availabilityZone is invalid. "
                f"Subnets can currently only be created in the following availability zones: {', '.join(usable)}.",
            )
        return super().create_subnet()

    def create_vpc(self) -> ActionResult:
        result = super().create_vpc()
        if self._get_param("AmazonProvidedIpv6CidrBlock"):
            vpc = list(self.region_state.vpcs.values())[-1]
            for association in vpc.get_cidr_block_association_set(ipv6=True):
                state = association["cidr_block_state"]
                state["state"] = "associating"
                self.timeline.after(self.settings.nat_seconds, lambda state=state: state.update(state="associated"))  # type: ignore[misc]
        return result

    def modify_subnet_attribute(self) -> ActionResult:
        names = ("MapPublicIpOnLaunch", "AssignIpv6AddressOnCreation", "EnableResourceNameDnsARecordOnLaunch", "EnableDns64")
        asked = [name for name in names if self._get_param(f"{name}.Value") is not None]
        if len(asked) > 1:
            raise AwsError("InvalidParameterCombination", "Only one subnet attribute can be modified at a time")
        subnet = self.region_state.get_subnet(self._get_param("SubnetId"))
        if asked == ["AssignIpv6AddressOnCreation"] and not subnet.ipv6_cidr_block_associations:
            raise AwsError("InvalidParameterValue", f"Subnet {subnet.id} has no IPv6 CIDR block: assignIpv6AddressOnCreation cannot be set")
        return super().modify_subnet_attribute()

    def create_egress_only_internet_gateway(self) -> ActionResult:
        self.region_state.get_vpc(self._get_param("VpcId"))
        return super().create_egress_only_internet_gateway()

    def describe_egress_only_internet_gateways(self) -> ActionResult:
        wanted = self._get_param("EgressOnlyInternetGatewayIds") or []
        gateways = list(self.region_state.egress_only_internet_gateways.values())
        for gateway_id in wanted:
            if gateway_id not in self.region_state.egress_only_internet_gateways:
                raise AwsError("InvalidGatewayID.NotFound", f"The eigw ID '{gateway_id}' does not exist")
        found = [one for one in gateways if not wanted or one.id in wanted]
        return ActionResult({"EgressOnlyInternetGateways": generic_filter(self._filters_from_querystring(), found)})

    def delete_egress_only_internet_gateway(self) -> ActionResult:
        gateway_id = self._get_param("EgressOnlyInternetGatewayId")
        if gateway_id not in self.region_state.egress_only_internet_gateways:
            raise AwsError("InvalidGatewayID.NotFound", f"The eigw ID '{gateway_id}' does not exist")
        return super().delete_egress_only_internet_gateway()

    def delete_subnet(self) -> ActionResult:
        subnet_id = self._get_param("SubnetId")
        backend = self.region_state
        backend.get_subnet(subnet_id)
        if any(eni.subnet.id == subnet_id for eni in backend.enis.values()):
            raise has_dependencies("subnet", subnet_id)
        backend.delete_subnet(subnet_id)
        # Deletes its association with a route table too; otherwise the table could never be deleted.
        for table in backend.route_tables.values():
            for association, target in list(table._associations.items()):
                if target == subnet_id:
                    del table._associations[association]
        return EmptyResult()

    def detach_internet_gateway(self) -> ActionResult:
        vpc_id = self._get_param("VpcId")
        self.region_state.get_vpc(vpc_id)
        if self.region_state.mapped_addresses(vpc_id):
            raise AwsError(
                "DependencyViolation",
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
            )
        return super().detach_internet_gateway()

    def attach_internet_gateway(self) -> ActionResult:
        vpc_id, gateway_id = self._get_param("VpcId"), self._get_param("InternetGatewayId")
        for gateway in self.region_state.internet_gateways.values():
            if gateway.vpc is not None and gateway.vpc.id == vpc_id and gateway.id != gateway_id:
                raise AwsError("InvalidParameterValue", f"Network {vpc_id} already has an internet gateway attached")
        return super().attach_internet_gateway()

    def delete_internet_gateway(self) -> ActionResult:
        gateway_id = self._get_param("InternetGatewayId")
        if self.region_state.get_internet_gateway(gateway_id).vpc:
            raise has_dependencies("internetGateway", gateway_id)
        return super().delete_internet_gateway()

    def delete_route_table(self) -> ActionResult:
        table_id = self._get_param("RouteTableId")
        table = self.region_state.get_route_table(table_id)
        if table.main_association_id or table._associations:
            raise has_dependencies("routeTable", table_id)
        return super().delete_route_table()

    def associate_route_table(self) -> ActionResult:
        table_id, subnet_id = self._get_param("RouteTableId"), self._get_param("SubnetId")
        backend = self.region_state
        table = backend.get_route_table(table_id)
        if subnet_id:
            if backend.get_subnet(subnet_id).vpc_id != table.vpc_id:
                raise AwsError("InvalidParameterValue", f"route table {table_id} and subnet {subnet_id} belong to different networks")
            for other in backend.route_tables.values():
                if other is not table and subnet_id in other._associations.values():
                    raise AwsError(
                        "Resource.AlreadyAssociated",
                        f"the specified association for route table {table_id} conflicts with an existing association",
                    )
        return super().associate_route_table()

    def create_route(self) -> ActionResult:
        self.check_route()
        return super().create_route()

    def replace_route(self) -> ActionResult:
        self.check_route()
        return super().replace_route()

    def check_route(self) -> None:
        backend = self.region_state
        table = backend.get_route_table(self._get_param("RouteTableId"))
        nat_id, gateway_id = self._get_param("NatGatewayId"), self._get_param("GatewayId")
        egress_id = self._get_param("EgressOnlyInternetGatewayId")
        if egress_id:
            egress = backend.egress_only_internet_gateways.get(egress_id)
            if egress is None:
                raise AwsError("InvalidGatewayID.NotFound", f"The eigw ID '{egress_id}' does not exist")
            if egress.vpc_id != table.vpc_id:
                raise AwsError("InvalidParameterValue", f"route table {table.id} and network gateway {egress_id} belong to different networks")
            if self._get_param("DestinationCidrBlock"):
                raise AwsError("InvalidParameterCombination", "An egress-only internet gateway takes IPv6 traffic only")
        if nat_id and (nat_id not in backend.nat_gateways or backend.nat_gateways[nat_id].state in ("deleted", "failed")):
            raise AwsError("InvalidNatGatewayID.NotFound", f"The natGateway ID '{nat_id}' does not exist")
        if gateway_id and gateway_id.startswith("igw-"):
            gateway = backend.get_internet_gateway(gateway_id)
            if gateway.vpc is None or gateway.vpc.id != table.vpc_id:
                raise AwsError(
                    "InvalidParameterValue", f"route table {table.id} and network gateway {gateway_id} belong to different networks"
                )

    def describe_network_acls(self) -> ActionResult:
        for acl_id in self._get_param("NetworkAclIds") or []:
            if acl_id not in self.region_state.network_acls:
                raise AwsError("InvalidNetworkAclID.NotFound", f"The network acl ID '{acl_id}' does not exist")
        return super().describe_network_acls()


def is_default(acl: Any) -> bool:
    """moto answers with a text."""
    return str(acl.default).lower() == "true"
