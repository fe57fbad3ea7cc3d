//! PlanApproval: a user approves one plan of one object, once. A separate kind, so that RBAC distinguishes writing from
//! approving. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::{ClusterReference, NodeGroupReference};
use super::rules;

/// Approval of one plan of one EksCluster or NodeGroup, valid once. Immutable.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "keelson.dev",
    version = "v1alpha1",
    kind = "PlanApproval",
    plural = "planapprovals",
    shortname = "pa",
    category = "keelson",
    namespaced,
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name",
        description = "The EksCluster whose plan it approves"
    ),
    printcolumn(
        name = "NodeGroup",
        type_ = "string",
        json_path = ".spec.nodeGroupRef.name",
        description = "The NodeGroup whose plan it approves"
    ),
    printcolumn(name = "Hash", type_ = "string", json_path = ".spec.hash", description = "Hash of the plan"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "Used, Stale or Expired"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.approvedBy", description = "Who approved"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created"
    ),
    derive = "PartialEq",
    status = "PlanApprovalStatus",
    doc = "Approval of one plan of one EksCluster or NodeGroup, valid once."
)]
#[x_kube(validation = rules::exactly_one_of(&["clusterRef", "nodeGroupRef"]))]
#[x_kube(validation = rules::immutable("an approval cannot change: create another PlanApproval, and delete this one"))]
#[serde(rename_all = "camelCase")]
pub struct PlanApprovalSpec {
    /// The EksCluster whose plan is approved, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterReference>,
    /// The NodeGroup whose plan is approved, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_group_ref: Option<NodeGroupReference>,
    /// Hash of the plan in `status.plan.hash`, or for a held deletion the code in `status.deletion.release`.
    #[schemars(length(min = 16, max = 16))]
    #[x_kube(validation = rules::plan_hash())]
    pub hash: String,
    /// Name of the approving user. The admission policy in `deploy/` requires it to be the user who creates this
    /// object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub approved_by: Option<String>,
}

/// State of an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanApprovalStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Used`: its plan was accepted. `Stale`: another plan waits for approval, or none, or the object does not exist.
    /// `Expired`: not used within an hour. Absent: not decided yet. A decision is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ApprovalState>,
    /// Explanation of the state, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// UID of the object whose plan is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub object_uid: Option<String>,
    /// When the state was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
}

/// State of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ApprovalState {
    Used,
    Stale,
    Expired,
}
