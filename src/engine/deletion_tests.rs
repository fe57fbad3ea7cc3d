//! Deletions next to resources of other owners: what such a resource uses stays.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::check::check;
use super::failure::span;
use super::plan::Step;
use super::toy_world::*;
use super::world_tests::{WINDOW, drive, toys, world};
use super::{
    Action, ExecutionPolicy, Expectations, Gate, Goal, Item, Key, Memory, Observation, Plan, Presence, Verdict,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_deleted_while_a_resource_of_another_owner_uses_it(
        toys in toys(),
        changed in any::<prop::sample::Index>(),
        owner in prop::sample::select(vec!["them", "nobody"]),
    ) {
        let world = world(0, None, BTreeSet::new());
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        let changed = changed.index(toys.len());
        let key = toy_key(changed);
        {
            let mut world = world.0.lock().unwrap();
            world.now += span(WINDOW * 2);
            world.write(|things| things.get_mut(&key.to_string()).unwrap()[0].owner = owner).unwrap();
            world.now += span(WINDOW * 2);
        }
        let before = world.0.lock().unwrap().things();
        drive(&toys, Goal::Deleted, &world, &inventory).map_err(TestCaseError::fail)?;
        let left = world.0.lock().unwrap().things();
        let toy = &toys[changed];
        let is_host = toys.iter().any(|other| other.deleted_with_host && other.after.last() == Some(&changed));
        let uses_others = !toy.after.is_empty() && !toy.deleted_with_host;
        if toys.len() > 1 && (is_host || uses_others) {
            prop_assert_eq!(left, before, "toy {} of {} uses others", changed, owner);
        } else {
            let names: Vec<_> = left.into_keys().collect();
            prop_assert_eq!(names, vec![key.to_string()]);
        }
    }
}

fn memory_of(presences: [Presence<u32>; 2]) -> Memory {
    let mut memory = Memory::new(Timestamp::UNIX_EPOCH, std::time::Duration::ZERO, []);
    for (number, presence) in presences.into_iter().enumerate() {
        memory.record_observation(&toy_key(number), ToyWorld::any(presence), Timestamp::UNIX_EPOCH);
    }
    memory
}

#[test]
fn planner_names_the_resource_of_another_owner_and_the_checker_refuses_without_it() {
    let graph = toy_graph(2);
    let exists = || Observation::ready("id", "available", 1);
    for (user, blocks) in [
        (Presence::Foreign("of others".to_owned()), true),
        (Presence::Unowned(exists()), true),
        (Presence::External(exists()), false),
        (Presence::Absent, false),
    ] {
        let memory = memory_of([Presence::Ours(exists()), user]);
        let policy = ExecutionPolicy::default();
        let now = Timestamp::UNIX_EPOCH;
        let plan = super::planner::plan(&graph, &memory, Goal::Deleted, &policy, &Expectations::default(), now);
        assert_eq!(plan.ready_steps().count() == 0, blocks, "{plan:?}");
        assert_eq!(matches!(plan.verdict(&toy_key(1)), Some(Verdict::Blocked(_))), blocks, "{plan:?}");
        // A planner that overlooks it is stopped.
        let step = Step { action: Action::Delete, changes: Vec::new(), reason: None };
        let item = Item { key: toy_key(0), verdict: Verdict::Step(step), forbidden: vec![], drift: vec![] };
        let checked = check(Plan { goal: Goal::Deleted, items: vec![item] }, &graph, &memory, &policy);
        assert_eq!(checked.is_err(), blocks);
    }
    // It does not block an object that owns nothing, nor a deletion that retains everything.
    let foreign = || Presence::Foreign("of others".to_owned());
    let nothing_owned = memory_of([Presence::Absent, foreign()]);
    let retained = memory_of([Presence::Ours(exists()), foreign()]);
    for (goal, memory) in [(Goal::Deleted, nothing_owned), (Goal::Retained, retained)] {
        let policy = ExecutionPolicy::default();
        let now = Timestamp::UNIX_EPOCH;
        let plan = super::planner::plan(&graph, &memory, goal, &policy, &Expectations::default(), now);
        assert_eq!(plan.verdict(&toy_key(1)), Some(&Verdict::Settled), "{plan:?}");
    }
}

#[test]
fn retained_resource_is_released_after_what_uses_it_and_never_deleted() {
    let toy = |number: usize, value| Toy {
        number,
        after: (0..number).collect(),
        value,
        takes: Duration::ZERO,
        update_takes: Duration::ZERO,
        has_token: false,
        deleted_with_host: false,
        dependents: Vec::new(),
    };
    let graph = graph(&[toy(0, RETAINED), toy(1, 1)]);
    let (policy, now) = (ExecutionPolicy::default(), Timestamp::UNIX_EPOCH);
    let exists = |value| Presence::Ours(Observation::ready("id", "available", value));
    for (user, verdict) in
        [(exists(1), "Pending(Step { action: Release"), (Presence::Absent, "Step(Step { action: Release")]
    {
        let memory = memory_of([exists(RETAINED), user]);
        let plan = super::planner::plan(&graph, &memory, Goal::Deleted, &policy, &Expectations::default(), now);
        let planned = format!("{:?}", plan.verdict(&toy_key(0)).unwrap());
        assert!(planned.starts_with(verdict), "{planned}");
        // A planner that overlooks it is stopped.
        for (action, allowed) in [(Action::Delete, false), (Action::Release, true)] {
            let step = Step { action, changes: Vec::new(), reason: None };
            let item = Item { key: toy_key(0), verdict: Verdict::Step(step), forbidden: vec![], drift: vec![] };
            let checked = check(Plan { goal: Goal::Deleted, items: vec![item] }, &graph, &memory, &policy);
            assert_eq!(checked.is_ok(), allowed, "{action:?}");
        }
    }
}

#[test]
fn gate_that_is_set_later_holds_what_it_names_until_it_is_opened() {
    let mut graph = toy_graph(2);
    let exists = || Observation::ready("id", "available", 1);
    let memory = memory_of([Presence::Ours(exists()), Presence::Ours(exists())]);
    let policy = ExecutionPolicy::default();
    let now = Timestamp::UNIX_EPOCH;
    for (open, verdict) in [(false, "Pending"), (true, "Step")] {
        let (key, holds) = (Key::single("users"), vec![toy_key(1)]);
        graph.set_gate(Gate { key, open, why: "others use it".into(), holds });
        let plan = super::planner::plan(&graph, &memory, Goal::Deleted, &policy, &Expectations::default(), now);
        let planned = format!("{:?}", plan.verdict(&toy_key(1)).unwrap());
        assert!(planned.starts_with(verdict), "{planned}");
        // A planner that overlooks it is stopped.
        let step = Step { action: Action::Delete, changes: Vec::new(), reason: None };
        let item = Item { key: toy_key(1), verdict: Verdict::Step(step), forbidden: vec![], drift: vec![] };
        let checked = check(Plan { goal: Goal::Deleted, items: vec![item] }, &graph, &memory, &policy);
        assert_eq!(checked.is_ok(), open);
    }
}

#[test]
fn resource_that_is_not_owned_has_no_record_after_a_restart() {
    let exists = || Observation::ready("id", "available", 1);
    let mut memory = memory_of([Presence::Ours(exists()), Presence::Unowned(exists())]);
    memory.restart(Timestamp::UNIX_EPOCH);
    assert!(memory.get(&toy_key(0)).is_some_and(|entry| entry.recorded.is_some()));
    assert!(memory.get(&toy_key(1)).is_none_or(|entry| entry.recorded.is_none()));
}
