"""The networks of hybrid nodes.

https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cluster-update.html: private IPv4 ranges, apart from those of the VPC and of
Services and from each other; authentication by access entries; IPv4. A list that an update omits stays, others are replaced. Texts are ours.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Any

from ..cloud import ec2
from .operations import Context
from .state import bad_parameter

PRIVATE = [IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
LISTS = ("remoteNodeNetworks", "remotePodNetworks")


def cidrs_of(config: dict[str, Any], name: str) -> list[IPv4Network]:
    found = [cidr for network in config.get(name) or [] for cidr in network.get("cidrs") or []]
    try:
        return [IPv4Network(cidr) for cidr in found]
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise bad_parameter(f"Invalid CIDR in {name}: {error}") from error


def check(context: Context, now: dict[str, Any], requested: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The networks as they are shown from then on. `body`: the cluster's."""
    config = {**now, **{name: requested[name] for name in LISTS if requested.get(name) is not None}}
    nodes, pods = (cidrs_of(config, name) for name in LISTS)
    if not nodes and not pods:
        return config
    if not nodes:
        raise bad_parameter("remotePodNetworks require remoteNodeNetworks")
    if body["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise bad_parameter("Remote networks require the authentication mode API or API_AND_CONFIG_MAP")
    if body["kubernetesNetworkConfig"]["ipFamily"] != "ipv4":
        raise bad_parameter("Remote networks require the IP family ipv4")
    vpc = ec2(context.region.account, context.region.name).get_vpc(body["resourcesVpcConfig"]["vpcId"])
    ranges = [one["cidr_block"] for one in vpc.get_cidr_block_association_set()] or [vpc.cidr_block]
    others = [IPv4Network(one) for one in (*ranges, body["kubernetesNetworkConfig"]["serviceIpv4Cidr"])]
    for cidr in (*nodes, *pods):
        if not any(cidr.subnet_of(block) for block in PRIVATE):
            raise bad_parameter(f"Remote network {cidr} is not within an IPv4 RFC-1918 or CGNAT range")
        if any(cidr.overlaps(other) for other in others):
            raise bad_parameter(f"Remote network {cidr} overlaps with the VPC or the Kubernetes service range")
    if any(node.overlaps(pod) for node in nodes for pod in pods):
        raise bad_parameter("Remote node networks and remote pod networks overlap")
    return config
