"""The Auto Scaling group, launch template and instances behind a node group: real ones, that DescribeInstances shows."""

from __future__ import annotations

from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.types import Base64EncodedString

from ..cloud import ec2
from ..images import image_id
from .operations import Context
from .state import Cluster, Part, new_hex, new_id

# Of Amazon Linux and Bottlerocket, and of Windows.
ROOT_DEVICES = ("/dev/xvda", "/dev/sda1")


def make_fleet(context: Context, cluster: Cluster, part: Part) -> None:
    region = context.region
    body = part.body
    name = f"eks-{body['nodegroupName']}-{new_id()}"
    backend = ec2(region.account, region.name)
    template = backend.create_launch_template(name, "", template_data(context, cluster, part), {})
    owned = {
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
            for key, value in owned.items()
        ],
        capacity_rebalance=body["capacityType"] == "SPOT",
    )
    part.data["template"] = template.id
    body["resources"] = {"autoScalingGroups": [{"name": name}]}
    if body.get("remoteAccess"):
        body["resources"]["remoteAccessSecurityGroup"] = part.data["remote_group"]


def template_data(context: Context, cluster: Cluster, part: Part) -> dict[str, Any]:
    body = part.body
    data: dict[str, Any] = dict(part.data.get("source_template") or {})
    data.setdefault("ImageId", image_id(body["version"], body["amiType"]))
    data.setdefault("InstanceType", (body.get("instanceTypes") or ["t3.medium"])[0])
    data.setdefault("SecurityGroupIds", [cluster.body["resourcesVpcConfig"]["clusterSecurityGroupId"]])
    if "remote_group" in part.data:
        data["SecurityGroupIds"] = [*data["SecurityGroupIds"], part.data["remote_group"]]
    if "BlockDeviceMappings" in data:
        data["BlockDeviceMappings"] = [root_goes_too(mapping) for mapping in data["BlockDeviceMappings"]]
    # moto asks for its own type of user data and for the market as a whole structure.
    data["UserData"] = Base64EncodedString.from_raw_string(f"# {cluster.name} {new_hex(4)}")
    return data


def root_goes_too(mapping: dict[str, Any]) -> dict[str, Any]:
    """A root volume goes with its instance unless the template says otherwise; moto would leave it behind."""
    if mapping.get("DeviceName") not in ROOT_DEVICES or "Ebs" not in mapping:
        return mapping
    return {**mapping, "Ebs": {"DeleteOnTermination": True, **mapping["Ebs"]}}


def group_of(context: Context, part: Part) -> Any | None:
    groups = (part.body.get("resources") or {}).get("autoScalingGroups") or []
    if not groups:
        return None
    return autoscaling_backends[context.region.account][context.region.name].autoscaling_groups.get(groups[0]["name"])


def resize(context: Context, part: Part) -> None:
    group = group_of(context, part)
    if group is not None:
        scaling = part.body["scalingConfig"]
        group.min_size, group.max_size = scaling["minSize"], scaling["maxSize"]
        group.set_desired_capacity(scaling["desiredSize"])


def take_size(context: Context, part: Part) -> None:
    """An autoscaler sets the size of the group itself; EKS answers what it finds there."""
    group = group_of(context, part)
    if group is not None and part.body["status"] == "ACTIVE":
        part.body["scalingConfig"]["desiredSize"] = group.desired_capacity


def replace_instances(context: Context, cluster: Cluster, part: Part) -> None:
    """Every instance makes way for one of the new version."""
    group = group_of(context, part)
    if group is None:
        return
    backend = ec2(context.region.account, context.region.name)
    template = backend.launch_templates[part.data["template"]]
    template.create_version(template_data(context, cluster, part), "")
    size = group.desired_capacity
    group.set_desired_capacity(0)
    group.set_desired_capacity(size)


def terminate(context: Context, part: Part) -> None:
    group = group_of(context, part)
    if group is not None:
        group.set_desired_capacity(0)


def remove_fleet(context: Context, part: Part) -> None:
    region = context.region
    backend = ec2(region.account, region.name)
    group = group_of(context, part)
    if group is not None:
        autoscaling_backends[region.account][region.name].delete_auto_scaling_group(group.name)
    template = backend.launch_templates.get(part.data.get("template"))
    if template is not None:
        backend.delete_launch_template(template.name, None)
    if "remote_group" in part.data:
        backend.drop_security_group(part.data["remote_group"])
