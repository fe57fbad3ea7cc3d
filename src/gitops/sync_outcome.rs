//! One pass over one cluster, whatever its agent: within a time, and told as what it means for the whole cluster.
//!
//! May not enter: waiting. What takes time is looked at again. I/O: by the agents.

use std::time::Duration;

use super::error::{CallError, GitOpsError, Unreachable};
use super::input::AgentInput;
use super::object::ObjectId;
use super::verdict::Verdict;
use super::workload::Workload;
use super::{argocd, competing_agent, flux};
use crate::api::conditions::Reason;
use crate::api::status::GitOpsStatus;

/// A pass that takes longer is given up; its calls have timeouts of their own, but there are many.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a pass came to.
#[derive(Debug, Clone)]
pub struct GitOpsOutcome {
    /// For `status.gitops`; `None` while nothing is installed that could be asked.
    pub status: Option<GitOpsStatus>,
    /// All of it is applied: nothing was refused.
    pub complete: bool,
    /// For the GitOpsReady condition.
    pub verdict: Verdict,
    /// What was created or changed in the cluster, for an event.
    pub changed: Vec<ObjectId>,
    /// What Git has adopted and was let go of, for an event.
    pub released: Vec<ObjectId>,
    pub requeue_after: Duration,
}

/// Brings the agent to what `input` says and reads how it fares. Costs about eight small reads when nothing changed.
pub async fn reconcile(workload: &Workload, input: &AgentInput) -> Result<GitOpsOutcome, GitOpsError> {
    let pass = async {
        let mut outcome = match input {
            AgentInput::Flux(input) => flux::reconcile(workload, input).await,
            AgentInput::ArgoCd(input) => argocd::reconcile(workload, input).await,
        }?;
        outcome.verdict = outcome.verdict.with_note(competing_agent::describe(workload, input).await?);
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

/// Often while something is under way, less often the longer it takes, and as often as the source itself is asked when all is well.
/// `age` is in seconds, of what points the agent at the source.
pub fn requeue_after(verdict: &Verdict, age: i64, interval: Duration) -> Duration {
    let seconds = match verdict.reason {
        _ if verdict.ready => interval.as_secs().clamp(10, 60),
        Reason::SyncFailed | Reason::Suspended => 15,
        // The agent starts and fetches within seconds.
        _ if age < 15 => 1,
        _ if age < 120 => 2,
        // A new commit being applied in a cluster of long standing, or one that never comes up.
        _ => 5,
    };
    Duration::from_secs(seconds)
}
