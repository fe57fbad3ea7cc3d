//! Tests of hooks whose workload cluster does not answer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::hook::{HookCluster, HookFailurePolicy, HookPoint};
use crate::hooks::entry::tests::{entry, hook};
use crate::hooks::next_action::tests::{Case, at};
use crate::hooks::{JobId, Moment, next, without_job};

const STEP: &str = "1.33->1.34";
const AGAIN: SignedDuration = SignedDuration::from_secs(7);

/// A hook in the workload cluster with a timeout of ten minutes, and its entry.
fn case_of(entries: Vec<HookStatus>) -> Case {
    let hook = Hook { in_: HookCluster::Workload, ..hook("smoke", &[HookPoint::AfterControlPlane]) };
    Case { moment: Moment::new(HookPoint::AfterControlPlane, STEP), ..Case::new(vec![hook], entries) }
}

fn unanswered(case: &Case) -> Action<'_> {
    case.question().unanswered(&case.hooks[0], "no route to host", AGAIN)
}

fn recorded(case: &Case) -> Record {
    match unanswered(case) {
        Action::Record(record) => record,
        other => panic!("{other:?}"),
    }
}

fn held(case: &Case) -> HookHold {
    match unanswered(case) {
        Action::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

fn entry_in(state: HookState) -> HookStatus {
    let (job, namespace) = (Some("demo-smoke-abc".to_owned()), Some("default".to_owned()));
    let entry = entry("smoke", HookPoint::AfterControlPlane, STEP, state);
    HookStatus { in_: HookCluster::Workload, namespace, job, template_digest: Some("d1".into()), ..entry }
}

#[test]
fn job_that_cannot_be_created_is_waited_for_until_the_timeout() {
    let mut case = case_of(vec![entry_in(HookState::Intended)]);
    let Record { delete, entries, notice } = recorded(&case);
    assert_eq!((delete, notice), (None, None));
    assert_eq!((entries[0].state, entries[0].waiting_since.clone()), (HookState::Intended, Some(Time(at(1000)))));
    case.entries = entries;
    case.now = 1599;
    let held = held(&case);
    assert_eq!((held.failed, held.again), (false, SignedDuration::from_secs(1)));
    assert_eq!(
        held.message,
        "hook smoke (AfterControlPlane, 1.33->1.34): no route to host; it is tried until 1970-01-01T00:26:40Z, then the hook has \
         failed; to go on at once, pass it with kubectl annotate --overwrite ekscluster demo -n team keelson.dev/skip-hook=smoke"
    );
    case.now = 1600;
    let Record { entries, notice, .. } = recorded(&case);
    let failed = &entries[0];
    assert_eq!((failed.state, failed.job.as_deref()), (HookState::Failed, Some("demo-smoke-abc")));
    let message = failed.message.as_deref().unwrap();
    assert_eq!(message, "the Job was not created within 10m, as far as is known: no route to host");
    assert!(matches!(notice, Some(Notice::Failed(_))));
}

#[test]
fn wait_that_is_interrupted_begins_anew() {
    let waiting = |state| HookStatus { waiting_since: Some(Time(at(100))), ..entry_in(state) };
    let since = |entries: &[HookStatus]| entries[0].waiting_since.clone();
    for state in [HookState::Pending, HookState::Intended] {
        let mut case = case_of(vec![waiting(state)]);
        // A hold.
        case.may_begin = false;
        let Action::Record(Record { entries, .. }) = next(&case.question()) else { panic!("{state:?}") };
        assert_eq!((entries[0].state, since(&entries)), (state, None));
        case.entries = entries;
        assert!(matches!(next(&case.question()), Action::Held(held) if !held.failed), "{state:?}");
        let recorded = recorded(&case);
        assert_eq!((recorded.entries[0].state, since(&recorded.entries)), (state, Some(Time(at(1000)))));
    }
    // The cluster answers that the template cannot be used, or the Job not be created.
    for policy in [HookFailurePolicy::Stop, HookFailurePolicy::Continue] {
        let mut case = case_of(vec![waiting(HookState::Pending)]);
        case.hooks[0].on_failure = policy;
        case.digests.insert("smoke".into(), Err("no such CronJob".into()));
        let Action::Record(record) = next(&case.question()) else { panic!("{policy:?}") };
        assert_eq!((record.entries[0].state, since(&record.entries)), (HookState::Pending, None), "{policy:?}");
    }
    let case = case_of(vec![waiting(HookState::Intended)]);
    let Action::Record(record) = case.question().create_refused(&case.hooks[0], 0, "quota") else { panic!() };
    assert_eq!((record.entries[0].state, since(&record.entries)), (HookState::Intended, None));
    // What has failed says what it waited for.
    let mut case = case_of(vec![waiting(HookState::Failed)]);
    case.may_begin = false;
    assert!(matches!(next(&case.question()), Action::Held(_)));
}

#[test]
fn hook_that_is_not_tried_has_all_its_time_left() {
    let since = Some(Time(at(100)));
    let of = |name: &str, state| {
        let entry = HookStatus { waiting_since: since.clone(), ..entry_in(state) };
        HookStatus { name: name.into(), ..entry }
    };
    let entries = vec![of("a", HookState::Pending), of("b", HookState::Intended), of("c", HookState::Failed)];
    let waits = |entries: &[HookStatus]| entries.iter().map(|entry| entry.waiting_since.is_some()).collect::<Vec<_>>();
    let none = without_interrupted_waits(entries.clone(), |_| false);
    assert_eq!(waits(&none), [false, false, true], "what has failed says what it waited for");
    assert_eq!(without_interrupted_waits(none.clone(), |_| false), none);
    assert_eq!(waits(&without_interrupted_waits(entries.clone(), |entry| entry.name == "b")), [false, true, true]);
    assert_eq!(without_interrupted_waits(entries.clone(), |_| true), entries);
}

#[test]
fn hook_behind_another_one_is_not_tried() {
    let waiting = HookStatus { waiting_since: Some(Time(at(100))), ..entry_in(HookState::Pending) };
    let mut case = case_of(vec![waiting]);
    case.hooks.insert(0, hook("first", &[HookPoint::AfterControlPlane]));
    let first = entry("first", HookPoint::AfterControlPlane, STEP, HookState::Running);
    case.entries.push(first);
    let Action::Record(record) = next(&case.question()) else { panic!() };
    assert_eq!((record.entries[0].state, record.entries[0].waiting_since.clone()), (HookState::Pending, None));
    case.entries = record.entries;
    assert!(matches!(next(&case.question()), Action::Observe(hook, 1) if hook.name == "first"));
}

#[test]
fn job_that_may_exist_is_deleted_before_the_next_try() {
    let failed = HookStatus { waiting_since: Some(Time(at(100))), ..entry_in(HookState::Failed) };
    let mut case = case_of(vec![failed]);
    assert!(matches!(next(&case.question()), Action::Held(held) if held.failed), "a person decides");
    case.reconcile_at = Some("now");
    assert!(matches!(next(&case.question()), Action::Discard(hook, 0) if hook.name == "smoke"));
    let discarded = without_job(case.entries[0].clone());
    assert_eq!(
        (discarded.state, discarded.job.as_deref(), discarded.waiting_since.as_ref()),
        (HookState::Pending, None, None)
    );
    let attempt = discarded.attempt;
    let before = std::mem::replace(&mut case.entries, vec![discarded]);
    let Action::Record(again) = next(&case.question()) else { panic!() };
    let entry = &again.entries[0];
    assert_eq!((entry.state, entry.attempt, entry.waiting_since.as_ref()), (HookState::Intended, attempt + 1, None));
    assert_ne!(entry.job.as_deref(), Some("demo-smoke-abc"), "the Job before may be over");
    // In another namespace it is another Job.
    case.entries = before;
    case.hooks[0].namespace = Some("checks".into());
    let Action::Record(elsewhere) = next(&case.question()) else { panic!() };
    assert_ne!(elsewhere.entries[0].job.as_deref(), Some("demo-smoke-abc"));
}

#[test]
fn template_that_was_not_read_in_time_is_not_corrected_by_itself() {
    let unread = HookStatus {
        waiting_since: Some(Time(at(100))),
        job: None,
        template_digest: None,
        ..entry_in(HookState::Failed)
    };
    let mut case = case_of(vec![unread]);
    assert!(matches!(next(&case.question()), Action::Held(held) if held.failed));
    let held = held(&case);
    assert!(held.failed && held.message.contains("; now: no route to host: "), "{}", held.message);
    case.reconcile_at = Some("now");
    assert!(matches!(next(&case.question()), Action::Record(_)));
}

#[test]
fn hook_without_an_entry_waits_as_well() {
    let case = case_of(Vec::new());
    let entries = recorded(&case).entries;
    assert_eq!((entries[0].state, entries[0].waiting_since.is_some()), (HookState::Pending, true));
}

#[test]
fn running_job_has_failed_at_its_timeout_and_is_deleted_before_another_try() {
    let running = HookStatus { uid: Some("u".into()), started_at: Some(Time(at(500))), ..entry_in(HookState::Running) };
    let mut case = case_of(vec![running]);
    assert!(!held(&case).failed);
    case.now = 1100;
    let failed = recorded(&case).entries.remove(0);
    assert_eq!((failed.state, failed.uid.as_deref()), (HookState::Failed, Some("u")));
    assert!(failed.message.as_deref().unwrap().starts_with("the Job did not end within 10m, as far as is known: "));
    let job = JobId::of(&failed);
    case.entries = vec![failed];
    case.reconcile_at = Some("now");
    let Action::Record(again) = next(&case.question()) else { panic!() };
    assert_eq!(again.delete, job);
    // With Continue, it has passed.
    case.hooks[0].on_failure = HookFailurePolicy::Continue;
    assert_eq!(next(&case.question()), Action::Pass);
}

#[test]
fn person_passes_a_hook_whose_cluster_does_not_answer() {
    for state in [HookState::Pending, HookState::Intended, HookState::Running, HookState::Failed] {
        let mut case = case_of(vec![entry_in(state)]);
        case.skip = Some("smoke");
        assert_eq!(recorded(&case).entries[0].state, HookState::Skipped, "{state:?}");
    }
}
