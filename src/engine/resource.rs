//! The interface that a resource kind implements, and the types that it returns to the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::action::{Action, Goal};
use super::change::Change;
use super::failure::{Class, Failure};
use super::key::Key;
use super::owner_marker::MarkOwner;
use super::refs::Refs;
use super::sweep::{CheckedSweep, Scope, Sweep};

/// State of a resource that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its dependents can use it.
    Ready,
    /// It exists, but dependents cannot use it before its own updates finish (a gateway that is not attached).
    Incomplete,
    /// The cloud is running an operation on it.
    Busy {
        /// The operation in progress.
        action: Action,
        /// Start time, if the cloud reports it.
        since: Option<Timestamp>,
        /// More detail for users, e.g. the issues that a degraded add-on reports.
        note: String,
    },
    /// The cloud reports a terminal failure.
    Failed {
        /// Reason, as the cloud reports it.
        reason: String,
        /// Class of the failure; [`Class::Unknown`] where it is not known.
        class: Class,
        /// Whether the remedy is to delete and recreate it.
        recreate: Recreate,
    },
}

/// Whether a resource that never worked is deleted and recreated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recreate {
    /// It is not.
    Never,
    /// Once a user asks: by an edit of the spec, or a request to reconcile.
    OnRequest,
    /// At once: its cause is gone, or was temporary.
    Now,
}

impl Recreate {
    /// Whether it is recreated now. `requested`: a user asked to retry.
    pub fn applies(self, requested: bool) -> bool {
        match self {
            Recreate::Never => false,
            Recreate::OnRequest => requested,
            Recreate::Now => true,
        }
    }
}

/// An asynchronous change with an id of its own: the cloud completes it after the call returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Id in the cloud.
    pub id: String,
    /// Type of the change as the cloud names it, e.g. `VersionUpdate`. Durations are learned per type.
    pub kind: String,
    /// Start time, if the cloud reports it.
    pub since: Option<Timestamp>,
}

/// An operation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedOperation {
    /// Id in the cloud.
    pub id: String,
    /// As in [`Operation`].
    pub kind: String,
    /// Reason.
    pub failure: Failure,
}

/// Observed state of a resource.
#[derive(Clone, Debug)]
pub struct Observation<T> {
    /// Id in the cloud.
    pub id: String,
    /// State as the cloud names it, e.g. `available`.
    pub state: String,
    /// State as the engine classifies it.
    pub phase: Phase,
    /// Values for other resources and for status, e.g. the issuer of a cluster.
    pub outputs: BTreeMap<&'static str, String>,
    /// The operation in progress; the phase is [`Phase::Busy`] then.
    pub operation: Option<Operation>,
    /// The last operation, if it failed. Until one succeeds it counts as a failed step.
    pub failed_operation: Option<FailedOperation>,
    /// The cloud's code for the first of the issues that it reports.
    pub issue_code: Option<String>,
    /// Data that the kind needs to compare and change the resource.
    pub detail: T,
}

impl<T> Observation<T> {
    /// A ready resource in the cloud's state `state`.
    pub fn ready(id: impl Into<String>, state: impl Into<String>, detail: T) -> Self {
        Self {
            id: id.into(),
            state: state.into(),
            phase: Phase::Ready,
            outputs: BTreeMap::new(),
            operation: None,
            failed_operation: None,
            issue_code: None,
            detail,
        }
    }

    /// The same while `operation` is in progress.
    pub fn running(self, operation: Operation) -> Self {
        let phase = Phase::Busy { action: Action::Update, since: operation.since, note: String::new() };
        Self { phase, operation: Some(operation), ..self }
    }

    /// The same in another phase.
    pub fn phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// The same with another detail.
    pub fn map<U>(self, detail: impl FnOnce(T) -> U) -> Observation<U> {
        let Self { id, state, phase, outputs, operation, failed_operation, issue_code, detail: before } = self;
        Observation { id, state, phase, outputs, operation, failed_operation, issue_code, detail: detail(before) }
    }

    /// The same with one more output.
    pub fn output(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.outputs.insert(name, value.into());
        self
    }
}

/// Whether a resource exists, and who owns it.
#[derive(Clone, Debug)]
pub enum Presence<T> {
    /// No resource has that name.
    Absent,
    /// Exists and belongs to another owner: never touched. Holds the owner.
    Foreign(String),
    /// Exists, and the spec references it: used, never changed or deleted.
    External(Observation<T>),
    /// Exists without an owner and is to be adopted: updated like an owned resource, not deleted before adoption.
    Unowned(Observation<T>),
    /// Exists and this object owns it.
    Ours(Observation<T>),
}

impl<T> Presence<T> {
    /// The observation, if the graph may use the resource.
    pub fn observed(&self) -> Option<&Observation<T>> {
        match self {
            Presence::Ours(observed) | Presence::External(observed) | Presence::Unowned(observed) => Some(observed),
            Presence::Absent | Presence::Foreign(_) => None,
        }
    }

    /// Whether the cloud reports a terminal failure.
    pub fn has_failed(&self) -> bool {
        self.observed().is_some_and(|observed| matches!(observed.phase, Phase::Failed { .. }))
    }
}

/// How to observe a resource.
#[derive(Clone, Debug)]
pub struct ObserveOptions {
    /// Discard reads that started longer ago than this.
    pub max_age: Duration,
    /// Goal of the graph: some state matters only for deletion.
    pub goal: Goal,
    /// The recorded id, if any.
    pub recorded_id: Option<String>,
    /// The inventory has a record: an id, or the intent to create.
    pub recorded: bool,
    /// The recorded operation, if any: in progress at the last observation, or failed.
    pub recorded_operation: Option<String>,
}

/// How long an observation is valid while nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollPolicy {
    /// Requeue after this.
    pub interval: Duration,
    /// Maximum age of a shared read.
    pub max_cache_age: Duration,
}

/// The replacement of a resource by another one that was made beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The resource that replaces it.
    pub successor: Key,
    /// The gate that opens once nothing uses it any more.
    pub unused: Key,
}

/// The marker that the cloud of a kind writes.
pub type Marker<R> = <<R as Resource>::Cloud as MarkOwner>::Marker;

/// A resource kind. Decisions are pure; only the `async` methods do I/O.
#[async_trait]
pub trait Resource: Send + Sync + 'static {
    /// The client for its I/O.
    type Cloud: MarkOwner;
    /// Data that it needs to compare and change itself.
    type Detail: Send + Sync + Clone + 'static;

    /// Its name in the graph.
    fn key(&self) -> Key;

    /// Dependencies that must be ready before creation.
    fn after(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Dependencies that must be ready and already adopted before this is adopted.
    fn adopted_after(&self) -> Vec<Key> {
        self.after()
    }

    /// The resource that contains this: if that is absent, so is this, without a call.
    fn inside(&self) -> Option<Key> {
        None
    }

    /// The resource to observe first, because its outputs are needed to observe this one.
    fn observed_after(&self) -> Option<Key> {
        self.inside()
    }

    /// The resource whose deletion also deletes this one, without a call.
    fn deleted_with(&self) -> Option<Key> {
        None
    }

    /// Resources that cannot be deleted while this one exists.
    fn holds(&self) -> Vec<Key> {
        if self.deleted_with().is_some() { Vec::new() } else { self.after() }
    }

    /// Resources that must be deleted before this one, besides those that hold it.
    fn deleted_after(&self) -> Vec<Key> {
        Vec::new()
    }

    /// What replaces it: it is compared with nothing, and deleted once that is ready and the gate is open. Nothing else is replaced.
    fn succession(&self) -> Option<Succession> {
        None
    }

    /// Resources that show the end of a change of this one: they are observed again right after it.
    fn makes_stale(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Whether it stays when the graph is deleted: it is released instead.
    fn is_retained(&self) -> bool {
        false
    }

    /// Whether it can be deleted while the cloud runs `action` on it.
    fn deletable_while(&self, _action: Action) -> bool {
        true
    }

    /// Values that a plan shows when it creates this.
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Default duration of an action, used until a duration is learned.
    fn expected(&self, _action: Action) -> Duration {
        Duration::from_secs(1)
    }

    /// Default duration of an operation of type `kind`, used until a duration is learned.
    fn expected_operation(&self, _kind: &str) -> Duration {
        self.expected(Action::Update)
    }

    /// How long an observation is valid while nothing changes.
    fn poll_policy(&self) -> PollPolicy;

    /// True when repeating a create makes a duplicate: the intent is recorded first.
    fn records_intent(&self) -> bool {
        false
    }

    /// True when a create is recorded before the call: a resource found later without a record was not created here.
    fn records_create(&self) -> bool {
        self.records_intent()
    }

    /// Scope of the sweep: an update or deletion is then a [`sweep`](Resource::sweep) of resources outside the graph.
    fn sweep_scope(&self) -> Option<Scope> {
        None
    }

    /// Ids that the spec references as not owned by this object: no sweep deletes them.
    fn excluded_ids(&self) -> Vec<String> {
        Vec::new()
    }

    /// Advice for the user when the resource existed and is gone; `None`: recreate it.
    fn irreplaceable(&self) -> Option<String> {
        None
    }

    /// All fields that differ from the desired state.
    fn diff(&self, observed: &Observation<Self::Detail>, refs: &Refs) -> Vec<Change>;

    /// The changes that one update can apply at once; the next plan has the rest. Not empty unless `changes` is.
    fn batch(&self, changes: &[Change]) -> Vec<Change> {
        changes.to_vec()
    }

    /// Observes it. Rarely changing values that cost a call may be taken from `last`; `None`: read everything.
    async fn observe(
        &self,
        cloud: &Self::Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Self::Detail>>,
    ) -> Result<Presence<Self::Detail>, Failure>;

    /// Creates the resource. Repeated after a crash or a lost response, so it must be idempotent.
    async fn create(&self, cloud: &Self::Cloud, refs: &Refs) -> Result<Observation<Self::Detail>, Failure>;

    /// Applies a [`batch`](Resource::batch). Repeated after a crash or a lost response, so it must be idempotent.
    async fn update(
        &self,
        cloud: &Self::Cloud,
        refs: &Refs,
        observed: &Observation<Self::Detail>,
        changes: &[Change],
    ) -> Result<Observation<Self::Detail>, Failure>;

    /// Deletes the resource. Returns `Absent` when it is gone, `Ours` while the deletion is in progress.
    async fn delete(
        &self,
        cloud: &Self::Cloud,
        observed: &Observation<Self::Detail>,
    ) -> Result<Presence<Self::Detail>, Failure>;

    /// Lists the targets of a sweep, each with its proof. Read-only.
    async fn list_sweep(&self, _: &Self::Cloud, _: &Observation<Self::Detail>) -> Result<Sweep, Failure> {
        Ok(Sweep::default())
    }

    /// Deletes the targets that passed the check.
    async fn sweep(
        &self,
        _: &Self::Cloud,
        observed: &Observation<Self::Detail>,
        _: Action,
        _: &CheckedSweep,
    ) -> Result<Presence<Self::Detail>, Failure> {
        Err(Failure::invalid(format!("{} {} does not support sweeps", self.key(), observed.id)))
    }

    /// Its ownership marker; `None`: it has none, cannot be adopted, and follows its container when that is released.
    fn marker(&self, _: &Observation<Self::Detail>) -> Option<Marker<Self>> {
        None
    }

    /// Adopts it unchanged: writes only the ownership marker. Only for kinds that can be [`Presence::Unowned`].
    async fn adopt(
        &self,
        cloud: &Self::Cloud,
        observed: &Observation<Self::Detail>,
    ) -> Result<Observation<Self::Detail>, Failure> {
        let Some(marker) = self.marker(observed) else {
            return Err(Failure::invalid(format!("{} {} cannot be adopted", self.key(), observed.id)));
        };
        cloud.mark(&marker).await?;
        Ok(observed.clone())
    }

    /// Releases it: removes only the ownership marker.
    async fn release(&self, cloud: &Self::Cloud, observed: &Observation<Self::Detail>) -> Result<(), Failure> {
        match self.marker(observed) {
            Some(marker) => cloud.unmark(&marker).await,
            None => Ok(()),
        }
    }
}
