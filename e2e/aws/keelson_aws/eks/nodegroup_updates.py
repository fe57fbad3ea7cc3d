"""Updates of a node group: configuration and version."""

from __future__ import annotations

from typing import Any

from ..versions import minor_number
from . import addons, fleet, launching, rolling
from .launch_templates import check_instance_types, source_template
from .nodegroup_settings import check_repair, check_warm_pool
from .nodegroups import (
    check_ami_type,
    check_scaling,
    check_taints,
    check_update_config,
    check_version,
    find_nodegroup,
    releases_of,
)
from .operations import Context, idempotent, operation, start_update
from .state import Cluster, Part, Update, bad_parameter, bad_request, in_use


def idle_nodegroup(context: Context) -> tuple[Cluster, Part]:
    cluster = context.cluster()
    part = find_nodegroup(cluster, context.params["nodegroupName"])
    resource = {"clusterName": cluster.name, "nodegroupName": part.body["nodegroupName"]}
    for update in cluster.updates.values():
        if update.nodegroup == part.body["nodegroupName"] and update.status == "InProgress":
            raise in_use(f"Nodegroup {update.nodegroup} currently has update {update.id} in progress", **resource)
    if part.body["status"] not in ("ACTIVE", "DEGRADED"):
        raise in_use(f"Nodegroup {part.body['nodegroupName']} is not in ACTIVE status: {part.body['status']}", **resource)
    return cluster, part


@operation
def update_nodegroup_config(context: Context) -> dict[str, Any]:
    def create() -> Update:
        cluster, part = idle_nodegroup(context)
        new, params = requested_changes(context, part)
        if not params:
            raise bad_parameter("At least one of labels, taints, scalingConfig, updateConfig and nodeRepairConfig must be specified")
        part.body["status"] = "UPDATING"

        def finish(update: Update) -> None:
            if update.status == "Successful":
                part.body.update(new)
                part.body["modifiedAt"] = context.now
                fleet.resize(context, part)
                if launching.shortage_issue(context, part) or part.body["health"]["issues"]:
                    retry_launch(context, cluster, part)
            leave_updating(context, cluster, part)

        return start_update(
            context, cluster, "ConfigUpdate", params, context.settings.nodegroup_seconds, finish, nodegroup=part.body["nodegroupName"]
        )

    return {"update": idempotent(context, "UpdateNodegroupConfig", create).body()}


def retry_launch(context: Context, cluster: Cluster, part: Part) -> None:
    """The Auto Scaling group tries to launch what is missing until the quota allows it; meanwhile the node group is degraded."""
    group = fleet.auto_scaling_group(context, part)
    if group is None or part.body["status"] not in ("ACTIVE", "DEGRADED", "UPDATING") or part.data.get("rolling"):
        return
    group.set_desired_capacity(group.desired_capacity)
    others = [issue for issue in part.body["health"]["issues"] if issue["code"] != "AsgInstanceLaunchFailures"]
    shortage = launching.shortage_issue(context, part)
    part.body["health"]["issues"] = [*others, *([shortage] if shortage else [])]
    if part.body["status"] != "UPDATING":
        part.body["status"] = "DEGRADED" if part.body["health"]["issues"] else "ACTIVE"
    if shortage:
        context.timeline.after(context.settings.nodegroup_seconds, lambda: retry_launch(context, cluster, part))


def leave_updating(context: Context, cluster: Cluster, part: Part) -> None:
    if part.body["status"] == "UPDATING":
        part.body["status"] = "ACTIVE" if not part.body["health"]["issues"] else "DEGRADED"
    addons.schedule_health_checks(context, cluster)


def requested_changes(context: Context, part: Part) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The new values, and the parameters of the update."""
    requested = context.params
    new: dict[str, Any] = {}
    params: list[tuple[str, Any]] = []
    if requested.get("scalingConfig"):
        new["scalingConfig"] = check_scaling(part.body["scalingConfig"], requested["scalingConfig"])
        params += [(key[0].upper() + key[1:], str(value)) for key, value in requested["scalingConfig"].items()]
    if requested.get("labels"):
        labels = dict(part.body["labels"])
        labels.update(requested["labels"].get("addOrUpdateLabels") or {})
        for key in requested["labels"].get("removeLabels") or []:
            labels.pop(key, None)
        new["labels"] = labels
        for key, name in (("addOrUpdateLabels", "LabelsToAdd"), ("removeLabels", "LabelsToRemove")):
            if requested["labels"].get(key):
                params.append((name, requested["labels"][key]))
    if requested.get("taints"):
        taints = {(t["key"], t.get("effect")): t for t in part.body["taints"]}
        for taint in requested["taints"].get("removeTaints") or []:
            taints.pop((taint["key"], taint.get("effect")), None)
        for taint in requested["taints"].get("addOrUpdateTaints") or []:
            taints[(taint["key"], taint.get("effect"))] = taint
        new["taints"] = check_taints(list(taints.values()))
        for key, name in (("addOrUpdateTaints", "TaintsToAdd"), ("removeTaints", "TaintsToRemove")):
            if requested["taints"].get(key):
                params.append((name, requested["taints"][key]))
    if requested.get("updateConfig"):
        new["updateConfig"] = check_update_config(requested["updateConfig"])
        params += [(key[0].upper() + key[1:], str(value)) for key, value in requested["updateConfig"].items()]
    if requested.get("nodeRepairConfig"):
        new["nodeRepairConfig"] = check_repair(requested["nodeRepairConfig"])
        params.append(("NodeRepairConfig", requested["nodeRepairConfig"]))
    if requested.get("warmPoolConfig"):
        now = part.body.get("warmPoolConfig") or {}
        new["warmPoolConfig"] = check_warm_pool(requested["warmPoolConfig"], now, part.body["amiType"], part.body["capacityType"])
        params += [(f"WarmPool{key[0].upper()}{key[1:]}".replace("PoolPool", "Pool"), str(value)) for key, value in requested["warmPoolConfig"].items()]
    return new, params


@operation
def update_nodegroup_version(context: Context) -> dict[str, Any]:
    return {"update": idempotent(context, "UpdateNodegroupVersion", lambda: change_version(context)).body()}


def change_version(context: Context) -> Update:
    cluster, part = idle_nodegroup(context)
    requested, body = context.params, part.body
    resource = {"clusterName": cluster.name, "nodegroupName": body["nodegroupName"]}
    template = None
    # "Make sure that the desired size of the node group is set to 0": that EKS refuses it otherwise is our inference.
    # https://docs.aws.amazon.com/eks/latest/userguide/capacity-blocks-mng.html
    if body["capacityType"] == "CAPACITY_BLOCK" and body["scalingConfig"]["desiredSize"] > 0:
        raise bad_request("A node group with capacity type CAPACITY_BLOCK can only be updated with a desired size of 0", **resource)
    if body["amiType"] == "CUSTOM":
        check_custom_image(requested, resource)
    if requested.get("launchTemplate"):
        if not body.get("launchTemplate"):
            raise bad_parameter("You cannot add a launch template to a node group that was created without one", **resource)
        template = source_template(context, requested["launchTemplate"], {}, body["capacityType"])
        assert template is not None
        if template["id"] != body["launchTemplate"]["id"]:
            raise bad_parameter("The launch template of a node group cannot be replaced by another one", **resource)
        if bool(template["data"].get("ImageId")) != (body["amiType"] == "CUSTOM"):
            raise bad_parameter("A new node group is needed to specify an image id in the launch template, or to specify none any more", **resource)
        check_instance_types(template, body.get("instanceTypes"))
    # API_UpdateNodegroupVersion: without a version the node group is updated to the cluster's; a release is one of its current version.
    keeps_version = body["amiType"] == "CUSTOM" or requested.get("releaseVersion")
    version = requested.get("version") or (body["version"] if keeps_version else cluster.version)
    check_version(cluster, version)
    if minor_number(version) < minor_number(body["version"]):
        raise bad_parameter(f"Nodegroup kubernetes version cannot be lowered from {body['version']} to {version}", **resource)
    check_ami_type(body["amiType"], version, [])
    source = template or {"data": part.data.get("source_template") or {}}
    releases = releases_of(context, version, body["amiType"], source)
    release = requested.get("releaseVersion") or releases[0]
    if release not in releases:
        raise bad_parameter(f"Requested release version {release} is not valid for kubernetes version {version}.", **resource)
    if version == body["version"] and release != body["releaseVersion"] and is_older(release, body["releaseVersion"], releases):
        raise bad_parameter(f"Nodegroup release version cannot be lowered from {body['releaseVersion']} to {release}", **resource)
    if version == body["version"] and release == body["releaseVersion"] and template is None:
        raise bad_parameter(f"Nodegroup is already at the desired configuration with version {version} and release version {release}", **resource)
    if cluster.status != "ACTIVE":
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", **resource)
    body["status"] = "UPDATING"
    if not context.outcome and (cause := launching.launch_issue(context, cluster, part, source["data"])):
        # EKS's updates have no code of their own for the launch of instances.
        known = cause["code"] == "NodeCreationFailure" or cause["code"] == "AsgInstanceLaunchFailures"
        context.outcome = {"health_issue": rolling.not_joining(part) if known else {**cause, "code": "Unknown"}}
    issue = rolling.failure(context)
    # The error then names the nodes that could not be drained, which are known only at the end.
    name_remaining_nodes = issue is not None and issue.get("code") == "PodEvictionFailure" and not issue.get("resourceIds")
    if issue is None:
        context.outcome = {}
    params: list[tuple[str, Any]] = [("Version", version), ("ReleaseVersion", release)]
    if template:
        params += [("LaunchTemplateName", template["name"]), ("LaunchTemplateVersion", template["version"])]

    def finish(update: Update) -> None:
        if update.status == "Successful":
            body["version"], body["releaseVersion"] = version, release
            if template:
                body["launchTemplate"] = {k: template[k] for k in ("id", "name", "version")}
                part.data["source_template"] = template["data"]
            body["modifiedAt"] = context.now
        elif name_remaining_nodes and update.errors:
            update.errors[0]["resourceIds"] = rolling.remaining_nodes(context, part)
        rolling.finish(context, cluster, part, update.status == "Successful")
        leave_updating(context, cluster, part)

    image = fleet.image(version, release, template["data"] if template else part.data.get("source_template"))
    seconds = context.settings.nodegroup_seconds
    rolling.start(context, cluster, part, image, seconds)
    return start_update(context, cluster, "VersionUpdate", params, seconds, finish, nodegroup=body["nodegroupName"])


def check_custom_image(requested: dict[str, Any], resource: dict[str, str]) -> None:
    """A custom AMI contains its own kubelet, so EKS rejects a version (eksctl-io/eksctl#5748)."""
    if requested.get("version"):
        raise bad_parameter("You cannot specify the field kubernetesVersion when using custom AMIs.", **resource)
    if requested.get("releaseVersion"):
        raise bad_parameter("You cannot specify the field releaseVersion when using custom AMIs.", **resource)
    if not requested.get("launchTemplate"):
        raise bad_parameter("Launch template details can't be null for Custom ami type node group", **resource)


def is_older(release: str, than: str, releases: list[str]) -> bool:
    """Whether `release` comes after `than` in the list, newest first. A release that is no longer offered is older than all."""
    return than in releases and releases.index(release) > releases.index(than)
