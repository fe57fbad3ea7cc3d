"""Add-ons of a cluster, and the add-on versions that EKS offers."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import yaml

from ..catalog import CATALOG
from ..versions import ADDONS, MINORS, Addon, minor_number
from . import addon_conflicts, guard_duty, pod_identity
from .addon_configuration import check_configuration, schema_text
from .operations import Context, idempotent, operation, page, start_update
from .state import Cluster, Part, Update, bad_parameter, bad_request, in_use, new_id, not_found
from .tags import check_tags


# Pod labels that selectors of Fargate profiles match.
POD_LABELS = {"coredns": {"k8s-app": "kube-dns", "eks.amazonaws.com/component": "coredns"}}


def find_addon(cluster: Cluster, name: str) -> Part:
    part = cluster.addons.get(name)
    if part is None:
        raise not_found(f"No addon: {name} found in cluster: {cluster.name}", clusterName=cluster.name, addonName=name)
    return part


def choose_version(context: Context, cluster: Cluster, addon: Addon, requested: str | None) -> str:
    account = context.region.account
    if requested is None:
        return CATALOG.default_addon_version(account, addon, cluster.version)
    if requested not in {v.version for v in CATALOG.addon_versions(account, addon, cluster.version)}:
        raise bad_parameter(
            f"Addon version specified is not supported: {addon.name} {requested} on Kubernetes {cluster.version}",
            clusterName=cluster.name,
            addonName=addon.name,
        )
    return requested


@operation
def create_addon(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    part = idempotent(context, "CreateAddon", lambda: new_addon(context, cluster))
    return {"addon": dict(part.body)}


def new_addon(context: Context, cluster: Cluster) -> Part:
    params = context.params
    name = params["addonName"]
    resource = {"clusterName": cluster.name, "addonName": name}
    if name in cluster.addons:
        raise in_use("Addon already exists.", **resource)
    if cluster.status != "ACTIVE":
        raise bad_request(f"Cannot create addon: cluster '{cluster.name}' is not in ACTIVE status", **resource)
    addon = ADDONS.get(name)
    if addon is None or not CATALOG.addon_versions(context.region.account, addon, cluster.version):
        raise bad_parameter(f"Addon {name} specified is not supported in {cluster.version} kubernetes version", **resource)
    version = choose_version(context, cluster, addon, params.get("addonVersion"))
    check_configuration(addon, params.get("configurationValues"), resource)
    body: dict[str, Any] = {
        "addonName": name,
        "clusterName": cluster.name,
        "status": "CREATING",
        "addonVersion": version,
        "health": {"issues": []},
        "addonArn": context.region.arn(f"addon/{cluster.name}/{name}/{new_id()}"),
        "createdAt": context.now,
        "modifiedAt": context.now,
        "tags": check_tags(params.get("tags")),
        "publisher": "eks",
        "owner": "aws",
        "namespaceConfig": {"namespace": (params.get("namespaceConfig") or {}).get("namespace", addon.namespace)},
    }
    for key in ("serviceAccountRoleArn", "configurationValues"):
        if params.get(key):
            body[key] = params[key]
    check_associations(context, cluster, body["namespaceConfig"]["namespace"], params.get("podIdentityAssociations") or [], resource)
    part = Part(body, {"addon": addon, "conflicts": params.get("resolveConflicts") or "NONE"})
    cluster.addons[name] = part
    associate(context, cluster, part, params.get("podIdentityAssociations") or [])
    context.timeline.after(context.settings.addon_seconds, lambda: finish_creation(context, cluster, part))
    return part


def associate(context: Context, cluster: Cluster, part: Part, wanted: list[dict[str, str]]) -> None:
    """Replaces the pod identity associations that the add-on owns."""
    association_arns = []
    for association_id in part.data.get("associations", []):
        cluster.pod_identities.pop(association_id, None)
    part.data["associations"] = []
    for item in wanted:
        association = pod_identity.new_association(
            context, cluster, part.body["namespaceConfig"]["namespace"], item["serviceAccount"], item["roleArn"], owner=part.body["addonArn"]
        )
        part.data["associations"].append(association.body["associationId"])
        association_arns.append(association.body["associationArn"])
    if association_arns:
        part.body["podIdentityAssociations"] = association_arns
    else:
        part.body.pop("podIdentityAssociations", None)


def check_associations(
    context: Context, cluster: Cluster, namespace: str, wanted: list[dict[str, str]], resource: dict[str, str], owner: str = ""
) -> None:
    """EKS checks them before it changes anything: the roles, and that no other association has a service account."""
    for item in wanted:
        pod_identity.check_role(context, item["roleArn"])
        for part in cluster.pod_identities.values():
            of = (part.body["namespace"], part.body["serviceAccount"])
            if of == (namespace, item["serviceAccount"]) and part.body.get("ownerArn", "") != (owner or "none"):
                raise in_use(f"Association already exists: {part.body['associationId']}", **resource)


def finish_creation(context: Context, cluster: Cluster, part: Part) -> None:
    if part.body["status"] != "CREATING":
        return
    outcome = context.outcome
    conflict = addon_conflicts.on_create(cluster, part.body["addonName"], part.data.get("conflicts", "NONE"))
    if conflict and "fail" not in outcome:
        outcome = {"health_issue": conflict, **outcome}
    if "fail" in outcome or "health_issue" in outcome:
        issue = outcome.get("health_issue") or {"code": "InternalFailure", "message": outcome["fail"]}
        part.body["health"]["issues"] = [{"resourceIds": [], "code": "InternalFailure", "message": "", **issue}]
        part.body["status"] = outcome.get("status", "CREATE_FAILED")
        return
    update_health(context, cluster, part)


def runs_on_fargate(cluster: Cluster, part: Part) -> bool:
    """Whether a Fargate profile selects its pods. coredns pods need EC2 unless computeType is fargate."""
    name, namespace = part.body["addonName"], part.body["namespaceConfig"]["namespace"]
    configuration = yaml.safe_load(part.body.get("configurationValues") or "") or {}
    if name == "coredns" and str(configuration.get("computeType", "")).lower() != "fargate":
        return False
    labels = POD_LABELS.get(name, {})
    return any(
        fnmatchcase(namespace, selector["namespace"])
        and all(fnmatchcase(labels.get(key, ""), value) for key, value in (selector.get("labels") or {}).items())
        for profile in cluster.fargate_profiles.values()
        if profile.body["status"] == "ACTIVE"
        for selector in profile.body["selectors"]
    )


def update_health(context: Context, cluster: Cluster, part: Part) -> None:
    """Sets ACTIVE, or DEGRADED while its pods cannot be scheduled."""
    part.body["modifiedAt"] = context.now
    if part.data["addon"].needs_nodes and not cluster.has_nodes() and not runs_on_fargate(cluster, part):
        part.body["status"] = "DEGRADED"
        part.body["health"]["issues"] = [
            {
                "code": "InsufficientNumberOfReplicas",
                "message": "The add-on is unhealthy because it doesn't have the desired number of replicas.",
                "resourceIds": [],
            }
        ]
        return
    part.body["status"] = "ACTIVE"
    part.body["health"]["issues"] = []


def schedule_health_checks(context: Context, cluster: Cluster) -> None:
    """Schedules health checks after nodes were added or removed, with a delay for pod scheduling."""
    for part in cluster.addons.values():
        if part.data["addon"].needs_nodes and part.body["status"] in ("ACTIVE", "DEGRADED"):
            context.timeline.after(context.settings.addon_seconds, lambda p=part: check_health(context, cluster, p))  # type: ignore[misc]


def check_health(context: Context, cluster: Cluster, part: Part) -> None:
    issues = {issue["code"] for issue in part.body["health"]["issues"]}
    if part.body["status"] in ("ACTIVE", "DEGRADED") and issues <= {"InsufficientNumberOfReplicas"}:
        update_health(context, cluster, part)


@operation
def describe_addon(context: Context) -> dict[str, Any]:
    return {"addon": dict(find_addon(context.cluster(), context.params["addonName"]).body)}


@operation
def list_addons(context: Context) -> dict[str, Any]:
    return page(context, sorted(context.cluster().addons), "addons")


@operation
def update_addon(context: Context) -> dict[str, Any]:
    return {"update": idempotent(context, "UpdateAddon", lambda: change_addon(context)).body()}


def change_addon(context: Context) -> Update:
    params = context.params
    cluster = context.cluster()
    part = find_addon(cluster, params["addonName"])
    body, addon = part.body, part.data["addon"]
    resource = {"clusterName": cluster.name, "addonName": addon.name}
    addon_conflicts.check_updatable(part, resource)
    if cluster.status != "ACTIVE":
        raise bad_request(f"Cannot update addon: cluster '{cluster.name}' is not in ACTIVE status", **resource)
    new: dict[str, Any] = {}
    described: list[tuple[str, Any]] = []
    if params.get("addonVersion"):
        new["addonVersion"] = choose_version(context, cluster, addon, params["addonVersion"])
        described.append(("AddonVersion", new["addonVersion"]))
    for key, name in (("serviceAccountRoleArn", "ServiceAccountRoleArn"), ("configurationValues", "ConfigurationValues")):
        if params.get(key) is not None:
            new[key] = params[key]
            described.append((name, params[key]))
    check_configuration(addon, params.get("configurationValues"), resource)
    mode = params.get("resolveConflicts") or "NONE"
    described.append(("ResolveConflicts", mode))
    if params.get("podIdentityAssociations") is not None:
        wanted = params["podIdentityAssociations"]
        check_associations(context, cluster, body["namespaceConfig"]["namespace"], wanted, resource, body["addonArn"])
        described.append(("PodIdentityAssociations", params["podIdentityAssociations"]))
    body["status"] = "UPDATING"
    conflict = addon_conflicts.on_update(cluster, addon.name, mode)
    if conflict and not context.outcome:
        context.outcome = {"health_issue": conflict}

    def finish(update: Update) -> None:
        if body["status"] != "UPDATING":
            return
        if update.status != "Successful":
            body["status"] = "UPDATE_FAILED"
            body["health"]["issues"] = [
                {"code": e["errorCode"], "message": e["errorMessage"], "resourceIds": e["resourceIds"]} for e in update.errors
            ]
            return
        body.update({k: v for k, v in new.items() if v})
        for key, value in new.items():
            if not value:
                body.pop(key, None)
        if params.get("podIdentityAssociations") is not None:
            associate(context, cluster, part, params["podIdentityAssociations"])
        update_health(context, cluster, part)

    return start_update(context, cluster, "AddonUpdate", described, context.settings.addon_seconds, finish, addon=addon.name)


@operation
def delete_addon(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    part = find_addon(cluster, context.params["addonName"])
    if part.body["status"] in ("DELETING", "UPDATING"):
        raise in_use(
            f"Addon {part.body['addonName']} is currently in {part.body['status']} status",
            clusterName=cluster.name,
            addonName=part.body["addonName"],
        )
    part.body["status"] = "DELETING"
    addon_conflicts.on_delete(cluster, part.body["addonName"], bool(context.params.get("preserve")))

    def finish() -> None:
        if cluster.addons.get(part.body["addonName"]) is part:
            if "fail" in context.outcome or "health_issue" in context.outcome:
                issue = context.outcome.get("health_issue") or {"code": "InternalFailure", "message": context.outcome["fail"]}
                part.body["health"]["issues"] = [{"resourceIds": [], "message": "", **issue}]
                part.body["status"] = "DELETE_FAILED"
                return
            associate(context, cluster, part, [])
            del cluster.addons[part.body["addonName"]]
            keeps = cluster.unmanaged_software.add if context.params.get("preserve") else cluster.unmanaged_software.discard
            keeps(part.body["addonName"])
            if part.body["addonName"] == guard_duty.ADDON:
                guard_duty.watch(context, cluster)

    context.timeline.after(context.settings.addon_seconds, finish)
    return {"addon": dict(part.body)}


@operation
def describe_addon_versions(context: Context) -> dict[str, Any]:
    params = context.params
    version, name = params.get("kubernetesVersion"), params.get("addonName")
    if version is not None and version not in MINORS:
        raise bad_parameter(f"Kubernetes version {version} is not supported")
    if name is not None and name not in ADDONS:
        raise not_found(f"Addon {name} not found", addonName=name)
    infos = []
    for addon in ADDONS.values():
        wanted = all(
            (
                name in (None, addon.name),
                not params.get("types") or addon.type in params["types"],
                not params.get("publishers") or "eks" in params["publishers"],
                not params.get("owners") or "aws" in params["owners"],
            )
        )
        info = addon_info(context.region.account, addon, version) if wanted else None
        if info:
            infos.append(info)
    return page(context, infos, "addons")


def addon_info(account: str, addon: Addon, version: str | None) -> dict[str, Any] | None:
    minors = [version] if version else list(reversed(MINORS))
    versions = []
    for candidate in CATALOG.all_versions(account, addon):
        fits = [m for m in minors if candidate.first <= minor_number(m) <= candidate.last]
        if fits:
            versions.append(
                {
                    "addonVersion": candidate.version,
                    "architecture": ["amd64", "arm64"],
                    "computeTypes": ["ec2", "fargate", "hybrid"] if addon.needs_nodes else ["ec2", "hybrid"],
                    "compatibilities": [
                        {
                            "clusterVersion": m,
                            "platformVersions": ["*"],
                            "defaultVersion": candidate.version == CATALOG.default_addon_version(account, addon, m),
                        }
                        for m in fits
                    ],
                    "requiresConfiguration": False,
                    "requiresIamPermissions": addon.requires_iam,
                }
            )
    if not versions:
        return None
    return {
        "addonName": addon.name, "type": addon.type, "addonVersions": versions, "publisher": "eks", "owner": "aws",
        "defaultNamespace": addon.namespace,
    }


@operation
def describe_addon_configuration(context: Context) -> dict[str, Any]:
    params = context.params
    addon = ADDONS.get(params["addonName"])
    if addon is None or params["addonVersion"] not in {v.version for v in CATALOG.all_versions(context.region.account, addon)}:
        raise not_found(f"Addon {params['addonName']} with version {params['addonVersion']} not found", addonName=params["addonName"])
    answer: dict[str, Any] = {
        "addonName": addon.name, "addonVersion": params["addonVersion"], "configurationSchema": schema_text(addon), "podIdentityConfiguration": [],
    }
    if addon.service_account:
        answer["podIdentityConfiguration"] = [
            {"serviceAccount": addon.service_account, "recommendedManagedPolicies": list(addon.policies)}
        ]
    return answer
