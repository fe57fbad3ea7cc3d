//! Fields of Cluster API that have no place in a manifest, and why. Pure.

use crate::cli::import::section::Origin;

/// The file is of Cluster API.
pub static CLUSTER_API: Origin =
    Origin { unknown: "unknown to Keelson: a field of another version of Cluster API, or misspelt", reason: |_| None };

const ROLE: &str = "the role stays as it is: Keelson refers to it by ARN, and does not change it";
const NODES: &str = "the launch template or AMI of the nodes stays as it is";

/// Of an AWSManagedControlPlane.
pub const OF_CONTROL_PLANES: [(&str, &str); 14] = [
    ("roleAdditionalPolicies", ROLE),
    ("rolePermissionsBoundary", ROLE),
    ("sshKeyName", "Keelson does not set keys: the launch template of a node group can"),
    ("secondaryCidrBlock", "the network stays as it is: network.existing refers to it by id"),
    ("imageLookupFormat", NODES),
    ("imageLookupOrg", NODES),
    ("imageLookupBaseOS", NODES),
    ("tokenMethod", "Keelson writes no kubeconfig by itself: see writeKubeconfigToSecretRef"),
    ("vpcCni", CNI),
    ("disableVPCCNI", CNI),
    ("kubeProxy", "kube-proxy stays as it is, with or without an add-on of EKS"),
    ("bootstrapSelfManagedAddons", "is for the creation of a cluster only"),
    ("restrictPrivateSubnets", "the control plane stays in its subnets: they are in network.existing"),
    ("ami", NODES),
];
const CNI: &str =
    "the DaemonSet aws-node stays as it is: list the add-on vpc-cni with its configuration if EKS should manage it";

/// Of an AWSManagedMachinePool.
pub const OF_MACHINE_POOLS: [(&str, &str); 4] = [
    ("roleAdditionalPolicies", ROLE),
    ("rolePermissionsBoundary", ROLE),
    (
        "lifecycleHooks",
        "EKS owns the Auto Scaling group of a managed node group: its hooks stay, and Keelson does not change them",
    ),
    ("bootstrapOptions", NODES),
];

/// Of an AWSFargateProfile.
pub const OF_FARGATE_PROFILES: [(&str, &str); 2] =
    [("rolePermissionsBoundary", ROLE), ("additionalTags", "tags of a Fargate profile stay as they are")];
