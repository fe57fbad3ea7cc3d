//! Deletes an EksCluster: NodeGroups, then resources in AWS, then a final survey for leftovers, then the finalizer.

mod also_deleted;
pub mod blocked;
mod deleted_network;
mod found_spec;
pub mod gate;
mod give_back;
mod left_behind;
pub mod load_balancer_cleanup;
mod load_balancers;
mod node_group_steps;
mod obstacles;
mod vpc_users;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt;

use super::outcome::{Observation, Outcome};
use super::status::cluster_conditions::{self, Input};
use super::status::facts::Facts;
use super::{ClusterController, Reconcile};
use crate::api::policy::{ChangePolicy, DeletionPolicy};
use crate::api::status_cluster::EksClusterStatus;
use crate::api::{EksClusterSpec, NodeGroup, Reason};
use crate::controllers::account::{self, Grant, Refusal, Request};
use crate::controllers::approvals::execution_policy::PlanApprovalState;
use crate::controllers::driver::Provisioned as _;
use crate::controllers::hand_over::handed_over_message;
use crate::controllers::reconcile_error::{BuildError, DereferenceError, ObserveError, ValidateError};
use crate::controllers::runtime::apply;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::plan_status::{self, LaterSteps};
use crate::controllers::status::waiting_on;
use crate::engine::{Goal, Graph, Report};
use crate::resources::cloud::Cloud;
use crate::resources::eks::cluster;
use crate::resources::graph::expand::{self, ClusterInput, NodeRole, Nodes, Versions};
use crate::resources::inventory::survey::{self, Survey};
use crate::resources::inventory::zones;

/// Interval between surveys for leftovers.
const LEFTOVER_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

impl Reconcile<'_> {
    /// Deletes everything. `None`: there is nothing left to report.
    pub(super) async fn delete(&mut self, previous: &EksClusterStatus) -> Option<Outcome> {
        let outcome = self.delete_step(previous).await?;
        let is_held = self.object.spec.suspend || self.holds.any();
        let is_past = self.controller.cleanups.of(&self.owner().uid).is_done();
        let policy = self.object.spec.deletion_policy;
        let held = previous.deletion.as_ref().and_then(|one| one.with_hold_of(policy, is_held, is_past, self.now));
        Some(Outcome { deletion: outcome.deletion.or(held), ..outcome })
    }

    async fn delete_step(&mut self, previous: &EksClusterStatus) -> Option<Outcome> {
        if !self.has_finalizer() {
            return None;
        }
        self.pause_agent();
        if !gate::has_started(previous)
            && let Some(note) = handed_over_message(self.object, previous.hand_over.as_ref())
        {
            return self.remove_finalizer(previous, Some(EventMessage::normal("Retained", note))).await;
        }
        let spec = &self.object.spec;
        if spec.suspend {
            self.interrupt_hook_waits(|_| false).await;
            return Some(self.stay_suspended(previous, "spec.suspend is true: nothing is deleted until it is false"));
        }
        if !gate::has_started(previous)
            && let Some(held) = self.held_before_deletion(previous)
        {
            self.interrupt_hook_waits(|_| false).await;
            return Some(held);
        }
        if self.change_policy() == ChangePolicy::Observe {
            let note = "changePolicy is Observe: everything in AWS is retained, with its tags";
            return self.remove_finalizer(previous, Some(EventMessage::normal("Retained", note))).await;
        }
        let deletion = previous.deletion.clone().unwrap_or_default();
        let goal = match deletion.effective_policy(spec.deletion_policy) {
            DeletionPolicy::Delete => Goal::Deleted,
            DeletionPolicy::Retain => Goal::Retained,
        };
        let request = Request::of(self.object);
        let grant = match account::grant_to_delete_in(self.ctx, &request, previous.account_id.as_deref()) {
            Ok(grant) => grant,
            Err(_) if self.owns_nothing(previous) => return self.remove_finalizer(previous, None).await,
            Err(Refusal { message, .. }) if goal == Goal::Retained => {
                let note = format!("everything in AWS is retained, with its tags: {message}");
                return self.remove_finalizer(previous, Some(EventMessage::normal("Retained", note))).await;
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
        let made_in = ClusterController::made_in(previous, self.object);
        let cloud = match self.cloud(&grant, &spec.region, made_in).await {
            Ok(cloud) => cloud,
            Err(failure) => return Some(self.failed(previous, ValidateError::Session(failure))),
        };
        if let Err(ended) = self.give_back(previous, &cloud).await {
            return ended;
        }
        self.end_recovery();
        let is_on_record = self.records().proves(&cluster::key(), &self.object.cluster_name());
        // Otherwise an incomplete recovery: what it took over is the object's.
        if !gate::has_started(previous) && (is_on_record || self.has_no_record()) {
            match self.taken_over_by(&cloud).await {
                Ok(None) => {}
                Ok(Some(note)) => {
                    return self.remove_finalizer(previous, Some(EventMessage::normal("Retained", note))).await;
                }
                Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
            }
        }
        if gate::has_started(previous) && !self.holds.any() {
            // Before its load balancers: what is registered would create them again.
            if let Err(waiting) = self.deregister(previous).await {
                return Some(waiting);
            }
            if goal == Goal::Deleted
                && let Some(waiting) = self.load_balancers(previous, &cloud).await
            {
                return Some(waiting);
            }
            // If it is retained now, an edit may still have it deleted, with its load balancers.
            if goal == Goal::Deleted {
                self.controller.cleanups.of(&self.owner().uid).finish();
            }
            self.delete_node_groups().await;
        }
        let left = self.node_groups_left();
        let mut graph = match self.graph_to_delete(&grant, &cloud, &left).await {
            Ok(graph) => graph,
            Err(BuildError::Spec(error)) => {
                let message = format!("the spec cannot be read: {error}");
                let refusal = Refusal::new(Reason::DeletionBlocked, message).caused_by(error);
                return Some(self.failed(previous, ValidateError::Refused(refusal)));
            }
            Err(error) => return Some(self.failed(previous, error)),
        };
        self.state.steady = false;
        if !gate::has_started(previous) {
            if goal == Goal::Deleted
                && let Some(blocked) = self.blocked_before_start(previous, &cloud, &graph).await
            {
                return Some(blocked);
            }
            return Some(self.start_deletion(previous, &cloud, &graph, goal).await);
        }
        let (report, held) = match self.run_deletion(&cloud, &mut graph, goal).await {
            Ok(done) => done,
            Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
        };
        if report.plan.is_settled() && report.violations.is_empty() {
            return self.check_leftovers(previous, &cloud, report).await;
        }
        let mut next = report.next.map_or(Next::change(), Next::at);
        if let Some(Overall::Stalled(condition)) = &held {
            next = next.or(self.requeue_while_blocked(&condition.message));
        }
        let nothing_waits = (PlanApprovalState::default(), LaterSteps::default());
        Some(self.deleting(previous, &cloud, report, nothing_waits, held, next))
    }

    /// Surveys AWS for everything that still carries our tag before the finalizer is removed.
    async fn check_leftovers(&mut self, previous: &EksClusterStatus, cloud: &Cloud, report: Report) -> Option<Outcome> {
        let wait = self.state.kind.survey_at.filter(|at| *at > self.now);
        let goal = report.plan.goal;
        let left = match wait {
            Some(_) => Ok(None),
            None => {
                let (name, records) = (self.object.cluster_name(), self.records());
                survey::list_remaining(cloud, &name, &report.plan, &records).await.map(Some)
            }
        };
        let again = Next::after(LEFTOVER_INTERVAL, self.now);
        let second = self.state.kind.survey_at.is_some();
        match left {
            // Resources that only claim to be ours may be ones deleted a moment ago: they are checked twice.
            Ok(Some(left)) if left.ours.is_empty() && (left.unproven.is_empty() || second) => {
                let claims = left.unproven.join(", ");
                if !claims.is_empty() {
                    let note = format!(
                        "{claims}: tagged as owned by this object but not on record as created by it, so not deleted; \
                         remove its keelson.dev tags, or delete it if you know that it belongs to this cluster"
                    );
                    self.ctx.events.publish(self.object, vec![EventMessage::warning(Reason::NotOwned, note)]);
                }
                let note = "deletionPolicy is Retain: everything in AWS is retained, without its keelson.dev tags";
                if goal == Goal::Deleted {
                    self.report_left_behind(cloud).await;
                }
                let event = (goal == Goal::Retained).then(|| EventMessage::normal("Retained", note));
                self.remove_finalizer(previous, event).await
            }
            Ok(left) => {
                if left.is_some() {
                    // Resources that carry the tag and are not in the graph: observe again, and name them meanwhile.
                    self.state.kind.survey_at = self.now.checked_add(LEFTOVER_INTERVAL).ok();
                    self.state.memory.forget_observations(self.now);
                }
                let message = match &left {
                    Some(left) if left.ours.is_empty() || goal == Goal::Retained => {
                        let tagged = [&left.ours[..], &left.unproven[..]].concat();
                        format!("still tagged as owned by this object: {}", tagged.join(", "))
                    }
                    Some(left) => format!("still in AWS: {}", left.ours.join(", ")),
                    None => "something is still in AWS; checking again".to_owned(),
                };
                let condition = ConditionValue::false_(Reason::DeletionBlocked, message);
                let instead = Some(Overall::Reconciling(condition));
                Some(self.deleting(previous, cloud, report, Default::default(), instead, again))
            }
            Err(failure) => Some(self.failed(previous, ObserveError::Aws(failure))),
        }
    }

    pub(super) fn deleting(
        &self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        report: Report,
        (agreed, ahead): (PlanApprovalState, LaterSteps),
        instead: Option<Overall>,
        next: Next,
    ) -> Outcome {
        let next = next.of(&report);
        let Report { plan, violations, expected, facts, .. } = report;
        let generation = self.object.metadata.generation;
        let gitops = ConditionValue::false_(Reason::Deleting, "deleted with the cluster");
        let (mut all, mut overall) = cluster_conditions::conditions(&Input {
            previous: &previous.conditions,
            generation,
            plan: &plan,
            violations: &violations,
            memory: &self.state.memory,
            gitops: &gitops,
            gitops_stalled: false,
            ready: "",
            upgrade: None,
            now: self.now,
        });
        let mut waits = Some(waiting_on::waits_of_plan(&plan, &self.state.memory, self.now));
        let is_held = !gate::has_started(previous);
        if let Some(instead) = instead {
            waits = None;
            all = cluster_conditions::unobserved(&all, generation, &instead, self.now);
            overall = instead;
        }
        if is_held {
            let observed = (&plan, &self.state.memory);
            all = cluster_conditions::while_held(&previous.conditions, generation, observed, &overall, self.now);
        }
        let input = plan_status::Input {
            plan: &plan,
            expected: &expected,
            memory: &self.state.memory,
            generation,
            ahead: &ahead,
            changed_outside: false,
            facts: &facts,
        };
        let plan = plan_status::plan_status(input, agreed);
        let held = previous.clone();
        let (gitops, upgrade, support) =
            if is_held { (held.gitops, held.upgrade, held.support) } else { (None, None, None) };
        let observed = Observation {
            account_id: cloud.aws.account_id.to_string(),
            plan,
            drift: Vec::new(),
            synced: None,
            tag_keys: previous.tag_keys.clone(),
            gitops,
            upgrade,
            support,
            // The API server deletes it with the object.
            kubeconfig_secret: previous.kubeconfig_secret.clone(),
            registration: self.state.kind.registration.recorded(previous),
        };
        Outcome { conditions: all, overall, observed: Some(observed), deletion: None, waits, recovery: None, next }
    }

    /// Whether it owns nothing in AWS (status, records). A missing finalizer proves nothing: any editor may remove it.
    pub(super) fn owns_nothing(&self, previous: &EksClusterStatus) -> bool {
        previous.arn.is_none() && self.has_no_record()
    }

    pub(super) fn has_no_record(&self) -> bool {
        Facts(&self.state.memory).recorded_resource().is_none()
    }

    /// Deletes the NodeGroups that existed at its deletion. A later one creates nothing in AWS, so it blocks nothing.
    async fn delete_node_groups(&self) {
        for group in self.deleted_node_groups() {
            if group.metadata.deletion_timestamp.is_none()
                && let Err(error) = apply::delete(&self.ctx.client, &*group).await
            {
                let (name, error) = (group.name_any(), apply::describe_error(&error));
                tracing::warn!(node_group = name, error, "a NodeGroup of a deleted cluster was not deleted yet");
            }
        }
    }

    /// The NodeGroups that existed when the cluster was deleted.
    pub(super) fn deleted_node_groups(&self) -> Vec<Arc<NodeGroup>> {
        let Some(deleted) = self.object.metadata.deletion_timestamp.as_ref().map(|time| time.0) else {
            return Vec::new();
        };
        let mut groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        groups.retain(|group| group.metadata.creation_timestamp.as_ref().is_none_or(|made| made.0 <= deleted));
        groups
    }

    /// The NodeGroups that may still own something in AWS, by their status or our finalizer on them.
    fn node_groups_left(&self) -> Vec<String> {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let is_there = |group: &NodeGroup| group.status.as_ref().is_some_and(|status| status.arn.is_some());
        let may_own = |group: &&Arc<NodeGroup>| apply::has_finalizer(&***group) || is_there(group);
        let left = groups.iter().filter(may_own).map(|group| describe_group(group));
        left.chain(self.ctx.unreadable.node_groups_of(&self.namespace, &self.object.name_any())).collect()
    }

    /// What may exist: what the spec names, and everything else that carries our tag. An invalid spec names nothing.
    async fn graph_to_delete(&self, grant: &Grant, cloud: &Cloud, left: &[String]) -> Result<Graph<Cloud>, BuildError> {
        // Leftovers that the final survey found must be in this one, too, so it is read again.
        let age = if self.state.kind.survey_at.is_some() { Duration::ZERO } else { self.survey_age() };
        let survey = survey::survey(cloud, age, &self.records()).await.map_err(BuildError::Survey)?;
        let spec = self.spec_to_delete(grant, cloud).await?;
        let first = self.expand_to_delete(&spec, grant, &survey, left);
        first
            .or_else(|error| {
                tracing::warn!(cluster = self.owner().cluster, %error, "invalid spec: deleting what is found in AWS");
                self.expand_to_delete(&found_spec::of(&spec, &survey.owned), grant, &survey, left)
            })
            .map_err(BuildError::Spec)
    }

    fn expand_to_delete(
        &self,
        spec: &EksClusterSpec,
        grant: &Grant,
        survey: &Survey,
        left: &[String],
    ) -> Result<Graph<Cloud>, crate::api::SpecError> {
        use crate::api::network::NetworkKind;
        let zones = match spec.network.kind()? {
            NetworkKind::Vpc(vpc) => zones::choose_zones(vpc, &survey.zones.all(), &survey.owned)?,
            NetworkKind::Existing(_) => Vec::new(),
        };
        let owner = self.owner();
        let last = self.last_status();
        let deletion = last.deletion.clone().unwrap_or_default();
        let also = also_deleted::effective(&deletion, spec, self.has_cluster(&last));
        let mut spec = spec.clone();
        if let Some(group) = spec.log_group.as_mut().filter(|_| !also.log_group) {
            group.deletion_policy = DeletionPolicy::Retain;
        }
        let created = self.object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        expand::cluster(&ClusterInput {
            spec: &spec,
            cluster_name: &self.object.cluster_name(),
            owner: &owner,
            account: &grant.settings,
            zones: &zones,
            missing_services: &std::collections::BTreeSet::new(),
            node_role: &NodeRole { in_use: Some(true), ..NodeRole::default() },
            nodes: Nodes::Ready,
            node_groups_left: left,
            owned: &survey.owned,
            tag_keys: &[],
            used_roles: &[],
            removes: None,
            volumes_since: created.filter(|_| also.volumes),
            instances_since: created.filter(|_| also.instances),
            versions: &Versions::default(),
            intervals: self.ctx.settings.intervals,
        })
    }
}

/// A node group that blocks the deletion, and why.
fn describe_group(group: &NodeGroup) -> String {
    let name = group.name_any();
    if group.spec.suspend { format!("{name} (suspended)") } else { name }
}
