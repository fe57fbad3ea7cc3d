//! Queues of requested reconciles: whoever notices a change puts the object into the queue of its kind, with the reason.
//! No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::apply::Kind;
use crate::api::{AwsAccount, EksCluster, NodeGroup};

/// Why an object is reconciled. Of several reasons the first one in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// It was created.
    Created,
    /// Its deletion was requested.
    DeletionRequested,
    /// Its spec was edited.
    SpecEdited,
    /// An annotation changed, such as one that requests a reconcile or approves a plan.
    AnnotationChanged,
    /// A PlanApproval names it.
    Approval,
    /// CloudTrail reports a change of its resources in AWS.
    ExternalEvent,
    /// An object changed on which it depends, or which depends on it: its account, its cluster, its
    /// NodeGroups, its FleetRollout, a Secret.
    Dependency,
    /// Something changed in its cluster, or a read of the cluster has ended.
    Workload,
    /// Its finalizer or the ids in its status were removed.
    Restored,
    /// This process became the leader, and reconciles it for the first time.
    LeaderStarted,
    /// A timer: something failed.
    Retry,
    /// A timer: something is in progress in AWS, or a wait may have ended.
    Poll,
    /// A timer: it is compared with AWS.
    DriftInterval,
}

impl Trigger {
    /// The reason as spans have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::DeletionRequested => "DeletionRequested",
            Self::SpecEdited => "SpecEdited",
            Self::AnnotationChanged => "AnnotationChanged",
            Self::Approval => "Approval",
            Self::ExternalEvent => "ExternalEvent",
            Self::Dependency => "Dependency",
            Self::Workload => "Workload",
            Self::Restored => "Restored",
            Self::LeaderStarted => "LeaderStarted",
            Self::Retry => "Retry",
            Self::Poll => "Poll",
            Self::DriftInterval => "DriftInterval",
        }
    }
}

/// Reasons that are remembered at a time. Beyond it, reconciles run without: only objects that no longer exist leave
/// theirs behind.
const MAX_PENDING: usize = 20_000;

/// Requests reconciles of objects of one kind.
pub struct Queue<K: Kind> {
    requests: UnboundedSender<ReconcileRequest<K>>,
    /// Why each requested object is to be reconciled, until it is.
    pending: Arc<Mutex<HashMap<ObjectRef<K>, Trigger>>>,
}

impl<K: Kind> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), pending: self.pending.clone() }
    }
}

impl<K: Kind> Queue<K> {
    /// Creates a queue that sends to `requests`.
    pub fn new(requests: UnboundedSender<ReconcileRequest<K>>) -> Self {
        Self { requests, pending: Arc::default() }
    }

    /// Requests a reconcile of the object.
    pub fn push(&self, object: ObjectRef<K>, trigger: Trigger) {
        {
            let mut pending = self.pending.lock();
            if let Some(earlier) = pending.get_mut(&object) {
                *earlier = trigger.min(*earlier);
            } else if pending.len() < MAX_PENDING {
                pending.insert(object.clone(), trigger);
            }
        }
        // Closed means that this replica stops; the next leader reconciles everything.
        let _ = self.requests.unbounded_send(ReconcileRequest { obj_ref: object, reason: ReconcileReason::Unknown });
    }

    /// Removes and returns why a reconcile of the object was requested; `None`: a timer requeued it.
    pub fn take(&self, object: &ObjectRef<K>) -> Option<Trigger> {
        self.pending.lock().remove(object)
    }

    /// Closes the queue.
    pub fn close(&self) {
        self.requests.close_channel();
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

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::unbounded;

    use super::*;

    #[test]
    fn strongest_reason_counts_and_is_taken_once() {
        let (requests, _receiver) = unbounded();
        let queue: Queue<EksCluster> = Queue::new(requests);
        let object = ObjectRef::new("demo").within("team");
        queue.push(object.clone(), Trigger::Dependency);
        queue.push(object.clone(), Trigger::SpecEdited);
        queue.push(object.clone(), Trigger::Workload);
        assert_eq!((queue.take(&object), queue.take(&object)), (Some(Trigger::SpecEdited), None));
    }

    #[test]
    fn reasons_of_objects_that_do_not_exist_are_bounded() {
        let (requests, _receiver) = unbounded();
        let queue: Queue<EksCluster> = Queue::new(requests);
        for number in 0..MAX_PENDING + 10 {
            queue.push(ObjectRef::new(&number.to_string()), Trigger::Approval);
        }
        assert_eq!(queue.pending.lock().len(), MAX_PENDING);
    }
}
