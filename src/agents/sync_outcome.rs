//! Reconciles the agent of one cluster within a timeout, and classifies failures for the whole cluster.
//!
//! Not allowed here: which agent; waiting: the caller requeues. I/O: by the agents.

use std::time::{Duration, SystemTime};

use super::agent::{Agent, Reconcilable};
use super::competing_agent;
use super::gitops_condition::Verdict;
use crate::api::conditions::Reason;
use crate::api::status_cluster::GitOpsStatus;
use crate::workload::client::{Access, Workload, Workloads};
use crate::workload::error::{CallError, GitOpsError, Unreachable};
use crate::workload::object::ObjectId;

/// Timeout of one reconcile; its calls have their own timeouts, but there are many.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of one reconcile.
#[derive(Debug, Clone)]
pub struct GitOpsOutcome {
    /// For `status.gitops`; `None` until the agent is installed.
    pub status: Option<GitOpsStatus>,
    /// Everything is applied: no object was rejected.
    pub complete: bool,
    /// For the GitOpsReady condition.
    pub verdict: Verdict,
    /// Objects that were created or changed, for an event.
    pub changed: Vec<ObjectId>,
    /// Objects that Git adopted and that were released, for an event.
    pub released: Vec<ObjectId>,
    pub requeue_after: Duration,
}

/// Reconciles the agent of one cluster with `input`, and reads its state. `agents`: all that may be installed. `key`: as in [`Workloads::open`]. Costs about
/// eight small reads when nothing changed.
pub async fn reconcile(
    workloads: &Workloads,
    agents: &[&dyn Agent],
    (key, access): (&str, &Access),
    input: &dyn Reconcilable,
    now: SystemTime,
) -> Result<GitOpsOutcome, GitOpsError> {
    let result = pass(&workloads.open(key, access, now)?, agents, input).await;
    if matches!(result, Err(GitOpsError::Denied { .. })) {
        workloads.renew(key);
    }
    result
}

async fn pass(
    workload: &Workload,
    agents: &[&dyn Agent],
    input: &dyn Reconcilable,
) -> Result<GitOpsOutcome, GitOpsError> {
    let pass = async {
        let mut outcome = input.reconcile(workload).await?;
        let competing = competing_agent::describe(workload, agents, input.agent()).await?;
        outcome.verdict = outcome.verdict.with_note(competing);
        Ok(outcome)
    };
    let outcome = tokio::time::timeout(RECONCILE_TIMEOUT, pass).await;
    match outcome.unwrap_or(Err(CallError::Unreachable(Unreachable::Timeout))) {
        Ok(outcome) => {
            workload.record_reachable();
            Ok(outcome)
        }
        Err(error) => Err(workload.record_failure(error)),
    }
}

/// Short while a sync is in progress, longer as it takes longer; when ready, the source's own interval (10 to 60
/// seconds). `age` is the age in seconds of the object that points the agent at the source.
pub fn requeue_after(verdict: &Verdict, age: i64, interval: Duration) -> Duration {
    let seconds = match verdict.reason {
        _ if verdict.ready => interval.as_secs().clamp(10, 60),
        Reason::SyncFailed | Reason::Suspended => 15,
        // The agent usually starts and fetches within seconds.
        _ if age < 15 => 1,
        _ if age < 120 => 2,
        // A new commit in an old cluster, or an agent that does not start.
        _ => 5,
    };
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reason: Reason, ready: bool, age: i64, interval: u64) -> u64 {
        let verdict = Verdict { ready, reason, message: String::new() };
        requeue_after(&verdict, age, Duration::from_secs(interval)).as_secs()
    }

    #[test]
    fn requeue_is_short_while_in_progress_and_long_when_ready() {
        assert_eq!(after(Reason::WaitingForSync, false, 10, 60), 1);
        assert_eq!(after(Reason::WaitingForSync, false, 60, 60), 2);
        assert_eq!(after(Reason::WaitingForSync, false, 1000, 60), 5);
        assert_eq!(after(Reason::SyncFailed, false, 10, 60), 15);
        assert_eq!(after(Reason::Available, true, 10, 60), 60);
    }

    #[test]
    fn requeue_follows_a_short_source_interval() {
        assert_eq!(after(Reason::Available, true, 0, 15), 15);
        assert_eq!(after(Reason::Available, true, 0, 1), 10);
    }
}
