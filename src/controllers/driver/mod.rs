//! The reconcile of every kind whose objects are resources in AWS, from top to bottom: what is the same for all of
//! them. What is a kind's own is a step of [`Provisioned`]. I/O: the management cluster's API; AWS through the engine.
//!
//! [`reconcile`]: debounce, then within the trace of the change: delete or [`apply_spec`] -> status.
//! [`apply_spec`]: dereference -> validate -> build -> observe, plan, execute -> report.

mod as_controller;
mod change_spans;
mod change_wait;
mod engine;
mod finalizer;
mod followed_change;
mod holds;
mod outcome;
mod reconcile_trace;
mod restore_status;
mod results;
mod take_over;
mod update_change;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use tracing::Instrument as _;

pub use self::followed_change::InProgress;
use self::followed_change::{Before, Followed};
pub use self::holds::Holds;
pub use self::outcome::Stop;
use self::reconcile_trace::ReconcileTrace;
pub use self::results::{Executed, StatusUpdate, Valid};
use self::update_change::ReconcileResult;
use super::account::owned;
use super::context::Context;
use super::drift::pending_changes::ExternalChange;
use super::reconcile_error::{BuildError, ValidateError};
use super::reconcile_trigger::{self, LastReconcile};
use super::recovery_requests::{Recoverable, Recovering};
use super::runtime::apply;
use super::runtime::reconcile_queue::{Queue, Trigger};
use super::states::{State, States};
use super::status::conditions::Overall;
use super::status::finish_reconcile::{self, Next, WithChange, WithConditions, WithHolds, WithReconcileRequest};
use crate::api::hold::HoldStatus;
use crate::api::status_cluster::PlanStatus;
use crate::api::{EksCluster, RECONCILE_AT_ANNOTATION};
use crate::controllers::approvals::execution_policy::Approvals;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, InventoryRecord, Key, Report};
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::graph::proof::Records;
use crate::resources::recovery::takeover::Inventory;

/// One reconcile of one object.
pub struct Reconcile<'a, C: Provisioned> {
    pub controller: &'a C,
    pub ctx: &'a Arc<Context>,
    pub object: &'a C::Object,
    pub namespace: String,
    pub state: &'a mut State<C::Status, C::KindState>,
    pub now: Timestamp,
    pub holds: Holds,
    pub trace: ReconcileTrace,
}

/// The result of a step: the reconcile goes on with `T`, or stops.
pub type Step<C, T> = Result<T, Stop<<C as Provisioned>::Outcome>>;

/// The controller of a kind whose objects are resources in AWS: the steps that are its own, in the order in which
/// [`reconcile`] and [`apply_spec`] take them.
pub trait Provisioned: Sized + Send + Sync + 'static {
    /// The kind.
    type Object: Recoverable;
    /// Its status.
    type Status: WithChange
        + WithConditions
        + WithHolds
        + WithReconcileRequest
        + Serialize
        + Clone
        + Default
        + PartialEq
        + Send
        + Sync;
    /// What is remembered of an object besides its resources.
    type KindState: Default + Send + Sync;
    /// The result of one reconcile.
    type Outcome: Send;
    /// What its spec refers to, as the stores show it.
    type References: Send;
    /// What [`Valid`] has of its own.
    type Valid: Send + Sync;
    /// The desired state.
    type Desired: Send;
    /// What [`Executed`] has of its own.
    type Executed: Send;

    /// What all controllers share.
    fn ctx(&self) -> &Arc<Context>;
    /// The queue of its objects.
    fn queue(&self) -> &Queue<Self::Object>;
    /// The in-memory state of its objects.
    fn states(&self) -> &States<Self::Status, Self::KindState>;
    /// The status of an object.
    fn status(object: &Self::Object) -> Option<&Self::Status>;
    /// The generation that the status belongs to.
    fn observed_generation(status: &Self::Status) -> Option<i64>;
    /// The plan in a status.
    fn plan(status: &Self::Status) -> Option<&PlanStatus>;
    /// The resources that status records.
    fn recorded(object: &Self::Object) -> Vec<(Key, InventoryRecord)>;
    /// Writes again the records that status lost and [`Provisioned::written_part`] lacks. Returns whether there were any.
    fn restore_records(run: &mut Reconcile<'_, Self>) -> impl Future<Output = bool> + Send;
    /// Discards what was observed, as a user requests.
    fn forget_observations(state: &mut Self::KindState);
    /// The change of another object that this one follows, if that is in progress.
    fn change_around(_ctx: &Context, _object: &Self::Object) -> Option<InProgress> {
        None
    }
    /// The holds of the EksCluster that it belongs to, with that one's name.
    fn holds_around(_ctx: &Context, _object: &Self::Object) -> Option<(String, Vec<HoldStatus>)> {
        None
    }
    /// Called when the state of an object is reset after a panic.
    fn state_is_reset(&self, _uid: &str) {}
    /// Deletes what it owns in the management cluster and no owner reference deletes, before its finalizer is removed.
    fn release(run: &mut Reconcile<'_, Self>, previous: &Self::Status) -> impl Future<Output = Step<Self, ()>> + Send;
    /// Called when the finalizer is removed: the object is gone.
    fn is_gone(_run: &Reconcile<'_, Self>) {}
    /// The owner of its AWS resources.
    fn owner(run: &Reconcile<'_, Self>) -> Owner;
    /// The argument of `keelson approve` that names it.
    fn argument(run: &Reconcile<'_, Self>) -> String;
    /// Maximum age of a shared read about resources that it names.
    fn max_read_age(run: &Reconcile<'_, Self>) -> Duration;
    /// The EksCluster that decides its account.
    fn cluster<'r>(run: &'r Reconcile<'_, Self>, own: &'r Self::Valid) -> &'r EksCluster;
    /// The account in which it was created; `None`: nothing is created yet.
    fn made_in<'r>(previous: &'r Self::Status, cluster: &'r EksCluster) -> Option<&'r str>;
    /// Whether Keelson may only look.
    fn observes(run: &Reconcile<'_, Self>, own: &Self::Valid) -> bool;
    /// The approvals of its plans.
    fn approvals(run: &Reconcile<'_, Self>, previous: &Self::Status) -> Approvals;
    /// Publishes an event about who approved `plan`, if that is new.
    fn publish_approval(
        run: &Reconcile<'_, Self>,
        previous: &Self::Status,
        plan: &PlanStatus,
    ) -> impl Future<Output = ()> + Send;

    /// The outcome of a reconcile that ended before AWS was observed.
    fn unobserved(run: &Reconcile<'_, Self>, previous: &Self::Status, overall: Overall, next: Next) -> Self::Outcome;
    /// The conditions of an outcome.
    fn conditions(outcome: &mut Self::Outcome) -> &mut Vec<Condition>;
    /// The plan and the record of a takeover, for status.
    fn with_recovery(outcome: Self::Outcome, recovery: Recovering) -> Self::Outcome;
    /// The status of an outcome.
    fn status_update(
        run: &mut Reconcile<'_, Self>,
        previous: &Self::Status,
        outcome: Self::Outcome,
    ) -> StatusUpdate<Self::Status>;
    /// The part of the last status that [`Provisioned::status_update`] writes.
    fn written_part(previous: Self::Status) -> Self::Status {
        previous
    }

    /// Deletes it. `None`: there is nothing left to report.
    fn delete(
        run: &mut Reconcile<'_, Self>,
        previous: &Self::Status,
    ) -> impl Future<Output = Option<Self::Outcome>> + Send;

    /// Looks up what the spec refers to. Decides nothing.
    fn dereference(run: &Reconcile<'_, Self>) -> Self::References;
    /// Judges the spec and what it refers to, before any call to AWS.
    fn validate(
        run: &mut Reconcile<'_, Self>,
        previous: &Self::Status,
        references: Self::References,
    ) -> impl Future<Output = Step<Self, Valid<Self::Valid>>> + Send;
    /// Why the reconcile stops when there is no session in its account.
    fn unconnected(
        _run: &Reconcile<'_, Self>,
        _previous: &Self::Status,
        _own: &Self::Valid,
        failure: Failure,
    ) -> Stop<Self::Outcome> {
        ValidateError::Session(failure).into()
    }
    /// Checks that no other object holds its name in this account.
    fn check_name(
        _run: &Reconcile<'_, Self>,
        _valid: &Valid<Self::Valid>,
        _cloud: &Cloud,
    ) -> Result<(), ValidateError> {
        Ok(())
    }
    /// Checks what the spec names against AWS.
    fn validate_against_aws(
        run: &mut Reconcile<'_, Self>,
        previous: &Self::Status,
        valid: &Valid<Self::Valid>,
        cloud: &Cloud,
    ) -> impl Future<Output = Result<(), ValidateError>> + Send;
    /// Ends the reconcile while what it depends on is not there.
    fn await_dependencies(_run: &Reconcile<'_, Self>, _previous: &Self::Status, _own: &Self::Valid) -> Step<Self, ()> {
        Ok(())
    }
    /// Ends the reconcile while something else must happen before anything is written.
    fn before_write(
        _run: &mut Reconcile<'_, Self>,
        _previous: &Self::Status,
        _cloud: &Cloud,
    ) -> impl Future<Output = Step<Self, ()>> + Send {
        std::future::ready(Ok(()))
    }
    /// Expands the spec to what must exist, and records in status which tags are about to be written: `previous` is
    /// that status from then on.
    fn build(
        run: &mut Reconcile<'_, Self>,
        previous: &mut Self::Status,
        valid: &Valid<Self::Valid>,
        cloud: &Cloud,
    ) -> impl Future<Output = Result<Self::Desired, BuildError>> + Send;
    /// Runs the engine on what must exist: it observes, plans, checks and executes, again as each step ends.
    fn execute(
        run: &mut Reconcile<'_, Self>,
        previous: &Self::Status,
        valid: &Valid<Self::Valid>,
        cloud: &Cloud,
        wanted: Self::Desired,
    ) -> impl Future<Output = Result<Executed<Self::Executed>, BuildError>> + Send;
    /// The outcome of what the engine did.
    fn report(
        run: &mut Reconcile<'_, Self>,
        previous: &Self::Status,
        valid: Valid<Self::Valid>,
        cloud: &Cloud,
        executed: Executed<Self::Executed>,
    ) -> impl Future<Output = Self::Outcome> + Send;

    /// The resources that a takeover may find; and the object's records, if its cluster is on record.
    fn find_tagged(
        run: &Reconcile<'_, Self>,
        valid: &Valid<Self::Valid>,
        cloud: &Cloud,
    ) -> impl Future<Output = Result<(Inventory, Option<Records>), Failure>> + Send;
    /// Which steps of a takeover may run.
    fn recovery_policy(
        run: &Reconcile<'_, Self>,
        previous: &Self::Status,
        valid: &Valid<Self::Valid>,
    ) -> ExecutionPolicy;
    /// Runs the engine on `graph`, and publishes what it did. `may_adopt`: checked before each write to a resource that
    /// is not its own yet.
    fn run_engine(
        run: &mut Reconcile<'_, Self>,
        may_adopt: &(dyn Fn() -> Result<(), Failure> + Sync),
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> impl Future<Output = Report> + Send;
}

/// Reconciles an object once, and returns when to requeue. `requested`: why; `None`: a timer requeued it.
pub async fn reconcile<C: Provisioned>(controller: &C, object: &C::Object, requested: Option<Trigger>) -> Next {
    let (Some(uid), Some(namespace)) = (object.uid(), object.namespace()) else {
        return Next::change();
    };
    let ctx = controller.ctx();
    let before = C::status(object).cloned().unwrap_or_default();
    let shared = controller.states().of(&uid, || ctx.memory(C::recorded(object)));
    let mut state = shared.lock().await;
    let state = &mut *state;
    let now = Timestamp::now();
    if state.take_reconcile_request(object.annotations().get(RECONCILE_AT_ANNOTATION)) {
        state.memory.forget_observations(now);
        state.failed = None;
        C::forget_observations(&mut state.kind);
    }
    if let Some(ExternalChange { at, keys }) = ctx.pending_changes.take(&uid) {
        state.memory.mark_changed_externally(&keys, at);
    }
    if apply::has_finalizer(object) {
        state.finalizer_added = None;
    }
    if let Some(at) = state.debounce_edit(object, now) {
        return Next::at(at);
    }
    let previous = state.written.clone().unwrap_or(before);
    state.retry_after_edit(object.meta().generation, C::observed_generation(&previous), now);

    let followed = followed_change::follow(object.meta(), &Before::of::<C>(&previous), now);
    let around = || C::change_around(ctx, object);
    let new = followed.change.as_ref().filter(|_| followed.is_new).map(|change| change.change_type);
    let trigger = reconcile_trigger::trigger(requested, new, object.meta(), state.last_reconcile.as_ref());
    let trace = ReconcileTrace::start(&ctx.traces, object, trigger, followed.change.as_ref(), around);
    let span = trace.span();
    let run = Reconcile { controller, ctx, object, namespace, state, now, holds: Holds::default(), trace };
    continue_change(run, previous, followed).instrument(span).await
}

/// Reconciles an object once, as a part of a change.
async fn continue_change<C: Provisioned>(mut run: Reconcile<'_, C>, previous: C::Status, followed: Followed) -> Next {
    let (ctx, object, now) = (run.ctx, run.object, run.now);
    run.restore_status().await;
    run.read_holds(&previous).await;
    run.start_change(&followed, previous.conditions());
    let outcome = if object.meta().deletion_timestamp.is_some() {
        C::delete(&mut run, &previous).await
    } else {
        let mut recorded = previous.clone();
        let applied = apply_spec(&mut run, &mut recorded).await;
        Some(applied.unwrap_or_else(|stop| run.stopped(&recorded, stop)))
    };

    let Some(outcome) = outcome else {
        run.end_deletion(followed.change.as_ref(), previous.conditions());
        return Next::change();
    };
    let StatusUpdate { mut status, overall, waits, is_held, next } = C::status_update(&mut run, &previous, outcome);
    status.record_reconcile_request(object.annotations().get(RECONCILE_AT_ANNOTATION));
    status.set_holds(run.holds.own.clone());
    let overall = run.with_holds(overall);
    let (generation, before) = (object.meta().generation, (&previous, &mut status));
    let waited_for = waits.clone().unwrap_or_default();
    let (overall, next) = finish_reconcile::evaluate_waits(ctx, before, generation, waits, (overall, next), now);
    let (before, waits) = (previous.conditions(), &waited_for);
    let result = ReconcileResult { before, now: status.conditions(), overall: &overall, waits, is_held, next };
    let change = run.update_change(followed, &result);
    status.set_change(change);
    run.state.last_reconcile = Some(LastReconcile::new(object.meta(), &overall, is_held, next));
    finish_reconcile::publish_transition(ctx, object, previous.conditions(), &overall);
    finish_reconcile::write_status(ctx, object, run.state, C::written_part(previous), status, &overall, next).await
}

/// Reconciles an object that is not being deleted to its spec. Each step that can refuse comes before the first write.
async fn apply_spec<C: Provisioned>(run: &mut Reconcile<'_, C>, previous: &mut C::Status) -> Step<C, C::Outcome> {
    let references = C::dereference(run);

    let valid = C::validate(run, previous, references).await?;
    run.await_retry(previous)?;
    let cloud = run.connect(previous, &valid).await?;
    C::check_name(run, &valid, &cloud)?;
    check_named(run, &valid, &cloud).await?;
    if valid.request.is_none() {
        run.end_recovery();
        C::validate_against_aws(run, previous, &valid, &cloud).await?;
    }
    C::await_dependencies(run, previous, &valid.own)?;
    if let Some(request) = &valid.request {
        return run.recover(previous, &valid, &cloud, request).await;
    }

    C::before_write(run, previous, &cloud).await?;
    let wanted = C::build(run, previous, &valid, &cloud).await?;
    if !C::observes(run, &valid.own) {
        run.add_finalizer().await?;
    }

    let executed = C::execute(run, previous, &valid, &cloud, wanted).await?;
    run.state.steady = executed.report.plan.is_settled();

    Ok(C::report(run, previous, valid, &cloud, executed).await)
}

/// Checks that the object may refer to the AWS resources that its spec names.
async fn check_named<C: Provisioned>(
    run: &Reconcile<'_, C>,
    valid: &Valid<C::Valid>,
    cloud: &Cloud,
) -> Result<(), ValidateError> {
    let undecided = owned::check(&valid.grant, &valid.named).map_err(ValidateError::Refused)?;
    let age = C::max_read_age(run);
    Ok(owned::check_owned(run.ctx, &cloud.aws, &valid.grant, &run.namespace, &undecided, age).await?)
}
