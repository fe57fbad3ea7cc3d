//! What is remembered of EksClusters during this leadership term. No I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::agent;
use super::deletion::blocked::Blocked;
use super::deletion::load_balancer_cleanup::LoadBalancerCleanups;
use super::{hooks, kubeconfig_secret, registration, spec_check, upgrade};
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::context::Context;
use crate::controllers::driver;
use crate::controllers::name_claims::NameClaims;
use crate::controllers::states::States;

/// In-memory state of a cluster besides its resources.
#[derive(Default)]
pub struct KindState {
    /// Its agent.
    pub(super) agent: agent::Agent,
    /// The agent's events.
    pub(super) agent_events: agent::AgentEvents,
    /// Since when its deletion is blocked.
    pub(super) blocked: Blocked,
    /// When to survey again for what a deletion left.
    pub(super) survey_at: Option<Timestamp>,
    /// What a sweep left alone and events have reported.
    pub(super) reported_leftovers: BTreeSet<String>,
    /// Its upgrades.
    pub(super) upgrade: upgrade::upgrade_state::UpgradeState,
    /// Its hooks.
    pub(super) hooks: hooks::Memory,
    /// Results of the checks of the spec against AWS.
    pub(super) checked: spec_check::SpecCheck,
    /// The Secret with its kubeconfig.
    pub(super) kubeconfig: kubeconfig_secret::Memory,
    /// The Secret that registers it.
    pub(super) registration: registration::Memory,
}

/// The controller of EksClusters, and what it remembers of them during this leadership term.
pub struct ClusterController {
    /// What all controllers share.
    pub ctx: Arc<Context>,
    /// The in-memory state of each cluster.
    pub states: States<EksClusterStatus, KindState>,
    /// Watches of GitOps agents.
    pub watches: Arc<agent::Watches>,
    /// Progress of load balancer cleanups in clusters that are being deleted.
    pub cleanups: LoadBalancerCleanups,
    /// Which clusters use names in EKS.
    pub name_claims: NameClaims,
}

impl ClusterController {
    /// The controller of a term that starts.
    pub fn new(ctx: Arc<Context>) -> Self {
        let watches = Arc::new(agent::Watches::new(ctx.settings.max_watches));
        let (cleanups, name_claims) = (LoadBalancerCleanups::default(), NameClaims::default());
        Self { ctx, states: States::default(), watches, cleanups, name_claims }
    }

    /// Drops all that is remembered of a cluster besides its state: it was deleted, or became unreadable.
    pub fn forget(&self, namespace: &str, name: &str, uid: &str) {
        self.ctx.workloads.forget(uid);
        self.ctx.pending_changes.take(uid);
        self.cleanups.forget(uid);
        self.name_claims.forget(uid);
        self.ctx.secrets.remove_cluster(uid);
        self.watches.end(uid);
        self.ctx.metrics.gitops().forget(namespace, name);
    }
}

/// One reconcile of one cluster.
pub type Reconcile<'a> = driver::Reconcile<'a, ClusterController>;
