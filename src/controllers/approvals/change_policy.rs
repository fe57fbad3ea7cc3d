//! The change policy in force. Where approvals are objects, a user who may edit a spec must not be able to disable
//! approval with it: loosening `changePolicy` is a step of the plan that itself waits for approval. Pure.

use super::execution_policy::parse_step;
use crate::api::EksCluster;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::EksClusterStatus;
use crate::engine::{Action, Change, ExecutionPolicy, HoldReason, Item, Key, Step, Verdict};

/// The key of the policy's step.
pub const KIND: &str = "changePolicy";

/// The step that loosens the policy in force; `None`: the spec's policy applies at once. A new object starts with
/// Approval, otherwise deleting and recreating it would bypass approval.
fn loosening(spec: ChangePolicy, status: &EksClusterStatus) -> Option<Step> {
    let before = match status.change_policy {
        Some(ChangePolicy::Automatic) => return None,
        Some(policy) => policy,
        // Created by a Keelson version that did not record the policy. A reported status proves nothing: unreadable
        // objects have one, too.
        None if status.arn.is_some() => return None,
        None => ChangePolicy::Approval,
    };
    (spec == ChangePolicy::Automatic).then(|| {
        let changes = vec![Change::in_place(KIND, format!("{before:?}"), format!("{spec:?}"))];
        Step { action: Action::Update, changes, reason: None }
    })
}

/// The policy in force for a cluster and its node groups. `required`: approvals are objects.
pub fn in_force(cluster: &EksCluster, status: &EksClusterStatus, required: bool) -> ChangePolicy {
    let spec = cluster.spec.change_policy;
    match loosening(spec, status).filter(|_| required) {
        Some(step) if !is_approved(&step, status) => ChangePolicy::Approval,
        Some(_) | None => spec,
    }
}

/// The plan item of the waiting step.
pub fn item(cluster: &EksCluster, status: &EksClusterStatus, required: bool) -> Option<Item> {
    let step = loosening(cluster.spec.change_policy, status).filter(|_| required)?;
    let is_approved = is_approved(&step, status);
    let verdict = Verdict::Held(step, HoldReason::Approval);
    let item = Item { key: Key::single(KIND), verdict, forbidden: Vec::new(), drift: Vec::new() };
    (!is_approved).then_some(item)
}

fn is_approved(step: &Step, status: &EksClusterStatus) -> bool {
    let approved = status.plan.as_ref().map(|plan| plan.approved.as_slice()).unwrap_or_default();
    let key = Key::single(KIND);
    let ids = ExecutionPolicy::default().ids(&key, step);
    ids.iter().all(|id| approved.iter().any(|one| parse_step(one) == (key.clone(), id.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::status_cluster::{ApprovedStep, PlanStatus};

    fn cluster(policy: &str) -> EksCluster {
        let spec = json!({"region": "eu-west-1", "version": "1.34", "changePolicy": policy});
        EksCluster::new("demo", serde_json::from_value(spec).unwrap())
    }

    fn status(in_force: Option<ChangePolicy>) -> EksClusterStatus {
        EksClusterStatus { change_policy: in_force, ..EksClusterStatus::default() }
    }

    #[test]
    fn looser_policy_waits_where_approvals_are_objects() {
        use ChangePolicy::{Approval, Automatic, Observe};
        for before in [Approval, Observe] {
            assert_eq!(in_force(&cluster("Automatic"), &status(Some(before)), true), Approval, "from {before:?}");
            assert_eq!(in_force(&cluster("Automatic"), &status(Some(before)), false), Automatic);
            assert!(item(&cluster("Automatic"), &status(Some(before)), true).is_some());
        }
        for (spec, before) in [("Automatic", Some(Automatic)), ("Observe", Some(Approval)), ("Approval", None)] {
            let policy = cluster(spec).spec.change_policy;
            assert_eq!(in_force(&cluster(spec), &status(before), true), policy, "{spec} after {before:?}");
            assert_eq!(item(&cluster(spec), &status(before), true), None);
        }
    }

    #[test]
    fn new_object_starts_with_approval_and_an_older_one_keeps_its_policy() {
        let automatic = cluster("Automatic");
        // An object that was unreadable has a generation in its status, but was never reconciled.
        for observed in [None, Some(-1), Some(3)] {
            let new = EksClusterStatus { observed_generation: observed, ..EksClusterStatus::default() };
            assert_eq!(in_force(&automatic, &new, true), ChangePolicy::Approval);
            assert_eq!(in_force(&automatic, &new, false), ChangePolicy::Automatic);
            let first = item(&automatic, &new, true);
            let kept = EksClusterStatus { change_policy: Some(ChangePolicy::Approval), ..new };
            assert_eq!(item(&automatic, &kept, true), first, "recording the policy does not change the hash");
        }
        let older =
            EksClusterStatus { arn: Some("arn:aws:eks:eu-west-1:1:cluster/x".into()), ..EksClusterStatus::default() };
        assert_eq!(in_force(&automatic, &older, true), ChangePolicy::Automatic);
    }

    #[test]
    fn looser_policy_applies_once_approved() {
        let mut status = status(Some(ChangePolicy::Approval));
        let step = loosening(ChangePolicy::Automatic, &status).unwrap();
        let ids = ExecutionPolicy::default().ids(&Key::single(KIND), &step);
        let approved = ids.iter().map(|id| ApprovedStep { resource: KIND.into(), id: id.to_string() }).collect();
        status.plan = Some(PlanStatus { approved, ..PlanStatus::default() });
        assert_eq!(in_force(&cluster("Automatic"), &status, true), ChangePolicy::Automatic);
        assert_eq!(item(&cluster("Automatic"), &status, true), None);
    }
}
