//! What a NodeGroup's changes wait for: its approvals, its cluster's effective change policy, and an event about a maintenance
//! window. I/O: reads once who approved.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::Reconcile;
use crate::api::conditions::{self, ConditionType};
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{NodeGroupStatus, PlanStatus};
use crate::api::{APPROVE_ANNOTATION, EksCluster, Reason};
use crate::controllers::approvals::execution_policy::Approvals;
use crate::controllers::approvals::{self, change_policy};
use crate::controllers::runtime::event_publisher::EventMessage;

impl Reconcile<'_> {
    /// The approvals of its plans.
    pub(super) fn approvals(&self, previous: &NodeGroupStatus) -> Approvals {
        let annotation = self.object.annotations().get(APPROVE_ANNOTATION).cloned();
        let taken = previous.plan.as_ref().and_then(|plan| plan.approval_uid.as_deref());
        let objects = self.ctx.approvals.of(self.object, taken, self.now);
        Approvals { annotation, objects, only_objects: self.ctx.settings.require_approval_objects }
    }

    /// The argument for `keelson approve`.
    pub(super) fn as_argument(&self) -> String {
        format!("nodegroup/{} -n {}", self.object.name_any(), self.namespace)
    }

    /// The effective change policy of its cluster.
    pub(super) fn change_policy(&self, cluster: &EksCluster) -> ChangePolicy {
        let status = cluster.status.clone().unwrap_or_default();
        change_policy::in_force(cluster, &status, self.ctx.settings.require_approval_objects)
    }

    /// Publishes an event about a new approval: who approved what.
    pub(super) async fn publish_approval_in(&self, previous: &NodeGroupStatus, now: &NodeGroupStatus) {
        if let Some(plan) = &now.plan {
            self.publish_approval(previous, plan).await;
        }
    }

    /// The same, for a plan that is not in status yet.
    pub(super) async fn publish_approval(&self, previous: &NodeGroupStatus, plan: &PlanStatus) {
        let Some(allowed) = approvals::newly_accepted(previous.plan.as_ref(), plan) else { return };
        let by = approvals::describe_author(self.ctx, self.object, allowed).await;
        let note = format!("plan {} ({}) is approved by {by}", plan.approved_hash, plan.summary);
        self.ctx.events.publish(self.object, vec![EventMessage::normal("Approved", note)]);
    }

    /// Publishes an event, once, about a change that waits for a maintenance window.
    pub(super) fn publish_window_wait(&self, previous: &NodeGroupStatus, now: &NodeGroupStatus) {
        if let Some(message) = new_window_wait(&previous.conditions, &now.conditions) {
            self.ctx
                .events
                .publish(self.object, vec![EventMessage::normal(Reason::OutsideMaintenanceWindow.as_str(), message)]);
        }
    }
}

/// What waits for a maintenance window and did not before, as InSync says it; `None`: nothing.
fn new_window_wait<'c>(previous: &'c [Condition], now: &'c [Condition]) -> Option<&'c str> {
    // What follows are notes, such as the size that an autoscaler chose.
    let waits = |conditions: &'c [Condition]| {
        let found = conditions::get(conditions, ConditionType::InSync)?;
        let waits = found.reason == Reason::OutsideMaintenanceWindow.as_str();
        found.message.split("; ").next().filter(|_| waits)
    };
    waits(now).filter(|message| waits(previous) != Some(*message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::status::conditions::{ConditionValue, Conditions};

    #[test]
    fn change_that_waits_for_a_window_is_new_once() {
        let of = |value: ConditionValue| {
            let at = jiff::Timestamp::UNIX_EPOCH;
            let mut all = Conditions::from(&[], Some(1), &at);
            all.set(ConditionType::InSync, &value);
            all.into_all()
        };
        let waits = |message: &str| of(ConditionValue::false_(Reason::OutsideMaintenanceWindow, message));
        let synced = of(ConditionValue::true_(Reason::Synced, "AWS matches the spec"));
        assert_eq!(new_window_wait(&synced, &waits("a")), Some("a"));
        assert_eq!(new_window_wait(&[], &waits("a")), Some("a"));
        assert_eq!(new_window_wait(&waits("a"), &waits("a")), None);
        assert_eq!(new_window_wait(&waits("a"), &waits("b")), Some("b"));
        assert_eq!(new_window_wait(&waits("a"), &synced), None);
        assert_eq!(new_window_wait(&waits("a; 3 nodes"), &waits("a; 4 nodes")), None, "only a note differs");
    }
}
