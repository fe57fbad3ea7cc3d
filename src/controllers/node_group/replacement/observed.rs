//! The state of a node group, from what the engine remembers. Pure.

use jiff::Timestamp;

use super::decide::State;
use super::node_group_names::Group;
use crate::engine::failure::span;
use crate::engine::{Action, AnyObservation, Key, Memory, Phase, Presence};
use crate::resources::eks::{launch_template, node_group};

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

/// The state of a node group, with the launch template that Keelson created for it: one that the spec no longer describes is gone
/// once both are. `desired`: the digest of the spec.
pub fn of_group(memory: &Memory, group: &Group, desired: &str) -> State {
    let state = state(memory, &node_group::key(&group.name));
    if state != State::Absent || group.digest == desired {
        return state;
    }
    let template = launch_template::key(&group.name);
    match memory.get(&template) {
        // It is in no graph.
        None => State::Absent,
        Some(entry) if entry.last_observe_error.is_some() => State::Unknown,
        Some(entry) => match &entry.presence {
            Some(Presence::Ours(_)) => State::TemplateLeft,
            // Until that is certain.
            Some(Presence::Absent) if !absence_is_certain(memory, &template) => State::TemplateLeft,
            Some(Presence::Absent | Presence::Foreign(_) | Presence::Unowned(_) | Presence::External(_)) => {
                State::Absent
            }
            None => State::Unknown,
        },
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
    fn node_group_is_gone_once_its_launch_template_is_unless_the_spec_describes_it() {
        let (group, template) = (node_group::key("web"), launch_template::key("web"));
        let one = Group { name: "web".into(), digest: "old".into() };
        let mut memory = Memory::new(at(0), Duration::from_secs(10), []);
        memory.record_observation(&group, Presence::Absent, at(20));
        assert_eq!(of_group(&memory, &one, "new"), State::Absent, "it has none");
        memory.entry(&template);
        assert_eq!(of_group(&memory, &one, "new"), State::Unknown);
        memory.record_observation(
            &template,
            Presence::Ours(Observation::ready("lt-1", "available", Arc::new(()) as _)),
            at(20),
        );
        assert_eq!(of_group(&memory, &one, "new"), State::TemplateLeft);
        assert_eq!(of_group(&memory, &one, "old"), State::Absent, "it is created with it");
        memory.entry(&template).written_at = Some(at(21));
        memory.record_observation(&template, Presence::Absent, at(22));
        assert_eq!(of_group(&memory, &one, "new"), State::TemplateLeft, "a read may be older than the write");
        memory.record_observation(&template, Presence::Absent, at(32));
        assert_eq!(of_group(&memory, &one, "new"), State::Absent);
        memory.record_observation(&template, Presence::Foreign("another".into()), at(33));
        assert_eq!(of_group(&memory, &one, "new"), State::Absent, "somebody else's stays");
        memory.record_observation(
            &group,
            Presence::Ours(Observation::ready("web", "ACTIVE", Arc::new(()) as _)),
            at(34),
        );
        assert_eq!(of_group(&memory, &one, "new"), State::Ready(0));
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
