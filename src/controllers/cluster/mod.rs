//! Reconciles an EksCluster: dereference, validate, expand, reconcile in AWS, point the agent at Git, write status.
//!
//! Wiring only: decisions are pure, in the files beside it. I/O: the management cluster's API; AWS through the engine.

use crate::controllers::cluster::status::available;
use crate::controllers::cluster::status::facts;
pub mod agent;
mod apply_spec;
mod aws_validation;
pub mod deletion;
mod graph;
mod recovery;
pub mod status;
pub mod upgrade;
pub mod validate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::account::{self, Grant, Refusal, Request};
use super::approvals::execution_policy::{self, Approvals, PlanApprovalState};
use super::approvals::{self, ApprovedBy};
use super::context::{Context, State};
use super::drift::events::ExternalChange;
use super::hand_over::retained_hand_over;
use super::recovery::{Done, Recovering, RecoveryRequest};
use super::runtime::apply;
use super::runtime::events::EventMessage;
use super::status::conditions as conditions_of;
use super::status::conditions::{ConditionValue, Overall};
use super::status::journal;
use super::status::report::{self, Next};
use super::status::waits::Wait;
use crate::api::policy::ChangePolicy;
use crate::api::status::{
    DeletionStatus, DriftStatus, EksClusterStatus, GitOpsStatus, PlanStatus, SupportStatus, UpgradeStatus,
};
use crate::api::{APPROVE_ANNOTATION, EksCluster, RECONCILE_AT_ANNOTATION, Reason};
use crate::engine::execute::Run;
use crate::engine::execution_policy::Subject;
use crate::engine::failure::RetryState;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, Report};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::{prune, removals};
use crate::resources::graph::expand::Versions;

/// In-memory state of a cluster besides its resources.
#[derive(Default)]
pub struct KindState {
    /// Its agent.
    agent: agent::Agent,
    /// The agent's events.
    agent_events: agent::AgentEvents,
    /// When our finalizer was added, until the store shows it.
    finalizer: Option<Instant>,
    /// Nothing was in progress at the last observation.
    steady: bool,
    /// When to survey again for what a deletion left.
    survey_at: Option<Timestamp>,
    /// What a sweep left alone and events have reported.
    reported_leftovers: BTreeSet<String>,
    /// Its upgrades.
    upgrade: upgrade::UpgradeState,
    /// Results of the checks of the spec against AWS.
    checked: aws_validation::SpecCheck,
    /// The recovery that the memory of its resources belongs to.
    recovering: Option<RecoveryRequest>,
}

/// Outcome of a reconcile, for status.
struct Outcome {
    conditions: Vec<Condition>,
    overall: Overall,
    /// What was observed; `None`: nothing was observed.
    observed: Option<Observation>,
    /// A deletion that starts, or waits; `None`: as in the last status.
    deletion: Option<DeletionStatus>,
    /// What is waited for; `None`: nothing was observed, or the conditions say what is waited for.
    waits: Option<Vec<Wait>>,
    /// A recovery that is in progress, or done; `None`: as in the last status.
    recovery: Option<Recovering>,
    next: Next,
}

struct Observation {
    account_id: String,
    plan: PlanStatus,
    drift: Vec<DriftStatus>,
    synced: Option<String>,
    tag_keys: Vec<String>,
    gitops: Option<GitOpsStatus>,
    upgrade: Option<UpgradeStatus>,
    support: Option<SupportStatus>,
}

/// One reconcile of one cluster.
struct Reconcile<'a> {
    ctx: &'a Arc<Context>,
    cluster: &'a EksCluster,
    namespace: String,
    state: &'a mut State<EksClusterStatus, KindState>,
    now: Timestamp,
}

/// Reconciles once, and returns when to requeue.
pub async fn reconcile(cluster: Arc<EksCluster>, ctx: Arc<Context>) -> Next {
    let (Some(uid), Some(namespace)) = (cluster.uid(), cluster.namespace()) else {
        return Next::change();
    };
    let before = cluster.status.clone().unwrap_or_default();
    let shared = ctx.cluster_states.of(&uid, || ctx.memory(journal::parse_inventory(&before.resources)));
    let mut state = shared.lock().await;
    let state = &mut *state;
    let now = Timestamp::now();
    if state.take_reconcile_request(cluster.annotations().get(RECONCILE_AT_ANNOTATION)) {
        state.memory.forget_observations(now);
        state.failed = None;
        state.kind.agent.forget();
        state.kind.upgrade.forget();
        state.kind.checked.forget();
    }
    if let Some(ExternalChange { at, keys }) = ctx.pending_changes.take(&uid) {
        state.memory.mark_changed_externally(&keys, at);
    }
    if apply::has_finalizer(&*cluster) {
        state.kind.finalizer = None;
    }
    if let Some(at) = state.debounce_edit(&*cluster, now) {
        return Next::at(at);
    }
    let previous = state.written.clone().unwrap_or(before);
    state.retry_after_edit(cluster.metadata.generation, previous.observed_generation, now);
    let mut run = Reconcile { ctx: &ctx, cluster: &cluster, namespace, state, now };
    let outcome = if cluster.metadata.deletion_timestamp.is_some() {
        run.delete(&previous).await
    } else {
        run.present(&previous).await
    };
    match outcome {
        Some(outcome) => run.write(outcome, previous).await,
        None => Next::change(),
    }
}

impl Reconcile<'_> {
    /// The outcome of a reconcile that ended before AWS was observed.
    fn unobserved(&self, previous: &EksClusterStatus, overall: Overall, next: Next) -> Outcome {
        let generation = self.cluster.metadata.generation;
        let conditions = status::conditions::unobserved(&previous.conditions, generation, &overall, self.now);
        Outcome { conditions, overall, observed: None, deletion: None, waits: None, recovery: None, next }
    }

    /// Refused: nothing continues until the user changes something.
    fn refused(&self, previous: &EksClusterStatus, refusal: Refusal, next: Next) -> Outcome {
        let condition = ConditionValue::false_(refusal.reason, refusal.message);
        self.unobserved(previous, Overall::Stalled(condition), next.failed(report::REFUSED))
    }

    /// AWS could not be read.
    fn failed(&mut self, previous: &EksClusterStatus, failure: Failure) -> Outcome {
        let failed = self.state.record_failure(failure, self.now, report::seed(self.cluster));
        self.still_failing(previous, &failed)
    }

    fn still_failing(&self, previous: &EksClusterStatus, failed: &RetryState) -> Outcome {
        let overall = conditions_of::overall_without_plan(failed, &previous.conditions, self.now);
        let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
        let mut outcome = self.unobserved(previous, overall, next);
        let generation = self.cluster.metadata.generation;
        conditions_of::set_in_sync_unknown(&mut outcome.conditions, generation, self.now, failed);
        outcome
    }

    /// The access to the cluster's account.
    fn grant(&self) -> Result<Grant, Refusal> {
        account::grant_in(self.ctx, &Request::of(self.cluster))
    }

    /// The handle of the resources' I/O.
    async fn cloud(&self, grant: &Grant, previous: &EksClusterStatus) -> Result<Cloud, Failure> {
        let session = self.ctx.accounts.session(&grant.identity, &self.cluster.spec.region).await?;
        if previous.arn.is_some() {
            account::check_same_account(previous.account_id.as_deref(), &session.account_id)?;
        }
        // Drift checks leave a part of every rate limit to operations in progress.
        let aws = if self.state.kind.steady { session.background() } else { session };
        let client_token_seed = report::client_token_seed(self.cluster);
        let (owner, intervals) = (self.owner(), self.ctx.settings.intervals);
        let (adoption, existing) = (grant.adoption, super::recovery::existing(self.ctx));
        Ok(Cloud { aws, owner, intervals, client_token_seed, adoption, trusts_tags: false, existing })
    }

    /// Observes, plans and executes.
    async fn engine(&mut self, graph: &Graph<Cloud>, cloud: &Cloud, goal: Goal, policy: &ExecutionPolicy) -> Report {
        let (ctx, cluster, adoption) = (self.ctx, self.cluster, cloud.adoption);
        let may_adopt = || account::check_still_adoptable(ctx, &Request::of(cluster), adoption);
        self.engine_while(&may_adopt, graph, cloud, goal, policy).await
    }

    /// The same, writing to resources that are not ours yet only while `may_adopt`.
    async fn engine_while(
        &mut self,
        may_adopt: &(dyn Fn() -> Result<(), Failure> + Sync),
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let ctx = self.ctx;
        let shown = self.cluster.status.as_ref().map(|status| status.resources.clone()).unwrap_or_default();
        let kept = self.state.inventory.take().unwrap_or(shown);
        let journal = journal::StatusJournal::new(&ctx.client, self.cluster, &*ctx.gate, kept);
        let expectations = ctx.expectations(&cloud.aws.account_id, &cloud.aws.region);
        let clock = Timestamp::now;
        let run = Run {
            graph,
            goal,
            policy,
            cloud,
            may_adopt,
            journal: &journal,
            expectations: &expectations,
            clock: &clock,
        };
        // What the graph of a recovery lacks is not removed from the spec.
        if policy.recovers.is_none() {
            prune::schedule_pruning(&mut self.state.memory, graph);
        }
        let removes = goal == Goal::Present && policy.recovers.is_none();
        if removes {
            removals::invalidate_dropped(&mut self.state.memory, graph, Timestamp::now());
        }
        // Boxed: the future is large, and the compiler cannot prove that it is Send.
        let report = crate::engine::reconcile(&run, &mut self.state.memory).boxed().await;
        if removes {
            removals::forget_deleted(&mut self.state.memory, graph, ctx.settings.intervals.drift, Timestamp::now());
        }
        if let Err(failure) = crate::engine::Journal::record(&journal, &self.state.memory).await {
            tracing::warn!(%failure, "the inventory was not written; retrying");
        }
        self.state.inventory = Some(journal.into_written());
        self.state.failed = None;
        let mut events = super::runtime::events::step_events(&report.steps, goal, &mut self.state.reported_failures);
        events.extend(super::runtime::events::operation_events(
            &report.finished_operations,
            &mut self.state.reported_failures,
        ));
        let left = report.skipped.iter().filter(|left| self.state.kind.reported_leftovers.insert((*left).clone()));
        let note = |left: &String| format!("{left}: not deleted, as nothing proves that this cluster owns it");
        events.extend(left.map(|left| EventMessage::normal("LeftAlone", note(left))));
        ctx.events.publish(self.cluster, events);
        for ended in &report.finished_operations {
            let took = ended.result.as_ref().ok().copied();
            ctx.metrics.reconcile().record_operation(ended.key.kind(), &ended.operation.kind, took);
        }
        for violation in &report.violations {
            tracing::error!(%violation, "the checker refused a plan");
        }
        report
    }

    /// Writes status, if it changed.
    async fn write(&mut self, outcome: Outcome, previous: EksClusterStatus) -> Next {
        let Outcome { conditions, overall, observed, deletion, waits, recovery, next } = outcome;
        let in_force = self.change_policy();
        let generation = self.cluster.metadata.generation;
        let groups = self.ctx.node_groups_of(&self.namespace, &self.cluster.name_any());
        let is_observed = observed.is_some();
        let mut status = match observed {
            None => status::unobserved(&previous, generation, conditions),
            Some(Observation { account_id, plan, drift, synced, tag_keys, gitops, upgrade, support }) => {
                status::status(status::Input {
                    previous: &previous,
                    generation,
                    conditions,
                    account_id: Some(&account_id),
                    memory: &self.state.memory,
                    plan: Some(plan),
                    drift,
                    synced,
                    tag_keys,
                    node_groups: &groups,
                    gitops,
                    upgrade: upgrade.or_else(|| previous.upgrade.clone()),
                    support: support.or_else(|| previous.support.clone()),
                })
            }
        };
        if deletion.is_some() {
            status.deletion = deletion;
        }
        if let Some(Recovering { plan, done }) = recovery {
            status.plan = Some(plan);
            match done {
                Some(Done::Recovered(done)) => status.recovery = Some(done),
                Some(Done::HandedOver(done)) => status.hand_over = Some(done),
                Some(Done::TakenBack) => status.hand_over = None,
                None => {}
            }
        }
        status.hand_over = retained_hand_over(self.cluster, status.hand_over.as_ref());
        if facts::Facts(&self.state.memory).is_foreign() {
            status::forget_cluster(&mut status);
        }
        agent::steps::keep_legacy_agent(&mut status, &previous);
        // Set from the first status on: a status without it is an older Keelson's.
        status.change_policy = Some(in_force);
        let state = facts::Facts(&self.state.memory).cluster().map(|observed| observed.state.as_str());
        available::update(&mut status, self.cluster, state, is_observed, &groups, self.now);
        let before = (&previous, &mut status);
        let (overall, next) = report::evaluate_waits(self.ctx, before, generation, waits, (overall, next), self.now);
        status::settle_ticks(&mut status, &previous);
        let previous = EksClusterStatus { resources: Vec::new(), ..previous };
        report::publish_transition(self.ctx, self.cluster, &previous.conditions, &overall);
        report::write_status(self.ctx, self.cluster, self.state, previous, status, &overall, next).await
    }

    /// What may run: by the spec's policies, the approvals, and known drift.
    fn policy(&self, previous: &EksClusterStatus, grant: &Grant, versions: &Versions) -> (ExecutionPolicy, String) {
        let spec = &self.cluster.spec;
        let wanted = execution_policy::wanted(spec, &grant.settings, &self.node_role(grant).policies);
        let asked =
            execution_policy::wanted(spec, &grant.settings, &(&wanted, &versions.control_plane, &versions.addons));
        let edited = self.cluster.metadata.generation != previous.observed_generation;
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
        };
        (input.policy(), asked)
    }

    /// The approvals of its plans.
    fn approvals(&self) -> Approvals {
        let annotation = self.cluster.annotations().get(APPROVE_ANNOTATION).cloned();
        let status = self.last_status();
        let taken = status.plan.as_ref().and_then(|plan| plan.approval_uid.as_deref());
        let objects = self.ctx.approvals.of(self.cluster, taken, self.now);
        Approvals { annotation, objects, only_objects: self.ctx.settings.require_approval_objects }
    }

    /// The status written last.
    fn last_status(&self) -> EksClusterStatus {
        self.state.written.clone().or_else(|| self.cluster.status.clone()).unwrap_or_default()
    }

    /// Publishes an event about who approved what.
    async fn publish_approval(&self, hash: &str, summary: &str, approved_by: ApprovedBy<'_>) {
        let by = approvals::describe_author(self.ctx, self.cluster, approved_by).await;
        let note = format!("{hash} ({summary}) is approved by {by}");
        self.ctx.events.publish(self.cluster, vec![EventMessage::normal("Approved", note)]);
    }

    /// The subject of its plans.
    fn subject(&self) -> Subject {
        report::subject(self.cluster)
    }

    /// The effective change policy.
    fn change_policy(&self) -> ChangePolicy {
        approvals::policy::in_force(self.cluster, &self.last_status(), self.ctx.settings.require_approval_objects)
    }

    /// The argument for `keelson approve`.
    fn as_argument(&self) -> String {
        format!("{} -n {}", self.cluster.name_any(), self.namespace)
    }

    /// The condition while a plan waits.
    fn waits(&self, agreed: &PlanApprovalState, summary: &str) -> ConditionValue {
        let message = execution_policy::describe_pending_plan(agreed, summary, &self.as_argument(), &self.approvals());
        ConditionValue::false_(Reason::WaitingForApproval, message)
    }

    /// Whether our finalizer is on it, as far as is known.
    fn has_finalizer(&self) -> bool {
        let lately = self.state.kind.finalizer.is_some_and(|at| at.elapsed().as_secs() < 30);
        apply::has_finalizer(self.cluster) || lately
    }

    fn reconciling(&self, reason: Reason, message: impl Into<String>) -> Overall {
        Overall::Reconciling(ConditionValue::false_(reason, message))
    }
}
