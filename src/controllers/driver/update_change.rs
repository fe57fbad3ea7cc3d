//! What a reconcile leads to for the change that it works on. No I/O, but for the spans that it exports.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::change_spans::ChangeSpans;
use super::change_wait::{self, ChangeOutcome, Progress};
use super::followed_change::{Before, Followed, ready_differs};
use super::{Provisioned, Reconcile};
use crate::api::conditions::{self, ConditionType};
use crate::api::status_cluster::{ChangeStatus, ChangeType, ChangeWait};
use crate::api::stored_time::whole_seconds;
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::finish_reconcile::{Next, WithChange as _, WithConditions as _};
use crate::controllers::status::waits::Wait;

impl<'a> Before<'a> {
    /// The state that a status shows.
    pub fn of<C: Provisioned>(status: &'a C::Status) -> Self {
        let (change, conditions) = (status.change(), status.conditions());
        Self { change, observed: C::observed_generation(status), conditions }
    }
}

/// What a reconcile leads to, as far as it matters for a change.
pub struct ReconcileResult<'a> {
    /// The conditions before the reconcile.
    pub before: &'a [Condition],
    /// The conditions after it.
    pub now: &'a [Condition],
    /// The overall state.
    pub overall: &'a Overall,
    /// What is waited for.
    pub waits: &'a [Wait],
    /// Part of the spec waits for a maintenance window, even if the object is Ready.
    pub is_held: bool,
    /// When to requeue, and what failed.
    pub next: Next,
}

impl<C: Provisioned> Reconcile<'_, C> {
    /// Exports the root of a new change, and the end of the one that did not end before it. `conditions`: those before. Each
    /// leader exports the root again: the process before it may have been killed right after it recorded the change.
    pub fn start_change(&self, followed: &Followed, conditions: &[Condition]) {
        if let Some(superseded) = &followed.superseded {
            self.end_spans(superseded, conditions, &ChangeOutcome::superseded(conditions));
        }
        let is_first = followed.is_new || self.state.last_reconcile.is_none();
        let open = followed.change.as_ref().filter(|change| is_first && change.ended_at.is_none());
        if let Some(spans) = open.and_then(|change| self.spans(change)) {
            spans.start();
        }
    }

    /// The change after this reconcile. Ends it if nothing is left to do, and otherwise records what it waits for.
    pub fn update_change(&self, followed: Followed, result: &ReconcileResult<'_>) -> Option<ChangeStatus> {
        let Followed { change, is_new, superseded } = followed;
        let ReconcileResult { before, now, overall, waits, is_held, next } = result;
        let ready = conditions::get(now, ConditionType::Ready);
        self.trace.finish(ready, next.failure());
        let in_progress = change.as_ref().is_some_and(|change| change.ended_at.is_none());
        if is_new || superseded.is_some() || (in_progress && ready_differs(before, now)) {
            self.trace.keep();
        }
        let mut change = change?;
        if !in_progress {
            return Some(change);
        }
        let is_read = conditions::get(now, ConditionType::InSync).is_none_or(|sync| sync.status != "Unknown");
        let is_observed = is_read && self.state.failed.is_none();
        let progress = change_wait::progress(overall, waits, *is_held, is_observed);
        let since = whole_seconds(Timestamp::now());
        match progress {
            // A deletion ends with the object.
            Progress::Complete(outcome) if change.change_type != ChangeType::Delete => {
                self.trace.keep();
                self.end_spans(&change, before, &outcome);
                (change.ended_at, change.waiting) = (Some(since), None);
            }
            Progress::Waiting(reason) if change.waiting.as_ref().is_some_and(|wait| wait.reason == reason) => {}
            Progress::Waiting(reason) => {
                self.trace.keep();
                self.end_wait(&change, before);
                change.waiting = Some(ChangeWait { reason: reason.to_owned(), since });
            }
            Progress::Working | Progress::Complete(_) => {
                if change.waiting.is_some() {
                    self.trace.keep();
                }
                self.end_wait(&change, before);
                change.waiting = None;
            }
        }
        Some(change)
    }

    /// Ends the deletion: the finalizer is removed. `conditions`: those before.
    pub fn end_deletion(&self, change: Option<&ChangeStatus>, conditions: &[Condition]) {
        // An object that other finalizers keep is reconciled again.
        if let Some(change) = change.filter(|change| change.change_type == ChangeType::Delete && self.has_finalizer()) {
            self.trace.keep();
            self.end_spans(change, conditions, &ChangeOutcome::Deleted);
        }
    }

    fn spans<'c>(&'c self, change: &'c ChangeStatus) -> Option<ChangeSpans<'c>> {
        ChangeSpans::of(&self.ctx.traces, self.object, change)
    }

    fn end_spans(&self, change: &ChangeStatus, conditions: &[Condition], outcome: &ChangeOutcome) {
        self.end_wait(change, conditions);
        if let Some(spans) = self.spans(change) {
            spans.end(outcome);
        }
    }

    /// Exports the wait of a change, if it waits. `conditions`: those of the wait.
    fn end_wait(&self, change: &ChangeStatus, conditions: &[Condition]) {
        let Some((wait, spans)) = change.waiting.as_ref().zip(self.spans(change)) else { return };
        let ready = conditions::get(conditions, ConditionType::Ready);
        spans.end_wait(wait, ready.map(|ready| ready.message.as_str()).unwrap_or_default());
    }
}
