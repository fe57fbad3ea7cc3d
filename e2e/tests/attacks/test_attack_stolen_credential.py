"""An attacker calls AWS with the operator's credential. An offline evaluation of the policies shipped in deploy/: a table of requests
that must be denied, and one of requests that must be allowed. (Needs no cloud.)

A third table lists requests that IAM cannot distinguish, so that nobody believes them denied; docs/install.md names each.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.policy import ADOPTION, BOUNDARY, DEPLOY, POLICIES, TAG_PROTECTION, WORKLOAD_BOUNDARY as PODS_BOUNDARY, statements_of
from keelson_aws.policy_evaluator import Request, decide

BASE = [s for policy in POLICIES if policy != ADOPTION for s in statements_of(policy)]
WORKLOADS = DEPLOY / "iam-policy-workloads.json"
# Optional: for accounts in which Keelson creates roles of Pods.
WITHOUT_WORKLOADS = [s for policy in POLICIES if policy not in (ADOPTION, WORKLOADS) for s in statements_of(policy)]
WITH_ADOPTION = [*BASE, *statements_of(ADOPTION)]

ACCOUNT = "111122223333"
FOREIGN_ACCOUNT = "999988887777"
OWN_TAGS = {"keelson.dev/owner": "6f1e2c0a", "keelson.dev/cluster": "shop/prod", "keelson.dev/resource": "x"}
BY_TERRAFORM = {"Name": "prod-eks-irsa"}
BY_EKSCTL = {"alpha.eksctl.io/cluster-name": "prod"}
BY_CLOUDFORMATION = {"aws:cloudformation:stack-name": "prod"}
PROTECTED = {**OWN_TAGS, "keelson.dev/protected": "true"}

ROLE = f"arn:aws:iam::{ACCOUNT}:role/keelson-prod-0a1b2c3d-"
ROLE_WITH_PATH = f"arn:aws:iam::{ACCOUNT}:role/keelson/keelson-prod-0a1b2c3d-"
SUFFIXES = ("cluster", "node", "autoNode", "fargate", "source")
# Roles of people; some names are similar to Keelson's.
FOREIGN_ROLES = [
    f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("admin", "keelson", "keelson-ci", "mykeelson-x-node", "keelson-x-node-2")
]
OIDC = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/0A1B"
LOG_GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/eks/shop/cluster"
CLUSTER = f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/prod"
NODEGROUP = f"arn:aws:eks:eu-west-1:{ACCOUNT}:nodegroup/prod/workers/0c"
ENTRY = f"arn:aws:eks:eu-west-1:{ACCOUNT}:access-entry/prod/role/{ACCOUNT}/admins/0d"
LOG_GROUP = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/aws/eks/prod/cluster"
QUEUE = f"arn:aws:sqs:eu-west-1:{ACCOUNT}:keelson-prod-karpenter"
RULE = f"arn:aws:events:eu-west-1:{ACCOUNT}:rule/keelson-prod-interruptions"
# What the operator's PutRule and PutTargets tell EventBridge.
INTERRUPTIONS = {"events:source": ["aws.ec2", "aws.health"], "events:detail-type": ["EC2 Spot Instance Interruption Warning", "AWS Health Event"]}
TARGET = {"aws:PrincipalAccount": ACCOUNT, "events:TargetArn": [QUEUE]}
SHIPPED_BOUNDARY = {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/keelson-boundary"}
CNI_IPV6 = {"iam:PolicyARN": f"arn:aws:iam::{ACCOUNT}:policy/AmazonEKS_CNI_IPv6_Policy"}
# A role of Pods, with its own boundary: whatever its policies allow, the boundary limits it.
POD, POD_WITH_PATH = (f"arn:aws:iam::{ACCOUNT}:role/{path}keelson-prod-0a0b0c0d-pod0123456789" for path in ("", "team/"))
WORKLOAD_BOUNDARY = {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/keelson-workload-boundary"}
# EKS tests a launch from a node group's launch template with the caller's permissions.
LAUNCH = {"ec2:LaunchTemplate": f"arn:aws:ec2:eu-west-1:{ACCOUNT}:launch-template/lt-0a"}
ORGANIZATION = {"aws:PrincipalOrgID": "o-ours", "aws:ResourceOrgID": "o-ours"}


def ec2(kind: str) -> str:
    return f"arn:aws:ec2:eu-west-1:{ACCOUNT}:{kind}/{kind}-0a"


def policy(name: str) -> dict[str, str]:
    return {"iam:PolicyARN": f"arn:aws:iam::aws:policy/{name}"}


def passed_to(service: str) -> dict[str, str]:
    return {"iam:PassedToService": service}


def secrets_and_people() -> list[Request]:
    parameter = f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter"
    return [
        Request("ssm:GetParameter", f"{parameter}/prod/database/password"),
        Request("ssm:GetParameter", f"{parameter}/aws-service-eks"),
        Request("ssm:GetParameter", "arn:aws:ssm:eu-west-1::parameter/aws/service/ami-windows-latest/x"),
        Request("secretsmanager:GetSecretValue"),
        Request("s3:GetObject", "arn:aws:s3:::backups/dump.sql"),
        Request("kms:Decrypt"),
        Request("ec2:RunInstances", ec2("instance")),
        Request("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/mallory"),
        Request("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/jane"),
        Request("iam:CreatePolicy", f"arn:aws:iam::{ACCOUNT}:policy/keelson-boundary"),
        Request("iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/keelson-boundary"),
        Request("sqs:SendMessage", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:keelson-events"),
        Request("sqs:ReceiveMessage", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:orders"),
    ]


def persistent_roles() -> list[Request]:
    """Roles that trust the attacker's account: IAM cannot prevent that, so the boundary must limit their permissions."""
    create = Request("iam:CreateRole", f"{ROLE}node", SHIPPED_BOUNDARY, request_tags=OWN_TAGS)
    administrator = {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}
    return [
        replace(create, context={}),
        replace(create, context=administrator),
        replace(create, request_tags={}),
        *[replace(create, resource=role) for role in FOREIGN_ROLES],
        *[
            Request(f"iam:{action}", f"{ROLE}node", {**SHIPPED_BOUNDARY, **policy("AmazonEKS_CNI_Policy")}, resource_tags=OWN_TAGS)
            for action in ("PutRolePolicy", "DeleteRolePermissionsBoundary", "CreateInstanceProfile")
        ],
        # Only the shipped boundary can be set, and only on a role of Keelson.
        Request("iam:PutRolePermissionsBoundary", f"{ROLE}node", administrator, resource_tags=OWN_TAGS),
        Request("iam:PutRolePermissionsBoundary", f"{ROLE}node", SHIPPED_BOUNDARY),
        *[Request("iam:PutRolePermissionsBoundary", role, SHIPPED_BOUNDARY) for role in FOREIGN_ROLES],
        *[
            Request("iam:AttachRolePolicy", f"{ROLE}{suffix}", policy(name), resource_tags=OWN_TAGS)
            for suffix in SUFFIXES
            for name in ("AdministratorAccess", "IAMFullAccess", "AmazonS3ReadOnlyAccess")
        ],
        # A policy for the cluster role, attached to the node role, where every Pod could use it.
        Request("iam:AttachRolePolicy", f"{ROLE}node", policy("AmazonEKSComputePolicy"), resource_tags=OWN_TAGS),
        Request("iam:AttachRolePolicy", f"{ROLE}node", policy("AmazonEKSClusterPolicy"), resource_tags=OWN_TAGS),
        Request("iam:AttachRolePolicy", f"{ROLE}source", policy("AmazonEKSWorkerNodePolicy"), resource_tags=OWN_TAGS),
        Request("iam:AttachRolePolicy", f"{ROLE_WITH_PATH}fargate", policy("AmazonEKS_CNI_Policy"), resource_tags=OWN_TAGS),
        # Which the account's administrators create, for nodes.
        *[Request("iam:AttachRolePolicy", f"{ROLE}{suffix}", CNI_IPV6, resource_tags=OWN_TAGS) for suffix in SUFFIXES if suffix != "node"],
        Request("iam:AttachRolePolicy", f"{ROLE}node", CNI_IPV6),
        # A role of Pods with another boundary than theirs, and one that is not Keelson's.
        *[
            Request(f"iam:{action}", POD, {**boundary, **policy("AdministratorAccess")}, resource_tags=OWN_TAGS)
            for action in ("AttachRolePolicy", "PutRolePolicy", "PutRolePermissionsBoundary")
            for boundary in (SHIPPED_BOUNDARY, administrator, {})
        ],
        Request("iam:CreateRole", POD, SHIPPED_BOUNDARY, request_tags=OWN_TAGS),
        Request("iam:PutRolePolicy", POD, WORKLOAD_BOUNDARY),
        Request("iam:PutRolePolicy", f"{ROLE}node", WORKLOAD_BOUNDARY, resource_tags=OWN_TAGS),
        Request("iam:PutRolePermissionsBoundary", f"{ROLE}node", WORKLOAD_BOUNDARY, resource_tags=OWN_TAGS),
        *[Request("iam:PutRolePolicy", role, WORKLOAD_BOUNDARY, resource_tags=OWN_TAGS) for role in FOREIGN_ROLES],
        # The same name, but not an AWS managed policy.
        Request(
            "iam:AttachRolePolicy", f"{ROLE}node", {"iam:PolicyARN": f"arn:aws:iam::{ACCOUNT}:policy/AmazonEKS_CNI_Policy"}, resource_tags=OWN_TAGS,
        ),
    ]


def roles_of_others() -> list[Request]:
    changes = ("DeleteRole", "DeleteRolePolicy", "DetachRolePolicy", "AttachRolePolicy", "UpdateAssumeRolePolicy", "UntagRole")
    untagged = [f"{ROLE}node", f"{ROLE_WITH_PATH}node", *FOREIGN_ROLES]
    return [
        *[Request(f"iam:{action}", role, policy("AmazonEKS_CNI_Policy")) for action in changes for role in untagged],
        *[Request("iam:DeleteRole", role, resource_tags=OWN_TAGS) for role in FOREIGN_ROLES if not role.partition("/")[2].startswith("keelson-")],
        *[Request("iam:TagRole", role, request_tags=OWN_TAGS) for role in FOREIGN_ROLES],
        Request("iam:TagRole", f"{ROLE}node", request_tags={"team": "x"}),
        Request("iam:DeleteRole", f"{ROLE}node", resource_tags=PROTECTED),
    ]


def roles_passed() -> list[Request]:
    services = ("lambda.amazonaws.com", "ecs-tasks.amazonaws.com", "cloudformation.amazonaws.com")
    return [
        *[Request("iam:PassRole", f"{ROLE}{suffix}", passed_to(service)) for suffix in SUFFIXES for service in services],
        *[Request("iam:PassRole", role, passed_to("eks.amazonaws.com")) for role in FOREIGN_ROLES],
        Request("iam:PassRole", f"{ROLE}cluster", passed_to("ec2.amazonaws.com")),
        Request("iam:PassRole", f"{ROLE}node", passed_to("pods.eks.amazonaws.com")),
        Request("iam:PassRole", f"{ROLE}node"),
        Request("iam:CreateServiceLinkedRole", f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/x", {"iam:AWSServiceName": "organizations.amazonaws.com"}),
    ]


def oidc_providers() -> list[Request]:
    tag = Request("iam:TagOpenIDConnectProvider", OIDC, request_tags=OWN_TAGS)
    return [
        Request("iam:DeleteOpenIDConnectProvider", OIDC),
        Request("iam:DeleteOpenIDConnectProvider", OIDC, resource_tags=BY_TERRAFORM),
        Request("iam:DeleteOpenIDConnectProvider", OIDC, resource_tags=PROTECTED),
        Request("iam:UntagOpenIDConnectProvider", OIDC, resource_tags=BY_TERRAFORM),
        Request("iam:CreateOpenIDConnectProvider", OIDC),
        Request("iam:CreateOpenIDConnectProvider", f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com", request_tags=OWN_TAGS),
        replace(tag, request_tags={"team": "x"}),
        *[replace(tag, resource_tags=tags) for tags in (BY_TERRAFORM, BY_EKSCTL, BY_CLOUDFORMATION, PROTECTED)],
        replace(tag, resource=f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"),
        Request("iam:UpdateOpenIDConnectProviderThumbprint", OIDC, resource_tags=OWN_TAGS),
        Request("iam:AddClientIDToOpenIDConnectProvider", OIDC, resource_tags=OWN_TAGS),
    ]


def other_accounts() -> list[Request]:
    assume = Request("sts:AssumeRole", f"arn:aws:iam::{FOREIGN_ACCOUNT}:role/keelson", ORGANIZATION)
    return [
        replace(assume, context={**ORGANIZATION, "aws:ResourceOrgID": "o-theirs"}),
        # The role's account, or the operator's own, is in no organization.
        replace(assume, context={"aws:PrincipalOrgID": "o-ours"}),
        replace(assume, context={"aws:ResourceOrgID": "o-theirs"}),
        replace(assume, context={}),
        replace(assume, resource=f"arn:aws:iam::{ACCOUNT}:role/admin"),
        replace(assume, resource=f"arn:aws:iam::{ACCOUNT}:role/team/keelson"),
    ]


def clusters() -> list[Request]:
    on_cluster = ("DeleteCluster", "UpdateClusterConfig", "UpdateClusterVersion", "CreateAccessEntry", "CreateAddon", "CreateNodegroup")
    tag = Request("eks:TagResource", CLUSTER, request_tags=OWN_TAGS)
    return [
        *[Request(f"eks:{action}", CLUSTER, request_tags=OWN_TAGS) for action in on_cluster],
        *[Request(f"eks:{action}", CLUSTER, request_tags=OWN_TAGS, resource_tags=BY_EKSCTL) for action in on_cluster],
        *[Request(f"eks:{action}", CLUSTER, request_tags=OWN_TAGS, resource_tags=PROTECTED) for action in on_cluster],
        Request("eks:CreateCluster", request_tags={"team": "x"}),
        Request("eks:DeleteNodegroup", NODEGROUP),
        Request("eks:AssociateAccessPolicy", ENTRY),
        Request("eks:DeleteAccessEntry", ENTRY),
        Request("eks:UntagResource", CLUSTER, {"aws:TagKeys": ["team"]}),
        replace(tag, request_tags={"team": "x"}),
        *[replace(tag, resource_tags=tags) for tags in (BY_TERRAFORM, BY_EKSCTL, BY_CLOUDFORMATION, PROTECTED)],
    ]


def log_groups() -> list[Request]:
    changes = ("DeleteLogGroup", "PutRetentionPolicy", "AssociateKmsKey", "UntagResource")
    others = LOG_GROUP.replace("/aws/eks/prod/cluster", "/aws/lambda/audit")
    tag = Request("logs:TagResource", LOG_GROUP, request_tags=OWN_TAGS)
    return [
        *[Request(f"logs:{action}", LOG_GROUP) for action in changes],
        *[Request(f"logs:{action}", LOG_GROUP, resource_tags=PROTECTED) for action in changes],
        *[Request(f"logs:{action}", others, resource_tags=OWN_TAGS) for action in changes],
        Request("logs:CreateLogGroup", LOG_GROUP, request_tags={"team": "x"}),
        Request("logs:CreateLogGroup", others, request_tags=OWN_TAGS),
        replace(tag, resource=others),
        replace(tag, request_tags={"team": "x"}),
        *[replace(tag, resource_tags=tags) for tags in (BY_TERRAFORM, BY_EKSCTL, BY_CLOUDFORMATION, PROTECTED)],
        *[Request(f"logs:{action}", LOG_GROUP) for action in ("GetLogEvents", "FilterLogEvents", "StartQuery", "PutSubscriptionFilter")],
    ]


def queues_and_instances() -> list[Request]:
    """Queues and rules of others, and those that only have the name; instances that Karpenter did not launch."""
    changes = {
        QUEUE: ("sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:UntagQueue"),
        RULE: ("events:DeleteRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:UntagResource"),
    }
    own = [(action, arn) for arn, all_of_it in changes.items() for action in all_of_it]
    context = {"events:PutRule": INTERRUPTIONS, "events:PutTargets": TARGET}
    others = {QUEUE: QUEUE.replace("keelson-prod-karpenter", "orders"), RULE: RULE.replace("keelson-prod-interruptions", "audit")}
    tag = [Request("sqs:TagQueue", QUEUE, request_tags=OWN_TAGS), Request("events:TagResource", RULE, request_tags=OWN_TAGS)]
    return [
        *[Request(action, arn, context.get(action, {})) for action, arn in own],
        *[Request(action, arn, context.get(action, {}), resource_tags=PROTECTED) for action, arn in own],
        *[Request(action, others[arn], context.get(action, {}), resource_tags=OWN_TAGS) for action, arn in own],
        # A rule of ours that listens to what others do, or sends what it hears elsewhere.
        *[
            Request("events:PutRule", RULE, INTERRUPTIONS | events, **tags)
            for tags in ({"request_tags": OWN_TAGS}, {"resource_tags": OWN_TAGS})
            for events in (
                {"events:source": ["aws.ec2", "aws.s3"]},
                {"events:source": ["aws.cloudtrail"]},
                {"events:detail-type": ["AWS API Call via CloudTrail"]},
                {"events:detail-type": ["AWS Health Event", "AWS Console Sign In via CloudTrail"]},
            )
        ],
        # Without a source or a type it hears all, and a schedule has neither.
        *[
            Request("events:PutRule", RULE, {key: value for key, value in INTERRUPTIONS.items() if key != missing}, resource_tags=OWN_TAGS)
            for missing in INTERRUPTIONS
        ],
        *[
            Request("events:PutTargets", RULE, {**TARGET, "events:TargetArn": targets}, resource_tags=OWN_TAGS)
            for targets in (
                [QUEUE.replace(ACCOUNT, FOREIGN_ACCOUNT)],
                [QUEUE, others[QUEUE]],
                [f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:deploy"],
                [f"arn:aws:events:eu-west-1:{FOREIGN_ACCOUNT}:event-bus/default"],
            )
        ],
        Request("events:PutTargets", RULE, {"aws:PrincipalAccount": ACCOUNT}, resource_tags=OWN_TAGS),
        Request("sqs:CreateQueue", QUEUE, request_tags={"team": "x"}),
        Request("sqs:CreateQueue", others[QUEUE], request_tags=OWN_TAGS),
        Request("events:PutRule", others[RULE], INTERRUPTIONS, request_tags=OWN_TAGS),
        *[replace(one, request_tags={"team": "x"}) for one in tag],
        *[replace(one, resource_tags=PROTECTED) for one in tag],
        *[Request(f"sqs:{action}", QUEUE, resource_tags=OWN_TAGS) for action in ("ReceiveMessage", "SendMessage", "PurgeQueue", "AddPermission")],
        *[Request("ec2:TerminateInstances", ec2("instance"), resource_tags=tags) for tags in ({}, OWN_TAGS, {"eks:nodegroup-name": "workers"})],
        Request("ec2:TerminateInstances", ec2("instance"), resource_tags={"karpenter.sh/nodepool": "spot", **PROTECTED}),
        Request("ec2:StopInstances", ec2("instance"), resource_tags={"karpenter.sh/nodepool": "spot"}),
    ]


def networks() -> list[Request]:
    deletions = {
        "DeleteVpc": "vpc", "DeleteSubnet": "subnet", "DeleteRouteTable": "route-table", "DeleteRoute": "route-table",
        "DeleteInternetGateway": "internet-gateway", "DetachInternetGateway": "internet-gateway", "DeleteNatGateway": "natgateway",
        "ReleaseAddress": "elastic-ip", "DeleteVpcEndpoints": "vpc-endpoint", "DeleteSecurityGroup": "security-group",
        "DeleteNetworkInterface": "network-interface", "DeleteFlowLogs": "vpc-flow-log",
        "DeleteEgressOnlyInternetGateway": "egress-only-internet-gateway",
    }
    changes = {
        "CreateRoute": "route-table", "ReplaceRoute": "route-table", "ReplaceRouteTableAssociation": "route-table",
        "AssociateRouteTable": "subnet", "AttachInternetGateway": "vpc", "AuthorizeSecurityGroupIngress": "security-group",
        "RevokeSecurityGroupIngress": "security-group", "RevokeSecurityGroupEgress": "security-group", "CreateNatGateway": "elastic-ip",
        "CreateSubnet": "vpc", "CreateVpcEndpoint": "vpc", "ModifyVpcEndpoint": "vpc-endpoint", "ModifyVpcAttribute": "vpc", "CreateFlowLogs": "vpc",
        "ModifySubnetAttribute": "subnet", "CreateTags": "vpc", "DeleteTags": "vpc", "AssociateVpcCidrBlock": "vpc",
        "CreateEgressOnlyInternetGateway": "vpc",
    }
    on = {**deletions, **changes}
    created = ("CreateVpc", "CreateSecurityGroup", "AllocateAddress", "CreateNatGateway", "CreateVpcEndpoint", "CreateFlowLogs")
    created_kinds = ("vpc", "security-group", "elastic-ip", "natgateway", "vpc-endpoint", "vpc-flow-log")
    return [
        *[Request(f"ec2:{action}", ec2(kind)) for action, kind in on.items()],
        *[Request(f"ec2:{action}", ec2(kind), resource_tags={"Name": "ours", "team": "x"}) for action, kind in on.items()],
        *[Request(f"ec2:{action}", ec2(kind), resource_tags=PROTECTED) for action, kind in deletions.items()],
        *[Request(f"ec2:{action}", ec2(kind)) for action, kind in zip(created, created_kinds, strict=True)],
        # Tags that would mark foreign resources as Keelson's.
        *[Request("ec2:CreateTags", ec2(kind), request_tags=OWN_TAGS) for kind in ("vpc", "elastic-ip", "security-group", "network-interface", "instance")],
        Request("ec2:CreateTags", ec2("instance"), {"ec2:CreateAction": "RunInstances"}, request_tags=OWN_TAGS),
        *[
            Request(f"ec2:{action}", ec2("launch-template"), request_tags=OWN_TAGS)
            for action in ("CreateLaunchTemplateVersion", "DeleteLaunchTemplate", "DeleteLaunchTemplateVersions", "ModifyLaunchTemplate")
        ],
        Request("ec2:CreateLaunchTemplate", ec2("launch-template")),
        # Instances only from launch templates of Keelson: a launch is a check of each resource, the template among them.
        Request("ec2:RunInstances", ec2("launch-template"), LAUNCH),
        Request("ec2:RunInstances", ec2("launch-template"), LAUNCH, resource_tags=PROTECTED),
        *[Request("ec2:RunInstances", ec2(kind)) for kind in ("instance", "volume", "network-interface")],
        *[Request(f"ec2:{action}", ec2("network-interface"), resource_tags=OWN_TAGS) for action in ("ModifyNetworkInterfaceAttribute", "DetachNetworkInterface")],
    ]


DENIED = {
    "secrets and people": secrets_and_people(),
    "persistence by roles": persistent_roles(),
    "roles of others": roles_of_others(),
    "passing roles": roles_passed(),
    "OIDC providers of others": oidc_providers(),
    "other accounts": other_accounts(),
    "clusters of others": clusters(),
    "log groups of others": log_groups(),
    "queues, rules and instances of others": queues_and_instances(),
    "networks of others": networks(),
}
ALLOWED = [
    Request("ssm:GetParameter", "arn:aws-cn:ssm:cn-north-1::parameter/aws/service/eks/optimized-ami/1.34/x/recommended/release_version"),
    Request("ssm:GetParameter", "arn:aws:ssm:eu-west-1::parameter/aws/service/bottlerocket/aws-k8s-1.34/x86_64/latest/image_version"),
    *[Request("iam:CreateRole", f"{prefix}{suffix}", SHIPPED_BOUNDARY, request_tags=OWN_TAGS) for prefix in (ROLE, ROLE_WITH_PATH) for suffix in SUFFIXES],
    *[Request("iam:TagRole", f"{prefix}{suffix}", request_tags=OWN_TAGS) for prefix in (ROLE, ROLE_WITH_PATH) for suffix in SUFFIXES],
    *[Request(f"iam:{action}", f"{ROLE_WITH_PATH}node", resource_tags=OWN_TAGS) for action in ("TagRole", "UntagRole", "DeleteRole", "DetachRolePolicy")],
    *[Request("iam:UpdateAssumeRolePolicy", f"{prefix}node", resource_tags=OWN_TAGS) for prefix in (ROLE, ROLE_WITH_PATH)],
    *[Request("iam:PutRolePermissionsBoundary", f"{prefix}cluster", SHIPPED_BOUNDARY, resource_tags=OWN_TAGS) for prefix in (ROLE, ROLE_WITH_PATH)],
    Request("iam:AttachRolePolicy", f"{ROLE_WITH_PATH}cluster", policy("AmazonEKSClusterPolicy"), resource_tags=OWN_TAGS),
    Request("iam:AttachRolePolicy", f"{ROLE}node", policy("AmazonSSMManagedInstanceCore"), resource_tags=OWN_TAGS),
    Request("iam:AttachRolePolicy", f"{ROLE}node", CNI_IPV6, resource_tags=OWN_TAGS),
    Request("ec2:AssociateVpcCidrBlock", ec2("vpc"), resource_tags=OWN_TAGS),
    Request("ec2:CreateEgressOnlyInternetGateway", ec2("egress-only-internet-gateway"), request_tags=OWN_TAGS),
    Request("ec2:DeleteEgressOnlyInternetGateway", ec2("egress-only-internet-gateway"), resource_tags=OWN_TAGS),
    *[Request("iam:CreateRole", role, WORKLOAD_BOUNDARY, request_tags=OWN_TAGS) for role in (POD, POD_WITH_PATH)],
    *[
        Request(f"iam:{action}", role, {**WORKLOAD_BOUNDARY, **policy("AmazonEBSCSIDriverPolicyV2")}, resource_tags=OWN_TAGS)
        for role in (POD, POD_WITH_PATH)
        for action in ("AttachRolePolicy", "DeleteRole", "DeleteRolePolicy", "PutRolePermissionsBoundary", "PutRolePolicy", "UpdateAssumeRolePolicy")
    ],
    Request("iam:PassRole", POD, passed_to("pods.eks.amazonaws.com")),
    Request("sqs:CreateQueue", QUEUE, request_tags=OWN_TAGS),
    Request("events:PutRule", RULE, INTERRUPTIONS, request_tags=OWN_TAGS),
    Request("events:PutRule", RULE, INTERRUPTIONS, resource_tags=OWN_TAGS),
    Request("events:PutTargets", RULE, TARGET, resource_tags=OWN_TAGS),
    Request("sqs:DeleteQueue", QUEUE, resource_tags=OWN_TAGS),
    Request("ec2:TerminateInstances", ec2("instance"), resource_tags={"karpenter.sh/nodepool": "spot"}),
    Request("iam:PassRole", f"{ROLE}cluster", passed_to("eks.amazonaws.com")),
    Request("iam:PassRole", f"{ROLE_WITH_PATH}node", passed_to("ec2.amazonaws.com")),
    Request("iam:PassRole", f"{ROLE}source", passed_to("pods.eks.amazonaws.com")),
    Request("iam:CreateOpenIDConnectProvider", OIDC, request_tags=OWN_TAGS),
    Request("iam:TagOpenIDConnectProvider", OIDC, request_tags=OWN_TAGS),
    Request("iam:DeleteOpenIDConnectProvider", OIDC, resource_tags=OWN_TAGS),
    Request("sts:AssumeRole", f"arn:aws:iam::{FOREIGN_ACCOUNT}:role/keelson", ORGANIZATION),
    Request("eks:CreateCluster", request_tags=OWN_TAGS),
    Request("eks:TagResource", CLUSTER, request_tags=OWN_TAGS),
    Request("eks:DeleteCluster", CLUSTER, resource_tags=OWN_TAGS),
    *[Request(f"logs:{action}", LOG_GROUP, request_tags=OWN_TAGS) for action in ("CreateLogGroup", "TagResource")],
    *[Request(f"logs:{action}", LOG_GROUP, resource_tags=OWN_TAGS) for action in ("DeleteLogGroup", "PutRetentionPolicy", "AssociateKmsKey", "UntagResource")],
    Request("ec2:CreateVpc", ec2("vpc"), request_tags=OWN_TAGS),
    Request("ec2:CreateTags", ec2("vpc"), {"ec2:CreateAction": "CreateVpc"}, request_tags=OWN_TAGS),
    Request("ec2:ReleaseAddress", ec2("elastic-ip"), resource_tags=OWN_TAGS),
    Request("ec2:DeleteSecurityGroup", ec2("security-group"), resource_tags={"elbv2.k8s.aws/cluster": "prod"}),
    Request("ec2:CreateLaunchTemplate", ec2("launch-template"), request_tags=OWN_TAGS),
    Request("ec2:CreateTags", ec2("launch-template"), {"ec2:CreateAction": "CreateLaunchTemplate"}, request_tags=OWN_TAGS),
    *[
        Request(f"ec2:{action}", ec2("launch-template"), resource_tags=OWN_TAGS)
        for action in ("CreateLaunchTemplateVersion", "DeleteLaunchTemplate", "DeleteLaunchTemplateVersions")
    ],
    Request("ec2:RunInstances", ec2("launch-template"), LAUNCH, resource_tags=OWN_TAGS),
    *[Request("ec2:RunInstances", ec2(kind), LAUNCH) for kind in ("instance", "volume", "network-interface", "subnet", "security-group")],
    *[
        Request("ec2:CreateTags", ec2(kind), {"ec2:CreateAction": "RunInstances"}, request_tags={"team": "shop"})
        for kind in ("instance", "volume", "network-interface")
    ],
    Request("ec2:DescribeVpcs"),
]
ONLY_WITH_ADOPTION = [
    *[Request("eks:TagResource", CLUSTER, request_tags=OWN_TAGS, resource_tags=tags) for tags in (BY_TERRAFORM, BY_EKSCTL, BY_CLOUDFORMATION)],
    *[Request("iam:TagOpenIDConnectProvider", OIDC, request_tags=OWN_TAGS, resource_tags=tags) for tags in (BY_TERRAFORM, BY_EKSCTL)],
    Request("eks:UpdateClusterConfig", CLUSTER),
    *[Request("logs:TagResource", LOG_GROUP, request_tags=OWN_TAGS, resource_tags=tags) for tags in (BY_TERRAFORM, BY_CLOUDFORMATION)],
    Request("logs:PutRetentionPolicy", LOG_GROUP),
]
# Tagging an existing resource and tagging one during its creation are the same request for IAM, as neither service passes the creating
# call to it. An existing resource needs `keelson.dev/protected`, or any of the tags above, to be safe.
INDISTINGUISHABLE = [
    Request("eks:TagResource", CLUSTER, request_tags=OWN_TAGS),
    Request("iam:TagOpenIDConnectProvider", OIDC, request_tags=OWN_TAGS),
    Request("logs:TagResource", LOG_GROUP, request_tags=OWN_TAGS),
]
# What it can do with roles of Pods, where that policy is attached: any trust, any policy, any tag. The boundary limits it.
WITH_WORKLOADS = [
    Request("iam:CreateRole", POD, WORKLOAD_BOUNDARY, request_tags={**OWN_TAGS, "keelson.dev/cluster": "victim/prod"}),
    Request("iam:PutRolePolicy", POD, WORKLOAD_BOUNDARY, resource_tags=OWN_TAGS),
    Request("iam:AttachRolePolicy", POD, {**WORKLOAD_BOUNDARY, **policy("AdministratorAccess")}, resource_tags=OWN_TAGS),
]
# And what the role then can do.
BY_A_ROLE_OF_PODS = [
    Request("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:victim/prod/database"),
    Request("ssm:GetParameter", f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/victim/prod/database"),
    Request("kms:Decrypt", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/x", {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}),
    Request("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1"),
    Request("ec2:DeleteVolume", ec2("volume")),
]


def describe(request: Request) -> str:
    return f"{request.action} {request.resource} {dict(request.context)} {dict(request.request_tags)} {dict(request.resource_tags)}"


@pytest.mark.parametrize("kind", DENIED)
def test_stolen_credential_is_denied_forbidden_actions(kind):
    assert [describe(request) for request in DENIED[kind] if decide(request, BASE).allowed] == []


def test_actions_of_the_operator_are_allowed():
    assert [describe(request) for request in ALLOWED if not decide(request, BASE).allowed] == []


def test_resources_of_other_tools_are_adopted_only_with_the_adoption_policy():
    for request in ONLY_WITH_ADOPTION:
        assert not decide(request, BASE).allowed, describe(request)
        assert decide(request, WITH_ADOPTION).allowed, describe(request)
        protected = replace(request, resource_tags={**request.resource_tags, "keelson.dev/protected": "true"})
        assert not decide(protected, WITH_ADOPTION).allowed, "keelson.dev/protected also overrides the adoption policy"


def test_protected_resource_can_only_be_read():
    for request in (*ALLOWED, *ONLY_WITH_ADOPTION):
        marked = replace(request, resource_tags=PROTECTED)
        reads = request.action.startswith(("ec2:Describe", "iam:PassRole", "sts:"))
        assert decide(marked, WITH_ADOPTION).allowed == reads, describe(marked)


def test_requests_that_iam_cannot_distinguish_are_documented():
    assert all(decide(request, BASE).allowed for request in INDISTINGUISHABLE)
    assert len(INDISTINGUISHABLE) == len({request.action for request in INDISTINGUISHABLE}) == 3
    text = (BOUNDARY.parent.parent / "docs" / "install.md").read_text()
    for request in INDISTINGUISHABLE:
        assert f"`{request.action}`" in text.partition("### What a stolen credential can do")[2], request.action


def test_roles_of_pods_need_the_optional_policy_and_what_they_let_an_attacker_do_is_documented():
    everything = [{"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}]
    text = (DEPLOY.parent / "docs/install.md").read_text().partition("### What a stolen credential can do")[2]
    for request in WITH_WORKLOADS:
        assert not decide(request, WITHOUT_WORKLOADS).allowed, describe(request)
        assert decide(request, BASE).allowed, describe(request)
        assert f"`{request.action}`" in text, request.action
    tags = {"aws:PrincipalTag/keelson.dev/cluster": "victim/prod"}
    for request in BY_A_ROLE_OF_PODS:
        assert decide(replace(request, context={**request.context, **tags}), everything, statements_of(PODS_BOUNDARY)).allowed, describe(request)
        assert not decide(request, BASE).allowed, "only with such a role: " + describe(request)
    for request in secrets_and_people():
        assert not decide(replace(request, context={**request.context, **tags}), everything, statements_of(PODS_BOUNDARY)).allowed, describe(request)
    # The attacker chooses that tag.
    by_tag = {"aws:PrincipalTag/keelson.dev/cluster": "prod"}
    secret = Request("ssm:GetParameter", f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/prod/database/password", by_tag)
    assert decide(secret, everything, statements_of(PODS_BOUNDARY)).allowed and "whose name\n  has a slash" in text


# Permissions of a role that an attacker created with a stolen credential and their own trust policy.


def test_role_within_the_boundary_reads_no_secrets_and_grants_no_admin():
    everything = [{"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}]
    boundary = statements_of(BOUNDARY)
    forbidden = [
        *[request for request in secrets_and_people() if not request.resource.startswith("arn:aws:ssm:eu-west-1::parameter/aws/") and request.action != "ec2:RunInstances"],
        Request("ssm:GetParameters", f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/prod/database/password"),
        Request("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
        Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", passed_to("ec2.amazonaws.com")),
        Request("iam:PassRole", f"{ROLE}autoNode", passed_to("lambda.amazonaws.com")),
        Request("iam:AddRoleToInstanceProfile", f"arn:aws:iam::{ACCOUNT}:instance-profile/bastion"),
        *[Request(f"iam:{action}", f"{ROLE}node") for action in ("CreateRole", "AttachRolePolicy", "UpdateAssumeRolePolicy", "TagRole")],
        Request("eks:DeleteCluster", CLUSTER),
        Request("eks:CreateAccessEntry", CLUSTER),
        Request("ec2:DeleteVpc", ec2("vpc")),
        Request("ecr:PutImage"),
    ]
    assert [describe(request) for request in forbidden if decide(request, everything, boundary).allowed] == []


def test_boundary_allows_the_actions_of_attached_aws_policies():
    documents = managed_policies()
    # Limited to AWS's own resources or to the node role of Auto Mode; the test above covers each.
    narrowed = {"ssm:GetParameter", "ssm:GetParameters", "iam:PassRole", "iam:AddRoleToInstanceProfile", "iam:CreateServiceLinkedRole"}
    attachable = {
        arn.rpartition("/")[2]
        for statement in BASE
        if statement.get("Action") == "iam:AttachRolePolicy"
        for arn in statement["Condition"]["ArnLike"]["iam:PolicyARN"]
    }
    assert len(attachable) == 12
    boundary = statements_of(BOUNDARY)
    # Of the account: AWS has no managed policy with it, and documents its content.
    attachable.remove("AmazonEKS_CNI_IPv6_Policy")
    cni = ("AssignIpv6Addresses", "DescribeInstances", "DescribeTags", "DescribeNetworkInterfaces", "DescribeInstanceTypes")
    assert all(decide(Request(f"ec2:{action}"), boundary).allowed for action in cni)
    assert decide(Request("ec2:CreateTags", ec2("network-interface")), boundary).allowed
    for name in sorted(attachable):
        for statement in documents[name]["Document"]["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            missing = [a for a in actions if a not in narrowed and not decide(Request(a), boundary).allowed]
            assert statement["Effect"] == "Deny" or missing == [], name


def managed_policies() -> dict:
    """AWS managed policies, from moto's data."""
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    return json.loads(aws_managed_policies_data)


# The organization policy that protects Keelson's tags.


def test_only_the_operator_can_write_or_remove_its_tags():
    everything = [{"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}, *statements_of(TAG_PROTECTION)]
    person = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/admin"}
    operator = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/keelson"}
    keys = {"aws:TagKeys": ["Name", "keelson.dev/owner"]}
    # `aws:ResourceTag/keelson.dev/owner`, which the operator's policies use, matches these too: IAM ignores case there.
    other_case = [{"aws:TagKeys": ["Name", key]} for key in ("Keelson.dev/owner", "keelson.dev/OWNER", "KEELSON.DEV/Protected", "Keelson.Dev/Cluster")]
    tagging = [
        *[Request("ec2:CreateTags", ec2("vpc"), tags) for tags in other_case],
        *[Request(action, f"{ROLE}node", tags) for action in ("iam:TagRole", "iam:UntagRole") for tags in other_case],
        *[Request(action, CLUSTER, tags) for action in ("eks:TagResource", "eks:UntagResource") for tags in other_case],
        *[Request(action, ec2("vpc"), keys) for action in ("ec2:CreateTags", "ec2:DeleteTags")],
        *[Request(action, CLUSTER, keys) for action in ("eks:TagResource", "eks:UntagResource")],
        *[Request(action, f"{ROLE}node", keys) for action in ("iam:TagRole", "iam:UntagRole")],
        *[Request(action, LOG_GROUP, keys) for action in ("logs:TagResource", "logs:UntagResource", "logs:TagLogGroup", "logs:UntagLogGroup")],
        *[Request(action, OIDC, keys) for action in ("iam:TagOpenIDConnectProvider", "iam:UntagOpenIDConnectProvider")],
        # EC2 removes all tags if the request names none.
        Request("ec2:DeleteTags", ec2("vpc"), resource_tags=OWN_TAGS),
        replace(Request("ec2:CreateTags", ec2("vpc")), request_tags={"keelson.dev/protected": "true"}),
    ]
    for request in tagging:
        assert not decide(replace(request, context={**request.context, **person}), everything).allowed, describe(request)
        assert decide(replace(request, context={**request.context, **operator}), everything).allowed, describe(request)
    other = Request("ec2:CreateTags", ec2("vpc"), {"aws:TagKeys": ["Name", "team"], **person})
    assert decide(other, everything).allowed
    assert decide(Request("ec2:DeleteTags", ec2("vpc"), person, resource_tags={"team": "x"}), everything).allowed
