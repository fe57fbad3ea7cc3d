//! How often an operation that fails in the cloud is started, despite lost responses.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;

use super::Goal;
use super::failure::span;
use super::toy_world::*;
use super::world_tests::{drive, world};

/// A toy whose update is a slow operation.
fn slowly_updated_toy() -> Toy {
    Toy {
        number: 0,
        after: Vec::new(),
        value: 2,
        takes: Duration::ZERO,
        update_takes: Duration::from_secs(5),
        has_token: true,
        deleted_with_host: false,
        dependents: Vec::new(),
    }
}

proptest! {
    #[test]
    fn failing_operation_is_started_three_times_despite_crashes_and_lost_responses(
        crash_at in prop::option::of(2..6u32),
        lose in prop::collection::btree_set(2..8u32, 0..4),
    ) {
        let toys = [slowly_updated_toy()];
        let world = world(0, crash_at, lose);
        world.0.lock().unwrap().failing = (0..100).collect();
        let inventory = Inventory(Mutex::default(), world.clone());
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.0.lock().unwrap().operations_of(&toy_key(0)), (3, 3));
        // Another process finds the inventory of the first one and continues the count.
        world.0.lock().unwrap().now += span(Duration::from_secs(3600));
        drive(&toys, Goal::Present, &world, &inventory).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.0.lock().unwrap().operations_of(&toy_key(0)).0, 3);
    }
}
