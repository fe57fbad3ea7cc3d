//! A plan: what is to be done, resource by resource, and why something is not. Pure. [`super::planner`] makes them.

use jiff::Timestamp;

use super::execution_policy::HoldReason;
use super::failure::{Class, Failed};
use super::key::Key;
use super::resource::{Change, Operation};

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Make it.
    Create,
    /// Change it in place.
    Update,
    /// Make it ours as it is.
    Adopt,
    /// Delete it.
    Delete,
    /// Let go of it as it is.
    Release,
}

impl Action {
    /// As in status and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "Create",
            Action::Update => "Update",
            Action::Adopt => "Adopt",
            Action::Delete => "Delete",
            Action::Release => "Release",
        }
    }
}

/// What the graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everything in it is to exist as wanted.
    Present,
    /// Everything in it that is ours is to go.
    Deleted,
    /// Everything in it that is ours is to stay, and to be ours no more.
    Retained,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// The fields that differ; an update may take them in turns.
    pub changes: Vec<Change>,
    /// Why, where it is not plain.
    pub reason: Option<String>,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// Another resource to be ready or gone.
    Resource(Key),
    /// Something outside the graph.
    Gate(Key, String),
    /// The time to try again.
    Retry(Failed),
    /// The time after which not seeing a thing means that it is not there.
    Settling(Timestamp),
}

/// Why it does not go on without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// It is somebody else's. Holds who.
    Foreign(String),
    /// The cloud gave up on it. Holds why.
    Failed(Class, String),
    /// It was there, is gone, and is not made again by itself. Holds what to do.
    Irreplaceable(String),
}

/// What the plan says of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted (or, when all is to go: gone, or not ours).
    Settled,
    /// To be done now.
    Step(Step),
    /// To be done later.
    Pending(Step, Vec<WaitingOn>),
    /// Not to be done, as people decided.
    Held(Step, HoldReason),
    /// The cloud is at work: what, since when, until when about, and what it says.
    Waiting {
        /// What is under way.
        action: Action,
        /// Since when.
        since: Timestamp,
        /// Expected end.
        until: Timestamp,
        /// The cloud's own words, if any.
        note: String,
        /// The operation that carries it out, where it has an id of its own.
        operation: Option<Operation>,
    },
    /// Goes when that goes.
    GoesWith(Key),
    /// It could not be looked at.
    Unseen(Option<Failed>),
    /// A person has to act.
    Blocked(Block),
}

/// One resource of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub key: Key,
    /// What is to be done.
    pub verdict: Verdict,
    /// Differences that nothing settles.
    pub forbidden: Vec<Change>,
    /// Differences that nobody asked for, and that are left alone.
    pub drift: Vec<Change>,
}

/// What is to be done, resource by resource, in an order in which it can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// What it is for.
    pub goal: Goal,
    /// The resources.
    pub items: Vec<Item>,
}

impl Plan {
    /// Steps that can run now.
    pub fn ready(&self) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(|item| match &item.verdict {
            Verdict::Step(step) => Some((&item.key, step)),
            _ => None,
        })
    }

    /// All steps, those to come and those that wait for a person too; not what is left alone.
    pub fn steps(&self) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(|item| match &item.verdict {
            Verdict::Held(_, HoldReason::Drift) => None,
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _) => Some((&item.key, step)),
            _ => None,
        })
    }

    /// Steps that are held back for that reason.
    pub fn held(&self, why: HoldReason) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(move |item| match &item.verdict {
            Verdict::Held(step, held) if *held == why => Some((&item.key, step)),
            _ => None,
        })
    }

    /// What it says of one resource.
    pub fn verdict(&self, key: &Key) -> Option<&Verdict> {
        self.items.iter().find(|item| item.key == *key).map(|item| &item.verdict)
    }

    /// True when there is nothing to do and nothing to wait for.
    pub fn settled(&self) -> bool {
        self.items.iter().all(|i| i.verdict == Verdict::Settled && i.forbidden.is_empty())
    }

    /// "4 to create, 1 to update, 0 to delete"; and what is to be taken over or let go, if anything.
    pub fn summary(&self) -> String {
        let count = |action| self.steps().filter(|(_, step)| step.action == action).count();
        let mut text = format!(
            "{} to create, {} to update, {} to delete",
            count(Action::Create),
            count(Action::Update),
            count(Action::Delete)
        );
        for (action, word) in [(Action::Adopt, "adopt"), (Action::Release, "release")] {
            if count(action) > 0 {
                text = format!("{text}, {} to {word}", count(action));
            }
        }
        text
    }
}
