"""A cluster in its VPC: validation of subnets, the cluster security group, the control plane's network interfaces."""

from __future__ import annotations

import ipaddress
from typing import Any

from .. import zones
from ..cloud import ec2
from ..errors import AwsError
from .operations import Context
from .state import Cluster, bad_parameter, new_hex

# Of a new cluster, and for an update: network-reqs.html#cluster-subnets and update-cluster.html in the user guide.
MIN_FREE_ADDRESSES, MIN_FREE_FOR_UPDATE = 6, 5
NOT_PUBLIC = [
    ipaddress.IPv4Network(cidr)
    for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
]


def find_subnets(context: Context, subnet_ids: list[str]) -> list[Any]:
    backend = ec2(context.region.account, context.region.name)
    subnets = []
    for subnet_id in subnet_ids:
        subnet = backend.find_subnet(subnet_id)
        if subnet is None:
            raise bad_parameter(
                f"The subnet ID '{subnet_id}' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound)"
            )
        subnets.append(subnet)
    return subnets


def check_cluster_subnets(context: Context, subnet_ids: list[str]) -> list[Any]:
    """Validates the subnets of a control plane: zones that EKS takes, at least two of them, one VPC."""
    if len(set(subnet_ids)) != len(subnet_ids):
        raise bad_parameter("Subnets specified must be unique")
    subnets = find_subnets(context, subnet_ids)
    if len({subnet.availability_zone for subnet in subnets}) < 2:
        raise bad_parameter("Subnets specified must be in at least two different AZs")
    if len({subnet.vpc_id for subnet in subnets}) > 1:
        raise bad_parameter("Subnets specified must belong to the same VPC")
    check_zones(context, subnets)
    return subnets


def check_zones(context: Context, subnets: list[Any]) -> None:
    """EKS takes no subnet of a zone where it runs no control plane, nor one of a Local Zone, Wavelength Zone or Outpost."""
    account, region = context.region.account, context.region.name
    refused = zones.refused_by_eks(account, region)
    for subnet in subnets:
        zone = subnet._availability_zone
        if zone.zone_type == zones.AVAILABILITY and zone.zone_id not in refused:
            continue
        valid = zones.valid_for_eks(account, region)
        name = context.params.get("name") or context.params.get("clusterName")
        what = "create Fargate profile" if "fargateProfileName" in context.params else "create cluster"
        raise AwsError(
            "UnsupportedAvailabilityZoneException",
            f"Cannot {what} '{name}' because {zone.name}, the targeted availability zone, does not currently have sufficient capacity "
            f"to support the cluster. Retry and choose from these availability zones: {', '.join(valid)}",
            clusterName=name,
            validZones=valid,
        )


def check_free_addresses(subnets: list[Any], error: Any, least: int = MIN_FREE_FOR_UPDATE) -> None:
    exhausted = [subnet.id for subnet in subnets if subnet.available_ip_address_count < least]
    if exhausted:
        raise error(
            f"Subnets {', '.join(exhausted)} do not have enough free IP addresses: "
            f"EKS requires at least {least} available IP addresses in each subnet"
        )


def check_security_groups(context: Context, group_ids: list[str], vpc_id: str) -> None:
    backend = ec2(context.region.account, context.region.name)
    for group_id in group_ids:
        group = backend.get_security_group_from_id(group_id)
        if group is None:
            raise bad_parameter(
                f"The security group '{group_id}' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidGroup.NotFound)"
            )
        if group.vpc_id != vpc_id:
            raise bad_parameter(
                f"Security group(s) [{group_id}] are not in the same VPC as the subnets. "
                f"Please specify a security group that is associated with the VPC: {vpc_id}."
            )


def check_public_access_cidrs(cidrs: list[str]) -> list[str]:
    if len(cidrs) > 40:
        raise bad_parameter("The maximum number of CIDR blocks for public access is 40")
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError as error:
            raise bad_parameter(f"Invalid CIDR block in publicAccessCidrs: {cidr}") from error
        if any(network.version == 4 and network.subnet_of(private) for private in NOT_PUBLIC):
            raise bad_parameter(f"The following CIDRs are invalid in publicAccessCidrs: [{cidr}]. CIDR blocks must be public")
    return cidrs


def service_cidr(requested: str | None, vpc: Any) -> str:
    """The service CIDR: the requested one if valid; by default one of EKS's two that does not overlap the VPC."""
    ranges = [ipaddress.ip_network(a["cidr_block"], strict=False) for a in vpc.get_cidr_block_association_set()]
    if requested is None:
        for candidate in ("172.20.0.0/16", "10.100.0.0/16"):
            if not any(ipaddress.ip_network(candidate).overlaps(r) for r in ranges if r.version == 4):
                return candidate
        return "172.20.0.0/16"
    try:
        network = ipaddress.IPv4Network(requested)
    except ValueError as error:
        raise bad_parameter(f"Invalid serviceIpv4Cidr: {requested}") from error
    private = any(network.subnet_of(ipaddress.IPv4Network(p)) for p in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    if not private or not 12 <= network.prefixlen <= 24:
        raise bad_parameter("serviceIpv4Cidr must be within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, and between /24 and /12")
    if any(network.overlaps(r) for r in ranges if r.version == 4):
        raise bad_parameter(f"The specified service CIDR {requested} overlaps with the CIDR block of the VPC")
    return requested


def create_security_group(context: Context, cluster: Cluster) -> str:
    """Creates the cluster security group of control plane and nodes. It is deleted with the cluster."""
    backend = ec2(context.region.account, context.region.name)
    name = f"eks-cluster-sg-{cluster.name}-{int(new_hex(7), 16) % 10**9}"
    group = backend.create_security_group(
        name,
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.",
        cluster.vpc_id,
        tags={
            "Name": name,
            "aws:eks:cluster-name": cluster.name,
            f"kubernetes.io/cluster/{cluster.name}": "owned",
        },
    )
    backend.authorize_security_group_ingress(group.id, "-1", None, None, [], source_groups=[{"GroupId": group.id}])
    return str(group.id)


def create_network_interfaces(context: Context, cluster: Cluster) -> None:
    """Creates the control plane's interfaces: in one subnet of each of two zones."""
    backend = ec2(context.region.account, context.region.name)
    config = cluster.body["resourcesVpcConfig"]
    zones: dict[str, Any] = {}
    for subnet_id in config["subnetIds"]:
        subnet = backend.find_subnet(subnet_id)
        if subnet is not None:
            zones.setdefault(subnet.availability_zone, subnet)
    for subnet in list(zones.values())[:2]:
        interface = backend.create_network_interface(
            subnet,
            backend.free_address(subnet),
            group_ids=[config["clusterSecurityGroupId"], *config["securityGroupIds"]],
            description=f"Amazon EKS {cluster.name}",
        )
        interface.requester_managed = True
        interface.status = "in-use"
        cluster.network_interfaces.append(interface.id)


def remove_network_interfaces(context: Context, cluster: Cluster) -> None:
    backend = ec2(context.region.account, context.region.name)
    for interface_id in cluster.network_interfaces:
        backend.enis.pop(interface_id, None)
    cluster.network_interfaces.clear()


def remove_security_group(context: Context, cluster: Cluster) -> None:
    backend = ec2(context.region.account, context.region.name)
    group_id = cluster.body["resourcesVpcConfig"].get("clusterSecurityGroupId")
    if not group_id:
        return
    try:
        backend.drop_security_group(group_id)
    except AwsError:
        pass  # It is still in use. EKS leaves it in that case too.
