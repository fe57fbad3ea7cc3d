//! Status of deletions. No I/O.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::DeletionPolicy;

/// The deletion of an EksCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionStatus {
    /// When it started; absent while it waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// Code that releases this deletion while it is held: the value of the annotation `keelson.dev/release-deletion`,
    /// or the `hash` of a PlanApproval. It is valid for this deletion of this object only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub release: Option<String>,
    /// UID of the PlanApproval that released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub approval_uid: Option<String>,
    /// The `deletionPolicy` at its start: resources to be retained then are not deleted after a later edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<DeletionPolicy>,
    /// Names of the NodeGroups that were to be retained when the deletion of their EksCluster started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 253)), extend("x-kubernetes-list-type" = "atomic"))]
    pub retained_node_groups: Vec<String>,
    /// What else was to be deleted at its start, apart from what the object owns: a later edit may retain more, never less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<AlsoDeleted>,
    /// When it was held or suspended after its start; absent once it went on. The time to delete load balancers starts again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_at: Option<Time>,
    /// When it went on after it was held or suspended: the time to delete load balancers runs since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Time>,
}

/// The deletion of a NodeGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupDeletionStatus {
    /// When it started; absent while it waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// Code that releases this deletion while it is held: the value of the annotation `keelson.dev/release-deletion`,
    /// or the `hash` of a PlanApproval. It is valid for this deletion of this object only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub release: Option<String>,
    /// UID of the PlanApproval that released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub approval_uid: Option<String>,
    /// The `deletionPolicy` at its start: resources to be retained then are not deleted after a later edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<DeletionPolicy>,
    /// Unused in a NodeGroup: an older version of the operator needs it in the CRD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 253)), extend("x-kubernetes-list-type" = "atomic"))]
    pub retained_node_groups: Vec<String>,
    /// Unused in a NodeGroup: an older version of the operator needs it in the CRD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<AlsoDeleted>,
}

impl From<NodeGroupDeletionStatus> for DeletionStatus {
    fn from(of: NodeGroupDeletionStatus) -> Self {
        let NodeGroupDeletionStatus { began, release, approval_uid, policy, retained_node_groups: _, also: _ } = of;
        Self { began, release, approval_uid, policy, ..Self::default() }
    }
}

/// What is deleted with a cluster without being Keelson's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlsoDeleted {
    /// EBS volumes of its claims.
    pub volumes: bool,
    /// The log group of its control plane.
    pub log_group: bool,
    /// Instances of Karpenter that outlive it.
    pub instances: bool,
}

impl DeletionStatus {
    /// Since when the time to delete load balancers runs; `None`: the deletion has not started. `now`: it goes on now.
    pub fn load_balancers_since(&self, now: Timestamp) -> Option<Timestamp> {
        let began = self.began.as_ref()?.0;
        let resumed = self.held_at.as_ref().map(|_| now).or(self.resumed_at.as_ref().map(|resumed| resumed.0));
        Some(resumed.map_or(began, |resumed| resumed.max(began)))
    }

    /// The same with the hold that begins or ends now, if one does. `is_held`: whether it is held or suspended.
    pub fn with_hold(&self, is_held: bool, now: Timestamp) -> Option<Self> {
        if self.began.is_none() || is_held == self.held_at.is_some() {
            return None;
        }
        // The API server keeps whole seconds.
        let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        Some(match is_held {
            true => Self { held_at: Some(now), ..self.clone() },
            false => Self { held_at: None, resumed_at: Some(now), ..self.clone() },
        })
    }

    /// As [`DeletionStatus::with_hold`], where the time for load balancers matters no more, because they are `past` or
    /// retained by policy `requested`. Until then, only what deletes them ends a hold: they get their time again.
    pub fn with_hold_of(&self, requested: DeletionPolicy, is_held: bool, past: bool, now: Timestamp) -> Option<Self> {
        let may_end = past || self.effective_policy(requested) == DeletionPolicy::Retain;
        if is_held || may_end { self.with_hold(is_held, now) } else { None }
    }

    /// The policy of a started deletion whose spec now has policy `requested`: an edit may retain more than at the
    /// start, never less.
    pub fn effective_policy(&self, requested: DeletionPolicy) -> DeletionPolicy {
        match self.policy {
            Some(DeletionPolicy::Retain) if self.began.is_some() => DeletionPolicy::Retain,
            _ => requested,
        }
    }

    /// Whether the NodeGroup of that name was to be retained at the start.
    pub fn retains_node_group(&self, name: &str) -> bool {
        self.began.is_some()
            && (self.policy == Some(DeletionPolicy::Retain) || self.retained_node_groups.iter().any(|one| one == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_load_balancers_starts_again_after_each_hold_and_stands_still_meanwhile() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let started = DeletionStatus { began: Some(Time(at(0))), ..DeletionStatus::default() };
        assert_eq!(DeletionStatus::default().with_hold(true, at(1)), None, "it has not started");
        assert_eq!(started.with_hold(false, at(1)), None);
        assert_eq!(started.load_balancers_since(at(5)), Some(at(0)));
        let held = started.with_hold(true, at(10)).unwrap();
        assert_eq!(held.with_hold(true, at(20)), None, "it is the same hold");
        assert_eq!(held.load_balancers_since(at(3600)), Some(at(3600)));
        let resumed = held.with_hold(false, at(3600)).unwrap();
        assert_eq!((resumed.held_at.clone(), resumed.load_balancers_since(at(4000))), (None, Some(at(3600))));
        assert_eq!(resumed.with_hold(true, at(4001)).unwrap().load_balancers_since(at(5000)), Some(at(5000)));
    }

    #[test]
    fn hold_ends_in_status_even_if_no_load_balancer_is_awaited_any_more() {
        use DeletionPolicy::{Delete, Retain};
        let at = |second| Timestamp::from_second(second).unwrap();
        let started = DeletionStatus { began: Some(Time(at(0))), ..DeletionStatus::default() };
        let held = started.with_hold_of(Delete, true, true, at(10)).unwrap();
        assert_eq!(held.held_at, Some(Time(at(10))));
        assert_eq!(held.with_hold_of(Delete, true, true, at(20)), None, "it is the same hold");
        assert_eq!(
            held.with_hold_of(Delete, false, false, at(20)),
            None,
            "its load balancers get their time again first"
        );
        for (policy, is_past) in [(Delete, true), (Retain, false)] {
            let resumed = held.with_hold_of(policy, false, is_past, at(20)).unwrap();
            assert_eq!((resumed.held_at, resumed.resumed_at), (None, Some(Time(at(20)))), "{policy:?}");
        }
        assert_eq!(started.with_hold_of(Delete, false, true, at(20)), None, "it was not held");
    }

    #[test]
    fn deletion_keeps_retaining_after_a_later_edit() {
        use DeletionPolicy::{Delete, Retain};
        let began = |policy, at| DeletionStatus {
            began: at,
            policy,
            retained_node_groups: vec!["spot".into()],
            ..DeletionStatus::default()
        };
        let at = Some(Time(Timestamp::UNIX_EPOCH));
        for (status, requested, effective) in [
            (began(Some(Retain), at.clone()), Delete, Retain),
            (began(Some(Retain), at.clone()), Retain, Retain),
            (began(Some(Delete), at.clone()), Retain, Retain),
            (began(Some(Delete), at.clone()), Delete, Delete),
            // Not started yet, or started by an older version that did not store the policy.
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
