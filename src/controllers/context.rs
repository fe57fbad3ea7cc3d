//! What reconciles share, and what is remembered of each object while this process leads. No I/O of its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apply::Kind;
use super::approvals::Offered;
use super::cluster::agent::Watches;
use super::cluster::load_balancers::LoadBalancerCleanups;
use super::deletions::Guard;
use super::drift_events::PendingChanges;
use super::edits::Edits;
use super::events::{Events, Failures};
use super::expectations::PerAccountRegion;
use super::leader::Leadership;
use super::secrets::Secrets;
use super::settings::Settings;
use super::unreadable::Unreadables;
use crate::api::status::{EksClusterStatus, NodeGroupStatus, ResourceStatus};
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::aws::Accounts;
use crate::engine::failure::RetryState;
use crate::engine::{Expectations, Failure, Memory};
use crate::gitops::workload::Workloads;
use crate::resources::adoption::Adoption;
use crate::telemetry::Metrics;

/// A mutex whose content is whole at any point: a panic elsewhere must not take the other objects along.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for reconciles of one kind.
pub struct Queue<K: Kind>(UnboundedSender<ReconcileRequest<K>>);

impl<K: Kind> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Queue<K> {
    /// A queue into `sender`.
    pub fn new(sender: UnboundedSender<ReconcileRequest<K>>) -> Self {
        Self(sender)
    }

    /// The object is to be looked at now.
    pub fn push(&self, object: ObjectRef<K>) {
        // Closed: this replica stops, and whoever goes on looks at everything.
        let _ = self.0.unbounded_send(ReconcileRequest { obj_ref: object, reason: ReconcileReason::Unknown });
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        self.0.close_channel();
    }
}

/// The queues of all kinds.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Queues {
    pub clusters: Queue<EksCluster>,
    pub node_groups: Queue<NodeGroup>,
    pub accounts: Queue<AwsAccount>,
}

/// What is remembered of one object.
pub struct State<S, R> {
    /// Of its resources.
    pub memory: Memory,
    /// The status written last.
    pub written: Option<S>,
    /// The inventory written last.
    pub inventory: Option<Vec<ResourceStatus>>,
    /// The value of the reconcile-at annotation acted upon last.
    pub reconcile_at: Option<String>,
    /// What failed before the engine came to work, until it does not.
    pub failed: Option<RetryState>,
    /// Failures that were told as events.
    pub told: Failures,
    /// The status patch failed this often in a row.
    pub unwritten: u32,
    /// What could be adopted when it was last looked at.
    pub adoption: Option<Adoption>,
    /// How closely edits of it follow one another.
    pub edits: Edits,
    /// What only its kind remembers.
    pub kind: R,
}

/// What is remembered of the objects of one kind, by UID.
pub struct States<S, R = ()> {
    all: Mutex<HashMap<String, Shared<S, R>>>,
    /// Objects that could not be read since they were looked at last.
    unreadable: Mutex<HashSet<String>>,
}

/// The state of one object: its reconcile holds it.
pub type Shared<S, R> = Arc<tokio::sync::Mutex<State<S, R>>>;

impl<S, R> Default for States<S, R> {
    fn default() -> Self {
        Self { all: Mutex::default(), unreadable: Mutex::default() }
    }
}

impl<S, R: Default> States<S, R> {
    /// Of one object; `memory` is its beginning.
    pub fn of(&self, uid: &str, memory: impl FnOnce() -> Memory) -> Shared<S, R> {
        let mut all = locked(&self.all);
        if let Some(state) = all.get(uid) {
            return state.clone();
        }
        let mut memory = memory();
        if locked(&self.unreadable).remove(uid) {
            // What this process wrote last for it was forgotten with it, and may not show in reads from before.
            memory.restart(Timestamp::now());
        }
        let state = State {
            memory,
            written: None,
            inventory: None,
            reconcile_at: None,
            failed: None,
            told: Failures::default(),
            unwritten: 0,
            adoption: None,
            edits: Edits::default(),
            kind: R::default(),
        };
        let state = Arc::new(tokio::sync::Mutex::new(state));
        all.insert(uid.to_owned(), state.clone());
        state
    }

    /// Whether the object was met since this process leads.
    pub fn knows(&self, uid: &str) -> bool {
        locked(&self.all).contains_key(uid)
    }

    /// A reconcile of the object panicked: only what its successor must not do twice is kept.
    pub async fn restart(&self, uid: &str, now: Timestamp) {
        let known = locked(&self.all).get(uid).cloned();
        if let Some(state) = known {
            state.lock().await.restart(now);
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) -> Option<Shared<S, R>> {
        locked(&self.unreadable).remove(uid);
        locked(&self.all).remove(uid)
    }

    /// Forgets an object that cannot be read any more. Once it can be again, no read from before counts.
    pub fn forget_unreadable(&self, uid: &str) -> Option<Shared<S, R>> {
        locked(&self.unreadable).insert(uid.to_owned());
        locked(&self.all).remove(uid)
    }
}

impl<S, R: Default> State<S, R> {
    /// Forgets what a reconcile that panicked may have left half changed. Its last write may not show in reads yet, and the
    /// store may not show what it recorded: intents and ids stay, and no read from before `now` counts.
    fn restart(&mut self, now: Timestamp) {
        self.memory.restart(now);
        (self.written, self.inventory, self.failed) = (None, None, None);
        self.kind = R::default();
    }
}

impl<S, R> State<S, R> {
    /// Notes a failure before the engine came to work, and returns what is known of it now.
    pub fn failed_before(&mut self, failure: Failure, now: Timestamp, seed: u64) -> RetryState {
        let failed = RetryState::after(self.failed.as_ref(), failure, now, seed);
        self.failed = Some(failed.clone());
        failed
    }

    /// What failed for a mistake in the spec is tried again when the spec was edited. `seen`: the generation that the last
    /// status was about.
    pub fn edited(&mut self, generation: Option<i64>, seen: Option<i64>, now: Timestamp) {
        if seen.is_some() && generation != seen {
            self.memory.retry_failures(now);
            self.failed = None;
        }
    }

    /// When an object that was just edited is acted upon, if that is not now. A creation and a deletion are not put off.
    pub fn is_steady(&mut self, object: &impl ResourceExt, now: Timestamp) -> Option<Timestamp> {
        let urgent = object.meta().deletion_timestamp.is_some() || !super::apply::has_finalizer(object);
        let wait = self.edits.wait(object.meta().generation.unwrap_or_default(), now);
        wait.filter(|_| !urgent)
    }

    /// What was seen while something else could be adopted does not count.
    pub fn note_adoption(&mut self, adoption: Adoption, now: Timestamp) {
        if self.adoption.replace(adoption).is_some_and(|before| before != adoption) {
            self.memory.forget_unowned(now);
        }
    }

    /// True when the annotation asks for a look now.
    pub fn asked_to_look(&mut self, annotation: Option<&String>) -> bool {
        if self.reconcile_at.as_ref() == annotation {
            return false;
        }
        let first = self.reconcile_at.is_none() && self.written.is_none();
        self.reconcile_at = annotation.cloned();
        !first && annotation.is_some()
    }
}

/// What reconciles share.
pub struct Context {
    /// Of the management cluster.
    pub client: Client,
    /// How the operator was started.
    pub settings: Arc<Settings>,
    /// Sessions with AWS.
    pub accounts: Accounts,
    /// Access to the clusters that were made.
    pub workloads: Workloads,
    /// Whether this process may write.
    pub gate: Arc<Leadership>,
    /// What is counted.
    pub metrics: Metrics,
    /// Events of objects.
    pub events: Events,
    /// Since when this process leads: no read from before counts.
    pub since: Timestamp,
    /// The objects, as the API server last told.
    pub clusters: Store<EksCluster>,
    /// The same.
    pub node_groups: Store<NodeGroup>,
    /// The same.
    pub aws_accounts: Store<AwsAccount>,
    /// Who is to be looked at.
    pub queues: Queues,
    /// What is remembered of each cluster.
    pub cluster_states: States<EksClusterStatus, super::cluster::Remembered>,
    /// What is remembered of each node group.
    pub node_group_states: States<NodeGroupStatus, super::node_group::Remembered>,
    /// What is remembered of each account.
    pub account_states: States<crate::api::account::AwsAccountStatus>,
    /// Work under way, so that a shutdown can wait for it.
    pub tasks: TaskTracker,
    /// The term is over: what is still under way is given up.
    pub over: CancellationToken,
    /// Every kind was listed once.
    pub listed: CancellationToken,
    /// How long things take, as seen here.
    pub learned: Arc<PerAccountRegion>,
    /// Counts deletions.
    pub deletions: Guard,
    /// What was heard of objects and not looked at yet.
    pub news: PendingChanges,
    /// How far the load balancers of clusters that are to go are.
    pub clearings: LoadBalancerCleanups,
    /// Who needs which Secrets.
    pub secrets: Secrets,
    /// The clusters whose agents are watched.
    pub watches: Watches,
    /// The objects that cannot be read.
    pub unreadable: Unreadables,
    /// Approvals in the form of objects.
    pub approvals: Offered,
    /// The id of this installation, once it is known: before the first reconcile.
    pub installation: OnceLock<Option<String>>,
}

/// What a [`Context`] is made of.
#[allow(missing_docs)]
pub struct Parts {
    pub client: Client,
    pub settings: Arc<Settings>,
    pub accounts: Accounts,
    pub workloads: Workloads,
    pub gate: Arc<Leadership>,
    pub metrics: Metrics,
    pub events: Events,
    pub clusters: Store<EksCluster>,
    pub node_groups: Store<NodeGroup>,
    pub aws_accounts: Store<AwsAccount>,
    pub queues: Queues,
}

impl Context {
    /// Of a process that leads from now on.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            client,
            settings,
            accounts,
            workloads,
            gate,
            metrics,
            events,
            clusters,
            node_groups,
            aws_accounts,
            queues,
        } = parts;
        let (kept, limits) = (settings.deletions_in.as_ref(), settings.max_deletions);
        let watches = Watches::new(settings.max_watches);
        let deletions = Guard::new(&client, kept, limits, gate.clone());
        Self {
            client,
            settings,
            accounts,
            workloads,
            gate,
            metrics,
            events,
            since: Timestamp::now(),
            clusters,
            node_groups,
            aws_accounts,
            queues,
            cluster_states: States::default(),
            node_group_states: States::default(),
            account_states: States::default(),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
            listed: CancellationToken::new(),
            learned: Arc::default(),
            deletions,
            news: PendingChanges::default(),
            clearings: LoadBalancerCleanups::default(),
            secrets: Secrets::default(),
            watches,
            unreadable: Unreadables::default(),
            approvals: Offered::default(),
            installation: OnceLock::new(),
        }
    }

    /// What was learned of one account and region.
    pub fn expectations(&self, account: &str, region: &str) -> Arc<Expectations> {
        self.learned.of(account, region)
    }

    /// A memory that begins with this process's leadership.
    pub fn memory(
        &self,
        inventory: impl IntoIterator<Item = (crate::engine::Key, crate::engine::InventoryRecord)>,
    ) -> Memory {
        Memory::new(self.since, self.settings.read_after_write_window, inventory)
    }

    /// The cluster of that name, as last told.
    pub fn cluster(&self, namespace: &str, name: &str) -> Option<Arc<EksCluster>> {
        self.clusters.get(&ObjectRef::new(name).within(namespace))
    }

    /// The node group of that name, as last told.
    pub fn node_group(&self, namespace: &str, name: &str) -> Option<Arc<NodeGroup>> {
        self.node_groups.get(&ObjectRef::new(name).within(namespace))
    }

    /// The id of this installation.
    pub fn installation(&self) -> Option<String> {
        self.installation.get().cloned().flatten()
    }

    /// The node groups that refer to a cluster, by name.
    pub fn node_groups_of(&self, namespace: &str, cluster: &str) -> Vec<Arc<NodeGroup>> {
        let mut all = self.node_groups.state_filter(|group| {
            group.metadata.namespace.as_deref() == Some(namespace) && group.spec.cluster_ref.name == cluster
        });
        all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        all
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
