//! What one reconcile did and what is left to do. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::check::Violation;
use super::execution_policy::Facts;
use super::failure::Failure;
use super::key::Key;
use super::plan::{Action, Plan, Verdict};
use super::resource::{Change, Operation};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or a change that the cloud has taken up. Holds the id.
    Done(String),
    /// A deletion that the cloud has taken up. Holds the id.
    Begun(String),
    /// Failed.
    Failed(Failure),
}

/// A step that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// On which resource.
    pub key: Key,
    /// What.
    pub action: Action,
    /// The fields that an update changed.
    pub changes: Vec<Change>,
    /// How it ended.
    pub outcome: Outcome,
}

/// An operation whose end was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedOperation {
    /// On which resource.
    pub key: Key,
    /// Which.
    pub operation: Operation,
    /// The fields that it changed, where this process began it.
    pub changes: Vec<Change>,
    /// When it began.
    pub since: Timestamp,
    /// How long it took about, or why it came to nothing.
    pub result: Result<Duration, Failure>,
}

/// What a reconcile came to.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// What is left to do after it.
    pub plan: Plan,
    /// When to look again, as far as the graph goes.
    pub next: Option<Timestamp>,
    /// The steps that were run.
    pub steps: Vec<StepResult>,
    /// The operations that ended, whoever began them.
    pub ended: Vec<FinishedOperation>,
    /// What sweeps left alone although it carries the object's name, described for people.
    pub left: Vec<String>,
    /// Rules that the plan would have broken: nothing was done.
    pub violations: Vec<Violation>,
    /// How long each step that is left should take.
    pub expected: BTreeMap<Key, Duration>,
    /// What people read of the resources of the plan.
    pub facts: Facts,
}

impl Report {
    /// What failed: a step, else a look that nothing replaces.
    pub fn failure(&self) -> Option<&Failure> {
        let step = self.steps.iter().find_map(|one| match &one.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Done(_) | Outcome::Begun(_) => None,
        });
        let unseen = || {
            self.plan.items.iter().find_map(|item| match &item.verdict {
                Verdict::Unseen(Some(failed)) => Some(&failed.failure),
                _ => None,
            })
        };
        step.or_else(unseen)
    }
}
