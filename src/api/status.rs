//! Status of EksCluster and NodeGroup: what exists, what is being done, what is blocked. Bounded in size, nothing secret.
//! The parts about plans and drift are in [`super::status_plan`], those about upgrades and GitOps in
//! [`super::status_progress`]. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node_group::SubnetTier;
use super::policy::ChangePolicy;
use super::schema;
pub use super::status_plan::*;
pub use super::status_progress::*;

/// Most entries of `resources`.
pub const MAX_RESOURCES: usize = 200;
/// Most health issues shown of one thing.
pub const MAX_ISSUES: usize = 10;

/// What is known of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EksClusterStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Standard Kubernetes conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// What is waited for that has a deadline. At most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub waits: Vec<WaitStatus>,
    /// AWS account it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    pub account_id: Option<String>,
    /// ARN of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub arn: Option<String>,
    /// Kubernetes version of the control plane, as EKS says.
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
    /// Issuer of the cluster's service account tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub oidc_issuer: Option<String>,
    /// The network, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStatus>,
    /// What is ours in AWS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<ResourceStatus>,
    /// The add-ons, as EKS says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub addons: Vec<AddonStatus>,
    /// The node groups that refer to this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_groups: Option<NodeGroupCounts>,
    /// Until when AWS supports the cluster's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<SupportStatus>,
    /// What will be done next; with changePolicy Approval, what waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The change policy that is in force. It differs from the spec's while a looser one waits for its approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_policy: Option<ChangePolicy>,
    /// What differs in AWS though the spec did not change, and is left alone: `driftPolicy` is `Report`. At most fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub drift: Vec<DriftStatus>,
    /// Digest of what was asked for when AWS matched it last: what differs while it is the same is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub synced: Option<String>,
    /// Since when it is being deleted in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,
    /// The upgrade under way, and past ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// What the GitOps agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<GitOpsStatus>,
}

/// The network, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// Id of the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub vpc_id: Option<String>,
    /// Security group that EKS made for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_security_group_id: Option<String>,
    /// The cluster's subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub subnets: Vec<SubnetStatus>,
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

/// One thing in AWS that is ours.
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
    /// State, as AWS names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub state: Option<String>,
    /// Id of its update in EKS that is under way, or that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub update_id: Option<String>,
    /// Updates begun since the last that succeeded. After three that failed it waits for an edit.
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
    /// Version, as EKS says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// State, as EKS names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub state: Option<String>,
    /// Health issues, as EKS tells them.
    #[serde(default)]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub issues: Vec<HealthIssue>,
}

/// A health issue that AWS reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthIssue {
    /// Code of the issue, as AWS names it.
    #[schemars(length(max = 128))]
    pub code: String,
    /// What AWS says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// What is affected: at most ten ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub resource_ids: Vec<String>,
}

/// The node groups that refer to a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupCounts {
    /// Node groups that are ready.
    #[serde(default)]
    pub ready: i32,
    /// Node groups in all.
    #[serde(default)]
    pub total: i32,
    /// Nodes in all.
    #[serde(default)]
    pub nodes: i32,
}

/// Until when AWS supports a version.
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

/// What is known of the node group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Standard Kubernetes conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// What is waited for that has a deadline. At most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub waits: Vec<WaitStatus>,
    /// ARN of the node group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub arn: Option<String>,
    /// Kubernetes version of its nodes, as EKS says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub version: Option<String>,
    /// AMI release of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub release_version: Option<String>,
    /// Desired size, as AWS has it; what the scale subresource reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Nodes that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_nodes: Option<i32>,
    /// Id of its update in EKS that is under way, or that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub update_id: Option<String>,
    /// Updates begun since the last that succeeded. After three that failed it waits for an edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_attempts: Option<i32>,
    /// Names of its Auto Scaling groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub auto_scaling_groups: Vec<String>,
    /// Health issues, as EKS tells them.
    #[serde(default)]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub health_issues: Vec<HealthIssue>,
    /// What will be done next; with changePolicy Approval of its cluster, what waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// What differs in AWS though the spec did not change, and is left alone: `driftPolicy` is `Report`. At most fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    pub drift: Vec<DriftStatus>,
    /// Digest of what was asked for when AWS matched it last: what differs while it is the same is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub synced: Option<String>,
    /// Since when it is being deleted in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,
    /// The upgrade under way, and past ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
}
