//! EKS add-ons and Fargate profiles. No I/O.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::schema;

/// Default add-ons.
pub const DEFAULT_ADDONS: [&str; 4] = ["vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent"];

/// An EKS add-on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["serviceAccountRoleArn", "podIdentityRoleArn"]))]
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
        }
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
