//! Status of EksCluster and NodeGroup: what exists, what is in progress, what is blocked. Bounded in size, without
//! secrets. That of a NodeGroup is in [`super::status_node_group`], plans and drift are in
//! [`super::status_plan`], deletions in [`super::status_deletion`], upgrades and GitOps in [`super::status_progress`]. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate_authority::CertificateAuthorityStatus;
use super::hold::HoldStatus;
use super::hook::HookStatus;
use super::policy::ChangePolicy;
use super::registration::RegistrationStatus;
use super::schema;
pub use super::status_deletion::*;
pub use super::status_node_group::*;
pub use super::status_plan::*;
pub use super::status_progress::*;
pub use super::status_recovery::*;
use super::subnet_tier::SubnetTier;

/// Maximum entries of `resources`.
pub const MAX_RESOURCES: usize = 200;
/// Maximum entries of `tagKeys`.
pub const MAX_TAG_KEYS: usize = 100;
/// Longest recorded value of the annotation `keelson.dev/reconcile-at`, in characters.
pub const MAX_REQUEST: usize = 256;
/// Maximum health issues per resource.
pub const MAX_ISSUES: usize = 10;

/// Observed state of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EksClusterStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `keelson.dev/reconcile-at` at the last reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
    /// The last change: the creation, an edit of the spec, or the deletion. Its times are those of its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeStatus>,
    /// Standard Kubernetes conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Operations in progress and their deadlines. At most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub waits: Vec<WaitStatus>,
    /// The annotations `hold.keelson.dev/NAME` on this object: while there is one, nothing begins. At most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub holds: Vec<HoldStatus>,
    /// The hooks that run, will run or have run. At most a hundred; the oldest of past steps are dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub hooks: Vec<HookStatus>,
    /// AWS account of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    pub account_id: Option<String>,
    /// ARN of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub arn: Option<String>,
    /// Kubernetes version of the control plane in EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub version: Option<String>,
    /// EKS platform version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub platform_version: Option<String>,
    /// Address of the Kubernetes API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub endpoint: Option<String>,
    /// Certificate authority of that address: PEM in base64, as in a kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub certificate_authority: Option<String>,
    /// The certificate authorities, if `spec.controlPlane.certificateAuthority` rotates them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), extend("x-kubernetes-list-type" = "atomic"))]
    pub certificate_authorities: Vec<CertificateAuthorityStatus>,
    /// Issuer of the cluster's service account tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub oidc_issuer: Option<String>,
    /// The observed network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStatus>,
    /// AWS resources that Keelson owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<ResourceStatus>,
    /// Health issues that EKS reports of the control plane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub health_issues: Vec<HealthIssue>,
    /// The add-ons in EKS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub addons: Vec<AddonStatus>,
    /// The node groups that reference this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_groups: Option<NodeGroupCounts>,
    /// End of AWS support for the cluster's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<SupportStatus>,
    /// The next steps; with changePolicy Approval, those that wait for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The change policy in force. It differs from the spec while a less strict one waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_policy: Option<ChangePolicy>,
    /// Drift that is not corrected because `driftPolicy` is `Report`: differences in AWS without a change of the spec.
    /// At most fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub drift: Vec<DriftStatus>,
    /// Digest of the desired state that AWS matched last: differences while it is unchanged are drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub synced: Option<String>,
    /// Keys of the tags in the spec and the account, and of earlier ones that are still to be removed in AWS. Keelson
    /// does not own tags with other keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 128)), extend("x-kubernetes-list-type" = "atomic"))]
    pub tag_keys: Vec<String>,
    /// The deletion in progress or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,
    /// The upgrade in progress, and past ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// State of the GitOps agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<GitOpsStatus>,
    /// The last takeover of resources from an earlier object of this name, for example after a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryStatus>,
    /// The last handover of its resources to another installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOverStatus>,
    /// The Secret with the kubeconfig, which Keelson writes, or is about to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kubeconfig_secret: Option<String>,
    /// The Secret that registers the cluster, by `registerWith`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationStatus>,
}

/// The observed network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// Id of the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub vpc_id: Option<String>,
    /// Security group that EKS created for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_security_group_id: Option<String>,
    /// Range of Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub service_cidr: Option<String>,
    /// The cluster's subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub subnets: Vec<SubnetStatus>,
    /// The subnets for Pods, in the ranges of `podCidrs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub pod_subnets: Vec<PodSubnetStatus>,
}

/// A subnet for Pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSubnetStatus {
    /// Id of the subnet.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Availability zone.
    #[schemars(length(max = 32))]
    pub zone: String,
    /// IPv4 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    pub cidr: Option<String>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetStatus {
    /// Id of the subnet.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Availability zone.
    #[schemars(length(max = 32))]
    pub zone: String,
    /// `Private` or `Public`.
    pub tier: SubnetTier,
    /// IPv4 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    pub cidr: Option<String>,
}

/// An AWS resource that Keelson owns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Kind and name in the cluster's graph, such as `natGateway/eu-west-1a`.
    #[schemars(length(max = 2304))]
    pub key: String,
    /// Id, name or ARN in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub id: Option<String>,
    /// State in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub state: Option<String>,
    /// Id of its update in EKS that is in progress, or that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub update_id: Option<String>,
    /// Updates started since the last one that succeeded. After three failures Keelson waits for an edit, or for
    /// the annotation `keelson.dev/reconcile-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_attempts: Option<i32>,
}

/// An add-on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddonStatus {
    /// Name in EKS.
    #[schemars(length(max = 100))]
    pub name: String,
    /// Version in EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// State in EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub state: Option<String>,
    /// Health issues from EKS.
    #[serde(default)]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub issues: Vec<HealthIssue>,
}

/// The node groups that reference a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupCounts {
    /// Node groups that are ready.
    #[serde(default)]
    pub ready: i32,
    /// All node groups.
    #[serde(default)]
    pub total: i32,
    /// All nodes.
    #[serde(default)]
    pub nodes: i32,
}

/// End of AWS support for a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SupportStatus {
    /// Last day of standard support, YYYY-MM-DD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub standard_ends: Option<String>,
    /// Last day of extended support, YYYY-MM-DD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub extended_ends: Option<String>,
}
