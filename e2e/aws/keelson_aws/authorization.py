"""The IAM authorization checks of a write: actions, resources, and the condition keys that the emulator knows. It decides nothing: the
call log records the checks, and tests evaluate policies on them. Computed before the call is applied, as IAM does.
"""

from __future__ import annotations

import json
import re
from typing import Any

from moto.sqs.models import sqs_backends

from . import autoscaling, cloud, event_rules
from .call import Call
from .eks.launch_templates import security_groups, tags_at_launch
from .eks.service import Eks
from .eks.state import Cluster, Part
from .policy_evaluator import BOUNDED

# The application id in the SDK's user agent.
APPLICATION = "app/keelson"
CREATES = {
    "AllocateAddress": "elastic-ip",
    "CreateEgressOnlyInternetGateway": "egress-only-internet-gateway",
    "CreateFlowLogs": "vpc-flow-log",
    "CreateInternetGateway": "internet-gateway",
    "CreateLaunchTemplate": "launch-template",
    "CreateNatGateway": "natgateway",
    "CreateRouteTable": "route-table",
    "CreateSecurityGroup": "security-group",
    "CreateSubnet": "subnet",
    "CreateVpc": "vpc",
    "CreateVpcEndpoint": "vpc-endpoint",
}
KINDS = {
    "eigw": "egress-only-internet-gateway", "eipalloc": "elastic-ip", "eni": "network-interface", "fl": "vpc-flow-log", "igw": "internet-gateway", "lt": "launch-template", "nat": "natgateway", "rtb": "route-table",
    "sg": "security-group", "vol": "volume", "subnet": "subnet", "vpc": "vpc", "vpce": "vpc-endpoint",
}
# Parameters with resources that EC2 checks. It does not check a gateway in a route or a group in a rule.
EC2_IDS = re.compile(
    r"(?:Add)?(?:VpcId|SubnetId|RouteTableId|InternetGatewayId|EgressOnlyInternetGatewayId|GroupId|SecurityGroupId|AllocationId|NatGatewayId|NetworkInterfaceId"
    r"|VpcEndpointId|FlowLogId|VolumeId|LaunchTemplateId|ResourceId)(?:\.\d+)?"
)
EC2_TAG = re.compile(r"(?:TagSpecification\.\d+\.)?Tag\.\d+\.Key")
# For EKS calls: the parameter with the part's name, the cluster attribute with such parts, the part's ARN key, the ARN's resource type.
PARTS = (
    ("nodegroupName", "nodegroups", "nodegroupArn", "nodegroup"),
    ("addonName", "addons", "addonArn", "addon"),
    ("fargateProfileName", "fargate_profiles", "fargateProfileArn", "fargateprofile"),
    ("capabilityName", "capabilities", "arn", "capability"),
    ("principalArn", "access_entries", "accessEntryArn", "access-entry"),
    ("associationId", "pod_identities", "associationArn", "podidentityassociation"),
)
PASSED_ROLES = {
    "CreateCluster": ("roleArn", "eks.amazonaws.com"),
    "CreateNodegroup": ("nodeRole", "ec2.amazonaws.com"),
    "CreateFargateProfile": ("podExecutionRoleArn", "eks-fargate-pods.amazonaws.com"),
    "CreatePodIdentityAssociation": ("roleArn", "pods.eks.amazonaws.com"),
    "CreateCapability": ("roleArn", "capabilities.eks.amazonaws.com"),
    "UpdateCapability": ("roleArn", "capabilities.eks.amazonaws.com"),
}

Check = dict[str, Any]


def is_by_keelson(call: Call) -> bool:
    return APPLICATION in call.request.headers.get("user-agent", "").split(" ")


def checks_of(call: Call, eks: Eks) -> list[Check]:
    """Checks as action, resource, context, requestTags and resourceTags; none for other services."""
    if call.service == "ec2":
        return ec2_checks(call)
    if call.service == "iam":
        return iam_checks(call)
    if call.service == "eks":
        return eks_checks(call, eks)
    if call.service == "logs":
        return logs_checks(call)
    if call.service == "sqs":
        return sqs_checks(call)
    if call.service == "events":
        return events_checks(call)
    if call.service == "autoscaling":
        return autoscaling_checks(call)
    return []


def check(action: str, resource: str, request: dict[str, str], tags: dict[str, str], **context: str) -> Check:
    return {"action": action, "resource": resource, "requestTags": request, "resourceTags": tags, "context": context}


def ec2_checks(call: Call) -> list[Check]:
    params = call.params
    keys = [name for name in params if EC2_TAG.fullmatch(name)]
    request = {params[name]: params.get(name.removesuffix("Key") + "Value", "") for name in keys}
    action, found = f"ec2:{call.action}", []

    def arn(kind: str, resource_id: str) -> str:
        return f"arn:aws:ec2:{call.region}:{call.account}:{kind}/{resource_id}"

    if kind := CREATES.get(call.action):
        found.append(check(action, arn(kind, "*"), request, {}))
        found.append({**check("ec2:CreateTags", arn(kind, "*"), request, {}), "context": {"ec2:CreateAction": call.action}})
    if call.action == "CreateFlowLogs" and "DeliverLogsPermissionArn" in params:
        found.append(check("iam:PassRole", params["DeliverLogsPermissionArn"], {}, {}, **{"iam:PassedToService": "vpc-flow-logs.amazonaws.com"}))
    state = cloud.ec2(call.account, call.region)
    all_tags = state.tags
    for name, value in params.items():
        kind = KINDS.get(value.partition("-")[0]) if EC2_IDS.fullmatch(name) else None
        # The answer to its deletion is 200 also when it does not exist any more, and has no tags to check.
        if kind == "vpc-endpoint" and value not in state.vpc_end_points or kind == "vpc-flow-log" and value not in state.flow_logs:
            continue
        if kind:
            found.append(check(action, arn(kind, value), request, dict(all_tags.get(value, {}))))
    return found


def iam_checks(call: Call) -> list[Check]:
    params, action = call.params, f"iam:{call.action}"
    request = {
        value: params.get(name.removesuffix("Key") + "Value", "")
        for name, value in params.items()
        if re.fullmatch(r"Tags\.member\.\d+\.Key", name)
    }
    prefix = f"arn:aws:iam::{call.account}"
    if name := params.get("InstanceProfileName"):
        profile = cloud.iam(call.account).instance_profiles.get(name)
        return [check(action, f"{prefix}:instance-profile/{name}", {}, plain_tags(profile.tags) if profile else {})]
    if call.action == "CreateRole":
        arn = f"{prefix}:role{params.get('Path', '/')}{params['RoleName']}"
        boundary = params.get("PermissionsBoundary")
        context = {"iam:PermissionsBoundary": boundary} if boundary else {}
        return [{**check(action, arn, request, {}), "context": context}, check("iam:TagRole", arn, request, {})]
    if "RoleName" in params:
        roles = cloud.iam(call.account).roles.values()
        role = next((role for role in roles if role.name == params["RoleName"]), None)
        context = {"iam:PolicyARN": params["PolicyArn"]} if "PolicyArn" in params else {}
        if "PermissionsBoundary" in params:
            context["iam:PermissionsBoundary"] = params["PermissionsBoundary"]
        elif role and call.action in BOUNDED and role.permissions_boundary_arn:
            context["iam:PermissionsBoundary"] = role.permissions_boundary_arn
        return [{**check(action, role.arn, request, plain_tags(role.tags)), "context": context}] if role else []
    if call.action == "CreateOpenIDConnectProvider":
        arn = f"{prefix}:oidc-provider/{params['Url'].partition('://')[2]}"
        return [check(action, arn, request, {}), check("iam:TagOpenIDConnectProvider", arn, request, {})]
    provider = cloud.iam(call.account).open_id_providers.get(params.get("OpenIDConnectProviderArn", ""))
    return [check(action, provider.arn, request, plain_tags(provider.tags))] if provider else []


def plain_tags(tags: Any) -> dict[str, str]:
    """Tags of a moto IAM object, a list or a dict, as a plain dict."""
    return {tag["Key"]: tag["Value"] for tag in (tags.values() if isinstance(tags, dict) else tags or [])}


def eks_checks(call: Call, eks: Eks) -> list[Check]:
    params, action = call.params, f"eks:{call.action}"
    region = eks.region(call.account, call.region)
    request = {str(k): str(v) for k, v in (params.get("tags") or {}).items()}
    if "resourceArn" in params:
        return [check(action, params["resourceArn"], request, tags_of(region.clusters, params["resourceArn"]))]
    name = params.get("name") or params.get("clusterName") or ""
    found = [check("iam:PassRole", arn, {}, {}) | {"context": {"iam:PassedToService": service}} for arn, service in passed_roles(call)]
    if call.action in ("CreateNodegroup", "UpdateNodegroupVersion") and params.get("launchTemplate"):
        found += launch_checks(call, params["launchTemplate"], params.get("subnets") or [])
    if call.action == "CreateCluster":
        arn = region.arn(f"cluster/{name}")
        return [*found, check(action, "*", request, {}), check("eks:TagResource", arn, request, {})]
    cluster = region.clusters.get(name)
    if cluster is None:
        return found
    if part := identity_provider_of(cluster, params) or part_of(cluster, params):
        return [*found, check(action, part[0], request, part[1])]
    if request:
        kind = next((kind for key, _, _, kind in PARTS if key in params), "podidentityassociation")
        kind = "identityproviderconfig" if "oidc" in params else kind
        found.append(check("eks:TagResource", region.arn(f"{kind}/{name}/*"), request, {}))
    return [*found, check(action, cluster.body["arn"], request, dict(cluster.body.get("tags") or {}))]


def identity_provider_of(cluster: Cluster, params: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """The identity provider that a call names, as ARN and tags; its name is in a structure."""
    part = cluster.identity_providers.get((params.get("identityProviderConfig") or {}).get("name", ""))
    return (part.body["identityProviderConfigArn"], dict(part.body["tags"])) if part else None


def launch_checks(call: Call, requested: dict[str, str], subnets: list[str]) -> list[Check]:
    """EKS tries ec2:RunInstances, and with tags ec2:CreateTags, with the caller's permissions.
    https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html#launch-template-tagging, and the resources of
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html#amazonec2-RunInstances"""
    state = cloud.ec2(call.account, call.region)
    template = state.launch_templates.get(requested.get("id") or state.launch_template_name_to_ids.get(requested.get("name", "")))
    if template is None:
        return []
    number = str(requested.get("version") or template.default_version_number)
    version = next((one for one in template.versions if str(one.number) == number), None)
    if version is None:
        return []
    prefix = f"arn:aws:ec2:{call.region}:{call.account}"
    context = {"ec2:LaunchTemplate": f"{prefix}:launch-template/{template.id}"}
    own = {**context, "ec2:IsLaunchTemplateResource": "true"}
    named = [("launch-template", template.id), *(("security-group", group) for group in security_groups(version.data))]
    found = [check("ec2:RunInstances", f"{prefix}:{kind}/{name}", {}, dict(state.tags.get(name, {})), **own) for kind, name in named]
    found += [check("ec2:RunInstances", f"{prefix}:subnet/{name}", {}, dict(state.tags.get(name, {})), **context) for name in subnets]
    found.append(check("ec2:RunInstances", f"arn:aws:ec2:{call.region}::image/{version.data.get('ImageId') or 'ami-of-eks'}", {}, {}, **own))
    for kind in ("instance", "volume", "network-interface"):
        tags = tags_at_launch(version.data, kind)
        found.append(check("ec2:RunInstances", f"{prefix}:{kind}/*", tags, {}, **own))
        if tags:
            found.append(check("ec2:CreateTags", f"{prefix}:{kind}/*", tags, {}, **{"ec2:CreateAction": "RunInstances"}))
    return found


def logs_checks(call: Call) -> list[Check]:
    """Checks of what acts on a log group. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html"""
    body = json.loads(call.request.body or b"{}")
    prefix = f"arn:aws:logs:{call.region}:{call.account}:log-group:"
    arn = body.get("resourceArn") or prefix + body.get("logGroupName", "")
    action, request = f"logs:{call.action}", {str(k): str(v) for k, v in (body.get("tags") or {}).items()}
    if call.action == "CreateLogGroup":
        return [check(action, arn, request, {}), *([check("logs:TagResource", arn, request, {})] if request else [])]
    group = cloud.logs(call.account, call.region).groups.get(arn.removeprefix(prefix))
    return [check(action, arn, request, cloud.logs(call.account, call.region).list_tags_for_resource(arn))] if group else []


def sqs_checks(call: Call) -> list[Check]:
    """Checks of what acts on a queue. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html"""
    body = json.loads(call.request.body or b"{}")
    name = body.get("QueueName") or body.get("QueueUrl", "").rpartition("/")[2]
    # A batch needs the permission of the single action.
    arn, action = f"arn:aws:sqs:{call.region}:{call.account}:{name}", f"sqs:{call.action.removesuffix('Batch')}"
    queue = sqs_backends[call.account][call.region].queues.get(name)
    request = {str(k): str(v) for k, v in (body.get("tags") or body.get("Tags") or {}).items()}
    if call.action == "CreateQueue":
        return [check(action, arn, request, {}), *([check("sqs:TagQueue", arn, request, {})] if request else [])]
    return [check(action, arn, request, dict(queue.tags or {}))] if queue else []


def events_checks(call: Call) -> list[Check]:
    """Checks of what acts on a rule. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html"""
    body = json.loads(call.request.body or b"{}")
    name = body.get("Name") or body.get("Rule") or body.get("ResourceARN", "").rpartition("/")[2]
    arn, action = f"arn:aws:events:{call.region}:{call.account}:rule/{name}", f"events:{call.action}"
    request = plain_tags(body.get("Tags"))
    context = events_context(body, call.account)
    if name not in event_rules.rules_of(call.account, call.region):
        creates = call.action == "PutRule"
        creation = [{**check(action, arn, request, {}), "context": context}, *([check("events:TagResource", arn, request, {})] if request else [])]
        return creation if creates else []
    return [{**check(action, arn, request, plain_tags(event_rules.tags_of(call.account, call.region, name))), "context": context}]


def events_context(body: dict[str, Any], account: str) -> dict[str, str | list[str]]:
    """What EventBridge tells policies of a rule's pattern and of its targets.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html"""
    context: dict[str, str | list[str]] = {"aws:PrincipalAccount": account}
    pattern = json.loads(body.get("EventPattern") or "{}")
    for key in ("source", "detail-type"):
        if key in pattern:
            context[f"events:{key}"] = pattern[key]
    if targets := [target["Arn"] for target in body.get("Targets", [])]:
        context["events:TargetArn"] = targets
    return context


def autoscaling_checks(call: Call) -> list[Check]:
    """Checks of what tags a group. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html"""
    groups, requests = autoscaling.groups_of(call.account, call.region), dict[str, dict[str, str]]()
    for tag in autoscaling.tags_of(call.params):
        requests.setdefault(tag["ResourceId"], {})[tag["Key"]] = tag.get("Value", "")
    found = [(groups[name], request) for name, request in requests.items() if name in groups]
    return [check(f"autoscaling:{call.action}", group.arn, request, plain_tags(group.tags)) for group, request in found]


def passed_roles(call: Call) -> list[tuple[str, str]]:
    parameter, service = PASSED_ROLES.get(call.action, ("", ""))
    arn = call.params.get(parameter)
    return [(arn, service)] if arn else []


def part_of(cluster: Cluster, params: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """ARN and tags of the part that a call names, if it exists."""
    for key, attribute, arn, _ in PARTS:
        parts: dict[str, Part] = getattr(cluster, attribute)
        if part := parts.get(params.get(key, "")):
            return part.body[arn], dict(part.body.get("tags") or {})
    return None


def tags_of(clusters: dict[str, Cluster], arn: str) -> dict[str, str]:
    for cluster in clusters.values():
        bodies = [(cluster.body, "arn")]
        bodies += [(part.body, key) for _, attribute, key, _ in PARTS for part in getattr(cluster, attribute).values()]
        bodies += [(part.body, "identityProviderConfigArn") for part in cluster.identity_providers.values()]
        for body, key in bodies:
            if body.get(key) == arn:
                return dict(body.get("tags") or {})
    return {}
