"""Fargate profiles. Only one per cluster can be CREATING or DELETING at a time."""

from __future__ import annotations

from typing import Any

from ..cloud import ec2, find_role, trusts_service
from . import access, addons
from .network import check_zones, find_subnets
from .operations import Context, idempotent, operation, page
from .state import Cluster, Part, bad_parameter, bad_request, in_use, limit_exceeded, new_id, not_found
from .tags import check_tags


def check_none_in_progress(cluster: Cluster) -> None:
    for name, part in cluster.fargate_profiles.items():
        if part.body["status"] in ("CREATING", "DELETING"):
            raise in_use(
                f"Cannot change Fargate profiles of cluster {cluster.name} because profile {name} is currently {part.body['status']}",
                clusterName=cluster.name,
            )


@operation
def create_fargate_profile(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    part = idempotent(context, "CreateFargateProfile", lambda: new_profile(context, cluster))
    return {"fargateProfile": dict(part.body)}


def new_profile(context: Context, cluster: Cluster) -> Part:
    params = context.params
    name = params["fargateProfileName"]
    resource = {"clusterName": cluster.name}
    if name in cluster.fargate_profiles:
        raise in_use("A Fargate Profile already exists with this name in this cluster.", **resource)
    if cluster.status != "ACTIVE":
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", **resource)
    check_none_in_progress(cluster)
    if len(cluster.fargate_profiles) >= 10:
        raise limit_exceeded("Cannot exceed 10 Fargate profiles per cluster", **resource)
    check_selectors(params.get("selectors") or [])
    role = find_role(params["podExecutionRoleArn"])
    if role is None or not trusts_service(role, "eks-fargate-pods.amazonaws.com"):
        raise bad_parameter("Misconfigured PodExecutionRole Trust Policy; Please add the eks-fargate-pods.amazonaws.com Service Principal", **resource)
    subnets = params.get("subnets") or [s for s in cluster.body["resourcesVpcConfig"]["subnetIds"] if not is_public(context, s)]
    for subnet in find_subnets(context, subnets):
        if subnet.vpc_id != cluster.vpc_id:
            raise bad_parameter(f"Subnet {subnet.id} is not in the VPC of the cluster", **resource)
        if is_public(context, subnet.id):
            raise bad_parameter(f"Subnet {subnet.id} provided in Fargate Profile is not a private subnet", **resource)
    check_zones(context, find_subnets(context, subnets))
    part = Part(
        {
            "fargateProfileName": name,
            "fargateProfileArn": context.region.arn(f"fargateprofile/{cluster.name}/{name}/{new_id()}"),
            "clusterName": cluster.name,
            "createdAt": context.now,
            "podExecutionRoleArn": params["podExecutionRoleArn"],
            "subnets": subnets,
            "selectors": params.get("selectors") or [],
            "status": "CREATING",
            "tags": check_tags(params.get("tags")),
            "health": {"issues": []},
        }
    )
    cluster.fargate_profiles[name] = part
    access.add_node_entry(context, cluster, params["podExecutionRoleArn"], "FARGATE_LINUX")

    def finish() -> None:
        if part.body["status"] == "CREATING":
            failed = "fail" in context.outcome or "health_issue" in context.outcome
            part.body["status"] = "CREATE_FAILED" if failed else "ACTIVE"
            if failed:
                issue = context.outcome.get("health_issue") or {"code": "InternalFailure", "message": context.outcome["fail"]}
                part.body["health"]["issues"] = [{"resourceIds": [], **issue}]
            addons.schedule_health_checks(context, cluster)

    context.timeline.after(context.settings.nodegroup_seconds, finish)
    return part


def is_public(context: Context, subnet_id: str) -> bool:
    return bool(ec2(context.region.account, context.region.name).is_public(subnet_id))


def check_selectors(selectors: list[dict[str, Any]]) -> None:
    if not selectors:
        raise bad_parameter("Fargate Profile requires at least one selector.")
    if len(selectors) > 5:
        raise bad_parameter("Fargate Profile can have at most five selectors.")
    for selector in selectors:
        if not selector.get("namespace"):
            raise bad_parameter("Fargate Profile must have at least one selector with at least one namespace value.")
        if len(selector.get("labels") or {}) > 5:
            raise bad_parameter("Request contains Selector with more than 5 Label pairs")


def find_profile(context: Context) -> tuple[Cluster, Part]:
    cluster = context.cluster()
    name = context.params["fargateProfileName"]
    part = cluster.fargate_profiles.get(name)
    if part is None:
        raise not_found(f"No Fargate Profile found with name: {name}.", clusterName=cluster.name, fargateProfileName=name)
    return cluster, part


@operation
def describe_fargate_profile(context: Context) -> dict[str, Any]:
    return {"fargateProfile": dict(find_profile(context)[1].body)}


@operation
def list_fargate_profiles(context: Context) -> dict[str, Any]:
    return page(context, sorted(context.cluster().fargate_profiles), "fargateProfileNames")


@operation
def delete_fargate_profile(context: Context) -> dict[str, Any]:
    cluster, part = find_profile(context)
    check_none_in_progress(cluster)
    part.body["status"] = "DELETING"

    def finish() -> None:
        if "fail" in context.outcome or "health_issue" in context.outcome:
            issue = context.outcome.get("health_issue") or {"code": "InternalFailure", "message": context.outcome["fail"]}
            part.body["health"]["issues"] = [{"resourceIds": [], "message": "", **issue}]
            part.body["status"] = "DELETE_FAILED"
            return
        cluster.fargate_profiles.pop(part.body["fargateProfileName"], None)
        addons.schedule_health_checks(context, cluster)

    context.timeline.after(context.settings.nodegroup_seconds, finish)
    return {"fargateProfile": dict(part.body)}
