//! The hooks of an EksCluster in a reconcile: what [`crate::hooks`] decides, done. I/O: Jobs and CronJobs in the cluster's namespace or in
//! the workload cluster ([`place`]), and `status.hooks`, which is written on its own ([`hooks_status`]).
//!
//! [`guarded`] has the points: before the first write of a creation, in an upgrade, once the cluster is Ready, before a deletion starts.

mod guarded;
mod hooks_status;
mod job;
mod place;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use kube::ResourceExt;

pub use self::hooks_status::Memory;
use super::Reconcile;
use crate::api::hook::{Hook, HookPlace, HookStatus, SKIP_HOOK_ANNOTATION};
use crate::api::{RECONCILE_AT_ANNOTATION, Reason};
use crate::aws::WriteGate as _;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::hooks::{
    Action, HookHold, JobId, Moment, Notice, Observation, Question, Record, created, deleted, jobs_to_delete, next,
    observed, without_job, without_removed,
};
use crate::jobs::{JobError, JobRunner};
use crate::resources::cloud::Cloud;
use crate::telemetry::hooks as metrics;

/// Steps in one reconcile; the rest waits for the next one.
const MAX_ACTIONS: usize = 50;
/// Jobs that one reconcile deletes.
const MAX_DELETED: usize = 5;
/// When to try again what the management cluster's API did not do.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// What a step leads to.
enum Step {
    /// The question is asked again.
    Again,
    /// The reconcile goes on without what follows the hook.
    Held(HookHold),
}

impl Reconcile<'_> {
    /// Runs the hooks of one point as far as they get now. `None`: all have passed.
    pub(super) async fn run_hooks(&mut self, moment: &Moment, cloud: &Cloud) -> Option<HookHold> {
        let object = self.object;
        let uid = object.uid().unwrap_or_default();
        let (name, namespace) = (object.name_any(), self.namespace.clone());
        let annotation = |key: &str| object.annotations().get(key).map(String::as_str);
        let mut digests = BTreeMap::new();
        for _ in 0..MAX_ACTIONS {
            let entries = self.stored_hooks();
            let question = Question {
                hooks: &object.spec.hooks,
                entries: &entries,
                moment,
                skip: annotation(SKIP_HOOK_ANNOTATION),
                reconcile_at: annotation(RECONCILE_AT_ANNOTATION),
                digests: &digests,
                uid: &uid,
                object: (&name, &namespace),
                may_begin: !self.holds.any(),
                now: self.now,
            };
            let step = match next(&question) {
                Action::Pass => return None,
                Action::Held(held) => return Some(held),
                Action::ReadTemplate(hook) => match self.read_hook_template(hook, cloud).await {
                    Err(error) if error.is_unanswered() => self.await_answer(&question, hook, &error, cloud).await,
                    Err(error) if !error.requires_change() => return Some(wait(&error.to_string(), RETRY)),
                    read => {
                        let hook = hook.name.clone();
                        digests.insert(hook, read.map(|(_, digest)| digest).map_err(|error| error.to_string()));
                        Step::Again
                    }
                },
                Action::Record(record) => self.record_change(&question, record, cloud).await,
                Action::Create(hook, index) => self.create_hook_job(&question, hook, index, cloud).await,
                Action::Observe(hook, index) => self.observe_hook_job(&question, hook, index, cloud).await,
                Action::Discard(hook, index) => self.discard_hook_job(&question, hook, index, cloud).await,
            };
            if let Step::Held(held) = step {
                return Some(held);
            }
        }
        Some(wait("the hooks go on", SignedDuration::ZERO))
    }

    async fn create_hook_job(&mut self, question: &Question<'_>, hook: &Hook, index: usize, cloud: &Cloud) -> Step {
        let entry = question.entries[index].clone();
        let with = |changed: HookStatus| {
            let mut entries = question.entries.to_vec();
            entries[index] = changed;
            entries
        };
        if !self.ctx.gate.may_write() {
            return Step::Held(wait("this replica no longer leads", RETRY));
        }
        let created = self.start_hook_job(&entry, hook, cloud).await;
        let (changed, notice) = match created {
            Ok((uid, digest)) => {
                let (changed, notice) = self::created(entry, uid, digest, self.now);
                (changed, Some(notice))
            }
            // It was made of another template, right before a crash or without an answer: it goes before the next try has another name.
            Err(JobError::NameTaken { name, uid, .. }) => {
                if !self.ctx.gate.may_write() {
                    return Step::Held(wait("this replica no longer leads", RETRY));
                }
                if let Some(uid) = uid
                    && let Err(error) = self.delete_job(&entry.place(), (&name, &uid), cloud).await
                {
                    return self.not_created(question, (hook, index), &error, cloud).await;
                }
                (without_job(entry), None)
            }
            Err(error) => return self.not_created(question, (hook, index), &error, cloud).await,
        };
        self.record_change(question, Record { delete: None, entries: with(changed), notice }, cloud).await
    }

    /// What follows while the Job of an intended entry cannot be created.
    async fn not_created(
        &mut self,
        question: &Question<'_>,
        (hook, index): (&Hook, usize),
        error: &JobError,
        cloud: &Cloud,
    ) -> Step {
        if error.is_unanswered() {
            return self.await_answer(question, hook, error, cloud).await;
        }
        if !error.requires_change() {
            return Step::Held(wait(&error.to_string(), RETRY));
        }
        match question.create_refused(hook, index, &error.to_string()) {
            Action::Held(held) => Step::Held(held),
            Action::Record(record) => self.record_change(question, record, cloud).await,
            _ => Step::Again,
        }
    }

    /// Creates the Job of an intended entry. Returns its UID, and the digest of its template.
    async fn start_hook_job(
        &self,
        entry: &HookStatus,
        hook: &Hook,
        cloud: &Cloud,
    ) -> Result<(String, String), JobError> {
        let (template, digest) = self.read_hook_template(hook, cloud).await?;
        let (runner, _) = self.job_runner(&entry.place(), cloud).await?;
        let uid = runner.create(&self.hook_job(entry, hook, template, cloud)).await?;
        Ok((uid, digest))
    }

    /// Deletes the Job of a failed entry, if its creation had an effect: its result would not be one of the next try.
    async fn discard_hook_job(&mut self, question: &Question<'_>, hook: &Hook, index: usize, cloud: &Cloud) -> Step {
        let entry = &question.entries[index];
        let Some(job) = &entry.job else { return Step::Held(wait("status has no name of its Job", RETRY)) };
        let found = match self.job_runner(&entry.place(), cloud).await {
            Ok((runner, namespace)) => runner.find_own(&namespace, job).await,
            Err(error) => Err(error),
        };
        let discarded = match found {
            Ok(Some(_)) if !self.ctx.gate.may_write() => {
                return Step::Held(wait("this replica no longer leads", RETRY));
            }
            Ok(Some(uid)) => self.delete_job(&entry.place(), (job, &uid), cloud).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match discarded {
            Ok(()) => {
                let mut entries = question.entries.to_vec();
                entries[index] = without_job(entry.clone());
                self.record_change(question, Record { delete: None, entries, notice: None }, cloud).await
            }
            Err(error) if error.is_unanswered() => self.await_answer(question, hook, &error, cloud).await,
            Err(error) => Step::Held(question.undeleted(job, &error.to_string(), error.requires_change(), RETRY)),
        }
    }

    /// What follows while the workload cluster does not answer.
    async fn await_answer(&mut self, question: &Question<'_>, hook: &Hook, error: &JobError, cloud: &Cloud) -> Step {
        let again = error.requeue_after().and_then(|again| SignedDuration::try_from(again).ok());
        match question.unanswered(hook, &error.to_string(), again.unwrap_or(RETRY)) {
            Action::Held(held) => Step::Held(held),
            Action::Record(record) => self.record_change(question, record, cloud).await,
            _ => Step::Again,
        }
    }

    async fn observe_hook_job(&mut self, question: &Question<'_>, hook: &Hook, index: usize, cloud: &Cloud) -> Step {
        let entry = &question.entries[index];
        let (Some(job), Some(uid)) = (&entry.job, &entry.uid) else {
            return Step::Held(wait("status has no UID of its Job", RETRY));
        };
        let observation = match self.job_runner(&entry.place(), cloud).await {
            Ok((runner, namespace)) => runner.observe(&namespace, job, uid).await,
            Err(error) => Err(error),
        };
        match observation {
            Ok(found) => match observed(question, hook, index, &found.outcome, found.waiting.as_deref()) {
                Observation::Held(held) => Step::Held(held),
                Observation::Record(record) => self.record_change(question, record, cloud).await,
            },
            Err(error) if error.is_unanswered() => self.await_answer(question, hook, &error, cloud).await,
            Err(error) => {
                let message = format!("{}: {error}", entry.describe());
                Step::Held(HookHold { failed: error.requires_change(), message, again: RETRY })
            }
        }
    }

    /// Writes a change to status, after the Job that it gives up is deleted, and tells about it.
    async fn record_change(&mut self, question: &Question<'_>, mut record: Record, cloud: &Cloud) -> Step {
        if !self.ctx.gate.may_write() {
            return Step::Held(wait("this replica no longer leads", RETRY));
        }
        if let Some(JobId { place, name, uid }) = &record.delete
            && let Err(error) = self.delete_job(place, (name, uid), cloud).await
        {
            let requires_change = error.requires_change();
            let may_stay = requires_change || error.is_unanswered();
            match record.notice {
                // A person passes the hook, whatever becomes of its Job, which ends at its deadline.
                Some(Notice::Skipped(_)) if may_stay => {
                    tracing::warn!(%error, job = name, "the Job of a skipped hook was not deleted");
                }
                // The hook has failed, and its Job ends at its deadline. It is deleted before another try.
                Some(Notice::Failed(_)) if may_stay => {
                    tracing::warn!(%error, job = name, "the Job of a failed hook was not deleted");
                    record = record.keeping_job();
                }
                _ => return Step::Held(question.undeleted(name, &error.to_string(), requires_change, RETRY)),
            }
        }
        let Record { entries, notice, .. } = record;
        if let Err(held) = self.record_hooks(entries).await {
            return Step::Held(held);
        }
        if let Some(notice) = notice {
            self.publish_notice(notice);
        }
        Step::Again
    }

    fn publish_notice(&self, notice: Notice) {
        let (result, event) = match notice {
            Notice::Started(what) => ("started", EventMessage::normal("HookStarted", what)),
            Notice::Succeeded(what) => ("succeeded", EventMessage::normal("HookSucceeded", what)),
            Notice::Failed(what) => ("failed", EventMessage::warning(Reason::HookFailed, what)),
            Notice::Skipped(what) => ("skipped", EventMessage::normal("HookSkipped", what)),
        };
        metrics::count(result);
        self.ctx.events.publish(self.object, vec![event]);
    }

    /// Deletes Jobs whose result is recorded, and drops entries that no longer count.
    pub(super) async fn tidy_hooks(&mut self, cloud: &Cloud) {
        let stored = self.stored_hooks();
        if stored.is_empty() {
            return;
        }
        let mut entries = stored.clone();
        let hooks = &self.object.spec.hooks;
        // On hold, nothing is written to the workload cluster.
        let may_delete = |entry: &HookStatus| !self.holds.any() || entry.place() == HookPlace::Management;
        let due = jobs_to_delete(hooks, &stored, self.now).into_iter().filter(|index| may_delete(&stored[*index]));
        for index in due.take(MAX_DELETED) {
            if self.delete_hook_job(&entries[index], cloud).await {
                entries[index] = deleted(entries[index].clone(), self.now);
            }
        }
        let skip = self.object.annotations().get(SKIP_HOOK_ANNOTATION).map(String::as_str);
        let left = without_removed(hooks, &entries, skip);
        if left != stored {
            // The next reconcile tries again.
            let _ = self.record_hooks(left).await;
        }
    }

    /// Deletes the Jobs of all hooks in its namespace: the object is about to be gone, and with it the record of them. Those in the
    /// workload cluster are deleted with it, or by Kubernetes some time after their end.
    pub(super) async fn end_hook_jobs(&self) {
        let runner = JobRunner::new(self.ctx.client.clone());
        for entry in self.stored_hooks().into_iter().filter(|entry| entry.place() == HookPlace::Management) {
            let Some(JobId { name, uid, .. }) = JobId::of(&entry) else { continue };
            if !self.ctx.gate.may_write() {
                return;
            }
            if let Err(error) = runner.delete(&self.namespace, &name, &uid).await {
                tracing::warn!(%error, job = name, "the Job of a hook was not deleted");
            }
        }
    }

    /// Whether the entry has no Job any more.
    async fn delete_hook_job(&self, entry: &HookStatus, cloud: &Cloud) -> bool {
        let Some(JobId { place, name, uid }) = JobId::of(entry) else { return true };
        if !self.ctx.gate.may_write() {
            return false;
        }
        match self.delete_job(&place, (&name, &uid), cloud).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, job = name, "the Job of a hook was not deleted");
                false
            }
        }
    }
}

fn wait(message: &str, again: SignedDuration) -> HookHold {
    HookHold { failed: false, message: message.to_owned(), again }
}
