//! The state of a node group, from what the engine remembers. Pure.

use jiff::Timestamp;

use super::decide::State;
use crate::engine::failure::span;
use crate::engine::{Action, AnyObservation, Key, Memory, Phase, Presence};

/// The state of a node group. Only one that is owned is ready or not, and one is absent only if no write and no earlier process
/// can have created it unseen.
pub fn state(memory: &Memory, key: &Key) -> State {
    let Some(entry) = memory.get(key).filter(|entry| entry.last_observe_error.is_none()) else { return State::Unknown };
    match &entry.presence {
        Some(Presence::Ours(observed)) => of_owned(observed),
        Some(Presence::Absent) if absence_is_certain(memory, key) => State::Absent,
        Some(Presence::Foreign(_)) => State::Foreign,
        Some(Presence::Unowned(_)) => State::Unowned,
        Some(Presence::Absent | Presence::External(_)) | None => State::Unknown,
    }
}

fn of_owned(observed: &AnyObservation) -> State {
    match &observed.phase {
        Phase::Busy { action: Action::Delete, .. } => State::Deleting,
        Phase::Ready | Phase::Incomplete | Phase::Busy { action: Action::Update, .. } => State::Ready(size(observed)),
        Phase::Busy { .. } | Phase::Failed { .. } => State::NotReady,
    }
}

/// Its desired size.
pub fn size(observed: &AnyObservation) -> i32 {
    observed.outputs.get("desired").and_then(|desired| desired.parse().ok()).unwrap_or_default()
}

fn absence_is_certain(memory: &Memory, key: &Key) -> bool {
    let observed_at = memory.get(key).and_then(|entry| entry.observed_at);
    observed_at.is_some_and(|at| certain_at(memory, key).is_none_or(|certain| at >= certain))
}

/// From when on an observation shows that it is absent.
pub fn certain_at(memory: &Memory, key: &Key) -> Option<Timestamp> {
    let written_at = memory.get(key).and_then(|entry| entry.written_at);
    written_at.unwrap_or(memory.since).max(memory.since).saturating_add(span(memory.read_after_write_window)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::engine::Observation;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn absence_counts_once_no_earlier_write_can_be_unseen() {
        let key = Key::named("nodeGroup", "web");
        let mut memory = Memory::new(at(100), Duration::from_secs(10), []);
        assert_eq!(state(&memory, &key), State::Unknown);
        memory.record_observation(&key, Presence::Absent, at(101));
        assert_eq!(state(&memory, &key), State::Unknown, "an earlier process may have created it");
        memory.record_observation(&key, Presence::Absent, at(110));
        assert_eq!(state(&memory, &key), State::Absent);
        memory.entry(&key).written_at = Some(at(200));
        assert_eq!(state(&memory, &key), State::Unknown);
        memory.record_observation(&key, Presence::Absent, at(210));
        assert_eq!(state(&memory, &key), State::Absent);
    }

    #[test]
    fn only_an_owned_node_group_is_ready() {
        let key = Key::named("nodeGroup", "web");
        let of = |presence| {
            let mut memory = Memory::new(at(0), Duration::ZERO, []);
            memory.record_observation(&key, presence, at(1));
            state(&memory, &key)
        };
        let observed =
            |phase| Observation::ready("web", "ACTIVE", Arc::new(()) as _).output("desired", "3").phase(phase);
        assert_eq!(of(Presence::Ours(observed(Phase::Ready))), State::Ready(3));
        assert_eq!(of(Presence::Unowned(observed(Phase::Ready))), State::Unowned);
        assert_eq!(of(Presence::Foreign("another".into())), State::Foreign);
        let busy = |action| of(Presence::Ours(observed(Phase::Busy { action, since: None, note: String::new() })));
        assert_eq!(busy(Action::Update), State::Ready(3));
        assert_eq!((busy(Action::Create), busy(Action::Delete)), (State::NotReady, State::Deleting));
    }
}
