//! What the engine asks of a kind of resource, and what it gets to know of one.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::failure::{Class, Failure};
use super::key::Key;
use super::plan::{Action, Goal};
use super::sweep::{Scope, Sweep, Swept};

/// Where a resource that exists stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Usable by what depends on it.
    Ready,
    /// It exists but is of no use before its own updates are done (a gateway that is not attached).
    Incomplete,
    /// The cloud is at work on it.
    Busy {
        /// What is under way.
        action: Action,
        /// Since when, where the cloud says so.
        since: Option<Timestamp>,
        /// More to tell a person, e.g. the issues a degraded add-on names.
        note: String,
    },
    /// The cloud gave up on it.
    Failed {
        /// Why, in the cloud's words.
        reason: String,
        /// What kind of why, where that is known.
        class: Class,
        /// It never worked, and deleting and making it again is the cure.
        recreate: bool,
    },
}

/// A change that the cloud carries out by itself once it was begun, under an id of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The cloud's id of it.
    pub id: String,
    /// What is changed, in the cloud's own word, e.g. `VersionUpdate`. How long it takes is learned per kind.
    pub kind: String,
    /// When it began, where the cloud says so.
    pub since: Option<Timestamp>,
}

/// An operation that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedOperation {
    /// The cloud's id of it.
    pub id: String,
    /// As in [`Operation`].
    pub kind: String,
    /// Why.
    pub failure: Failure,
}

/// A resource as it was seen.
#[derive(Clone, Debug)]
pub struct Observation<T> {
    /// The cloud's id of it.
    pub id: String,
    /// The cloud's own word for its state, e.g. `available`.
    pub state: String,
    /// Where it stands.
    pub phase: Phase,
    /// Facts for other resources and for status, e.g. the issuer of a cluster.
    pub outputs: BTreeMap<&'static str, String>,
    /// The operation under way: the phase is [`Phase::Busy`] then.
    pub operation: Option<Operation>,
    /// The last operation, when it came to nothing. Until one succeeds it counts as a step that failed.
    pub failed_operation: Option<FailedOperation>,
    /// What the kind itself needs to compare and change it.
    pub detail: T,
}

impl<T> Observation<T> {
    /// A resource that is ready, in the cloud's state `state`.
    pub fn ready(id: impl Into<String>, state: impl Into<String>, detail: T) -> Self {
        Self {
            id: id.into(),
            state: state.into(),
            phase: Phase::Ready,
            outputs: BTreeMap::new(),
            operation: None,
            failed_operation: None,
            detail,
        }
    }

    /// The same while `operation` is under way.
    pub fn running(mut self, operation: Operation) -> Self {
        let note = String::new();
        self.phase = Phase::Busy { action: Action::Update, since: operation.since, note };
        self.operation = Some(operation);
        self
    }

    /// The same in another phase.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// The same with another detail.
    pub fn map<U>(self, detail: impl FnOnce(T) -> U) -> Observation<U> {
        let Self { id, state, phase, outputs, operation, failed_operation, detail: before } = self;
        Observation { id, state, phase, outputs, operation, failed_operation, detail: detail(before) }
    }

    /// The same with one more output.
    pub fn output(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.outputs.insert(name, value.into());
        self
    }
}

/// Whether something is there, and whose it is.
#[derive(Clone, Debug)]
pub enum Presence<T> {
    /// Nothing of that name.
    Absent,
    /// There, and somebody else's: never touched. Holds who.
    Foreign(String),
    /// There, named by the user for our use: used, never changed or deleted.
    External(Observation<T>),
    /// There, nobody's, and to be taken over: changed as ours is, never deleted before it is ours.
    Unowned(Observation<T>),
    /// Ours.
    Ours(Observation<T>),
}

impl<T> Presence<T> {
    /// The resource, when it may be used.
    pub fn observed(&self) -> Option<&Observation<T>> {
        match self {
            Presence::Ours(observed) | Presence::External(observed) | Presence::Unowned(observed) => Some(observed),
            Presence::Absent | Presence::Foreign(_) => None,
        }
    }
}

/// How a difference can be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// By an update.
    InPlace,
    /// Not at all; holds what to do instead.
    Forbidden(String),
}

/// One field that differs from what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the field, as in the manifest where it stands there.
    pub field: String,
    /// What is there.
    pub from: String,
    /// What is wanted.
    pub to: String,
    /// Whether it can be changed.
    pub how: How,
}

impl Change {
    /// A difference that an update settles.
    pub fn in_place(field: impl Into<String>, from: impl ToString, to: impl ToString) -> Self {
        Self { field: field.into(), from: from.to_string(), to: to.to_string(), how: How::InPlace }
    }

    /// A difference that nothing settles; `why` says what to do instead.
    pub fn forbidden(field: impl Into<String>, from: impl ToString, to: impl ToString, why: impl Into<String>) -> Self {
        let how = How::Forbidden(why.into());
        Self { field: field.into(), from: from.to_string(), to: to.to_string(), how }
    }
}

/// How to look at a resource.
#[derive(Clone, Debug)]
pub struct ObserveOptions {
    /// A read that began longer ago than this does not count.
    pub max_age: Duration,
    /// What the graph is for: some things matter only when it is to go.
    pub goal: Goal,
    /// The id on record for it, if any.
    pub recorded_id: Option<String>,
    /// It is on record: with that id, or as a create that was about to be sent.
    pub recorded: bool,
    /// The operation on record for it, if any: under way when it was last looked at, or failed.
    pub recorded_operation: Option<String>,
    /// The state it was in when last seen is believed to be final: nothing is under way.
    pub steady: bool,
}

/// How long a seen state is believed while nothing is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollPolicy {
    /// Look again after this.
    pub interval: Duration,
    /// A shared read up to this old will do.
    pub max_cache_age: Duration,
}

/// Ids and outputs of the resources that are there.
#[derive(Clone, Debug, Default)]
pub struct Refs {
    known: BTreeMap<Key, (String, BTreeMap<&'static str, String>)>,
}

impl Refs {
    /// Makes a resource known.
    pub fn insert(&mut self, key: Key, id: String, outputs: BTreeMap<&'static str, String>) {
        self.known.insert(key, (id, outputs));
    }

    /// The id of a resource, when it is there.
    pub fn get(&self, key: &Key) -> Option<&str> {
        self.known.get(key).map(|(id, _)| id.as_str())
    }

    /// The id of a resource that this one depends on.
    pub fn id(&self, key: &Key) -> Result<&str, Failure> {
        self.get(key).ok_or_else(|| missing(key, "id"))
    }

    /// An output of a resource, when it is there.
    pub fn output(&self, key: &Key, name: &str) -> Option<&str> {
        self.known.get(key)?.1.get(name).map(String::as_str)
    }

    /// An output of a resource that this one depends on.
    pub fn need(&self, key: &Key, name: &str) -> Result<&str, Failure> {
        self.output(key, name).ok_or_else(|| missing(key, name))
    }
}

fn missing(key: &Key, what: &str) -> Failure {
    Failure::new(Class::NotFound, format!("{key} is needed and its {what} is not known (yet)"))
}

/// A kind of resource. What decides in it is pure; only the last six do I/O.
#[async_trait]
pub trait Resource: Send + Sync + 'static {
    /// The handle its I/O goes through.
    type Cloud: Send + Sync;
    /// What it needs to know of itself to compare and change.
    type Detail: Send + Sync + Clone + 'static;

    /// Its name in the graph.
    fn key(&self) -> Key;

    /// What must be ready before it is made.
    fn after(&self) -> Vec<Key> {
        Vec::new()
    }

    /// What must be ready, and not to be taken over itself any more, before it is taken over.
    fn adopted_after(&self) -> Vec<Key> {
        self.after()
    }

    /// What it lives in: where that is absent, so is this, and nobody has to ask.
    fn inside(&self) -> Option<Key> {
        None
    }

    /// What is looked at first, because its outputs say where to look for this.
    fn observed_after(&self) -> Option<Key> {
        self.inside()
    }

    /// What takes it along when deleted, so that it needs no call of its own.
    fn deleted_with(&self) -> Option<Key> {
        None
    }

    /// What cannot be deleted before this is gone.
    fn holds(&self) -> Vec<Key> {
        if self.deleted_with().is_some() { Vec::new() } else { self.after() }
    }

    /// What must be gone before this is deleted, beside what holds it.
    fn deleted_after(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Whether it can be deleted while the cloud is at work on it.
    fn deletable_while(&self, _action: Action) -> bool {
        true
    }

    /// What a person reads of it in a plan that creates it.
    fn facts(&self) -> Vec<(&'static str, String)>;

    /// How long the cloud takes, as long as nothing has been learned.
    fn expected(&self, _action: Action) -> Duration {
        Duration::from_secs(1)
    }

    /// How long an operation of that kind takes, as long as nothing has been learned.
    fn expected_operation(&self, _kind: &str) -> Duration {
        self.expected(Action::Update)
    }

    /// How long what was seen is believed at rest.
    fn poll_policy(&self) -> PollPolicy;

    /// True when two creates make two: the intent is recorded first.
    fn records_intent(&self) -> bool {
        false
    }

    /// True when a create is put on record before it is sent: what is found later without a record was not made by us.
    fn records_create(&self) -> bool {
        self.records_intent()
    }

    /// For what is in no graph and goes all the same: what it sweeps for. Then an update or deletion is a
    /// [`sweep`](Resource::sweep) of what [`list_sweep`](Resource::list_sweep) finds.
    fn sweeps(&self) -> Option<Scope> {
        None
    }

    /// Ids that the spec names as somebody else's: no sweep takes them.
    fn spares(&self) -> Vec<String> {
        Vec::new()
    }

    /// What to tell a person when it was there and is gone; `None`: make it again.
    fn irreplaceable(&self) -> Option<String> {
        None
    }

    /// Every field that differs.
    fn diff(&self, seen: &Observation<Self::Detail>, refs: &Refs) -> Vec<Change>;

    /// Those of `changes` that one update settles, where the cloud does not take them all at once. The rest comes with the
    /// next plan. Never empty for changes that are not.
    fn batch(&self, changes: &[Change]) -> Vec<Change> {
        changes.to_vec()
    }

    /// Looks at it. `last` is what the last look saw: what costs a call of its own and hardly ever changes may be taken
    /// from there; it is `None` when everything is to be read anew.
    async fn observe(
        &self,
        cloud: &Self::Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Self::Detail>>,
    ) -> Result<Presence<Self::Detail>, Failure>;

    /// Makes it. Called again after a crash or a lost answer, so it must not make two.
    async fn create(&self, cloud: &Self::Cloud, refs: &Refs) -> Result<Observation<Self::Detail>, Failure>;

    /// Settles the differences, a [`batch`](Resource::batch) of them. Called again after a crash or a lost answer, so it must
    /// not begin the same operation twice.
    async fn update(
        &self,
        cloud: &Self::Cloud,
        refs: &Refs,
        seen: &Observation<Self::Detail>,
        changes: &[Change],
    ) -> Result<Observation<Self::Detail>, Failure>;

    /// Deletes it. `Absent` when it is gone, `Ours` when the cloud takes its time.
    async fn delete(
        &self,
        cloud: &Self::Cloud,
        seen: &Observation<Self::Detail>,
    ) -> Result<Presence<Self::Detail>, Failure>;

    /// Lists what a sweep is to delete, each with its proof. Reads only.
    async fn list_sweep(&self, _: &Self::Cloud, _: &Observation<Self::Detail>) -> Result<Sweep, Failure> {
        Ok(Sweep::default())
    }

    /// Deletes what the checker let pass.
    async fn sweep(
        &self,
        _: &Self::Cloud,
        seen: &Observation<Self::Detail>,
        _: Action,
        _: &Swept,
    ) -> Result<Presence<Self::Detail>, Failure> {
        Err(Failure::invalid(format!("{} {} sweeps nothing", self.key(), seen.id)))
    }

    /// Makes it ours, as it is: nothing but what says so is written. Only for kinds that may be [`Presence::Unowned`].
    async fn adopt(
        &self,
        _: &Self::Cloud,
        seen: &Observation<Self::Detail>,
    ) -> Result<Observation<Self::Detail>, Failure> {
        Err(Failure::invalid(format!("{} {} cannot be taken over", self.key(), seen.id)))
    }

    /// Lets go of it, as it is: what says that it is ours is taken away. Nothing by default: a kind that carries nothing that
    /// says so goes with what it is in.
    async fn release(&self, _: &Self::Cloud, _: &Observation<Self::Detail>) -> Result<(), Failure> {
        Ok(())
    }
}
