//! An in-memory cloud with stale reads, lost responses and crashes, and a resource kind for it: for tests.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::action::Action;
use super::execute::Journal;
use super::failure::span;
use super::memory::{AnyPresence, InventoryRecord};
use super::resource::{FailedOperation, ObserveOptions, Operation, PollPolicy, Resource};
use super::{Change, Class, Failure, Graph, Key, MarkOwner, Memory, Observation, Phase, Presence, Refs, erased};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thing {
    pub(super) owner: &'static str,
    pub(super) value: u32,
    pub(super) busy_until: Timestamp,
}

/// A simulated cloud with its complete history, so that reads can be stale.
#[derive(Default)]
pub struct World {
    pub(super) now: Timestamp,
    pub(super) history: Vec<(Timestamp, BTreeMap<String, Vec<Thing>>)>,
    pub(super) stale: Duration,
    pub(super) writes: u32,
    pub(super) crash_at: Option<u32>,
    pub(super) crashed: bool,
    pub(super) lose_answers: BTreeSet<u32>,
    pub(super) rules_broken: Vec<String>,
    /// Asynchronous updates, by token.
    pub(super) operations: BTreeMap<String, ToyOperation>,
    /// Which of them fail, by start order.
    pub(super) failing: BTreeSet<usize>,
}

/// An update in progress or finished.
#[derive(Clone, Debug)]
pub(super) struct ToyOperation {
    id: String,
    since: Timestamp,
    until: Timestamp,
    fails: bool,
    value: u32,
    toy: String,
    done: bool,
}

impl World {
    /// Completes the operations that are due.
    fn complete_due_operations(&mut self) {
        let now = self.now;
        let due: Vec<ToyOperation> = self
            .operations
            .values_mut()
            .filter(|operation| !operation.done && operation.until <= now)
            .map(|operation| {
                operation.done = true;
                operation.clone()
            })
            .collect();
        for operation in due.into_iter().filter(|operation| !operation.fails) {
            let before = self.history.iter().rev().find(|(at, _)| *at <= operation.until);
            let at_its_end = before.map(|(_, things)| things.clone()).unwrap_or_default();
            self.history.push((operation.until, at_its_end));
            self.history.sort_by_key(|(at, _)| *at);
            for (_, things) in self.history.iter_mut().filter(|(at, _)| *at >= operation.until) {
                if let Some(thing) = things.get_mut(&operation.toy).and_then(|all| all.first_mut()) {
                    thing.value = operation.value;
                }
            }
        }
    }

    /// Number of operations started on a toy, and how many of them fail.
    pub(super) fn operations_of(&self, toy: &Key) -> (usize, usize) {
        let of = || self.operations.values().filter(|operation| operation.toy == toy.to_string());
        (of().count(), of().filter(|operation| operation.fails).count())
    }

    fn operation(&self, id: &str) -> Option<&ToyOperation> {
        self.operations.values().find(|operation| operation.id == id)
    }

    pub(super) fn things(&self) -> BTreeMap<String, Vec<Thing>> {
        self.history.last().map(|(_, things)| things.clone()).unwrap_or_default()
    }

    pub(super) fn write(&mut self, change: impl FnOnce(&mut BTreeMap<String, Vec<Thing>>)) -> Result<(), Failure> {
        if self.crashed {
            return Err(Failure::new(Class::Unavailable, "the process has crashed"));
        }
        let mut things = self.things();
        change(&mut things);
        self.history.push((self.now, things));
        self.writes += 1;
        self.crashed = self.crash_at == Some(self.writes);
        if self.crashed || self.lose_answers.contains(&self.writes) {
            return Err(Failure::new(Class::Unavailable, "connection reset"));
        }
        Ok(())
    }

    fn change_owner(&mut self, name: &str, owner: &'static str) -> Result<(), Failure> {
        self.write(|things| {
            if let Some(thing) = things.get_mut(name).and_then(|t| t.first_mut()) {
                thing.owner = owner;
            }
        })
    }

    pub(super) fn read(&self, key: &Key) -> Option<Thing> {
        let as_of = self.now - span(self.stale);
        let old = self.history.iter().rev().find(|(at, _)| *at <= as_of);
        old.and_then(|(_, things)| things.get(&key.to_string())?.first().cloned())
    }
}

/// The client of the toy resources.
#[derive(Clone, Default)]
pub struct ToyWorld(pub Arc<Mutex<World>>);

impl ToyWorld {
    /// A presence as the engine stores it.
    pub fn any(presence: Presence<u32>) -> AnyPresence {
        let erase = |observed: Observation<u32>| observed.map(|detail| Arc::new(detail) as Arc<dyn Any + Send + Sync>);
        match presence {
            Presence::Absent => Presence::Absent,
            Presence::Foreign(owner) => Presence::Foreign(owner),
            Presence::External(observed) => Presence::External(erase(observed)),
            Presence::Unowned(observed) => Presence::Unowned(erase(observed)),
            Presence::Ours(observed) => Presence::Ours(erase(observed)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Toy {
    pub(super) number: usize,
    pub(super) after: Vec<usize>,
    pub(super) value: u32,
    pub(super) takes: Duration,
    /// Duration of an update; zero: it completes synchronously.
    pub(super) update_takes: Duration,
    pub(super) has_token: bool,
    /// It is deleted with its last dependency.
    pub(super) deleted_with_host: bool,
    /// The toys that are deleted with this one.
    pub(super) dependents: Vec<usize>,
}

/// The value of toys that are retained.
pub(super) const RETAINED: u32 = 77;

pub(super) fn toy_key(number: usize) -> Key {
    Key::named("toy", number.to_string())
}

impl Toy {
    pub(super) fn observed(&self, thing: &Thing, now: Timestamp) -> Observation<u32> {
        let observed = Observation::ready(format!("id-{}", self.number), "there", thing.value);
        if thing.busy_until > now {
            observed.phase(Phase::Busy { action: Action::Create, since: None, note: String::new() })
        } else {
            observed
        }
    }

    /// Changes the owner; `fits` must hold for the thing then.
    /// The same with the operation `id`, in progress or failed.
    fn with_operation(observed: Observation<u32>, world: &World, id: &str) -> Observation<u32> {
        let Some(operation) = world.operation(id) else { return observed };
        let (id, kind) = (operation.id.clone(), "Change".to_owned());
        if !operation.done {
            return observed.running(Operation { id, kind, since: Some(operation.since) });
        }
        let failure = Failure::new(Class::OperationFailed, "it gave up");
        let failed = operation.fails.then_some(FailedOperation { id, kind, failure });
        Observation { failed_operation: failed, ..observed }
    }
}

#[async_trait]
impl Resource for Toy {
    type Cloud = ToyWorld;
    type Detail = u32;

    fn key(&self) -> Key {
        toy_key(self.number)
    }
    fn after(&self) -> Vec<Key> {
        self.after.iter().copied().map(toy_key).collect()
    }
    fn deleted_with(&self) -> Option<Key> {
        self.after.last().filter(|_| self.deleted_with_host).copied().map(toy_key)
    }
    fn is_retained(&self) -> bool {
        self.value == RETAINED
    }
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("value", self.value.to_string())]
    }
    fn poll_policy(&self) -> PollPolicy {
        PollPolicy { interval: Duration::from_secs(600), max_cache_age: Duration::from_secs(300) }
    }
    fn records_intent(&self) -> bool {
        !self.has_token
    }
    fn diff(&self, observed: &Observation<u32>, _: &Refs) -> Vec<Change> {
        if observed.detail == self.value {
            return Vec::new();
        }
        vec![Change::in_place("value", observed.detail, self.value)]
    }
    async fn observe(
        &self,
        world: &ToyWorld,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<u32>>,
    ) -> Result<Presence<u32>, Failure> {
        let mut world = world.0.lock().unwrap();
        if world.crashed {
            return Err(Failure::new(Class::Unavailable, "the process has crashed"));
        }
        world.complete_due_operations();
        let operation = match last {
            Some(observed) => {
                observed.operation.as_ref().map(|o| &o.id).or(observed.failed_operation.as_ref().map(|o| &o.id))
            }
            None => options.recorded_operation.as_ref(),
        };
        let operation = operation.cloned().unwrap_or_default();
        Ok(match world.read(&self.key()) {
            None => Presence::Absent,
            Some(thing) if thing.owner == "nobody" => {
                let observed = self.observed(&thing, world.now);
                Presence::Unowned(Toy::with_operation(observed, &world, &operation))
            }
            Some(thing) if thing.owner != "us" => Presence::Foreign(thing.owner.into()),
            Some(thing) => Presence::Ours(Toy::with_operation(self.observed(&thing, world.now), &world, &operation)),
        })
    }
    async fn create(&self, world: &ToyWorld, _: &Refs) -> Result<Observation<u32>, Failure> {
        let mut world = world.0.lock().unwrap();
        let things = world.things();
        for need in &self.after {
            let ready = things
                .get(&toy_key(*need).to_string())
                .and_then(|t| t.first())
                .is_some_and(|t| t.busy_until <= world.now);
            if !ready {
                world.rules_broken.push(format!("toy {} was created before toy {need}", self.number));
            }
        }
        let thing = Thing { owner: "us", value: 0, busy_until: world.now + span(self.takes) };
        let name = self.key().to_string();
        if self.has_token && things.contains_key(&name) {
            return Ok(self.observed(&things[&name][0], world.now));
        }
        let new = thing.clone();
        world.write(|things| things.entry(name).or_default().push(new))?;
        Ok(self.observed(&thing, world.now))
    }
    async fn update(
        &self,
        world: &ToyWorld,
        _: &Refs,
        observed: &Observation<u32>,
        changes: &[Change],
    ) -> Result<Observation<u32>, Failure> {
        assert!(!changes.is_empty());
        let (name, value) = (self.key().to_string(), self.value);
        let mut world = world.0.lock().unwrap();
        world.complete_due_operations();
        if !self.update_takes.is_zero() {
            let token = format!("{name} {:?}", observed.failed_operation.as_ref().map(|failed| &failed.id));
            if !world.operations.contains_key(&token) {
                let count = world.operations.len();
                if world.operations.values().any(|other| other.toy == name && !other.done) {
                    return Err(Failure::new(Class::Busy, "an operation is in progress"));
                }
                let (since, until) = (world.now, world.now + span(self.update_takes));
                let fails = world.failing.contains(&count);
                let id = format!("operation-{count}");
                let operation = ToyOperation { id, since, until, fails, value, toy: name, done: false };
                world.operations.insert(token.clone(), operation);
                world.write(|_| ())?;
            }
            let id = world.operations[&token].id.clone();
            return Ok(Toy::with_operation(observed.clone(), &world, &id));
        }
        world.write(|things| {
            if let Some(thing) = things.get_mut(&name).and_then(|t| t.first_mut()) {
                thing.value = value;
            }
        })?;
        Ok(Observation { detail: value, ..observed.clone() })
    }
    async fn delete(&self, world: &ToyWorld, _: &Observation<u32>) -> Result<Presence<u32>, Failure> {
        let name = self.key().to_string();
        world.0.lock().unwrap().write(|things| {
            things.remove(&name);
            for dependent in &self.dependents {
                let dependent = toy_key(*dependent).to_string();
                if things.get(&dependent).is_some_and(|existing| existing[0].owner == "us") {
                    things.remove(&dependent);
                }
            }
        })?;
        Ok(Presence::Absent)
    }
    fn marker(&self, _: &Observation<u32>) -> Option<(String, u32)> {
        Some((self.key().to_string(), self.value))
    }
}

/// The name of a toy, and the value that it must have before it is ours.
#[async_trait]
impl MarkOwner for ToyWorld {
    type Marker = (String, u32);

    async fn mark(&self, (name, value): &(String, u32)) -> Result<(), Failure> {
        let mut world = self.0.lock().unwrap();
        if world.things().get(name).is_some_and(|things| things[0].value != *value) {
            world.rules_broken.push(format!("{name} was adopted before it matched the spec"));
        }
        world.change_owner(name, "us")
    }

    async fn unmark(&self, (name, _): &(String, u32)) -> Result<(), Failure> {
        self.0.lock().unwrap().change_owner(name, "nobody")
    }
}

/// What outlives the process.
#[derive(Default)]
pub(super) struct Inventory(pub(super) Mutex<Vec<(Key, InventoryRecord)>>, pub(super) ToyWorld);

#[async_trait]
impl Journal for Inventory {
    async fn record(&self, memory: &Memory) -> Result<(), Failure> {
        if self.1.0.lock().unwrap().crashed {
            return Err(Failure::new(Class::Unavailable, "the process has crashed"));
        }
        let lines = memory.iter().filter_map(|(key, e)| Some((key.clone(), e.recorded.clone()?)));
        *self.0.lock().unwrap() = lines.collect();
        Ok(())
    }
}

/// A chain of `count` toys.
pub fn toy_graph(count: usize) -> Graph<ToyWorld> {
    let toys = (0..count).map(|number| Toy {
        number,
        after: number.checked_sub(1).into_iter().collect(),
        value: 1,
        takes: Duration::ZERO,
        update_takes: Duration::ZERO,
        has_token: false,
        deleted_with_host: false,
        dependents: Vec::new(),
    });
    graph(&toys.collect::<Vec<_>>())
}

pub(super) fn graph(toys: &[Toy]) -> Graph<ToyWorld> {
    let nodes = toys.iter().map(|toy| Arc::new(toy.clone()) as Arc<dyn erased::Node<ToyWorld>>).collect();
    Graph::new(nodes, Vec::new()).unwrap()
}
