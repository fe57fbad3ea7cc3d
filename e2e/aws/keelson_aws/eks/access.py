"""Access entries and the access policies associated with them."""

from __future__ import annotations

import re
from typing import Any

from ..accounts import administrator
from ..cloud import account_of, find_role, find_user
from .operations import Context, idempotent, operation, page
from .state import Cluster, Part, bad_parameter, bad_request, in_use, new_id, not_found
from .tags import check_tags

POLICY_PREFIX = "arn:aws:eks::aws:cluster-access-policy/"
CLUSTER_ADMIN = POLICY_PREFIX + "AmazonEKSClusterAdminPolicy"
POLICIES = (
    "AmazonEKSAdminPolicy", "AmazonEKSAdminViewPolicy", "AmazonEKSAutoNodePolicy", "AmazonEKSBlockStorageClusterPolicy",
    "AmazonEKSBlockStoragePolicy", "AmazonEKSClusterAdminPolicy", "AmazonEKSComputeClusterPolicy", "AmazonEKSComputePolicy",
    "AmazonEKSEditPolicy", "AmazonEKSHybridPolicy", "AmazonEKSLoadBalancingClusterPolicy", "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingClusterPolicy", "AmazonEKSNetworkingPolicy", "AmazonEKSViewPolicy",
)
NODE_TYPES = {"EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX"}
PRINCIPAL = re.compile(r"arn:aws:iam::\d{12}:(user|role)/.+")


def new_entry(
    context: Context,
    cluster: Cluster,
    principal_arn: str,
    kind: str = "STANDARD",
    username: str | None = None,
    groups: list[str] | None = None,
    tags: dict[str, str] | None = None,
) -> Part:
    account, name = account_of(principal_arn), principal_arn.rpartition("/")[2]
    principal_kind = "role" if ":role/" in principal_arn else "user"
    if username is None:
        if kind in NODE_TYPES:
            username = "system:node:{{EC2PrivateDNSName}}" if kind.startswith("EC2") else "system:node:{{SessionName}}"
        else:
            username = f"arn:aws:sts::{account}:assumed-role/{name}/{{{{SessionName}}}}" if principal_kind == "role" else principal_arn
    body = {
        "clusterName": cluster.name,
        "principalArn": principal_arn,
        "kubernetesGroups": groups if kind not in NODE_TYPES else ["system:nodes"],
        "accessEntryArn": context.region.arn(f"access-entry/{cluster.name}/{principal_kind}/{account}/{name}/{new_id()}"),
        "createdAt": context.now,
        "modifiedAt": context.now,
        "tags": tags or {},
        "username": username,
        "type": kind,
    }
    body["kubernetesGroups"] = body["kubernetesGroups"] or []
    part = Part(body, {"policies": {}, "principal_id": principal_id(principal_arn)})
    cluster.access_entries[principal_arn] = part
    return part


def principal_id(arn: str) -> str | None:
    """The unique id of a role or user. A recreated one with the same ARN has another id."""
    found = find_role(arn) or find_user(arn)
    return None if found is None else str(found.id)


def is_valid(part: Part) -> bool:
    """EKS stores the principal's unique id with the entry but does not return it: after the principal is recreated, the entry
    grants no access. See the data type AccessEntry in the EKS API reference."""
    now = principal_id(part.body["principalArn"])
    # State saved by an older emulator has no id: assume that the principal is unchanged.
    return bool(part.data.setdefault("principal_id", now) == now)


def admits_nodes(cluster: Cluster, part: Part) -> bool:
    """Whether nodes of a node group can join: nodes that joined by an access entry need it as long as they run."""
    if not part.data.get("by_entry"):
        return True
    found = cluster.access_entries.get(part.body["nodeRole"])
    return found is not None and is_valid(found)


def bootstrap_creator(context: Context, cluster: Cluster) -> None:
    """Makes the creator an administrator, for bootstrapClusterCreatorAdminPermissions."""
    part = new_entry(context, cluster, cluster.creator_arn)
    associate(context, part, CLUSTER_ADMIN, {"type": "cluster", "namespaces": []})


def add_node_entry(context: Context, cluster: Cluster, role_arn: str, kind: str) -> bool:
    """Adds the access entry that EKS creates for the role of a managed node group or Fargate profile. Returns False if the
    cluster does not use access entries."""
    if cluster.body["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        return False
    if role_arn not in cluster.access_entries:
        new_entry(context, cluster, role_arn, kind).data["managed"] = True
    return True


def associate(context: Context, part: Part, policy_arn: str, scope: dict[str, Any]) -> dict[str, Any]:
    policies = part.data["policies"]
    known = policies.get(policy_arn)
    policies[policy_arn] = {
        "policyArn": policy_arn,
        "accessScope": {"type": scope["type"], "namespaces": scope.get("namespaces") or []},
        "associatedAt": known["associatedAt"] if known else context.now,
        "modifiedAt": context.now,
    }
    found: dict[str, Any] = policies[policy_arn]
    return found


def cluster_with_entries(context: Context) -> Cluster:
    cluster = context.cluster()
    if cluster.body["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise bad_request(
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.",
            clusterName=cluster.name,
        )
    return cluster


def updatable_cluster(context: Context) -> Cluster:
    cluster = cluster_with_entries(context)
    if cluster.status not in ("ACTIVE", "UPDATING"):
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", clusterName=cluster.name)
    return cluster


def find_entry(cluster: Cluster, principal_arn: str) -> Part:
    part = cluster.access_entries.get(principal_arn)
    if part is None:
        raise not_found(
            f"The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'. "
            f"principalArn: {principal_arn}",
            clusterName=cluster.name,
        )
    return part


def check_principal(arn: str) -> None:
    known = (
        PRINCIPAL.fullmatch(arn)
        and (find_role(arn) is not None or find_user(arn) is not None or arn == administrator(account_of(arn)).arn)
    )
    if not known:
        raise bad_parameter("The specified principalArn is invalid: invalid principal.")


def check_groups(groups: list[str] | None) -> list[str]:
    for group in groups or []:
        if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
            raise bad_parameter(f"The kubernetes group name {group} is invalid, it cannot start with system:, eks:, aws:, amazon: or iam:")
    return list(groups or [])


@operation
def create_access_entry(context: Context) -> dict[str, Any]:
    cluster = updatable_cluster(context)
    params = context.params
    arn = params["principalArn"]

    def create() -> Part:
        if arn in cluster.access_entries:
            raise in_use("The specified access entry resource is already in use on this cluster.", clusterName=cluster.name)
        check_principal(arn)
        kind = params.get("type") or "STANDARD"
        if kind not in {"STANDARD", *NODE_TYPES}:
            raise bad_parameter(f"The type {kind} is not a valid access entry type")
        if kind in NODE_TYPES and (params.get("kubernetesGroups") or params.get("username")):
            raise bad_parameter(f"You cannot set kubernetesGroups or username for an access entry of type {kind}")
        if kind in NODE_TYPES and ":role/" not in arn:
            raise bad_parameter(f"An access entry of type {kind} needs a role as principal")
        username = params.get("username")
        if username and username.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
            raise bad_parameter(f"The username {username} is invalid, it cannot start with system:, eks:, aws:, amazon: or iam:")
        groups = check_groups(params.get("kubernetesGroups"))
        return new_entry(context, cluster, arn, kind, username, groups, check_tags(params.get("tags")))

    part = idempotent(context, "CreateAccessEntry", create)
    return {"accessEntry": dict(part.body)}


@operation
def describe_access_entry(context: Context) -> dict[str, Any]:
    return {"accessEntry": dict(find_entry(cluster_with_entries(context), context.params["principalArn"]).body)}


@operation
def list_access_entries(context: Context) -> dict[str, Any]:
    cluster = cluster_with_entries(context)
    policy = context.params.get("associatedPolicyArn")
    arns = [arn for arn, part in cluster.access_entries.items() if not policy or policy in part.data["policies"]]
    return page(context, sorted(arns), "accessEntries")


@operation
def update_access_entry(context: Context) -> dict[str, Any]:
    part = find_entry(updatable_cluster(context), context.params["principalArn"])
    params = context.params
    if part.body["type"] in NODE_TYPES and (params.get("kubernetesGroups") is not None or params.get("username")):
        raise bad_parameter(f"You cannot change an access entry of type {part.body['type']}")
    if params.get("kubernetesGroups") is not None:
        part.body["kubernetesGroups"] = check_groups(params["kubernetesGroups"])
    if params.get("username"):
        part.body["username"] = params["username"]
    part.body["modifiedAt"] = context.now
    return {"accessEntry": dict(part.body)}


@operation
def delete_access_entry(context: Context) -> dict[str, Any]:
    cluster = updatable_cluster(context)
    find_entry(cluster, context.params["principalArn"])
    del cluster.access_entries[context.params["principalArn"]]
    return {}


@operation
def associate_access_policy(context: Context) -> dict[str, Any]:
    cluster = updatable_cluster(context)
    params = context.params
    part = find_entry(cluster, params["principalArn"])
    if part.body["type"] in NODE_TYPES - {"EC2"}:
        raise bad_request(f"You cannot associate a policy with an access entry of type {part.body['type']}", clusterName=cluster.name)
    if params["policyArn"].removeprefix(POLICY_PREFIX) not in POLICIES:
        raise bad_parameter("The policyArn parameter format is not valid or names no access policy: " + params["policyArn"])
    scope = params["accessScope"]
    if scope.get("type") not in ("cluster", "namespace"):
        raise bad_parameter("accessScope.type must be cluster or namespace")
    if scope["type"] == "namespace" and not scope.get("namespaces"):
        raise bad_parameter("accessScope.namespaces is required when the type is namespace")
    if scope["type"] == "cluster" and scope.get("namespaces"):
        raise bad_parameter("accessScope.namespaces is not allowed when the type is cluster")
    policy = associate(context, part, params["policyArn"], scope)
    return {"clusterName": cluster.name, "principalArn": params["principalArn"], "associatedAccessPolicy": dict(policy)}


@operation
def disassociate_access_policy(context: Context) -> dict[str, Any]:
    part = find_entry(updatable_cluster(context), context.params["principalArn"])
    if part.data["policies"].pop(context.params["policyArn"], None) is None:
        raise not_found("The specified policyArn is not associated with the access entry.", clusterName=context.params["clusterName"])
    return {}


@operation
def list_associated_access_policies(context: Context) -> dict[str, Any]:
    cluster = cluster_with_entries(context)
    part = find_entry(cluster, context.params["principalArn"])
    answer = page(context, list(part.data["policies"].values()), "associatedAccessPolicies")
    return {"clusterName": cluster.name, "principalArn": context.params["principalArn"], **answer}


@operation
def list_access_policies(context: Context) -> dict[str, Any]:
    return page(context, [{"name": name, "arn": POLICY_PREFIX + name} for name in POLICIES], "accessPolicies")
