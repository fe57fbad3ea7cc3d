//! What is remembered of NodeGroups during this leadership term, and the outcome of their reconciles. No I/O.

use std::sync::Arc;

use super::nodes::NodeReads;
use super::replacement::passes::Passes;
use crate::api::status_cluster::NodeGroupStatus;
use crate::controllers::cluster::deletion::load_balancer_cleanup::LoadBalancerCleanups;
use crate::controllers::context::Context;
use crate::controllers::driver;
use crate::controllers::states::States;
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::waits::Wait;

/// In-memory state of a node group besides its resources.
#[derive(Default)]
pub struct KindState {
    pub(super) nodes: NodeReads,
    /// The passes over its nodes during a replacement.
    pub(super) passes: Passes,
    /// Node groups that no status records were looked for.
    pub(super) has_discovered: bool,
    /// The generation of the spec that passed the checks against AWS.
    pub(super) checked: Option<i64>,
    /// The id of the launch template that the spec names by its name.
    pub(super) template_id: Option<String>,
}

/// Outcome of a reconcile, for status.
pub struct Outcome {
    pub(super) status: NodeGroupStatus,
    pub(super) overall: Overall,
    /// What is waited for; `None`: nothing was observed, or the conditions say what is waited for.
    pub(super) waits: Option<Vec<Wait>>,
    pub(super) next: Next,
}

/// The controller of NodeGroups, and what it remembers of them during this leadership term.
pub struct NodeGroupController {
    /// What all controllers share.
    pub ctx: Arc<Context>,
    /// The in-memory state of each node group.
    pub states: States<NodeGroupStatus, KindState>,
    /// The load balancer cleanups of clusters that are being deleted.
    pub(super) cleanups: LoadBalancerCleanups,
}

impl NodeGroupController {
    /// The controller of a term that starts.
    pub fn new(ctx: Arc<Context>, cleanups: LoadBalancerCleanups) -> Self {
        Self { ctx, states: States::default(), cleanups }
    }
}

/// One reconcile of one node group.
pub type Reconcile<'a> = driver::Reconcile<'a, NodeGroupController>;
