//! Classes of failed calls, and their retry times. Pure.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;

/// Class of a failed call. It alone determines retry, condition and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The resource (or, for a create, a resource it refers to) does not exist. Right after a create it may be a stale
    /// read.
    NotFound,
    /// A new resource is not visible to the callee yet (mainly IAM roles): the same call succeeds later.
    NotYetVisible,
    /// A resource of that name already exists.
    Conflict,
    /// It is in use or an operation is in progress: the same call succeeds later.
    Busy,
    /// The resource already is as requested: not a failure in effect.
    NoChange,
    /// Rate limited, by the cloud or by our own buckets.
    Throttled,
    /// A quota is exceeded.
    Quota,
    /// The identity lacks permission.
    Denied,
    /// Credentials are missing, or the cloud rejects them.
    CredentialsUnavailable,
    /// The request is invalid, or invalid for the state of the resource: a user must change something.
    Invalid,
    /// The cloud lacks capacity here: other zones or instance types may work.
    Capacity,
    /// No response, or a server error. A write may have taken effect.
    Unavailable,
    /// This process is not the leader: the call was not sent.
    NotLeader,
    /// The credentials belong to another account than expected: nothing was sent.
    WrongAccount,
    /// The cloud accepted the operation and it failed: worth a few retries.
    OperationFailed,
    /// A user's resource blocks it (pods that cannot be evicted): not retried automatically.
    EvictionBlocked,
    /// Anything else.
    Unknown,
}

impl Class {
    /// All classes.
    #[cfg(test)]
    pub const ALL: [Class; 17] = [
        Class::NotFound,
        Class::NotYetVisible,
        Class::Conflict,
        Class::Busy,
        Class::NoChange,
        Class::Throttled,
        Class::Quota,
        Class::Denied,
        Class::CredentialsUnavailable,
        Class::Invalid,
        Class::Capacity,
        Class::Unavailable,
        Class::NotLeader,
        Class::WrongAccount,
        Class::OperationFailed,
        Class::EvictionBlocked,
        Class::Unknown,
    ];

    /// Whether it says nothing about the step itself: the cloud was busy or not reached.
    pub fn is_transient(self) -> bool {
        matches!(self, Class::Throttled | Class::Unavailable | Class::NotLeader | Class::Busy)
    }

    /// Name for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::NotFound => "not_found",
            Class::NotYetVisible => "not_yet_visible",
            Class::Conflict => "conflict",
            Class::Busy => "busy",
            Class::NoChange => "no_change",
            Class::Throttled => "throttled",
            Class::Quota => "quota",
            Class::Denied => "denied",
            Class::CredentialsUnavailable => "credentials_unavailable",
            Class::Invalid => "invalid",
            Class::Capacity => "capacity",
            Class::Unavailable => "unavailable",
            Class::NotLeader => "not_leader",
            Class::WrongAccount => "wrong_account",
            Class::OperationFailed => "operation_failed",
            Class::EvictionBlocked => "eviction_blocked",
            Class::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed observation or step: its class, the message for users, and the error that caused it. Callers downcast the
/// cause to what the cloud answered (code, request id); the engine knows no cloud's errors.
///
/// Failures are equal if class and message are, which is all that status shows. The cause differs with each attempt, by
/// its request id, and so may the retry time: neither is compared.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Class of the failure.
    pub class: Class,
    /// Call, resource, reason, what to do.
    pub message: String,
    /// The cloud's own code for it, by which its documentation and its support know it.
    pub code: Option<String>,
    /// Minimum delay before a retry, if the callee requested one.
    pub retry_after: Option<Duration>,
    /// The cause; `None` if the failure was found here.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        (self.class, &self.message) == (other.class, &other.message)
    }
}

impl Eq for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Not derived: thiserror would return the `Arc`, which cannot be downcast to the cause.
impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

impl Failure {
    /// A failure of a class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), code: None, retry_after: None, source: None }
    }

    /// A failure of a class with the message of its cause.
    pub fn of(class: Class, cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(class, cause.to_string()).caused_by(cause)
    }

    /// The same with its cause.
    pub fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(cause)), ..self }
    }

    /// An invalid value that a user must change.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Class::Invalid, message)
    }
}

/// How long a new resource may stay invisible to others before it counts as an error (IAM propagation).
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(120);

/// How often an operation that fails in the cloud is started.
const MAX_OPERATIONS: u32 = 3;

/// Retry state of a failed step, over its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryState {
    /// The last failure.
    pub failure: Failure,
    /// When the first failure of this series occurred.
    pub first: Timestamp,
    /// Consecutive failures.
    pub attempts: u32,
    /// When to retry.
    pub retry_at: Timestamp,
    /// Operations that failed since the last success, regardless of other failures in between.
    pub operations: u32,
    /// The series that a transient failure interrupts: the next failure of its class continues it.
    interrupted: Option<Series>,
}

/// Consecutive failures of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    class: Class,
    first: Timestamp,
    attempts: u32,
}

impl RetryState {
    /// Adds a failure at `now` to `before`. `seed` spreads the retries of many objects.
    pub fn after(before: Option<&RetryState>, failure: Failure, now: Timestamp, seed: u64) -> Self {
        let (series, interrupted) = (before.map(RetryState::series), before.and_then(|before| before.interrupted));
        let same = [series, interrupted].into_iter().flatten().find(|series| series.class == failure.class);
        let first = same.map_or(now, |series| series.first);
        let attempts = same.map_or(1, |series| series.attempts.saturating_add(1));
        let interrupted = if failure.class.is_transient() {
            series.filter(|series| !series.class.is_transient()).or(interrupted)
        } else {
            None
        };
        let failed_operations = u32::from(failure.class == Class::OperationFailed);
        let operations = before.map_or(0, |before| before.operations).saturating_add(failed_operations);
        let mut delay = delay(failure.class, attempts, now.duration_since(first).unsigned_abs());
        if let Some(requested) = failure.retry_after {
            delay = delay.max(requested);
        }
        // Up to 20 % jitter, so that simultaneous failures do not retry together.
        let spread = delay.mul_f64(0.2 * (seed.wrapping_add(u64::from(attempts)) % 97) as f64 / 97.0);
        let retry_at = now.saturating_add(span(delay + spread)).unwrap_or(now);
        Self { failure, first, attempts, retry_at, operations, interrupted }
    }

    /// The same with at least this many failed operations: an earlier process counted them.
    pub fn with_operations(self, at_least: u32) -> Self {
        Self { operations: self.operations.max(at_least), ..self }
    }

    fn series(&self) -> Series {
        Series { class: self.failure.class, first: self.first, attempts: self.attempts }
    }

    /// True when it is not retried before a user requests it, by an edit or a reconcile request.
    pub fn exhausted(&self) -> bool {
        match self.failure.class {
            Class::OperationFailed => self.operations >= MAX_OPERATIONS,
            Class::EvictionBlocked => true,
            _ => false,
        }
    }

    /// True when it cannot progress without action by a user, as far as known.
    pub fn requires_intervention(&self, now: Timestamp) -> bool {
        match self.failure.class {
            Class::Conflict | Class::Quota | Class::Denied | Class::Invalid | Class::Capacity => true,
            Class::CredentialsUnavailable | Class::WrongAccount => true,
            Class::OperationFailed | Class::EvictionBlocked => self.exhausted(),
            Class::NotYetVisible => now.duration_since(self.first).unsigned_abs() >= VISIBILITY_TIMEOUT,
            Class::NotFound | Class::Busy | Class::Throttled | Class::NoChange => false,
            Class::Unavailable | Class::NotLeader | Class::Unknown => false,
        }
    }
}

/// A `std` duration as jiff's.
pub(crate) fn span(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

/// The delay before attempt `attempts + 1`, when the first failure was `elapsed` ago.
fn delay(class: Class, attempts: u32, elapsed: Duration) -> Duration {
    let exponential = |first: u64, max: u64| {
        let max = Duration::from_millis(max);
        let doubling = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(first))
            .with_factor(2.0)
            .with_max_delay(max)
            .without_max_times();
        doubling.build().nth(attempts.saturating_sub(1).min(20) as usize).unwrap_or(max)
    };
    match class {
        Class::NotFound | Class::NoChange => exponential(500, 30_000),
        Class::NotYetVisible if elapsed < VISIBILITY_TIMEOUT => exponential(1_000, 5_000),
        Class::NotYetVisible => Duration::from_secs(60),
        Class::Busy => exponential(1_000, 20_000),
        Class::Throttled => exponential(1_000, 60_000),
        Class::Unavailable => exponential(500, 60_000),
        Class::NotLeader => Duration::from_secs(5),
        Class::Unknown => exponential(2_000, 300_000),
        Class::CredentialsUnavailable => exponential(5_000, 120_000),
        Class::Conflict | Class::Denied | Class::Invalid | Class::WrongAccount => exponential(15_000, 600_000),
        Class::Quota | Class::Capacity => exponential(60_000, 600_000),
        Class::OperationFailed | Class::EvictionBlocked => exponential(5_000, 600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail_repeatedly(class: Class, times: u32) -> Vec<Duration> {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut failed: Option<RetryState> = None;
        let mut pauses = Vec::new();
        for _ in 0..times {
            let next = RetryState::after(failed.as_ref(), Failure::new(class, "x"), now, 0);
            pauses.push(next.retry_at.duration_since(now).unsigned_abs());
            now = next.retry_at;
            failed = Some(next);
        }
        pauses
    }

    #[test]
    fn invisible_role_is_retried_fast_for_two_minutes_and_then_slowly() {
        let pauses = fail_repeatedly(Class::NotYetVisible, 60);
        let fast = pauses.iter().take_while(|p| **p < Duration::from_secs(30)).count();
        let spent: Duration = pauses.iter().take(fast).sum();
        assert!(spent >= VISIBILITY_TIMEOUT && spent < VISIBILITY_TIMEOUT * 2, "{spent:?}");
        assert!(pauses[fast..].iter().all(|p| *p >= Duration::from_secs(60)));
    }

    #[test]
    fn outage_does_not_cause_a_hot_loop() {
        let pauses = fail_repeatedly(Class::Unavailable, 40);
        let first_ten_minutes = pauses
            .iter()
            .scan(Duration::ZERO, |sum, p| {
                *sum += *p;
                Some(*sum)
            })
            .take_while(|sum| *sum < Duration::from_secs(600))
            .count();
        assert!(first_ten_minutes < 25, "{first_ten_minutes} retries in ten minutes");
    }

    #[test]
    fn every_class_is_retried_with_backoff() {
        for class in Class::ALL {
            let pauses = fail_repeatedly(class, 60);
            let (first, last) = (pauses[0], pauses[59]);
            assert!(last >= first.max(Duration::from_secs(5)), "{class}: {first:?} and then {last:?}");
            let mut spent = Duration::ZERO;
            let in_half_an_hour = pauses.iter().take_while(|pause| {
                spent += **pause;
                spent < Duration::from_secs(1800)
            });
            assert!(in_half_an_hour.count() <= 120 || class == Class::NotLeader, "{class}");
        }
    }

    #[test]
    fn requested_retry_delay_is_respected() {
        let mut failure = Failure::new(Class::Throttled, "slow down");
        failure.retry_after = Some(Duration::from_secs(42));
        let failed = RetryState::after(None, failure, Timestamp::UNIX_EPOCH, 0);
        assert!(failed.retry_at >= Timestamp::UNIX_EPOCH + span(Duration::from_secs(42)));
    }

    #[test]
    fn transient_failures_do_not_reset_the_count_of_failed_operations() {
        let now = Timestamp::UNIX_EPOCH;
        let mut failed: Option<RetryState> = None;
        let classes = [
            Class::OperationFailed,
            Class::Throttled,
            Class::OperationFailed,
            Class::Unavailable,
            Class::Busy,
            Class::OperationFailed,
        ];
        for class in classes {
            assert!(!failed.as_ref().is_some_and(RetryState::exhausted), "{failed:?}");
            failed = Some(RetryState::after(failed.as_ref(), Failure::new(class, "x"), now, 0));
        }
        let failed = failed.unwrap();
        assert!(failed.exhausted(), "{failed:?}");
        assert!(failed.requires_intervention(now));
        let other = RetryState::after(Some(&failed), Failure::new(Class::Conflict, "x"), now, 0);
        assert!(RetryState::after(Some(&other), Failure::new(Class::OperationFailed, "x"), now, 0).exhausted());
    }

    #[test]
    fn transient_failure_does_not_extend_the_visibility_timeout() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let fail = |before: &RetryState, class, now| RetryState::after(Some(before), Failure::new(class, "x"), now, 0);
        let unseen = RetryState::after(None, Failure::new(Class::NotYetVisible, "x"), at(0), 0);
        let again = fail(&fail(&unseen, Class::Unavailable, at(60)), Class::NotYetVisible, at(120));
        assert_eq!((again.first, again.attempts), (at(0), 2));
        assert!(again.requires_intervention(at(120)));
        let away = fail(&unseen, Class::Unavailable, at(600));
        assert_eq!((away.first, away.attempts), (at(600), 1), "an outage is a series of its own");
    }

    #[test]
    fn another_class_of_failure_starts_a_new_series() {
        let start = Timestamp::UNIX_EPOCH;
        let busy = RetryState::after(None, Failure::new(Class::Busy, "x"), start, 0);
        let later = start + span(Duration::from_secs(500));
        let denied = RetryState::after(Some(&busy), Failure::new(Class::Denied, "x"), later, 0);
        assert_eq!((denied.first, denied.attempts), (later, 1));
        assert!(denied.requires_intervention(later) && !busy.requires_intervention(later));
    }
}
