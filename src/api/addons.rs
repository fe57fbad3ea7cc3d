//! EKS add-ons and Fargate profiles. No I/O.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::schema;
use super::workload_role::WorkloadRole;

/// Default add-ons.
pub const DEFAULT_ADDONS: [&str; 4] = ["vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent"];

/// Add-ons that new node groups wait for unless `beforeNodes` says otherwise.
const BEFORE_NODES: [&str; 3] = ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"];

/// Add-ons that run only as DaemonSets: ACTIVE without a node.
const WITHOUT_NODES: [&str; 4] = ["vpc-cni", "kube-proxy", "eks-pod-identity-agent", "eks-node-monitoring-agent"];

/// Add-ons with a Deployment: without nodes they are DEGRADED (`InsufficientNumberOfReplicas`), so nodes that wait for
/// them never come.
pub(super) const WITH_DEPLOYMENTS: [&str; 13] = [
    "adot",
    "amazon-cloudwatch-observability",
    "aws-ebs-csi-driver",
    "aws-efs-csi-driver",
    "aws-fsx-csi-driver",
    "aws-mountpoint-s3-csi-driver",
    "aws-privateca-connector-for-kubernetes",
    "cert-manager",
    "coredns",
    "external-dns",
    "kube-state-metrics",
    "metrics-server",
    "snapshot-controller",
];

/// The add-on that brings the Pod network, which the CNI of another vendor replaces.
pub const VPC_CNI: &str = "vpc-cni";

/// An EKS add-on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["serviceAccountRoleArn", "podIdentityRoleArn", "podIdentityRole"]))]
#[x_kube(validation = rules::before_nodes_without_nodes(&WITH_DEPLOYMENTS))]
#[serde(rename_all = "camelCase")]
pub struct Addon {
    /// Name in EKS, such as `vpc-cni`, which identifies the add-on.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::aws_name())]
    pub name: String,
    /// `Default` (EKS's default for the cluster's version), `Latest` (the newest compatible one) or an exact version.
    #[serde(default = "default_version")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::aws_name())]
    pub version: String,
    /// The add-on's settings, with the schema of `aws eks describe-addon-configuration`; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub configuration: Option<serde_json::Map<String, serde_json::Value>>,
    /// What EKS does with changes that were made to the add-on's objects in the cluster: `Preserve` keeps them,
    /// `Overwrite` resets them, `None` lets the update fail.
    #[serde(default)]
    pub conflicts: Conflicts,
    /// ARN of the IAM role of the add-on's service account for IRSA (needs `oidcProvider`); absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub service_account_role_arn: Option<String>,
    /// ARN of the IAM role of the add-on's service account for EKS Pod Identity (needs the add-on
    /// `eks-pod-identity-agent`); absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub pod_identity_role_arn: Option<String>,
    /// Whether new node groups wait until the add-on runs: nodes that join without it would not become Ready, or would
    /// run Pods without it. Only for add-ons that need no nodes themselves (DaemonSets). Absent: `true` for `vpc-cni`,
    /// `kube-proxy` and `eks-pod-identity-agent`, `false` for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_nodes: Option<bool>,
    /// IAM role of the add-on's service account for EKS Pod Identity, which Keelson creates (needs the add-on
    /// `eks-pod-identity-agent`); without it, the add-on loses a role that Keelson created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_identity_role: Option<WorkloadRole>,
    /// Namespace of the add-on's objects; absent: the add-on's own. It cannot change while the add-on exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: Option<String>,
    /// Whether `pruneAddons` leaves the add-on's software in the cluster, which EKS then no longer manages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preserve_on_delete: bool,
}

fn default_version() -> String {
    "Default".to_owned()
}

/// [`DEFAULT_ADDONS`], each at version `Default`.
pub fn default_addons() -> Vec<Addon> {
    DEFAULT_ADDONS.iter().map(|name| Addon::named(name)).collect()
}

/// Desired version of an add-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddonVersion<'a> {
    Default,
    Latest,
    Exact(&'a str),
}

impl Addon {
    /// The add-on of that name with defaults.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: default_version(),
            configuration: None,
            conflicts: Conflicts::default(),
            service_account_role_arn: None,
            pod_identity_role_arn: None,
            before_nodes: None,
            pod_identity_role: None,
            namespace: None,
            preserve_on_delete: false,
        }
    }

    /// Whether new node groups wait for it.
    pub fn is_before_nodes(&self) -> bool {
        self.before_nodes.unwrap_or_else(|| BEFORE_NODES.contains(&self.name.as_str()))
    }

    /// Whether it becomes ACTIVE only once there are nodes that its Pods can run on.
    pub fn needs_nodes(&self) -> bool {
        !self.is_before_nodes() && !WITHOUT_NODES.contains(&self.name.as_str())
    }

    /// The desired version.
    pub fn version(&self) -> AddonVersion<'_> {
        match self.version.as_str() {
            "Default" => AddonVersion::Default,
            "Latest" => AddonVersion::Latest,
            exact => AddonVersion::Exact(exact),
        }
    }
}

/// What pruning does with the add-ons that make the cluster's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PruneCoreAddons {
    #[default]
    Keep,
    Preserve,
    Delete,
}

/// EKS's resolveConflicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Conflicts {
    #[default]
    Preserve,
    Overwrite,
    None,
}

/// Pods that run on Fargate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::immutable_member("podExecutionRoleArn", "the role of a Fargate profile cannot change: add a profile under a new name and remove this one"))]
#[x_kube(validation = rules::immutable_member("subnetIds", "the subnets of a Fargate profile cannot change: add a profile under a new name and remove this one"))]
#[serde(rename_all = "camelCase")]
pub struct FargateProfile {
    /// Name in EKS, which identifies the profile.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::eks_name())]
    pub name: String,
    /// Pods that run on Fargate: those that match any selector. Immutable: create a profile with a new name instead.
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::immutable("the selectors of a Fargate profile cannot change: add a profile under a new name and remove this one"))]
    pub selectors: Vec<FargateSelector>,
    /// ARN of the role with which Fargate runs the Pods; absent: Keelson creates one for all profiles. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub pod_execution_role_arn: Option<String>,
    /// Private subnets of the Pods, by id; absent: all private subnets of the cluster. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::subnet_ids())]
    pub subnet_ids: Option<Vec<String>>,
}

/// Selects Pods by namespace and labels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FargateSelector {
    /// Namespace of the Pods; `*` and `?` match any characters.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::fargate_namespace())]
    pub namespace: String,
    /// Labels that the Pods must all have; `*` and `?` match any characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::fargate_labels")]
    #[x_kube(validation = rules::fargate_labels())]
    pub labels: BTreeMap<String, String>,
}
