//! The parts of status that tell what will be done, what was approved, and what differs. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::DeletionPolicy;

/// Most steps of `plan` that are shown.
pub const MAX_STEPS: usize = 100;
/// Most approved steps that are kept.
pub const MAX_APPROVED: usize = 1000;
/// Most differences that are shown.
pub const MAX_DRIFT: usize = 50;

/// Most waits that are shown.
pub const MAX_WAITS: usize = 20;

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitStatus {
    /// What is waited for. A different text is a different wait, with its own `since` and `deadline`.
    #[schemars(length(max = 512))]
    pub on: String,
    /// Since when.
    pub since: Time,
    /// From then on it is `Stalled`, until it moves.
    pub deadline: Time,
}

/// What will be done next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Hash of the plan; an approval names it.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub hash: String,
    /// Generation of the spec that was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The plan in one line, such as `4 to create, 1 to update, 0 to delete`.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub summary: String,
    /// The steps; at most a hundred are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<PlanStep>,
    /// How many more steps there are than `steps` shows. The hash covers them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_steps: Option<i32>,
    /// Hash that was approved last; empty: none.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub approved_hash: String,
    /// The approval that was taken up last, as the annotation said it: the same does not count twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub approval: Option<String>,
    /// UID of the PlanApproval that was taken up last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub approval_uid: Option<String>,
    /// What of the approved steps is not done yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "atomic"))]
    pub approved: Vec<ApprovedStep>,
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
    /// What changes, field by field; of what is created or deleted, its values. What is cut off is counted, and the hash covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub detail: Option<String>,
    /// Why, where it is not plain: it was there and is gone, it was changed outside Keelson, it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// How far the step is.
    pub state: StepState,
    /// Since when it is in that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How long it is expected to take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<i64>,
    /// The resource it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2304))]
    pub after: Option<String>,
}

/// What a step does. `Adopt` makes ours what was there, `Release` lets go of it; both only write tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StepAction {
    Create,
    Update,
    Adopt,
    Delete,
    Release,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StepState {
    Pending,
    Running,
    Blocked,
    Failed,
    Done,
}

/// A step that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedStep {
    /// Kind and name in the graph.
    #[schemars(length(max = 2304))]
    pub resource: String,
    /// Digest of what is done to it.
    #[schemars(length(max = 16))]
    pub id: String,
}

/// A difference that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// Kind and name in the graph.
    #[schemars(length(max = 2304))]
    pub resource: String,
    /// The field; empty: the resource is gone.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub field: String,
    /// What the spec asks for.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub wanted: String,
    /// What is there.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub seen: String,
    /// When it was noticed.
    pub since: Time,
}

/// A deletion under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionStatus {
    /// When it began; absent while it waits for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// Word that releases this deletion while it is held: for the annotation `keelson.dev/release-deletion`, or the `hash` of a
    /// PlanApproval. It is of this object and this deletion only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub release: Option<String>,
    /// UID of the PlanApproval by which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub approval_uid: Option<String>,
    /// The `deletionPolicy` with which it began: what was to be retained then is not deleted by a later edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<DeletionPolicy>,
    /// Names of the NodeGroups that were to be retained when the deletion of their EksCluster began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 253)), extend("x-kubernetes-list-type" = "atomic"))]
    pub retained_node_groups: Vec<String>,
}

impl DeletionStatus {
    /// What a deletion does that began, and whose policy is `requested` now: it may retain more than was agreed to, and never less.
    pub fn effective_policy(&self, requested: DeletionPolicy) -> DeletionPolicy {
        match self.policy {
            Some(DeletionPolicy::Retain) if self.began.is_some() => DeletionPolicy::Retain,
            _ => requested,
        }
    }

    /// Whether it was agreed that the NodeGroup of that name stays.
    pub fn retains_node_group(&self, name: &str) -> bool {
        self.began.is_some()
            && (self.policy == Some(DeletionPolicy::Retain) || self.retained_node_groups.iter().any(|one| one == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_retained_when_a_deletion_began_is_not_deleted_by_a_later_edit() {
        use DeletionPolicy::{Delete, Retain};
        let began = |policy, at| DeletionStatus {
            began: at,
            policy,
            retained_node_groups: vec!["spot".into()],
            ..DeletionStatus::default()
        };
        let at = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        for (status, requested, effective) in [
            (began(Some(Retain), at.clone()), Delete, Retain),
            (began(Some(Retain), at.clone()), Retain, Retain),
            (began(Some(Delete), at.clone()), Retain, Retain),
            (began(Some(Delete), at.clone()), Delete, Delete),
            // Nothing was agreed to yet, or by a Keelson that did not keep it.
            (began(Some(Retain), None), Delete, Delete),
            (began(None, at.clone()), Delete, Delete),
        ] {
            assert_eq!(status.effective_policy(requested), effective, "{status:?}");
        }
        assert!(began(Some(Delete), at.clone()).retains_node_group("spot"));
        assert!(!began(Some(Delete), at.clone()).retains_node_group("other"));
        assert!(began(Some(Retain), at).retains_node_group("other"));
        assert!(!began(Some(Retain), None).retains_node_group("spot"));
    }
}
