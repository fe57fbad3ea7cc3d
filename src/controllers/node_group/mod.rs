//! Reconciles a NodeGroup: its cluster decides where and when, the engine acts, status reports.
//!
//! This file wires; the decisions are pure and in files beside it. I/O: the management cluster's API; AWS only
//! through [`crate::resources`] and [`crate::engine`].

mod approval;
mod aws_validation;
mod deletion;
mod hold;
pub mod nodes;
mod outcome;
mod own_image;
mod presence;
mod recovery;
pub mod status;
pub mod target;
mod validate;
mod waiting;

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::ResourceExt;

use self::nodes::NodeReads;
pub use self::validate::valid;
use super::account::owned::{self, Denied};
use super::account::{self, Grant, Refusal, Request, named};
use super::approvals::execution_policy::{self, Proposal};
use super::cluster::status::view::view;
use super::context::{Context, State};
use super::drift::events::ExternalChange;
use super::hand_over::{self, retained_hand_over};
use super::recovery::{RecoveryRequest, existing};
use super::runtime::apply;
use super::status::conditions::Overall;
use super::status::journal::{self, NoJournal};
use super::status::plan_status::{self, Ahead};
use super::status::report::{self, Next};
use super::tag_keys;
use crate::api::policy::ChangePolicy;
use crate::api::status::NodeGroupStatus;
use crate::api::{EksCluster, NodeGroup, RECONCILE_AT_ANNOTATION, Reason, SpecError};
use crate::engine::execute::Run;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, InventoryRecord, Key, Report};
use crate::resources::cloud::Cloud;
use crate::resources::eks::node_group::Target;
use crate::resources::graph::expand::{self, ClusterView, NodeGroupInput};

/// In-memory state of a node group besides its resources.
#[derive(Default)]
pub struct KindState {
    finalizer: Option<Instant>,
    steady: bool,
    nodes: NodeReads,
    /// The generation of the spec that passed the checks against AWS.
    checked: Option<i64>,
    /// The recovery that the memory of its resource belongs to.
    recovering: Option<RecoveryRequest>,
}

/// Outcome of a reconcile, for status.
struct Outcome {
    status: NodeGroupStatus,
    overall: Overall,
    /// What is waited for; `None`: nothing was observed, or the conditions say what is waited for.
    waits: Option<Vec<super::status::waits::Wait>>,
    next: Next,
}

struct Reconcile<'a> {
    ctx: &'a Arc<Context>,
    group: &'a NodeGroup,
    namespace: String,
    state: &'a mut State<NodeGroupStatus, KindState>,
    now: Timestamp,
}

/// Reconciles once, and returns when to requeue.
pub async fn reconcile(group: Arc<NodeGroup>, ctx: Arc<Context>) -> Next {
    let (Some(uid), Some(namespace)) = (group.uid(), group.namespace()) else {
        return Next::change();
    };
    let before = group.status.clone().unwrap_or_default();
    let shared = ctx.node_group_states.of(&uid, || ctx.memory(recorded(&group)));
    let mut state = shared.lock().await;
    let state = &mut *state;
    let now = Timestamp::now();
    if state.take_reconcile_request(group.annotations().get(RECONCILE_AT_ANNOTATION)) {
        state.memory.forget_observations(now);
        state.kind.nodes.forget();
        state.kind.checked = None;
        state.failed = None;
    }
    if let Some(ExternalChange { at, keys }) = ctx.pending_changes.take(&uid) {
        state.memory.mark_changed_externally(&keys, at);
    }
    if apply::has_finalizer(&*group) {
        state.kind.finalizer = None;
    }
    if let Some(at) = state.debounce_edit(&*group, now) {
        return Next::at(at);
    }
    let previous = state.written.clone().unwrap_or(before);
    state.retry_after_edit(group.metadata.generation, previous.observed_generation, now);
    let mut run = Reconcile { ctx: &ctx, group: &group, namespace, state, now };
    let outcome = if group.metadata.deletion_timestamp.is_some() {
        run.delete(&previous).await
    } else {
        Some(run.present(&previous).await)
    };
    let Some(Outcome { mut status, overall, waits, next }) = outcome else { return Next::change() };
    status.hand_over = retained_hand_over(&*group, status.hand_over.as_ref());
    let generation = group.metadata.generation;
    let (overall, next) =
        report::evaluate_waits(&ctx, (&previous, &mut status), generation, waits, (overall, next), now);
    report::publish_transition(&ctx, &*group, &previous.conditions, &overall);
    report::write_status(&ctx, &*group, state, previous, status, &overall, next).await
}

/// The key of a node group's only resource.
pub fn key(group: &NodeGroup) -> Key {
    Key::named("nodeGroup", group.node_group_name())
}

/// The resource that status records.
pub(super) fn recorded(group: &NodeGroup) -> Option<(Key, InventoryRecord)> {
    group.status.as_ref()?.arn.as_ref()?;
    let operation = group.status.as_ref().and_then(|status| status.update_id.clone());
    let operations = journal::parse_update_attempts(group.status.as_ref().and_then(|status| status.update_attempts));
    Some((
        key(group),
        InventoryRecord { id: Some(group.node_group_name()), operation, operations, at: Timestamp::UNIX_EPOCH },
    ))
}

impl Reconcile<'_> {
    /// While its cluster cannot be read, what the cluster requests is unknown, so nothing is done.
    fn cluster_unreadable(&self, previous: &NodeGroupStatus) -> Option<Outcome> {
        let name = &self.group.spec.cluster_ref.name;
        let reason = self.ctx.unreadable.reason::<EksCluster>(Some(&self.namespace), name)?;
        let message = format!("EksCluster {name} cannot be read, and nothing is done until it is corrected: {reason}");
        Some(self.waiting(previous, Reason::WaitingForCluster, message))
    }

    async fn present(&mut self, previous: &NodeGroupStatus) -> Outcome {
        let spec = &self.group.spec;
        if spec.suspend {
            return self.while_suspended(previous, "spec.suspend is true: AWS is not touched").await;
        }
        let name = &spec.cluster_ref.name;
        // With a suspended cluster it is suspended, also when both are handed over.
        let is_suspended = self.ctx.cluster(&self.namespace, name).is_some_and(|cluster| cluster.spec.suspend);
        let is_here = || if is_suspended { Ok(()) } else { self.still_here(previous) };
        if let Err(refusal) = valid(self.group).and_then(|()| is_here()) {
            return self.refused(previous, refusal);
        }
        if let Some(outcome) = self.cluster_unreadable(previous) {
            return outcome;
        }
        let Some(cluster) = self.ctx.cluster(&self.namespace, name) else {
            let message = format!("EksCluster {}/{name} does not exist (yet)", self.namespace);
            return self.waiting(previous, Reason::WaitingForCluster, message);
        };
        if cluster.metadata.deletion_timestamp.is_some() {
            let message = format!("EksCluster {name} is being deleted: nothing is created for it");
            return self.waiting(previous, Reason::WaitingForCluster, message);
        }
        if cluster.spec.suspend {
            return self.while_suspended(previous, "its EksCluster is suspended: AWS is not touched").await;
        }
        if let Some(outcome) = self.waits_for_hand_over(previous, &cluster) {
            return outcome;
        }
        if let Some(outcome) = self.name_is_taken(previous) {
            return outcome;
        }
        let grant = match account::grant_in(self.ctx, &Request::of(&cluster)) {
            Ok(grant) => grant,
            Err(refusal) => return self.refused(previous, refusal),
        };
        self.state.note_adoption(grant.adoption, self.now);
        let named = named::by_node_group_in(&spec.cluster_ref.name, &cluster.spec, spec);
        let undecided = match owned::check(&grant, &named) {
            Ok(undecided) => undecided,
            Err(refusal) => return self.refused(previous, refusal),
        };
        let view = view(&cluster);
        let may_be_there = !self.owns_nothing(previous);
        let waits = view.not_ready.as_ref().filter(|_| !may_be_there);
        if let Some(failed) = self.state.failed.clone().filter(|failed| failed.retry_at > self.now) {
            return self.still_failing(previous, &failed);
        }
        let cloud = match (self.cloud(&grant, &cluster).await, waits) {
            (Ok(cloud), _) => cloud,
            // Nothing exists yet, so its cluster reports first what is wrong with the account.
            (Err(_), Some(why)) => return self.waiting(previous, Reason::WaitingForCluster, why.clone()),
            (Err(failure), None) => return self.failed(previous, failure),
        };
        let age = self.ctx.settings.intervals.drift;
        match owned::check_owned(self.ctx, &cloud.aws, &grant, &self.namespace, &undecided, age).await {
            Ok(()) => {}
            Err(Denied::Refused(refusal)) => return self.refused(previous, refusal),
            Err(Denied::Unreadable(failure)) => return self.failed(previous, failure),
        }
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let request = hand_over::request(self.group, recovered, handed_over, self.ctx.installation());
        if request.is_none()
            && let Err(failure) = self.validate_against_aws(&cloud.aws, previous, &cluster, &view).await
        {
            return self.failed(previous, failure);
        }
        if let Some(why) = waits {
            return self.waiting(previous, Reason::WaitingForCluster, why.clone());
        }
        if let Some(request) = request {
            return self.recover(previous, &cluster, &grant, &cloud, request).await;
        }
        self.end_recovery();
        let (target, opens) = target::target(self.group, &cluster, self.now);
        let tags = expand::node_group_tags(spec, &view, &grant.settings);
        let graph = match self.graph(&grant, &cloud, &view, &target, &previous.tag_keys) {
            Ok(graph) => graph,
            Err(error) => return self.refused(previous, Refusal::from(error)),
        };
        let observes = self.change_policy(&cluster) == ChangePolicy::Observe;
        let kept = match observes {
            true => Ok(previous.clone()),
            false => tag_keys::record_keys(self.ctx, self.group, self.state, previous, &tags).await,
        };
        let previous = match &kept {
            Ok(kept) => kept,
            Err(message) => return self.record_not_written(previous, message.clone()),
        };
        if !observes && let Some(outcome) = self.finalizer(previous).await {
            return outcome;
        }
        let (policy, asked) = self.policy(previous, &cluster, &grant, &target);
        let report = self.engine(&cluster, &graph, &cloud, Goal::Present, &policy).await;
        self.state.kind.steady = report.plan.is_settled();
        let due = self.state.kind.nodes.poll(self.ctx, self.group, &cluster, &cloud.aws, &self.state.memory).await;
        let tag_keys = tag_keys::keys_to_retain(&previous.tag_keys, &tags, &report.plan, &self.state.memory);
        let mut outcome = self.reported(previous, report, &target, &policy, &asked);
        outcome.status.tag_keys = tag_keys;
        self.publish_approval(previous, &outcome.status).await;
        for at in due.into_iter().chain(opens) {
            outcome.next = outcome.next.or(Next::at(at));
        }
        outcome
    }

    async fn cloud(&self, grant: &Grant, cluster: &EksCluster) -> Result<Cloud, Failure> {
        let session = self.ctx.accounts.session(&grant.identity, &cluster.spec.region).await?;
        if let Some(status) = cluster.status.as_ref().filter(|status| status.arn.is_some()) {
            account::check_same_account(status.account_id.as_deref(), &session.account_id)?;
        }
        let aws = if self.state.kind.steady { session.background() } else { session };
        let client_token_seed = report::client_token_seed(self.group);
        let (owner, intervals) = (self.owner(), self.ctx.settings.intervals);
        let (adoption, existing) = (grant.adoption, existing(self.ctx));
        Ok(Cloud { aws, owner, intervals, client_token_seed, adoption, trusts_tags: false, existing })
    }

    fn graph(
        &self,
        grant: &Grant,
        cloud: &Cloud,
        view: &ClusterView,
        target: &Target,
        tag_keys: &[String],
    ) -> Result<Graph<Cloud>, SpecError> {
        expand::node_group(&NodeGroupInput {
            spec: &self.group.spec,
            node_group_name: &self.group.node_group_name(),
            owner: &cloud.owner,
            account: &grant.settings,
            cluster: view,
            target: target.clone(),
            tag_keys,
            intervals: cloud.intervals,
        })
    }

    async fn engine(
        &mut self,
        cluster: &EksCluster,
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let (ctx, adoption) = (self.ctx, cloud.adoption);
        let may_adopt = || account::check_still_adoptable(ctx, &Request::of(cluster), adoption);
        let expectations = self.ctx.expectations(&cloud.aws.account_id, &cloud.aws.region);
        let clock = Timestamp::now;
        let run = Run {
            graph,
            goal,
            policy,
            cloud,
            may_adopt: &may_adopt,
            journal: &NoJournal,
            expectations: &expectations,
            clock: &clock,
        };
        // Boxed: the future is large, and the compiler cannot prove that it is Send.
        let report = crate::engine::reconcile(&run, &mut self.state.memory).boxed().await;
        self.state.failed = None;
        let mut events = super::runtime::events::step_events(&report.steps, goal, &mut self.state.reported_failures);
        events.extend(super::runtime::events::operation_events(
            &report.finished_operations,
            &mut self.state.reported_failures,
        ));
        for ended in &report.finished_operations {
            let took = ended.result.as_ref().ok().copied();
            self.ctx.metrics.reconcile().record_operation(ended.key.kind(), &ended.operation.kind, took);
        }
        self.ctx.events.publish(self.group, events);
        for violation in &report.violations {
            tracing::error!(%violation, "the checker refused a plan");
        }
        report
    }

    /// What may run: by its cluster's policies, the approvals, and known drift.
    fn policy(
        &self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        grant: &Grant,
        target: &Target,
    ) -> (ExecutionPolicy, String) {
        let spec = &self.group.spec;
        let wanted = execution_policy::wanted(spec, &grant.settings, &cluster.spec.tags);
        let asked = execution_policy::wanted(spec, &grant.settings, &(&wanted, &target.version));
        // An upgrade is approved as a whole, with its cluster.
        let key = key(self.group).to_string();
        let of_cluster = cluster.status.as_ref().and_then(|status| status.plan.as_ref());
        let approved: Vec<_> = of_cluster
            .map(|plan| plan.approved.iter().filter(|step| step.resource == key).cloned().collect())
            .unwrap_or_default();
        let input = execution_policy::Input {
            change: self.change_policy(cluster),
            drift: cluster.spec.drift_policy,
            wanted,
            target: asked.clone(),
            plan: previous.plan.as_ref(),
            approved_elsewhere: &approved,
            known: &previous.drift,
            synced: previous.synced.as_deref(),
        };
        (input.policy(), asked)
    }

    fn reported(
        &self,
        previous: &NodeGroupStatus,
        report: Report,
        target: &Target,
        policy: &ExecutionPolicy,
        asked: &str,
    ) -> Outcome {
        let failed = Next::change().of(&report);
        let Report { plan, next, violations, expected, facts, .. } = report;
        let generation = self.group.metadata.generation;
        let (subject, approvals) = (report::subject(self.group), self.approvals(previous));
        let proposal = Proposal { subject: &subject, plan: &plan, ahead: &[], facts: &facts };
        let agreed = execution_policy::accept_approval(policy, proposal, &approvals, previous.plan.as_ref());
        let mut next = next.map_or(Next::change(), Next::at);
        if agreed.is_new {
            // As soon as status records it.
            next = Next::at(self.now);
        }
        let next = next.or(failed);
        let object = format!("nodegroup/{} -n {}", self.group.name_any(), self.namespace);
        let waits = execution_policy::describe_pending_plan(&agreed, &plan.summary(), &object, &approvals);
        let (memory, ahead) = (&self.state.memory, &Ahead::default());
        let changed_outside = previous.synced.as_deref() == Some(asked);
        let shown = plan_status::Input {
            plan: &plan,
            expected: &expected,
            memory,
            generation,
            ahead,
            changed_outside,
            facts: &facts,
        };
        let input = status::Input {
            previous,
            generation,
            key: &key(self.group),
            plan: &plan,
            shown: plan_status::plan_status(shown, agreed.clone()),
            drift: execution_policy::drift(&plan, &previous.drift, self.now),
            synced: execution_policy::update_synced(&plan, asked, previous.synced.as_deref()),
            waits: &waits,
            approved: agreed.is_new,
            violations: &violations,
            memory: &self.state.memory,
            spec: &self.group.spec,
            target,
            nodes: &self.state.kind.nodes.last_observation(),
            now: self.now,
        };
        let (status, overall) = status::status(&input);
        let waits = Some(waiting::waits(&input, &overall));
        Outcome { status, overall, waits, next }
    }
}
