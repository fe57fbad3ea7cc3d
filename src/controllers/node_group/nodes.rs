//! The nodes of a node group as its cluster's API shows them. Read in the background, so that an unreachable cluster
//! delays nothing in AWS. I/O: through [`crate::workload`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::eks_update::{evictions_failed, replaces_nodes};
use super::record::key;
use crate::api::listing::{counted, first_few_joined};
use crate::api::{EksCluster, NodeGroup};
use crate::aws::Session;
use crate::controllers::cluster::agent;
use crate::controllers::cluster::status::facts::Facts;
use crate::controllers::context::Context;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::engine::Memory;
use crate::workload::budgets::{self, BlockedPod};
use crate::workload::client::Access;
use crate::workload::nodes::{self, Count};
use crate::workload::{GitOpsError, Workloads};

/// Interval while nodes are replaced.
const WHILE_UPDATING: SignedDuration = SignedDuration::from_secs(5);
/// Interval while the number of nodes differs from AWS's desired size, doubled each time: an autoscaler may have
/// changed that size since.
const WHILE_SCALING: SignedDuration = SignedDuration::from_secs(5);
/// Interval while the cluster's API is not located, or is unreachable.
const UNLOCATED: SignedDuration = SignedDuration::from_secs(15);
/// After a read that ended without a result (a panic).
const PANIC_RETRY: SignedDuration = SignedDuration::from_secs(60);

/// The observed nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodesObservation {
    /// `None`: unknown.
    pub count: Option<Count>,
    /// Pods that cannot be evicted, when an update failed because of them.
    pub guarded: Vec<BlockedPod>,
}

/// What the reads are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// An update replaces nodes.
    pub updating: bool,
    /// An update failed because pods could not be evicted.
    pub evictions: bool,
    /// The desired number of nodes.
    pub desired: Option<i32>,
}

impl Interest {
    /// Whether the nodes match the desired number.
    fn is_met(self, observed: &NodesObservation) -> bool {
        observed
            .count
            .as_ref()
            .is_some_and(|count| Some(count.ready) == self.desired && Some(count.total) == self.desired)
    }

    /// How long a result stays valid, after `unmet` consecutive reads found another number of nodes.
    fn pause(self, unmet: u32, drift: Duration) -> SignedDuration {
        let drift = SignedDuration::try_from(drift).unwrap_or(SignedDuration::MAX);
        let pause = match (self.updating, unmet) {
            (true, _) => WHILE_UPDATING,
            (false, 0) => drift,
            (false, unmet) => WHILE_SCALING.saturating_mul(1 << (unmet - 1).min(10)),
        };
        pause.min(drift)
    }
}

/// In-memory state of a node group's nodes, shared with the background read.
#[derive(Clone, Default)]
pub struct NodeReads(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    /// When the last read ended, and what it was for.
    read: Option<(Timestamp, Interest)>,
    /// Earliest next read after a failure.
    not_before: Option<Timestamp>,
    /// Consecutive reads, for the same interest, that found another number of nodes.
    unmet: u32,
    observed: NodesObservation,
}

impl NodeReads {
    /// The last observation.
    pub fn last_observation(&self) -> NodesObservation {
        self.0.lock().observed.clone()
    }

    /// Discards what is known, so that everything is observed again.
    pub fn forget(&self) {
        let mut inner = self.0.lock();
        (inner.read, inner.not_before) = (None, None);
    }

    /// Starts a read when one is due, and returns when the next is.
    pub async fn poll(
        &self,
        ctx: &Arc<Context>,
        group: &NodeGroup,
        cluster: &EksCluster,
        session: &Session,
        memory: &Memory,
    ) -> Option<Timestamp> {
        let (facts, key, now) = (Facts(memory), key(group), Timestamp::now());
        // Without an Auto Scaling group there is no node yet.
        facts.output(&key, "autoScalingGroups").filter(|groups| groups != "[]")?;
        let interest = Interest {
            updating: replaces_nodes(memory, &key),
            evictions: evictions_failed(memory, &key),
            desired: facts.output(&key, "desired").and_then(|desired| desired.parse().ok()),
        };
        let due = self.due(interest, ctx.settings.intervals.drift, now)?;
        if due > now {
            return Some(due);
        }
        match agent::access_of(ctx, cluster, session).await {
            Some(access) => {
                self.start(ctx, group, cluster.uid().unwrap_or_default(), access, interest);
                None
            }
            // This process has not observed its cluster yet.
            None => now.checked_add(UNLOCATED).ok(),
        }
    }

    /// When the next read is due; `None` while one runs, at whose end the node group is reconciled.
    fn due(&self, interest: Interest, drift: Duration, now: Timestamp) -> Option<Timestamp> {
        let inner = self.0.lock();
        if inner.running {
            return None;
        }
        let due = match inner.read {
            Some((at, of)) if of == interest => {
                at.saturating_add(interest.pause(inner.unmet, drift)).unwrap_or(Timestamp::MAX)
            }
            _ => now,
        };
        Some(inner.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    /// Starts a read in the background.
    fn start(&self, ctx: &Arc<Context>, group: &NodeGroup, cluster: String, access: Access, interest: Interest) {
        self.0.lock().running = true;
        let (this, name, object) = (self.clone(), group.node_group_name(), ObjectRef::from_obj(group));
        let (workloads, running) = (ctx.workloads.clone(), Running { reads: self.clone(), ctx: ctx.clone(), object });
        let pass = async move {
            let _running = running;
            let result = read(&workloads, &cluster, &access, &name, interest).await;
            this.record_result(result, interest, Timestamp::now());
        };
        let over = ctx.term_ended.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    fn record_result(&self, result: Result<NodesObservation, GitOpsError>, interest: Interest, now: Timestamp) {
        let mut inner = self.0.lock();
        let same = inner.read.is_some_and(|(_, of)| of == interest);
        inner.read = Some((now, interest));
        match result {
            Ok(observed) => {
                let unmet = if same { inner.unmet.saturating_add(1) } else { 1 };
                inner.unmet = if interest.is_met(&observed) { 0 } else { unmet };
                inner.observed = observed;
                inner.not_before = None;
            }
            Err(error) => {
                tracing::debug!(%error, "the nodes could not be read");
                inner.observed = NodesObservation::default();
                let pause = SignedDuration::try_from(error.requeue_after()).unwrap_or(PANIC_RETRY).max(UNLOCATED);
                inner.not_before = now.checked_add(pause).ok();
            }
        }
    }
}

async fn read(
    workloads: &Workloads,
    cluster: &str,
    access: &Access,
    name: &str,
    interest: Interest,
) -> Result<NodesObservation, GitOpsError> {
    workloads
        .read(cluster, access, SystemTime::now(), async |client| {
            let count = Some(nodes::nodes_of(&client, name).await?);
            let guarded = if interest.evictions {
                let draining = nodes::draining(&client, name).await?;
                budgets::blocked_pods(&client, &draining).await?
            } else {
                Vec::new()
            };
            Ok(NodesObservation { count, guarded })
        })
        .await
}

/// A running read. However it ends, the node group is requeued.
struct Running {
    reads: NodeReads,
    ctx: Arc<Context>,
    object: ObjectRef<NodeGroup>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.reads.0.lock().running = false;
        self.ctx.queues.node_groups.push(self.object.clone(), Trigger::Workload);
    }
}

/// "2 of 5 nodes on v1.34, 1 cordoned, 0 not ready". `version`: the Kubernetes version that they will run.
pub fn progress(count: &Count, version: Option<&str>) -> String {
    let Count { total, ready, cordoned, kubelets } = count;
    let on = match version {
        Some(version) => {
            let prefix = format!("v{version}.");
            let there: i32 = kubelets.iter().filter(|(k, _)| k.starts_with(&prefix)).map(|(_, k)| k.nodes).sum();
            format!("{there} of {} on v{version}", counted(*total, "node"))
        }
        None => counted(*total, "node"),
    };
    format!("{on}, {cordoned} cordoned, {} not ready", total - ready)
}

/// Pods that block an update, for the user: five of them by name.
pub fn describe_guarded(guarded: &[BlockedPod]) -> String {
    const NAMED: usize = 5;
    first_few_joined(guarded, NAMED, "; ", "; and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::nodes::Kubelets;

    const DRIFT: Duration = Duration::from_secs(600);

    fn count(total: i32, ready: i32) -> Count {
        let of = |nodes| Kubelets { nodes, example: "a".into() };
        let kubelets = [("v1.34.4-eks-1".to_owned(), of(2)), ("v1.33.7-eks-1".to_owned(), of(total - 2))];
        Count { total, ready, cordoned: 1, kubelets: kubelets.into() }
    }

    #[test]
    fn progress_counts_nodes_on_the_target_version() {
        assert_eq!(progress(&count(5, 5), Some("1.34")), "2 of 5 nodes on v1.34, 1 cordoned, 0 not ready");
        assert_eq!(progress(&count(5, 4), None), "5 nodes, 1 cordoned, 1 not ready");
        assert_eq!(progress(&count(5, 4), Some("1.3")), "0 of 5 nodes on v1.3, 1 cordoned, 1 not ready");
    }

    fn steady(desired: i32) -> Interest {
        Interest { updating: false, evictions: false, desired: Some(desired) }
    }

    #[test]
    fn steady_nodes_are_read_at_the_drift_interval() {
        let (reads, now) = (NodeReads::default(), Timestamp::UNIX_EPOCH);
        let after = |seconds| Some(now + SignedDuration::from_secs(seconds));
        assert_eq!(reads.due(steady(3), DRIFT, now), Some(now), "never read");
        reads.record_result(Ok(NodesObservation { count: Some(count(3, 3)), guarded: Vec::new() }), steady(3), now);
        assert_eq!(reads.due(steady(3), DRIFT, now), after(600));
        assert_eq!(reads.due(steady(4), DRIFT, now), Some(now), "one node must join");
        assert_eq!(reads.due(Interest { evictions: true, ..steady(3) }, DRIFT, now), Some(now), "another interest");
        let updating = Interest { updating: true, ..steady(3) };
        reads.record_result(Ok(NodesObservation { count: Some(count(4, 3)), guarded: Vec::new() }), updating, now);
        assert_eq!(reads.due(updating, DRIFT, now), after(5));
    }

    #[test]
    fn an_unmet_node_count_is_polled_with_backoff() {
        let (reads, now) = (NodeReads::default(), Timestamp::UNIX_EPOCH);
        let pauses: Vec<i64> = (0..9)
            .map(|_| {
                reads.record_result(
                    Ok(NodesObservation { count: Some(count(5, 5)), guarded: Vec::new() }),
                    steady(3),
                    now,
                );
                reads.due(steady(3), DRIFT, now).unwrap().as_second()
            })
            .collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn an_unreachable_cluster_is_unknown_and_retried_later() {
        let (reads, now) = (NodeReads::default(), Timestamp::UNIX_EPOCH);
        reads.record_result(Ok(NodesObservation { count: Some(count(3, 3)), guarded: Vec::new() }), steady(3), now);
        reads.record_result(Err(GitOpsError::Endpoint("none".into())), steady(3), now);
        assert_eq!(reads.last_observation(), NodesObservation::default());
        let updating = Interest { updating: true, ..steady(3) };
        assert_eq!(reads.due(updating, DRIFT, now), Some(now + SignedDuration::from_secs(60)));
    }
}
