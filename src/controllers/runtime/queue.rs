//! Queues of requested reconciles: whoever notices a change puts the object into the queue of its kind. No I/O.

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;

use super::apply::Kind;
use crate::api::{AwsAccount, EksCluster, NodeGroup};

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

impl Queues {
    /// Closes all queues.
    pub fn close(&self) {
        let Self { clusters, node_groups, accounts } = self;
        clusters.close();
        node_groups.close();
        accounts.close();
    }
}
