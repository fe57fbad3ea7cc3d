//! Properties of the engine in a simulated cloud with stale reads, lost responses and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use jiff::Timestamp;
use proptest::prelude::*;

use super::execute::{Journal, Run, reconcile};
use super::execution_policy::{AllowedSteps, Approved};
use super::failure::span;
use super::graph::GraphError;
use super::toy_world::*;
use super::{Class, ExecutionPolicy, Expectations, Failure, Goal, Graph, Item, Memory, Verdict, WaitingOn, erased};

pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Reconciles until nothing is left to do, restarting after each crash. Returns the number of reconciles.
pub(super) fn drive(toys: &[Toy], goal: Goal, world: &ToyWorld, inventory: &Inventory) -> Result<usize, String> {
    drive_with_policy(toys, goal, &ExecutionPolicy::default(), world, inventory)
}

/// The same, with only the steps that `policy` allows.
fn drive_with_policy(
    toys: &[Toy],
    goal: Goal,
    policy: &ExecutionPolicy,
    world: &ToyWorld,
    inventory: &Inventory,
) -> Result<usize, String> {
    let graph = graph(toys);
    let expectations = Expectations::default();
    let start = world.0.lock().unwrap().now;
    let persisted = || inventory.0.lock().unwrap().clone();
    let mut memory = Memory::new(start, WINDOW, persisted());
    for round in 0..400 {
        let clock = || world.0.lock().unwrap().now;
        let expectations = &expectations;
        let (may_adopt, journal) = (&|| Ok(()), inventory);
        let run = Run { graph: &graph, goal, policy, cloud: world, may_adopt, journal, expectations, clock: &clock };
        let report = block_on(reconcile(&run, &mut memory));
        if !report.violations.is_empty() {
            return Err(format!("{:?}", report.violations));
        }
        let mut now = world.0.lock().unwrap();
        if now.crashed {
            (now.crashed, now.crash_at) = (false, None);
            now.now += span(Duration::from_millis(200));
            memory = Memory::new(now.now, WINDOW, persisted());
            continue;
        }
        let blocked = |item: &Item| matches!(item.verdict, Verdict::Settled | Verdict::Blocked(_) | Verdict::Held(..));
        let is_held =
            report.plan.items.iter().any(|item| matches!(item.verdict, Verdict::Held(..) | Verdict::Blocked(_)));
        let waits_for_blocked = |item: &Item| match &item.verdict {
            Verdict::Pending(_, on) => on.iter().all(|w| matches!(w, WaitingOn::Resource(_))),
            Verdict::DeletedWith(_) => is_held,
            _ => false,
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

/// Dependencies, value, duration, whether updates take as long, whether it has a token, whether it is deleted with its
/// host.
type Traits = (u16, u32, u64, (u64, bool), bool);

pub(super) fn toys() -> impl Strategy<Value = Vec<Toy>> {
    prop::collection::vec((any::<u16>(), 0..3u32, 0..30u64, (0..2u64, any::<bool>()), any::<bool>()), 1..9).prop_map(
        |traits| {
            let toy = |(number, (needs, value, takes, (slow, has_token), deleted_with_host)): (usize, Traits)| Toy {
                number,
                after: (0..number).filter(|n| needs & (1 << n) != 0).collect(),
                value,
                takes: Duration::from_secs(takes),
                update_takes: Duration::from_secs(slow * (takes + 1)),
                has_token,
                deleted_with_host,
                dependents: Vec::new(),
            };
            let mut toys: Vec<Toy> = traits.into_iter().enumerate().map(toy).collect();
            for number in (0..toys.len()).rev() {
                let toy = toys[number].clone();
                if let Some(host) = toy.after.last().copied().filter(|_| toy.deleted_with_host) {
                    let dependents: Vec<usize> = toy.dependents.into_iter().chain([number]).collect();
                    toys[host].dependents.extend(dependents);
                }
            }
            toys
        },
    )
}

pub(super) fn world(stale: u64, crash_at: Option<u32>, lose: BTreeSet<u32>) -> ToyWorld {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let stale = Duration::from_millis(stale);
    ToyWorld(Arc::new(Mutex::new(World {
        now,
        stale,
        crash_at,
        lose_answers: lose,
        history: vec![(now - span(WINDOW * 2), BTreeMap::new())],
        ..World::default()
    })))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_resource_is_created_once_and_deleted_despite_crashes_and_lost_responses(
        toys in toys(),
        stale in 0..9_000u64,
        crash_create in prop::option::of(1..20u32),
        crash_delete in prop::option::of(1..10u32),
        lose in prop::collection::btree_set(1..24u32, 0..4),
        failing in prop::collection::btree_set(0..6usize, 0..3),
    ) {
        let world = world(stale, crash_create, lose);
        world.0.lock().unwrap().failing = failing;
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        {
            let mut world = world.0.lock().unwrap();
            prop_assert!(world.rules_broken.is_empty(), "{:?}", world.rules_broken);
            let things = world.things();
            prop_assert_eq!(things.len(), toys.len());
            for toy in &toys {
                let things = &things[&toy_key(toy.number).to_string()];
                prop_assert_eq!(things.len(), 1, "toy {} was created {} times", toy.number, things.len());
                prop_assert_eq!(things[0].value, toy.value);
                let (started, failed) = world.operations_of(&toy_key(toy.number));
                prop_assert!(started <= failed + 1, "toy {}: {started} operations, {failed} failed", toy.number);
            }
            world.now += span(WINDOW * 2);
            world.crash_at = crash_delete.map(|n| world.writes + n);
        }
        drive(&toys, Goal::Deleted, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert!(world.0.lock().unwrap().things().is_empty());
    }

    #[test]
    fn second_run_writes_nothing_and_foreign_resources_are_untouched(
        toys in toys(),
        foreign in any::<prop::sample::Index>(),
    ) {
        let world = world(0, None, BTreeSet::new());
        let foreign_key = toy_key(foreign.index(toys.len())).to_string();
        let thing = Thing { owner: "them", value: 77, busy_until: Timestamp::UNIX_EPOCH };
        {
            let mut world = world.0.lock().unwrap();
            let existing = BTreeMap::from([(foreign_key.clone(), vec![thing.clone()])]);
            let before = world.now - span(WINDOW * 2);
            world.history.push((before, existing));
        }
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        let writes = world.0.lock().unwrap().writes;
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.0.lock().unwrap().writes, writes);
        drive(&toys, Goal::Deleted, &world, &inventory).map_err(TestCaseError::fail)?;
        let left = world.0.lock().unwrap().things();
        prop_assert_eq!(left, BTreeMap::from([(foreign_key, vec![thing])]));
    }
}

/// A world that contains every toy of `toys`, owned by `owner`, some with another value.
fn existing_world(
    toys: &[Toy],
    owner: &'static str,
    stale: u64,
    crash_at: Option<u32>,
    lose: BTreeSet<u32>,
) -> ToyWorld {
    let world = world(stale, crash_at, lose);
    {
        let mut world = world.0.lock().unwrap();
        let thing = |toy: &Toy| {
            let value = toy.value + u32::from(toy.number.is_multiple_of(2));
            (toy_key(toy.number).to_string(), vec![Thing { owner, value, busy_until: Timestamp::UNIX_EPOCH }])
        };
        let before = world.now - span(WINDOW * 2);
        world.history.push((before, toys.iter().map(thing).collect()));
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn existing_resources_are_adopted_once_they_match_and_released_unchanged(
        toys in toys(),
        stale in 0..9_000u64,
        crash_adopt in prop::option::of(1..16u32),
        crash_release in prop::option::of(1..8u32),
        lose in prop::collection::btree_set(1..24u32, 0..4),
    ) {
        let world = existing_world(&toys, "nobody", stale, crash_adopt, lose);
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Deleted, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.0.lock().unwrap().writes, 0, "what is not ours is not deleted");
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        {
            let mut world = world.0.lock().unwrap();
            prop_assert!(world.rules_broken.is_empty(), "{:?}", world.rules_broken);
            for toy in &toys {
                let existing = &world.things()[&toy_key(toy.number).to_string()];
                prop_assert_eq!((existing.len(), existing[0].value, existing[0].owner), (1, toy.value, "us"));
            }
            world.now += span(WINDOW * 2);
            world.crash_at = crash_release.map(|n| world.writes + n);
        }
        drive(&toys, Goal::Retained, &world, &inventory).map_err(TestCaseError::fail)?;
        let world = world.0.lock().unwrap();
        for toy in &toys {
            let existing = &world.things()[&toy_key(toy.number).to_string()];
            prop_assert_eq!((existing.len(), existing[0].value, existing[0].owner), (1, toy.value, "nobody"));
        }
    }

    #[test]
    fn unapproved_steps_never_run(
        toys in toys(),
        existing in any::<bool>(),
        agree in prop::collection::vec(any::<bool>(), 9),
    ) {
        let world = if existing {
            existing_world(&toys, "us", 0, None, BTreeSet::new())
        } else {
            world(0, None, BTreeSet::new())
        };
        let inventory = Inventory(Mutex::default(), world.clone());
        let before = world.0.lock().unwrap().things();
        let none = ExecutionPolicy { allowed: AllowedSteps::None, ..ExecutionPolicy::default() };
        for goal in [Goal::Present, Goal::Deleted, Goal::Retained] {
            drive_with_policy(&toys, goal, &none, &world, &inventory).map_err(TestCaseError::fail)?;
        }
        prop_assert_eq!(world.0.lock().unwrap().things(), before.clone());
        // Some of the steps of the current plan.
        let graph = graph(&toys);
        let now = world.0.lock().unwrap().now;
        let clock = move || now;
        let expectations = Expectations::default();
        let run = Run {
            graph: &graph,
            goal: Goal::Present,
            policy: &none,
            cloud: &world,
            may_adopt: &|| Ok(()),
            journal: &inventory,
            expectations: &expectations,
            clock: &clock,
        };
        let report = block_on(reconcile(&run, &mut Memory::new(now, WINDOW, [])));
        let all = none.ids_of(&report.plan, &[]);
        let is_agreed = |key: &super::Key| agree[key.name().parse::<usize>().unwrap()];
        let some: Approved = all.iter().filter(|(key, _)| is_agreed(key)).cloned().collect();
        let only = ExecutionPolicy { allowed: AllowedSteps::Only(some.clone()), ..ExecutionPolicy::default() };
        drive_with_policy(&toys, Goal::Present, &only, &world, &inventory).map_err(TestCaseError::fail)?;
        let after = world.0.lock().unwrap().things();
        for toy in &toys {
            let name = toy_key(toy.number).to_string();
            if !some.iter().any(|(key, _)| *key == toy_key(toy.number)) {
                prop_assert_eq!(after.get(&name), before.get(&name), "{} was not agreed to", name);
            }
        }
        if some == all {
            prop_assert!(toys.iter().all(|toy| after[&toy_key(toy.number).to_string()][0].value == toy.value));
        }
    }
}

#[test]
fn dependency_cycle_is_rejected() {
    let toy = |number, after| Toy {
        number,
        after: vec![after],
        value: 0,
        takes: Duration::ZERO,
        update_takes: Duration::ZERO,
        has_token: true,
        deleted_with_host: false,
        dependents: Vec::new(),
    };
    let nodes: Vec<Arc<dyn erased::Node<ToyWorld>>> = vec![Arc::new(toy(0, 1)), Arc::new(toy(1, 0))];
    assert!(matches!(Graph::new(nodes, Vec::new()), Err(GraphError::Cycle(_))));
}

#[test]
fn create_is_not_sent_if_its_intent_cannot_be_recorded() {
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
        policy: &ExecutionPolicy::default(),
        cloud: &world,
        may_adopt: &|| Ok(()),
        journal: &Broken,
        expectations: &Expectations::default(),
        clock: &clock,
    };
    let report = block_on(reconcile(&run, &mut Memory::new(now, WINDOW, [])));
    assert_eq!(world.0.lock().unwrap().writes, 0);
    assert!(report.next.is_some());
}

/// A toy whose updates take a minute.
fn slow_toy(value: u32) -> Toy {
    Toy {
        number: 0,
        after: Vec::new(),
        value,
        takes: Duration::ZERO,
        update_takes: Duration::from_secs(60),
        has_token: true,
        deleted_with_host: false,
        dependents: Vec::new(),
    }
}

#[test]
fn failing_operation_is_started_three_times_and_then_blocked() {
    let world = world(0, None, BTreeSet::new());
    world.0.lock().unwrap().failing = (0..3).collect();
    let inventory = Inventory(Mutex::default(), world.clone());
    let toys = [slow_toy(7)];
    drive(&toys, Goal::Present, &world, &inventory).unwrap();
    assert_eq!(world.0.lock().unwrap().operations_of(&toy_key(0)), (3, 3));
    // A new process finds the failed operation and the count in the inventory.
    drive(&toys, Goal::Present, &world, &inventory).unwrap();
    let mut world = world.0.lock().unwrap();
    assert_eq!(world.operations_of(&toy_key(0)), (3, 3));
    assert_eq!(world.things()[&toy_key(0).to_string()][0].value, 0);
    assert!(world.rules_broken.is_empty());
    world.writes = 0;
}

#[test]
fn finished_operation_is_reported_once_and_its_duration_learned() {
    let world = world(0, None, BTreeSet::new());
    let graph = graph(&[slow_toy(7)]);
    let inventory = Inventory(Mutex::default(), world.clone());
    let expectations = Expectations::default();
    let clock = || world.0.lock().unwrap().now;
    let run = Run {
        graph: &graph,
        goal: Goal::Present,
        policy: &ExecutionPolicy::default(),
        cloud: &world,
        may_adopt: &|| Ok(()),
        journal: &inventory,
        expectations: &expectations,
        clock: &clock,
    };
    let mut memory = Memory::new(clock(), WINDOW, []);
    let mut finished = Vec::new();
    for _ in 0..60 {
        let report = block_on(reconcile(&run, &mut memory));
        finished.extend(report.finished_operations);
        if report.plan.is_settled() {
            break;
        }
        let mut world = world.0.lock().unwrap();
        world.now = report.next.unwrap().max(world.now + span(Duration::from_millis(1)));
    }
    assert_eq!(finished.len(), 1, "{finished:?}");
    let took = finished[0].result.clone().unwrap();
    assert!(took >= Duration::from_secs(55) && took <= Duration::from_secs(65), "{took:?}");
    let learned = expectations.estimate("toy/Change", super::Action::Update, Duration::ZERO);
    assert!(learned.learned && learned.typical == took);
}
