"""The EC2 backend of one account and region: moto's, changed where EKS and its clients need other behaviour.

A new account has no default VPC (CreateDefaultVpc creates one), so that an empty inventory needs no exceptions.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.ec2.models import EC2Backend
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.subnets import Subnet
from moto.ec2.models.vpcs import AWS_ENDPOINT_SERVICES, VPC

from .. import zones
from ..errors import AwsError
from ..images import EKS_IMAGE_PREFIX
from . import launching
from .tags import find_tags


def canonical(cidr: str) -> str:
    """AWS normalizes 10.0.0.7/16 to 10.0.0.0/16."""
    try:
        return str(ipaddress.IPv4Network(cidr, strict=False))
    except ValueError:
        return cidr


class Interfaces(dict[str, NetworkInterface]):
    """Network interfaces by id, with the number of used addresses per subnet: moto counts all interfaces on each query."""

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, int] = {}

    def __setitem__(self, key: str, interface: NetworkInterface) -> None:
        super().__setitem__(key, interface)
        self.used[interface.subnet.id] = self.used.get(interface.subnet.id, 0) + max(1, len(interface.private_ip_addresses))

    def pop(self, key: str, *default: Any) -> Any:
        interface = super().pop(key, *default)
        if isinstance(interface, NetworkInterface):
            self.used[interface.subnet.id] -= max(1, len(interface.private_ip_addresses))
            if interface.private_ip_address:
                interface.subnet.del_subnet_ip(interface.private_ip_address)
        return interface

    def __delitem__(self, key: str) -> None:
        self.pop(key)


class Ec2Region(EC2Backend):
    SERVICE_NAMESPACE = "ec2"

    def __init__(self, region_name: str, account_id: str) -> None:
        self._starting = True
        super().__init__(region_name, account_id)
        self._starting = False
        self.enis = Interfaces()
        # Ids created with a ClientToken: (action, token) to (fingerprint of the parameters, id).
        self.client_tokens: dict[tuple[str, str], tuple[str, str]] = {}
        # Launch templates and their versions (`lt-...:2`), also deleted ones: a repeated client token answers with what the first call created.
        self.created_templates: dict[str, Any] = {}
        self._services: list[dict[str, Any]] = []

    def __getstate__(self) -> dict[str, Any]:
        """For `saved.py`: while unpickling, an interface may be set before its subnet is loaded."""
        return {**self.__dict__, "enis": (dict(self.enis), self.enis.used)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        interfaces, used = state["enis"]
        self.__dict__.update(state, enis=Interfaces())
        dict.update(self.enis, interfaces)
        self.enis.used = used

    def _load_amis(self) -> None:
        """Loads moto's images on first use: creating a thousand objects per account and region is slow."""
        self._amis_loaded = False

    def describe_images(self, ami_ids: Any = None, filters: Any = None, *args: Any, **kwargs: Any) -> Any:
        wanted = (filters or {}).get("image-id")
        if isinstance(wanted, str) and wanted not in self.amis and (self._amis_loaded or wanted.startswith(EKS_IMAGE_PREFIX)):
            return []
        if not self._amis_loaded:
            self._amis_loaded = True
            super()._load_amis()
        found = super().describe_images(ami_ids, filters, *args, **kwargs)
        for image in found:
            # The default of moto, which no image in AWS has.
            image.root_device_type = "ebs" if image.root_device_type == "standard" else image.root_device_type
        return found

    def create_default_vpc(self) -> Any:
        return None if self._starting else super().create_default_vpc()

    def create_vpc(self, cidr_block: str, *args: Any, **kwargs: Any) -> VPC:
        return super().create_vpc(canonical(cidr_block), *args, **kwargs)

    def create_subnet(
        self,
        vpc_id: str,
        cidr_block: str,
        ipv6_cidr_block: str | None = None,
        availability_zone: str | None = None,
        availability_zone_id: str | None = None,
        **kwargs: Any,
    ) -> Subnet:
        if cidr_block:
            cidr_block = canonical(cidr_block)
            prefix = int(cidr_block.rpartition("/")[2] or 0)
            if not 16 <= prefix <= 28:
                raise AwsError("InvalidSubnet.Range", f"The CIDR '{cidr_block}' is invalid.")
            self.check_range(vpc_id, cidr_block)
        if ipv6_cidr_block:
            self.check_ipv6_range(vpc_id, ipv6_cidr_block)
        here = zones.all_zones(self.account_id, self.region_name)
        zone = next(z for z in here if availability_zone_id in (None, z.zone_id) and availability_zone in (None, z.name))
        # moto knows neither the account's ids nor Local Zones: any zone that it knows will do.
        subnet = super().create_subnet(vpc_id, cidr_block, ipv6_cidr_block, "us-east-1a", None, **kwargs)
        del self.subnets["us-east-1a"][subnet.id]
        subnet._availability_zone = zone
        self.subnets[zone.name][subnet.id] = subnet
        # moto marks the first subnet of a zone as its default subnet.
        default = self.vpcs[vpc_id].is_default
        subnet.default_for_az = subnet.map_public_ip_on_launch = default
        return subnet

    def check_range(self, vpc_id: str, cidr_block: str) -> None:
        """A range of the VPC can be used once it is associated."""
        vpc = self.vpcs.get(vpc_id)
        for one in vpc.get_cidr_block_association_set(ipv6=False) if vpc is not None else []:
            inside = ipaddress.IPv4Network(cidr_block).subnet_of(ipaddress.IPv4Network(one["cidr_block"]))
            if inside and one["cidr_block_state"]["state"] == "associating":
                raise AwsError("InvalidSubnet.Range", f"The CIDR '{cidr_block}' is invalid.")

    def check_ipv6_range(self, vpc_id: str, cidr_block: str) -> None:
        """A /64 of the VPC's range, once it is associated, that no other subnet has."""
        vpc = self.vpcs.get(vpc_id)
        block = ipaddress.IPv6Network(cidr_block)
        usable = [one for one in vpc.get_cidr_block_association_set(ipv6=True) if one["cidr_block_state"]["state"] == "associated"] if vpc else []
        if block.prefixlen != 64 or not any(block.subnet_of(ipaddress.IPv6Network(one["cidr_block"])) for one in usable):
            raise AwsError("InvalidSubnet.Range", f"The CIDR '{cidr_block}' is invalid.")
        for subnets in self.subnets.values():
            for subnet in subnets.values():
                blocks = [one["ipv6CidrBlock"] for one in subnet.ipv6_cidr_block_associations.values()]
                if subnet.vpc_id == vpc_id and str(block) in [str(ipaddress.IPv6Network(one)) for one in blocks]:
                    raise AwsError("InvalidSubnet.Conflict", f"The CIDR '{cidr_block}' conflicts with another subnet")

    def describe_availability_zones(self, filters: Any = None, zone_names: Any = None, zone_ids: Any = None) -> list[Any]:
        found = zones.listed_zones(self.account_id, self.region_name)
        return [z for z in found if (not zone_names or z.name in zone_names) and (not zone_ids or z.zone_id in zone_ids)]

    def describe_tags(self, filters: dict[str, list[str]] | None = None) -> list[dict[str, str]]:
        return list(find_tags(self.tags, filters or {}))

    def find_subnet(self, subnet_id: str) -> Subnet | None:
        for subnets in self.subnets.values():
            if subnet_id in subnets:
                return subnets[subnet_id]
        return None

    def free_address(self, subnet: Subnet) -> str:
        """A free address of the subnet."""
        return str(subnet.get_available_subnet_ip(None))  # type: ignore[arg-type]

    def is_public(self, subnet_id: str) -> bool:
        """Whether the subnet's route table, or the VPC's main one, has a route to an internet gateway."""
        subnet = self.find_subnet(subnet_id)
        if subnet is None:
            return False
        table = self.route_table_of(subnet)
        routes = table.routes if table is not None else []
        return any(r.gateway is not None and r.gateway.id.startswith("igw-") and r.state == "active" for r in routes)

    def route_table_of(self, subnet: Subnet) -> Any | None:
        """The subnet's route table, otherwise the VPC's main one."""
        tables = [t for t in self.route_tables.values() if t.vpc_id == subnet.vpc_id]
        own = [t for t in tables if subnet.id in t._associations.values()] or [t for t in tables if t.main_association_id]
        return own[0] if own else None

    def group_users(self, group_id: str) -> list[str]:
        """What blocks the deletion of a security group: interfaces with it, rules of other groups that refer to it."""
        users = [eni.id for eni in self.enis.values() if any(g.id == group_id for g in eni.group_set)]
        for groups in self.groups.values():
            for group in groups.values():
                if group.id == group_id:
                    continue
                for rule in (*group.ingress_rules, *group.egress_rules):
                    if rule.source_group.get("GroupId") == group_id:
                        users.append(group.id)
                        break
        return users

    def drop_security_group(self, group_id: str) -> None:
        """Deletes a group unless it is in use; its own rules that refer to itself do not count."""
        users = self.group_users(group_id)
        if users:
            raise AwsError("DependencyViolation", f"resource {group_id} has a dependent object")
        for groups in self.groups.values():
            if groups.pop(group_id, None) is not None:
                self.tags.pop(group_id, None)
                return

    def mapped_addresses(self, vpc_id: str) -> list[str]:
        """Public addresses mapped to the VPC: of NAT gateways, instances, interfaces."""
        return [str(eni.public_ip) for eni in self.enis.values() if eni.subnet.vpc_id == vpc_id and eni.public_ip]

    def peerings(self, vpc_id: str) -> list[Any]:
        """Active and pending peering connections of the VPC."""
        existing = ("initiating-request", "pending-acceptance", "provisioning", "active")
        return [p for p in self.vpc_pcxs.values() if p.status["Code"] in existing and vpc_id in (p.vpc.id, p.peer_vpc.id)]

    def attachments_of(self, vpc_id: str) -> list[Any]:
        """Attachments of transit gateways to the VPC."""
        all_attachments = self.transit_gateway_attachments.values()
        return [a for a in all_attachments if a.resource_type == "vpc" and a.resource_id == vpc_id and a.state != "deleted"]

    def vpn_gateways_of(self, vpc_id: str) -> list[Any]:
        """Virtual private gateways attached to the VPC."""
        attached = [(g, g.attachments.get(vpc_id)) for g in self.vpn_gateways.values() if g.state != "deleted"]
        return [gateway for gateway, attachment in attached if attachment is not None and attachment.state == "attached"]

    def endpoint_services(self) -> list[dict[str, Any]]:
        """The endpoint services of this region: S3 and DynamoDB with both types, the others with interfaces only."""
        if not self._services:
            zones = [zone.name for zone in self.describe_availability_zones()]
            for service in dict.fromkeys(AWS_ENDPOINT_SERVICES):
                kinds = ("Gateway", "Interface") if service in ("s3", "dynamodb") else ("Interface",)
                for kind in kinds:
                    self._services += self.default_vpc_endpoint_service_factory(
                        self.region_name, zones, service, service_type=kind, private_dns_names=kind == "Interface"
                    )
        return self._services

    def _collect_default_endpoint_services(self, account_id: str, region: str) -> list[dict[str, Any]]:  # type: ignore[override]
        # moto loads all its services to collect theirs.
        return self.endpoint_services()

    def drop_endpoint_routes(self, endpoint: Any, table_ids: list[str]) -> None:
        for table_id in table_ids:
            table = self.route_tables.get(table_id)
            for route_id, route in list(table._routes.items()) if table else []:
                if route.gateway is endpoint:
                    del table._routes[route_id]  # type: ignore[union-attr]

    def drop_endpoint(self, endpoint: Any) -> None:
        self.drop_endpoint_routes(endpoint, list(endpoint.route_table_ids))
        for interface_id in endpoint.network_interface_ids:
            self.enis.pop(interface_id, None)
        self.vpc_end_points.pop(endpoint.id, None)
        self.tags.pop(endpoint.id, None)

    def run_instances(self, *args: Any, **kwargs: Any) -> Any:
        template = kwargs.get("launch_template")
        data = self._get_template_from_args(template).data if template else {}
        has_volumes = bool(template) and not kwargs.get("block_device_mappings")
        if has_volumes:
            # moto knows neither performance nor tags of a template's volumes.
            kwargs["block_device_mappings"] = []
        reservation = super().run_instances(*args, **kwargs)
        specifications = {int(nic.get("DeviceIndex", 0)): nic for nic in kwargs.get("nics") or []}
        for instance in reservation.instances:
            for index, interface in instance.nics.items():
                spec = specifications.get(index, {})
                # An interface created with its instance is deleted with it, unless the caller disables that.
                if not spec.get("NetworkInterfaceId"):
                    interface.delete_on_termination = spec.get("DeleteOnTermination", True)
            if has_volumes:
                launching.create_volumes(self, instance, data)
            if template:
                launching.tag_parts(instance, data)
        return reservation
