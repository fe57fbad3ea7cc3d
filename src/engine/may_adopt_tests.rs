//! The permission to adopt is checked right before each write to an unowned resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use jiff::Timestamp;

use super::execute::Run;
use super::failure::{Class, Failure, span};
use super::toy_world::{Inventory, Thing, Toy, ToyWorld, World, graph, toy_key};
use super::{ExecutionPolicy, Expectations, Goal, Memory, Report, reconcile};

const WINDOW: Duration = Duration::from_secs(1);

fn toys(count: usize) -> Vec<Toy> {
    let toy = |number| Toy {
        number,
        after: Vec::new(),
        value: 7,
        takes: Duration::ZERO,
        update_takes: Duration::ZERO,
        has_token: true,
        deleted_with_host: false,
        dependents: Vec::new(),
    };
    (0..count).map(toy).collect()
}

/// A world in which the toys exist, owned by `owner`, each with a value that the spec wants changed.
fn world(toys: &[Toy], owner: &'static str) -> ToyWorld {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let thing = || vec![Thing { owner, value: 1, busy_until: now - span(WINDOW) }];
    let things: BTreeMap<_, _> = toys.iter().map(|toy| (toy_key(toy.number).to_string(), thing())).collect();
    let world = World { now, history: vec![(now - span(WINDOW * 9), things)], ..World::default() };
    ToyWorld(Arc::new(Mutex::new(world)))
}

/// One reconcile in which adoption is permitted `allowed` times.
fn reconcile_once(toys: &[Toy], world: &ToyWorld, allowed: usize) -> (Report, usize) {
    let graph = graph(toys);
    let inventory = Inventory(Mutex::default(), world.clone());
    let checks = AtomicUsize::new(0);
    let may_adopt = || {
        let before = checks.fetch_add(1, Ordering::SeqCst);
        if before < allowed { Ok(()) } else { Err(Failure::new(Class::Denied, "withdrawn")) }
    };
    let now = world.0.lock().unwrap().now;
    let run = Run {
        graph: &graph,
        goal: Goal::Present,
        policy: &ExecutionPolicy::default(),
        cloud: world,
        may_adopt: &may_adopt,
        journal: &inventory,
        expectations: &Expectations::default(),
        clock: &|| now,
    };
    let report = block_on(reconcile(&run, &mut Memory::new(now, WINDOW, [])));
    (report, checks.load(Ordering::SeqCst))
}

#[test]
fn withdrawn_permission_stops_the_next_write_to_unowned_resources() {
    let toys = toys(3);
    for allowed in 0..6 {
        let world = world(&toys, "nobody");
        let (report, _) = reconcile_once(&toys, &world, allowed);
        let writes = world.0.lock().unwrap().writes;
        assert_eq!(usize::try_from(writes).unwrap(), allowed, "{:?}", report.steps);
    }
}

#[test]
fn owned_resources_are_updated_without_that_permission() {
    let toys = toys(2);
    let world = world(&toys, "us");
    let (_, checks) = reconcile_once(&toys, &world, 0);
    assert_eq!(checks, 0);
    let changed: BTreeSet<u32> = world.0.lock().unwrap().things().values().map(|there| there[0].value).collect();
    assert_eq!(changed, [7].into());
}
