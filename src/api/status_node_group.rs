//! Status of a NodeGroup, with the replacement of its node group. Bounded in size, without secrets. No I/O.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hold::HoldStatus;
use super::schema;
use super::status_deletion::NodeGroupDeletionStatus;
use super::status_plan::{DriftStatus, PlanStatus, WaitStatus};
use super::status_progress::{ChangeStatus, HealthIssue, UpgradeStatus};
use super::status_recovery::{HandOverStatus, RecoveryStatus};

/// Maximum entries of `replacement.blockedPods`.
pub const MAX_BLOCKED_PODS: usize = 20;

/// Observed state of the node group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupStatus {
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
    /// ARN of the node group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub arn: Option<String>,
    /// Name in EKS of the node group in use, once a replacement has changed it; absent: the name of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub node_group_name: Option<String>,
    /// Digest of the fields that the node group in use was created with and that EKS cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub immutable_digest: Option<String>,
    /// The replacement of the node group that is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<ReplacementStatus>,
    /// Kubernetes version of its nodes in EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub version: Option<String>,
    /// AMI release of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub release_version: Option<String>,
    /// AMI type of its nodes in EKS; `CUSTOM`: an AMI of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ami_type: Option<String>,
    /// The launch template that Keelson created for `spec.node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<LaunchTemplateStatus>,
    /// Desired size in AWS, which the scale subresource reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of its nodes that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_nodes: Option<i32>,
    /// Id of its update in EKS that is in progress, or that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub update_id: Option<String>,
    /// Updates started since the last one that succeeded. After three failures Keelson waits for an edit, or for
    /// the annotation `keelson.dev/reconcile-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_attempts: Option<i32>,
    /// Names of its Auto Scaling groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub auto_scaling_groups: Vec<String>,
    /// Health issues from EKS.
    #[serde(default)]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub health_issues: Vec<HealthIssue>,
    /// The next steps; with changePolicy Approval of its cluster, those that wait for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
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
    /// Keys of the tags on the Auto Scaling group, in the spec and earlier ones that are still to be removed in AWS.
    /// Keelson does not own tags with other keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 128)), extend("x-kubernetes-list-type" = "atomic"))]
    pub auto_scaling_group_tag_keys: Vec<String>,
    /// The deletion in progress or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<NodeGroupDeletionStatus>,
    /// The upgrade in progress, and past ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// The last takeover of resources from an earlier object of this name, for example after a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryStatus>,
    /// The last handover of its resources to another installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOverStatus>,
}

/// A node group that is made beside the one in use, or is deleted because that one stays.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacementStatus {
    /// Name in EKS of the node group beside the one in use.
    #[schemars(length(max = 63))]
    pub node_group_name: String,
    /// Digest of the fields that it is created with and that EKS cannot change.
    #[schemars(length(max = 16))]
    pub digest: String,
    /// Name in EKS of the node group that is drained and deleted: the one in use, or the other one if that edit was taken back.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub leaves: String,
    /// It was created: its ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub arn: Option<String>,
    /// Id of the launch template that Keelson created for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub launch_template_id: Option<String>,
    /// When the replacement began.
    pub began: Time,
    /// When the first node was cordoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<Time>,
    /// Where the replacement is.
    #[serde(default)]
    pub step: ReplacementStep,
    /// What happens now, or what it waits for.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Pods that cannot be evicted, each with its PodDisruptionBudget. At most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub blocked_pods: Vec<BlockedPodStatus>,
}

/// Where the replacement of a node group is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ReplacementStep {
    /// Nothing is created or drained now.
    #[default]
    Waiting,
    /// The node group that stays is created, or not ready in EKS.
    Creating,
    /// Its nodes are not ready.
    AwaitingNodes,
    /// The nodes of the other node group are drained.
    Draining,
    /// The other node group is deleted.
    Deleting,
}

/// A Pod that cannot be evicted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedPodStatus {
    /// `namespace/name`.
    #[schemars(length(max = 512))]
    pub pod: String,
    /// Its node.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Its PodDisruptionBudget as `namespace/name`, or why it cannot be evicted.
    #[schemars(length(max = 512))]
    pub budget: String,
}

impl NodeGroupStatus {
    /// The names of the node groups for which Keelson created a launch template. `in_use`: the name of the one in use.
    pub fn names_with_own_template(&self, in_use: &str) -> BTreeSet<String> {
        let in_use = self.launch_template.as_ref().map(|_| in_use.to_owned());
        let other = self.replacement.as_ref().filter(|other| other.launch_template_id.is_some());
        in_use.into_iter().chain(other.map(|other| other.node_group_name.clone())).collect()
    }
}

/// A launch template that Keelson created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchTemplateStatus {
    /// Id of the launch template.
    #[schemars(length(max = 64))]
    pub id: String,
    /// The version that the nodes have, or are being updated to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    pub version: Option<String>,
}
