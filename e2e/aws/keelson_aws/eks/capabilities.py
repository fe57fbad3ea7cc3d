"""EKS Capabilities: Argo CD, ACK and kro, run by EKS outside the cluster.

- https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCapability.html: one of each type in a cluster; RETAIN is the only policy
- https://docs.aws.amazon.com/eks/latest/userguide/capabilities-troubleshooting.html: the role's trust policy, its access entry
That a cluster with capabilities is not deleted, as one with node groups, is our inference. Texts are ours; no controller runs.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from ..cloud import find_role, trusts_service
from . import access
from .operations import Context, idempotent, operation, page, start_update
from .state import Cluster, Part, Update, bad_parameter, bad_request, in_use, new_id, not_found
from .tags import check_tags

NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
PRINCIPAL = "capabilities.eks.amazonaws.com"
# The member of `configuration` of each type.
CONFIGURATION = {"ARGOCD": "argoCd", "ACK": "ack", "KRO": None}
SUMMARY = ("capabilityName", "arn", "type", "status", "version", "createdAt", "modifiedAt")


def check_role(arn: str) -> None:
    role = find_role(arn)
    if role is None:
        raise bad_parameter(f"The roleArn {arn} does not exist or is not a role")
    if not trusts_service(role, PRINCIPAL):
        raise bad_parameter(f"Role {arn} could not be assumed: its trust policy must allow {PRINCIPAL}")


def check_configuration(kind: str, configuration: dict[str, Any]) -> dict[str, Any]:
    if others := [name for name in configuration if name != CONFIGURATION[kind]]:
        raise bad_parameter(f"Configuration {', '.join(others)} is not supported for capability type {kind}")
    if kind == "ARGOCD" and not (configuration.get("argoCd") or {}).get("awsIdc"):
        raise bad_parameter("configuration.argoCd.awsIdc is required for capability type ARGOCD")
    return configuration


def find_capability(context: Context) -> tuple[Cluster, Part]:
    cluster = context.cluster()
    name = context.params["capabilityName"]
    part = cluster.capabilities.get(name)
    if part is None:
        raise not_found(f"No capability found with name: {name}.", clusterName=cluster.name)
    return cluster, part


@operation
def create_capability(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    part = idempotent(context, "CreateCapability", lambda: new_capability(context, cluster))
    return {"capability": deepcopy(part.body)}


def new_capability(context: Context, cluster: Cluster) -> Part:
    params = context.params
    name, kind = params["capabilityName"], params["type"]
    if not NAME.fullmatch(name):
        raise bad_parameter(f"The capability name {name} is not valid: up to 100 letters, digits, - and _", clusterName=cluster.name)
    if name in cluster.capabilities:
        raise in_use(f"Capability already exists with name {name} and cluster name {cluster.name}", clusterName=cluster.name)
    if any(part.body["type"] == kind for part in cluster.capabilities.values()):
        raise in_use(f"A capability of type {kind} already exists in cluster {cluster.name}", clusterName=cluster.name)
    if cluster.status != "ACTIVE":
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", clusterName=cluster.name)
    if cluster.body["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise bad_request("Capabilities require the authentication mode API or API_AND_CONFIG_MAP", clusterName=cluster.name)
    check_role(params["roleArn"])
    configuration = check_configuration(kind, params.get("configuration") or {})
    part = Part(
        {
            "capabilityName": name,
            "arn": context.region.arn(f"capability/{cluster.name}/{kind.lower()}/{name}/{new_id()}"),
            "clusterName": cluster.name,
            "type": kind,
            "roleArn": params["roleArn"],
            "status": "CREATING",
            "configuration": configuration,
            "tags": check_tags(params.get("tags")),
            "health": {"issues": []},
            "createdAt": context.now,
            "modifiedAt": context.now,
            "deletePropagationPolicy": params["deletePropagationPolicy"],
        }
    )
    cluster.capabilities[name] = part
    access.add_node_entry(context, cluster, params["roleArn"], "CAPABILITY")

    def finish() -> None:
        if part.body["status"] == "CREATING":
            failed = "fail" in context.outcome or "health_issue" in context.outcome
            part.body["status"] = "CREATE_FAILED" if failed else "ACTIVE"
            if failed:
                issue = context.outcome.get("health_issue") or {"code": "AccessDenied", "message": context.outcome["fail"]}
                part.body["health"]["issues"] = [{"code": issue["code"], "message": issue.get("message", "")}]

    context.timeline.after(context.settings.addon_seconds, finish)
    return part


@operation
def describe_capability(context: Context) -> dict[str, Any]:
    return {"capability": deepcopy(find_capability(context)[1].body)}


@operation
def list_capabilities(context: Context) -> dict[str, Any]:
    parts = context.cluster().capabilities
    summaries = [{key: parts[name].body[key] for key in SUMMARY if key in parts[name].body} for name in sorted(parts)]
    return page(context, summaries, "capabilities")


@operation
def update_capability(context: Context) -> dict[str, Any]:
    return {"update": idempotent(context, "UpdateCapability", lambda: change(context)).body()}


def change(context: Context) -> Update:
    cluster, part = find_capability(context)
    body, params = part.body, context.params
    name = body["capabilityName"]
    if body["status"] not in ("ACTIVE", "DEGRADED"):
        raise in_use(f"Capability {name} is not in ACTIVE status: {body['status']}", clusterName=cluster.name)
    new: dict[str, Any] = {}
    shown: list[tuple[str, Any]] = []
    if params.get("roleArn"):
        check_role(params["roleArn"])
        new["roleArn"] = params["roleArn"]
        shown.append(("RoleArn", params["roleArn"]))
    if requested := params.get("configuration"):
        check_member(body["type"], requested)
        new["configuration"] = changed_configuration(body["configuration"], requested)
        shown += shown_changes(requested)
    if not shown:
        raise bad_parameter("At least one change must be specified", clusterName=cluster.name)
    body["status"] = "UPDATING"

    def finish(update: Update) -> None:
        if update.status == "Successful":
            body.update(new, modifiedAt=context.now)
            access.add_node_entry(context, cluster, body["roleArn"], "CAPABILITY")
        body["status"] = "ACTIVE"

    return start_update(context, cluster, "CapabilityUpdate", shown, context.settings.addon_seconds, finish, capability=name)


def check_member(kind: str, requested: dict[str, Any]) -> None:
    if others := [name for name in requested if name != CONFIGURATION[kind]]:
        raise bad_parameter(f"Configuration {', '.join(others)} is not supported for capability type {kind}")


def changed_configuration(now: dict[str, Any], requested: dict[str, Any]) -> dict[str, Any]:
    new = deepcopy(now)
    if "ack" in requested:
        new["ack"] = {**new.get("ack", {}), **requested["ack"]}
    if "argoCd" in requested:
        argo = new["argoCd"]
        mappings = {one["role"]: one["identities"] for one in argo.get("rbacRoleMappings") or []}
        changes = requested["argoCd"].get("rbacRoleMappings") or {}
        for one in changes.get("removeRoleMappings") or []:
            left = [identity for identity in mappings.get(one["role"], []) if identity not in one["identities"]]
            mappings[one["role"]] = left
        for one in changes.get("addOrUpdateRoleMappings") or []:
            mappings[one["role"]] = one["identities"]
        argo["rbacRoleMappings"] = [{"role": role, "identities": identities} for role, identities in mappings.items() if identities]
        if "networkAccess" in requested["argoCd"]:
            argo["networkAccess"] = requested["argoCd"]["networkAccess"]
    return new


def shown_changes(requested: dict[str, Any]) -> list[tuple[str, Any]]:
    argo, ack = requested.get("argoCd") or {}, requested.get("ack") or {}
    mappings = argo.get("rbacRoleMappings") or {}
    candidates = (
        ("RoleMappingsToAddOrUpdate", mappings.get("addOrUpdateRoleMappings")),
        ("RoleMappingsToRemove", mappings.get("removeRoleMappings")),
        ("NetworkAccess", argo.get("networkAccess")),
        ("DisabledServices", ack.get("disabledServices")),
        ("EnableCrossNamespace", None if ack.get("enableCrossNamespace") is None else str(ack["enableCrossNamespace"]).lower()),
    )
    return [(name, value) for name, value in candidates if value is not None]


@operation
def delete_capability(context: Context) -> dict[str, Any]:
    cluster, part = find_capability(context)
    name = part.body["capabilityName"]
    if part.body["status"] in ("CREATING", "UPDATING", "DELETING"):
        raise in_use(f"Capability {name} cannot be deleted while it is {part.body['status']}", clusterName=cluster.name)
    part.body["status"] = "DELETING"

    def finish() -> None:
        if "fail" in context.outcome or "health_issue" in context.outcome:
            part.body["status"] = "DELETE_FAILED"
            return
        cluster.capabilities.pop(name, None)

    context.timeline.after(context.settings.addon_seconds, finish)
    return {"capability": deepcopy(part.body)}
