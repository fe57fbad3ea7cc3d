//! From a plan to the conditions of kstatus, the same for every kind. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan_status;
use super::progress::{ResourceProgress, standing};
use super::reasons::{self, of_action};
use crate::api::Reason;
use crate::api::conditions::{self, ConditionStatus, ConditionType};
use crate::engine::check::Violation;
use crate::engine::failure::RetryState;
use crate::engine::{Action, Goal, HoldReason, Item, Memory, Phase, Plan, Verdict};

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionValue {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl ConditionValue {
    /// It holds.
    pub fn true_(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::True, reason, message: message.into() }
    }

    /// It does not.
    pub fn false_(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason, message: message.into() }
    }

    /// Nobody knows.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// Whether it holds.
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// Where an object stands as a whole: exactly one of these, as kstatus reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overall {
    /// All is as asked.
    Ready(ConditionValue),
    /// On its way.
    Reconciling(ConditionValue),
    /// It goes no further without a person.
    Stalled(ConditionValue),
    /// It is only watched, as asked, and something of it is not there: nothing is wrong, and nothing goes on.
    Observed(ConditionValue),
    /// Left alone as asked.
    Suspended(String),
}

/// Conditions under construction, from those that stand in status.
pub struct Conditions<'a> {
    all: Vec<Condition>,
    generation: Option<i64>,
    now: &'a Timestamp,
}

impl<'a> Conditions<'a> {
    /// From those of the last status.
    pub fn from(previous: &[Condition], generation: Option<i64>, now: &'a Timestamp) -> Self {
        Self { all: previous.to_vec(), generation, now }
    }

    /// Sets one.
    pub fn set(&mut self, kind: ConditionType, says: &ConditionValue) {
        // As the API server keeps times: in whole seconds.
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(*self.now);
        let ConditionValue { status, reason, message } = says;
        conditions::set(&mut self.all, kind, *status, *reason, message, self.generation, now);
    }

    /// Sets one that is not there yet.
    pub fn set_default(&mut self, kind: ConditionType, says: &ConditionValue) {
        if conditions::get(&self.all, kind).is_none() {
            self.set(kind, says);
        }
    }

    /// Sets Ready, Reconciling and Stalled.
    pub fn overall(&mut self, overall: &Overall) {
        use ConditionType::{Ready, Reconciling, Stalled};
        match overall {
            Overall::Ready(says) => {
                self.set(Ready, says);
                self.set(Reconciling, &ConditionValue::false_(Reason::Reconciled, "nothing is left to do"));
                self.set(Stalled, &ConditionValue::false_(Reason::Reconciled, ""));
            }
            Overall::Reconciling(says) => {
                self.set(Ready, &ConditionValue { status: ConditionStatus::False, ..says.clone() });
                self.set(Reconciling, &ConditionValue { status: ConditionStatus::True, ..says.clone() });
                self.set(Stalled, &ConditionValue::false_(says.reason, ""));
            }
            Overall::Stalled(says) => {
                self.set(Ready, &ConditionValue { status: ConditionStatus::False, ..says.clone() });
                self.set(Reconciling, &ConditionValue::false_(says.reason, ""));
                self.set(Stalled, &ConditionValue { status: ConditionStatus::True, ..says.clone() });
            }
            Overall::Observed(says) => {
                self.set(Ready, &ConditionValue { status: ConditionStatus::False, ..says.clone() });
                self.set(Reconciling, &ConditionValue::false_(says.reason, ""));
                self.set(Stalled, &ConditionValue::false_(says.reason, ""));
            }
            Overall::Suspended(message) => {
                // A cluster that works does not break because it is left alone.
                let ready = conditions::is_true(&self.all, Ready);
                let says = ConditionValue { status: ready.into(), reason: Reason::Suspended, message: message.clone() };
                self.set(Ready, &says);
                self.set(Reconciling, &ConditionValue::false_(Reason::Suspended, message));
                self.set(Stalled, &ConditionValue::false_(Reason::Suspended, ""));
            }
        }
    }

    /// The conditions.
    pub fn into_all(self) -> Vec<Condition> {
        self.all
    }
}

/// How long what was ready is called so while AWS cannot be asked: a look that fails now and then is no news.
const BELIEVED: SignedDuration = SignedDuration::from_mins(5);

/// Whether a failure is one that passes by itself, and did not last yet.
fn passes(failed: &RetryState, now: Timestamp) -> bool {
    !failed.requires_intervention(now) && now.duration_since(failed.first) < BELIEVED
}

/// Where an object stands whose account could not be reached.
pub fn before_the_engine(failed: &RetryState, previous: &[Condition], now: Timestamp) -> Overall {
    let says = ConditionValue::false_(reasons::reason(failed.failure.class), &failed.failure.message);
    let before = conditions::get(previous, ConditionType::Ready).filter(|ready| ready.status == "True");
    match before {
        Some(ready) if passes(failed, now) => Overall::Ready(ConditionValue::true_(Reason::Available, &ready.message)),
        _ if failed.requires_intervention(now) => Overall::Stalled(says),
        _ => Overall::Reconciling(says),
    }
}

/// What InSync says when AWS could not be asked.
pub fn not_asked(all: &mut Vec<Condition>, generation: Option<i64>, now: Timestamp, failed: &RetryState) {
    let mut changed = Conditions::from(all, generation, &now);
    changed.set(ConditionType::InSync, &ConditionValue::unknown(Reason::Pending, &failed.failure.message));
    *all = changed.into_all();
}

/// True when it could not be looked at just now, and was ready when it was.
fn believed(item: &Item, memory: &Memory, now: Timestamp) -> bool {
    let Verdict::NotObserved(Some(failed)) = &item.verdict else { return false };
    memory.observed(&item.key).is_some_and(|seen| seen.phase == Phase::Ready) && passes(failed, now)
}

/// What a plan comes to, over some of its resources.
pub fn part(plan: &Plan, memory: &Memory, of: impl Fn(&Item) -> bool, now: Timestamp, ready: &str) -> (Overall, usize) {
    let mut leading: Option<(Duration, ConditionValue)> = None;
    let mut held: Option<ConditionValue> = None;
    let mut count = 0;
    for item in plan.items.iter().filter(|item| of(item)) {
        count += 1;
        if plan.goal == Goal::Present && believed(item, memory, now) {
            continue;
        }
        match standing(item, plan.goal, now) {
            ResourceProgress::Settled => {}
            ResourceProgress::Stalled { reason, message } => {
                return (Overall::Stalled(ConditionValue::false_(reason, message)), count);
            }
            ResourceProgress::Held { reason, message } => {
                held.get_or_insert(ConditionValue::false_(reason, message));
            }
            ResourceProgress::Progressing { reason, message, weight } => {
                if leading.as_ref().is_none_or(|(most, _)| weight > *most) {
                    leading = Some((weight, ConditionValue::false_(reason, message)));
                }
            }
        }
    }
    match (leading, held) {
        // What only waits for what is held back does not move.
        (Some((weight, _)), Some(says)) if weight.is_zero() => (left_alone(says), count),
        (Some((_, says)), _) => (Overall::Reconciling(says), count),
        (None, Some(says)) => (left_alone(says), count),
        (None, None) => (Overall::Ready(ConditionValue::true_(Reason::Available, ready)), count),
    }
}

/// What is held back waits for a person, unless nobody asked for it to be done.
fn left_alone(says: ConditionValue) -> Overall {
    if says.reason == Reason::Observed { Overall::Observed(says) } else { Overall::Stalled(says) }
}

/// The condition of a part.
pub fn part_says(overall: Overall) -> ConditionValue {
    match overall {
        Overall::Ready(says) => says,
        Overall::Reconciling(says) | Overall::Stalled(says) | Overall::Observed(says) => {
            ConditionValue { status: ConditionStatus::False, ..says }
        }
        Overall::Suspended(message) => ConditionValue::unknown(Reason::Suspended, message),
    }
}

/// The whole plan: what is in the way, else what takes longest, with how far it is.
pub fn whole(plan: &Plan, memory: &Memory, violations: &[Violation], now: Timestamp, ready: &str) -> Overall {
    if let Some(violation) = violations.first() {
        return Overall::Stalled(ConditionValue::false_(Reason::AwsError, violation.to_string()));
    }
    let (overall, total) = part(plan, memory, |_| true, now, ready);
    match overall {
        Overall::Reconciling(mut says) => {
            let done = plan.items.iter().filter(|item| item.verdict == Verdict::Settled).count();
            if total > 1 {
                says.message = format!("{}; {done} of {total} resources done", says.message);
            }
            // While the whole is being made, it is so for every part that waits in it.
            if says.reason == Reason::Updating
                && plan.steps().any(|(key, step)| key.kind() == "cluster" && step.action == Action::Create)
            {
                says.reason = Reason::Creating;
            }
            Overall::Reconciling(says)
        }
        other => other,
    }
}

/// InSync: AWS matches the spec, or which field of what differs.
pub fn in_sync(plan: &Plan, memory: &Memory) -> ConditionValue {
    let mut drift = Vec::new();
    let mut creating = 0;
    for item in &plan.items {
        let name = super::progress::label(&item.key);
        if !item.drift.is_empty() {
            drift.push(format!("{name}: {}", plan_status::format_changes(&item.drift)));
        }
        if !item.forbidden.is_empty() {
            drift.push(format!("{name}: {}", plan_status::format_changes(&item.forbidden)));
        }
        match &item.verdict {
            Verdict::Pending(step, waits) if super::progress::is_as_asked(step, waits) => {}
            Verdict::Held(step, HoldReason::Drift) if step.action == Action::Create => {
                drift.push(format!("{name}: it was there and is gone"));
            }
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _)
                if step.action == Action::Update =>
            {
                drift.push(format!("{name}: {}", plan_status::format_changes(&step.changes)));
            }
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _)
                if step.action == Action::Create =>
            {
                let was_there =
                    memory.get(&item.key).and_then(|entry| entry.recorded.as_ref()).is_some_and(|r| r.id.is_some());
                if was_there {
                    drift.push(format!("{name}: it was there and is gone"));
                } else {
                    creating += 1;
                }
            }
            Verdict::Blocked(_) => drift.push(format!("{name}: it cannot be brought to what is asked")),
            Verdict::NotObserved(_) => {
                return ConditionValue::unknown(Reason::Pending, format!("{name} could not be looked at"));
            }
            Verdict::Waiting { action, .. } if *action != Action::Create => {
                return ConditionValue::false_(of_action(*action), format!("{name} is changing"));
            }
            Verdict::Waiting { .. } => creating += 1,
            _ => {}
        }
    }
    if !drift.is_empty() {
        ConditionValue::false_(Reason::Drifted, drift.join("; "))
    } else if creating > 0 {
        ConditionValue::false_(Reason::Creating, format!("{creating} of {} resources to be made", plan.items.len()))
    } else {
        ConditionValue::true_(Reason::Synced, "AWS matches the spec")
    }
}
