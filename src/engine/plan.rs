//! A plan: the steps of each resource, and why a step does not run. Pure. [`super::planner`] creates it.

use jiff::Timestamp;

use super::action::{Action, Goal};
use super::change::Change;
use super::failure::{Class, RetryState};
use super::key::Key;
use super::resource::Operation;

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The action.
    pub action: Action,
    /// The fields that differ; an update may apply them in batches.
    pub changes: Vec<Change>,
    /// The reason, where it is not obvious.
    pub reason: Option<String>,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// Another resource that must be ready or deleted.
    Resource(Key),
    /// A condition outside the graph.
    Gate(Key, String),
    /// The time of the next retry.
    Retry(RetryState),
    /// The end of the read-after-write window: an absent resource counts as absent only after it.
    ReadAfterWrite(Timestamp),
}

/// Why a step is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// The policy is observe-only.
    Observe,
    /// It is not approved yet.
    Approval,
    /// A user holds the object: nothing begins.
    OnHold,
    /// It corrects drift, and the policy reports drift only.
    Drift,
}

/// Why a resource is blocked until a user acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// It belongs to another owner. Holds the owner.
    Foreign(String),
    /// It failed in the cloud. Holds the reason.
    Failed(Class, String),
    /// It existed, is gone, and is not recreated automatically. Holds what to do.
    Irreplaceable(String),
}

/// The plan of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As desired (for a deletion: deleted, or not owned).
    Settled,
    /// Runs now.
    Step(Step),
    /// Runs later.
    Pending(Step, Vec<WaitingOn>),
    /// Held by policy.
    Held(Step, HoldReason),
    /// The cloud is running an operation.
    Waiting {
        /// The action in progress.
        action: Action,
        /// Start time.
        since: Timestamp,
        /// Expected end.
        until: Timestamp,
        /// What the cloud reports, if anything.
        note: String,
        /// The operation that carries it out, if it has an id.
        operation: Option<Operation>,
    },
    /// Deleted together with that resource.
    DeletedWith(Key),
    /// Its state could not be observed.
    NotObserved(Option<RetryState>),
    /// A user must act.
    Blocked(Block),
}

/// A resource in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The resource.
    pub key: Key,
    /// What happens to it.
    pub verdict: Verdict,
    /// Differences that no call can correct.
    pub forbidden: Vec<Change>,
    /// Drift that is reported and not corrected.
    pub drift: Vec<Change>,
}

/// The steps of all resources, in an order in which they can run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// The goal.
    pub goal: Goal,
    /// The resources.
    pub items: Vec<Item>,
}

impl Plan {
    /// Steps that can run now.
    pub fn ready_steps(&self) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(|item| match &item.verdict {
            Verdict::Step(step) => Some((&item.key, step)),
            _ => None,
        })
    }

    /// All steps, including later and held ones; without drift that is not corrected.
    pub fn steps(&self) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(|item| match &item.verdict {
            Verdict::Held(_, HoldReason::Drift) => None,
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _) => Some((&item.key, step)),
            _ => None,
        })
    }

    /// Steps held for that reason.
    pub fn held_steps(&self, why: HoldReason) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(move |item| match &item.verdict {
            Verdict::Held(step, held) if *held == why => Some((&item.key, step)),
            _ => None,
        })
    }

    /// The verdict on one resource.
    pub fn verdict(&self, key: &Key) -> Option<&Verdict> {
        self.items.iter().find(|item| item.key == *key).map(|item| &item.verdict)
    }

    /// True when there is nothing to do or wait for.
    pub fn is_settled(&self) -> bool {
        self.items.iter().all(|i| i.verdict == Verdict::Settled && i.forbidden.is_empty())
    }

    /// "4 to create, 1 to update, 0 to delete", plus adoptions and releases if any.
    pub fn summary(&self) -> String {
        let count = |action| self.steps().filter(|(_, step)| step.action == action).count();
        let mut text = format!(
            "{} to create, {} to update, {} to delete",
            count(Action::Create),
            count(Action::Update),
            count(Action::Delete)
        );
        for (action, verb) in [(Action::Adopt, "adopt"), (Action::Release, "release")] {
            if count(action) > 0 {
                text = format!("{text}, {} to {verb}", count(action));
            }
        }
        text
    }
}
