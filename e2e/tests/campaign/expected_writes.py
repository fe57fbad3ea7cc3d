"""The AWS writes that an edit of each field may cause, and what may remain in AWS after its revert. Pure: tables."""

from __future__ import annotations

import re

from .edits import Edit

UPDATE_CLUSTER = "eks:UpdateClusterConfig"
UPDATE_NODES = "eks:UpdateNodegroupConfig"
ADDONS = "eks:(Create|Update|Delete)Addon"
ENTRIES = "eks:(Create|Update|Delete)AccessEntry|eks:(Associate|Disassociate)AccessPolicy"
IDENTITIES = r"eks:\w+PodIdentityAssociation"
TAGS = r"ec2:(Create|Delete)Tags|\w+:(Tag|Untag)\w+"
# Roles of Pods, which are deleted again.
POD_ROLES = r"iam:(Create|Delete)Role|iam:(Attach|Detach|Put|Delete)RolePolicy|iam:UpdateAssumeRolePolicy"
CREATE_ROLE = "iam:CreateRole|iam:AttachRolePolicy"
GATEWAYS = "ec2:(AllocateAddress|ReleaseAddress|CreateNatGateway|DeleteNatGateway|ReplaceRoute|CreateRoute|DeleteRoute)"
ENDPOINTS = r"ec2:(Create|Modify)VpcEndpoint|ec2:DeleteVpcEndpoints|ec2:(Create|Delete)SecurityGroup|ec2:AuthorizeSecurityGroupIngress"

# By kind and field. A field that is not listed causes no write at all; no field creates or deletes a VPC, a subnet, a cluster, a node
# group or any other resource that the edit itself does not add or remove.
WRITES = {
    "EksCluster": {
        "tags": TAGS,
        "network.vpc.nat": GATEWAYS,
        "network.vpc.endpoints": ENDPOINTS,
        "network.vpc.flowLogs": "ec2:(Create|Delete)FlowLogs",
        "network": UPDATE_CLUSTER,
        "endpointAccess": UPDATE_CLUSTER,
        "logging": UPDATE_CLUSTER,
        # Created where nothing is logged yet; EKS creates it otherwise.
        "logGroup": "logs:(CreateLogGroup|PutRetentionPolicy|AssociateKmsKey)",
        "secretsEncryption": "eks:AssociateEncryptionConfig",
        "supportType": UPDATE_CLUSTER,
        "controlPlaneScaling": UPDATE_CLUSTER,
        "zonalShift": UPDATE_CLUSTER,
        "deletionProtection": UPDATE_CLUSTER,
        "autoMode": f"{UPDATE_CLUSTER}|{CREATE_ROLE}",
        "controlPlane": UPDATE_CLUSTER,
        "remoteNetworks": UPDATE_CLUSTER,
        "access.authenticationMode": UPDATE_CLUSTER,
        "access.oidcIdentityProvider": "eks:(Associate|Disassociate)IdentityProviderConfig",
        "capabilities": "eks:(Create|Update|Delete)Capability",
        "access": f"{ENTRIES}|{UPDATE_CLUSTER}|eks:(Associate|Disassociate)IdentityProviderConfig",
        "oidcProvider": r"iam:\w+OpenIDConnectProvider",
        "podIdentities": f"{IDENTITIES}|{POD_ROLES}",
        # The software that stays is marked by a tag.
        "addons": rf"{ADDONS}|{IDENTITIES}|{POD_ROLES}|eks:(Tag|Untag)Resource",
        "pruneAddons": "eks:DeleteAddon",
        "fargateProfiles": f"eks:(Create|Delete)FargateProfile|{CREATE_ROLE}",
        "karpenter": rf"(sqs|events):\w+|{IDENTITIES}|{POD_ROLES}|eks:CreateAccessEntry|ec2:(Create|Delete)Tags",
        "version": "eks:UpdateClusterVersion|eks:UpdateAddon|eks:UpdateNodegroupVersion",
    },
    "NodeGroup": {
        "labels": UPDATE_NODES,
        "taints": UPDATE_NODES,
        "scaling": UPDATE_NODES,
        "update": UPDATE_NODES,
        "repair": UPDATE_NODES,
        "warmPool": UPDATE_NODES,
        "tags": TAGS,
        "autoScalingGroupTags": "autoscaling:(CreateOrUpdateTags|DeleteTags)",
        "additionalRolePolicies": "iam:(Attach|Detach)RolePolicy",
        "launchTemplate.version": "eks:UpdateNodegroupVersion",
        "launchTemplate": "eks:UpdateNodegroupVersion",
        "node": "ec2:(Create|Delete)LaunchTemplateVersions?|eks:UpdateNodegroupVersion",
        "version": "eks:UpdateNodegroupVersion",
        "releaseVersion": "eks:UpdateNodegroupVersion",
    },
    "AwsAccount": {"tags": TAGS, "enforcedTags": TAGS, "permissionsBoundaryArn": "iam:PutRolePermissionsBoundary"},
}

# Removing most fields from a spec reverts nothing in AWS: an absent field is not managed. Exceptions are tags, and policies of the role
# that Keelson created. By kind and field, the differences that may remain. Any other difference is a defect.
MAY_REMAIN = {
    "EksCluster": {
        "network.existing.securityGroupIds": r"cluster\.resourcesVpcConfig\.securityGroupIds",
        "network": r"cluster\.resourcesVpcConfig\.securityGroupIds",
        # EKS creates the log group, and leaves it.
        "logging": r"cluster\.logging\.|inventory\.logGroups",
        # It stays, without being managed.
        "logGroup": r"inventory\.logGroups",
        "supportType": r"cluster\.upgradePolicy",
        "controlPlaneScaling": r"cluster\.controlPlaneScalingConfig",
        "zonalShift": r"cluster\.zonalShiftConfig",
        "deletionProtection": r"cluster\.deletionProtection",
        "autoMode": r"cluster\.(computeConfig|storageConfig|kubernetesNetworkConfig\.elasticLoadBalancing)|inventory\.roles|roles\.",
        "controlPlane": r"cluster\.(kube\w+Config|resourcesVpcConfig\.controlPlaneEgressMode)",
        "remoteNetworks": r"cluster\.remoteNetworkConfig",
        # Without pruning; and a version that has become EKS's default is not downgraded.
        "addons": r"addons\.|inventory\.(addons|roles)|roles\.\S+-pod|podIdentities\.",
        # Session tags and a second role are not managed without their fields; a role stays while its credentials may be in use.
        "podIdentities": r"podIdentities\.|inventory\.roles|roles\.\S+-pod",
        "pruneAddons": r"addons\.|inventory\.addons",
        "access.entries": r"accessEntries\.",
        # The role of the nodes and its access entry stay; that of Karpenter while its credentials may be in use.
        "karpenter": r"inventory\.roles|roles\.\S+-(pod|node)|accessEntries\.\S+-node",
        # The role, and the access entry that EKS creates for it.
        "fargateProfiles": r"roles\.\S+-fargate|inventory\.roles|accessEntries\.\S+-fargate",
    },
    "NodeGroup": {
        "labels": r"nodegroups\.\S+\.labels\.",
        # Once moved into the bounds, the size is owned by an autoscaler.
        "scaling": r"nodegroups\.\S+\.scalingConfig\.desiredSize|inventory\.(instances|networkInterfaces|volumes)",
        "update": r"nodegroups\.\S+\.updateConfig\.",
        "repair": r"nodegroups\.\S+\.nodeRepairConfig",
        "warmPool": r"nodegroups\.\S+\.warmPoolConfig",
    },
    "AwsAccount": {},
}


def within(name: str, field: str) -> bool:
    return name == field or name.startswith((f"{field}.", f"{field}[", field + "{"))


def unexpected(edit: Edit, writes: list[str]) -> list[str]:
    """Writes that the edited field must not cause."""
    expected = [pattern for field, pattern in WRITES[edit.kind].items() if within(edit.name, field)]
    return [write for write in writes if not any(re.match(rf"({pattern})\b", write) for pattern in expected)]


def may_remain(edit: Edit, difference: str) -> bool:
    patterns = [pattern for field, pattern in MAY_REMAIN[edit.kind].items() if within(edit.name, field)]
    return any(re.match(pattern, difference) for pattern in patterns)
