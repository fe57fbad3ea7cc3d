//! The change policy that is in force. Where approvals are objects, whoever may write a spec must not be able to take the
//! approval away with it: loosening `changePolicy` is a step of the plan that waits itself. Pure.

use crate::api::EksCluster;
use crate::api::policy::ChangePolicy;
use crate::api::status::EksClusterStatus;
use crate::controllers::execution_policy::kept;
use crate::engine::{Action, Change, ExecutionPolicy, HoldReason, Item, Key, Step, Verdict};

/// What the policy's step is called.
pub const KIND: &str = "changePolicy";

/// The step that makes the policy looser than the one in force; `None`: the spec's is in force at once. A new object begins
/// with Approval, or deleting one and making it anew would be a way around.
fn loosening(spec: ChangePolicy, status: &EksClusterStatus) -> Option<Step> {
    let before = match status.change_policy {
        Some(ChangePolicy::Automatic) => return None,
        Some(policy) => policy,
        // Made by a Keelson that did not keep it. That something was reported of it proves nothing: that is done of one that cannot
        // be read, too.
        None if status.arn.is_some() => return None,
        None => ChangePolicy::Approval,
    };
    (spec == ChangePolicy::Automatic).then(|| {
        let changes = vec![Change::in_place(KIND, format!("{before:?}"), format!("{spec:?}"))];
        Step { action: Action::Update, changes, reason: None }
    })
}

/// The policy that is in force for a cluster and its node groups. `required`: approvals are objects.
pub fn in_force(cluster: &EksCluster, status: &EksClusterStatus, required: bool) -> ChangePolicy {
    let spec = cluster.spec.change_policy;
    match loosening(spec, status).filter(|_| required) {
        Some(step) if !is_approved(&step, status) => ChangePolicy::Approval,
        Some(_) | None => spec,
    }
}

/// The step that waits, for the plan.
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
    ids.iter().all(|id| approved.iter().any(|one| kept(one) == (key.clone(), id.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::status::{ApprovedStep, PlanStatus};

    fn cluster(policy: &str) -> EksCluster {
        let spec = json!({"region": "eu-west-1", "version": "1.34", "changePolicy": policy});
        EksCluster::new("demo", serde_json::from_value(spec).unwrap())
    }

    fn status(in_force: Option<ChangePolicy>) -> EksClusterStatus {
        EksClusterStatus { change_policy: in_force, ..EksClusterStatus::default() }
    }

    #[test]
    fn a_looser_policy_waits_where_approvals_are_objects() {
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
    fn a_new_object_begins_with_approval_and_one_of_an_older_keelson_goes_on_as_it_is() {
        let automatic = cluster("Automatic");
        // One that could not be read has the generation in its status, and was never reconciled.
        for observed in [None, Some(-1), Some(3)] {
            let new = EksClusterStatus { observed_generation: observed, ..EksClusterStatus::default() };
            assert_eq!(in_force(&automatic, &new, true), ChangePolicy::Approval);
            assert_eq!(in_force(&automatic, &new, false), ChangePolicy::Automatic);
            let first = item(&automatic, &new, true);
            let kept = EksClusterStatus { change_policy: Some(ChangePolicy::Approval), ..new };
            assert_eq!(item(&automatic, &kept, true), first, "the hash stays when the policy is kept");
        }
        let older =
            EksClusterStatus { arn: Some("arn:aws:eks:eu-west-1:1:cluster/x".into()), ..EksClusterStatus::default() };
        assert_eq!(in_force(&automatic, &older, true), ChangePolicy::Automatic);
    }

    #[test]
    fn a_looser_policy_is_in_force_once_it_was_approved() {
        let mut status = status(Some(ChangePolicy::Approval));
        let step = loosening(ChangePolicy::Automatic, &status).unwrap();
        let ids = ExecutionPolicy::default().ids(&Key::single(KIND), &step);
        let approved = ids.iter().map(|id| ApprovedStep { resource: KIND.into(), id: id.to_string() }).collect();
        status.plan = Some(PlanStatus { approved, ..PlanStatus::default() });
        assert_eq!(in_force(&cluster("Automatic"), &status, true), ChangePolicy::Automatic);
        assert_eq!(item(&cluster("Automatic"), &status, true), None);
    }
}
