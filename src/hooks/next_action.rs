//! What to do next about the hooks of one point. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::entry::{self, JobId, Notice};
use super::moment::{Moment, is_after};
use super::unanswered::without_interrupted_waits;
use crate::api::duration;
use crate::api::hook::{Hook, HookFailurePolicy, HookState, HookStatus, SKIP_HOOK_ANNOTATION};
use crate::jobs::{JobOutcome, job_name};

/// How often a failed hook is evaluated again: its template may be a CronJob that was corrected.
const FAILED_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// The shortest and the longest time between two observations of a Job.
const POLL: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_secs(10));

/// What is known.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `spec.hooks`.
    pub hooks: &'a [Hook],
    /// `status.hooks`, as the API server has it.
    pub entries: &'a [HookStatus],
    /// The point.
    pub moment: &'a Moment,
    /// The annotation `keelson.dev/skip-hook`.
    pub skip: Option<&'a str>,
    /// The annotation `keelson.dev/reconcile-at`.
    pub reconcile_at: Option<&'a str>,
    /// Digests of the templates that were read, by hook; or why one cannot be used.
    pub digests: &'a BTreeMap<String, Result<String, String>>,
    /// UID of the EksCluster.
    pub uid: &'a str,
    /// Name of the EksCluster and its namespace, for messages.
    pub object: (&'a str, &'a str),
    /// Whether a Job may be created: nothing begins on hold.
    pub may_begin: bool,
    /// Now.
    pub now: Timestamp,
}

/// What to do next. After each action but the last two, the question is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read the template of this hook.
    ReadTemplate(&'a Hook),
    /// Write this to status.
    Record(Record),
    /// Create the Job of this entry.
    Create(&'a Hook, usize),
    /// Observe the Job of this entry.
    Observe(&'a Hook, usize),
    /// Delete the Job of this entry, if it exists: whether it was created is not known. Then its next try begins.
    Discard(&'a Hook, usize),
    /// What follows does not begin.
    Held(HookHold),
    /// All hooks of the point have passed.
    Pass,
}

/// A status to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The Job to delete before.
    pub delete: Option<JobId>,
    /// The new `status.hooks`.
    pub entries: Vec<HookStatus>,
    /// What to tell afterwards.
    pub notice: Option<Notice>,
}

impl Record {
    /// The same, though the Job is not deleted: its entry names it, so that it is deleted before another try.
    pub fn keeping_job(mut self) -> Self {
        let Some(JobId { place, name, uid }) = self.delete.take() else { return self };
        for entry in &mut self.entries {
            if entry.job.as_ref() == Some(&name) && entry.place() == place {
                entry.uid = Some(uid.clone());
            }
        }
        self
    }
}

/// Why what follows does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookHold {
    /// Whether a person must act.
    pub failed: bool,
    /// Which hook, its Job, and what to do.
    pub message: String,
    /// When to evaluate again.
    pub again: SignedDuration,
}

impl<'a> Question<'a> {
    pub(super) fn current(&self, hook: &Hook) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == hook.name && self.moment.is_of(entry))
    }

    /// The value of the annotation that skips `hook` now. Each counts once.
    fn skip_of(&self, hook: &Hook) -> Option<String> {
        let values = self.skip?.split(',').map(|value| entry::cut(value.trim()));
        let mut named = values.filter(|value| value.split('/').next() == Some(hook.name.as_str()));
        let is_used = |value: &String| {
            let mut of_hook = self.entries.iter().filter(|entry| entry.name == hook.name);
            of_hook.any(|entry| entry.skipped_by.as_ref() == Some(value))
        };
        named.find(|value| !is_used(value))
    }

    /// The status with `entry` skipped, if the annotation says so.
    pub(super) fn skipped(&self, hook: &Hook, at: Option<usize>, entry: &HookStatus) -> Option<Record> {
        let by = self.skip_of(hook)?;
        let skipped = HookStatus { uid: None, ..entry::skipped(entry.clone(), &by, self.now) };
        let notice = Some(Notice::Skipped(format!("{} by {by:?}", skipped.describe())));
        let delete = JobId::of(entry);
        Some(Record { delete, entries: self.with(at, skipped), notice })
    }

    /// What to do about the entry at `index`, whose Job cannot be created until somebody changes something.
    pub fn create_refused(&self, hook: &Hook, index: usize, why: &str) -> Action<'a> {
        let entry = &self.entries[index];
        if let Some(record) = self.skipped(hook, Some(index), entry) {
            return Action::Record(record);
        }
        if entry::is_waiting(entry) {
            return Action::Record(self.not_waiting(Some(index), entry));
        }
        match hook.on_failure {
            HookFailurePolicy::Continue => {
                let (failed, notice) = entry::failed_to_start(entry.clone(), why, self.now);
                Action::Record(Record { delete: None, entries: self.with(Some(index), failed), notice: Some(notice) })
            }
            HookFailurePolicy::Stop => {
                self.failed(hook, entry, &format!("{}: its Job cannot be created", entry.describe()), why)
            }
        }
    }

    /// Why a try does not begin, or nothing is recorded: the Job of that name, which must go first, is not deleted.
    pub fn undeleted(&self, job: &str, why: &str, requires_change: bool, again: SignedDuration) -> HookHold {
        let entry = self.entries.iter().find(|entry| entry.job.as_deref() == Some(job));
        let hook = entry.and_then(|entry| self.hooks.iter().find(|hook| hook.name == entry.name));
        let Some((entry, hook)) = entry.zip(hook) else {
            return HookHold { failed: requires_change, message: why.to_owned(), again };
        };
        let (what, skip) = (entry.describe(), self.skip_advice(hook, entry));
        let message = format!("{what}: to go on at once, {skip}; its Job {job} is not deleted yet: {why}");
        let has_failed = matches!(entry.state, HookState::Failed | HookState::Lost);
        HookHold { failed: requires_change || has_failed, message, again }
    }

    /// The status in which `entry` no longer waits for a cluster that does not answer.
    fn not_waiting(&self, at: Option<usize>, entry: &HookStatus) -> Record {
        Record { delete: None, entries: self.with(at, entry::not_waiting(entry.clone())), notice: None }
    }

    /// While `hook` is evaluated, no other one is tried: one that waited for an answer has all its time left afterwards.
    fn without_other_waits(&self, hook: &Hook) -> Option<Record> {
        let entries = self.entries.to_vec();
        let entries = without_interrupted_waits(entries, |entry| entry.name == hook.name && self.moment.is_of(entry));
        (entries.as_slice() != self.entries).then_some(Record { delete: None, entries, notice: None })
    }

    pub(super) fn with(&self, at: Option<usize>, entry: HookStatus) -> Vec<HookStatus> {
        let mut all = self.entries.to_vec();
        match at {
            Some(at) => all[at] = entry,
            None => all.push(entry),
        }
        all
    }

    fn job_name(&self, entry: &HookStatus) -> String {
        let (attempt, now) = (entry.attempt.saturating_add(1).to_string(), self.now.to_string());
        let identity = [self.uid, &entry.name, entry.at.as_str(), &entry.step, &attempt, &now];
        job_name(&format!("{}-{}", self.object.0, entry.name), &identity)
    }

    /// What a person can do about `hook`, whose entry is `entry`.
    fn advice(&self, hook: &Hook, entry: &HookStatus) -> String {
        let (name, namespace) = self.object;
        let skip = self.skip_advice(hook, entry);
        format!("correct its template, or try again with keelson reconcile {name} -n {namespace}, or {skip}")
    }

    /// How a person passes `hook`.
    pub(super) fn skip_advice(&self, hook: &Hook, entry: &HookStatus) -> String {
        let (name, namespace) = self.object;
        // A value that has been used does not count again.
        let value = match &entry.job {
            Some(job) if self.skip.is_some() => format!("{}/{}", hook.name, job.rsplit('-').next().unwrap_or_default()),
            _ => hook.name.clone(),
        };
        format!(
            "pass it with kubectl annotate --overwrite ekscluster {name} -n {namespace} {SKIP_HOOK_ANNOTATION}={value}"
        )
    }

    /// The action while `hook` needs a person.
    pub(super) fn failed(&self, hook: &Hook, entry: &HookStatus, what: &str, why: &str) -> Action<'a> {
        let message = format!("{what}: {why}: {}", self.advice(hook, entry));
        Action::Held(HookHold { failed: true, message, again: FAILED_AGAIN })
    }
}

/// What to do next about the hooks at `question.moment`.
pub fn next<'a>(question: &Question<'a>) -> Action<'a> {
    for hook in question.hooks.iter().filter(|hook| hook.at.contains(&question.moment.point)) {
        if let Some(action) = about(question, hook) {
            return question.without_other_waits(hook).map_or(action, Action::Record);
        }
    }
    // What comes after the step is recorded before the step begins: a crash in between does not lose it.
    let Some(after) = question.moment.point.after() else { return Action::Pass };
    let after = Moment::new(after, question.moment.step.clone());
    let is_known = |hook: &&Hook| question.entries.iter().any(|entry| entry.name == hook.name && after.is_of(entry));
    let missing = question.hooks.iter().filter(|hook| hook.at.contains(&after.point)).filter(|hook| !is_known(hook));
    let pending: Vec<_> = missing.map(|hook| entry::new(hook, &after, HookState::Pending)).collect();
    if pending.is_empty() {
        return Action::Pass;
    }
    let entries = [question.entries, &pending].concat();
    Action::Record(Record { delete: None, entries, notice: None })
}

/// `None`: this hook has passed.
fn about<'a>(question: &Question<'a>, hook: &'a Hook) -> Option<Action<'a>> {
    let at = question.current(hook);
    let entry = at.map(|at| question.entries[at].clone());
    // What comes after a step counts only if it was recorded before the step.
    if at.is_none() && is_after(question.moment.point) {
        return None;
    }
    let entry = entry.unwrap_or_else(|| entry::new(hook, question.moment, HookState::Pending));
    if matches!(entry.state, HookState::Succeeded | HookState::Skipped) {
        return None;
    }
    let is_failure = matches!(entry.state, HookState::Failed | HookState::Lost);
    if is_failure && hook.on_failure == HookFailurePolicy::Continue {
        return None;
    }
    // The Job of an intended entry may exist: it is adopted first, so that it can be deleted.
    if entry.state != HookState::Intended
        && let Some(record) = question.skipped(hook, at, &entry)
    {
        return Some(Action::Record(record));
    }
    // On hold nothing is tried: the next time that the cluster does not answer, all its time is left.
    if !question.may_begin && entry::is_waiting(&entry) {
        return Some(Action::Record(question.not_waiting(at, &entry)));
    }
    Some(match (entry.state, at) {
        // The hook moved to another cluster: its author may do there what he may not do here. A Job whose creation had no answer ends at
        // its deadline.
        (HookState::Intended, Some(_)) if entry.place() != hook.place() => {
            let entries = question.with(at, entry::without_job(entry));
            Action::Record(Record { delete: None, entries, notice: None })
        }
        // Its Job may exist: that is found out when the hold ends.
        (HookState::Intended, Some(_)) if !question.may_begin => on_hold(&entry.describe()),
        (HookState::Intended, Some(at)) => Action::Create(hook, at),
        (HookState::Running, Some(at)) => Action::Observe(hook, at),
        _ => begin(question, hook, at, entry, is_failure),
    })
}

/// Nothing is created on hold.
fn on_hold<'a>(what: &str) -> Action<'a> {
    let message = format!("{what}: it does not begin while the cluster is on hold");
    Action::Held(HookHold { failed: false, message, again: FAILED_AGAIN })
}

/// The first try of a hook, or the next one after a failure.
fn begin<'a>(
    question: &Question<'a>,
    hook: &'a Hook,
    at: Option<usize>,
    entry: HookStatus,
    is_failure: bool,
) -> Action<'a> {
    let what = if is_failure { format!("{} failed", entry.describe()) } else { entry.describe() };
    let why = entry.message.clone().unwrap_or_default();
    let why = match &entry.job {
        Some(job) if is_failure => format!("{why} (Job {job})"),
        _ => why,
    };
    if !question.may_begin {
        return on_hold(&what);
    }
    let digest = match question.digests.get(&hook.name) {
        None => return Action::ReadTemplate(hook),
        Some(Ok(digest)) => digest,
        // The cluster has answered.
        Some(Err(_)) if entry::is_waiting(&entry) => return Action::Record(question.not_waiting(at, &entry)),
        Some(Err(error)) if !is_failure && hook.on_failure == HookFailurePolicy::Continue => {
            let (failed, notice) = entry::failed_to_start(entry, error, question.now);
            let entries = question.with(at, failed);
            return Action::Record(Record { delete: None, entries, notice: Some(notice) });
        }
        Some(Err(error)) => return question.failed(hook, &entry, &what, error),
    };
    if is_failure {
        // One whose template could not be read in time has no digest, and shows no correction.
        let is_unread = entry.template_digest.is_none() && entry.waiting_since.is_some();
        let is_corrected = entry.template_digest.as_ref() != Some(digest) && !is_unread;
        let asked = question.reconcile_at.map(entry::cut);
        let is_asked = asked.is_some() && asked != entry.reconcile_at;
        if !is_corrected && !is_asked {
            return question.failed(hook, &entry, &what, &why);
        }
    }
    let (delete, place) = (JobId::of(&entry), hook.place());
    let may_exist = is_failure && entry.waiting_since.is_some() && entry.job.is_some() && delete.is_none();
    // It may be over since long, with a result that is not one of this try.
    if let Some(at) = at.filter(|_| may_exist && entry.place() == place) {
        return Action::Discard(hook, at);
    }
    let job = question.job_name(&entry);
    let entry = entry::intended(entry, (job, place), digest, question.reconcile_at);
    Action::Record(Record { delete, entries: question.with(at, entry), notice: None })
}

/// When `hook` has failed, if it has not ended, with a timeout that runs since `start`.
pub(super) fn timeout_from(hook: &Hook, start: Timestamp) -> Timestamp {
    let timeout = duration::parse(&hook.timeout).unwrap_or_default();
    let timeout = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
    start.saturating_add(timeout).unwrap_or(Timestamp::MAX)
}

/// What an observation of a Job leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It has ended, or must end.
    Record(Record),
    /// It runs.
    Held(HookHold),
}

/// What follows from the observed Job of the entry at `index`. `waiting`: why its Pods do not run.
pub fn observed(
    question: &Question<'_>,
    hook: &Hook,
    index: usize,
    outcome: &JobOutcome,
    waiting: Option<&str>,
) -> Observation {
    let entry = question.entries[index].clone();
    let started = entry.started_at.as_ref().map_or(question.now, |time| time.0);
    let until = timeout_from(hook, started);
    let is_over = question.now >= until;
    let why = waiting.map(|why| format!("; {why}")).unwrap_or_default();
    let (ended, delete) = match outcome {
        // A crash after the deletion finds no Job.
        JobOutcome::Running | JobOutcome::Lost(_) if is_over => {
            let message = format!("the Job did not end within {}{why}", hook.timeout);
            let delete = JobId::of(&entry);
            (
                entry::ended(HookStatus { uid: None, ..entry.clone() }, &JobOutcome::Failed(message), question.now),
                delete,
            )
        }
        outcome => (entry::ended(entry.clone(), outcome, question.now), None),
    };
    if let Some((ended, notice)) = ended {
        let entries = question.with(Some(index), ended);
        return Observation::Record(Record { delete, entries, notice: Some(notice) });
    }
    let message = format!(
        "{}: Job {} runs since {started}, until {until} at the latest{why}",
        entry.describe(),
        entry.describe_job()
    );
    let elapsed = question.now.duration_since(started);
    let pause = SignedDuration::from_secs(elapsed.as_secs() / 10).clamp(POLL.0, POLL.1);
    let left = until.duration_since(question.now).max(POLL.0);
    Observation::Held(HookHold { failed: false, message, again: pause.min(left) })
}

#[cfg(test)]
#[path = "next_action_tests.rs"]
pub mod tests;
