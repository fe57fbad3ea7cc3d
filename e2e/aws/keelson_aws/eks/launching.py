"""Why the Auto Scaling group of a node group cannot launch its instances: each as AWS's health issue. No I/O.

Texts of EC2 in an AsgInstanceLaunchFailures: klothoplatform/klotho#311 (vCPU quota), hashicorp/terraform-provider-aws#39904 (KMS key),
aws/karpenter-provider-aws#7370 (service control policy). Errors: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

from .. import quotas
from ..cloud import account_of, as_list, ec2
from ..ec2.launching import ROOT_DEVICES, ROOT_GIB, is_true
from . import fleet, user_data
from .joining import FAILED_TO_JOIN
from .launch_templates import denied_resource, security_groups
from .operations import Context
from .state import Cluster, Part

# What EC2 Auto Scaling needs of a customer managed key:
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
KEY_ACTIONS = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey", "kms:CreateGrant")
SERVICE_LINKED_ROLE = "arn:aws:iam::{}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
WITH_IOPS, WITH_THROUGHPUT = ("gp3", "io1", "io2"), ("gp3",)
VOLUME_TYPES = ("gp2", "gp3", "io1", "io2", "sc1", "st1", "standard")


def launch_issue(context: Context, cluster: Cluster, part: Part, template: dict[str, Any] | None) -> dict[str, Any] | None:
    """The issue of a launch with that content of the caller's launch template, if any."""
    data = template or {}
    try:
        user_data.check(part.body["amiType"], user_data.text_of(data))
    except user_data.FormatError as error:
        return {"code": "Ec2LaunchTemplateInvalidConfiguration", "message": str(error), "resourceIds": []}
    if arn := denied_resource(context, data):
        return failure(
            part, "UnauthorizedOperation - You are not authorized to perform this operation. User is not authorized to perform: "
            f"ec2:RunInstances on resource: {arn} with an explicit deny in a service control policy",
        )
    for mapping in data.get("BlockDeviceMappings") or []:
        if why := volume_problem(mapping):
            return failure(part, why)
        key = (mapping.get("Ebs") or {}).get("KmsKeyId")
        if key and not can_use_key(context, key):
            text = (
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: "
                "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state"
            )
            return {"code": "AsgInstanceLaunchFailures", "message": text, "resourceIds": group_names(part)}
    if cannot_reach_control_plane(context, cluster, data) or lacks_cluster(cluster, part, data):
        return {"code": "NodeCreationFailure", "message": FAILED_TO_JOIN, "resourceIds": instance_ids(context, part)}
    return None


def failure(part: Part, why: str) -> dict[str, Any]:
    kind = "Spot" if part.body["capacityType"] == "SPOT" else "On-Demand"
    text = f"Could not launch {kind} Instances. {why}. Launching EC2 instance failed."
    return {"code": "AsgInstanceLaunchFailures", "message": text, "resourceIds": group_names(part)}


def group_names(part: Part) -> list[str]:
    return [group["name"] for group in (part.body.get("resources") or {}).get("autoScalingGroups") or []]


def instance_ids(context: Context, part: Part) -> list[str]:
    group = fleet.auto_scaling_group(context, part)
    return [state.instance_id for state in group.instance_states] if group is not None else []


def shortage_issue(context: Context, part: Part) -> dict[str, Any] | None:
    """Where the quota of vCPUs ended before the group had all its instances; `ec2/patches.py` launches what it allows."""
    group = fleet.auto_scaling_group(context, part)
    if group is None or len(group.instance_states) >= group.desired_capacity:
        return None
    spot = part.body["capacityType"] == "SPOT"
    code = quotas.vcpu_quota(group.instance_type, spot)
    if spot:
        return failure(part, "MaxSpotInstanceCountExceeded - Max spot instance count exceeded")
    limit = int(quotas.value(context.region.account, context.region.name, code)) if code else 0
    return failure(
        part, f"VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance "
        "bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an "
        "adjustment to this limit",
    )


def volume_problem(mapping: dict[str, Any]) -> str | None:
    ebs = mapping.get("Ebs") or {}
    kind, size, iops, throughput = ebs.get("VolumeType") or "gp2", ebs.get("VolumeSize"), ebs.get("Iops"), ebs.get("Throughput")
    if kind not in VOLUME_TYPES:
        return f"InvalidParameterValue - Value ({kind}) for parameter volumeType is invalid. Invalid volume type"
    if ebs.get("KmsKeyId") and not is_true(ebs.get("Encrypted")):
        return "InvalidParameterDependency - The parameter KmsKeyId requires the parameter Encrypted to be set"
    if mapping.get("DeviceName") in ROOT_DEVICES and size and int(size) < ROOT_GIB:
        return f"InvalidBlockDeviceMapping - Volume of size {size}GB is smaller than snapshot, expect size >= {ROOT_GIB}GB"
    for name, value, kinds in (("iops", iops, WITH_IOPS), ("throughput", throughput, WITH_THROUGHPUT)):
        if value and kind not in kinds:
            return f"InvalidParameterCombination - The parameter {name} is not supported for {kind} volumes"
    if kind in ("io1", "io2") and not iops:
        return f"MissingParameter - The parameter iops must be specified for {kind} volumes"
    # MiB/s for each operation a second.
    if kind == "gp3" and throughput and int(throughput) > int(iops or 3000) / 4:
        return "InvalidParameterValue - Throughput (MiBps) to iops ratio of more than 0.25 is too high"
    return None


def can_use_key(context: Context, key_id: str) -> bool:
    """Whether the key is enabled, and its policy or a grant allows it to EC2 Auto Scaling's service-linked role. A key of AWS's own
    (alias/aws/ebs) always can be used."""
    if "alias/aws/" in key_id:
        return True
    # Loading moto's KMS takes a while.
    from moto.kms.models import kms_backends

    account = account_of(key_id) or context.region.account
    backend = kms_backends[account][context.region.name]
    if "alias/" in key_id:
        alias = "alias/" + key_id.partition("alias/")[2]
        key = next((one for one in backend.keys.values() if alias in one.aliases), None)
    else:
        key = backend.keys.get(key_id.rpartition("/")[2])
    if key is None or key.key_state != "Enabled":
        return False
    role = SERVICE_LINKED_ROLE.format(context.region.account)
    granted = {f"kms:{operation}" for grant in key.grants.values() if grant.grantee_principal == role for operation in grant.operations}
    return all(action in granted or allows(key.policy, role, action) for action in KEY_ACTIONS)


def allows(policy: str, principal: str, action: str) -> bool:
    """A statement for the whole account does not count: the policies of the service-linked role name no key."""
    for statement in as_list(json.loads(policy).get("Statement")):
        named = statement.get("Principal")
        principals = as_list(named.get("AWS")) if isinstance(named, dict) else as_list(named)
        if statement.get("Effect") == "Allow" and {principal, "*"} & set(principals):
            if any(fnmatchcase(action, pattern) for pattern in as_list(statement.get("Action"))):
                return True
    return False


def cannot_reach_control_plane(context: Context, cluster: Cluster, data: dict[str, Any]) -> bool:
    """With private access the nodes reach the control plane's interfaces, whose groups must admit one of the nodes' own."""
    config = cluster.body["resourcesVpcConfig"]
    own, of_cluster = security_groups(data), {config["clusterSecurityGroupId"], *config.get("securityGroupIds", [])}
    if not own or not config["endpointPrivateAccess"] or config["clusterSecurityGroupId"] in own:
        return False
    backend = ec2(context.region.account, context.region.name)
    groups = [group for group_id in of_cluster if (group := backend.get_security_group_from_id(group_id)) is not None]
    return not any(admits(rule, own) for group in groups for rule in group.ingress_rules)


def admits(rule: Any, groups: list[str]) -> bool:
    """Whether a rule admits HTTPS from one of the groups, or from addresses: those are not compared."""
    ports = str(rule.ip_protocol) == "-1" or (int(rule.from_port or 0) <= 443 <= int(rule.to_port or 65535))
    return ports and (rule.source_group.get("GroupId") in groups or bool(rule.ip_range))


def lacks_cluster(cluster: Cluster, part: Part, data: dict[str, Any]) -> bool:
    """EKS adds nothing to the user data of an own image: its NodeConfig must say which cluster."""
    found = user_data.kubelet_of(user_data.text_of(data)).cluster
    if part.body["amiType"] != "CUSTOM" or found is None:
        return False
    return found.get("name") != cluster.name or not all(found.get(name) for name in user_data.OF_CLUSTER)
