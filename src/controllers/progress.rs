//! What the plan says of one resource, for people: what is under way since when and until when about, and what is in the
//! way. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reasons;
use crate::api::Reason;
use crate::engine::failure::RetryState;
use crate::engine::{Action, Block, Class, Goal, HoldReason, Item, Key, Step, Verdict, WaitingOn};

/// Where one resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceProgress {
    /// As it should be.
    Settled,
    /// On its way.
    Progressing {
        /// For the condition.
        reason: Reason,
        /// For people.
        message: String,
        /// How much there is to say about it: what takes longest comes first.
        weight: Duration,
    },
    /// Not done, as people decided.
    Held {
        /// For the condition.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// It goes no further without a person.
    Stalled {
        /// For the condition.
        reason: Reason,
        /// For people.
        message: String,
    },
}

/// What is worth telling before anything that only takes its time.
const TROUBLE: Duration = Duration::from_secs(86_400 * 365);

/// Where the resource of `item` stands.
pub fn standing(item: &Item, goal: Goal, now: Timestamp) -> ResourceProgress {
    let name = label(&item.key);
    if let Some(change) = item.forbidden.first() {
        let why = match &change.how {
            crate::engine::How::Forbidden(why) => why.as_str(),
            crate::engine::How::InPlace => "",
        };
        let message = format!("{name}: {} is {:?} and cannot become {:?}: {why}", change.field, change.from, change.to);
        return ResourceProgress::Stalled { reason: Reason::InvalidSpec, message };
    }
    match &item.verdict {
        Verdict::Settled => ResourceProgress::Settled,
        Verdict::Step(step) => {
            moving(reasons::of_action(step.action), format!("{name}: {}", doing(step.action)), Duration::ZERO)
        }
        Verdict::Pending(step, waits) if is_as_asked(step, waits) => ResourceProgress::Settled,
        Verdict::Pending(step, waits) => pending(&name, step, waits, goal, now),
        Verdict::Held(step, why) => held(&name, step, *why),
        Verdict::Waiting { action, since, until, note, .. } => {
            let left = until.duration_since(*now_or(since, &now)).max(jiff::SignedDuration::ZERO).unsigned_abs();
            let mut message = format!("{name}: {}", timed(*action, *since, *until, now));
            if !note.is_empty() {
                message = format!("{message} ({note})");
            }
            moving(reasons::of_action(*action), message, left + Duration::from_secs(1))
        }
        Verdict::DeletedWith(host) => {
            moving(Reason::Deleting, format!("{name}: goes with {}", label(host)), Duration::ZERO)
        }
        Verdict::NotObserved(None) => moving(Reason::Pending, format!("{name}: not looked at yet"), Duration::ZERO),
        Verdict::NotObserved(Some(failed)) => unread(&name, failed, goal, now),
        Verdict::Blocked(Block::Foreign(owner)) => {
            let message = format!("{name}: {owner}");
            ResourceProgress::Stalled { reason: Reason::NotOwned, message }
        }
        Verdict::Blocked(Block::Failed(class, why)) => {
            let reason = match class {
                Class::Unknown => Reason::Failed,
                class => reasons::reason(*class),
            };
            ResourceProgress::Stalled { reason, message: format!("{name}: {why}") }
        }
        Verdict::Blocked(Block::Irreplaceable(what_to_do)) => {
            let message = format!("{name} was there and is gone: {what_to_do}");
            ResourceProgress::Stalled { reason: Reason::Failed, message }
        }
    }
}

/// Whether AWS said that there is nothing to change, or nothing that could be changed now: the next look shows which.
pub fn is_as_asked(step: &Step, waits: &[WaitingOn]) -> bool {
    let said = |wait: &WaitingOn| matches!(wait, WaitingOn::Retry(failed) if failed.failure.class == Class::NoChange);
    step.action == Action::Update && waits.iter().any(said)
}

/// The later of the two, so that a clock that is off gives no time left rather than a wrong one.
fn now_or<'a>(since: &'a Timestamp, now: &'a Timestamp) -> &'a Timestamp {
    since.max(now)
}

/// A thing that differs works all the same, so nobody waits for it where nothing is to be changed.
fn held(name: &str, step: &Step, why: HoldReason) -> ResourceProgress {
    let what = match step.action {
        Action::Create => "to be made",
        Action::Update => "to be changed",
        Action::Adopt => "to be taken over",
        Action::Delete => "to be deleted",
        Action::Release => "to be let go",
    };
    let held = |reason, message| ResourceProgress::Held { reason, message };
    match (why, step.action) {
        (HoldReason::Approval, _) => {
            held(Reason::WaitingForApproval, format!("{name}: {what} once the plan is approved"))
        }
        (HoldReason::Observe, Action::Update | Action::Adopt) => ResourceProgress::Settled,
        (HoldReason::Observe, _) => held(Reason::Observed, format!("{name}: {what}; changePolicy is Observe")),
        (HoldReason::Drift, _) => {
            let message =
                format!("{name} was there and is gone; driftPolicy is Report: set it to Correct to make it again");
            held(Reason::Drifted, message)
        }
    }
}

fn moving(reason: Reason, message: String, weight: Duration) -> ResourceProgress {
    ResourceProgress::Progressing { reason, message, weight }
}

fn pending(name: &str, step: &Step, waits: &[WaitingOn], goal: Goal, now: Timestamp) -> ResourceProgress {
    let retry = waits.iter().find_map(|wait| match wait {
        WaitingOn::Retry(failed) => Some(failed),
        _ => None,
    });
    if let Some(failed) = retry {
        return troubled(name, failed, step.action, goal, now);
    }
    let gate = waits.iter().find_map(|wait| match wait {
        WaitingOn::Gate(key, why) => Some((key, why)),
        _ => None,
    });
    if let Some((key, why)) = gate {
        let reason = match key.kind() {
            "nodes" => Reason::WaitingForNodes,
            "nodeGroups" => Reason::Deleting,
            _ => Reason::WaitingForCluster,
        };
        return moving(reason, format!("{name}: {why}"), Duration::from_millis(500));
    }
    let mut names = Vec::new();
    for wait in waits {
        match wait {
            WaitingOn::Resource(key) => names.push(label(key)),
            WaitingOn::ReadAfterWrite(_) => names.push("AWS to show what was written a moment ago".to_owned()),
            WaitingOn::Retry(_) | WaitingOn::Gate(..) => {}
        }
    }
    let message = format!("{name}: waiting for {}", names.join(", "));
    moving(reasons::of_action(step.action), message, Duration::ZERO)
}

fn troubled(name: &str, failed: &RetryState, action: Action, goal: Goal, now: Timestamp) -> ResourceProgress {
    let reason = reasons::reason_of_step(failed, action, goal, now);
    let message = format!("{name}: {}", failed.failure.message);
    if failed.requires_intervention(now) {
        return ResourceProgress::Stalled { reason, message };
    }
    moving(reason, message, TROUBLE)
}

/// How long it may fail to be read, for a reason that should pass, before a person is asked for.
const UNREAD: SignedDuration = SignedDuration::from_mins(5);

fn unread(name: &str, failed: &RetryState, goal: Goal, now: Timestamp) -> ResourceProgress {
    let lasted = now.duration_since(failed.first);
    if matches!(failed.failure.class, Class::NotFound | Class::Unknown) && lasted >= UNREAD {
        let message = format!(
            "{name} could not be read for {}: {}. It is tried again; see whether AWS shows it, and what this role may read",
            rough(lasted.unsigned_abs()),
            failed.failure.message
        );
        return ResourceProgress::Stalled { reason: reasons::reason(failed.failure.class), message };
    }
    troubled(name, failed, Action::Update, goal, now)
}

/// "creating, 6 min so far, about 3 min to go".
pub fn timed(action: Action, since: Timestamp, until: Timestamp, now: Timestamp) -> String {
    let spent = now.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs();
    let left = until.duration_since(now).max(jiff::SignedDuration::ZERO).unsigned_abs();
    if left.is_zero() {
        let usual = until.duration_since(since).max(jiff::SignedDuration::ZERO).unsigned_abs();
        // It may take hours, and says nothing new in them.
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        return format!("{} since {since}, longer than the usual {}", doing(action), rough(usual));
    }
    let end = if left < Duration::from_secs(10) {
        "seconds to go".to_owned()
    } else {
        format!("about {} to go", rough(left))
    };
    format!("{}, {} so far, {end}", doing(action), rough(spent))
}

/// What is under way, for people.
pub fn doing(action: Action) -> &'static str {
    match action {
        Action::Create => "creating",
        Action::Update => "updating",
        Action::Adopt => "taking over",
        Action::Delete => "deleting",
        Action::Release => "letting go",
    }
}

/// A duration as people say it. Coarse, so that a message does not change at every look: tens of seconds below a minute.
pub fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        0..=9 => "seconds".to_owned(),
        seconds @ 10..=59 => format!("{} s", seconds / 10 * 10),
        seconds @ 60..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// A resource as people call it.
pub fn label(key: &Key) -> String {
    let kind = match key.kind() {
        "cluster" => "control plane",
        "vpc" => "VPC",
        "subnet" => "subnet",
        "internetGateway" => "internet gateway",
        "elasticIp" => "elastic IP",
        "natGateway" => "NAT gateway",
        "routeTable" => "route table",
        "route" => "route",
        "routeTableAssociation" => "route table association",
        "vpcEndpoint" => "VPC endpoint",
        "securityGroup" => "security group",
        "existingNetwork" => "existing network",
        "role" => "IAM role",
        "oidcProvider" => "OIDC provider",
        "accessEntry" => "access entry",
        "addon" => "add-on",
        "nodeGroup" => "node group",
        "nodeGroups" => "the cluster's node groups",
        "nodes" => "nodes",
        "podIdentity" => "pod identity",
        "fargateProfile" => "Fargate profile",
        "gitOpsAgent" => "GitOps agent",
        "changePolicy" => "changePolicy",
        "removals" => "what is no longer asked for",
        "accessEntryPruning" => "access entries that are not listed",
        "addonPruning" => "add-ons that are not listed",
        "podIdentityPruning" => "pod identities that are not listed",
        "fargateProfilePruning" => "Fargate profiles that are not listed",
        other => other,
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
    fn what_a_person_reads_of_each_verdict() {
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
            .map(|item| match standing(item, Goal::Present, now) {
                ResourceProgress::Settled => "settled".to_owned(),
                ResourceProgress::Progressing { reason, message, .. } => format!("moving {reason}: {message}"),
                ResourceProgress::Held { reason, message } => format!("held {reason}: {message}"),
                ResourceProgress::Stalled { reason, message } => format!("STUCK  {reason}: {message}"),
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn what_cannot_be_read_for_minutes_needs_a_person() {
        let gone =
            RetryState::after(None, Failure::new(Class::NotFound, "GetOpenIDConnectProvider: not there"), at(0), 0);
        let stuck = |second| {
            let item = item(Key::single("oidcProvider"), Verdict::NotObserved(Some(gone.clone())));
            matches!(standing(&item, Goal::Deleted, at(second)), ResourceProgress::Stalled { .. })
        };
        assert!(!stuck(299) && stuck(300));
    }

    #[test]
    fn messages_change_by_the_minute_and_not_at_every_look() {
        for (seconds, text) in
            [(3, "seconds"), (12, "10 s"), (59, "50 s"), (60, "1 min"), (179, "2 min"), (7200, "2 h")]
        {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }
}
