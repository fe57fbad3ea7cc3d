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
const REFRESHED: SignedDuration = SignedDuration::from_secs(20);
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
    /// Nothing yet: it is being read.
    Reading,
    /// It could not be read. Holds why.
    Failed(String),
    /// What it said.
    Read(Reading),
}

impl Known {
    /// What it said, if it did.
    pub fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Read(reading) => Some(reading),
            Self::Reading | Self::Failed(_) => None,
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
    /// No read begins before.
    not_before: Option<Timestamp>,
}

impl WorkloadReads {
    /// What is known now.
    pub fn known(&self, now: Timestamp) -> Known {
        match &locked(&self.0).last {
            Some((at, Ok(reading))) if now.duration_since(*at) < BELIEVED => Known::Read(reading.clone()),
            Some((_, Err(why))) => Known::Failed(why.clone()),
            _ => Known::Reading,
        }
    }

    /// Whether a read is to begin.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let inner = locked(&self.0);
        !inner.running && inner.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// The next read begins at once.
    pub fn forget(&self) {
        locked(&self.0).not_before = None;
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
        let access = match agent::access(memory, &cluster.cluster_name(), &cloud.aws, sts).await {
            Ok(Some(access)) => access,
            Ok(None) => return self.ended(Err("EKS gives no endpoint of its API yet".to_owned()), None, now),
            Err(verdict) => return self.ended(Err(verdict.message), None, now),
        };
        locked(&self.0).running = true;
        let running = Running { reads: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(cluster) };
        let (this, context, uid) = (self.clone(), ctx.clone(), cluster.uid().unwrap_or_default());
        let pass = async move {
            let _running = running;
            let read = context.workloads.read(&uid, &access, SystemTime::now(), read);
            let (result, again) = match tokio::time::timeout(DEADLINE, read).await {
                Ok(Ok(reading)) => (Ok(reading), None),
                Ok(Err(error)) => (Err(error.to_string()), Some(error.look_again())),
                Err(_) => (Err(unanswered(&access)), None),
            };
            this.ended(result, again, Timestamp::now());
        };
        let over = ctx.over.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    fn ended(&self, result: Result<Reading, String>, again: Option<Duration>, now: Timestamp) {
        let pause = match &result {
            Ok(_) => REFRESHED,
            Err(why) => {
                tracing::debug!(why, "the nodes and disruption budgets of a cluster could not be read");
                let again = again.and_then(|again| SignedDuration::try_from(again).ok());
                again.unwrap_or(FAILED_AGAIN).max(FAILED_AGAIN)
            }
        };
        let mut inner = locked(&self.0);
        inner.last = Some((now, result));
        inner.not_before = now.checked_add(pause).ok();
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
        assert_eq!((reads.known(at(0)), reads.is_due(at(0))), (Known::Reading, true));
        reads.ended(Ok(Reading::default()), None, at(0));
        assert_eq!((reads.known(at(19)), reads.is_due(at(19))), (Known::Read(Reading::default()), false));
        assert_eq!((reads.known(at(59)), reads.is_due(at(20))), (Known::Read(Reading::default()), true));
        assert_eq!(reads.known(at(60)), Known::Reading, "too old, and being read again");
        reads.ended(Err("no answer".into()), Some(Duration::from_secs(2)), at(70));
        assert_eq!((reads.known(at(84)), reads.is_due(at(84))), (Known::Failed("no answer".into()), false));
        assert!(reads.is_due(at(85)));
        assert_eq!(reads.known(at(85)), Known::Failed("no answer".into()), "until it was read");
        reads.ended(Err("no answer".into()), Some(Duration::from_secs(60)), at(100));
        assert!(!reads.is_due(at(159)) && reads.is_due(at(160)));
        reads.forget();
        assert!(reads.is_due(at(101)));
    }
}
