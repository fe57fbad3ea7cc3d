"""The caller's launch template of a node group: what EKS checks before it creates or updates the group.

- What a template must not contain, and what excludes it: https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html,
  https://docs.aws.amazon.com/eks/latest/APIReference/API_LaunchTemplateSpecification.html
- What the template of a Capacity Block must contain: https://docs.aws.amazon.com/eks/latest/userguide/capacity-blocks-mng.html
- EKS tries ec2:RunInstances with the caller's permissions, so a service control policy refuses the call: the text is from
  aws-samples/terraform-eks-code#13 and scylladb/scylla-cluster-tests#12172.
- Texts: hashicorp/terraform-provider-aws#15118 (market options), terraform-aws-modules/terraform-aws-eks#1386 (instance types),
  rancher/rancher#38704 (missing template, AMI type), eksctl-io/eksctl#3104 (id and name). The others are ours.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import EC2ClientError

from .. import simulation
from ..cloud import ec2
from ..policy_evaluator import Request
from .operations import Context
from .state import bad_parameter, bad_request

# Parts of instances that a service control policy can demand tags of.
TAGGED = ("instance", "volume")


def source_template(context: Context, requested: dict[str, Any] | None, params: dict[str, Any], capacity_type: str) -> dict[str, Any] | None:
    """The caller's launch template: id, name, version and content. `params`: those of CreateNodegroup."""
    if not requested:
        if capacity_type == "CAPACITY_BLOCK":
            raise bad_parameter("A launch template is required for capacity type CAPACITY_BLOCK")
        return None
    if bool(requested.get("id")) == bool(requested.get("name")):
        raise bad_parameter("Either provide launch template ID or launch template name in the request.")
    backend = ec2(context.region.account, context.region.name)
    try:
        by_id = requested.get("id")
        template = backend.get_launch_template(by_id) if by_id else backend.get_launch_template_by_name(requested["name"])
        version = template.get_version(requested.get("version") or "$Default")
    except EC2ClientError as error:
        raise bad_parameter(f"Launch template could not be found : {error.message}") from error
    for key, text in (("diskSize", "Disk size must be specified within the launch template."),
                      ("remoteAccess", "Remote access configuration cannot be specified with a launch template.")):
        if params.get(key):
            raise bad_parameter(text)
    data = dict(version.data)
    check_content(data, capacity_type)
    check_groups(context, data)
    check_authorization(context, data)
    return {"id": template.id, "name": template.name, "version": str(version.number), "data": data}


def check_content(data: dict[str, Any], capacity_type: str) -> None:
    market = (data.get("InstanceMarketOptions") or {}).get("MarketType")
    if "InstanceMarketOptions" in data and not (capacity_type == "CAPACITY_BLOCK" and market == "capacity-block"):
        raise bad_parameter("Instance market options are not supported with the launch template.")
    if capacity_type == "CAPACITY_BLOCK" and market != "capacity-block":
        raise bad_parameter("The launch template of a node group with capacity type CAPACITY_BLOCK must have the market type capacity-block")
    if capacity_type == "CAPACITY_BLOCK":
        target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
        for what, found in (("a capacity reservation id", target.get("CapacityReservationId")), ("an instance type", data.get("InstanceType"))):
            if not found:
                raise bad_parameter(f"The launch template of a node group with capacity type CAPACITY_BLOCK must have {what}")
    interfaces = data.get("NetworkInterfaces") or []
    prohibited = {
        "IAM instance profile": "IamInstanceProfile" in data,
        "Subnet": any(interface.get("SubnetId") for interface in interfaces),
        "Instance initiated shutdown behavior": "InstanceInitiatedShutdownBehavior" in data,
        "Hibernation options": "HibernationOptions" in data,
    }
    for what, found in prohibited.items():
        if found:
            raise bad_parameter(f"{what} cannot be specified in the launch template of a node group.")
    if interfaces and (data.get("SecurityGroupIds") or data.get("SecurityGroups")):
        raise bad_request("Invalid launch template: When a network interface is provided, the security groups must be a part of it.")


def security_groups(data: dict[str, Any]) -> list[str]:
    """The template's own groups, of the instance or of its interfaces; empty: EKS adds the cluster's."""
    of_interfaces = [group for interface in data.get("NetworkInterfaces") or [] for group in interface.get("Groups") or []]
    return list(data.get("SecurityGroupIds") or of_interfaces)


def check_groups(context: Context, data: dict[str, Any]) -> None:
    backend = ec2(context.region.account, context.region.name)
    for group in security_groups(data):
        if backend.get_security_group_from_id(group) is None:
            raise bad_request(f"The security group '{group}' does not exist")


def check_instance_types(template: dict[str, Any] | None, of_request: list[str] | None) -> None:
    if template and template["data"].get("InstanceType") and of_request:
        raise bad_request("Cannot specify instance types in launch template and API request")


def tags_at_launch(data: dict[str, Any], kind: str) -> dict[str, str]:
    specifications = data.get("TagSpecifications") or []
    return {tag["Key"]: tag.get("Value", "") for spec in specifications if spec["ResourceType"] == kind for tag in spec.get("Tags") or []}


def denied_resource(context: Context, data: dict[str, Any]) -> str | None:
    """The resource at which a service control policy denies RunInstances: the account's (`POST /_keelson/scp`), or REQUIRED_TAGS."""
    required = {key for key in context.settings.required_tags.split(",") if key}
    for kind in TAGGED:
        tags = tags_at_launch(data, kind)
        arn = f"arn:aws:ec2:{context.region.name}:{context.region.account}:{kind}/*"
        if required - set(tags) or simulation.is_denied_by_control_policy(context.region.account, Request("ec2:RunInstances", arn, {}, tags)):
            return arn
    return None


def check_authorization(context: Context, data: dict[str, Any]) -> None:
    if denied_resource(context, data):
        text = "You are not authorized to launch instances with this launch template."
        raise bad_request(f"{text} Encoded authorization failure message: {'bm90IHJlYWw' * 12}")
