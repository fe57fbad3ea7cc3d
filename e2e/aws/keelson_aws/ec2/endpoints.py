"""VPC endpoints: gateway endpoints with routes, interface endpoints with network interfaces; both removed on deletion."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response
from moto.ec2.utils import generic_filter

from ..errors import AwsError
from .base import Guard


class EndpointGuard(Guard, EC2Response):
    def create_vpc_endpoint(self) -> ActionResult:
        created_id = self.create_once("CreateVpcEndpoint", self.create_endpoint)
        endpoint = self.region_state.vpc_end_points.get(created_id)
        if endpoint is None:
            raise not_found(created_id)
        return ActionResult({"VpcEndpoint": endpoint, "ClientToken": self._get_param("ClientToken")})

    def create_endpoint(self) -> str:
        backend = self.region_state
        service = str(self._get_param("ServiceName"))
        kind = self._get_param("VpcEndpointType") or "Gateway"
        vpc = backend.get_vpc(self._get_param("VpcId"))
        known = {s["ServiceName"] for s in self.offered() if any(t["ServiceType"] == kind for t in s["ServiceType"])}
        if service not in known:
            raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{service}' does not exist")
        if kind == "Gateway":
            self.check_tables(vpc.id, service)
        else:
            self.check_interface(vpc)
        result: dict[str, Any] = super().create_vpc_endpoint().result  # type: ignore[assignment]
        endpoint = result["VpcEndpoint"]
        endpoint.vpc_endpoint_type = kind
        endpoint.subnet_ids = endpoint.subnet_ids or []
        if kind == "Interface":
            self.configure_interfaces(endpoint)
        else:
            endpoint.private_dns_enabled = False
        return str(endpoint.id)

    def check_tables(self, vpc_id: str, service: str) -> None:
        backend = self.region_state
        for table_id in self._get_param("RouteTableIds", []):
            if backend.get_route_table(table_id).vpc_id != vpc_id:
                raise AwsError("InvalidParameter", f"Route table {table_id} does not belong to VPC {vpc_id}")
            for endpoint in backend.vpc_end_points.values():
                if table_id in endpoint.route_table_ids and endpoint.service_name == service:
                    raise AwsError(
                        "RouteAlreadyExists",
                        f"route table {table_id} already has a route with destination-prefix-list-id {endpoint.destination_prefix_list_id}",
                    )

    def check_interface(self, vpc: Any) -> None:
        backend = self.region_state
        for subnet_id in self._get_param("SubnetIds", []):
            if backend.get_subnet(subnet_id).vpc_id != vpc.id:
                raise AwsError("InvalidParameter", f"Subnet {subnet_id} does not belong to VPC {vpc.id}")
        for group_id in self._get_param("SecurityGroupIds", []):
            group = backend.get_security_group_from_id(group_id)
            if group is None or group.vpc_id != vpc.id:
                raise AwsError("InvalidSecurityGroupId.NotFound", f"The security group '{group_id}' does not exist in VPC {vpc.id}")
        if self._get_bool_param("PrivateDnsEnabled", True) and not (is_true(vpc.enable_dns_support) and is_true(vpc.enable_dns_hostnames)):
            raise AwsError(
                "InvalidParameter",
                f"Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {vpc.id}",
            )

    def configure_interfaces(self, endpoint: Any) -> None:
        """Gives its interfaces an address of their subnet and the endpoint's security groups."""
        backend = self.region_state
        default = backend.get_default_security_group(endpoint.vpc_id)
        if not endpoint.security_group_ids and default is not None:
            endpoint.security_group_ids = [default.id]
        for interface_id in list(endpoint.network_interface_ids):
            subnet = backend.enis.pop(interface_id).subnet
            interface = backend.create_network_interface(
                subnet,
                backend.free_address(subnet),
                group_ids=list(endpoint.security_group_ids),
                description=f"VPC Endpoint Interface {endpoint.id}",
            )
            interface.requester_managed = True
            interface.status = "in-use"
            interface.interface_type = "vpc_endpoint"
            endpoint.network_interface_ids[endpoint.network_interface_ids.index(interface_id)] = interface.id
        endpoint.state = "pending"

        def become_available() -> None:
            if endpoint.state == "pending":
                endpoint.state = "available"

        self.timeline.after(self.settings.nat_seconds, become_available)

    def delete_vpc_endpoints(self) -> ActionResult:
        backend = self.region_state
        unsuccessful = []
        for endpoint_id in self._get_param("VpcEndpointIds", []):
            endpoint = backend.vpc_end_points.get(endpoint_id)
            if endpoint is None:
                error = not_found(endpoint_id)
                unsuccessful.append({"ResourceId": endpoint_id, "Error": {"Code": error.code, "Message": error.message}})
            elif endpoint.vpc_endpoint_type == "Interface":
                endpoint.state = "deleting"
                self.timeline.after(self.settings.nat_seconds, lambda e=endpoint: backend.drop_endpoint(e))  # type: ignore[misc]
            else:
                backend.drop_endpoint(endpoint)
        return ActionResult({"Unsuccessful": unsuccessful})

    def describe_vpc_endpoints(self) -> ActionResult:
        backend = self.region_state
        wanted = self._get_param("VpcEndpointIds") or []
        for endpoint_id in wanted:
            if endpoint_id not in backend.vpc_end_points:
                raise not_found(endpoint_id)
        endpoints = [e for e in backend.vpc_end_points.values() if not wanted or e.id in wanted]
        return ActionResult({"VpcEndpoints": generic_filter(self._filters_from_querystring(), endpoints)})

    def offered(self) -> list[dict[str, Any]]:
        """The services of the region, without those of MISSING_ENDPOINT_SERVICES."""
        missing = {name.strip() for name in self.settings.missing_endpoint_services.split(",")}
        prefix = f".{self.region_state.region_name}."
        return [one for one in self.region_state.endpoint_services() if one["ServiceName"].partition(prefix)[2] not in missing]

    def describe_vpc_endpoint_services(self) -> ActionResult:
        services = self.offered()
        wanted = self._get_param("ServiceNames") or []
        for name in wanted:
            if not any(service["ServiceName"] == name for service in services):
                raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{name}' does not exist")
        filters = {f["Name"]: f.get("Values") or [] for f in self._get_param("Filters") or []}
        unknown = set(filters) - {"service-name", "service-type", "owner"}
        if unknown:
            raise AwsError("InvalidFilter", f"The filter '{min(unknown)}' is invalid")
        found = [
            service
            for service in services
            if (not wanted or service["ServiceName"] in wanted)
            and service["ServiceName"] in filters.get("service-name", [service["ServiceName"]])
            and "amazon" in filters.get("owner", ["amazon"])
            and any(kind["ServiceType"] in filters.get("service-type", [kind["ServiceType"]]) for kind in service["ServiceType"])
        ]
        names = list(dict.fromkeys(service["ServiceName"] for service in found))
        return ActionResult({"ServiceNames": names, "ServiceDetails": found})

    def modify_vpc_endpoint(self) -> ActionResult:
        endpoint_id = self._get_param("VpcEndpointId")
        backend = self.region_state
        if endpoint_id not in backend.vpc_end_points:
            raise not_found(endpoint_id)
        endpoint = backend.vpc_end_points[endpoint_id]
        result = super().modify_vpc_endpoint()
        if self._get_param("PrivateDnsEnabled") is not None:
            if endpoint.vpc_endpoint_type != "Interface":
                raise AwsError("InvalidParameter", "Private DNS can only be set for interface endpoints")
            endpoint.private_dns_enabled = is_true(self._get_param("PrivateDnsEnabled"))
        if endpoint.destination_prefix_list_id:
            for table_id in self._get_param("AddRouteTableIds", []):
                backend.create_route(
                    table_id, None, gateway_id=endpoint.id, destination_prefix_list_id=endpoint.destination_prefix_list_id
                )
            for table_id in self._get_param("RemoveRouteTableIds", []):
                backend.drop_endpoint_routes(endpoint, [table_id])
        return result


def is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def not_found(endpoint_id: str) -> AwsError:
    return AwsError("InvalidVpcEndpointId.NotFound", f"The Vpc Endpoint Id '{endpoint_id}' does not exist")
