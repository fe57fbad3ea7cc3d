//! The end of every reconcile: status written when it says something new, metrics, events of what changed as a whole, and
//! when to come again. I/O: the management cluster's API.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use super::apply::{self, Kind};
use super::conditions::Overall;
use super::context::{Context, State};
use super::events::Told;
use super::watch::digest;
use crate::api::RECONCILE_AT_ANNOTATION;
use crate::api::conditions::{self, ConditionType};
use crate::aws::WriteGate;
use crate::engine::consent::Subject;

/// When nothing is expected: a watch event that was missed is made good by then.
const RESYNC: Duration = Duration::from_secs(1800);
/// Two reconciles of an object are never closer than this.
const SHORTEST: Duration = Duration::from_millis(50);

/// When to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next(Option<Timestamp>);

impl Next {
    /// When something changes.
    pub fn change() -> Self {
        Self(None)
    }

    /// At that time.
    pub fn at(at: Timestamp) -> Self {
        Self(Some(at))
    }

    /// After that long.
    pub fn after(pause: SignedDuration, now: Timestamp) -> Self {
        Self(Some(now.saturating_add(pause).unwrap_or(now)))
    }

    /// The earlier of the two.
    pub fn or(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(two)) => Self(Some(one.min(two))),
            (one, two) => Self(one.or(two)),
        }
    }

    /// The pause from `now`.
    pub fn pause(self, now: Timestamp) -> Duration {
        let Some(at) = self.0 else { return RESYNC };
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
pub fn salt<K: ResourceExt>(object: &K) -> String {
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
pub fn was_at_rest(generation: Option<i64>, observed: Option<i64>, conditions: &[Condition]) -> bool {
    generation == observed && conditions::is_true(conditions, ConditionType::Ready)
}

/// Events of an object as a whole: when it becomes ready, stalled, suspended.
pub fn news<K: Kind>(ctx: &Context, object: &K, previous: &[Condition], overall: &Overall) {
    let reason_before = conditions::get(previous, ConditionType::Ready).map(|c| (c.status.as_str(), c.reason.as_str()));
    let told = match overall {
        Overall::Ready(says) if !matches!(reason_before, Some(("True", _))) => Told::normal("Ready", &says.message),
        Overall::Stalled(says) if reason_before.is_none_or(|(_, reason)| reason != says.reason.as_str()) => {
            Told::warning(says.reason, &says.message)
        }
        Overall::Suspended(message) if reason_before.is_none_or(|(_, reason)| reason != "Suspended") => {
            Told::normal("Suspended", message)
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
    S: Serialize + PartialEq + Default,
{
    count(ctx, K::NAME, state, overall);
    let now = Timestamp::now();
    if status == previous && state.unwritten == 0 {
        state.written = Some(status);
        return next;
    }
    if !ctx.gate.may_write() {
        // A process that was paused wakes up with old news, and whoever leads by now does not see that it was written over.
        return next;
    }
    match apply::status(&ctx.client, object, apply::MANAGER, &status).await {
        Ok(()) => {
            state.written = Some(status);
            state.unwritten = 0;
            next
        }
        // Gone meanwhile, or made anew under its name: the watch will tell.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => next,
        Err(error) => {
            state.unwritten = state.unwritten.saturating_add(1);
            let (kind, name) = (K::NAME, object.name_any());
            tracing::warn!(kind, name, error = %apply::told(&error), "status was not written; it is tried again");
            // Its own pause, doubled up to a minute: an API server that is away must not be stormed by all objects.
            let millis = 1000_i64.saturating_mul(1 << state.unwritten.min(6)).min(60_000);
            let spread = i64::try_from(seed(object) % 1000).unwrap_or_default();
            let again = Next::after(SignedDuration::from_millis(millis + spread), now);
            if state.unwritten > 2 { again } else { next.or(again) }
        }
    }
}

fn count<S, R>(ctx: &Context, kind: &'static str, state: &mut State<S, R>, overall: &Overall) {
    let status = match overall {
        Overall::Ready(_) => "True",
        Overall::Reconciling(_) | Overall::Stalled(_) => "False",
        Overall::Suspended(_) => "Unknown",
    };
    ctx.metrics.reconcile().condition(kind, "Ready", state.counted, Some(status));
    state.counted = Some(status);
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_restart_with_many_objects_is_spread_out() {
        let mut object = crate::api::EksCluster::new(
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
