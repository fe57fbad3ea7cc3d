//! Status of plans, approvals and drift. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum steps listed in `plan`.
pub const MAX_STEPS: usize = 100;
/// Maximum approved steps.
pub const MAX_APPROVED: usize = 1000;
/// Maximum entries of `drift`.
pub const MAX_DRIFT: usize = 50;

/// Maximum entries of `waits`.
pub const MAX_WAITS: usize = 20;

/// An operation in progress.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitStatus {
    /// The operation. Another text is another wait, with its own `since` and `deadline`.
    #[schemars(length(max = 512))]
    pub on: String,
    /// When it started.
    pub since: Time,
    /// After this time the object is `Stalled` until the operation progresses.
    pub deadline: Time,
}

/// The next steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Hash of the plan, which an approval contains.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub hash: String,
    /// Generation of the planned spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The plan in one line, such as `4 to create, 1 to update, 0 to delete`.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub summary: String,
    /// The steps; at most a hundred are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<PlanStep>,
    /// Number of steps that `steps` does not list. The hash covers them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_steps: Option<i32>,
    /// Hash that was last approved; empty: none.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub approved_hash: String,
    /// Value of the annotation that was last accepted as approval: the same value is accepted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub approval: Option<String>,
    /// UID of the PlanApproval that was last accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub approval_uid: Option<String>,
    /// Approved steps that are not done yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "atomic"))]
    pub approved: Vec<ApprovedStep>,
}

impl PlanStatus {
    /// The plan after an edit whose effect was not observed, for example as the object is suspended: what was approved
    /// for another generation of the spec and has not begun needs a new approval. Otherwise whoever edits the spec could
    /// withdraw an approved change, and make it later without asking again.
    pub fn of_generation(mut self, generation: Option<i64>) -> Self {
        if self.generation != generation {
            self.approved.clear();
        }
        self
    }
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// `Create`, `Update`, `Adopt`, `Delete` or `Release`.
    pub action: StepAction,
    /// Kind and name in the cluster's graph.
    #[schemars(length(max = 2304))]
    pub resource: String,
    /// Changed fields; for created and deleted resources, their values. Omitted parts are counted; the hash covers the
    /// values of what is created and changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub detail: Option<String>,
    /// Why, if it is not obvious: the resource was deleted or changed outside Keelson, or it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// State of the step.
    pub state: StepState,
    /// When it entered that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Expected duration in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<i64>,
    /// The resource it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2304))]
    pub after: Option<String>,
}

/// Action of a step. `Adopt` takes ownership of an existing resource, `Release` gives it up; both only write tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StepAction {
    Create,
    Update,
    Adopt,
    Delete,
    Release,
}

/// State of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StepState {
    Pending,
    Running,
    Blocked,
    Failed,
    Done,
}

/// An approved step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedStep {
    /// Kind and name in the graph.
    #[schemars(length(max = 2304))]
    pub resource: String,
    /// Digest of the change.
    #[schemars(length(max = 16))]
    pub id: String,
}

/// A difference between AWS and an unchanged spec.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// Kind and name in the graph.
    #[schemars(length(max = 2304))]
    pub resource: String,
    /// The field; empty: the resource does not exist.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub field: String,
    /// Desired value.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub wanted: String,
    /// Observed value.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub seen: String,
    /// When it was detected.
    pub since: Time,
}
