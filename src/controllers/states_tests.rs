//! State of objects after a panic, and after they were unreadable.

use std::time::Duration;

use super::*;
use crate::engine::{InventoryRecord, Key, Presence};

#[tokio::test]
async fn panic_invalidates_earlier_reads_and_keeps_records() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let (vpc, address) = (Key::single("vpc"), Key::single("elasticIp"));
    let states = States::<(), ()>::default();
    let read_after_write_window = Duration::from_secs(10);
    {
        let state = states.of("uid", || Memory::new(at(0), read_after_write_window, []));
        let mut state = state.lock().await;
        state.memory.record_intent(&vpc, at(100));
        state.memory.record_observation(&address, Presence::Absent, at(100));
        state.written = Some(());
    }
    states.restart("uid", at(105)).await;
    let state = states.of("uid", || panic!("the state exists"));
    let state = state.lock().await;
    assert_eq!(state.memory.since, at(105));
    let intent = state.memory.get(&vpc).and_then(|entry| entry.recorded.clone());
    assert_eq!(intent, Some(InventoryRecord { id: None, operation: None, operations: 0, at: at(100) }));
    assert_eq!(state.memory.open_window_end(&vpc, at(114)), Some(at(115)), "the window starts at the panic");
    assert!(state.memory.get(&address).is_none() && state.written.is_none());
}

#[tokio::test]
async fn earlier_reads_do_not_count_after_an_object_was_unreadable() {
    let leading_since = Timestamp::from_second(0).unwrap();
    let vpc = Key::single("vpc");
    let recorded = || InventoryRecord { id: None, operation: None, operations: 0, at: Timestamp::UNIX_EPOCH };
    let memory = || Memory::new(leading_since, Duration::from_secs(10), [(vpc.clone(), recorded())]);
    let states = States::<(), ()>::default();
    drop(states.of("uid", memory));
    let before = Timestamp::now();
    assert!(states.forget_unreadable("uid").is_some());
    let state = states.of("uid", memory);
    let since = state.lock().await.memory.since;
    assert!(since >= before, "{since}");
    assert!(
        state.lock().await.memory.open_window_end(&vpc, since).is_some(),
        "an intended create may become visible late"
    );
    assert_eq!(states.of("other", memory).lock().await.memory.since, leading_since);
    states.forget_unreadable("gone");
    states.forget("gone");
    assert_eq!(
        states.of("gone", memory).lock().await.memory.since,
        leading_since,
        "no state of a deleted object is kept"
    );
}

#[test]
fn store_that_lags_behind_a_write_is_not_a_change_by_others() {
    let mut last = LastWrite::default();
    assert!(last.is_in(Some("7")), "nothing was written by this process");
    last.record(Some("20".to_owned()));
    assert!(!last.is_in(Some("19")) && last.is_in(Some("20")) && last.is_in(Some("110")));
    assert!(!last.is_in(None));
    // Restored from a backup: the versions are lower from then on.
    last.at = Instant::now().checked_sub(MAX_LAG);
    assert!(last.is_in(Some("19")));
}
