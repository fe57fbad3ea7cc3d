//! Reads and drains the nodes during a replacement, in the background, so that an unreachable cluster delays nothing in AWS. I/O:
//! through [`crate::workload`].

use std::sync::Arc;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::decide::Nodes;
use crate::api::{EksCluster, NodeGroup};
use crate::aws::{Session, WriteGate as _};
use crate::controllers::cluster::agent;
use crate::controllers::context::Context;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::workload::GitOpsError;
use crate::workload::client::Access;
use crate::workload::eviction::{self, Drained, Order, Refusals};

/// Interval of passes.
const INTERVAL: SignedDuration = SignedDuration::from_secs(3);
/// Interval while the cluster's API is not located, or does not answer.
const RETRY: SignedDuration = SignedDuration::from_secs(15);
/// An older result proves nothing about the nodes.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(60);

/// The result of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassResult {
    pub at: Timestamp,
    pub order: Order,
    /// What it found, or why it failed.
    pub result: Result<Drained, String>,
}

impl PassResult {
    /// What it shows of the nodes.
    pub fn nodes(&self, now: Timestamp) -> Option<Nodes> {
        let found = self.result.as_ref().ok().filter(|_| now.duration_since(self.at) < MAX_AGE)?;
        let Drained { schedulable, leaving, uncordoned, pods, blocked: _ } = *found;
        let Order { stays, leaves, .. } = self.order.clone();
        Some(Nodes { stays, schedulable, leaves, leaving, uncordoned, pods })
    }
}

/// The passes of one NodeGroup, shared with the one that runs.
#[derive(Clone, Default)]
pub struct Passes(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    last: Option<PassResult>,
    /// What the last pass that succeeded found of refused evictions, and when. Lost at a restart: they are refused anew.
    refusals: Option<(Timestamp, Refusals)>,
}

impl Passes {
    /// The last result.
    pub fn last(&self) -> Option<PassResult> {
        self.0.lock().last.clone()
    }

    /// Discards what is known, so that everything is read again.
    pub fn forget(&self) {
        self.0.lock().last = None;
    }

    /// Starts a pass when one is due, and returns when the next is.
    pub async fn poll(
        &self,
        ctx: &Arc<Context>,
        group: &NodeGroup,
        cluster: &EksCluster,
        session: &Session,
        order: Order,
    ) -> Option<Timestamp> {
        let now = Timestamp::now();
        let due = self.due(&order, now)?;
        if due > now {
            return Some(due);
        }
        match agent::access_of(ctx, cluster, session).await {
            Some(access) => {
                self.start(ctx, group, cluster.uid().unwrap_or_default(), access, order);
                None
            }
            None => {
                let result = Err("the API of the cluster is not located yet".to_owned());
                self.0.lock().last = Some(PassResult { at: now, order, result });
                now.checked_add(RETRY).ok()
            }
        }
    }

    /// When the next pass is due; `None` while one runs, at whose end the node group is reconciled.
    fn due(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        let inner = self.0.lock();
        if inner.running {
            return None;
        }
        let pause = match &inner.last {
            Some(PassResult { result: Err(_), .. }) => RETRY,
            Some(last) if last.order == *order => INTERVAL,
            Some(_) | None => return Some(now),
        };
        let last = inner.last.as_ref().map_or(now, |last| last.at);
        Some(last.saturating_add(pause).unwrap_or(Timestamp::MAX))
    }

    fn start(&self, ctx: &Arc<Context>, group: &NodeGroup, cluster: String, access: Access, order: Order) {
        self.0.lock().running = true;
        let known = self.refusals(Timestamp::now());
        let running = Running { passes: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(group) };
        let pass = async move {
            let Running { passes, ctx, .. } = &running;
            // Another replica may lead by now.
            if !ctx.gate.may_write() {
                return;
            }
            let result = ctx
                .workloads
                .read(&cluster, &access, SystemTime::now(), async |client| {
                    eviction::pass(&client, &order, &known, Timestamp::now()).await
                })
                .await;
            passes.record(order, result, Timestamp::now());
        };
        let over = ctx.term_ended.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    /// Since when evictions are refused; none if the last pass was long ago.
    fn refusals(&self, now: Timestamp) -> Refusals {
        let inner = self.0.lock();
        let recent = inner.refusals.as_ref().filter(|(at, _)| now.duration_since(*at) < MAX_AGE);
        recent.map(|(_, refusals)| refusals.clone()).unwrap_or_default()
    }

    fn record(&self, order: Order, result: Result<(Drained, Refusals), GitOpsError>, now: Timestamp) {
        let mut inner = self.0.lock();
        let result = match result {
            Ok((found, refusals)) => {
                inner.refusals = Some((now, refusals));
                Ok(found)
            }
            Err(error) => {
                tracing::debug!(%error, "the nodes could not be drained");
                Err(error.to_string())
            }
        };
        inner.last = Some(PassResult { at: now, order, result });
    }
}

/// A running pass. However it ends, the node group is requeued.
struct Running {
    passes: Passes,
    ctx: Arc<Context>,
    object: ObjectRef<NodeGroup>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.passes.0.lock().running = false;
        self.ctx.queues.node_groups.push(self.object.clone(), Trigger::Workload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn order(leaves: &str) -> Order {
        Order { owner: "uid-1".into(), stays: "new".into(), leaves: leaves.into(), writes: true, evict: None }
    }

    #[test]
    fn old_or_failed_reading_proves_nothing() {
        let reading = |result| PassResult { at: at(100), order: order("old"), result };
        let found = reading(Ok(Drained { schedulable: 2, ..Drained::default() }));
        assert_eq!(found.nodes(at(110)).map(|nodes| (nodes.stays, nodes.schedulable)), Some(("new".to_owned(), 2)));
        assert_eq!(found.nodes(at(160)), None);
        assert_eq!(reading(Err("unreachable".into())).nodes(at(110)), None);
    }

    #[test]
    fn refusals_are_kept_past_a_failed_pass_and_not_past_a_long_pause() {
        let (passes, refusals) = (Passes::default(), Refusals::from([("uid-2".to_owned(), at(90))]));
        assert_eq!(passes.refusals(at(100)), Refusals::new());
        passes.record(order("old"), Ok((Drained::default(), refusals.clone())), at(100));
        passes.record(order("old"), Err(GitOpsError::Endpoint("none".into())), at(110));
        assert_eq!(passes.refusals(at(120)), refusals);
        assert!(passes.last().unwrap().result.is_err());
        assert_eq!(passes.refusals(at(160)), Refusals::new(), "nobody tried since");
    }

    #[test]
    fn another_order_is_due_at_once_and_a_failure_later() {
        let passes = Passes::default();
        assert_eq!(passes.due(&order("old"), at(100)), Some(at(100)));
        passes.0.lock().last = Some(PassResult { at: at(100), order: order("old"), result: Ok(Drained::default()) });
        assert_eq!(passes.due(&order("old"), at(101)), Some(at(103)));
        assert_eq!(passes.due(&order("other"), at(101)), Some(at(101)));
        passes.0.lock().last = Some(PassResult { at: at(100), order: order("old"), result: Err("unreachable".into()) });
        assert_eq!(passes.due(&order("other"), at(101)), Some(at(115)));
        passes.0.lock().running = true;
        assert_eq!(passes.due(&order("old"), at(200)), None);
    }
}
