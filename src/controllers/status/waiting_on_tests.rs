//! The owner of each wait of a plan, and the waits without a plan.

use std::collections::BTreeMap;

use super::*;
use crate::api::conditions::ConditionStatus;
use crate::engine::{Block, Class, Failure, HoldReason, Key, Observation, Operation, Phase, Presence, Step};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn item(kind: &'static str, name: &str, verdict: Verdict) -> Item {
    let key = if name.is_empty() { Key::single(kind) } else { Key::named(kind, name) };
    Item { key, verdict, forbidden: Vec::new(), drift: Vec::new() }
}

fn step(action: Action) -> Step {
    Step { action, changes: Vec::new(), reason: None }
}

fn failed(class: Class) -> RetryState {
    RetryState::after(None, Failure::new(class, "CreateVpc: refused"), at(100), 0)
}

fn waits(items: Vec<Item>) -> Vec<Wait> {
    let mut memory = Memory::new(at(0), std::time::Duration::ZERO, []);
    let coredns = Key::named("addon", "coredns");
    let busy = Phase::Busy { action: Action::Create, since: None, note: String::new() };
    let observation: Observation<std::sync::Arc<dyn std::any::Any + Send + Sync>> = Observation {
        outputs: BTreeMap::new(),
        ..Observation::ready("coredns", "DEGRADED", std::sync::Arc::new(()) as _)
    }
    .phase(busy);
    memory.record_observation(&coredns, Presence::Ours(observation), at(900));
    waits_of_plan(&Plan { goal: Goal::Present, items }, &memory, at(1000))
}

/// `on | kind | since | details`.
fn lines(waits: &[Wait]) -> Vec<String> {
    let line = |wait: &Wait| {
        let since = wait.since.map_or("-".to_owned(), |since| since.as_second().to_string());
        format!("{} | {:?} | {since} | {}", wait.on, wait.kind, wait.details)
    };
    waits.iter().map(line).collect()
}

#[test]
fn each_wait_of_a_plan_has_an_owner_and_advice() {
    let running = |operation| Verdict::Waiting {
        action: Action::Create,
        since: at(100),
        until: at(130),
        note: "InsufficientNumberOfReplicas".into(),
        operation,
    };
    let update = Operation { id: "u-1".into(), kind: "VersionUpdate".into(), since: None };
    let pending = |waits| Verdict::Pending(step(Action::Create), waits);
    let items = vec![
        item("addon", "coredns", running(None)),
        item("cluster", "", running(Some(update))),
        item("vpc", "", pending(vec![WaitingOn::Retry(failed(Class::Unavailable))])),
        item(
            "addon",
            "metrics-server",
            pending(vec![WaitingOn::Gate(Key::single("nodes"), "no node is ready".into())]),
        ),
        item("role", "node", Verdict::NotObserved(Some(failed(Class::Throttled)))),
        item("accessEntry", "x", pending(vec![WaitingOn::ReadAfterWrite(at(1010))])),
    ];
    let expected = [
        "add-on coredns: creating | Aws(30s) | 100 | DEGRADED; InsufficientNumberOfReplicas",
        "control plane: creating, update u-1 | Aws(30s) | 100 | InsufficientNumberOfReplicas",
        "VPC: failing call | Call | 100 | CreateVpc: refused",
        "add-on metrics-server: waiting for nodes | Nodes | - | no node is ready",
        "IAM role node: reading: failing call | Call | 100 | CreateVpc: refused",
        "access entry x: creating | Change | - | AWS accepted the change, but does not show it",
    ];
    let waits = waits(items);
    assert_eq!(lines(&waits), expected);
    assert!(waits.iter().all(|wait| !wait.advice.is_empty()), "each has advice");
}

#[test]
fn complete_or_otherwise_reported_items_are_no_waits() {
    let items = vec![
        item("vpc", "", Verdict::Settled),
        item("vpc", "", Verdict::Step(step(Action::Create))),
        item("vpc", "", Verdict::Held(step(Action::Create), HoldReason::Approval)),
        item("vpc", "", Verdict::Blocked(Block::Foreign("theirs".into()))),
        item("subnet", "a", Verdict::Pending(step(Action::Create), vec![WaitingOn::Resource(Key::single("vpc"))])),
        item("route", "a", Verdict::DeletedWith(Key::single("vpc"))),
        item("vpc", "", Verdict::NotObserved(None)),
        // Already Stalled, with its own reason.
        item("vpc", "", Verdict::Pending(step(Action::Create), vec![WaitingOn::Retry(failed(Class::Denied))])),
    ];
    assert_eq!(waits(items), []);
}

#[test]
fn every_reconciling_reason_without_a_plan_has_a_wait() {
    use Reason::*;
    let all = [
        (Pending, Kind::Management),
        (WaitingForCluster, Kind::Cluster),
        (WaitingForNodes, Kind::Nodes),
        (WaitingForSync, Kind::Agent),
        (SyncFailed, Kind::Agent),
        (AgentUnreachable, Kind::Unreachable),
        (OutsideMaintenanceWindow, Kind::Planned),
        (WaitingForWave, Kind::Planned),
        (WaveHalted, Kind::Planned),
        (WaitingForHook, Kind::Planned),
        (Degraded, Kind::Health),
        (Throttled, Kind::Call),
        (DeletionBlocked, Kind::Call),
        (Deleting, Kind::Other),
        (Upgrading, Kind::Upgrade),
        (Creating, Kind::Other),
        (Updating, Kind::Other),
    ];
    for (reason, kind) in all {
        let value = ConditionValue { status: ConditionStatus::False, reason, message: "x".into() };
        assert_eq!(wait_of_overall(&Overall::Reconciling(value)).map(|wait| wait.kind), Some(kind), "{reason}");
    }
    assert_eq!(wait_of_overall(&Overall::Stalled(ConditionValue::false_(InvalidSpec, "x"))), None);
}

#[test]
fn waits_continue_while_nothing_can_be_observed() {
    let nodes = Wait { on: "nodes".into(), kind: Kind::Nodes, ..Wait::planned("") };
    let before = evaluate_waits(
        &[],
        Some(vec![nodes]),
        Overall::Reconciling(ConditionValue::false_(Reason::Creating, "")),
        1.0,
        at(0),
    );
    let outage = Overall::Reconciling(ConditionValue::false_(Reason::AwsError, "STS does not answer"));
    let during = evaluate_waits(&before.waits, None, outage, 1.0, at(60));
    let on: Vec<_> = during.waits.iter().map(|wait| (wait.on.as_str(), wait.since.0.as_second())).collect();
    assert_eq!(on, [("waiting for AWS", 60), ("nodes", 0)]);
}

#[test]
fn held_agent_has_no_deadline_and_a_failing_one_has() {
    let kind = |condition: ConditionValue| wait_of_agent(&condition).map(|wait| wait.kind);
    assert_eq!(kind(ConditionValue::true_(Reason::Available, "")), None);
    assert_eq!(kind(ConditionValue::unknown(Reason::Observed, "")), Some(Kind::Planned));
    assert_eq!(kind(ConditionValue::unknown(Reason::WaitingForApproval, "")), Some(Kind::Planned));
    assert_eq!(kind(ConditionValue::unknown(Reason::OnHold, "")), Some(Kind::Planned));
    assert_eq!(kind(ConditionValue::false_(Reason::Creating, "")), Some(Kind::Agent));
    assert_eq!(kind(ConditionValue::false_(Reason::SyncFailed, "")), Some(Kind::Agent));
}
