//! What an upgrade must know of the workload cluster: its nodes and disruption budgets. Read in the background, so
//! that an unreachable cluster delays nothing in AWS; results and failures are kept for a while. I/O: through
//! [`crate::workload`], reads only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::super::agent;
use crate::api::EksCluster;
use crate::controllers::context::Context;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::engine::Memory;
use crate::resources::cloud::Cloud;
use crate::upgrade::preflight::Budget;
use crate::workload::budgets::{self, Budgets};
use crate::workload::client::Access;
use crate::workload::error::CallError;
use crate::workload::nodes::{self, Nodes};

/// Nodes change during an upgrade: older results are read again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(20);
/// Minimum interval between reads, however short the drift interval is.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Older results are not used any more.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(60);
/// Minimum pause after a read that failed.
const RETRY_PAUSE: SignedDuration = SignedDuration::from_secs(15);
/// Timeout of a read; thousands of nodes take seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// What was read at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadReading {
    pub nodes: Nodes,
    /// The budgets that allow no disruption now; `None`: they could not be read.
    pub budgets: Option<Vec<Budget>>,
}

/// What is known of the workload cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadState {
    /// A read is running. Holds the previous result: too old to start a step on, good enough to report what blocks
    /// it.
    Reading(Option<WorkloadReading>),
    /// The read failed. Holds why.
    Failed(String),
    /// The result.
    Read(WorkloadReading),
}

impl WorkloadState {
    /// The result, if there is one.
    pub fn reading(&self) -> Option<&WorkloadReading> {
        match self {
            Self::Read(reading) | Self::Reading(Some(reading)) => Some(reading),
            Self::Reading(None) | Self::Failed(_) => None,
        }
    }
}

/// The reads of one cluster, shared with the background read.
#[derive(Clone, Default)]
pub struct WorkloadReads(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    last: Option<(Timestamp, Result<WorkloadReading, String>)>,
    /// Earliest next read after a failure.
    not_before: Option<Timestamp>,
    /// How often everything was discarded: the result of a read that started before does not count.
    generation: u64,
}

impl WorkloadReads {
    /// What is known now.
    pub fn known(&self, now: Timestamp) -> WorkloadState {
        match &self.0.lock().last {
            Some((at, Ok(reading))) if now.duration_since(*at) < MAX_AGE => WorkloadState::Read(reading.clone()),
            Some((_, Ok(reading))) => WorkloadState::Reading(Some(reading.clone())),
            Some((_, Err(why))) => WorkloadState::Failed(why.clone()),
            None => WorkloadState::Reading(None),
        }
    }

    /// Whether a read is due. `drift`: the drift interval.
    pub fn is_due(&self, now: Timestamp, drift: Duration) -> bool {
        let inner = self.0.lock();
        let fresh = match &inner.last {
            Some((at, Ok(_))) => now.duration_since(*at).unsigned_abs() < REFRESH_INTERVAL.min(drift.max(MIN_INTERVAL)),
            Some((_, Err(_))) | None => false,
        };
        !inner.running && !fresh && inner.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// Discards what is known; the next read starts at once.
    pub fn forget(&self) {
        let mut inner = self.0.lock();
        (inner.last, inner.not_before) = (None, None);
        inner.generation += 1;
    }

    /// Starts a read in the background. When it ends, the cluster is reconciled again.
    pub async fn start_read(
        &self,
        ctx: &Arc<Context>,
        cluster: &EksCluster,
        cloud: &Cloud,
        memory: &Memory,
        now: Timestamp,
    ) {
        let sts = ctx.settings.sts_endpoint.as_deref();
        let generation = self.0.lock().generation;
        let access = match agent::access(memory, &cluster.cluster_name(), &cloud.aws, sts).await {
            Ok(Some(access)) => access,
            Ok(None) => {
                return self.finish_read(generation, Err("EKS reports no API endpoint yet".to_owned()), None, now);
            }
            Err(verdict) => return self.finish_read(generation, Err(verdict.message), None, now),
        };
        self.0.lock().running = true;
        let running = Running { reads: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(cluster) };
        let (this, context, uid) = (self.clone(), ctx.clone(), cluster.uid().unwrap_or_default());
        let pass = async move {
            let _running = running;
            let read = context.workloads.read(&uid, &access, SystemTime::now(), read);
            let (result, again) = match tokio::time::timeout(DEADLINE, read).await {
                Ok(Ok(reading)) => (Ok(reading), None),
                Ok(Err(error)) => (Err(error.to_string()), Some(error.requeue_after())),
                Err(_) => (Err(timeout_message(&access)), None),
            };
            this.finish_read(generation, result, again, Timestamp::now());
        };
        let over = ctx.term_ended.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    fn finish_read(
        &self,
        generation: u64,
        result: Result<WorkloadReading, String>,
        again: Option<Duration>,
        now: Timestamp,
    ) {
        let mut inner = self.0.lock();
        if inner.generation != generation {
            return;
        }
        inner.not_before = match &result {
            Ok(_) => None,
            Err(why) => {
                tracing::debug!(why, "the nodes and disruption budgets of a cluster could not be read");
                let again = again.and_then(|again| SignedDuration::try_from(again).ok());
                now.checked_add(again.unwrap_or(RETRY_PAUSE).max(RETRY_PAUSE)).ok()
            }
        };
        inner.last = Some((now, result));
    }
}

async fn read(client: kube::Client) -> Result<WorkloadReading, CallError> {
    let nodes = nodes::nodes(&client).await?;
    let budget = |never| move |name| Budget { name, never };
    let budgets = match budgets::budgets(&client).await {
        Ok(Budgets { never, not_now }) => {
            Some(never.into_iter().map(budget(true)).chain(not_now.into_iter().map(budget(false))).collect())
        }
        Err(error @ CallError::Unreachable(_)) => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "the disruption budgets of a cluster could not be read");
            None
        }
    };
    Ok(WorkloadReading { nodes, budgets })
}

fn timeout_message(access: &Access) -> String {
    format!("the cluster's API server {} did not answer within {} s", access.endpoint, DEADLINE.as_secs())
}

/// A running read. However it ends, the cluster is reconciled.
struct Running {
    reads: WorkloadReads,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.reads.0.lock().running = false;
        self.ctx.queues.clusters.push(self.object.clone(), Trigger::Workload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_failures_are_cached_for_a_while() {
        let (reads, at) = (WorkloadReads::default(), |second| Timestamp::from_second(second).unwrap());
        const DRIFT: Duration = Duration::from_secs(600);
        assert_eq!((reads.known(at(0)), reads.is_due(at(0), DRIFT)), (WorkloadState::Reading(None), true));
        reads.finish_read(0, Ok(WorkloadReading::default()), None, at(0));
        assert_eq!(
            (reads.known(at(19)), reads.is_due(at(19), DRIFT)),
            (WorkloadState::Read(WorkloadReading::default()), false)
        );
        assert_eq!(
            (reads.known(at(59)), reads.is_due(at(20), DRIFT)),
            (WorkloadState::Read(WorkloadReading::default()), true)
        );
        assert!(reads.is_due(at(3), Duration::from_secs(3)), "at the drift interval");
        assert_eq!(
            reads.known(at(60)),
            WorkloadState::Reading(Some(WorkloadReading::default())),
            "too old, and read again"
        );
        reads.finish_read(0, Err("no answer".into()), Some(Duration::from_secs(2)), at(70));
        assert_eq!(
            (reads.known(at(84)), reads.is_due(at(84), DRIFT)),
            (WorkloadState::Failed("no answer".into()), false)
        );
        assert!(reads.is_due(at(85), DRIFT));
        assert_eq!(reads.known(at(85)), WorkloadState::Failed("no answer".into()), "until it is read");
        reads.finish_read(0, Err("no answer".into()), Some(Duration::from_secs(60)), at(100));
        assert!(!reads.is_due(at(159), DRIFT) && reads.is_due(at(160), DRIFT));
        reads.forget();
        assert_eq!((reads.known(at(101)), reads.is_due(at(101), DRIFT)), (WorkloadState::Reading(None), true));
        reads.finish_read(0, Ok(WorkloadReading::default()), None, at(102));
        assert_eq!(reads.known(at(102)), WorkloadState::Reading(None), "it started before everything was discarded");
    }
}
