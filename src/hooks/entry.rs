//! How an entry of `status.hooks` changes. Pure.

use jiff::Timestamp;

use super::moment::Moment;
use crate::api::conditions::bounded;
use crate::api::hook::{Hook, HookCluster, HookPlace, HookState, HookStatus};
use crate::api::stored_time::whole_seconds;
use crate::jobs::JobOutcome;

/// Longest message in status, in characters: the API's limit.
const MAX_MESSAGE: usize = 1024;
/// Longest value of an annotation in status, in characters: the API's limit.
const MAX_VALUE: usize = 256;

/// Something to tell, once it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The Job was created.
    Started(String),
    /// It succeeded.
    Succeeded(String),
    /// It failed, or was lost.
    Failed(String),
    /// It was skipped.
    Skipped(String),
}

/// A Job, as status names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobId {
    /// Where it is.
    pub place: HookPlace,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl JobId {
    /// The Job of `entry`, if it is known to exist.
    pub fn of(entry: &HookStatus) -> Option<Self> {
        let (name, uid) = entry.job.clone().zip(entry.uid.clone())?;
        Some(Self { place: entry.place(), name, uid })
    }
}

/// The value of an annotation, as status has it: one that is longer is cut, and equal to itself.
pub(super) fn cut(value: &str) -> String {
    value.chars().take(MAX_VALUE).collect()
}

/// A new entry, without a Job.
pub(super) fn new(hook: &Hook, moment: &Moment, state: HookState) -> HookStatus {
    HookStatus {
        name: hook.name.clone(),
        at: moment.point,
        step: moment.step.clone(),
        state,
        attempt: 0,
        in_: HookCluster::Management,
        namespace: None,
        job: None,
        uid: None,
        started_at: None,
        waiting_since: None,
        finished_at: None,
        message: None,
        template_digest: None,
        reconcile_at: None,
        skipped_by: None,
        closed: false,
    }
}

/// The next try of `entry`, with the Job of that name at that place.
pub(super) fn intended(
    entry: HookStatus,
    (job, place): (String, HookPlace),
    digest: &str,
    reconcile_at: Option<&str>,
) -> HookStatus {
    let (in_, namespace) = match place {
        HookPlace::Management => (HookCluster::Management, None),
        HookPlace::Workload { namespace } => (HookCluster::Workload, Some(namespace)),
    };
    HookStatus {
        state: HookState::Intended,
        attempt: entry.attempt.saturating_add(1),
        in_,
        namespace,
        job: Some(job),
        uid: None,
        started_at: None,
        waiting_since: None,
        finished_at: None,
        message: None,
        template_digest: Some(digest.to_owned()),
        reconcile_at: reconcile_at.map(cut),
        ..entry
    }
}

/// The same, skipped by the annotation.
pub(super) fn skipped(entry: HookStatus, by: &str, now: Timestamp) -> HookStatus {
    let before = entry.message.as_deref().map(|message| format!("; before: {message}")).unwrap_or_default();
    HookStatus {
        state: HookState::Skipped,
        finished_at: Some(whole_seconds(now)),
        message: Some(bounded(&format!("skipped by the annotation keelson.dev/skip-hook{before}"), MAX_MESSAGE)),
        skipped_by: Some(cut(by)),
        ..entry
    }
}

/// The Job of `entry` exists.
pub fn created(entry: HookStatus, uid: String, digest: String, now: Timestamp) -> (HookStatus, Notice) {
    let started = HookStatus {
        state: HookState::Running,
        uid: Some(uid),
        started_at: Some(whole_seconds(now)),
        waiting_since: None,
        template_digest: Some(digest),
        ..entry
    };
    let notice = Notice::Started(format!("{}: Job {}", started.describe(), started.describe_job()));
    (started, notice)
}

/// The try of `entry` that has no name yet: its Job is not created.
pub fn without_job(entry: HookStatus) -> HookStatus {
    let pending = HookStatus { state: HookState::Pending, job: None, waiting_since: None, ..entry };
    HookStatus { finished_at: None, message: None, ..pending }
}

/// The same entry, which no longer waits for a cluster that does not answer: it answered, or nothing is tried.
pub(super) fn not_waiting(entry: HookStatus) -> HookStatus {
    HookStatus { waiting_since: None, ..entry }
}

/// Whether it waits for a cluster that does not answer, with its time running.
pub(super) fn is_waiting(entry: &HookStatus) -> bool {
    entry.waiting_since.is_some() && matches!(entry.state, HookState::Pending | HookState::Intended)
}

/// The Job of `entry` is not created, since now, because the cluster in which it runs does not answer.
pub(super) fn waiting(entry: HookStatus, now: Timestamp) -> HookStatus {
    HookStatus { waiting_since: Some(whole_seconds(now)), ..entry }
}

/// `entry` fails without a result of its Job.
pub(super) fn failed_to_start(entry: HookStatus, why: &str, now: Timestamp) -> (HookStatus, Notice) {
    failed(entry, HookState::Failed, why, now)
}

fn failed(entry: HookStatus, state: HookState, why: &str, now: Timestamp) -> (HookStatus, Notice) {
    let finished_at = Some(whole_seconds(now));
    let entry = HookStatus { state, finished_at, message: Some(bounded(why, MAX_MESSAGE)), ..entry };
    let notice = Notice::Failed(format!("{}: {why}", entry.describe()));
    (entry, notice)
}

/// The Job of `entry` has ended. `None`: it has not.
pub fn ended(entry: HookStatus, outcome: &JobOutcome, now: Timestamp) -> Option<(HookStatus, Notice)> {
    Some(match outcome {
        JobOutcome::Running => return None,
        JobOutcome::Succeeded => {
            let entry = HookStatus { state: HookState::Succeeded, finished_at: Some(whole_seconds(now)), ..entry };
            let notice = Notice::Succeeded(entry.describe());
            (entry, notice)
        }
        JobOutcome::Failed(why) => failed(entry, HookState::Failed, why, now),
        JobOutcome::Lost(why) => failed(HookStatus { uid: None, ..entry }, HookState::Lost, why, now),
    })
}

/// The Job of `entry` was deleted, because its log was kept long enough, or because nothing needs its result any more.
pub fn deleted(entry: HookStatus, now: Timestamp) -> HookStatus {
    let entry = HookStatus { uid: None, ..entry };
    if entry.state.is_finished() {
        return entry;
    }
    failed(entry, HookState::Lost, "its Job was deleted, because its hook or its step no longer counts", now).0
}

#[cfg(test)]
#[path = "entry_tests.rs"]
pub(super) mod tests;
