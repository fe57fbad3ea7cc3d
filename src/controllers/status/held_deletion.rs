//! The conditions of an object whose deletion was requested and has not started: what exists is observed, and compared
//! with nothing. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{ConditionValue, Conditions, Overall};
use super::progress::label;
use super::reasons::{self, of_action};
use crate::api::Reason;
use crate::api::conditions::{self, ConditionType, bounded};
use crate::engine::{Class, Item, Key, Memory, Phase, Plan, Presence};
use crate::resources::graph::kinds;
use crate::resources::iam::role;

/// Begins the message of a condition of which nothing is observed meanwhile.
const NOT_OBSERVED: &str = "not observed while the deletion waits";
/// Most of an earlier message that is kept.
const MAX_BEFORE: usize = 512;

/// The condition of the selected part of a plan: whether what it consists of exists and is ready.
pub fn part_condition(plan: &Plan, memory: &Memory, of: impl Fn(&Item) -> bool) -> ConditionValue {
    let mut unknown = None;
    let mut count = 0;
    for item in plan.items.iter().filter(|item| of(item)) {
        count += 1;
        match problem(&item.key, memory) {
            Some(Problem::Unknown(value)) => drop(unknown.get_or_insert(value)),
            Some(Problem::Wrong(value)) => return value,
            None => {}
        }
    }
    match unknown {
        Some(value) => value,
        None if count == 0 => ConditionValue::true_(Reason::NotRequested, "the spec requests none"),
        None => ConditionValue::true_(Reason::Available, "exists and is ready; the deletion waits"),
    }
}

enum Problem {
    /// It does not exist, or is not ready.
    Wrong(ConditionValue),
    /// It could not be observed.
    Unknown(ConditionValue),
}

fn problem(key: &Key, memory: &Memory) -> Option<Problem> {
    let name = label(key);
    let wrong = |reason, message| Some(Problem::Wrong(ConditionValue::false_(reason, message)));
    let unknown = |reason, message| Some(Problem::Unknown(ConditionValue::unknown(reason, message)));
    let entry = memory.get(key);
    if let Some(failed) = entry.and_then(|entry| entry.last_observe_error.as_ref()) {
        return unknown(reasons::reason(failed.failure.class), format!("{name}: {}", failed.failure.message));
    }
    let phase = match entry.and_then(|entry| entry.presence.as_ref()) {
        None => return unknown(Reason::Pending, format!("{name}: not observed yet")),
        Some(Presence::Foreign(owner)) => return wrong(Reason::NotOwned, format!("{name}: {owner}")),
        Some(Presence::Absent) => {
            let is_recorded = entry.is_some_and(|entry| entry.recorded.is_some());
            // A sweep is no resource, and a deletion also looks for roles that the spec may not need.
            let is_missing = kinds::is_resource(key) && (is_recorded || !role::KIND.is_of(key));
            return if is_missing { wrong(Reason::Drifted, format!("{name} does not exist")) } else { None };
        }
        Some(Presence::Ours(observed) | Presence::External(observed) | Presence::Unowned(observed)) => &observed.phase,
    };
    match phase {
        Phase::Ready => None,
        Phase::Incomplete => wrong(Reason::Updating, format!("{name} is incomplete")),
        Phase::Busy { action, note, .. } => {
            let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
            wrong(of_action(*action), format!("{name}: {}{note}", super::progress::doing(*action)))
        }
        Phase::Failed { reason, class, .. } => {
            let class = if *class == Class::Unknown { Reason::Failed } else { reasons::reason(*class) };
            wrong(class, format!("{name}: {reason}"))
        }
    }
}

/// Marks a condition of which nothing is observed meanwhile: what it was before is in its message.
pub fn mark_unobserved(all: &mut Conditions<'_>, previous: &[Condition], kind: ConditionType, overall: &Overall) {
    let Some(before) = conditions::get(previous, kind).filter(|one| one.reason != Reason::NotRequested.as_str()) else {
        return;
    };
    let message = if before.message.starts_with(NOT_OBSERVED) {
        before.message.clone()
    } else {
        let text = bounded(&before.message, MAX_BEFORE);
        format!("{NOT_OBSERVED}; it was {} ({}): {text}", before.status, before.reason)
    };
    all.set(kind, &ConditionValue::unknown(reason_of(overall), message));
}

fn reason_of(overall: &Overall) -> Reason {
    match overall {
        Overall::Ready(value) | Overall::Reconciling(value) | Overall::Stalled(value) | Overall::Observed(value) => {
            value.reason
        }
        Overall::Suspended(_) => Reason::Suspended,
    }
}
