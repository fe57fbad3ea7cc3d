//! Deletes a NodeGroup, alone or with its cluster, or retains its node group in AWS. I/O: the management cluster's
//! API; AWS only through [`crate::resources`] and [`crate::engine`].

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::hold::Hold;
use super::{NodeGroupController, Outcome, Reconcile};
use crate::api::policy::{ChangePolicy, DeletionPolicy};
use crate::api::status_cluster::{DeletionStatus, NodeGroupDeletionStatus, NodeGroupStatus};
use crate::api::{EksCluster, Reason};
use crate::controllers::account::{self, Refusal, Request};
use crate::controllers::approvals::execution_policy::{self, Proposal};
use crate::controllers::cluster::deletion::gate;
use crate::controllers::driver::Provisioned as _;
use crate::controllers::hand_over::handed_over_message;
use crate::controllers::reconcile_error::{DereferenceError, ObserveError, ValidateError};
use crate::controllers::runtime::apply;
use crate::controllers::runtime::deadline::with_deadline;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::finish_reconcile::{self, Next};
use crate::controllers::status::held_deletion;
use crate::engine::execution_policy::{AllowedSteps, Approved};
use crate::engine::failure::span;
use crate::engine::{ExecutionPolicy, Goal};
use crate::resources::eks::node_group::Target;

/// When to read again whose the cluster is.
const FOREIGN_RETRY: SignedDuration = SignedDuration::from_secs(60);

impl Reconcile<'_> {
    pub(super) async fn delete(&mut self, previous: &NodeGroupStatus) -> Option<Outcome> {
        if !self.has_finalizer() {
            return None;
        }
        let has_started = previous.deletion.as_ref().is_some_and(|deletion| deletion.began.is_some());
        if !has_started && let Some(note) = handed_over_message(self.object, previous.hand_over.as_ref()) {
            return self.retain(previous, &note).await;
        }
        if self.object.spec.suspend {
            return Some(self.stay_suspended(previous, "spec.suspend is true: nothing is deleted until it is false"));
        }
        let name = &self.object.spec.cluster_ref.name;
        if let Some(message) = self.cluster_unreadable() {
            return Some(self.waiting(previous, Reason::WaitingForCluster, message));
        }
        let known = match self.ctx.cluster(&self.namespace, name) {
            Some(cluster) => Ok(Some(cluster)),
            // The store may not have it yet: removing the finalizer on its answer would leave the node group in AWS.
            None => {
                let api = kube::Api::<EksCluster>::namespaced(self.ctx.client.clone(), &self.namespace);
                with_deadline("get EksCluster", api.get_opt(name)).await.map(|found| found.map(Arc::new))
            }
        };
        let cluster = match known {
            Ok(Some(cluster)) => cluster,
            Ok(None) => {
                // Its cluster waits for it, unless the cluster was retained in AWS: then this is retained, too.
                let what = previous
                    .arn
                    .as_deref()
                    .map_or_else(String::new, |arn| format!("its EksCluster no longer exists; left in AWS: {arn}"));
                return self.retain(previous, &what).await;
            }
            Err(error) => {
                return Some(self.failed(previous, DereferenceError::Cluster { name: name.clone(), source: error }));
            }
        };
        if cluster.spec.suspend {
            let message = "its EksCluster is suspended: nothing is deleted until its spec.suspend is false";
            return Some(self.stay_suspended(previous, message));
        }
        // With its cluster, the cluster decides.
        if !has_started
            && cluster.metadata.deletion_timestamp.is_none()
            && let Some(held) = self.held_before_deletion(previous)
        {
            return Some(held);
        }
        if self.change_policy(&cluster) == ChangePolicy::Observe {
            let note = "changePolicy of its EksCluster is Observe: the node group is retained in AWS, with its tags";
            return self.retain(previous, note).await;
        }
        let of_cluster = cluster.status.clone().unwrap_or_default();
        if cluster.metadata.deletion_timestamp.is_some()
            && !gate::has_started(&of_cluster)
            && apply::has_finalizer(&*cluster)
        {
            return Some(self.wait_for_start(previous, &cluster).await);
        }
        if let Some(outcome) = self.waits_for_cluster(previous, &cluster) {
            return Some(outcome);
        }
        self.delete_in_aws(previous, &cluster).await
    }

    /// One commit that removes both may delete this object first: whether its cluster may be deleted decides for
    /// both.
    fn waits_for_cluster(&self, previous: &NodeGroupStatus, cluster: &EksCluster) -> Option<Outcome> {
        if cluster.metadata.deletion_timestamp.is_some() {
            let waits = |message: &str| self.waiting(previous, Reason::WaitingForCluster, message.to_owned());
            let must_wait =
                self.controller.cleanups.hold_nodes(cluster, self.ctx.settings.load_balancer_timeout, self.now);
            let message =
                "the load balancers of its cluster's workload are deleted first: their controllers run on these nodes";
            let again = Next::after(SignedDuration::from_secs(2), self.now);
            return must_wait.then(|| Outcome { next: again, ..waits(message) });
        }
        let deleted = self.object.metadata.deletion_timestamp.as_ref()?.0;
        // The API server truncates the time of a deletion to whole seconds.
        let read_after_write_window = self.ctx.settings.read_after_write_window + Duration::from_secs(1);
        let until = deleted.saturating_add(span(read_after_write_window)).ok().filter(|until| *until > self.now)?;
        previous.arn.as_ref()?;
        let message = "checking whether its EksCluster is being deleted too".to_owned();
        let outcome = self.waiting(previous, Reason::Deleting, message);
        Some(Outcome { next: Next::at(until), ..outcome })
    }

    async fn delete_in_aws(&mut self, previous: &NodeGroupStatus, cluster: &EksCluster) -> Option<Outcome> {
        // Only a deletion that has started was agreed to: whoever may write the object may remove our finalizer from
        // a cluster that waits.
        let of_cluster = cluster.status.as_ref().and_then(|status| status.deletion.clone()).unwrap_or_default();
        let deleted_with_cluster = cluster.metadata.deletion_timestamp.is_some() && of_cluster.began.is_some();
        // A retained node group would block the deletion of its cluster forever; the cluster names it.
        let retains = self.retains(previous)
            || deleted_with_cluster
                && (cluster.spec.deletion_policy == DeletionPolicy::Retain
                    || of_cluster.retains_node_group(&self.object.name_any()));
        let goal = if retains { Goal::Retained } else { Goal::Deleted };
        let made_in = cluster.status.as_ref().and_then(|status| status.account_id.as_deref());
        let grant = match account::grant_to_delete_in(self.ctx, &Request::of(cluster), made_in) {
            Ok(grant) => grant,
            Err(_) if self.owns_nothing(previous) => return self.retain(previous, "").await,
            Err(Refusal { message, .. }) if goal == Goal::Retained => {
                return self
                    .retain(previous, &format!("the node group is retained in AWS, with its tags: {message}"))
                    .await;
            }
            Err(denied) => {
                let message = format!("its resources in AWS cannot be deleted: {denied}");
                let refusal = Refusal::new(Reason::DeletionBlocked, message).caused_by(denied);
                return Some(self.failed(previous, DereferenceError::Account(refusal)));
            }
        };
        if let Err(stop) = self.await_retry(previous) {
            return Some(self.stopped(previous, stop));
        }
        let made_in = NodeGroupController::made_in(previous, cluster);
        let cloud = match self.cloud(&grant, &cluster.spec.region, made_in).await {
            Ok(cloud) => cloud,
            Err(failure) => return Some(self.failed(previous, ValidateError::Session(failure))),
        };
        let found = match self.discover_groups(previous, cluster, &cloud).await {
            Ok(found) => found,
            Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
        };
        let previous = found.as_ref().unwrap_or(previous);
        let left = match self.left_in_aws(cluster, &cloud).await {
            Ok(left) => left.filter(|_| goal == Goal::Deleted),
            Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
        };
        if let Some(why) = left {
            return self.leave_in_aws(previous, cluster, &why).await;
        }
        let graph = match self.graph_to_delete(previous, &grant, &cloud, cluster) {
            Ok(graph) => graph,
            Err(error) => {
                let message = format!("the spec cannot be read: {error}");
                let refusal = Refusal::new(Reason::DeletionBlocked, message).caused_by(error);
                return Some(self.failed(previous, ValidateError::Refused(refusal)));
            }
        };
        self.state.steady = false;
        let has_started = previous.deletion.as_ref().is_some_and(|deletion| deletion.began.is_some());
        // What was agreed to for the cluster holds for everything that is deleted with it.
        let alone = !deleted_with_cluster && !has_started;
        let change_policy = self.change_policy(cluster);
        let hold = match self.hold_alone(previous, alone && goal == Goal::Deleted, change_policy).await {
            Ok(hold) => hold,
            Err(why) => return Some(self.uncounted(previous, &why)),
        };
        let asks = (change_policy == ChangePolicy::Approval && alone) || hold.is_some();
        let allowed = if asks { AllowedSteps::Only(Approved::new()) } else { AllowedSteps::All };
        let policy = ExecutionPolicy { allowed, on_hold: self.holds.any(), ..ExecutionPolicy::default() };
        let report = self.engine(cluster, &graph, &cloud, goal, &policy).await;
        if report.plan.is_settled() && report.violations.is_empty() {
            let note =
                if goal == Goal::Retained { "deletionPolicy is Retain: the node group is retained in AWS" } else { "" };
            return self.retain(previous, note).await;
        }
        let subject = finish_reconcile::subject(self.object);
        let proposal = Proposal { subject: &subject, plan: &report.plan, ahead: &[], facts: &report.facts };
        let agreed = execution_policy::accept_approval(&policy, proposal, &self.approvals(previous), None);
        let summary = report.plan.summary();
        let exists = held_deletion::part_condition(&report.plan, &self.state.memory, |_| true);
        let mut outcome = self.reported(previous, report, &Target::default(), (&policy, ""), None);
        self.publish_approval_in(previous, &outcome.status).await;
        if asks {
            self.observe_held(previous, cluster, &cloud, &mut outcome, &exists).await;
        }
        outcome.status.synced = None;
        outcome.status.drift = Vec::new();
        if agreed.is_new && hold.is_none() {
            if goal == Goal::Deleted
                && !self.owns_nothing(previous)
                && let Err(why) = self.count_approved().await
            {
                return Some(self.uncounted(previous, &why));
            }
            let started = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
            outcome.status.deletion = Some(self.started_deletion(Time(started), agreed.approval_uid));
        }
        Some(match hold {
            Some(hold) => self.held_outcome(previous, outcome, hold, &summary),
            None => outcome,
        })
    }

    /// The hold on a deletion of this object alone. One that was released just now is counted.
    async fn hold_alone(
        &self,
        previous: &NodeGroupStatus,
        alone: bool,
        policy: ChangePolicy,
    ) -> Result<Option<Hold>, String> {
        let hold = if alone { self.hold(previous, policy).await? } else { None };
        if hold.as_ref().is_some_and(Hold::is_released_and_counts) {
            self.count_approved().await?;
        }
        Ok(hold)
    }

    /// The outcome if deletions cannot be counted.
    fn uncounted(&self, previous: &NodeGroupStatus, why: &str) -> Outcome {
        let outcome = self.waiting(previous, Reason::Pending, format!("nothing is deleted yet: {why}"));
        Outcome { next: Next::after(SignedDuration::from_secs(5), self.now), ..outcome }
    }

    /// The node group is part of a cluster that is not its EksCluster's. With its EksCluster, the object is deleted and
    /// the node group stays; alone, it waits for a person.
    async fn leave_in_aws(&mut self, previous: &NodeGroupStatus, cluster: &EksCluster, why: &str) -> Option<Outcome> {
        if self.owns_nothing(previous) {
            return self.retain(previous, "").await;
        }
        if cluster.metadata.deletion_timestamp.is_some() {
            let note = format!("{why}: the node group is left in AWS");
            return self.retain(previous, &note).await;
        }
        let message = format!(
            "{why}, so its node group is not deleted. To delete this object alone, set spec.deletionPolicy: Retain, or \
             delete the EksCluster as well"
        );
        let refused = self.failed(previous, ValidateError::Refused(Refusal::new(Reason::DeletionBlocked, message)));
        Some(Outcome { next: refused.next.or(Next::after(FOREIGN_RETRY, self.now)), ..refused })
    }

    /// Whether the node group is retained in AWS: by its policy, or by the policy when the deletion started.
    fn retains(&self, previous: &NodeGroupStatus) -> bool {
        let deletion = DeletionStatus::from(previous.deletion.clone().unwrap_or_default());
        deletion.effective_policy(self.object.spec.deletion_policy) == DeletionPolicy::Retain
    }

    /// The status of a deletion that starts.
    pub(super) fn started_deletion(&self, at: Time, approval_uid: Option<String>) -> NodeGroupDeletionStatus {
        let policy = Some(self.object.spec.deletion_policy);
        NodeGroupDeletionStatus { began: Some(at), approval_uid, policy, ..NodeGroupDeletionStatus::default() }
    }

    /// Removes the finalizer. `note`: what is retained, for an event.
    async fn retain(&mut self, previous: &NodeGroupStatus, note: &str) -> Option<Outcome> {
        let event = (!note.is_empty()).then(|| EventMessage::normal("Retained", note));
        self.remove_finalizer(previous, event).await
    }
}
