//! State shared by all reconciles, and the in-memory state of each object during this leadership term. No I/O of its
//! own.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::approvals::PlanApprovals;
use super::cluster::agent::Watches;
use super::cluster::deletion::load_balancers::LoadBalancerCleanups;
use super::deletions::Guard;
use super::drift::events::PendingChanges;
use super::duration_estimates::RegionalEstimates;
use super::runtime::apply::Kind;
use super::runtime::edits::Edits;
use super::runtime::events::{Events, Failures};
use super::runtime::leader::Leadership;
use super::runtime::secrets::Secrets;
use super::runtime::settings::Settings;
use super::runtime::unreadable::Unreadables;
use crate::api::status::{EksClusterStatus, NodeGroupStatus, ResourceStatus};
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::aws::Accounts;
use crate::engine::failure::RetryState;
use crate::engine::{Expectations, Failure, Memory};
use crate::resources::graph::adoption::Adoption;
use crate::telemetry::Metrics;
use crate::workload::client::Workloads;

/// Requests reconciles of objects of one kind.
pub struct Queue<K: Kind>(UnboundedSender<ReconcileRequest<K>>);

impl<K: Kind> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Queue<K> {
    /// Creates a queue that sends to `sender`.
    pub fn new(sender: UnboundedSender<ReconcileRequest<K>>) -> Self {
        Self(sender)
    }

    /// Requests a reconcile of the object.
    pub fn push(&self, object: ObjectRef<K>) {
        // Closed means that this replica stops; the next leader reconciles everything.
        let _ = self.0.unbounded_send(ReconcileRequest { obj_ref: object, reason: ReconcileReason::Unknown });
    }

    /// Closes the queue.
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

/// In-memory state of one object.
pub struct State<S, R> {
    /// Observations of its resources.
    pub memory: Memory,
    /// The status that was written last.
    pub written: Option<S>,
    /// The inventory that was written last.
    pub inventory: Option<Vec<ResourceStatus>>,
    /// The last handled value of the reconcile-at annotation.
    pub reconcile_at: Option<String>,
    /// The current failure outside the engine, such as missing credentials.
    pub failed: Option<RetryState>,
    /// Failures already published as events.
    pub reported_failures: Failures,
    /// Consecutive failures of the status patch.
    pub failed_writes: u32,
    /// What adoption the last reconcile allowed.
    pub adoption: Option<Adoption>,
    /// Debounces edits of the object.
    pub edits: Edits,
    /// Kind-specific state.
    pub kind: R,
}

/// In-memory state of the objects of one kind, by UID.
pub struct States<S, R = ()> {
    all: Mutex<HashMap<String, Shared<S, R>>>,
    /// UIDs of objects that became unreadable after their last reconcile.
    unreadable: Mutex<HashSet<String>>,
}

/// The state of one object; its reconcile holds the lock.
pub type Shared<S, R> = Arc<tokio::sync::Mutex<State<S, R>>>;

impl<S, R> Default for States<S, R> {
    fn default() -> Self {
        Self { all: Mutex::default(), unreadable: Mutex::default() }
    }
}

impl<S, R: Default> States<S, R> {
    /// The state of the object `uid`; a new one starts with `memory`.
    pub fn of(&self, uid: &str, memory: impl FnOnce() -> Memory) -> Shared<S, R> {
        let mut all = self.all.lock();
        if let Some(state) = all.get(uid) {
            return state.clone();
        }
        let mut memory = memory();
        if self.unreadable.lock().remove(uid) {
            // The memory of this process's last writes is lost, and earlier reads may not show them.
            memory.restart(Timestamp::now());
        }
        let state = State {
            memory,
            written: None,
            inventory: None,
            reconcile_at: None,
            failed: None,
            reported_failures: Failures::default(),
            failed_writes: 0,
            adoption: None,
            edits: Edits::default(),
            kind: R::default(),
        };
        let state = Arc::new(tokio::sync::Mutex::new(state));
        all.insert(uid.to_owned(), state.clone());
        state
    }

    /// Whether the object has state in this term.
    pub fn contains(&self, uid: &str) -> bool {
        self.all.lock().contains_key(uid)
    }

    /// Resets the state after a panic in the object's reconcile; keeps only what prevents duplicate writes.
    pub async fn restart(&self, uid: &str, now: Timestamp) {
        let existing = self.all.lock().get(uid).cloned();
        if let Some(state) = existing {
            state.lock().await.restart(now);
        }
    }

    /// Removes the state of a deleted object.
    pub fn forget(&self, uid: &str) -> Option<Shared<S, R>> {
        self.unreadable.lock().remove(uid);
        self.all.lock().remove(uid)
    }

    /// Removes the state of an object that became unreadable. When it is readable again, earlier reads do not count.
    pub fn forget_unreadable(&self, uid: &str) -> Option<Shared<S, R>> {
        self.unreadable.lock().insert(uid.to_owned());
        self.all.lock().remove(uid)
    }
}

impl<S, R: Default> State<S, R> {
    /// Drops what the panicked reconcile may have left inconsistent. Reads may not show its last write yet, and the
    /// store may not show what it recorded: intents and ids stay, and reads from before `now` do not count.
    fn restart(&mut self, now: Timestamp) {
        self.memory.restart(now);
        (self.written, self.inventory, self.failed) = (None, None, None);
        self.kind = R::default();
    }
}

impl<S, R> State<S, R> {
    /// Records a failure outside the engine and returns its history.
    pub fn record_failure(&mut self, failure: Failure, now: Timestamp, seed: u64) -> RetryState {
        let failed = RetryState::after(self.failed.as_ref(), failure, now, seed);
        self.failed = Some(failed.clone());
        failed
    }

    /// Retries failed resources after an edit of the spec. `observed`: the generation of the last status.
    pub fn retry_after_edit(&mut self, generation: Option<i64>, observed: Option<i64>, now: Timestamp) {
        if observed.is_some() && generation != observed {
            self.memory.retry_failures(now);
            self.failed = None;
        }
    }

    /// The time at which a recent edit is to be reconciled; `None`: now. Creations and deletions are never delayed.
    pub fn debounce_edit(&mut self, object: &impl ResourceExt, now: Timestamp) -> Option<Timestamp> {
        let urgent = object.meta().deletion_timestamp.is_some() || !super::runtime::apply::has_finalizer(object);
        let until = self.edits.debounce(object.meta().generation.unwrap_or_default(), now);
        until.filter(|_| !urgent)
    }

    /// Discards observations made under a different adoption permission.
    pub fn note_adoption(&mut self, adoption: Adoption, now: Timestamp) {
        if self.adoption.replace(adoption).is_some_and(|previous| previous != adoption) {
            self.memory.forget_unowned(now);
        }
    }

    /// Whether the annotation requests a reconcile now.
    pub fn take_reconcile_request(&mut self, annotation: Option<&String>) -> bool {
        if self.reconcile_at.as_ref() == annotation {
            return false;
        }
        let first = self.reconcile_at.is_none() && self.written.is_none();
        self.reconcile_at = annotation.cloned();
        !first && annotation.is_some()
    }
}

/// State shared by all reconciles.
pub struct Context {
    /// Client of the management cluster.
    pub client: Client,
    /// The operator's settings.
    pub settings: Arc<Settings>,
    /// AWS sessions.
    pub accounts: Accounts,
    /// Clients of the workload clusters.
    pub workloads: Workloads,
    /// The write gate: open while this process leads.
    pub gate: Arc<Leadership>,
    /// Metrics.
    pub metrics: Metrics,
    /// Publishes Kubernetes events.
    pub events: Events,
    /// The start of this leadership term; earlier reads do not count.
    pub leading_since: Timestamp,
    /// Cached EksClusters.
    pub clusters: Store<EksCluster>,
    /// Cached NodeGroups.
    pub node_groups: Store<NodeGroup>,
    /// Cached AwsAccounts.
    pub aws_accounts: Store<AwsAccount>,
    /// Reconcile queues.
    pub queues: Queues,
    /// In-memory state of the EksClusters.
    pub cluster_states: States<EksClusterStatus, super::cluster::KindState>,
    /// In-memory state of the NodeGroups.
    pub node_group_states: States<NodeGroupStatus, super::node_group::KindState>,
    /// In-memory state of the AwsAccounts.
    pub account_states: States<crate::api::account::AwsAccountStatus>,
    /// Running tasks; a shutdown waits for them.
    pub tasks: TaskTracker,
    /// Cancelled when the term ends: running tasks are aborted.
    pub term_ended: CancellationToken,
    /// Cancelled once every kind is listed.
    pub all_listed: CancellationToken,
    /// Learned durations of AWS operations.
    pub duration_estimates: Arc<RegionalEstimates>,
    /// The guard against mass deletion.
    pub deletions: Guard,
    /// External changes that are not reconciled yet.
    pub pending_changes: PendingChanges,
    /// Progress of load balancer cleanups in clusters that are being deleted.
    pub load_balancer_cleanups: LoadBalancerCleanups,
    /// Which clusters read which Secrets.
    pub secrets: Secrets,
    /// Watches of GitOps agents.
    pub watches: Watches,
    /// Objects that cannot be decoded.
    pub unreadable: Unreadables,
    /// PlanApprovals.
    pub approvals: PlanApprovals,
    /// The id of this installation; it is set before the first reconcile.
    pub installation: OnceLock<Option<String>>,
}

/// The inputs of [`Context::new`].
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
    /// Creates the context of a term that starts now.
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
        let (configmap, limits) = (settings.deletions_configmap.as_ref(), settings.max_deletions);
        let watches = Watches::new(settings.max_watches);
        let deletions = Guard::new(&client, configmap, limits, gate.clone());
        Self {
            client,
            settings,
            accounts,
            workloads,
            gate,
            metrics,
            events,
            leading_since: Timestamp::now(),
            clusters,
            node_groups,
            aws_accounts,
            queues,
            cluster_states: States::default(),
            node_group_states: States::default(),
            account_states: States::default(),
            tasks: TaskTracker::new(),
            term_ended: CancellationToken::new(),
            all_listed: CancellationToken::new(),
            duration_estimates: Arc::default(),
            deletions,
            pending_changes: PendingChanges::default(),
            load_balancer_cleanups: LoadBalancerCleanups::default(),
            secrets: Secrets::default(),
            watches,
            unreadable: Unreadables::default(),
            approvals: PlanApprovals::default(),
            installation: OnceLock::new(),
        }
    }

    /// The learned durations of one account and region.
    pub fn expectations(&self, account: &str, region: &str) -> Arc<Expectations> {
        self.duration_estimates.of(account, region)
    }

    /// A memory that starts with this leadership term.
    pub fn memory(
        &self,
        inventory: impl IntoIterator<Item = (crate::engine::Key, crate::engine::InventoryRecord)>,
    ) -> Memory {
        Memory::new(self.leading_since, self.settings.read_after_write_window, inventory)
    }

    /// The cached EksCluster of that name.
    pub fn cluster(&self, namespace: &str, name: &str) -> Option<Arc<EksCluster>> {
        self.clusters.get(&ObjectRef::new(name).within(namespace))
    }

    /// The cached NodeGroup of that name.
    pub fn node_group(&self, namespace: &str, name: &str) -> Option<Arc<NodeGroup>> {
        self.node_groups.get(&ObjectRef::new(name).within(namespace))
    }

    /// The id of this installation.
    pub fn installation(&self) -> Option<String> {
        self.installation.get().cloned().flatten()
    }

    /// The NodeGroups that refer to a cluster, sorted by name.
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
