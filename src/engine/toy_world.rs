//! An in-memory cloud with stale reads, lost answers and crashes, and a kind of resource in it: for tests.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::execute::Journal;
use super::failure::span;
use super::memory::{AnyPresence, Recorded};
use super::plan::Action;
use super::resource::{Look, Resource, Rest};
use super::{Change, Class, Failure, Graph, Key, Memory, Observed, Phase, Presence, Refs, node};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thing {
    pub(super) owner: &'static str,
    pub(super) value: u32,
    pub(super) busy_until: Timestamp,
}

/// A cloud of the mind: every state it was in, so that a read can answer an old one.
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
}

impl World {
    pub(super) fn things(&self) -> BTreeMap<String, Vec<Thing>> {
        self.history.last().map(|(_, things)| things.clone()).unwrap_or_default()
    }

    pub(super) fn write(&mut self, change: impl FnOnce(&mut BTreeMap<String, Vec<Thing>>)) -> Result<(), Failure> {
        if self.crashed {
            return Err(Failure::new(Class::Unavailable, "the process is gone"));
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

    pub(super) fn read(&self, key: &Key) -> Option<Thing> {
        let as_of = self.now - span(self.stale);
        let old = self.history.iter().rev().find(|(at, _)| *at <= as_of);
        old.and_then(|(_, things)| things.get(&key.to_string())?.first().cloned())
    }
}

/// The handle of the toy resources.
#[derive(Clone, Default)]
pub struct ToyWorld(pub Arc<Mutex<World>>);

impl ToyWorld {
    /// A presence as the engine keeps it.
    pub fn any(presence: Presence<u32>) -> AnyPresence {
        let erase = |seen: Observed<u32>| Observed {
            id: seen.id,
            state: seen.state,
            phase: seen.phase,
            outputs: seen.outputs,
            detail: Arc::new(seen.detail) as Arc<dyn Any + Send + Sync>,
        };
        match presence {
            Presence::Absent => Presence::Absent,
            Presence::Foreign(owner) => Presence::Foreign(owner),
            Presence::Borrowed(seen) => Presence::Borrowed(erase(seen)),
            Presence::Ours(seen) => Presence::Ours(erase(seen)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Toy {
    pub(super) number: usize,
    pub(super) after: Vec<usize>,
    pub(super) value: u32,
    pub(super) takes: Duration,
    pub(super) has_token: bool,
    /// Goes with the last thing it needs.
    pub(super) goes_along: bool,
    /// What goes with this.
    pub(super) taken_along: Vec<usize>,
}

pub(super) fn toy_key(number: usize) -> Key {
    Key::named("toy", number.to_string())
}

impl Toy {
    pub(super) fn observed(&self, thing: &Thing, now: Timestamp) -> Observed<u32> {
        let seen = Observed::ready(format!("id-{}", self.number), "there", thing.value);
        if thing.busy_until > now {
            seen.phase(Phase::Busy { action: Action::Create, since: None, note: String::new() })
        } else {
            seen
        }
    }
}

#[async_trait]
impl Resource for Toy {
    type Cloud = ToyWorld;
    type Seen = u32;

    fn key(&self) -> Key {
        toy_key(self.number)
    }
    fn after(&self) -> Vec<Key> {
        self.after.iter().copied().map(toy_key).collect()
    }
    fn deleted_with(&self) -> Option<Key> {
        self.after.last().filter(|_| self.goes_along).copied().map(toy_key)
    }
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("value", self.value.to_string())]
    }
    fn rest(&self) -> Rest {
        Rest { due: Duration::from_secs(600), share: Duration::from_secs(300) }
    }
    fn records_intent(&self) -> bool {
        !self.has_token
    }
    fn diff(&self, seen: &Observed<u32>, _: &Refs) -> Vec<Change> {
        if seen.detail == self.value {
            return Vec::new();
        }
        vec![Change::in_place("value", seen.detail, self.value)]
    }
    async fn observe(
        &self,
        world: &ToyWorld,
        _: &Refs,
        _: &Look,
        _: Option<&Observed<u32>>,
    ) -> Result<Presence<u32>, Failure> {
        let world = world.0.lock().unwrap();
        if world.crashed {
            return Err(Failure::new(Class::Unavailable, "the process is gone"));
        }
        Ok(match world.read(&self.key()) {
            None => Presence::Absent,
            Some(thing) if thing.owner != "us" => Presence::Foreign(thing.owner.into()),
            Some(thing) => Presence::Ours(self.observed(&thing, world.now)),
        })
    }
    async fn create(&self, world: &ToyWorld, _: &Refs) -> Result<Observed<u32>, Failure> {
        let mut world = world.0.lock().unwrap();
        let things = world.things();
        for need in &self.after {
            let ready = things
                .get(&toy_key(*need).to_string())
                .and_then(|t| t.first())
                .is_some_and(|t| t.busy_until <= world.now);
            if !ready {
                world.rules_broken.push(format!("toy {} before toy {need}", self.number));
            }
        }
        let thing = Thing { owner: "us", value: 0, busy_until: world.now + span(self.takes) };
        let name = self.key().to_string();
        if self.has_token && things.contains_key(&name) {
            return Ok(self.observed(&things[&name][0], world.now));
        }
        let made = thing.clone();
        world.write(|things| things.entry(name).or_default().push(made))?;
        Ok(self.observed(&thing, world.now))
    }
    async fn update(
        &self,
        world: &ToyWorld,
        _: &Refs,
        seen: &Observed<u32>,
        changes: &[Change],
    ) -> Result<Observed<u32>, Failure> {
        assert!(!changes.is_empty());
        let (name, value) = (self.key().to_string(), self.value);
        let mut world = world.0.lock().unwrap();
        world.write(|things| {
            if let Some(thing) = things.get_mut(&name).and_then(|t| t.first_mut()) {
                thing.value = value;
            }
        })?;
        Ok(Observed { detail: value, ..seen.clone() })
    }
    async fn delete(&self, world: &ToyWorld, _: &Observed<u32>) -> Result<Presence<u32>, Failure> {
        let name = self.key().to_string();
        world.0.lock().unwrap().write(|things| {
            things.remove(&name);
            for along in &self.taken_along {
                let along = toy_key(*along).to_string();
                if things.get(&along).is_some_and(|there| there[0].owner == "us") {
                    things.remove(&along);
                }
            }
        })?;
        Ok(Presence::Absent)
    }
}

/// What outlives the process.
#[derive(Default)]
pub(super) struct Inventory(pub(super) Mutex<Vec<(Key, Recorded)>>, pub(super) ToyWorld);

#[async_trait]
impl Journal for Inventory {
    async fn record(&self, memory: &Memory) -> Result<(), Failure> {
        if self.1.0.lock().unwrap().crashed {
            return Err(Failure::new(Class::Unavailable, "the process is gone"));
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
        has_token: false,
        goes_along: false,
        taken_along: Vec::new(),
    });
    graph(&toys.collect::<Vec<_>>())
}

pub(super) fn graph(toys: &[Toy]) -> Graph<ToyWorld> {
    let nodes = toys.iter().map(|toy| Arc::new(toy.clone()) as Arc<dyn node::Node<ToyWorld>>).collect();
    Graph::new(nodes, Vec::new()).unwrap()
}
