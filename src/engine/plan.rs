//! The planner: wanted graph + what is remembered + now -> steps, waits, blocks. Pure, deterministic, total.
//!
//! There is one planner: the controller executes its plan, `status.plan` shows it, `keelson plan` prints it. It leaves
//! nothing to decide at execution.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::expect::Expectations;
use super::failure::{Class, Failed, span};
use super::graph::Graph;
use super::key::Key;
use super::memory::{Entry, Memory, NOTHING_KNOWN};
use super::node::{AnyObserved, Node};
use super::resource::{Change, How, Operation, Phase, Presence};

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Make it.
    Create,
    /// Change it in place.
    Update,
    /// Delete it.
    Delete,
}

impl Action {
    /// As in status and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "Create",
            Action::Update => "Update",
            Action::Delete => "Delete",
        }
    }
}

/// What the graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everything in it is to exist as wanted.
    Present,
    /// Everything in it that is ours is to go.
    Gone,
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

    /// All steps, those to come too.
    pub fn steps(&self) -> impl Iterator<Item = (&Key, &Step)> {
        self.items.iter().filter_map(|item| match &item.verdict {
            Verdict::Step(step) | Verdict::Pending(step, _) => Some((&item.key, step)),
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

    /// "4 to create, 1 to update, 0 to delete".
    pub fn summary(&self) -> String {
        let count = |action| self.steps().filter(|(_, step)| step.action == action).count();
        format!(
            "{} to create, {} to update, {} to delete",
            count(Action::Create),
            count(Action::Update),
            count(Action::Delete)
        )
    }
}

/// Plans the whole graph.
pub fn plan<C>(graph: &Graph<C>, memory: &Memory, goal: Goal, expectations: &Expectations, now: Timestamp) -> Plan {
    let refs = memory.refs();
    let hopeless = graph.nodes().iter().map(|node| node.key()).find(|key| hopeless(memory, key));
    let mut planner = Planner { graph, memory, expectations, now, refs: &refs, done: BTreeMap::new(), hopeless };
    let mut items: Vec<Item> = Vec::with_capacity(graph.nodes().len());
    match goal {
        Goal::Present => {
            for node in graph.nodes() {
                items.push(planner.present(node.as_ref()));
            }
        }
        Goal::Gone => {
            // What holds a thing may stand on either side of it in the order of creation, so this goes by demand.
            for node in graph.nodes().iter().rev() {
                let verdict = planner.gone(&node.key());
                items.push(Item { key: node.key(), verdict, forbidden: Vec::new() });
            }
        }
    }
    Plan { goal, items }
}

struct Planner<'a, C> {
    graph: &'a Graph<C>,
    memory: &'a Memory,
    expectations: &'a Expectations,
    now: Timestamp,
    refs: &'a super::resource::Refs,
    done: BTreeMap<Key, Verdict>,
    /// What cannot come about before a person changes something: nothing is begun that would wait for it.
    hopeless: Option<Key>,
}

/// It is somebody else's, or what is asked for cannot be.
fn hopeless(memory: &Memory, key: &Key) -> bool {
    let Some(entry) = memory.get(key) else { return false };
    let invalid = entry.blind.as_ref().is_some_and(|blind| blind.failure.class == Class::Invalid);
    invalid || matches!(entry.presence, Some(Presence::Foreign(_)))
}

impl<C> Planner<'_, C> {
    fn entry(&self, key: &Key) -> &Entry {
        self.memory.get(key).unwrap_or(&NOTHING_KNOWN)
    }

    fn present(&self, node: &dyn Node<C>) -> Item {
        let key = node.key();
        let entry = self.entry(&key);
        let mut forbidden = Vec::new();
        let verdict = match &entry.presence {
            _ if entry.blind.is_some() => Verdict::Unseen(entry.blind.clone()),
            None => Verdict::Unseen(None),
            Some(Presence::Foreign(owner)) => Verdict::Blocked(Block::Foreign(owner.clone())),
            Some(Presence::Borrowed(_)) => Verdict::Settled,
            Some(Presence::Absent) => self.create(node, entry),
            Some(Presence::Ours(seen)) => match &seen.phase {
                Phase::Busy { action, since, note } => {
                    self.waiting(node, entry, *action, *since, note, seen.operation.clone())
                }
                Phase::Failed { reason, make_again: true, .. } => {
                    let reason = format!("it failed and is made again: {reason}");
                    self.step(entry, Action::Delete, Vec::new(), Some(reason), Vec::new())
                }
                Phase::Failed { reason, class, make_again: false } => {
                    Verdict::Blocked(Block::Failed(*class, reason.clone()))
                }
                Phase::Ready | Phase::Incomplete => {
                    let changes;
                    (changes, forbidden) = self.differences(node, seen);
                    if changes.is_empty() {
                        Verdict::Settled
                    } else {
                        let mut waits = self.not_ready(node.after());
                        let shows_by = self.memory.shows_by(&key, &node.batch(&changes), self.now);
                        waits.extend(shows_by.map(WaitingOn::Settling));
                        self.step(entry, Action::Update, changes, None, waits)
                    }
                }
            },
        };
        Item { key, verdict, forbidden }
    }

    fn differences(&self, node: &dyn Node<C>, seen: &AnyObserved) -> (Vec<Change>, Vec<Change>) {
        node.diff(seen, self.refs).into_iter().partition(|change| change.how == How::InPlace)
    }

    fn create(&self, node: &dyn Node<C>, entry: &Entry) -> Verdict {
        let mut waits = self.not_ready(node.after().into_iter().chain(node.inside()));
        if let Some(hopeless) = &self.hopeless
            && !waits.contains(&WaitingOn::Resource(hopeless.clone()))
        {
            waits.push(WaitingOn::Resource(hopeless.clone()));
        }
        if let Some(until) = self.memory.unsettled(&node.key(), self.now) {
            waits.push(WaitingOn::Settling(until));
        } else if entry.recorded.as_ref().is_some_and(|recorded| recorded.id.is_some())
            && let Some(what_to_do) = node.irreplaceable()
        {
            return Verdict::Blocked(Block::Irreplaceable(what_to_do));
        }
        self.step(entry, Action::Create, Vec::new(), None, waits)
    }

    fn waiting(
        &self,
        node: &dyn Node<C>,
        entry: &Entry,
        action: Action,
        since: Option<Timestamp>,
        note: &str,
        operation: Option<Operation>,
    ) -> Verdict {
        let ours = entry.running.as_ref().filter(|running| running.action == action);
        let since = since.or(ours.map(|running| running.since)).or(entry.seen_at).unwrap_or(self.now);
        let typical = self.expectations.of(node, action, operation.as_ref()).typical;
        let until = since.saturating_add(span(typical)).unwrap_or(since);
        Verdict::Waiting { action, since, until, note: note.into(), operation }
    }

    fn step(
        &self,
        entry: &Entry,
        action: Action,
        changes: Vec<Change>,
        reason: Option<String>,
        mut waits: Vec<WaitingOn>,
    ) -> Verdict {
        if let Some(failed) = &entry.failed
            && failed.exhausted()
        {
            return Verdict::Blocked(Block::Failed(failed.failure.class, failed.failure.message.clone()));
        }
        if let Some(failed) = &entry.failed
            && failed.retry_at > self.now
        {
            waits.push(WaitingOn::Retry(failed.clone()));
        }
        let step = Step { action, changes, reason };
        if waits.is_empty() { Verdict::Step(step) } else { Verdict::Pending(step, waits) }
    }

    /// Those of `needs` that are not ready to be built upon.
    fn not_ready(&self, needs: impl IntoIterator<Item = Key>) -> Vec<WaitingOn> {
        let mut waits: Vec<WaitingOn> = Vec::new();
        for need in needs {
            let wait = match self.graph.gate(&need) {
                Some(gate) if gate.open => continue,
                Some(gate) => WaitingOn::Gate(need, gate.why.clone()),
                None => {
                    let entry = self.entry(&need);
                    let seen = entry.presence.as_ref().and_then(Presence::observed);
                    if entry.blind.is_none() && seen.is_some_and(|s| s.phase == Phase::Ready) {
                        continue;
                    }
                    WaitingOn::Resource(need)
                }
            };
            if !waits.contains(&wait) {
                waits.push(wait);
            }
        }
        waits
    }

    fn gone(&mut self, key: &Key) -> Verdict {
        if let Some(verdict) = self.done.get(key) {
            return verdict.clone();
        }
        let verdict = self.decide_gone(key);
        self.done.insert(key.clone(), verdict.clone());
        verdict
    }

    fn decide_gone(&mut self, key: &Key) -> Verdict {
        let Some(node) = self.graph.node(key).cloned() else {
            return Verdict::Settled;
        };
        let entry = self.entry(key).clone();
        let step = |waits| self.step(&entry, Action::Delete, Vec::new(), None, waits);
        let seen = match &entry.presence {
            _ if entry.blind.is_some() => return Verdict::Unseen(entry.blind.clone()),
            None => return Verdict::Unseen(None),
            Some(Presence::Foreign(_) | Presence::Borrowed(_)) => return Verdict::Settled,
            Some(Presence::Absent) => {
                let may_show_up = entry.recorded.as_ref().is_some_and(|r| r.id.is_none());
                return match self.memory.unsettled(key, self.now) {
                    Some(until) if may_show_up => step(vec![WaitingOn::Settling(until)]),
                    _ => Verdict::Settled,
                };
            }
            Some(Presence::Ours(seen)) => seen,
        };
        if let Phase::Busy { action, since, note } = &seen.phase
            && (*action == Action::Delete || !node.deletable_while(*action))
        {
            return self.waiting(node.as_ref(), &entry, *action, *since, note, seen.operation.clone());
        }
        if let Some(host) = node.deleted_with() {
            match self.entry(&host).presence {
                // What it is in stays, so it has to be deleted by itself.
                Some(Presence::Borrowed(_) | Presence::Foreign(_)) => {}
                Some(Presence::Ours(_) | Presence::Absent) | None => return Verdict::GoesWith(host),
            }
        }
        let holders = self.graph.held_by(key).to_vec();
        let mut waits = Vec::new();
        for before in holders.into_iter().chain(node.deleted_after()) {
            match self.graph.gate(&before) {
                Some(gate) if gate.open => {}
                Some(gate) => waits.push(WaitingOn::Gate(before, gate.why.clone())),
                None if self.gone(&before) == Verdict::Settled => {}
                None => waits.push(WaitingOn::Resource(before)),
            }
        }
        self.step(&entry, Action::Delete, Vec::new(), None, waits)
    }
}
