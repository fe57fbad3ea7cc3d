//! Whether a NodeGroup owns something in AWS, and the finalizer that is added before it does. I/O: the management
//! cluster's API.

use std::time::Instant;

use kube::ResourceExt;

use super::{Outcome, Reconcile};
use crate::api::status::NodeGroupStatus;
use crate::controllers::runtime::apply;

impl Reconcile<'_> {
    /// Adds our finalizer before the first write to AWS. `Some`: it was not added.
    pub(super) async fn finalizer(&mut self, previous: &NodeGroupStatus) -> Option<Outcome> {
        if self.has_finalizer() {
            return None;
        }
        if let Err(error) = apply::add_finalizer(&self.ctx.client, self.group).await {
            let message =
                format!("the finalizer was not added, so nothing is created in AWS: {}", apply::describe_error(&error));
            tracing::warn!(node_group = self.group.name_any(), message);
            return Some(self.record_not_written(previous, message));
        }
        self.state.kind.finalizer = Some(Instant::now());
        None
    }

    /// Whether the object owns no node group in AWS, according to status and records.
    pub(super) fn owns_nothing(&self, previous: &NodeGroupStatus) -> bool {
        previous.arn.is_none() && self.state.memory.iter().all(|(_, entry)| entry.recorded.is_none())
    }

    pub(super) fn has_finalizer(&self) -> bool {
        let lately = self.state.kind.finalizer.is_some_and(|at| at.elapsed().as_secs() < 30);
        apply::has_finalizer(self.group) || lately
    }
}
