"""The Auto Scaling group, launch template and instances of a node group, created in moto, so that e.g. DescribeInstances returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.types import Base64EncodedString

from ..cloud import ec2
from ..ec2.launching import ROOT_DEVICES
from ..images import image_id
from ..versions import MINORS
from .launch_templates import security_groups
from .operations import Context
from .state import Cluster, Part, new_hex, new_id



@dataclass(frozen=True)
class Image:
    """The launch configuration of an instance of a node group."""

    version: str
    release: str
    # Content of the caller's launch template, if any.
    template: tuple[tuple[str, Any], ...] = ()


def image(version: str, release: str, template: dict[str, Any] | None) -> Image:
    return Image(version, release, tuple((template or {}).items()))


def current_image(part: Part) -> Image:
    return image(part.body["version"], part.body["releaseVersion"], part.data.get("source_template"))


def image_of(part: Part, instance_id: str) -> Image:
    """The recorded image of an instance, else the one that the group launches now."""
    rolling = part.data.get("rolling")
    found = part.data.get("images", {}).get(instance_id)
    return found or (rolling.new if rolling else current_image(part))


def create_fleet(context: Context, cluster: Cluster, part: Part) -> None:
    region = context.region
    body = part.body
    name = f"eks-{body['nodegroupName']}-{new_id()}"
    backend = ec2(region.account, region.name)
    template = backend.create_launch_template(name, "", template_data(cluster, part, current_image(part)), {})
    tags_of_group = {
        "eks:cluster-name": cluster.name,
        "eks:nodegroup-name": body["nodegroupName"],
        "k8s.io/cluster-autoscaler/enabled": "true",
        f"k8s.io/cluster-autoscaler/{cluster.name}": "owned",
        f"kubernetes.io/cluster/{cluster.name}": "owned",
    }
    template.add_tags({"eks:cluster-name": cluster.name, "eks:nodegroup-name": body["nodegroupName"]})
    scaling = body["scalingConfig"]
    autoscaling_backends[region.account][region.name].create_auto_scaling_group(
        name=name,
        availability_zones=[],
        desired_capacity=scaling["desiredSize"],
        max_size=scaling["maxSize"],
        min_size=scaling["minSize"],
        launch_config_name="",
        launch_template={"LaunchTemplateId": template.id, "Version": "$Latest"},
        vpc_zone_identifier=",".join(body["subnets"]),
        default_cooldown=None,
        health_check_period=15,
        health_check_type="EC2",
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=["AllocationStrategy", "OldestLaunchTemplate", "OldestInstance"],
        tags=[
            {"Key": key, "Value": value, "PropagateAtLaunch": True, "ResourceId": name, "ResourceType": "auto-scaling-group"}  # type: ignore[dict-item]
            for key, value in tags_of_group.items()
        ],
        capacity_rebalance=body["capacityType"] == "SPOT",
    )
    part.data["template"], part.data["template_version"] = template.id, 1
    body["resources"] = {"autoScalingGroups": [{"name": name}]}
    if body.get("remoteAccess"):
        body["resources"]["remoteAccessSecurityGroup"] = part.data["remote_group"]


def template_data(cluster: Cluster, part: Part, wanted: Image) -> dict[str, Any]:
    body = part.body
    data: dict[str, Any] = dict(wanted.template)
    data.setdefault("ImageId", image_id(wanted.version, body["amiType"], wanted.release))
    data.setdefault("InstanceType", (body.get("instanceTypes") or ["t3.medium"])[0])
    # moto launches with these, not with those of the interfaces.
    data["SecurityGroupIds"] = security_groups(data) or [cluster.body["resourcesVpcConfig"]["clusterSecurityGroupId"]]
    if "remote_group" in part.data:
        data["SecurityGroupIds"] = [*data["SecurityGroupIds"], part.data["remote_group"]]
    if "BlockDeviceMappings" in data:
        data["BlockDeviceMappings"] = [delete_root_on_termination(mapping) for mapping in data["BlockDeviceMappings"]]
    elif body.get("diskSize"):
        ebs = {"VolumeSize": body["diskSize"], "VolumeType": "gp3", "DeleteOnTermination": True}
        # Bottlerocket's root is small and read-only.
        data["BlockDeviceMappings"] = [{"DeviceName": "/dev/xvdb" if body["amiType"].startswith("BOTTLEROCKET") else ROOT_DEVICES[0], "Ebs": ebs}]
    data["TagSpecifications"] = with_own_tags(cluster, part, data.get("TagSpecifications") or [])
    # moto requires its own type for user data.
    data["UserData"] = Base64EncodedString.from_raw_string(f"# {cluster.name} {new_hex(4)}")
    return data


def with_own_tags(cluster: Cluster, part: Part, specifications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """EKS adds two tags to instances and volumes; those of the node group itself reach neither (aws/containers-roadmap#608)."""
    own = {"eks:cluster-name": cluster.name, "eks:nodegroup-name": part.body["nodegroupName"]}
    tags = {spec["ResourceType"]: {tag["Key"]: tag.get("Value", "") for tag in spec.get("Tags") or []} for spec in specifications}
    for kind in ("instance", "volume"):
        tags[kind] = {**tags.get(kind, {}), **own}
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in of_kind.items()]} for kind, of_kind in tags.items()]


def delete_root_on_termination(mapping: dict[str, Any]) -> dict[str, Any]:
    """Deletes the root volume on termination unless the template disables it; moto would keep it."""
    if mapping.get("DeviceName") not in ROOT_DEVICES or "Ebs" not in mapping:
        return mapping
    return {**mapping, "Ebs": {"DeleteOnTermination": True, **mapping["Ebs"]}}


def node_name(region: str, instance_id: str) -> str:
    """The resource name with the instance id, which EC2 also supports: IP-based names could clash, as clusters may share an API server."""
    return f"{instance_id}.{region}.compute.internal"


def kubelet_version(part: Part, instance_id: str) -> str:
    """As in the Node status: v1.34.4-eks-ecaa3a6."""
    found = image_of(part, instance_id)
    patch = found.release.partition("-")[0] if part.body["amiType"].startswith("AL2023") else MINORS[found.version].patch
    return f"v{patch}-eks-ecaa3a6"


def auto_scaling_group(context: Context, part: Part) -> Any | None:
    groups = (part.body.get("resources") or {}).get("autoScalingGroups") or []
    if not groups:
        return None
    return autoscaling_backends[context.region.account][context.region.name].autoscaling_groups.get(groups[0]["name"])


def resize(context: Context, part: Part) -> None:
    group = auto_scaling_group(context, part)
    if group is not None:
        scaling = part.body["scalingConfig"]
        group.min_size, group.max_size = scaling["minSize"], scaling["maxSize"]
        group.set_desired_capacity(scaling["desiredSize"])


def read_desired_size(context: Context, part: Part) -> None:
    """Updates desiredSize from the Auto Scaling group, which an autoscaler may have changed."""
    group = auto_scaling_group(context, part)
    if group is not None and part.body["status"] == "ACTIVE":
        part.body["scalingConfig"]["desiredSize"] = group.desired_capacity


def new_template_version(context: Context, cluster: Cluster, part: Part, wanted: Image) -> None:
    """Creates the launch template version for future launches."""
    template = ec2(context.region.account, context.region.name).launch_templates.get(part.data["template"])
    if template is not None:
        part.data["template_version"] = template.create_version(template_data(cluster, part, wanted), "").number
        # moto launches the default version.
        template.default_version_number = part.data["template_version"]


def template_issue(context: Context, part: Part) -> dict[str, Any] | None:
    """The issue of the launch template that EKS created for the group, which nobody else is to change:
    https://docs.aws.amazon.com/eks/latest/userguide/troubleshooting.html, and the text of the second from nebari-dev/nebari#2668."""
    template_id = part.data.get("template")
    if template_id is None or part.body["status"] not in ("ACTIVE", "DEGRADED"):
        return None
    template = ec2(context.region.account, context.region.name).launch_templates.get(template_id)
    if template is None:
        text = f"The Amazon EC2 Launch Template : {template_id} was not found."
        return {"code": "Ec2LaunchTemplateNotFound", "message": text, "resourceIds": [template_id]}
    expected = part.data.get("template_version")
    if expected is not None and template.latest_version_number != expected:
        text = (
            f"The Amazon EC2 Launch Template : {template_id} has a new version associated with your Autoscaling group, which is not managed by Amazon EKS. "
            f"Expected Launch Template version: {expected}"
        )
        return {"code": "Ec2LaunchTemplateVersionMismatch", "message": text, "resourceIds": [template_id]}
    return None


def terminate(context: Context, part: Part) -> None:
    group = auto_scaling_group(context, part)
    if group is not None:
        group.set_desired_capacity(0)


def remove_fleet(context: Context, part: Part) -> None:
    region = context.region
    backend = ec2(region.account, region.name)
    group = auto_scaling_group(context, part)
    if group is not None:
        autoscaling_backends[region.account][region.name].delete_auto_scaling_group(group.name)
    template = backend.launch_templates.get(part.data.get("template"))
    if template is not None:
        backend.delete_launch_template(template.name, None)
        backend.tags.pop(template.id, None)
    if "remote_group" in part.data:
        backend.drop_security_group(part.data["remote_group"])
