//! EKS Capabilities: Argo CD, ACK and kro, which EKS runs outside the cluster. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A capability that EKS runs for the cluster, outside of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::argocd_needs_its_configuration())]
#[x_kube(validation = rules::configuration_is_of_the_type())]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    /// Name in EKS, which identifies the capability.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::eks_name())]
    pub name: String,
    /// `ArgoCd`, `Ack` (AWS Controllers for Kubernetes) or `Kro`; one of each in a cluster. Immutable.
    #[serde(rename = "type")]
    #[x_kube(validation = rules::immutable("EKS does not change the type of a capability: put the old value back, or add a capability with a new name and remove this one"))]
    pub type_: CapabilityType,
    /// ARN of the IAM role with which it acts in AWS; it must trust `capabilities.eks.amazonaws.com`. EKS gives it an access entry.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: String,
    /// Its settings: `argoCd` or `ack`, as its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<CapabilityConfiguration>,
    /// What becomes of its objects in the cluster when it is deleted: EKS can only `Retain` them.
    #[serde(default)]
    pub delete_propagation_policy: DeletePropagationPolicy,
}

/// Type of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CapabilityType {
    ArgoCd,
    Ack,
    Kro,
}

impl CapabilityType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ArgoCd, Self::Ack, Self::Kro];

    /// Whether it installs what a Git repository has.
    pub fn reads_git(self) -> bool {
        self == Self::ArgoCd
    }

    /// Its name in EKS.
    pub fn in_eks(self) -> &'static str {
        match self {
            Self::ArgoCd => "ARGOCD",
            Self::Ack => "ACK",
            Self::Kro => "KRO",
        }
    }
}

/// What becomes of the objects of a capability when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletePropagationPolicy {
    #[default]
    Retain,
}

/// Settings of a capability; what is absent is not managed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["argoCd", "ack"]))]
#[serde(rename_all = "camelCase")]
pub struct CapabilityConfiguration {
    /// Settings of Argo CD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argo_cd: Option<ArgoCdCapability>,
    /// Settings of ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<AckCapability>,
}

/// Settings of the capability Argo CD.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::argocd_namespace_immutable())]
#[x_kube(validation = rules::immutable_member("endpointPrefix", "EKS does not change the endpointPrefix of Argo CD: put the old value back, or remove the capability, wait until it is gone, and add it again"))]
#[serde(rename_all = "camelCase")]
pub struct ArgoCdCapability {
    /// Namespace of the objects of Argo CD; absent: EKS's default. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: Option<String>,
    /// The instance of IAM Identity Center whose users log in. Immutable.
    #[x_kube(validation = rules::immutable("EKS does not change the Identity Center instance of Argo CD: put the old value back, or remove the capability, wait until it is gone, and add it again"))]
    pub aws_idc: AwsIdentityCenter,
    /// Users and groups of each role of Argo CD; others are removed. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["role".into()]))]
    pub rbac_role_mappings: Option<Vec<ArgoCdRoleMapping>>,
    /// How its API server is reached; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_access: Option<ArgoCdNetworkAccess>,
    /// Beginning of the host name of its API server; absent: EKS chooses it. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = rules::namespace_name())]
    pub endpoint_prefix: Option<String>,
}

/// An instance of IAM Identity Center.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsIdentityCenter {
    /// ARN of the instance, which `aws sso-admin list-instances` shows.
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::identity_center_arn())]
    pub idc_instance_arn: String,
    /// Its region; absent: EKS's default, the region of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::region())]
    pub idc_region: Option<String>,
}

/// Who has a role of Argo CD.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoCdRoleMapping {
    /// `Admin`, `Editor` or `Viewer`.
    pub role: ArgoCdRole,
    /// Users and groups of IAM Identity Center.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub identities: Vec<SsoIdentity>,
}

/// A role of Argo CD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum ArgoCdRole {
    Admin,
    Editor,
    Viewer,
}

impl ArgoCdRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Editor, Self::Viewer];

    /// Its name in EKS.
    pub fn in_eks(self) -> &'static str {
        match self {
            Self::Admin => "ADMIN",
            Self::Editor => "EDITOR",
            Self::Viewer => "VIEWER",
        }
    }
}

/// A user or group of IAM Identity Center.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SsoIdentity {
    /// Its id in IAM Identity Center.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::identity_id())]
    pub id: String,
    /// `SsoUser` or `SsoGroup`.
    #[serde(rename = "type")]
    pub type_: SsoIdentityType,
}

/// What an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum SsoIdentityType {
    SsoUser,
    SsoGroup,
}

impl SsoIdentityType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::SsoUser, Self::SsoGroup];

    /// Its name in EKS.
    pub fn in_eks(self) -> &'static str {
        match self {
            Self::SsoUser => "SSO_USER",
            Self::SsoGroup => "SSO_GROUP",
        }
    }
}

/// How the API server of Argo CD is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoCdNetworkAccess {
    /// VPC endpoints from which it is reached, and not from the internet; `[]`: from the internet.
    #[schemars(length(max = 20), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::vpc_endpoint_ids())]
    pub vpce_ids: Vec<String>,
}

/// Settings of the capability ACK.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AckCapability {
    /// Whether its objects may refer to objects of other namespaces; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_cross_namespace: Option<bool>,
    /// Services whose controllers do not run, such as `iam`; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::ack_services())]
    pub disabled_services: Option<Vec<String>>,
}
