"""Why the nodes of a group cannot be launched or join, by its subnets. No I/O.

- Public subnets must assign public addresses, private ones need a way out or VPC endpoints, and the VPC DNS:
  https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#node-subnet-reqs, .../private-clusters.html
- An IPv6 cluster's nodes need subnets that assign such addresses, and a role that may assign more of them:
  https://docs.aws.amazon.com/eks/latest/userguide/cni-ipv6.html
- An instance type that the zone does not offer: https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.iam.models import iam_backends

from ..cloud import ec2
from .operations import Context
from .state import Cluster, Part

# Services without which a node in a subnet without a way out does not join.
ENDPOINTS = ("ec2", "ecr.api", "ecr.dkr", "s3")
FAILED_TO_JOIN = "Instances failed to join the kubernetes cluster"


def subnet_issue(context: Context, cluster: Cluster, part: Part, instance_ids: list[str]) -> dict[str, Any] | None:
    """The issue of the group's subnets, if any."""
    backend = ec2(context.region.account, context.region.name)
    subnets = [backend.get_subnet(subnet) for subnet in part.body["subnets"]]
    not_offered = sorted({s.availability_zone for s in subnets if not offers_any(context, s, part.body.get("instanceTypes") or [])})
    if not_offered:
        types, zone = ", ".join(part.body["instanceTypes"]), not_offered[0]
        return {
            "code": "AsgInstanceLaunchFailures",
            "message": f"Could not launch On-Demand Instances. Unsupported - Your requested instance type ({types}) is not supported in "
            f"your requested Availability Zone ({zone}). Launching EC2 instance failed.",
            "resourceIds": [group["name"] for group in part.body["resources"]["autoScalingGroups"]],
        }
    without_public_ips = [s.id for s in subnets if backend.is_public(s.id) and not s.map_public_ip_on_launch and not s.ipv6_cidr_block_associations]
    if without_public_ips:
        return {
            "code": "Ec2SubnetInvalidConfiguration",
            "message": f"One or more Amazon EC2 Subnets of [{', '.join(without_public_ips)}] for node group {part.body['nodegroupName']} does not "
            "automatically assign public IP addresses to instances launched into it.",
            "resourceIds": without_public_ips,
        }
    if cluster.body["kubernetesNetworkConfig"].get("ipFamily") == "ipv6":
        without_ipv6 = [s.id for s in subnets if not s.ipv6_cidr_block_associations or str(s.assign_ipv6_address_on_creation).lower() != "true"]
        if without_ipv6:
            return {
                "code": "Ec2SubnetMissingIpv6Assignment",
                "message": f"One or more Amazon EC2 Subnets of [{', '.join(without_ipv6)}] for node group {part.body['nodegroupName']} does not "
                "automatically assign IPv6 addresses to instances launched into it.",
                "resourceIds": without_ipv6,
            }
        if not assigns_ipv6_addresses(context.region.account, part.body["nodeRole"]):
            return {"code": "NodeCreationFailure", "message": FAILED_TO_JOIN, "resourceIds": instance_ids}
    vpc = backend.get_vpc(cluster.vpc_id)
    has_dns = vpc.enable_dns_support in (True, "true") and vpc.enable_dns_hostnames in (True, "true")
    if context.settings.nodes_need_network and not (has_dns and all(can_join(backend, cluster, subnet) for subnet in subnets)):
        return {"code": "NodeCreationFailure", "message": FAILED_TO_JOIN, "resourceIds": instance_ids}
    return None


def assigns_ipv6_addresses(account: str, role_arn: str) -> bool:
    """Whether a policy of the role lets the CNI assign IPv6 addresses to Pods. AWS has no managed policy with it."""
    role = iam_backends[account]["aws"].get_role(role_arn.rpartition("/")[2])
    documents = [*role.policies.values(), *(version.document for policy in role.managed_policies.values() for version in policy.versions)]
    return any("ec2:AssignIpv6Addresses" in str(document) or "AdministratorAccess" in str(document) for document in documents)


def lacks_cni(context: Context, cluster: Cluster) -> bool:
    """Whether nodes stay NotReady for want of a CNI. Only where there is an API server that shows its DaemonSet."""
    settings = context.settings
    has_api = bool(settings.workload_kubeconfig or (settings.workload_each and cluster.api_server))
    return bool(settings.nodes_need_cni) and has_api and not cluster.has_cni()


def offers_any(context: Context, subnet: Any, types: list[str]) -> bool:
    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(context.region.name, [])
    here = {offer["InstanceType"] for offer in offers if offer["Location"] == subnet.availability_zone}
    # If moto has no offerings for the zone, all types are offered.
    return not types or not here or any(name in here for name in types)


def can_join(backend: Any, cluster: Cluster, subnet: Any) -> bool:
    table = backend.route_table_of(subnet)
    if table is None or any(leads_out(route) for route in table.routes):
        return True
    services = {
        endpoint.service_name.split(f".{backend.region_name}.")[-1]
        for endpoint in backend.vpc_end_points.values()
        if endpoint.vpc_id == subnet.vpc_id and (not endpoint.route_table_ids or table.id in endpoint.route_table_ids)
    }
    return bool(cluster.body["resourcesVpcConfig"]["endpointPrivateAccess"]) and services.issuperset(ENDPOINTS)


def leads_out(route: Any) -> bool:
    default = str(route.destination_cidr_block or "") == "0.0.0.0/0" or str(route.destination_ipv6_cidr_block or "") == "::/0"
    return default and not route.local and route.state == "active"
