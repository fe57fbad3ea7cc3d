//! PlanApproval: a person agrees to one plan of one object, once. A kind of its own, so that RBAC tells writing from approving.
//! No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::{ClusterReference, NodeGroupReference};
use super::rules;

/// Approval of one plan of one EksCluster or NodeGroup, used once.
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
    doc = "Approval of one plan of one EksCluster or NodeGroup, used once."
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
    /// Hash of the plan, as `status.plan.hash` names it; of a deletion that is held, the word in `status.deletion.release`.
    #[schemars(length(min = 16, max = 16))]
    #[x_kube(validation = rules::plan_hash())]
    pub hash: String,
    /// User name of whoever approves. The admission policy of `deploy/` demands that it is the user who makes this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub approved_by: Option<String>,
}

/// What became of an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanApprovalStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Used`: its plan was taken up. `Stale`: another plan waits, or none. `Expired`: nothing took it up within an hour. Absent: it is
    /// not decided yet. What is decided stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ApprovalState>,
    /// What that means, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// UID of the object whose plan it approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub object_uid: Option<String>,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
}

/// What became of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ApprovalState {
    Used,
    Stale,
    Expired,
}
