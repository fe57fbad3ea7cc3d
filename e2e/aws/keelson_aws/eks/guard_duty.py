"""GuardDuty with the automated agent configuration of Runtime Monitoring: in each cluster's VPC it creates an endpoint and a security group,
and it installs its add-on, again whenever somebody deletes it. Endpoint and group stay when the cluster is deleted
(https://docs.aws.amazon.com/guardduty/latest/ug/how-runtime-monitoring-works-eks.html,
https://docs.aws.amazon.com/guardduty/latest/ug/using-iac-with-gdu-automated-agents-runtime-monitoring.html).

A cluster with the tag GuardDutyManaged=false is left alone.
"""

from __future__ import annotations

from typing import Any

from ..catalog import CATALOG
from ..cloud import ec2
from ..versions import ADDONS
from .operations import Context
from .state import Cluster, Part, new_id

ADDON = "aws-guardduty-agent"


def protects(context: Context, cluster: Cluster) -> bool:
    accounts = context.settings.guard_duty_accounts.split(",")
    return context.region.account in accounts and cluster.body["tags"].get("GuardDutyManaged") != "false"


def watch(context: Context, cluster: Cluster) -> None:
    """Installs the agent a while after the cluster is active, or after somebody deleted it."""
    if protects(context, cluster):
        context.timeline.after(context.settings.addon_seconds, lambda: install(context, cluster))


def install(context: Context, cluster: Cluster) -> None:
    if context.region.clusters.get(cluster.name) is not cluster or cluster.status == "DELETING" or not protects(context, cluster):
        return
    create_endpoint(context, cluster)
    if ADDON not in cluster.addons:
        addon = ADDONS[ADDON]
        body: dict[str, Any] = {
            "addonName": ADDON,
            "clusterName": cluster.name,
            "status": "ACTIVE",
            "addonVersion": CATALOG.default_addon_version(context.region.account, addon, cluster.version),
            "health": {"issues": []},
            "addonArn": context.region.arn(f"addon/{cluster.name}/{ADDON}/{new_id()}"),
            "createdAt": context.now,
            "modifiedAt": context.now,
            "tags": {},
            "publisher": "eks",
            "owner": "aws",
            "namespaceConfig": {"namespace": addon.namespace},
        }
        cluster.addons[ADDON] = Part(body, {"addon": addon})


def create_endpoint(context: Context, cluster: Cluster) -> None:
    backend = ec2(context.region.account, context.region.name)
    service = f"com.amazonaws.{context.region.name}.guardduty-data"
    vpc_id = cluster.vpc_id
    if any(e.vpc_id == vpc_id and e.service_name == service for e in backend.vpc_end_points.values()):
        return
    tags = {"GuardDutyManaged": "true"}
    group = backend.create_security_group(f"GuardDutyManagedSecurityGroup-{vpc_id}", "Associated with VPC endpoint of GuardDuty", vpc_id, tags=tags)
    endpoint = backend.create_vpc_endpoint(vpc_id, service, "Interface", None, [], subnet_ids=[], security_group_ids=[group.id], tags=tags)
    zones: dict[str, Any] = {}
    for subnet_id in cluster.body["resourcesVpcConfig"]["subnetIds"]:
        subnet = backend.find_subnet(subnet_id)
        if subnet is not None:
            zones.setdefault(subnet.availability_zone, subnet)
    endpoint.vpc_endpoint_type, endpoint.state, endpoint.subnet_ids = "Interface", "available", [s.id for s in zones.values()]
    for subnet in zones.values():
        interface = backend.create_network_interface(
            subnet, backend.free_address(subnet), group_ids=[group.id], description=f"VPC Endpoint Interface {endpoint.id}"
        )
        interface.requester_managed = True
        interface.status = "in-use"
        interface.interface_type = "vpc_endpoint"
        endpoint.network_interface_ids.append(interface.id)
