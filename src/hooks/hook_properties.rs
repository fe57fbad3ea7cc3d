//! Properties of hooks in a world with crashes between any two steps, lost answers, Jobs that are deleted by hand, and a workload cluster
//! that does not answer for a while.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::entry::tests::hook;
use super::*;
use crate::api::hook::{Hook, HookCluster, HookFailurePolicy, HookPlace, HookPoint, HookState, HookStatus};
use crate::jobs::JobOutcome;

const UID: &str = "cluster";

/// A Job.
#[derive(Clone, Debug)]
struct Job {
    uid: String,
    hook: String,
    /// Of which template it was made.
    template: usize,
    outcome: JobOutcome,
}

/// What others do, and what goes wrong, in one turn.
#[derive(Clone, Debug)]
enum Event {
    /// The operator works for this many steps, and then crashes or ends its reconcile.
    Work(usize),
    /// The next write to status has no effect.
    RejectWrite,
    /// The next creation of a Job has an effect, and no answer.
    LoseAnswer,
    Succeed,
    Fail,
    DeleteJobs,
    Skip(bool),
    Retry,
    Wait(i64),
    /// From now on, the workload cluster answers, or does not.
    Answers(bool),
    /// From now on, it deletes Jobs, or refuses that.
    Deletes(bool),
    /// The templates change.
    Correct,
    /// From now on, the step is held by something else, or not.
    Halt(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6_usize).prop_map(Event::Work),
        1 => Just(Event::RejectWrite),
        1 => Just(Event::LoseAnswer),
        3 => Just(Event::Succeed),
        1 => Just(Event::Fail),
        1 => Just(Event::DeleteJobs),
        1 => any::<bool>().prop_map(Event::Skip),
        1 => Just(Event::Retry),
        1 => (1..900_i64).prop_map(Event::Wait),
        1 => any::<bool>().prop_map(Event::Answers),
        1 => any::<bool>().prop_map(Event::Deletes),
        1 => Just(Event::Correct),
        1 => any::<bool>().prop_map(Event::Halt),
    ]
}

struct World {
    hooks: Vec<Hook>,
    entries: Vec<HookStatus>,
    jobs: BTreeMap<String, Job>,
    /// Hooks one of whose Jobs really succeeded, or that a person skipped.
    good: Vec<String>,
    moment: Moment,
    skip: Option<String>,
    reconcile_at: Option<String>,
    now: Timestamp,
    uids: usize,
    reject_write: bool,
    lose_answer: bool,
    /// Whether the workload cluster does not answer.
    is_away: bool,
    /// Whether it refuses to delete Jobs.
    keeps_jobs: bool,
    /// The number of the templates.
    template: usize,
    /// Whether something else holds the step.
    is_halted: bool,
    /// Since when hooks have been tried without a halt that the operator recorded.
    tried_since: Timestamp,
    /// The number of Jobs when the last try of a hook failed.
    failed_at: BTreeMap<String, usize>,
    passed: bool,
}

impl World {
    fn new(continues: bool) -> Self {
        let mut hooks = vec![hook("a", &[HookPoint::BeforeDelete]), hook("b", &[HookPoint::BeforeDelete])];
        hooks[1].in_ = HookCluster::Workload;
        if continues {
            hooks[0].on_failure = HookFailurePolicy::Continue;
        }
        Self {
            hooks,
            entries: Vec::new(),
            jobs: BTreeMap::new(),
            good: Vec::new(),
            moment: Moment::new(HookPoint::BeforeDelete, "delete"),
            skip: None,
            reconcile_at: None,
            now: Timestamp::from_second(1_000_000).unwrap(),
            uids: 0,
            reject_write: false,
            lose_answer: false,
            is_away: false,
            keeps_jobs: false,
            template: 0,
            is_halted: false,
            tried_since: Timestamp::from_second(1_000_000).unwrap(),
            failed_at: BTreeMap::new(),
            passed: false,
        }
    }

    fn write(&mut self, mut record: Record) -> bool {
        if let Some(JobId { place, name, uid }) = record.delete.clone() {
            let stays = (self.is_away || self.keeps_jobs) && place != HookPlace::Management;
            match record.notice {
                _ if !stays => {
                    if self.jobs.get(&name).is_some_and(|job| job.uid == uid) {
                        self.jobs.remove(&name);
                    }
                }
                Some(Notice::Skipped(_)) => {}
                Some(Notice::Failed(_)) => record = record.keeping_job(),
                Some(Notice::Started(_) | Notice::Succeeded(_)) | None => return false,
            }
        }
        if std::mem::take(&mut self.reject_write) {
            return false;
        }
        for entry in record.entries.iter().filter(|entry| entry.state == HookState::Skipped) {
            self.good.push(entry.name.clone());
        }
        if let Some(Notice::Failed(_)) = record.notice {
            let has_failed = |state| matches!(state, HookState::Failed | HookState::Lost);
            for entry in record.entries.iter().filter(|entry| has_failed(entry.state)) {
                let before = self.entries.iter().find(|before| before.name == entry.name);
                if before.is_none_or(|before| !has_failed(before.state)) {
                    self.failed_at.insert(entry.name.clone(), self.uids);
                }
            }
        }
        self.entries = record.entries;
        true
    }

    fn replaced(&self, index: usize, entry: HookStatus) -> Record {
        let mut entries = self.entries.clone();
        entries[index] = entry;
        Record { delete: None, entries, notice: None }
    }

    /// One step of the operator. `false`: its reconcile ends.
    fn step(&mut self) -> bool {
        if self.is_halted {
            let entries = without_interrupted_waits(self.entries.clone(), |_| false);
            if entries == self.entries || self.write(Record { delete: None, entries, notice: None }) {
                self.tried_since = self.now;
            }
            return false;
        }
        let (hooks, entries, moment) = (self.hooks.clone(), self.entries.clone(), self.moment.clone());
        let digests = hooks.iter().map(|hook| (hook.name.clone(), Ok(self.digest()))).collect();
        let (skip, reconcile_at) = (self.skip.clone(), self.reconcile_at.clone());
        let question = Question {
            hooks: &hooks,
            entries: &entries,
            moment: &moment,
            skip: skip.as_deref(),
            reconcile_at: reconcile_at.as_deref(),
            digests: &digests,
            uid: UID,
            object: ("demo", "team"),
            may_begin: true,
            now: self.now,
        };
        match next(&question) {
            Action::ReadTemplate(_) => unreachable!("every template was read"),
            Action::Record(record) => self.write(record),
            Action::Create(hook, _) | Action::Observe(hook, _) | Action::Discard(hook, _)
                if self.is_away && hook.in_ == HookCluster::Workload && !self.lose_answer =>
            {
                self.unanswered(&question, hook)
            }
            Action::Discard(hook, index) => {
                let job = entries[index].job.as_ref().filter(|name| self.jobs.contains_key(*name));
                if job.is_some() && self.keeps_jobs && hook.in_ == HookCluster::Workload {
                    return false;
                }
                if let Some(name) = job {
                    self.jobs.remove(name);
                }
                self.write(self.replaced(index, without_job(entries[index].clone())))
            }
            Action::Create(hook, index) => {
                let name = entries[index].job.clone().expect("an intended entry has a name");
                if self.jobs.get(&name).is_some_and(|job| job.template != self.template) {
                    // The name is taken by a try whose creation had no answer.
                    let in_workload = hook.in_ == HookCluster::Workload;
                    if in_workload && (self.is_away || self.keeps_jobs) {
                        return self.unanswered(&question, hook);
                    }
                    self.jobs.remove(&name);
                    return self.write(self.replaced(index, without_job(entries[index].clone())));
                }
                self.uids += 1;
                let new = Job {
                    uid: self.uids.to_string(),
                    hook: hook.name.clone(),
                    template: self.template,
                    outcome: JobOutcome::Running,
                };
                let job = self.jobs.entry(name).or_insert(new);
                assert_eq!(job.hook, hook.name, "a name is of one hook");
                let uid = job.uid.clone();
                let before = self.failed_at.get(&hook.name).copied().unwrap_or_default();
                assert!(
                    uid.parse::<usize>().unwrap() > before,
                    "a try has the Job of one that failed: {:?}",
                    self.entries
                );
                if std::mem::take(&mut self.lose_answer) {
                    // It was created all the same.
                    return self.is_away && hook.in_ == HookCluster::Workload && self.unanswered(&question, hook);
                }
                let (entry, _) = created(entries[index].clone(), uid, self.digest(), self.now);
                self.write(self.replaced(index, entry))
            }
            Action::Observe(hook, index) => {
                let entry = &entries[index];
                let job = entry.job.as_ref().and_then(|name| self.jobs.get(name));
                let outcome = match job.filter(|job| Some(&job.uid) == entry.uid.as_ref()) {
                    Some(job) => job.outcome.clone(),
                    None => JobOutcome::Lost("gone".into()),
                };
                match observed(&question, hook, index, &outcome, None) {
                    Observation::Record(record) => self.write(record),
                    Observation::Held(_) => false,
                }
            }
            Action::Held(_) => false,
            Action::Pass => {
                self.passed = true;
                false
            }
        }
    }

    fn digest(&self) -> String {
        format!("d{}", self.template)
    }

    fn unanswered(&mut self, question: &Question<'_>, hook: &Hook) -> bool {
        match question.unanswered(hook, "no answer", SignedDuration::from_secs(1)) {
            Action::Record(record) => {
                if let Some(Notice::Failed(why)) = &record.notice
                    && why.contains("was not created")
                {
                    let tried = self.now.duration_since(self.tried_since);
                    assert!(tried >= SignedDuration::from_mins(10), "it failed after {tried:?}: {why}");
                }
                self.write(record)
            }
            Action::Held(_) => false,
            other => panic!("{other:?}"),
        }
    }

    fn end_jobs(&mut self, outcome: &JobOutcome) {
        for job in self.jobs.values_mut().filter(|job| job.outcome == JobOutcome::Running) {
            job.outcome = outcome.clone();
            if *outcome == JobOutcome::Succeeded {
                self.good.push(job.hook.clone());
            }
        }
    }

    fn turn(&mut self, event: &Event, number: usize) {
        match event {
            Event::Work(steps) => {
                for _ in 0..*steps {
                    if self.passed || !self.step() {
                        break;
                    }
                }
            }
            Event::RejectWrite => self.reject_write = true,
            Event::LoseAnswer => self.lose_answer = true,
            Event::Succeed => self.end_jobs(&JobOutcome::Succeeded),
            Event::Fail => self.end_jobs(&JobOutcome::Failed("exit 1".into())),
            Event::DeleteJobs => self.jobs.clear(),
            Event::Skip(first) => self.skip = Some(format!("{}/{number}", if *first { "a" } else { "b" })),
            Event::Retry => self.reconcile_at = Some(number.to_string()),
            Event::Wait(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Event::Answers(answers) => self.is_away = !answers,
            Event::Deletes(deletes) => self.keeps_jobs = !deletes,
            Event::Correct => self.template += 1,
            Event::Halt(halts) => self.is_halted = *halts,
        }
    }

    fn check(&self) {
        if self.passed {
            for hook in self.hooks.iter().filter(|hook| hook.on_failure == HookFailurePolicy::Stop) {
                assert!(self.good.contains(&hook.name), "{} passed without a success: {:?}", hook.name, self.entries);
            }
        }
        let names: Vec<_> = self.entries.iter().map(|entry| &entry.name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), unique.len(), "one entry for each hook: {names:?}");
        for name in ["a", "b"] {
            let running = self.jobs.values().filter(|job| job.hook == name && job.outcome == JobOutcome::Running);
            assert!(running.count() <= 1, "two Jobs of hook {name} run: {:?}", self.jobs);
        }
    }
}

proptest! {
    #[test]
    fn nothing_passes_without_a_success_and_it_ends_when_faults_stop(
        events in prop::collection::vec(event(), 1..60),
        continues in any::<bool>(),
    ) {
        let mut world = World::new(continues);
        for (number, event) in events.iter().enumerate() {
            world.turn(event, number);
            world.check();
        }
        (world.reject_write, world.lose_answer, world.is_away, world.keeps_jobs) = (false, false, false, false);
        world.is_halted = false;
        for number in 100..120 {
            world.turn(&Event::Retry, number);
            world.turn(&Event::Work(10), number);
            world.turn(&Event::Succeed, number);
            world.turn(&Event::Work(10), number);
            world.check();
        }
        prop_assert!(world.passed, "it never passes: {:?}", world.entries);
    }
}
