//! Deadlines of waits: the table, and what becomes of a wait over time.

use super::*;
use crate::controllers::conditions::Overall;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn wait(on: &str, kind: Kind, since: Option<i64>) -> Wait {
    Wait {
        on: on.into(),
        kind,
        since: since.map(at),
        reason: Reason::Creating,
        says: "CREATING".into(),
        advice: "see AWS".into(),
    }
}

fn on_its_way() -> Overall {
    Overall::Reconciling(ConditionValue::false_(Reason::Creating, "creating"))
}

const MINUTE: i64 = 60;

#[test]
fn every_kind_of_wait_but_those_that_are_planned_has_a_deadline_well_above_its_usual_time() {
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
        assert_eq!(kind.limit(1.0), minutes.map(|minutes| seconds(minutes * 60)), "{kind:?}");
    }
    assert_eq!(Kind::Cluster.limit(0.01), Some(seconds(36)), "tests wait less");
}

#[test]
fn a_wait_is_stalled_from_its_deadline_on_and_says_what_it_is() {
    let waits = [wait("add-on coredns: creating", Kind::Aws(Duration::from_secs(30)), Some(100))];
    let before = judge(&[], &waits, on_its_way(), 1.0, at(100 + 10 * MINUTE - 1));
    assert_eq!((before.overall, before.next), (on_its_way(), Some(at(700))));
    let Judged { overall, next, .. } = judge(&before.waits, &waits, on_its_way(), 1.0, at(700));
    let Overall::Stalled(says) = overall else { panic!("{overall:?}") };
    assert_eq!((says.reason, next), (Reason::Timeout, None));
    assert_eq!(
        says.message,
        "add-on coredns: creating since 1970-01-01T00:01:40Z, which usually takes 30 s (CREATING): see AWS"
    );
}

#[test]
fn what_a_new_process_notices_began_when_status_says_it_did() {
    let first = judge(&[], &[wait("nodes", Kind::Nodes, None)], on_its_way(), 1.0, at(1000));
    // The next process knows nothing of it, and begins to count anew.
    let again = judge(&first.waits, &[wait("nodes", Kind::Nodes, Some(1900))], on_its_way(), 1.0, at(1900));
    assert_eq!(again.waits, first.waits);
    let late = judge(&again.waits, &[wait("nodes", Kind::Nodes, Some(1900))], on_its_way(), 1.0, at(2200));
    assert!(matches!(late.overall, Overall::Stalled(_)));
}

#[test]
fn what_moves_on_is_stalled_no_more_and_counts_anew() {
    let old = judge(&[], &[wait("1 of 3 nodes", Kind::Joining, None)], on_its_way(), 1.0, at(0));
    let late = judge(&old.waits, &[wait("1 of 3 nodes", Kind::Joining, None)], on_its_way(), 1.0, at(1200));
    assert!(matches!(late.overall, Overall::Stalled(_)));
    let moved = judge(&late.waits, &[wait("2 of 3 nodes", Kind::Joining, None)], on_its_way(), 1.0, at(1201));
    assert_eq!((moved.overall, moved.waits[0].since.0), (on_its_way(), at(1201)));
    let done = judge(&moved.waits, &[], Overall::Ready(ConditionValue::true_(Reason::Available, "")), 1.0, at(1300));
    assert!(matches!(done.overall, Overall::Ready(_)) && done.waits.is_empty());
}

#[test]
fn planned_waits_never_stall_and_a_person_is_asked_for_at_once() {
    let planned = [Wait::planned("a maintenance window")];
    let judged = judge(&[], &planned, on_its_way(), 1.0, at(1_000_000_000));
    assert_eq!((judged.overall, judged.waits, judged.next), (on_its_way(), Vec::new(), None));
    let judged = judge(&[], &[wait("x", Kind::Person, None)], on_its_way(), 1.0, at(5));
    let Overall::Stalled(says) = judged.overall else { panic!("{:?}", judged.overall) };
    assert_eq!(says.message, "x since 1970-01-01T00:00:05Z (CREATING): see AWS");
}

#[test]
fn what_stalls_for_another_reason_keeps_its_reason_and_its_waits() {
    let stalled = Overall::Stalled(ConditionValue::false_(Reason::InvalidSpec, "a typo"));
    let judged = judge(&[], &[wait("x", Kind::Call, Some(0))], stalled.clone(), 1.0, at(10_000));
    assert_eq!((judged.overall, judged.waits.len()), (stalled, 1));
    let failing = Wait { reason: Reason::DeletionBlocked, ..wait("x", Kind::Call, Some(0)) };
    let judged = judge(&[], &[failing], on_its_way(), 1.0, at(10_000));
    let Overall::Stalled(says) = judged.overall else { panic!("{:?}", judged.overall) };
    assert_eq!(says.reason, Reason::DeletionBlocked, "what went wrong says more than that it took long");
}

#[test]
fn a_suspended_object_waits_for_nothing() {
    let suspended = Overall::Suspended("as asked".into());
    let judged = judge(&[], &[wait("x", Kind::Call, Some(0))], suspended.clone(), 1.0, at(10_000));
    assert_eq!((judged.overall, judged.waits), (suspended, Vec::new()));
}
