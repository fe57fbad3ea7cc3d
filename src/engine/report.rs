//! The result of one reconcile, and what remains to do. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::action::Action;
use super::change::Change;
use super::check::Violation;
use super::execution_policy::Facts;
use super::failure::{Failure, RetryState};
use super::key::Key;
use super::plan::{Plan, Verdict};
use super::resource::Operation;

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or an update that the cloud accepted. Holds the id.
    Done(String),
    /// A creation or deletion that the cloud accepted and that is in progress. Holds the id.
    InProgress(String),
    /// Failed.
    Failed(Failure),
}

/// A step that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// The resource.
    pub key: Key,
    /// The action.
    pub action: Action,
    /// The fields that an update changed.
    pub changes: Vec<Change>,
    /// The outcome.
    pub outcome: Outcome,
}

/// An operation that finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedOperation {
    /// The resource.
    pub key: Key,
    /// The operation.
    pub operation: Operation,
    /// The fields that it changed, if this process started it.
    pub changes: Vec<Change>,
    /// Start time.
    pub since: Timestamp,
    /// The approximate duration, or why it failed.
    pub result: Result<Duration, Failure>,
}

/// The result of a reconcile.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// What remains to do.
    pub plan: Plan,
    /// When to requeue, as far as the graph is concerned.
    pub next: Option<Timestamp>,
    /// The steps that ran.
    pub steps: Vec<StepResult>,
    /// The operations that finished, whoever started them.
    pub finished_operations: Vec<FinishedOperation>,
    /// Resources that carry the object's name and that sweeps do not delete, described for users.
    pub skipped: Vec<String>,
    /// Rules that the plan would have broken: no step ran.
    pub violations: Vec<Violation>,
    /// Expected duration of each remaining step.
    pub expected: BTreeMap<Key, Duration>,
    /// Values that the plan shows of its resources.
    pub facts: Facts,
}

impl Report {
    /// The steps that failed.
    pub fn failed_steps(&self) -> impl Iterator<Item = (&Key, Action, &Failure)> {
        self.steps.iter().filter_map(|step| match &step.outcome {
            Outcome::Failed(failure) => Some((&step.key, step.action, failure)),
            Outcome::Done(_) | Outcome::InProgress(_) => None,
        })
    }

    /// The resources whose last observation failed, in this reconcile or in an earlier one.
    pub fn failed_observations(&self) -> impl Iterator<Item = (&Key, &RetryState)> {
        self.plan.items.iter().filter_map(|item| match &item.verdict {
            Verdict::NotObserved(Some(failed)) => Some((&item.key, failed)),
            _ => None,
        })
    }
}
