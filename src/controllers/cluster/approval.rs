//! The policies and approvals of an EksCluster's plans. I/O: reads once who approved.

use kube::ResourceExt;

use super::Reconcile;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{EksClusterStatus, PlanStatus};
use crate::api::{APPROVE_ANNOTATION, Reason};
use crate::controllers::account::Grant;
use crate::controllers::approvals::execution_policy::{self, Approvals, PlanApprovalState};
use crate::controllers::approvals::{self, ApprovedBy};
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::conditions::ConditionValue;
use crate::controllers::status::finish_reconcile;
use crate::engine::ExecutionPolicy;
use crate::engine::execution_policy::Subject;
use crate::resources::graph::expand::Versions;

impl Reconcile<'_> {
    /// What may run: by the spec's policies, the approvals, and known drift.
    pub(super) fn policy(
        &self,
        previous: &EksClusterStatus,
        grant: &Grant,
        versions: &Versions,
    ) -> (ExecutionPolicy, String) {
        let spec = &self.object.spec;
        let wanted = execution_policy::desired_digest(spec, &grant.settings, &self.node_role(grant).policies);
        let asked = execution_policy::desired_digest(
            spec,
            &grant.settings,
            &(&wanted, &versions.control_plane, &versions.addons),
        );
        let edited = self.object.metadata.generation != previous.observed_generation;
        let synced = previous.synced.as_deref();
        let asked = execution_policy::current_target(asked, versions.control_plane.is_some(), edited, synced);
        let input = execution_policy::Input {
            change: self.change_policy(),
            drift: spec.drift_policy,
            wanted,
            target: asked.clone(),
            plan: previous.plan.as_ref(),
            approved_elsewhere: &[],
            known: &previous.drift,
            synced,
            on_hold: self.holds.any(),
        };
        (input.policy(), asked)
    }

    /// The approvals of its plans.
    pub(super) fn approvals(&self) -> Approvals {
        let annotation = self.object.annotations().get(APPROVE_ANNOTATION).cloned();
        let status = self.last_status();
        let taken = status.plan.as_ref().and_then(|plan| plan.approval_uid.as_deref());
        let objects = self.ctx.approvals.of(self.object, taken, self.now);
        Approvals { annotation, objects, only_objects: self.ctx.settings.require_approval_objects }
    }

    /// The status written last.
    pub(super) fn last_status(&self) -> EksClusterStatus {
        self.state.written.clone().or_else(|| self.object.status.clone()).unwrap_or_default()
    }

    /// Publishes an event about who approved a plan, if that is new.
    pub(super) async fn publish_plan_approval(&self, previous: &EksClusterStatus, plan: &PlanStatus) {
        if let Some(approved_by) = approvals::newly_accepted(previous.plan.as_ref(), plan) {
            self.publish_approval(&format!("plan {}", plan.hash), &plan.summary, approved_by).await;
        }
    }

    /// Publishes an event about who approved what.
    pub(super) async fn publish_approval(&self, hash: &str, summary: &str, approved_by: ApprovedBy<'_>) {
        let by = approvals::describe_author(self.ctx, self.object, approved_by).await;
        let note = format!("{hash} ({summary}) is approved by {by}");
        self.ctx.events.publish(self.object, vec![EventMessage::normal("Approved", note)]);
    }

    /// The subject of its plans.
    pub(super) fn subject(&self) -> Subject {
        finish_reconcile::subject(self.object)
    }

    /// The effective change policy.
    pub(super) fn change_policy(&self) -> ChangePolicy {
        approvals::change_policy::in_force(self.object, &self.last_status(), self.ctx.settings.require_approval_objects)
    }

    /// Whether Keelson may only look.
    pub(super) fn observes(&self) -> bool {
        self.change_policy() == ChangePolicy::Observe
    }

    /// The argument for `keelson approve`.
    pub(super) fn as_argument(&self) -> String {
        format!("{} -n {}", self.object.name_any(), self.namespace)
    }

    /// The condition while a plan waits.
    pub(super) fn waits(&self, agreed: &PlanApprovalState, summary: &str) -> ConditionValue {
        let message = execution_policy::describe_pending_plan(agreed, summary, &self.as_argument(), &self.approvals());
        ConditionValue::false_(Reason::WaitingForApproval, message)
    }
}
