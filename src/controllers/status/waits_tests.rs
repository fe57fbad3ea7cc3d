//! Deadlines of waits: the table, and the state of a wait over time.

use super::*;
use crate::controllers::status::conditions::Overall;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn wait(on: &str, kind: Kind, since: Option<i64>) -> Wait {
    Wait {
        on: on.into(),
        kind,
        since: since.map(at),
        reason: Reason::Creating,
        details: "CREATING".into(),
        advice: "check AWS".into(),
    }
}

fn reconciling() -> Overall {
    Overall::Reconciling(ConditionValue::false_(Reason::Creating, "creating"))
}

const MINUTE: i64 = 60;

#[test]
fn every_unplanned_wait_has_a_deadline_above_its_usual_duration() {
    let seconds = Duration::from_secs;
    let table = [
        (Kind::Aws(seconds(1)), Some(10)),
        (Kind::Aws(seconds(540)), Some(36)),
        (Kind::Call, Some(10)),
        (Kind::Change, Some(10)),
        (Kind::Management, Some(10)),
        (Kind::Unreachable, Some(10)),
        (Kind::Nodes, Some(20)),
        (Kind::Joining, Some(20)),
        (Kind::Agent, Some(20)),
        (Kind::Health, Some(20)),
        (Kind::NodeGroups, Some(40)),
        (Kind::Replacing, Some(60)),
        (Kind::Cluster, Some(60)),
        (Kind::Upgrade, Some(60)),
        (Kind::Other, Some(60)),
        (Kind::ControlPlaneVersion, Some(24 * 60)),
        (Kind::Person, Some(0)),
        (Kind::Planned, None),
    ];
    for (kind, minutes) in table {
        assert_eq!(kind.deadline_after(1.0), minutes.map(|minutes| seconds(minutes * 60)), "{kind:?}");
    }
    assert_eq!(Kind::Cluster.deadline_after(0.01), Some(seconds(36)), "tests wait less");
}

#[test]
fn overdue_wait_is_stalled_with_a_message() {
    let waits = [wait("add-on coredns: creating", Kind::Aws(Duration::from_secs(30)), Some(100))];
    let before = evaluate_waits(&[], &waits, reconciling(), 1.0, at(100 + 10 * MINUTE - 1));
    assert_eq!((before.overall, before.next), (reconciling(), Some(at(700))));
    let EvaluatedWaits { overall, next, .. } = evaluate_waits(&before.waits, &waits, reconciling(), 1.0, at(700));
    let Overall::Stalled(value) = overall else { panic!("{overall:?}") };
    assert_eq!((value.reason, next), (Reason::Timeout, None));
    assert_eq!(
        value.message,
        "add-on coredns: creating since 1970-01-01T00:01:40Z, which usually takes 30 s (CREATING): check AWS"
    );
}

#[test]
fn wait_start_survives_a_restart() {
    let first = evaluate_waits(&[], &[wait("nodes", Kind::Nodes, None)], reconciling(), 1.0, at(1000));
    // The next process has no history, and starts counting anew.
    let again = evaluate_waits(&first.waits, &[wait("nodes", Kind::Nodes, Some(1900))], reconciling(), 1.0, at(1900));
    assert_eq!(again.waits, first.waits);
    let late = evaluate_waits(&again.waits, &[wait("nodes", Kind::Nodes, Some(1900))], reconciling(), 1.0, at(2200));
    assert!(matches!(late.overall, Overall::Stalled(_)));
}

#[test]
fn progress_clears_stalled_and_restarts_the_wait() {
    let old = evaluate_waits(&[], &[wait("1 of 3 nodes", Kind::Joining, None)], reconciling(), 1.0, at(0));
    let late = evaluate_waits(&old.waits, &[wait("1 of 3 nodes", Kind::Joining, None)], reconciling(), 1.0, at(1200));
    assert!(matches!(late.overall, Overall::Stalled(_)));
    let moved = evaluate_waits(&late.waits, &[wait("2 of 3 nodes", Kind::Joining, None)], reconciling(), 1.0, at(1201));
    assert_eq!((moved.overall, moved.waits[0].since.0), (reconciling(), at(1201)));
    let done =
        evaluate_waits(&moved.waits, &[], Overall::Ready(ConditionValue::true_(Reason::Available, "")), 1.0, at(1300));
    assert!(matches!(done.overall, Overall::Ready(_)) && done.waits.is_empty());
}

#[test]
fn planned_waits_never_stall_and_waits_for_a_person_stall_at_once() {
    let planned = [Wait::planned("a maintenance window")];
    let evaluated = evaluate_waits(&[], &planned, reconciling(), 1.0, at(1_000_000_000));
    assert_eq!((evaluated.overall, evaluated.waits, evaluated.next), (reconciling(), Vec::new(), None));
    let evaluated = evaluate_waits(&[], &[wait("x", Kind::Person, None)], reconciling(), 1.0, at(5));
    let Overall::Stalled(value) = evaluated.overall else { panic!("{:?}", evaluated.overall) };
    assert_eq!(value.message, "x since 1970-01-01T00:00:05Z (CREATING): check AWS");
}

#[test]
fn object_stalled_for_another_reason_keeps_its_reason_and_waits() {
    let stalled = Overall::Stalled(ConditionValue::false_(Reason::InvalidSpec, "a typo"));
    let evaluated = evaluate_waits(&[], &[wait("x", Kind::Call, Some(0))], stalled.clone(), 1.0, at(10_000));
    assert_eq!((evaluated.overall, evaluated.waits.len()), (stalled, 1));
    let failing = Wait { reason: Reason::DeletionBlocked, ..wait("x", Kind::Call, Some(0)) };
    let evaluated = evaluate_waits(&[], &[failing], reconciling(), 1.0, at(10_000));
    let Overall::Stalled(value) = evaluated.overall else { panic!("{:?}", evaluated.overall) };
    assert_eq!(value.reason, Reason::DeletionBlocked, "a specific reason is preferred to Timeout");
}

#[test]
fn suspended_object_has_no_waits() {
    let suspended = Overall::Suspended("as asked".into());
    let evaluated = evaluate_waits(&[], &[wait("x", Kind::Call, Some(0))], suspended.clone(), 1.0, at(10_000));
    assert_eq!((evaluated.overall, evaluated.waits), (suspended, Vec::new()));
}
