//! What an upgrade needs to know of the workload cluster: its nodes, and the disruption budgets in it. Read beside the
//! reconcile, so that a cluster that does not answer holds up nothing in AWS; what was read is remembered for a while, and so is
//! that it could not be. I/O: through [`crate::gitops`], reads only.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::super::agent;
use crate::api::EksCluster;
use crate::controllers::context::{Context, locked};
use crate::engine::Memory;
use crate::gitops::budgets::{self, Budgets};
use crate::gitops::error::CallError;
use crate::gitops::nodes::{self, Nodes};
use crate::gitops::workload::Access;
use crate::resources::cloud::Cloud;
use crate::upgrade::preflight::Budget;

/// Nodes come and go during an upgrade: what is older is read again.
const REFRESHED: Duration = Duration::from_secs(20);
/// Reads follow each other no closer, however often all else is compared.
const SHORTEST: Duration = Duration::from_secs(1);
/// What is older is not believed any more.
const BELIEVED: SignedDuration = SignedDuration::from_secs(60);
/// A cluster that could not be read is left alone for at least so long.
const FAILED_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// A read of thousands of nodes takes seconds; one that takes longer than this is given up.
const DEADLINE: Duration = Duration::from_secs(30);

/// What was read at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub nodes: Nodes,
    /// Those that allow no disruption now; `None`: they could not be read.
    pub budgets: Option<Vec<Budget>>,
}

/// What is known of the workload cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is being read. Holds what it said before: too old to begin a step on, and good enough to say what is in its way.
    Reading(Option<Reading>),
    /// It could not be read. Holds why.
    Failed(String),
    /// What it said.
    Read(Reading),
}

impl Known {
    /// What it said, if it did.
    pub fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Read(reading) | Self::Reading(Some(reading)) => Some(reading),
            Self::Reading(None) | Self::Failed(_) => None,
        }
    }
}

/// The reads of one cluster. The read that runs beside writes it.
#[derive(Clone, Default)]
pub struct WorkloadReads(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    last: Option<(Timestamp, Result<Reading, String>)>,
    /// Of a cluster that could not be read: not before.
    not_before: Option<Timestamp>,
    /// How often everything was forgotten: what was begun before does not count.
    forgotten: u64,
}

impl WorkloadReads {
    /// What is known now.
    pub fn known(&self, now: Timestamp) -> Known {
        match &locked(&self.0).last {
            Some((at, Ok(reading))) if now.duration_since(*at) < BELIEVED => Known::Read(reading.clone()),
            Some((_, Ok(reading))) => Known::Reading(Some(reading.clone())),
            Some((_, Err(why))) => Known::Failed(why.clone()),
            None => Known::Reading(None),
        }
    }

    /// Whether a read is to begin. `drift`: how often all else is compared.
    pub fn is_due(&self, now: Timestamp, drift: Duration) -> bool {
        let inner = locked(&self.0);
        let fresh = match &inner.last {
            Some((at, Ok(_))) => now.duration_since(*at).unsigned_abs() < REFRESHED.min(drift.max(SHORTEST)),
            Some((_, Err(_))) | None => false,
        };
        !inner.running && !fresh && inner.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// Nothing is known any more, and the next read begins at once.
    pub fn forget(&self) {
        let mut inner = locked(&self.0);
        (inner.last, inner.not_before) = (None, None);
        inner.forgotten += 1;
    }

    /// Begins a read beside this reconcile. At its end the cluster is reconciled again.
    pub async fn begin(
        &self,
        ctx: &Arc<Context>,
        cluster: &EksCluster,
        cloud: &Cloud,
        memory: &Memory,
        now: Timestamp,
    ) {
        let sts = ctx.settings.sts_endpoint.as_deref();
        let asked = locked(&self.0).forgotten;
        let access = match agent::access(memory, &cluster.cluster_name(), &cloud.aws, sts).await {
            Ok(Some(access)) => access,
            Ok(None) => return self.ended(asked, Err("EKS gives no endpoint of its API yet".to_owned()), None, now),
            Err(verdict) => return self.ended(asked, Err(verdict.message), None, now),
        };
        locked(&self.0).running = true;
        let running = Running { reads: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(cluster) };
        let (this, context, uid) = (self.clone(), ctx.clone(), cluster.uid().unwrap_or_default());
        let pass = async move {
            let _running = running;
            let read = context.workloads.read(&uid, &access, SystemTime::now(), read);
            let (result, again) = match tokio::time::timeout(DEADLINE, read).await {
                Ok(Ok(reading)) => (Ok(reading), None),
                Ok(Err(error)) => (Err(error.to_string()), Some(error.requeue_after())),
                Err(_) => (Err(unanswered(&access)), None),
            };
            this.ended(asked, result, again, Timestamp::now());
        };
        let over = ctx.term_ended.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    fn ended(&self, asked: u64, result: Result<Reading, String>, again: Option<Duration>, now: Timestamp) {
        let mut inner = locked(&self.0);
        if inner.forgotten != asked {
            return;
        }
        inner.not_before = match &result {
            Ok(_) => None,
            Err(why) => {
                tracing::debug!(why, "the nodes and disruption budgets of a cluster could not be read");
                let again = again.and_then(|again| SignedDuration::try_from(again).ok());
                now.checked_add(again.unwrap_or(FAILED_AGAIN).max(FAILED_AGAIN)).ok()
            }
        };
        inner.last = Some((now, result));
    }
}

async fn read(client: kube::Client) -> Result<Reading, CallError> {
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
    Ok(Reading { nodes, budgets })
}

fn unanswered(access: &Access) -> String {
    format!("the cluster's API server {} did not answer within {} s", access.endpoint, DEADLINE.as_secs())
}

/// A read under way. However it ends, the cluster is reconciled.
struct Running {
    reads: WorkloadReads,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.reads.0).running = false;
        self.ctx.queues.clusters.push(self.object.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_believed_for_a_while_and_a_failure_is_remembered() {
        let (reads, at) = (WorkloadReads::default(), |second| Timestamp::from_second(second).unwrap());
        const DRIFT: Duration = Duration::from_secs(600);
        assert_eq!((reads.known(at(0)), reads.is_due(at(0), DRIFT)), (Known::Reading(None), true));
        reads.ended(0, Ok(Reading::default()), None, at(0));
        assert_eq!((reads.known(at(19)), reads.is_due(at(19), DRIFT)), (Known::Read(Reading::default()), false));
        assert_eq!((reads.known(at(59)), reads.is_due(at(20), DRIFT)), (Known::Read(Reading::default()), true));
        assert!(reads.is_due(at(3), Duration::from_secs(3)), "as often as all else is compared");
        assert_eq!(reads.known(at(60)), Known::Reading(Some(Reading::default())), "too old, and being read again");
        reads.ended(0, Err("no answer".into()), Some(Duration::from_secs(2)), at(70));
        assert_eq!((reads.known(at(84)), reads.is_due(at(84), DRIFT)), (Known::Failed("no answer".into()), false));
        assert!(reads.is_due(at(85), DRIFT));
        assert_eq!(reads.known(at(85)), Known::Failed("no answer".into()), "until it was read");
        reads.ended(0, Err("no answer".into()), Some(Duration::from_secs(60)), at(100));
        assert!(!reads.is_due(at(159), DRIFT) && reads.is_due(at(160), DRIFT));
        reads.forget();
        assert_eq!((reads.known(at(101)), reads.is_due(at(101), DRIFT)), (Known::Reading(None), true));
        reads.ended(0, Ok(Reading::default()), None, at(102));
        assert_eq!(reads.known(at(102)), Known::Reading(None), "it began before a person asked");
    }
}
