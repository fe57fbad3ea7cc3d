"""Pod identity associations: the role of the pods of a service account."""

from __future__ import annotations

import re
from typing import Any

from ..cloud import account_of, find_role, trusts_service
from .operations import Context, idempotent, operation, page
from .state import Cluster, Part, bad_parameter, bad_request, in_use, new_hex, not_found
from .tags import check_tags

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def new_association(
    context: Context, cluster: Cluster, namespace: str, service_account: str, role_arn: str, owner: str = "", **more: Any
) -> Part:
    for part in cluster.pod_identities.values():
        if (part.body["namespace"], part.body["serviceAccount"]) == (namespace, service_account):
            raise in_use(f"Association already exists: {part.body['associationId']}", clusterName=cluster.name)
    check_role(context, role_arn)
    association_id = "a-" + new_hex(17).lower()
    body: dict[str, Any] = {
        "clusterName": cluster.name,
        "namespace": namespace,
        "serviceAccount": service_account,
        "roleArn": role_arn,
        "associationArn": context.region.arn(f"podidentityassociation/{cluster.name}/{association_id}"),
        "associationId": association_id,
        "tags": more.pop("tags", {}),
        "createdAt": context.now,
        "modifiedAt": context.now,
        "disableSessionTags": bool(more.pop("disableSessionTags", False)),
    }
    if owner:
        body["ownerArn"] = owner
    body.update({k: v for k, v in more.items() if v})
    part = Part(body)
    cluster.pod_identities[association_id] = part
    return part


def check_role(context: Context, role_arn: str) -> None:
    if account_of(role_arn) != context.region.account:
        raise bad_parameter("Role provided in the request must be in the account of the cluster")
    role = find_role(role_arn)
    if role is None:
        raise bad_parameter("Role provided in the request does not exist.")
    if not trusts_service(role, "pods.eks.amazonaws.com"):
        raise bad_parameter("Trust policy of role provided in the request must allow pods.eks.amazonaws.com to assume it.")


def updatable_cluster(context: Context) -> Cluster:
    cluster = context.cluster()
    if cluster.status not in ("ACTIVE", "UPDATING"):
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", clusterName=cluster.name)
    return cluster


def find_association(context: Context) -> tuple[Cluster, Part]:
    cluster = context.cluster()
    part = cluster.pod_identities.get(context.params["associationId"])
    if part is None:
        raise not_found(f"The specified association could not be found: {context.params['associationId']}", clusterName=cluster.name)
    return cluster, part


def external_id(context: Context, cluster: str, namespace: str, service_account: str) -> str:
    return f"{context.region.name}/{context.region.account}/{cluster}/{namespace}/{service_account}"


@operation
def create_pod_identity_association(context: Context) -> dict[str, Any]:
    cluster = updatable_cluster(context)
    params = context.params

    def create() -> Part:
        for key in ("namespace", "serviceAccount"):
            if not DNS_LABEL.fullmatch(params[key]):
                raise bad_parameter(f"The {key} {params[key]} is not a valid Kubernetes name")
        more: dict[str, Any] = {k: params.get(k) for k in ("disableSessionTags", "targetRoleArn", "policy")}
        if params.get("targetRoleArn"):
            more["externalId"] = external_id(context, cluster.name, params["namespace"], params["serviceAccount"])
        return new_association(
            context, cluster, params["namespace"], params["serviceAccount"], params["roleArn"], tags=check_tags(params.get("tags")), **more
        )

    part = idempotent(context, "CreatePodIdentityAssociation", create)
    return {"association": dict(part.body)}


@operation
def describe_pod_identity_association(context: Context) -> dict[str, Any]:
    return {"association": dict(find_association(context)[1].body)}


@operation
def list_pod_identity_associations(context: Context) -> dict[str, Any]:
    params = context.params
    summary = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId", "ownerArn")
    found = [
        {key: part.body[key] for key in summary if key in part.body}
        for part in context.cluster().pod_identities.values()
        if params.get("namespace") in (None, part.body["namespace"]) and params.get("serviceAccount") in (None, part.body["serviceAccount"])
    ]
    return page(context, found, "associations")


@operation
def update_pod_identity_association(context: Context) -> dict[str, Any]:
    updatable_cluster(context)
    _, part = find_association(context)
    params = context.params
    if part.body.get("ownerArn"):
        raise bad_request("The association is managed by an add-on and can only be changed there", clusterName=params["clusterName"])
    if params.get("roleArn"):
        check_role(context, params["roleArn"])
        part.body["roleArn"] = params["roleArn"]
    for key in ("disableSessionTags", "targetRoleArn", "policy"):
        if params.get(key) is not None:
            part.body[key] = params[key]
    if part.body.get("targetRoleArn"):
        part.body.setdefault("externalId", external_id(context, params["clusterName"], part.body["namespace"], part.body["serviceAccount"]))
    part.body["modifiedAt"] = context.now
    return {"association": dict(part.body)}


@operation
def delete_pod_identity_association(context: Context) -> dict[str, Any]:
    updatable_cluster(context)
    cluster, part = find_association(context)
    del cluster.pod_identities[part.body["associationId"]]
    return {"association": dict(part.body)}
