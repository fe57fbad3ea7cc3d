//! Describes the progress of one resource for users: what is in progress, since when and until when, or what blocks
//! it. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reasons;
use crate::api::Reason;
use crate::engine::failure::RetryState;
use crate::engine::{Action, Block, Class, Goal, HoldReason, Item, Key, Step, Verdict, WaitingOn};
use crate::resources::graph::kinds;

/// The progress of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceProgress {
    /// Matches the spec.
    Settled,
    /// In progress.
    Progressing {
        /// The condition's reason.
        reason: Reason,
        /// The condition's message.
        message: String,
        /// Sort weight: the longest operation is shown first.
        weight: Duration,
    },
    /// Held by a policy.
    Held {
        /// The condition's reason.
        reason: Reason,
        /// The condition's message.
        message: String,
    },
    /// Blocked until a person acts.
    Stalled {
        /// The condition's reason.
        reason: Reason,
        /// The condition's message.
        message: String,
    },
}

/// The weight of failures: above any duration.
const FAILURE_WEIGHT: Duration = Duration::from_secs(86_400 * 365);

/// The progress of the resource of `item`.
pub fn resource_progress(item: &Item, goal: Goal, now: Timestamp) -> ResourceProgress {
    let name = label(&item.key);
    if let Some(change) = item.forbidden.first() {
        let why = match &change.how {
            crate::engine::Correction::Forbidden(why) | crate::engine::Correction::Reported(why) => why.as_str(),
            crate::engine::Correction::InPlace => "",
        };
        let message = format!("{name}: {} is {:?} and cannot become {:?}: {why}", change.field, change.from, change.to);
        return ResourceProgress::Stalled { reason: Reason::InvalidSpec, message };
    }
    match &item.verdict {
        Verdict::Settled => ResourceProgress::Settled,
        Verdict::Step(step) => {
            progressing(reasons::of_action(step.action), format!("{name}: {}", doing(step.action)), Duration::ZERO)
        }
        Verdict::Pending(step, waits) if is_as_asked(step, waits) => ResourceProgress::Settled,
        Verdict::Pending(step, waits) => pending(&name, step, waits, goal, now),
        Verdict::Held(step, why) => held(&name, step, *why),
        Verdict::Waiting { action, since, until, note, .. } => {
            let remaining = until.duration_since(*later_of(since, &now)).max(jiff::SignedDuration::ZERO).unsigned_abs();
            let mut message = format!("{name}: {}", describe_timing(*action, *since, *until, now));
            if !note.is_empty() {
                message = format!("{message} ({note})");
            }
            progressing(reasons::of_action(*action), message, remaining + Duration::from_secs(1))
        }
        Verdict::DeletedWith(host) => {
            progressing(Reason::Deleting, format!("{name}: deleted with {}", label(host)), Duration::ZERO)
        }
        Verdict::NotObserved(None) => progressing(Reason::Pending, format!("{name}: not observed yet"), Duration::ZERO),
        Verdict::NotObserved(Some(failed)) => unreadable(&name, failed, goal, now),
        Verdict::Blocked(Block::Foreign(owner)) => {
            let reason = if goal == Goal::Deleted { Reason::DeletionBlocked } else { Reason::NotOwned };
            ResourceProgress::Stalled { reason, message: format!("{name}: {owner}") }
        }
        Verdict::Blocked(Block::Failed(class, why)) => {
            let reason = match class {
                Class::Unknown => Reason::Failed,
                class => reasons::reason(*class),
            };
            ResourceProgress::Stalled { reason, message: format!("{name}: {why}") }
        }
        Verdict::Blocked(Block::Irreplaceable(what_to_do)) => {
            let message = format!("{name} no longer exists in AWS: {what_to_do}");
            ResourceProgress::Stalled { reason: Reason::Failed, message }
        }
    }
}

/// Whether AWS reported that there is nothing to change, or nothing that can be changed now; the next observation
/// shows which.
pub fn is_as_asked(step: &Step, waits: &[WaitingOn]) -> bool {
    let no_change =
        |wait: &WaitingOn| matches!(wait, WaitingOn::Retry(failed) if failed.failure.class == Class::NoChange);
    step.action == Action::Update && waits.iter().any(no_change)
}

/// The later of the two: with a wrong clock, no time remains instead of too much.
fn later_of<'a>(since: &'a Timestamp, now: &'a Timestamp) -> &'a Timestamp {
    since.max(now)
}

/// A resource that differs still works, so under Observe it counts as settled.
fn held(name: &str, step: &Step, why: HoldReason) -> ResourceProgress {
    let pending_action = match step.action {
        Action::Create => "to be created",
        Action::Update => "to be updated",
        Action::Adopt => "to be adopted",
        Action::Delete => "to be deleted",
        Action::Release => "to be released",
    };
    let held = |reason, message| ResourceProgress::Held { reason, message };
    match (why, step.action) {
        (HoldReason::Approval, _) => {
            held(Reason::WaitingForApproval, format!("{name}: {pending_action} once the plan is approved"))
        }
        (HoldReason::OnHold, _) => held(Reason::OnHold, format!("{name}: {pending_action} once no hold is left")),
        (HoldReason::Observe, Action::Update | Action::Adopt) => ResourceProgress::Settled,
        (HoldReason::Observe, _) => {
            held(Reason::Observed, format!("{name}: {pending_action}; changePolicy is Observe"))
        }
        (HoldReason::Drift, _) => {
            let message =
                format!("{name} no longer exists in AWS; driftPolicy is Report: set it to Correct to create it again");
            held(Reason::Drifted, message)
        }
    }
}

fn progressing(reason: Reason, message: String, weight: Duration) -> ResourceProgress {
    ResourceProgress::Progressing { reason, message, weight }
}

fn pending(name: &str, step: &Step, waits: &[WaitingOn], goal: Goal, now: Timestamp) -> ResourceProgress {
    let retry = waits.iter().find_map(|wait| match wait {
        WaitingOn::Retry(failed) => Some(failed),
        _ => None,
    });
    if let Some(failed) = retry.filter(|failed| failed.failure.class == Class::NoChange) {
        // It exists already: no failure, and the next observation shows what it is.
        let message = format!("{name}: {}", failed.failure.message);
        return progressing(reasons::of_action(step.action), message, Duration::ZERO);
    }
    if let Some(failed) = retry {
        return failing(name, failed, step.action, goal, now);
    }
    let gate = waits.iter().find_map(|wait| match wait {
        // Without a reason it was not evaluated yet: the other waits come first.
        WaitingOn::Gate(key, why) => (!why.is_empty()).then_some((key, why)),
        _ => None,
    });
    if let Some((key, why)) = gate {
        let reason = match key.kind() {
            "nodes" => Reason::WaitingForNodes,
            "nodeGroups" => Reason::Deleting,
            "vpcUsers" => Reason::DeletionBlocked,
            "drain" => Reason::Upgrading,
            "replacementWindow" => Reason::OutsideMaintenanceWindow,
            _ => Reason::WaitingForCluster,
        };
        return progressing(reason, format!("{name}: {why}"), Duration::from_millis(500));
    }
    let mut names = Vec::new();
    for wait in waits {
        match wait {
            WaitingOn::Resource(key) => names.push(label(key)),
            WaitingOn::ReadAfterWrite(_) => names.push("AWS to show the last write".to_owned()),
            WaitingOn::Retry(_) | WaitingOn::Gate(..) => {}
        }
    }
    let message = format!("{name}: waiting for {}", names.join(", "));
    progressing(reasons::of_action(step.action), message, Duration::ZERO)
}

fn failing(name: &str, failed: &RetryState, action: Action, goal: Goal, now: Timestamp) -> ResourceProgress {
    let reason = reasons::reason_of_step(failed, action, goal, now);
    let message = format!("{name}: {}", failed.failure.message);
    if failed.requires_intervention(now) {
        return ResourceProgress::Stalled { reason, message };
    }
    progressing(reason, message, FAILURE_WEIGHT)
}

/// How long reads may fail with a usually transient error before a person is needed.
const UNREADABLE_GRACE: SignedDuration = SignedDuration::from_mins(5);

fn unreadable(name: &str, failed: &RetryState, goal: Goal, now: Timestamp) -> ResourceProgress {
    let duration = now.duration_since(failed.first);
    if matches!(failed.failure.class, Class::NotFound | Class::Unknown) && duration >= UNREADABLE_GRACE {
        let message = format!(
            "{name} could not be read for {}: {}. Keelson will retry; check whether it exists in AWS, and the read permissions of this role",
            rough(duration.unsigned_abs()),
            failed.failure.message
        );
        return ResourceProgress::Stalled { reason: reasons::reason(failed.failure.class), message };
    }
    failing(name, failed, Action::Update, goal, now)
}

/// Describes an operation: "creating for 6 min, about 3 min remaining".
pub fn describe_timing(action: Action, since: Timestamp, until: Timestamp, now: Timestamp) -> String {
    let elapsed = now.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs();
    let remaining = until.duration_since(now).max(jiff::SignedDuration::ZERO).unsigned_abs();
    if remaining.is_zero() {
        let usual = until.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs();
        // An overdue operation may take hours; this text does not change meanwhile.
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        return format!("{} since {since}, longer than usual ({})", doing(action), rough(usual));
    }
    let end = if remaining < Duration::from_secs(10) {
        "less than 10 s remaining".to_owned()
    } else {
        format!("about {} remaining", rough(remaining))
    };
    format!("{} for {}, {end}", doing(action), rough(elapsed))
}

/// The gerund of an action.
pub fn doing(action: Action) -> &'static str {
    match action {
        Action::Create => "creating",
        Action::Update => "updating",
        Action::Adopt => "adopting",
        Action::Delete => "deleting",
        Action::Release => "releasing",
    }
}

/// A human-readable duration. Coarse, so that a message does not change at every reconcile: tens of seconds below a
/// minute.
pub fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        0..=9 => "less than 10 s".to_owned(),
        seconds @ 10..=59 => format!("{} s", seconds / 10 * 10),
        seconds @ 60..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// The user-facing name of a resource.
pub fn label(key: &Key) -> String {
    let kind = match key.kind() {
        "nodeGroups" => "the cluster's node groups",
        "nodes" => "nodes",
        "vpcUsers" => "others in the VPC",
        "gitOpsAgent" => "GitOps agent",
        "drain" => "drain of node group",
        other => kinds::find(other).map_or(other, |kind| kind.label),
    };
    if key.name().is_empty() { kind.to_owned() } else { format!("{kind} {}", key.name()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Change, Class, Failure};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn item(key: Key, verdict: Verdict) -> Item {
        Item { key, verdict, forbidden: Vec::new(), drift: Vec::new() }
    }

    fn step(action: Action) -> Step {
        Step { action, changes: Vec::new(), reason: None }
    }

    #[test]
    fn create_of_what_exists_already_is_no_failure() {
        let exists = Failure::new(Class::NoChange, "CreateOpenIDConnectProvider x: EntityAlreadyExists");
        let waits = vec![WaitingOn::Retry(RetryState::after(None, exists, at(1000), 0))];
        let item = item(Key::single("oidcProvider"), Verdict::Pending(step(Action::Create), waits));
        let progress = resource_progress(&item, Goal::Present, at(1000));
        let ResourceProgress::Progressing { reason, weight, .. } = progress else { panic!("{progress:?}") };
        assert_eq!((reason, weight), (Reason::Creating, Duration::ZERO));
    }

    #[test]
    fn message_of_each_verdict() {
        let now = at(1000);
        let cluster = || Key::single("cluster");
        let denied = RetryState::after(None, Failure::new(Class::Denied, "CreateCluster demo: not authorized"), now, 0);
        let reset =
            RetryState::after(None, Failure::new(Class::Unavailable, "CreateCluster demo: connection reset"), now, 0);
        let waiting = |since, until, note: &str| Verdict::Waiting {
            action: Action::Create,
            since: at(since),
            until: at(until),
            note: note.into(),
            operation: None,
        };
        let create = |waits| Verdict::Pending(step(Action::Create), waits);
        let mut items = vec![
            item(cluster(), Verdict::Settled),
            item(cluster(), Verdict::Step(step(Action::Create))),
            item(cluster(), waiting(640, 1180, "")),
            item(cluster(), waiting(995, 1040, "")),
            item(cluster(), waiting(100, 640, "")),
            item(Key::named("addon", "coredns"), waiting(970, 1000, "InsufficientNumberOfReplicas")),
            item(
                cluster(),
                create(vec![
                    WaitingOn::Resource(Key::named("role", "cluster")),
                    WaitingOn::Resource(Key::single("vpc")),
                ]),
            ),
            item(cluster(), create(vec![WaitingOn::Retry(denied.clone())])),
            item(cluster(), create(vec![WaitingOn::Retry(reset)])),
            item(
                Key::named("addon", "coredns"),
                create(vec![WaitingOn::Gate(Key::single("nodes"), "no node is ready yet".into())]),
            ),
            item(Key::single("vpc"), create(vec![WaitingOn::ReadAfterWrite(now)])),
            item(Key::single("vpc"), Verdict::NotObserved(None)),
            item(Key::single("vpc"), Verdict::NotObserved(Some(denied))),
            item(cluster(), Verdict::Blocked(Block::Foreign("cluster demo exists and was not made by Keelson".into()))),
            item(cluster(), Verdict::Blocked(Block::Failed(Class::Unknown, "it is FAILED".into()))),
            item(cluster(), Verdict::Blocked(Block::Irreplaceable("delete this object".into()))),
        ];
        for (action, why) in [
            (Action::Create, HoldReason::Approval),
            (Action::Update, HoldReason::OnHold),
            (Action::Update, HoldReason::Observe),
            (Action::Create, HoldReason::Observe),
            (Action::Create, HoldReason::Drift),
        ] {
            items.push(item(Key::single("vpc"), Verdict::Held(step(action), why)));
        }
        let mut forbidden = item(cluster(), Verdict::Settled);
        forbidden.forbidden.push(Change::forbidden("version", "1.34", "1.33", "set upgrade.allowRollback"));
        items.push(forbidden);
        let table: Vec<String> = items
            .iter()
            .map(|item| match resource_progress(item, Goal::Present, now) {
                ResourceProgress::Settled => "settled".to_owned(),
                ResourceProgress::Progressing { reason, message, .. } => format!("progressing {reason}: {message}"),
                ResourceProgress::Held { reason, message } => format!("held {reason}: {message}"),
                ResourceProgress::Stalled { reason, message } => format!("STALLED {reason}: {message}"),
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn resource_unreadable_for_minutes_is_stalled() {
        let missing =
            RetryState::after(None, Failure::new(Class::NotFound, "GetOpenIDConnectProvider: not there"), at(0), 0);
        let is_stalled = |second| {
            let item = item(Key::single("oidcProvider"), Verdict::NotObserved(Some(missing.clone())));
            matches!(resource_progress(&item, Goal::Deleted, at(second)), ResourceProgress::Stalled { .. })
        };
        assert!(!is_stalled(299) && is_stalled(300));
    }

    #[test]
    fn durations_are_coarse() {
        for (seconds, text) in
            [(3, "less than 10 s"), (12, "10 s"), (59, "50 s"), (60, "1 min"), (179, "2 min"), (7200, "2 h")]
        {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }
}
