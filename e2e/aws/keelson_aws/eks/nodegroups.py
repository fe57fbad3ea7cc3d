"""Node groups: create, describe, list, delete."""

from __future__ import annotations

import re
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .. import quotas
from ..cloud import attached_policies, ec2, find_role, has_inline_policies, trusts_service
from ..images import releases_of as image_releases
from ..versions import MINORS, minor_number
from . import access, addons, fleet, joining, launching
from .launch_templates import check_instance_types as check_instance_types_once
from .launch_templates import source_template
from .nodegroup_settings import check_repair, check_warm_pool
from .operations import Context, idempotent, operation, page
from .network import find_subnets
from .state import Cluster, Part, bad_parameter, bad_request, in_use, limit_exceeded, new_id, not_found
from .tags import check_tags

NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,62}")
READY_POLL_SECONDS = 0.2
# As reported in terraform-aws-modules/terraform-aws-eks#3594, after 20 to 35 minutes.
UNHEALTHY = "Unhealthy nodes in the kubernetes cluster"
# The last minor with images of Amazon Linux 2.
LAST_OF_AL2 = "1.32"


@operation
def create_nodegroup(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    part = idempotent(context, "CreateNodegroup", lambda: new_nodegroup(context, cluster))
    return {"nodegroup": dict(part.body)}


def new_nodegroup(context: Context, cluster: Cluster) -> Part:
    params = context.params
    name = params["nodegroupName"]
    resource = {"clusterName": cluster.name, "nodegroupName": name}
    if name in cluster.nodegroups:
        raise in_use(f"NodeGroup already exists with name {name} and cluster name {cluster.name}", **resource)
    if cluster.status != "ACTIVE":
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", **resource)
    if not NAME.fullmatch(name):
        raise bad_parameter(f"The node group name {name} is not valid: up to 63 letters, digits, - and _", **resource)
    region = context.region
    limit = int(quotas.value(region.account, region.name, quotas.NODE_GROUPS))
    too_many = limit_exceeded(f"Cannot exceed {limit} node groups per cluster", **resource)
    quotas.check(region.account, region.name, quotas.NODE_GROUPS, len(cluster.nodegroups), too_many)
    capacity_type = params.get("capacityType") or "ON_DEMAND"
    template = source_template(context, params.get("launchTemplate"), params, capacity_type)
    check_instance_types_once(template, params.get("instanceTypes"))
    version = params.get("version") or cluster.version
    check_version(cluster, version)
    ami_type = choose_ami_type(params, template)
    check_own_image(params, template)
    check_ami_type(ami_type, version, instance_types_of(params, template))
    releases = releases_of(context, version, ami_type, template)
    release = params.get("releaseVersion") or releases[0]
    if release not in releases:
        raise bad_parameter(f"Requested release version {release} is not valid for kubernetes version {version}.", **resource)
    check_node_role(params["nodeRole"])
    subnets = find_subnets(context, params["subnets"])
    if any(subnet.vpc_id != cluster.vpc_id for subnet in subnets):
        raise bad_parameter(f"Subnets are not in the VPC of the cluster: {cluster.vpc_id}", **resource)
    body: dict[str, Any] = {
        "nodegroupName": name,
        "nodegroupArn": context.region.arn(f"nodegroup/{cluster.name}/{name}/{new_id()}"),
        "clusterName": cluster.name,
        "version": version,
        "releaseVersion": release,
        "createdAt": context.now,
        "modifiedAt": context.now,
        "status": "CREATING",
        "capacityType": capacity_type,
        "scalingConfig": check_scaling({"minSize": 1, "maxSize": 2, "desiredSize": 2}, params.get("scalingConfig") or {}),
        "subnets": params["subnets"],
        "amiType": ami_type,
        "nodeRole": params["nodeRole"],
        "labels": params.get("labels") or {},
        "taints": check_taints(params.get("taints") or []),
        # Set from the start: Cluster API requires it.
        "resources": {"autoScalingGroups": []},
        "health": {"issues": []},
        "updateConfig": check_update_config(params.get("updateConfig") or {"maxUnavailable": 1}),
        "tags": check_tags(params.get("tags")),
    }
    if template is None or not template["data"].get("InstanceType"):
        body["instanceTypes"] = check_instance_types(params.get("instanceTypes") or ["t3.medium"])
    if template is None:
        body["diskSize"] = params.get("diskSize") or 20
    else:
        body["launchTemplate"] = {"id": template["id"], "name": template["name"], "version": template["version"]}
    if params.get("nodeRepairConfig"):
        body["nodeRepairConfig"] = check_repair(params["nodeRepairConfig"])
    if params.get("warmPoolConfig"):
        body["warmPoolConfig"] = check_warm_pool(params["warmPoolConfig"], {}, ami_type, capacity_type)
    if params.get("remoteAccess"):
        body["remoteAccess"] = params["remoteAccess"]
    part = Part(body, {"source_template": template["data"] if template else None})
    cluster.nodegroups[name] = part
    kind = "EC2_WINDOWS" if ami_type.startswith("WINDOWS") else "EC2_LINUX"
    part.data["by_entry"] = access.add_node_entry(context, cluster, params["nodeRole"], kind)
    seconds = context.settings.nodegroup_seconds
    context.timeline.after(seconds / 2, lambda: launch(context, cluster, part))
    context.timeline.after(seconds, lambda: finish_creation(context, cluster, part))
    return part


def check_version(cluster: Cluster, version: str) -> None:
    if version not in MINORS:
        raise bad_parameter("unsupported Kubernetes version", clusterName=cluster.name)
    behind = minor_number(cluster.version) - minor_number(version)
    if behind < 0 or behind > 3:
        raise bad_parameter(
            f"Nodegroup Kubernetes version {version} is not compatible with the version of the cluster: {cluster.version}",
            clusterName=cluster.name,
        )


def choose_ami_type(params: dict[str, Any], template: dict[str, Any] | None) -> str:
    if template and template["data"].get("ImageId"):
        if params.get("amiType") not in (None, "CUSTOM"):
            raise bad_parameter("You cannot specify an AMI Type other than CUSTOM, when specifying an image id in your launch template.")
        return "CUSTOM"
    # The default does not depend on the instance types.
    return str(params.get("amiType") or "AL2023_x86_64_STANDARD")


def check_own_image(params: dict[str, Any], template: dict[str, Any] | None) -> None:
    """With an AMI of the caller's, EKS takes neither a version nor a release: see `version` in API_CreateNodegroup; the text is from
    terraform-aws-modules/terraform-aws-eks#3459."""
    has_image = bool(template and template["data"].get("ImageId"))
    if params.get("amiType") == "CUSTOM" and not has_image:
        raise bad_parameter("An image id must be specified within the launch template for amiType CUSTOM")
    for field, name in (("version", "kubernetes"), ("releaseVersion", "release")):
        if has_image and params.get(field):
            raise bad_parameter(f"You cannot specify a {name} version to use when specifying an image id to use within the launch template.")


def instance_types_of(params: dict[str, Any], template: dict[str, Any] | None) -> list[str]:
    return params.get("instanceTypes") or [(template or {"data": {}})["data"].get("InstanceType", "t3.medium")]


def check_ami_type(ami_type: str, version: str, types: list[str]) -> None:
    if ami_type.startswith("AL2_") and minor_number(version) > minor_number(LAST_OF_AL2):
        raise bad_parameter(f"AMI Type {ami_type} is only supported for kubernetes versions {LAST_OF_AL2} or earlier")
    arch = "arm64" if "ARM_64" in ami_type else "x86_64"
    for name in types:
        # Unknown instance types are reported by check_instance_types.
        known = INSTANCE_TYPES.get(name)
        if ami_type != "CUSTOM" and known and not (arch in known["ProcessorInfo"]["SupportedArchitectures"] and has_accelerator(known, ami_type)):
            raise bad_parameter(f"[{name}] is not a valid instance type for requested amiType {ami_type}")


def has_accelerator(instance_type: dict[str, Any], ami_type: str) -> bool:
    """Whether the instance type has the accelerator that the image requires."""
    nvidia = any(gpu["Manufacturer"] == "NVIDIA" for gpu in instance_type.get("GpuInfo", {}).get("Gpus", []))
    neuron = "NeuronInfo" in instance_type
    wants_nvidia, wants_neuron = "NVIDIA" in ami_type or ami_type.endswith("_GPU"), "NEURON" in ami_type or ami_type.endswith("_GPU")
    return not (wants_nvidia or wants_neuron) or (wants_nvidia and nvidia) or (wants_neuron and neuron)


def releases_of(context: Context, version: str, ami_type: str, template: dict[str, Any] | None) -> list[str]:
    if ami_type == "CUSTOM":
        return [str((template or {"data": {}})["data"].get("ImageId", ""))]
    return image_releases(context.region.account, version, ami_type)


def check_node_role(arn: str) -> None:
    role = find_role(arn)
    if role is None:
        raise bad_parameter(f"The nodeRole {arn} does not exist or is not a role")
    if not trusts_service(role, "ec2.amazonaws.com"):
        raise bad_parameter(
            f"Following required service principals [ec2.amazonaws.com] were not found in the trust relationships of nodeRole {arn}"
        )


def check_scaling(now: dict[str, int], requested: dict[str, int]) -> dict[str, int]:
    scaling = {**now, **requested}
    if "desiredSize" not in requested and not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
        scaling["desiredSize"] = min(max(scaling["desiredSize"], scaling["minSize"]), scaling["maxSize"])
    if scaling["minSize"] > scaling["maxSize"]:
        raise bad_parameter(f"Minimum capacity {scaling['minSize']} can't be greater than maximum size {scaling['maxSize']}")
    if scaling["desiredSize"] < scaling["minSize"]:
        raise bad_parameter(f"Minimum capacity {scaling['minSize']} can't be greater than desired size {scaling['desiredSize']}")
    if scaling["desiredSize"] > scaling["maxSize"]:
        raise bad_parameter(f"desired capacity {scaling['desiredSize']} can't be greater than max size {scaling['maxSize']}")
    if scaling["maxSize"] > 450:
        raise bad_parameter("Maximum size cannot exceed 450 nodes")
    return scaling


def check_taints(taints: list[dict[str, str]]) -> list[dict[str, str]]:
    if len(taints) > 50:
        raise bad_parameter("A node group can have at most 50 taints")
    keys = [(taint.get("key"), taint.get("effect")) for taint in taints]
    if len(set(keys)) != len(keys):
        raise bad_parameter("Taints must be unique by key and effect")
    return taints


def check_update_config(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("maxUnavailable") and config.get("maxUnavailablePercentage"):
        raise bad_parameter("Only one of maxUnavailable and maxUnavailablePercentage can be specified")
    if (config.get("maxUnavailable") or 1) > 100:
        raise bad_parameter("maxUnavailable cannot exceed 100")
    return config


def check_instance_types(types: list[str]) -> list[str]:
    unknown = [name for name in types if name not in INSTANCE_TYPES]
    if unknown:
        raise bad_parameter(f"The following supplied instance types do not exist: [{', '.join(unknown)}]")
    return types


def launch(context: Context, cluster: Cluster, part: Part) -> None:
    if part.body["status"] != "CREATING" or "fail" in context.outcome:
        return
    issue = launching.launch_issue(context, cluster, part, part.data.get("source_template"))
    # Instances that do not join are launched all the same.
    if issue is None or issue["code"] == "NodeCreationFailure":
        fleet.create_fleet(context, cluster, part)


def health_issue(context: Context, cluster: Cluster, part: Part) -> dict[str, Any] | None:
    """The issue that keeps nodes from joining, if any: a fault, or an unsuitable role or subnet."""
    outcome = context.outcome
    if "health_issue" in outcome:
        return {"resourceIds": [], "code": "Unknown", "message": "", **outcome["health_issue"]}
    if "fail" in outcome:
        return {"code": "NodeCreationFailure", "message": outcome["fail"], "resourceIds": []}
    if issue := launching.launch_issue(context, cluster, part, part.data.get("source_template")):
        return issue
    role = find_role(part.body["nodeRole"])
    if role is None:
        return {"code": "IamNodeRoleNotFound", "message": "The node role was not found", "resourceIds": [part.body["nodeRole"]]}
    join_policies = attached_policies(role) & {"AmazonEKSWorkerNodePolicy", "AmazonEKSWorkerNodeMinimalPolicy", "AdministratorAccess"}
    if not join_policies and not has_inline_policies(role):
        why = "Instances failed to join the kubernetes cluster"
        return {"code": "NodeCreationFailure", "message": why, "resourceIds": launching.instance_ids(context, part)}
    return joining.subnet_issue(context, cluster, part, launching.instance_ids(context, part)) or launching.shortage_issue(context, part)


def finish_creation(context: Context, cluster: Cluster, part: Part, deadline: float = 0) -> None:
    if part.body["status"] != "CREATING":
        return
    issue = health_issue(context, cluster, part)
    if issue is None and joining.lacks_cni(context, cluster):
        # EKS waits for Ready nodes.
        deadline = deadline or context.now + context.settings.node_ready_seconds
        if context.now < deadline:
            context.timeline.after(READY_POLL_SECONDS, lambda: finish_creation(context, cluster, part, deadline))
            return
        issue = {"code": "NodeCreationFailure", "message": UNHEALTHY, "resourceIds": launching.instance_ids(context, part)}
    part.body["modifiedAt"] = context.now
    if issue is None:
        part.body["status"] = "ACTIVE"
    else:
        part.body["health"]["issues"] = [issue]
        part.body["status"] = context.outcome.get("status", "CREATE_FAILED")
    addons.schedule_health_checks(context, cluster)


def find_nodegroup(cluster: Cluster, name: str) -> Part:
    part = cluster.nodegroups.get(name)
    if part is None:
        raise not_found(f"No node group found for name: {name}.", clusterName=cluster.name, nodegroupName=name)
    return part


@operation
def describe_nodegroup(context: Context) -> dict[str, Any]:
    part = find_nodegroup(context.cluster(), context.params["nodegroupName"])
    fleet.read_desired_size(context, part)
    body = dict(part.body)
    if issue := fleet.template_issue(context, part):
        body.update(status="DEGRADED", health={"issues": [*body["health"]["issues"], issue]})
    if body["amiType"] == "CUSTOM" and context.settings.custom_ami_version == "hidden":
        del body["version"]
    return {"nodegroup": body}


@operation
def list_nodegroups(context: Context) -> dict[str, Any]:
    return page(context, sorted(context.cluster().nodegroups), "nodegroups")


@operation
def delete_nodegroup(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    part = find_nodegroup(cluster, context.params["nodegroupName"])
    if part.body["status"] in ("DELETING", "UPDATING"):
        raise in_use(
            f"Nodegroup cannot be deleted as it is currently {part.body['status']}",
            clusterName=cluster.name,
            nodegroupName=part.body["nodegroupName"],
        )
    part.body["status"] = "DELETING"
    part.body["modifiedAt"] = context.now
    seconds = context.settings.nodegroup_seconds
    context.timeline.after(seconds / 2, lambda: fleet.terminate(context, part))
    context.timeline.after(seconds, lambda: finish_deletion(context, cluster, part))
    return {"nodegroup": dict(part.body)}


def finish_deletion(context: Context, cluster: Cluster, part: Part) -> None:
    if part.body["status"] != "DELETING":
        return
    if "fail" in context.outcome or "health_issue" in context.outcome:
        issue = context.outcome.get("health_issue") or {"code": "Ec2SecurityGroupDeletionFailure", "message": context.outcome["fail"]}
        part.body["status"] = "DELETE_FAILED"
        part.body["health"]["issues"] = [{"resourceIds": [], "message": "", **issue}]
        return
    fleet.remove_fleet(context, part)
    cluster.nodegroups.pop(part.body["nodegroupName"], None)
    role = part.body["nodeRole"]
    entry = cluster.access_entries.get(role)
    if entry and entry.data.get("managed") and not any(p.body["nodeRole"] == role for p in cluster.nodegroups.values()):
        del cluster.access_entries[role]
    addons.schedule_health_checks(context, cluster)
