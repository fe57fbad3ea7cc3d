//! Derives kstatus conditions from a plan, for every kind. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan_status;
use super::progress::{ResourceProgress, resource_progress};
use super::reasons::{self, of_action};
use crate::api::Reason;
use crate::api::conditions::{self, ConditionStatus, ConditionType};
use crate::engine::check::Violation;
use crate::engine::failure::RetryState;
use crate::engine::{Action, Goal, HoldReason, Item, Memory, Phase, Plan, Verdict};
use crate::resources::eks::cluster;
use crate::resources::graph::kinds;

/// The status, reason and message of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionValue {
    /// Whether the condition is True.
    pub status: ConditionStatus,
    /// The reason.
    pub reason: Reason,
    /// The message.
    pub message: String,
}

impl ConditionValue {
    /// A condition that is True.
    pub fn true_(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::True, reason, message: message.into() }
    }

    /// A condition that is False.
    pub fn false_(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason, message: message.into() }
    }

    /// A condition that is Unknown.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// Whether the condition is True.
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// The overall state of an object as kstatus reads it; exactly one applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overall {
    /// AWS matches the spec.
    Ready(ConditionValue),
    /// Keelson is making progress.
    Reconciling(ConditionValue),
    /// Blocked until a person acts.
    Stalled(ConditionValue),
    /// `changePolicy: Observe`, and a resource is missing: this is not an error, and nothing will change it.
    Observed(ConditionValue),
    /// Suspended by the spec.
    Suspended(String),
}

/// Builds conditions, starting from those in status.
pub struct Conditions<'a> {
    all: Vec<Condition>,
    generation: Option<i64>,
    now: &'a Timestamp,
}

impl<'a> Conditions<'a> {
    /// Starts from the conditions of the last status.
    pub fn from(previous: &[Condition], generation: Option<i64>, now: &'a Timestamp) -> Self {
        Self { all: previous.to_vec(), generation, now }
    }

    /// Sets a condition.
    pub fn set(&mut self, kind: ConditionType, value: &ConditionValue) {
        // The API server stores times in whole seconds.
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(*self.now);
        let ConditionValue { status, reason, message } = value;
        conditions::set(&mut self.all, kind, *status, *reason, message, self.generation, now);
    }

    /// Sets a condition unless it exists.
    pub fn set_default(&mut self, kind: ConditionType, value: &ConditionValue) {
        if conditions::get(&self.all, kind).is_none() {
            self.set(kind, value);
        }
    }

    /// Sets Ready, Reconciling and Stalled.
    pub fn overall(&mut self, overall: &Overall) {
        use ConditionType::{Ready, Reconciling, Stalled};
        match overall {
            Overall::Ready(value) => {
                self.set(Ready, value);
                self.set(Reconciling, &ConditionValue::false_(Reason::Reconciled, "nothing is left to do"));
                self.set(Stalled, &ConditionValue::false_(Reason::Reconciled, ""));
            }
            Overall::Reconciling(value) => {
                self.set(Ready, &ConditionValue { status: ConditionStatus::False, ..value.clone() });
                self.set(Reconciling, &ConditionValue { status: ConditionStatus::True, ..value.clone() });
                self.set(Stalled, &ConditionValue::false_(value.reason, ""));
            }
            Overall::Stalled(value) => {
                self.set(Ready, &ConditionValue { status: ConditionStatus::False, ..value.clone() });
                self.set(Reconciling, &ConditionValue::false_(value.reason, ""));
                self.set(Stalled, &ConditionValue { status: ConditionStatus::True, ..value.clone() });
            }
            Overall::Observed(value) => {
                self.set(Ready, &ConditionValue { status: ConditionStatus::False, ..value.clone() });
                self.set(Reconciling, &ConditionValue::false_(value.reason, ""));
                self.set(Stalled, &ConditionValue::false_(value.reason, ""));
            }
            Overall::Suspended(message) => {
                // Suspending does not make a ready cluster unready.
                let ready = conditions::is_true(&self.all, Ready);
                let value =
                    ConditionValue { status: ready.into(), reason: Reason::Suspended, message: message.clone() };
                self.set(Ready, &value);
                self.set(Reconciling, &ConditionValue::false_(Reason::Suspended, message));
                self.set(Stalled, &ConditionValue::false_(Reason::Suspended, ""));
            }
        }
    }

    /// Returns the conditions.
    pub fn into_all(self) -> Vec<Condition> {
        self.all
    }
}

/// How long a ready object stays Ready while AWS cannot be read: an occasional failed read changes nothing.
const READY_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Whether a failure is transient and has not lasted too long.
fn is_transient(failed: &RetryState, now: Timestamp) -> bool {
    !failed.requires_intervention(now) && now.duration_since(failed.first) < READY_GRACE
}

/// The overall state when the account cannot be accessed, so there is no plan.
pub fn overall_without_plan(failed: &RetryState, previous: &[Condition], now: Timestamp) -> Overall {
    let value = ConditionValue::false_(reasons::reason(failed.failure.class), &failed.failure.message);
    let before = conditions::get(previous, ConditionType::Ready).filter(|ready| ready.status == "True");
    match before {
        Some(ready) if is_transient(failed, now) => {
            Overall::Ready(ConditionValue::true_(Reason::Available, &ready.message))
        }
        _ if failed.requires_intervention(now) => Overall::Stalled(value),
        _ => Overall::Reconciling(value),
    }
}

/// Sets InSync to Unknown when AWS could not be read.
pub fn set_in_sync_unknown(all: &mut Vec<Condition>, generation: Option<i64>, now: Timestamp, failed: &RetryState) {
    let mut changed = Conditions::from(all, generation, &now);
    changed.set(ConditionType::InSync, &ConditionValue::unknown(Reason::Pending, &failed.failure.message));
    *all = changed.into_all();
}

/// Whether the last observation failed, but the one before was ready and is recent enough.
fn is_assumed_ready(item: &Item, memory: &Memory, now: Timestamp) -> bool {
    let Verdict::NotObserved(Some(failed)) = &item.verdict else { return false };
    memory.observed(&item.key).is_some_and(|observation| observation.phase == Phase::Ready) && is_transient(failed, now)
}

/// The overall state of the selected items of a plan, and their number.
pub fn overall_of_part(
    plan: &Plan,
    memory: &Memory,
    of: impl Fn(&Item) -> bool,
    now: Timestamp,
    ready: &str,
) -> (Overall, usize) {
    let mut longest: Option<(Duration, ConditionValue)> = None;
    let mut held: Option<ConditionValue> = None;
    let mut count = 0;
    for item in plan.items.iter().filter(|item| of(item)) {
        count += 1;
        if plan.goal == Goal::Present && is_assumed_ready(item, memory, now) {
            continue;
        }
        match resource_progress(item, plan.goal, now) {
            ResourceProgress::Settled => {}
            ResourceProgress::Stalled { reason, message } => {
                return (Overall::Stalled(ConditionValue::false_(reason, message)), count);
            }
            ResourceProgress::Held { reason, message } => {
                held.get_or_insert(ConditionValue::false_(reason, message));
            }
            ResourceProgress::Progressing { reason, message, weight } => {
                if longest.as_ref().is_none_or(|(longest_weight, _)| weight > *longest_weight) {
                    longest = Some((weight, ConditionValue::false_(reason, message)));
                }
            }
        }
    }
    match (longest, held) {
        // Items that only wait for a held item make no progress.
        (Some((weight, _)), Some(value)) if weight.is_zero() => (held_overall(value), count),
        (Some((_, value)), _) => (Overall::Reconciling(value), count),
        (None, Some(value)) => (held_overall(value), count),
        (None, None) => (Overall::Ready(ConditionValue::true_(Reason::Available, ready)), count),
    }
}

/// A held item waits for a person, unless the policy is Observe.
fn held_overall(value: ConditionValue) -> Overall {
    if value.reason == Reason::Observed { Overall::Observed(value) } else { Overall::Stalled(value) }
}

/// The condition of a part of the plan.
pub fn condition_of_part(overall: Overall) -> ConditionValue {
    match overall {
        Overall::Ready(value) => value,
        Overall::Reconciling(value) | Overall::Stalled(value) | Overall::Observed(value) => {
            ConditionValue { status: ConditionStatus::False, ..value }
        }
        Overall::Suspended(message) => ConditionValue::unknown(Reason::Suspended, message),
    }
}

/// The overall state of the whole plan: what blocks it, otherwise what takes longest and how far it is.
pub fn overall_of_plan(plan: &Plan, memory: &Memory, violations: &[Violation], now: Timestamp, ready: &str) -> Overall {
    if let Some(violation) = violations.first() {
        return Overall::Stalled(ConditionValue::false_(Reason::AwsError, violation.to_string()));
    }
    let (overall, total) = overall_of_part(plan, memory, |_| true, now, ready);
    match overall {
        Overall::Reconciling(mut value) => {
            let done = plan.items.iter().filter(|item| item.verdict == Verdict::Settled).count();
            if total > 1 {
                value.message = format!("{}; {done} of {total} resources done", value.message);
            }
            // While the control plane is being created, waiting parts are part of the creation.
            if value.reason == Reason::Updating
                && plan.steps().any(|(key, step)| cluster::KIND.is_of(key) && step.action == Action::Create)
            {
                value.reason = Reason::Creating;
            }
            Overall::Reconciling(value)
        }
        other => other,
    }
}

/// The InSync condition: whether AWS matches the spec, and otherwise which fields differ.
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
            // The agent and the change policy are not in AWS.
            Verdict::Held(..) if kinds::find(item.key.kind()).is_none() => {}
            Verdict::Pending(step, waits) if super::progress::is_as_asked(step, waits) => {}
            Verdict::Held(step, HoldReason::Drift) if step.action == Action::Create => {
                drift.push(format!("{name}: no longer exists in AWS"));
            }
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _)
                if step.action == Action::Update =>
            {
                drift.push(format!("{name}: {}", plan_status::format_changes(&step.changes)));
            }
            Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _)
                if step.action == Action::Create =>
            {
                let existed =
                    memory.get(&item.key).and_then(|entry| entry.recorded.as_ref()).is_some_and(|r| r.id.is_some());
                if existed {
                    drift.push(format!("{name}: no longer exists in AWS"));
                } else {
                    creating += 1;
                }
            }
            Verdict::Blocked(_) => drift.push(format!("{name}: cannot be reconciled to the spec")),
            Verdict::NotObserved(_) => {
                return ConditionValue::unknown(Reason::Pending, format!("{name} could not be observed"));
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
        ConditionValue::false_(Reason::Creating, format!("{creating} of {} resources to be created", plan.items.len()))
    } else {
        ConditionValue::true_(Reason::Synced, "AWS matches the spec")
    }
}
