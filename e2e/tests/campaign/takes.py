"""What an edit of each field may write to AWS, and what may stay of it when it is taken back. Pure: tables."""

from __future__ import annotations

import re

from .edits import Edit

UPDATE_CLUSTER = "eks:UpdateClusterConfig"
UPDATE_NODES = "eks:UpdateNodegroupConfig"
ADDONS = "eks:(Create|Update|Delete)Addon"
ENTRIES = "eks:(Create|Update|Delete)AccessEntry|eks:(Associate|Disassociate)AccessPolicy"
IDENTITIES = r"eks:\w+PodIdentityAssociation"
TAGS = r"ec2:(Create|Delete)Tags|\w+:(Tag|Untag)\w+"
MADE_ROLE = "iam:CreateRole|iam:AttachRolePolicy"
GATEWAYS = "ec2:(AllocateAddress|ReleaseAddress|CreateNatGateway|DeleteNatGateway|ReplaceRoute|CreateRoute|DeleteRoute)"
ENDPOINTS = r"ec2:(Create|Modify)VpcEndpoint|ec2:DeleteVpcEndpoints|ec2:(Create|Delete)SecurityGroup|ec2:AuthorizeSecurityGroupIngress"

# By kind and field. A field that is not here takes no write at all, and none makes or deletes a VPC, a subnet, a cluster, a node
# group or what else it does not itself add or remove.
WRITES = {
    "EksCluster": {
        "tags": TAGS,
        "network.vpc.nat": GATEWAYS,
        "network.vpc.endpoints": ENDPOINTS,
        "network": UPDATE_CLUSTER,
        "endpointAccess": UPDATE_CLUSTER,
        "logging": UPDATE_CLUSTER,
        "secretsEncryption": "eks:AssociateEncryptionConfig",
        "supportType": UPDATE_CLUSTER,
        "controlPlaneScaling": UPDATE_CLUSTER,
        "zonalShift": UPDATE_CLUSTER,
        "deletionProtection": UPDATE_CLUSTER,
        "autoMode": f"{UPDATE_CLUSTER}|{MADE_ROLE}",
        "access.authenticationMode": UPDATE_CLUSTER,
        "access": f"{ENTRIES}|{UPDATE_CLUSTER}",
        "oidcProvider": r"iam:\w+OpenIDConnectProvider",
        "podIdentities": IDENTITIES,
        "addons": f"{ADDONS}|{IDENTITIES}",
        "pruneAddons": "eks:DeleteAddon",
        "fargateProfiles": f"eks:(Create|Delete)FargateProfile|{MADE_ROLE}",
        "version": "eks:UpdateClusterVersion|eks:UpdateAddon|eks:UpdateNodegroupVersion",
    },
    "NodeGroup": {
        "labels": UPDATE_NODES,
        "taints": UPDATE_NODES,
        "scaling": UPDATE_NODES,
        "update": UPDATE_NODES,
        "repair": UPDATE_NODES,
        "tags": TAGS,
        "additionalRolePolicies": "iam:(Attach|Detach)RolePolicy",
        "launchTemplate.version": "eks:UpdateNodegroupVersion",
        "launchTemplate": "eks:UpdateNodegroupVersion",
        "version": "eks:UpdateNodegroupVersion",
        "releaseVersion": "eks:UpdateNodegroupVersion",
    },
    "AwsAccount": {"tags": TAGS, "enforcedTags": TAGS, "permissionsBoundaryArn": "iam:PutRolePermissionsBoundary"},
}

# Of most fields nothing is taken away because a spec no longer names it: a field that is absent is not managed. Tags go, and policies
# of the role that we made. By kind and field, what is then as the edit left it. Whatever else differs from before is a fault.
STAYS = {
    "EksCluster": {
        "network.existing.securityGroupIds": r"cluster\.resourcesVpcConfig\.securityGroupIds",
        "network": r"cluster\.resourcesVpcConfig\.securityGroupIds",
        "logging": r"cluster\.logging\.",
        "supportType": r"cluster\.upgradePolicy",
        "controlPlaneScaling": r"cluster\.controlPlaneScalingConfig",
        "zonalShift": r"cluster\.zonalShiftConfig",
        "deletionProtection": r"cluster\.deletionProtection",
        "autoMode": r"cluster\.(computeConfig|storageConfig|kubernetesNetworkConfig\.elasticLoadBalancing)|inventory\.roles|roles\.",
        # Without pruning; and a version that EKS has since made its default is not gone back from.
        "addons": r"addons\.|inventory\.addons|podIdentities\.",
        "pruneAddons": r"addons\.|inventory\.addons",
        "access.entries": r"accessEntries\.",
        # The role, and the entry that EKS makes for it.
        "fargateProfiles": r"roles\.\S+-fargate|inventory\.roles|accessEntries\.\S+-fargate",
    },
    "NodeGroup": {
        "labels": r"nodegroups\.\S+\.labels\.",
        # The size is an autoscaler's once it was moved into the bounds.
        "scaling": r"nodegroups\.\S+\.scalingConfig\.desiredSize|inventory\.(instances|networkInterfaces|volumes)",
        "update": r"nodegroups\.\S+\.updateConfig\.",
    },
    "AwsAccount": {},
}


def within(name: str, field: str) -> bool:
    return name == field or name.startswith((f"{field}.", f"{field}[", field + "{"))


def unexpected(edit: Edit, writes: list[str]) -> list[str]:
    """Writes that the edited field does not take."""
    taken = [pattern for field, pattern in WRITES[edit.kind].items() if within(edit.name, field)]
    return [write for write in writes if not any(re.match(rf"({pattern})\b", write) for pattern in taken)]


def may_stay(edit: Edit, difference: str) -> bool:
    patterns = [pattern for field, pattern in STAYS[edit.kind].items() if within(edit.name, field)]
    return any(re.match(pattern, difference) for pattern in patterns)
