//! The approvals of a NodeGroup's plans, and its cluster's effective change policy. I/O: reads once who approved.

use kube::ResourceExt;

use super::Reconcile;
use crate::api::policy::ChangePolicy;
use crate::api::status::{NodeGroupStatus, PlanStatus};
use crate::api::{APPROVE_ANNOTATION, EksCluster};
use crate::controllers::approvals::execution_policy::Approvals;
use crate::controllers::approvals::{self, policy};
use crate::controllers::runtime::events::EventMessage;

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
        policy::in_force(cluster, &status, self.ctx.settings.require_approval_objects)
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
}
