//! Tests of what is done next about a hook.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::hook::{HookCluster, HookPlace, HookPoint};
use crate::hooks::entry::tests::{entry, hook};

const STEP: &str = "1.33->1.34";

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What a question is about.
pub struct Case {
    pub hooks: Vec<Hook>,
    pub entries: Vec<HookStatus>,
    pub moment: Moment,
    pub digests: BTreeMap<String, Result<String, String>>,
    pub skip: Option<&'static str>,
    pub reconcile_at: Option<&'static str>,
    pub may_begin: bool,
    pub now: i64,
}

impl Case {
    pub fn new(hooks: Vec<Hook>, entries: Vec<HookStatus>) -> Self {
        let digests = hooks.iter().map(|hook| (hook.name.clone(), Ok("d1".to_owned()))).collect();
        let moment = Moment::new(HookPoint::BeforeControlPlane, STEP);
        Self { hooks, entries, moment, digests, skip: None, reconcile_at: None, may_begin: true, now: 1000 }
    }

    pub fn question(&self) -> Question<'_> {
        Question {
            hooks: &self.hooks,
            entries: &self.entries,
            moment: &self.moment,
            skip: self.skip,
            reconcile_at: self.reconcile_at,
            digests: &self.digests,
            uid: "uid",
            object: ("demo", "team"),
            may_begin: self.may_begin,
            now: at(self.now),
        }
    }

    fn recorded(&self) -> Record {
        match next(&self.question()) {
            Action::Record(record) => record,
            other => panic!("{other:?}"),
        }
    }

    fn held(&self) -> HookHold {
        match next(&self.question()) {
            Action::Held(held) => held,
            other => panic!("{other:?}"),
        }
    }
}

fn before(name: &str) -> Hook {
    hook(name, &[HookPoint::BeforeControlPlane])
}

fn entry_of(name: &str, state: HookState) -> HookStatus {
    let digest = Some("d1".to_owned());
    let job = Some(format!("demo-{name}-abc"));
    HookStatus { template_digest: digest, job, ..entry(name, HookPoint::BeforeControlPlane, STEP, state) }
}

fn job_of(name: &str) -> Option<JobId> {
    let (name, uid) = (format!("demo-{name}-abc"), "u".to_owned());
    Some(JobId { place: HookPlace::Management, name, uid })
}

fn failed(name: &str) -> HookStatus {
    HookStatus { message: Some("exit 1".into()), uid: Some("u".into()), ..entry_of(name, HookState::Failed) }
}

#[test]
fn intent_is_recorded_before_the_job_is_created() {
    let mut case = Case::new(vec![before("a")], Vec::new());
    let Record { delete, entries, notice } = case.recorded();
    assert_eq!((delete, notice), (None, None));
    let [first] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((first.state, first.attempt, first.uid.as_deref()), (HookState::Intended, 1, None));
    assert!(first.job.as_deref().is_some_and(|job| job.starts_with("demo-a-") && job.len() <= 63));
    case.entries = entries;
    let question = case.question();
    assert_eq!(next(&question), Action::Create(&case.hooks[0], 0));
}

#[test]
fn hooks_run_one_after_the_other_and_what_comes_after_is_recorded_last() {
    let after = hook("b", &[HookPoint::BeforeControlPlane, HookPoint::AfterControlPlane]);
    let mut case = Case::new(vec![before("a"), after], vec![entry_of("a", HookState::Running)]);
    assert_eq!(next(&case.question()), Action::Observe(&case.hooks[0], 0));
    case.entries[0].state = HookState::Succeeded;
    assert_eq!(case.recorded().entries[1].name, "b");
    case.entries.push(entry_of("b", HookState::Skipped));
    let entries = case.recorded().entries;
    assert_eq!((entries[2].at, entries[2].state), (HookPoint::AfterControlPlane, HookState::Pending));
    case.entries = entries;
    assert_eq!(next(&case.question()), Action::Pass);
}

#[test]
fn hook_after_a_step_runs_only_if_it_was_recorded_before_the_step() {
    let mut case = Case::new(vec![hook("a", &[HookPoint::AfterControlPlane])], Vec::new());
    case.moment.point = HookPoint::AfterControlPlane;
    assert_eq!(next(&case.question()), Action::Pass);
    case.entries = vec![entry("a", HookPoint::AfterControlPlane, STEP, HookState::Pending)];
    assert_eq!(case.recorded().entries[0].state, HookState::Intended);
}

#[test]
fn failure_stops_until_the_template_or_the_annotation_changes() {
    let mut case = Case::new(vec![before("a")], vec![failed("a")]);
    let held = case.held();
    assert!(held.failed);
    assert_eq!(
        held.message,
        "hook a (BeforeControlPlane, 1.33->1.34) failed: exit 1 (Job demo-a-abc): correct its template, or try again with \
         keelson reconcile demo -n team, or pass it with kubectl annotate --overwrite ekscluster demo -n team \
         keelson.dev/skip-hook=a"
    );
    case.reconcile_at = Some("now");
    let again = case.recorded();
    assert_eq!(again.delete, job_of("a"), "the Job of the try before goes first");
    assert_eq!((again.entries[0].attempt, again.entries[0].uid.as_deref()), (2, None));
    assert_ne!(again.entries[0].job, case.entries[0].job);
    case.entries[0].reconcile_at = Some("now".into());
    assert!(case.held().failed, "each value counts once");
    case.digests.insert("a".into(), Ok("d2".into()));
    assert_eq!(case.recorded().entries[0].attempt, 2);
    case.entries[0].state = HookState::Lost;
    case.digests.insert("a".into(), Ok("d1".into()));
    assert!(case.held().failed, "a lost Job is no success");
}

#[test]
fn failure_that_is_ignored_passes_and_stays_visible() {
    let hook = Hook { on_failure: HookFailurePolicy::Continue, ..before("a") };
    for state in [HookState::Failed, HookState::Lost] {
        let case = Case::new(vec![hook.clone()], vec![entry_of("a", state)]);
        assert_eq!(next(&case.question()), Action::Pass);
    }
    let mut case = Case::new(vec![hook], Vec::new());
    case.digests.insert("a".into(), Err("no such CronJob".into()));
    let record = case.recorded();
    assert_eq!((record.entries[0].state, record.entries[0].job.as_deref()), (HookState::Failed, None));
    assert!(matches!(record.notice, Some(Notice::Failed(_))));
}

#[test]
fn hook_without_a_usable_template_waits_for_a_person() {
    let mut case = Case::new(vec![before("a")], Vec::new());
    case.digests.insert("a".into(), Err("CronJob team/backup does not exist".into()));
    let held = case.held();
    assert!(held.failed && held.message.contains("CronJob team/backup does not exist"), "{}", held.message);
    case.digests.clear();
    assert_eq!(next(&case.question()), Action::ReadTemplate(&case.hooks[0]));
}

#[test]
fn skip_counts_once_for_each_hook() {
    let mut case = Case::new(vec![before("a"), before("b")], vec![failed("a")]);
    case.skip = Some("x, a");
    let record = case.recorded();
    assert_eq!(record.delete, job_of("a"));
    assert_eq!((record.entries[0].state, record.entries[0].skipped_by.as_deref()), (HookState::Skipped, Some("a")));
    assert!(matches!(record.notice, Some(Notice::Skipped(_))));
    // The next step: the same value does not count again, another one does.
    let past = HookStatus { closed: true, ..record.entries[0].clone() };
    case.entries = vec![past, failed("a")];
    let held = case.held();
    assert!(held.failed && held.message.ends_with("keelson.dev/skip-hook=a/abc"), "{}", held.message);
    case.skip = Some("a/abc");
    assert_eq!(case.recorded().entries[1].state, HookState::Skipped);
    case.skip = Some("ab/1");
    assert!(case.held().failed, "it names another hook");
}

#[test]
fn job_that_may_exist_is_adopted_before_it_is_skipped() {
    let mut case = Case::new(vec![before("a")], vec![entry_of("a", HookState::Intended)]);
    case.skip = Some("a");
    assert_eq!(next(&case.question()), Action::Create(&case.hooks[0], 0));
    // It cannot be created.
    let refused = |case: &Case| match case.question().create_refused(&case.hooks[0], 0, "forbidden") {
        Action::Record(record) => record.entries[0].state.as_str().to_owned(),
        Action::Held(held) => held.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&case), "Skipped");
    case.skip = None;
    assert!(
        refused(&case).starts_with("hook a (BeforeControlPlane, 1.33->1.34): its Job cannot be created: forbidden: ")
    );
    case.hooks[0].on_failure = HookFailurePolicy::Continue;
    assert_eq!(refused(&case), "Failed");
}

#[test]
fn job_is_where_the_hook_said_when_it_was_about_to_be_created() {
    let in_workload = Hook { in_: HookCluster::Workload, ..before("a") };
    let mut case = Case::new(vec![in_workload], Vec::new());
    let first = case.recorded().entries.remove(0);
    assert_eq!((first.in_, first.namespace.as_deref()), (HookCluster::Workload, Some("default")));
    case.hooks[0].namespace = Some("checks".into());
    case.entries = vec![entry_of("a", HookState::Intended)];
    let given_up = case.recorded().entries.remove(0);
    assert_eq!((given_up.state, given_up.job.as_deref()), (HookState::Pending, None), "nothing is created elsewhere");
    case.entries = vec![given_up];
    let again = case.recorded().entries.remove(0);
    assert_eq!((again.state, again.namespace.as_deref()), (HookState::Intended, Some("checks")));
    // What runs is observed where it is, and deleted there before another try.
    case.entries = vec![entry_of("a", HookState::Running)];
    assert_eq!(next(&case.question()), Action::Observe(&case.hooks[0], 0));
    case.entries = vec![failed("a")];
    case.reconcile_at = Some("now");
    let retried = case.recorded();
    assert_eq!(retried.delete, job_of("a"));
    assert_eq!(retried.entries[0].place(), HookPlace::Workload { namespace: "checks".into() });
}

#[test]
fn job_that_is_not_deleted_is_named_with_the_hook_and_how_to_pass_it() {
    let mut case = Case::new(vec![before("a")], vec![failed("a")]);
    let undeleted = |case: &Case| case.question().undeleted("demo-a-abc", "a webhook", false, SignedDuration::ZERO);
    let held = undeleted(&case);
    assert_eq!(
        held.message,
        "hook a (BeforeControlPlane, 1.33->1.34): to go on at once, pass it with kubectl annotate --overwrite ekscluster demo -n team \
         keelson.dev/skip-hook=a; its Job demo-a-abc is not deleted yet: a webhook"
    );
    assert!(held.failed, "it needs a person still");
    case.entries[0].state = HookState::Running;
    assert!(!undeleted(&case).failed);
}

#[test]
fn nothing_begins_on_hold_and_what_runs_is_observed() {
    let mut case = Case::new(vec![before("a")], Vec::new());
    case.may_begin = false;
    assert!(!case.held().failed);
    case.entries = vec![entry_of("a", HookState::Intended)];
    assert!(case.held().message.contains("while the cluster is on hold"), "its Job is not created");
    case.entries = vec![entry_of("a", HookState::Running)];
    assert_eq!(next(&case.question()), Action::Observe(&case.hooks[0], 0));
}

fn observe(started: i64, outcome: &JobOutcome) -> Observation {
    let running =
        HookStatus { uid: Some("u".into()), started_at: Some(Time(at(started))), ..entry_of("a", HookState::Running) };
    let case = Case::new(vec![before("a")], vec![running]);
    observed(&case.question(), &case.hooks[0], 0, outcome, Some("ImagePullBackOff"))
}

#[test]
fn hanging_job_is_deleted_at_its_timeout() {
    let Observation::Held(held) = observe(500, &JobOutcome::Running) else { panic!() };
    assert!(
        !held.failed && held.message.contains("until 1970-01-01T00:18:20Z at the latest; ImagePullBackOff"),
        "{held:?}"
    );
    assert_eq!(held.again, SignedDuration::from_secs(10));
    let Observation::Record(record) = observe(400, &JobOutcome::Running) else { panic!() };
    assert_eq!(record.delete, job_of("a"));
    let entry = &record.entries[0];
    assert_eq!((entry.state, entry.uid.as_deref()), (HookState::Failed, None));
    assert_eq!(entry.message.as_deref(), Some("the Job did not end within 10m; ImagePullBackOff"));
    // It cannot be deleted: the next try deletes it first.
    let kept = record.keeping_job();
    assert_eq!(
        (kept.delete, kept.entries[0].state, JobId::of(&kept.entries[0])),
        (None, HookState::Failed, job_of("a"))
    );
    // It succeeded while nobody looked.
    let Observation::Record(record) = observe(0, &JobOutcome::Succeeded) else { panic!() };
    assert_eq!((record.entries[0].state, record.delete), (HookState::Succeeded, None));
}

#[test]
fn lost_job_is_recorded_as_lost() {
    let Observation::Record(record) = observe(900, &JobOutcome::Lost("gone".into())) else { panic!() };
    assert_eq!(record.entries[0].state, HookState::Lost);
    assert!(matches!(record.notice, Some(Notice::Failed(_))));
}
