//! What all reconciles share: handles of the process, and the stores and queues of this leadership term. It names no
//! controller: what is remembered of a kind's objects is in its controller. No I/O of its own.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::approvals::store::PlanApprovals;
use super::deletions::Guard;
use super::drift::pending_changes::PendingChanges;
use super::duration_estimates::RegionalEstimates;
use super::rollout::store::FleetRollouts;
use super::runtime::event_publisher::Events;
use super::runtime::leader::Leadership;
use super::runtime::reconcile_queue::Queues;
use super::runtime::secrets::Secrets;
use super::runtime::settings::Settings;
use super::runtime::unreadable::Unreadables;
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::aws::Accounts;
use crate::engine::{Expectations, Memory};
use crate::notify::Sender;
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;
use crate::workload::client::Workloads;

/// The handles of the process: they outlive a leadership term.
#[derive(Clone)]
pub struct Process {
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
    /// Where spans of traces go.
    pub traces: Traces,
    /// Publishes Kubernetes events.
    pub events: Events,
    /// Sends notifications, if there is an endpoint for them.
    pub notify: Option<Arc<Sender>>,
}

/// The stores of all kinds, which watches fill.
#[derive(Clone)]
pub struct Stores {
    /// Cached EksClusters.
    pub clusters: Store<EksCluster>,
    /// Cached NodeGroups.
    pub node_groups: Store<NodeGroup>,
    /// Cached AwsAccounts.
    pub aws_accounts: Store<AwsAccount>,
}

/// What the reconciles of one leadership term share. The fields of [`Process`] are its own: `ctx.client`.
pub struct Context {
    process: Process,
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
    /// Which clusters read which Secrets.
    pub secrets: Secrets,
    /// Objects that cannot be decoded.
    pub unreadable: Arc<Unreadables>,
    /// PlanApprovals.
    pub approvals: PlanApprovals,
    /// FleetRollouts.
    pub rollouts: FleetRollouts,
    /// The id of this installation; it is set before the first reconcile.
    pub installation: OnceLock<Option<String>>,
}

impl Deref for Context {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Context {
    /// Creates the context of a term that starts now.
    pub fn new(process: Process, stores: Stores, queues: Queues) -> Self {
        let Stores { clusters, node_groups, aws_accounts } = stores;
        let (configmap, limits) = (process.settings.deletions_configmap.as_ref(), process.settings.max_deletions);
        let deletions = Guard::new(&process.client, configmap, limits, process.gate.clone());
        let unreadable = Arc::new(Unreadables::new(process.metrics.clone()));
        Self {
            process,
            leading_since: Timestamp::now(),
            clusters,
            node_groups,
            aws_accounts,
            queues,
            tasks: TaskTracker::new(),
            term_ended: CancellationToken::new(),
            all_listed: CancellationToken::new(),
            duration_estimates: Arc::default(),
            deletions,
            pending_changes: PendingChanges::default(),
            secrets: Secrets::default(),
            unreadable,
            approvals: PlanApprovals::default(),
            rollouts: FleetRollouts::default(),
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
