//! The planner: desired graph + memory + policy + time -> steps, waits, blocks. Pure, deterministic, total.
//!
//! There is one planner: the controller executes its plan, `status.plan` shows it, `keelson plan` prints it. Execution
//! decides nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::action::{Action, Goal};
use super::change::{Change, Correction};
use super::erased::{AnyObservation, Node};
use super::execution_policy::ExecutionPolicy;
use super::expect::Expectations;
use super::failure::{Class, span};
use super::graph::Graph;
use super::key::Key;
use super::memory::{EMPTY_ENTRY, Entry, Memory};
use super::plan::HoldReason;
use super::plan::{Block, Item, Plan, Step, Verdict, WaitingOn};
use super::resource::{Operation, Phase, Presence, Succession};

/// Plans the whole graph.
pub fn plan<C>(
    graph: &Graph<C>,
    memory: &Memory,
    goal: Goal,
    policy: &ExecutionPolicy,
    expectations: &Expectations,
    now: Timestamp,
) -> Plan {
    let refs = memory.refs();
    let planned = BTreeMap::new();
    let (unresolvable, obstacle) = (None, None);
    let mut planner =
        Planner { graph, memory, goal, policy, expectations, now, refs: &refs, planned, unresolvable, obstacle };
    planner.unresolvable = graph.nodes().iter().find(|node| planner.unresolvable(node.as_ref())).map(|node| node.key());
    planner.obstacle = planner.find_obstacle();
    let mut items: Vec<Item> = Vec::with_capacity(graph.nodes().len());
    match goal {
        Goal::Present => {
            for node in graph.nodes() {
                items.push(match node.succession() {
                    Some(succession) => planner.plan_succession(node.as_ref(), &succession),
                    None => planner.plan_present(node.as_ref()),
                });
            }
        }
        Goal::Deleted | Goal::Retained => {
            // A holder may come before or after in creation order, so this evaluates holders on demand.
            for node in graph.nodes().iter().rev() {
                let verdict = planner.plan_deletion(&node.key());
                items.push(Item { key: node.key(), verdict, forbidden: Vec::new(), drift: Vec::new() });
            }
        }
    }
    Plan { goal, items }
}

struct Planner<'a, C> {
    graph: &'a Graph<C>,
    memory: &'a Memory,
    goal: Goal,
    policy: &'a ExecutionPolicy,
    expectations: &'a Expectations,
    now: Timestamp,
    refs: &'a super::refs::Refs,
    planned: BTreeMap<Key, Verdict>,
    /// A resource that cannot become ready before a user acts: no step starts that would wait for it.
    unresolvable: Option<Key>,
    /// A resource of another owner that uses what is to be deleted: nothing is deleted while it exists.
    obstacle: Option<Key>,
}

impl<C> Planner<'_, C> {
    /// It belongs to another owner, its desired state is invalid, or it differs from what can be adopted.
    fn unresolvable(&self, node: &dyn Node<C>) -> bool {
        let entry = self.entry(&node.key());
        let invalid = entry
            .last_observe_error
            .as_ref()
            .is_some_and(|last_observe_error| last_observe_error.failure.class == Class::Invalid);
        match &entry.presence {
            _ if invalid => true,
            Some(Presence::Foreign(_)) => true,
            Some(Presence::Unowned(observed)) => !self.differences(node, observed).1.is_empty(),
            _ => false,
        }
    }

    /// A resource that is not owned, uses or contains other resources of the graph, and stays: deleting any of those
    /// would break it. Sweeps list what they delete by themselves and do not count.
    fn find_obstacle(&self) -> Option<Key> {
        let is_deleted = |node: &dyn Node<C>| {
            node.sweep_scope().is_none() && matches!(self.entry(&node.key()).presence, Some(Presence::Ours(_)))
        };
        let nodes = self.graph.nodes();
        if self.goal != Goal::Deleted || !nodes.iter().any(|node| is_deleted(node.as_ref())) {
            return None;
        }
        let stays = |key: &Key| matches!(self.entry(key).presence, Some(Presence::Foreign(_) | Presence::Unowned(_)));
        let is_used = |node: &dyn Node<C>| {
            let key = node.key();
            !node.holds().is_empty() || nodes.iter().any(|other| other.deleted_with().as_ref() == Some(&key))
        };
        nodes.iter().find(|node| stays(&node.key()) && is_used(node.as_ref())).map(|node| node.key())
    }

    fn entry(&self, key: &Key) -> &Entry {
        self.memory.get(key).unwrap_or(&EMPTY_ENTRY)
    }

    fn plan_present(&self, node: &dyn Node<C>) -> Item {
        let key = node.key();
        let entry = self.entry(&key);
        let mut forbidden = Vec::new();
        let mut drift = Vec::new();
        let is_ours = matches!(entry.presence, Some(Presence::Ours(_)));
        let verdict = match &entry.presence {
            _ if entry.last_observe_error.is_some() => Verdict::NotObserved(entry.last_observe_error.clone()),
            None => Verdict::NotObserved(None),
            Some(Presence::Foreign(owner)) => Verdict::Blocked(Block::Foreign(owner.clone())),
            Some(Presence::External(observed)) => {
                // Never changed: only what it reports counts.
                let reported = |change: &Change| matches!(change.how, Correction::Reported(_));
                drift = node.diff(observed, self.refs).into_iter().filter(reported).collect();
                Verdict::Settled
            }
            Some(Presence::Absent) => self.create(node, entry),
            Some(Presence::Ours(observed) | Presence::Unowned(observed)) => match &observed.phase {
                Phase::Busy { action, since, note } => {
                    self.waiting(node, entry, *action, *since, note, observed.operation.clone())
                }
                Phase::Failed { reason, recreate, .. } if is_ours && recreate.applies(entry.retry_requested) => {
                    let reason = format!("it failed and is recreated: {reason}");
                    self.step(&key, entry, Action::Delete, Vec::new(), Some(reason), Vec::new())
                }
                Phase::Failed { reason, class, .. } => Verdict::Blocked(Block::Failed(*class, reason.clone())),
                Phase::Ready | Phase::Incomplete => {
                    let changes;
                    (changes, forbidden, drift) = self.differences(node, observed);
                    if changes.is_empty() && (is_ours || !forbidden.is_empty()) {
                        Verdict::Settled
                    } else if changes.is_empty() {
                        // Adoption comes last.
                        let mut waits = self.not_ready(node.adopted_after());
                        waits.extend(self.unresolvable_wait(&key));
                        self.step(&key, entry, Action::Adopt, changes, None, waits)
                    } else {
                        let mut waits = self.not_ready(node.after());
                        let visible_by = self.memory.visible_by(&key, &node.batch(&changes), self.now);
                        waits.extend(visible_by.map(WaitingOn::ReadAfterWrite));
                        if !is_ours {
                            waits.extend(self.unresolvable_wait(&key));
                        }
                        self.step(&key, entry, Action::Update, changes, None, waits)
                    }
                }
            },
        };
        Item { key, verdict, forbidden, drift }
    }

    /// A resource that another one replaces: it is deleted once that one is ready and the gate is open.
    fn plan_succession(&self, node: &dyn Node<C>, succession: &Succession) -> Item {
        let key = node.key();
        let entry = self.entry(&key);
        let verdict = match &entry.presence {
            _ if entry.last_observe_error.is_some() => Verdict::NotObserved(entry.last_observe_error.clone()),
            None => Verdict::NotObserved(None),
            Some(Presence::Foreign(owner)) => Verdict::Blocked(Block::Foreign(owner.clone())),
            Some(Presence::Unowned(_)) => {
                Verdict::Blocked(Block::Foreign("it exists and is not owned by this object".to_owned()))
            }
            Some(Presence::External(_) | Presence::Absent) => Verdict::Settled,
            Some(Presence::Ours(observed)) => match &observed.phase {
                Phase::Busy { action, since, note } if *action == Action::Delete || !node.deletable_while(*action) => {
                    self.waiting(node, entry, *action, *since, note, observed.operation.clone())
                }
                _ => {
                    let mut waits = self.not_ready([succession.successor.clone(), succession.unused.clone()]);
                    waits.extend(self.existing_holders(&key));
                    let reason = Some(format!("{} replaces it", succession.successor));
                    self.step(&key, entry, Action::Delete, Vec::new(), reason, waits)
                }
            },
        };
        Item { key, verdict, forbidden: Vec::new(), drift: Vec::new() }
    }

    /// What must be deleted before `key`, and is not gone.
    fn existing_holders(&self, key: &Key) -> Vec<WaitingOn> {
        let holders = self.graph.held_by(key).iter().filter(|holder| self.graph.node(holder).is_some());
        let is_gone = |holder: &Key| {
            let entry = self.entry(holder);
            entry.last_observe_error.is_none() && matches!(entry.presence, Some(Presence::Absent))
        };
        holders.filter(|holder| !is_gone(holder)).cloned().map(WaitingOn::Resource).collect()
    }

    /// Differences to correct, differences that no call can correct, and drift that is not corrected.
    fn differences(&self, node: &dyn Node<C>, observed: &AnyObservation) -> (Vec<Change>, Vec<Change>, Vec<Change>) {
        let (mut changes, mut forbidden, mut drift) = (Vec::new(), Vec::new(), Vec::new());
        for change in node.diff(observed, self.refs) {
            let to = match &change.how {
                Correction::InPlace if self.policy.ignores_drift(&node.key(), &change) => &mut drift,
                Correction::InPlace => &mut changes,
                Correction::Forbidden(_) => &mut forbidden,
                Correction::Reported(_) => &mut drift,
            };
            to.push(change);
        }
        (changes, forbidden, drift)
    }

    /// The resource that a user must fix before a step that would wait for it starts.
    fn unresolvable_wait(&self, key: &Key) -> Vec<WaitingOn> {
        self.unresolvable.iter().filter(|unresolvable| *unresolvable != key).cloned().map(WaitingOn::Resource).collect()
    }

    fn create(&self, node: &dyn Node<C>, entry: &Entry) -> Verdict {
        let mut waits = self.not_ready(node.after().into_iter().chain(node.inside()));
        for unresolvable in self.unresolvable_wait(&node.key()) {
            if !waits.contains(&unresolvable) {
                waits.push(unresolvable);
            }
        }
        let existed = entry.recorded.as_ref().is_some_and(|recorded| recorded.id.is_some());
        // With a client token, the create is repeated at once when only the intent is recorded.
        let is_duplicable = existed || node.records_intent();
        if let Some(until) = self.memory.open_window_end(&node.key(), self.now).filter(|_| is_duplicable) {
            waits.push(WaitingOn::ReadAfterWrite(until));
        } else if existed && let Some(what_to_do) = node.irreplaceable() {
            return Verdict::Blocked(Block::Irreplaceable(what_to_do));
        } else if existed && self.policy.ignores_deletion(&node.key()) {
            let step = Step { action: Action::Create, changes: Vec::new(), reason: None };
            return Verdict::Held(step, HoldReason::Drift);
        }
        self.step(&node.key(), entry, Action::Create, Vec::new(), None, waits)
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
        let since = since.or(ours.map(|running| running.since)).or(entry.observed_at).unwrap_or(self.now);
        let typical = self.expectations.of(node, action, operation.as_ref()).typical;
        let until = since.saturating_add(span(typical)).unwrap_or(since);
        Verdict::Waiting { action, since, until, note: note.into(), operation }
    }

    fn step(
        &self,
        key: &Key,
        entry: &Entry,
        action: Action,
        changes: Vec<Change>,
        reason: Option<String>,
        mut waits: Vec<WaitingOn>,
    ) -> Verdict {
        // A deletion never gives up: it is retried with backoff.
        if let Some(failed) = &entry.failed
            && failed.exhausted()
            && self.goal == Goal::Present
        {
            return Verdict::Blocked(Block::Failed(failed.failure.class, failed.failure.message.clone()));
        }
        if let Some(failed) = &entry.failed
            && failed.retry_at > self.now
        {
            waits.push(WaitingOn::Retry(failed.clone()));
        }
        let step = Step { action, changes, reason };
        if let Some(held) = self.policy.holds(key, &step) {
            return Verdict::Held(step, held);
        }
        if waits.is_empty() { Verdict::Step(step) } else { Verdict::Pending(step, waits) }
    }

    /// Those of `needs` that are not ready.
    fn not_ready(&self, needs: impl IntoIterator<Item = Key>) -> Vec<WaitingOn> {
        let mut waits: Vec<WaitingOn> = Vec::new();
        for need in needs {
            let wait = match self.graph.gate(&need) {
                Some(gate) if gate.open => continue,
                Some(gate) => WaitingOn::Gate(need, gate.why.clone()),
                None => {
                    let entry = self.entry(&need);
                    // Dependents wait until an unowned resource is adopted.
                    let presence = entry.presence.as_ref().filter(|observed| !matches!(observed, Presence::Unowned(_)));
                    let observed = presence.and_then(Presence::observed);
                    if entry.last_observe_error.is_none() && observed.is_some_and(|s| s.phase == Phase::Ready) {
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

    fn plan_deletion(&mut self, key: &Key) -> Verdict {
        if let Some(verdict) = self.planned.get(key) {
            return verdict.clone();
        }
        let verdict = self.decide_deletion(key);
        self.planned.insert(key.clone(), verdict.clone());
        verdict
    }

    fn decide_deletion(&mut self, key: &Key) -> Verdict {
        let Some(node) = self.graph.node(key).cloned() else {
            return Verdict::Settled;
        };
        let entry = self.entry(key).clone();
        let release = self.goal == Goal::Retained || node.is_retained();
        let action = if release { Action::Release } else { Action::Delete };
        let step = |waits| self.step(key, &entry, action, Vec::new(), None, waits);
        let observed = match &entry.presence {
            _ if entry.last_observe_error.is_some() => return Verdict::NotObserved(entry.last_observe_error.clone()),
            None => return Verdict::NotObserved(None),
            Some(Presence::Foreign(owner)) if self.obstacle.as_ref() == Some(key) => {
                return Verdict::Blocked(Block::Foreign(owner.clone()));
            }
            Some(Presence::Unowned(_)) if self.obstacle.as_ref() == Some(key) => {
                let why = "it exists and is not owned by this object, but uses what this object owns";
                return Verdict::Blocked(Block::Foreign(why.to_owned()));
            }
            Some(Presence::Foreign(_) | Presence::External(_) | Presence::Unowned(_)) => return Verdict::Settled,
            Some(Presence::Absent) => {
                let may_appear = entry.recorded.as_ref().is_some_and(|r| r.id.is_none());
                return match self.memory.open_window_end(key, self.now) {
                    Some(until) if may_appear => step(vec![WaitingOn::ReadAfterWrite(until)]),
                    _ => Verdict::Settled,
                };
            }
            Some(Presence::Ours(observed)) => observed,
        };
        if let Phase::Busy { action, since, note } = &observed.phase
            && !release
            && (*action == Action::Delete || !node.deletable_while(*action))
        {
            return self.waiting(node.as_ref(), &entry, *action, *since, note, observed.operation.clone());
        }
        if let Some(host) = node.deleted_with().filter(|_| !release) {
            match self.entry(&host).presence {
                // Its container is retained, so it needs its own delete call.
                Some(Presence::External(_) | Presence::Foreign(_) | Presence::Unowned(_)) => {}
                Some(Presence::Ours(_) | Presence::Absent) | None => return Verdict::DeletedWith(host),
            }
        }
        let holders = self.graph.held_by(key).to_vec();
        let mut waits: Vec<_> = self.obstacle.iter().cloned().map(WaitingOn::Resource).collect();
        for before in holders.into_iter().chain(node.deleted_after()) {
            match self.graph.gate(&before) {
                Some(gate) if gate.open => {}
                Some(gate) => waits.push(WaitingOn::Gate(before, gate.why.clone())),
                None if self.plan_deletion(&before) == Verdict::Settled => {}
                None if self.obstacle.as_ref() == Some(&before) => {}
                None => waits.push(WaitingOn::Resource(before)),
            }
        }
        self.step(key, &entry, action, Vec::new(), None, waits)
    }
}
