//! Access to the cluster: authentication mode, access entries, pod identities. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity_provider::OidcIdentityProvider;
use super::rules;
use super::workload_role::WorkloadRole;

/// Access to the cluster's API by IAM principals.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::entries_need_the_api())]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// How EKS authenticates IAM principals: `Api` (access entries), `ConfigMap` (the aws-auth ConfigMap: no access
    /// entries) or `ApiAndConfigMap` (both). It can only change from `ConfigMap` to `ApiAndConfigMap` to `Api`.
    #[serde(default)]
    #[x_kube(validation = rules::authentication_mode())]
    pub authentication_mode: AuthenticationMode,
    /// Deletes access entries that are not listed here, except those of AWS services and of the operator, and those of nodes that
    /// were never listed.
    /// `false` leaves all of them unchanged.
    #[serde(default)]
    pub prune: bool,
    /// Access entries, one per principal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["principalArn".into()]))]
    pub entries: Vec<AccessEntry>,
    /// An OIDC identity provider whose tokens the cluster's API accepts beside those of IAM; one for a cluster. EKS associates it within
    /// about 20 minutes, in which it changes nothing else of the cluster. Immutable: remove it, wait until it is gone, and add it
    /// again. Absent: the one that Keelson associated is disassociated; others are left unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::identity_provider_immutable())]
    pub oidc_identity_provider: Option<OidcIdentityProvider>,
}

/// How EKS authenticates IAM principals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AuthenticationMode {
    #[default]
    Api,
    ApiAndConfigMap,
    ConfigMap,
}

/// Permissions of one IAM principal.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::entry_type_immutable())]
#[x_kube(validation = rules::node_entries_have_no_identity())]
#[x_kube(validation = rules::node_entries_are_of_roles())]
#[x_kube(validation = rules::node_entries_have_no_policies())]
#[serde(rename_all = "camelCase")]
pub struct AccessEntry {
    /// ARN of the IAM role or user, which identifies the entry.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::principal_arn())]
    pub principal_arn: String,
    /// What the principal is: `Standard` (people and workloads), or a node that joins with this role: `Ec2Linux` and `Ec2Windows`
    /// (self-managed nodes), `Ec2` (EKS Auto Mode) or `HybridLinux`. EKS creates the entries of managed node groups itself. Immutable.
    #[serde(default, rename = "type", skip_serializing_if = "EntryType::is_default")]
    pub type_: EntryType,
    /// Name of the principal in Kubernetes; a role's must contain a colon before `{{SessionName}}`, which stands for the session.
    /// Absent: not managed; EKS chooses the ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::entry_username())]
    pub username: Option<String>,
    /// Kubernetes groups of the principal, for your own RBAC; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::kubernetes_groups())]
    pub kubernetes_groups: Option<Vec<String>>,
    /// EKS access policies by ARN; others are removed. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["policyArn".into()]))]
    pub policies: Option<Vec<AccessPolicy>>,
}

/// What the principal of an access entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum EntryType {
    #[default]
    Standard,
    Ec2Linux,
    Ec2Windows,
    Ec2,
    HybridLinux,
}

impl EntryType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Standard, Self::Ec2Linux, Self::Ec2Windows, Self::Ec2, Self::HybridLinux];

    /// Its name in EKS.
    pub fn in_eks(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Ec2Linux => "EC2_LINUX",
            Self::Ec2Windows => "EC2_WINDOWS",
            Self::Ec2 => "EC2",
            Self::HybridLinux => "HYBRID_LINUX",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::Standard
    }
}

/// An EKS access policy and its scope.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicy {
    /// ARN of the access policy, such as `arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy`.
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::access_policy_arn())]
    pub policy_arn: String,
    /// Scope of the policy; by default the whole cluster.
    #[serde(default)]
    pub scope: AccessScope,
}

/// Scope of an access policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::access_scope())]
#[serde(rename_all = "camelCase")]
pub struct AccessScope {
    /// `Cluster`, or `Namespace` with `namespaces`.
    #[serde(default, rename = "type")]
    pub type_: ScopeType,
    /// Namespaces of a scope of type `Namespace`; `*` matches any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // A pattern: a CEL rule over all items would exceed the API server's cost limit.
    #[schemars(
        length(max = 100),
        inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub namespaces: Vec<String>,
}

/// Type of an access policy's scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ScopeType {
    #[default]
    Cluster,
    Namespace,
}

/// An IAM role for the Pods of a service account, by EKS Pod Identity: one that exists (`roleArn`), or one that Keelson creates
/// (`role`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["role", "roleArn"]))]
#[x_kube(validation = rules::role_needs_short_names())]
#[serde(rename_all = "camelCase")]
pub struct PodIdentity {
    /// Namespace of the service account.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: String,
    /// Name of the service account; it need not exist yet.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub service_account: String,
    /// ARN of the IAM role of its Pods; the role must trust `pods.eks.amazonaws.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: Option<String>,
    /// IAM role of its Pods, which Keelson creates for them; it is deleted some hours after it is no longer in use
    /// (`--pod-credentials-lifetime`), and with the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<WorkloadRole>,
    /// ARN of a role that the Pods get in place of theirs, mostly in another account: EKS assumes it with their role, which
    /// it must trust. A `role` gets the permission to assume it. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub target_role_arn: Option<String>,
    /// Whether sessions lack the tags that name cluster, namespace and service account; a `role` then trusts every Pod Identity
    /// association of the AWS account. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_session_tags: Option<bool>,
}
