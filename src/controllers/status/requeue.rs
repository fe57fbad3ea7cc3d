//! When to requeue an object, and the result of its reconcile for metrics. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use crate::controllers::reconcile_error::MANAGEMENT_API;
use crate::controllers::reconcile_error::ReconcileError;
use crate::engine::Report;

/// Requeue interval when nothing is expected; it also compensates for missed watch events.
const RESYNC: Duration = Duration::from_secs(1800);
/// Minimum delay between two reconciles of an object.
const MIN_DELAY: Duration = Duration::from_millis(50);

/// When to requeue, and the result of the reconcile for `keelson_reconciles_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    at: Option<Timestamp>,
    result: &'static str,
}

/// Nothing failed.
const OK: &str = "ok";

impl Next {
    /// Requeue on the next change.
    pub fn change() -> Self {
        Self { at: None, result: OK }
    }

    /// Requeue at a time.
    pub fn at(at: Timestamp) -> Self {
        Self { at: Some(at), result: OK }
    }

    /// Requeue after a delay.
    pub fn after(pause: SignedDuration, now: Timestamp) -> Self {
        Self::at(now.saturating_add(pause).unwrap_or(now))
    }

    /// The earlier of the two; the first failure is kept.
    pub fn or(self, other: Self) -> Self {
        let at = match (self.at, other.at) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { at, ..self.failed(other.result) }
    }

    /// Records the failure `result`, unless a failure is already recorded.
    pub fn failed(self, result: &'static str) -> Self {
        Self { result: if self.result == OK { result } else { self.result }, ..self }
    }

    /// Records the failure of `report`, if any.
    pub fn of(self, report: &Report) -> Self {
        ReconcileError::of(report).map_or(self, |error| self.failed(error.result()))
    }

    /// The result of the reconcile.
    pub fn result(self) -> &'static str {
        self.result
    }

    /// The class of what failed; `None`: nothing.
    pub fn failure(self) -> Option<&'static str> {
        Some(self.result).filter(|result| *result != OK)
    }

    /// The delay from `now`.
    pub fn pause(self, now: Timestamp) -> Duration {
        let Some(at) = self.at else { return RESYNC };
        at.duration_since(now).max(SignedDuration::ZERO).unsigned_abs().clamp(MIN_DELAY, RESYNC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn earlier_time_wins_and_past_times_mean_now() {
        let now = at(100);
        assert_eq!(Next::at(at(110)).or(Next::at(at(105))).pause(now), Duration::from_secs(5));
        assert_eq!(Next::change().or(Next::at(at(105))).pause(now), Duration::from_secs(5));
        assert_eq!(Next::at(at(50)).pause(now), MIN_DELAY);
        assert_eq!(Next::change().pause(now), RESYNC);
    }

    #[test]
    fn first_failure_class_is_the_result() {
        let next = Next::at(at(110)).failed("throttled");
        assert_eq!((Next::change().result(), next.result()), ("ok", "throttled"));
        assert_eq!(next.or(Next::at(at(105)).failed("denied")).result(), "throttled", "the first counts");
        assert_eq!(Next::at(at(105)).or(next).result(), "throttled");
    }
}
