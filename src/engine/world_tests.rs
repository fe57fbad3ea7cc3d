//! Properties of the engine against an in-memory world with stale reads, lost answers and crashes.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use jiff::Timestamp;
use proptest::prelude::*;

use super::execute::{Journal, Run, reconcile};
use super::failure::span;
use super::memory::{AnyPresence, Recorded};
use super::plan::Action;
use super::resource::{Look, Resource, Rest};
use super::{
    Change, Class, Expectations, Failure, Goal, Graph, GraphError, Item, Key, Memory, Observed, Phase, Presence, Refs,
    Verdict, WaitingOn, node,
};

const SETTLE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
struct Thing {
    owner: &'static str,
    value: u32,
    busy_until: Timestamp,
}

/// A cloud of the mind: every state it was in, so that a read can answer an old one.
#[derive(Default)]
pub struct World {
    now: Timestamp,
    history: Vec<(Timestamp, BTreeMap<String, Vec<Thing>>)>,
    stale: Duration,
    writes: u32,
    crash_at: Option<u32>,
    crashed: bool,
    lose_answers: BTreeSet<u32>,
    rules_broken: Vec<String>,
}

impl World {
    fn things(&self) -> BTreeMap<String, Vec<Thing>> {
        self.history.last().map(|(_, things)| things.clone()).unwrap_or_default()
    }

    fn write(&mut self, change: impl FnOnce(&mut BTreeMap<String, Vec<Thing>>)) -> Result<(), Failure> {
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

    fn read(&self, key: &Key) -> Option<Thing> {
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
struct Toy {
    number: usize,
    after: Vec<usize>,
    value: u32,
    takes: Duration,
    has_token: bool,
    /// Goes with the last thing it needs.
    goes_along: bool,
    /// What goes with this.
    taken_along: Vec<usize>,
}

fn toy_key(number: usize) -> Key {
    Key::named("toy", number.to_string())
}

impl Toy {
    fn observed(&self, thing: &Thing, now: Timestamp) -> Observed<u32> {
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
struct Inventory(Mutex<Vec<(Key, Recorded)>>, ToyWorld);

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

fn graph(toys: &[Toy]) -> Graph<ToyWorld> {
    let nodes = toys.iter().map(|toy| Arc::new(toy.clone()) as Arc<dyn node::Node<ToyWorld>>).collect();
    Graph::new(nodes, Vec::new()).unwrap()
}

/// Reconciles, restarting after each crash, until nothing is left to do. Returns how many reconciles it took.
fn drive(toys: &[Toy], goal: Goal, world: &ToyWorld, inventory: &Inventory) -> Result<usize, String> {
    let graph = graph(toys);
    let expectations = Expectations::default();
    let start = world.0.lock().unwrap().now;
    let kept = || inventory.0.lock().unwrap().clone();
    let mut memory = Memory::new(start, SETTLE, kept());
    for round in 0..400 {
        let clock = || world.0.lock().unwrap().now;
        let run =
            Run { graph: &graph, goal, cloud: world, journal: inventory, expectations: &expectations, clock: &clock };
        let report = block_on(reconcile(&run, &mut memory));
        if !report.violations.is_empty() {
            return Err(format!("{:?}", report.violations));
        }
        let mut now = world.0.lock().unwrap();
        if now.crashed {
            (now.crashed, now.crash_at) = (false, None);
            now.now += span(Duration::from_millis(200));
            memory = Memory::new(now.now, SETTLE, kept());
            continue;
        }
        let blocked = |item: &Item| matches!(item.verdict, Verdict::Settled | Verdict::Blocked(_));
        let waits_for_blocked = |item: &Item| {
            matches!(&item.verdict, Verdict::Pending(_, on)
            if on.iter().all(|w| matches!(w, WaitingOn::Resource(_))))
        };
        if report.plan.items.iter().all(|item| blocked(item) || waits_for_blocked(item))
            && report.plan.items.iter().any(blocked)
        {
            return Ok(round + 1);
        }
        let Some(next) = report.next else {
            return Err(format!("nothing to look at again, yet not done: {:?}", report.plan));
        };
        now.now = next.max(now.now + span(Duration::from_millis(1)));
    }
    Err("does not converge".into())
}

fn toys() -> impl Strategy<Value = Vec<Toy>> {
    prop::collection::vec((any::<u16>(), 0..3u32, 0..30u64, any::<bool>(), any::<bool>()), 1..9).prop_map(|given| {
        let toy = |(number, (needs, value, takes, has_token, goes_along)): (usize, (u16, u32, u64, bool, bool))| Toy {
            number,
            after: (0..number).filter(|n| needs & (1 << n) != 0).collect(),
            value,
            takes: Duration::from_secs(takes),
            has_token,
            goes_along,
            taken_along: Vec::new(),
        };
        let mut toys: Vec<Toy> = given.into_iter().enumerate().map(toy).collect();
        for number in (0..toys.len()).rev() {
            let toy = toys[number].clone();
            if let Some(host) = toy.after.last().copied().filter(|_| toy.goes_along) {
                let along: Vec<usize> = toy.taken_along.into_iter().chain([number]).collect();
                toys[host].taken_along.extend(along);
            }
        }
        toys
    })
}

fn world(stale: u64, crash_at: Option<u32>, lose: BTreeSet<u32>) -> ToyWorld {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let stale = Duration::from_millis(stale);
    ToyWorld(Arc::new(Mutex::new(World {
        now,
        stale,
        crash_at,
        lose_answers: lose,
        history: vec![(now - span(SETTLE * 2), BTreeMap::new())],
        ..World::default()
    })))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_lost_there_is_one_of_each_and_then_none(
        toys in toys(),
        stale in 0..9_000u64,
        crash_create in prop::option::of(1..20u32),
        crash_delete in prop::option::of(1..10u32),
        lose in prop::collection::btree_set(1..24u32, 0..4),
    ) {
        let world = world(stale, crash_create, lose);
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        {
            let mut world = world.0.lock().unwrap();
            prop_assert!(world.rules_broken.is_empty(), "{:?}", world.rules_broken);
            let things = world.things();
            prop_assert_eq!(things.len(), toys.len());
            for toy in &toys {
                let made = &things[&toy_key(toy.number).to_string()];
                prop_assert_eq!(made.len(), 1, "toy {} was made {} times", toy.number, made.len());
                prop_assert_eq!(made[0].value, toy.value);
            }
            world.now += span(SETTLE * 2);
            world.crash_at = crash_delete.map(|n| world.writes + n);
        }
        drive(&toys, Goal::Gone, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert!(world.0.lock().unwrap().things().is_empty());
    }

    #[test]
    fn a_second_run_writes_nothing_and_nothing_foreign_is_touched(
        toys in toys(),
        foreign in any::<prop::sample::Index>(),
    ) {
        let world = world(0, None, BTreeSet::new());
        let theirs = toy_key(foreign.index(toys.len())).to_string();
        let thing = Thing { owner: "them", value: 77, busy_until: Timestamp::UNIX_EPOCH };
        {
            let mut world = world.0.lock().unwrap();
            let there = BTreeMap::from([(theirs.clone(), vec![thing.clone()])]);
            let before = world.now - span(SETTLE * 2);
            world.history.push((before, there));
        }
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        let writes = world.0.lock().unwrap().writes;
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.0.lock().unwrap().writes, writes);
        drive(&toys, Goal::Gone, &world, &inventory).map_err(TestCaseError::fail)?;
        let left = world.0.lock().unwrap().things();
        prop_assert_eq!(left, BTreeMap::from([(theirs, vec![thing])]));
    }
}

#[test]
fn a_circle_is_refused() {
    let toy = |number, after| Toy {
        number,
        after: vec![after],
        value: 0,
        takes: Duration::ZERO,
        has_token: true,
        goes_along: false,
        taken_along: Vec::new(),
    };
    let nodes: Vec<Arc<dyn node::Node<ToyWorld>>> = vec![Arc::new(toy(0, 1)), Arc::new(toy(1, 0))];
    assert!(matches!(Graph::new(nodes, Vec::new()), Err(GraphError::Circle(_))));
}

#[test]
fn an_intent_that_cannot_be_kept_stops_the_create() {
    struct Broken;
    #[async_trait]
    impl Journal for Broken {
        async fn record(&self, _: &Memory) -> Result<(), Failure> {
            Err(Failure::new(Class::Unavailable, "API server away"))
        }
    }
    let world = world(0, None, BTreeSet::new());
    let now = world.0.lock().unwrap().now;
    let graph = toy_graph(1);
    let clock = move || now;
    let run = Run {
        graph: &graph,
        goal: Goal::Present,
        cloud: &world,
        journal: &Broken,
        expectations: &Expectations::default(),
        clock: &clock,
    };
    let report = block_on(reconcile(&run, &mut Memory::new(now, SETTLE, [])));
    assert_eq!(world.0.lock().unwrap().writes, 0);
    assert!(report.next.is_some());
}
