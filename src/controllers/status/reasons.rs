//! Maps failure classes to condition reasons. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::engine::failure::RetryState;
use crate::engine::{Action, Class, Goal};

/// How long a deletion may fail with "in use" before it counts as blocked: dependents that AWS deletes itself take
/// about that long to disappear.
const IN_USE_GRACE: Duration = Duration::from_secs(30);

/// The reason for a failure of `class`.
pub fn reason(class: Class) -> Reason {
    match class {
        Class::Conflict => Reason::NotOwned,
        Class::Quota => Reason::QuotaExceeded,
        Class::Capacity => Reason::InsufficientCapacity,
        Class::Denied | Class::WrongAccount => Reason::AccessDenied,
        Class::OperationFailed => Reason::Failed,
        Class::EvictionBlocked => Reason::UpgradeBlocked,
        Class::CredentialsUnavailable => Reason::CredentialsUnavailable,
        Class::Invalid => Reason::InvalidSpec,
        Class::Throttled => Reason::Throttled,
        Class::NotFound | Class::NotYetVisible | Class::Busy | Class::NoChange => Reason::AwsError,
        Class::Unavailable | Class::NotLeader | Class::Unknown => Reason::AwsError,
    }
}

/// The reason for a failed step: transient failures are not reported as errors before they last.
pub fn reason_of_step(failed: &RetryState, action: Action, goal: Goal, now: Timestamp) -> Reason {
    let class = failed.failure.class;
    let duration = now.duration_since(failed.first).unsigned_abs();
    if goal != Goal::Present {
        return match class {
            Class::Busy if duration < IN_USE_GRACE => Reason::Deleting,
            Class::Busy | Class::Conflict | Class::Invalid | Class::Quota | Class::Capacity => Reason::DeletionBlocked,
            Class::OperationFailed | Class::EvictionBlocked if failed.exhausted() => Reason::DeletionBlocked,
            Class::OperationFailed | Class::EvictionBlocked => Reason::Deleting,
            Class::Unavailable | Class::NotYetVisible if failed.attempts < 3 => Reason::Deleting,
            other => reason(other),
        };
    }
    match class {
        Class::NotYetVisible if !failed.requires_intervention(now) => of_action(action),
        Class::Busy | Class::NotFound | Class::NoChange => of_action(action),
        Class::Unavailable | Class::NotLeader if failed.attempts < 3 => of_action(action),
        other => reason(other),
    }
}

/// The reason while an action is in progress.
pub fn of_action(action: Action) -> Reason {
    match action {
        Action::Create => Reason::Creating,
        Action::Update | Action::Adopt => Reason::Updating,
        Action::Delete | Action::Release => Reason::Deleting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Failure;

    #[test]
    fn each_failure_class_maps_to_its_reason() {
        let cases = [
            (Class::Denied, Goal::Present, Reason::AccessDenied),
            (Class::CredentialsUnavailable, Goal::Present, Reason::CredentialsUnavailable),
            (Class::Quota, Goal::Present, Reason::QuotaExceeded),
            (Class::Capacity, Goal::Present, Reason::InsufficientCapacity),
            (Class::Conflict, Goal::Present, Reason::NotOwned),
            (Class::Invalid, Goal::Present, Reason::InvalidSpec),
            (Class::Throttled, Goal::Present, Reason::Throttled),
            (Class::NotYetVisible, Goal::Present, Reason::Creating),
            (Class::Busy, Goal::Present, Reason::Creating),
            (Class::Unknown, Goal::Present, Reason::AwsError),
            (Class::Busy, Goal::Deleted, Reason::Deleting),
            (Class::Denied, Goal::Deleted, Reason::AccessDenied),
            (Class::Invalid, Goal::Deleted, Reason::DeletionBlocked),
        ];
        let now = Timestamp::UNIX_EPOCH;
        for (class, goal, expected) in cases {
            let failed = RetryState::after(None, Failure::new(class, "x"), now, 0);
            assert_eq!(reason_of_step(&failed, Action::Create, goal, now), expected, "{class:?} {goal:?}");
        }
    }

    #[test]
    fn transient_failure_is_an_error_only_when_it_lasts() {
        let start = Timestamp::UNIX_EPOCH;
        let later = start + jiff::SignedDuration::from_secs(130);
        let fail =
            |before: Option<&RetryState>, class, now| RetryState::after(before, Failure::new(class, "x"), now, 0);
        let invisible = fail(Some(&fail(None, Class::NotYetVisible, start)), Class::NotYetVisible, later);
        assert_eq!(reason_of_step(&invisible, Action::Create, Goal::Present, later), Reason::AwsError);
        let in_use = fail(Some(&fail(None, Class::Busy, start)), Class::Busy, later);
        assert_eq!(reason_of_step(&in_use, Action::Delete, Goal::Deleted, later), Reason::DeletionBlocked);
    }
}
