//! One pass over one cluster, whatever its agent: within a time, and told as what it means for the whole cluster.
//!
//! May not enter: waiting. What takes time is looked at again. I/O: by the agents.

use std::time::Duration;

use super::error::{CallError, GitOpsError, Unreachable};
use super::flux;
use super::input::AgentInput;
use super::object::ObjectId;
use super::verdict::Verdict;
use super::workload::Workload;
use crate::api::status::GitOpsStatus;

/// A pass that takes longer is given up; its calls have timeouts of their own, but there are many.
const LONGEST_PASS: Duration = Duration::from_secs(60);

/// What a pass came to.
#[derive(Debug, Clone)]
pub struct GitOpsOutcome {
    /// For `status.gitops`; `None` while nothing is installed that could be asked.
    pub status: Option<GitOpsStatus>,
    /// For the GitOpsReady condition.
    pub verdict: Verdict,
    /// What was created or changed in the cluster, for an event.
    pub changed: Vec<ObjectId>,
    /// What Git has adopted and was let go of, for an event.
    pub let_go: Vec<ObjectId>,
    pub look_again: Duration,
}

/// Brings the agent to what `input` says and reads how it fares. Costs about eight small reads when nothing changed.
pub async fn reconcile(workload: &Workload, input: &AgentInput) -> Result<GitOpsOutcome, GitOpsError> {
    let pass = async {
        match input {
            AgentInput::Flux(input) => flux::pass(workload, input).await,
        }
    };
    let outcome = tokio::time::timeout(LONGEST_PASS, pass).await;
    match outcome.unwrap_or(Err(CallError::Unreachable(Unreachable::Timeout))) {
        Ok(outcome) => {
            workload.reached();
            Ok(outcome)
        }
        Err(error) => Err(workload.failed(error)),
    }
}
