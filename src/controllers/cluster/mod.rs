//! Reconciles an EksCluster: dereference, validate, expand, reconcile in AWS, point the agent at Git, write status.
//!
//! This file wires; what decides is pure and beside it. I/O: the management cluster's API; AWS only through
//! [`crate::resources`] and [`crate::engine`].

pub mod agent;
mod available;
mod beforehand;
pub mod conditions;
mod deletion;
pub mod deletion_gate;
pub mod facts;
mod graph;
mod known_network;
pub mod load_balancers;
mod parts;
mod present;
mod recovery;
mod roll_up;
pub mod status;
pub mod upgrade;
pub mod validate;
pub mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::account::{self, Grant, Refusal, Request};
use super::approvals::{self, ApprovedBy};
use super::conditions::{self as conditions_of, ConditionValue, Overall};
use super::context::{Context, State};
use super::drift_events::ExternalChange;
use super::events::EventMessage;
use super::execution_policy::{self, Agreed, Approvals};
use super::recovery::{Done, Recovering, RecoveryRequest, kept_hand_over};
use super::report::{self, Next};
use super::waits::Wait;
use super::{apply, journal};
use crate::api::conditions::ConditionType;
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
use crate::resources::expand::Versions;
use crate::resources::{prune, removals};

/// What is remembered of a cluster beside its resources.
#[derive(Default)]
pub struct Remembered {
    /// Its agent.
    agent: agent::Agent,
    /// What was told of it.
    news: agent::AgentEvents,
    /// When our finalizer was put on it, until the store shows it.
    finalizer: Option<Instant>,
    /// Nothing was under way when it was last looked at.
    at_rest: bool,
    /// When to look once more for what a deletion left.
    left_at: Option<Timestamp>,
    /// What a sweep left alone, as far as events tell.
    left: BTreeSet<String>,
    /// Of upgrades.
    upgrade: upgrade::Remembered,
    /// What AWS said of the spec beforehand.
    checked: beforehand::Checked,
    /// The recovery that the memory of its resources is of.
    recovering: Option<RecoveryRequest>,
}

/// What a reconcile came to: for status.
struct Outcome {
    conditions: Vec<Condition>,
    overall: Overall,
    /// What was seen; `None`: nothing was looked at.
    seen: Option<Observation>,
    /// A deletion that begins, or waits; `None`: as in the last status.
    deletion: Option<DeletionStatus>,
    /// What is waited for; `None`: nothing was looked at, or what is waited for is what the conditions say.
    waits: Option<Vec<Wait>>,
    /// A recovery that is under way, or done; `None`: as in the last status.
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
    state: &'a mut State<EksClusterStatus, Remembered>,
    now: Timestamp,
}

/// Reconciles once, and says when to come again.
pub async fn reconcile(cluster: Arc<EksCluster>, ctx: Arc<Context>) -> Next {
    let (Some(uid), Some(namespace)) = (cluster.uid(), cluster.namespace()) else {
        return Next::change();
    };
    let before = cluster.status.clone().unwrap_or_default();
    let shared = ctx.cluster_states.of(&uid, || ctx.memory(journal::recorded(&before.resources)));
    let mut state = shared.lock().await;
    let state = &mut *state;
    let now = Timestamp::now();
    if state.asked_to_look(cluster.annotations().get(RECONCILE_AT_ANNOTATION)) {
        state.memory.forget_observations(now);
        state.failed = None;
        state.kind.agent.forget();
        state.kind.upgrade.forget();
        state.kind.checked.forget();
    }
    if let Some(ExternalChange { at, keys }) = ctx.news.take(&uid) {
        state.memory.mark_changed_externally(&keys, at);
    }
    if apply::has_finalizer(&*cluster) {
        state.kind.finalizer = None;
    }
    if let Some(at) = state.is_steady(&*cluster, now) {
        return Next::at(at);
    }
    let previous = state.written.clone().unwrap_or(before);
    state.edited(cluster.metadata.generation, previous.observed_generation, now);
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
    /// An end before AWS was looked at.
    fn unseen(&self, previous: &EksClusterStatus, overall: Overall, next: Next) -> Outcome {
        let generation = self.cluster.metadata.generation;
        let conditions = conditions::unseen(&previous.conditions, generation, &overall, self.now);
        Outcome { conditions, overall, seen: None, deletion: None, waits: None, recovery: None, next }
    }

    /// Refused: nothing goes on before a person changes something.
    fn refused(&self, previous: &EksClusterStatus, refusal: Refusal, next: Next) -> Outcome {
        let says = ConditionValue::false_(refusal.reason, refusal.message);
        self.unseen(previous, Overall::Stalled(says), next.failed(report::REFUSED))
    }

    /// AWS could not be asked.
    fn failed(&mut self, previous: &EksClusterStatus, failure: Failure) -> Outcome {
        let failed = self.state.failed_before(failure, self.now, report::seed(self.cluster));
        self.still_failing(previous, &failed)
    }

    fn still_failing(&self, previous: &EksClusterStatus, failed: &RetryState) -> Outcome {
        let overall = conditions_of::before_the_engine(failed, &previous.conditions, self.now);
        let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
        let mut outcome = self.unseen(previous, overall, next);
        let generation = self.cluster.metadata.generation;
        conditions_of::not_asked(&mut outcome.conditions, generation, self.now, failed);
        outcome
    }

    /// How the cluster's account is reached.
    fn grant(&self) -> Result<Grant, Refusal> {
        account::grant_in(self.ctx, &Request::of(self.cluster))
    }

    /// The handle of the resources' I/O.
    async fn cloud(&self, grant: &Grant, previous: &EksClusterStatus) -> Result<Cloud, Failure> {
        let session = self.ctx.accounts.session(&grant.identity, &self.cluster.spec.region).await?;
        if previous.arn.is_some() {
            account::check_same_account(previous.account_id.as_deref(), &session.account_id)?;
        }
        // Drift checks leave a part of every rate to work in flight.
        let aws = if self.state.kind.at_rest { session.background() } else { session };
        let client_token_seed = report::client_token_seed(self.cluster);
        let (owner, intervals) = (self.owner(), self.ctx.settings.intervals);
        let (adoption, existing) = (grant.adoption, super::recovery::existing(self.ctx));
        Ok(Cloud { aws, owner, intervals, client_token_seed, adoption, trusts_tags: false, existing })
    }

    /// Observes, plans and executes.
    async fn engine(&mut self, graph: &Graph<Cloud>, cloud: &Cloud, goal: Goal, policy: &ExecutionPolicy) -> Report {
        let (ctx, cluster, adoption) = (self.ctx, self.cluster, cloud.adoption);
        let may_adopt = || account::may_still_adopt(ctx, &Request::of(cluster), adoption);
        self.engine_while(&may_adopt, graph, cloud, goal, policy).await
    }

    /// The same, writing to what is not ours yet only while `may_adopt`.
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
        prune::notice(&mut self.state.memory, graph);
        if goal == Goal::Present {
            removals::notice(&mut self.state.memory, graph, Timestamp::now());
        }
        // Boxed: large, and the compiler cannot see through it that it may move between threads.
        let report = crate::engine::reconcile(&run, &mut self.state.memory).boxed().await;
        if goal == Goal::Present {
            removals::forget_gone(&mut self.state.memory, graph, ctx.settings.intervals.drift, Timestamp::now());
        }
        if let Err(failure) = crate::engine::Journal::record(&journal, &self.state.memory).await {
            tracing::warn!(%failure, "the inventory was not kept; it is tried again");
        }
        self.state.inventory = Some(journal.into_written());
        self.state.failed = None;
        let mut told = super::events::of_steps(&report.steps, goal, &mut self.state.told);
        told.extend(super::events::of_operations(&report.finished_operations, &mut self.state.told));
        let left = report.skipped.iter().filter(|left| self.state.kind.left.insert((*left).clone()));
        told.extend(left.map(|left| EventMessage::normal("LeftAlone", format!("{left}: not provably this cluster's"))));
        ctx.events.publish(self.cluster, told);
        for ended in &report.finished_operations {
            let took = ended.result.as_ref().ok().copied();
            ctx.metrics.reconcile().record_operation(ended.key.kind(), &ended.operation.kind, took);
        }
        for violation in &report.violations {
            tracing::error!(%violation, "a plan was refused by the checker");
        }
        report
    }

    /// Writes status, if it says anything new.
    async fn write(&mut self, outcome: Outcome, previous: EksClusterStatus) -> Next {
        let Outcome { conditions, overall, seen, deletion, waits, recovery, next } = outcome;
        let in_force = self.change_policy();
        let generation = self.cluster.metadata.generation;
        let groups = self.ctx.node_groups_of(&self.namespace, &self.cluster.name_any());
        let looked = seen.is_some();
        let mut status = match seen {
            None => status::unseen(&previous, generation, conditions),
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
                None => {}
            }
        }
        status.hand_over = kept_hand_over(self.cluster, status.hand_over.as_ref());
        if facts::Facts(&self.state.memory).is_foreign() {
            status::forget_cluster(&mut status);
        }
        agent::steps::keep_what_was_left(&mut status, &previous);
        // From the first status on: one without it is of an older Keelson.
        status.change_policy = Some(in_force);
        if looked {
            let state = facts::Facts(&self.state.memory).cluster().map(|seen| seen.state.as_str());
            let says = available::available(self.cluster, &status, state, &groups, self.now);
            conditions::set(&mut status.conditions, ConditionType::Available, generation, &says, self.now);
        }
        let before = (&previous, &mut status);
        let (overall, next) = report::judge(self.ctx, before, generation, waits, (overall, next), self.now);
        status::settle_ticks(&mut status, &previous);
        let previous = EksClusterStatus { resources: Vec::new(), ..previous };
        report::publish_transition(self.ctx, self.cluster, &previous.conditions, &overall);
        report::write(self.ctx, self.cluster, self.state, previous, status, &overall, next).await
    }

    /// What may be done: by the spec's policies, by what was approved, and by what is known of drift.
    fn policy(&self, previous: &EksClusterStatus, grant: &Grant, versions: &Versions) -> (ExecutionPolicy, String) {
        let spec = &self.cluster.spec;
        let wanted = execution_policy::wanted(spec, &grant.settings, &self.node_role(grant).policies);
        let asked =
            execution_policy::wanted(spec, &grant.settings, &(&wanted, &versions.control_plane, &versions.addons));
        let edited = self.cluster.metadata.generation != previous.observed_generation;
        let asked =
            execution_policy::asked(asked, versions.control_plane.is_some(), edited, previous.synced.as_deref());
        let input = execution_policy::Input {
            change: self.change_policy(),
            drift: spec.drift_policy,
            wanted,
            asked: asked.clone(),
            plan: previous.plan.as_ref(),
            approved_elsewhere: &[],
            known: &previous.drift,
            synced: previous.synced.as_deref(),
        };
        (input.policy(), asked)
    }

    /// The approvals that were given of its plans.
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

    /// An event of who approved what.
    async fn publish_approval(&self, hash: &str, summary: &str, approved_by: ApprovedBy<'_>) {
        let by = approvals::author(self.ctx, self.cluster, approved_by).await;
        let note = format!("{hash} ({summary}) is approved by {by}");
        self.ctx.events.publish(self.cluster, vec![EventMessage::normal("Approved", note)]);
    }

    /// What its plans are of.
    fn subject(&self) -> Subject {
        report::subject(self.cluster)
    }

    /// The policy that is in force.
    fn change_policy(&self) -> ChangePolicy {
        approvals::policy::in_force(self.cluster, &self.last_status(), self.ctx.settings.require_approval_objects)
    }

    /// As `keelson approve` takes it.
    fn as_argument(&self) -> String {
        format!("{} -n {}", self.cluster.name_any(), self.namespace)
    }

    /// What a person reads while a plan waits.
    fn waits(&self, agreed: &Agreed, summary: &str) -> ConditionValue {
        let message = execution_policy::waits(agreed, summary, &self.as_argument(), &self.approvals());
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
