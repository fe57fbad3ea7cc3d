//! The end of every reconcile: status written when it says something new, metrics, events of what changed as a whole, and
//! when to come again. I/O: the management cluster's API.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use super::apply::{self, Kind};
use super::conditions::{Conditions, Overall};
use super::context::{Context, State};
use super::events::EventMessage;
use super::waiting_on;
use super::waits::Wait;
use super::watch::digest;
use crate::api::RECONCILE_AT_ANNOTATION;
use crate::api::account::AwsAccountStatus;
use crate::api::conditions::{self, ConditionType};
use crate::api::status::{EksClusterStatus, NodeGroupStatus, WaitStatus};
use crate::aws::WriteGate;
use crate::engine::Report;
use crate::engine::execution_policy::Subject;

/// When nothing is expected: a watch event that was missed is made good by then.
const RESYNC: Duration = Duration::from_secs(1800);
/// Two reconciles of an object are never closer than this.
const SHORTEST: Duration = Duration::from_millis(50);

/// When to come again, and how the reconcile ended, for `keelson_reconciles_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    at: Option<Timestamp>,
    result: &'static str,
}

/// Nothing failed.
const OK: &str = "ok";
/// The spec, or the account that it names, does not allow it.
pub const REFUSED: &str = "refused";
/// A call to the management cluster's API failed.
pub const MANAGEMENT_API: &str = "management_api";
/// The checker refused the plan.
const UNSAFE_PLAN: &str = "unsafe_plan";

impl Next {
    /// When something changes.
    pub fn change() -> Self {
        Self { at: None, result: OK }
    }

    /// At that time.
    pub fn at(at: Timestamp) -> Self {
        Self { at: Some(at), result: OK }
    }

    /// After that long.
    pub fn after(pause: SignedDuration, now: Timestamp) -> Self {
        Self::at(now.saturating_add(pause).unwrap_or(now))
    }

    /// The earlier of the two; what failed in either has failed.
    pub fn or(self, other: Self) -> Self {
        let at = match (self.at, other.at) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { at, ..self.failed(other.result) }
    }

    /// The same of a reconcile that failed for `result`, unless another failure is noted already.
    pub fn failed(self, result: &'static str) -> Self {
        Self { result: if self.result == OK { result } else { self.result }, ..self }
    }

    /// The same with what failed in AWS, if anything.
    pub fn of(self, report: &Report) -> Self {
        if !report.violations.is_empty() {
            return self.failed(UNSAFE_PLAN);
        }
        report.failure().map_or(self, |failure| self.failed(failure.class.as_str()))
    }

    /// How the reconcile ended.
    pub fn result(self) -> &'static str {
        self.result
    }

    /// The pause from `now`.
    pub fn pause(self, now: Timestamp) -> Duration {
        let Some(at) = self.at else { return RESYNC };
        at.duration_since(now).max(SignedDuration::ZERO).unsigned_abs().clamp(SHORTEST, RESYNC)
    }
}

/// A number of the object's own, to spread what would happen all at once.
pub fn seed<K: ResourceExt>(object: &K) -> u64 {
    digest(object.uid())
}

/// What the plans of an object are of.
pub fn subject<K: ResourceExt>(object: &K) -> Subject {
    let meta = object.meta();
    Subject {
        uid: object.uid().unwrap_or_default(),
        generation: meta.generation,
        deleted_at: meta.deletion_timestamp.as_ref().map(|time| time.0),
    }
}

/// What a person changes by asking for something: the spec, or the annotation that asks for a look.
pub fn client_token_seed<K: ResourceExt>(object: &K) -> String {
    let asked = object.annotations().get(RECONCILE_AT_ANNOTATION).map_or("", String::as_str);
    format!("{} {asked}", object.meta().generation.unwrap_or_default())
}

/// How long an object that was at rest waits for its first look by this process, so that a restart with many of them is no
/// burst of AWS calls: ten a second.
pub fn spread<K: ResourceExt>(object: &K, count: usize) -> Duration {
    const AT_ONCE: usize = 20;
    if count <= AT_ONCE {
        return Duration::ZERO;
    }
    let window = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(100).min(1_800_000);
    Duration::from_millis(seed(object) % window)
}

/// True when nothing is known to be left to do for the present spec.
pub fn was_steady(generation: Option<i64>, observed: Option<i64>, conditions: &[Condition]) -> bool {
    generation == observed && conditions::is_true(conditions, ConditionType::Ready)
}

/// Events of an object as a whole: when it becomes ready, stalled, suspended.
pub fn publish_transition<K: Kind>(ctx: &Context, object: &K, previous: &[Condition], overall: &Overall) {
    let reason_before = conditions::get(previous, ConditionType::Ready).map(|c| (c.status.as_str(), c.reason.as_str()));
    let told = match overall {
        Overall::Ready(says) if !matches!(reason_before, Some(("True", _))) => {
            EventMessage::normal("Ready", &says.message)
        }
        Overall::Stalled(says) if reason_before.is_none_or(|(_, reason)| reason != says.reason.as_str()) => {
            EventMessage::warning(says.reason, &says.message)
        }
        Overall::Observed(says) if reason_before.is_none_or(|(_, reason)| reason != says.reason.as_str()) => {
            EventMessage::normal(says.reason.as_str(), &says.message)
        }
        Overall::Suspended(message) if reason_before.is_none_or(|(_, reason)| reason != "Suspended") => {
            EventMessage::normal("Suspended", message)
        }
        _ => return,
    };
    ctx.events.publish(object, vec![told]);
}

/// Writes `status` when it differs from `previous`, counts, and returns when to come again.
pub async fn write<K, S, R>(
    ctx: &Context,
    object: &K,
    state: &mut State<S, R>,
    previous: S,
    status: S,
    overall: &Overall,
    next: Next,
) -> Next
where
    K: Kind,
    S: Serialize + PartialEq + Default + WithConditions,
{
    ctx.metrics.objects().set_ready(K::NAME, &object.uid().unwrap_or_default(), ready_status(overall));
    let now = Timestamp::now();
    if status == previous && state.unwritten == 0 {
        state.written = Some(status);
        return next;
    }
    if !ctx.gate.may_write() {
        // A process that was paused wakes up with old news, and whoever leads by now does not see that it was written over.
        return next;
    }
    match apply::status(&ctx.client, object, apply::MANAGER, &*ctx.gate, &status).await {
        Ok(()) => {
            log_transitions(object, previous.conditions(), status.conditions());
            state.written = Some(status);
            state.unwritten = 0;
            next
        }
        // Gone meanwhile, or made anew under its name: the watch will tell.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => next,
        Err(error) => {
            state.unwritten = state.unwritten.saturating_add(1);
            let (kind, name) = (K::NAME, object.name_any());
            tracing::warn!(kind, name, error = %apply::describe_error(&error), "status was not written; it is tried again");
            // Its own pause, doubled up to a minute: an API server that is away must not be stormed by all objects.
            let millis = 1000_i64.saturating_mul(1 << state.unwritten.min(6)).min(60_000);
            let spread = i64::try_from(seed(object) % 1000).unwrap_or_default();
            let again = Next::after(SignedDuration::from_millis(millis + spread), now).failed(MANAGEMENT_API);
            if state.unwritten > 2 { again } else { next.or(again) }
        }
    }
}

fn ready_status(overall: &Overall) -> &'static str {
    match overall {
        Overall::Ready(_) => "True",
        Overall::Reconciling(_) | Overall::Stalled(_) | Overall::Observed(_) => "False",
        Overall::Suspended(_) => "Unknown",
    }
}

/// A status that holds conditions, and what is waited for.
pub trait WithConditions {
    /// All conditions.
    fn conditions(&self) -> &[Condition];
    /// What is waited for.
    fn waits(&self) -> &[WaitStatus];
    /// The same status with others.
    fn set(&mut self, conditions: Vec<Condition>, waits: Vec<WaitStatus>);
}

macro_rules! with_conditions {
    ($($status:ty),*) => {$(
        impl WithConditions for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn waits(&self) -> &[WaitStatus] {
                &self.waits
            }
            fn set(&mut self, conditions: Vec<Condition>, waits: Vec<WaitStatus>) {
                (self.conditions, self.waits) = (conditions, waits);
            }
        }
    )*};
}

with_conditions!(EksClusterStatus, NodeGroupStatus, AwsAccountStatus);

/// Takes in what is waited for: what takes too long is Stalled, and looked at again when that is so. `waits`: as in
/// [`waiting_on::judge`].
pub fn judge<S: WithConditions>(
    ctx: &Context,
    (previous, status): (&S, &mut S),
    generation: Option<i64>,
    waits: Option<Vec<Wait>>,
    (overall, next): (Overall, Next),
    now: Timestamp,
) -> (Overall, Next) {
    let judged = waiting_on::judge(previous.waits(), waits, overall, ctx.settings.wait_scale, now);
    let mut all = Conditions::from(status.conditions(), generation, &now);
    if matches!(judged.overall, Overall::Stalled(_)) {
        all.overall(&judged.overall);
    }
    status.set(all.into_all(), judged.waits);
    (judged.overall, judged.next.map_or(next, |at| next.or(Next::at(at))))
}

/// One line for each condition whose status or reason changed: what happened to an object can be read from the log alone.
fn log_transitions<K: Kind>(object: &K, before: &[Condition], now: &[Condition]) {
    let (kind, object_name, namespace) = (K::NAME, object.name_any(), object.namespace().unwrap_or_default());
    for Condition { type_, status, reason, message, .. } in now {
        let same = |old: &&Condition| old.type_ == *type_ && old.status == *status && old.reason == *reason;
        if before.iter().any(|old| same(&old)) {
            continue;
        }
        // Not every False is trouble; Stalled is.
        if type_ == ConditionType::Stalled.as_str() && status == "True" {
            tracing::warn!(
                kind,
                namespace,
                object_name,
                condition = type_,
                status,
                reason,
                details = message,
                "condition changed"
            );
        } else {
            tracing::info!(
                kind,
                namespace,
                object_name,
                condition = type_,
                status,
                reason,
                details = message,
                "condition changed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EksCluster;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_earlier_time_wins_and_the_past_is_now() {
        let now = at(100);
        assert_eq!(Next::at(at(110)).or(Next::at(at(105))).pause(now), Duration::from_secs(5));
        assert_eq!(Next::change().or(Next::at(at(105))).pause(now), Duration::from_secs(5));
        assert_eq!(Next::at(at(50)).pause(now), SHORTEST);
        assert_eq!(Next::change().pause(now), RESYNC);
    }

    #[test]
    fn a_reconcile_that_failed_says_for_what_class_of_error() {
        let next = Next::at(at(110)).failed("throttled");
        assert_eq!((Next::change().result(), next.result()), ("ok", "throttled"));
        assert_eq!(next.or(Next::at(at(105)).failed("denied")).result(), "throttled", "the first counts");
        assert_eq!(Next::at(at(105)).or(next).result(), "throttled");
    }

    #[test]
    fn each_transition_of_a_condition_is_one_line_of_the_log() {
        use crate::telemetry::logs::{Captured, Format};
        let object: EksCluster = serde_json::from_value(serde_json::json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        }))
        .unwrap();
        let condition = |kind: &str, status: &str, reason: &str, message: &str| -> Condition {
            let time = "2026-11-28T10:00:00Z";
            serde_json::from_value(serde_json::json!({
                "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time,
            }))
            .unwrap()
        };
        let before = [condition("Ready", "False", "Creating", "1 min"), condition("Stalled", "False", "Creating", "")];
        let now = [
            condition("Ready", "False", "Creating", "2 min"),
            condition("Stalled", "True", "InvalidSpec", "spec.version: https://bot:hunter2@example.com"),
        ];
        let (log, guard) = Captured::start("info", Format::Json);
        log_transitions(&object, &before, &now);
        drop(guard);
        let lines: Vec<serde_json::Value> =
            log.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!((&line["level"], &line["message"]), (&"WARN".into(), &"condition changed".into()));
        assert_eq!(
            (&line["kind"], &line["object_name"], &line["reason"]),
            (&"EksCluster".into(), &"demo".into(), &"InvalidSpec".into())
        );
        assert!(!log.text().contains("hunter2"), "{}", log.text());
    }

    #[test]
    fn a_restart_with_many_objects_is_spread_out() {
        let mut object = EksCluster::new(
            "x",
            serde_json::from_value(serde_json::json!({"region": "r", "version": "1.34"})).unwrap(),
        );
        let pauses: Vec<_> = (0..1000)
            .map(|number| {
                object.metadata.uid = Some(format!("uid-{number}"));
                spread(&object, 1000)
            })
            .collect();
        let early = pauses.iter().filter(|pause| **pause < Duration::from_secs(10)).count();
        assert!((50..200).contains(&early), "{early} of 1000 in the first of ten windows");
        assert_eq!(spread(&object, 3), Duration::ZERO);
    }
}
