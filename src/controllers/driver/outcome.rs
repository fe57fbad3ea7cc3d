//! How a reconcile of any kind ends before AWS was observed: refused, waiting, failed. No I/O.

use jiff::SignedDuration;
use kube::Resource;

use super::{Provisioned, Reconcile, Step};
use crate::api::Reason;
use crate::controllers::account::Refusal;
use crate::controllers::status::conditions::{ConditionValue, Overall, overall_without_plan, set_in_sync_unknown};
use crate::controllers::status::report::{self, MANAGEMENT_API, Next, REFUSED, WithConditions};
use crate::engine::Failure;
use crate::engine::failure::RetryState;

/// Retry interval while a record that must exist first cannot be written to the management cluster.
const RECORD_RETRY: SignedDuration = SignedDuration::from_secs(5);

impl<C: Provisioned> Reconcile<'_, C> {
    /// The outcome of a reconcile that ended before AWS was observed.
    pub fn unobserved(&self, previous: &C::Status, overall: Overall, next: Next) -> C::Outcome {
        C::unobserved(self, previous, overall, next)
    }

    /// Suspended: nothing is done until the user says so.
    pub fn stay_suspended(&self, previous: &C::Status, message: impl Into<String>) -> C::Outcome {
        self.unobserved(previous, Overall::Suspended(message.into()), Next::change())
    }

    /// Waits for a change in the management cluster.
    pub fn waiting(&self, previous: &C::Status, reason: Reason, message: impl Into<String>) -> C::Outcome {
        self.waiting_until(previous, reason, message, Next::change())
    }

    /// The same, until `next`.
    pub fn waiting_until(
        &self,
        previous: &C::Status,
        reason: Reason,
        message: impl Into<String>,
        next: Next,
    ) -> C::Outcome {
        self.unobserved(previous, self.reconciling(reason, message), next)
    }

    /// Something is in progress, or waited for.
    pub fn reconciling(&self, reason: Reason, message: impl Into<String>) -> Overall {
        Overall::Reconciling(ConditionValue::false_(reason, message))
    }

    /// A record that must exist in the management cluster first could not be written.
    pub fn record_not_written(&self, previous: &C::Status, message: String) -> C::Outcome {
        let next = Next::after(RECORD_RETRY, self.now).failed(MANAGEMENT_API);
        self.waiting_until(previous, Reason::Pending, message, next)
    }

    /// Refused: nothing continues until the user changes something.
    pub fn refused(&self, previous: &C::Status, refusal: Refusal) -> C::Outcome {
        self.refused_until(previous, refusal, Next::change())
    }

    /// The same, until `next`.
    pub fn refused_until(&self, previous: &C::Status, refusal: Refusal, next: Next) -> C::Outcome {
        let condition = ConditionValue::false_(refusal.reason, refusal.message);
        self.unobserved(previous, Overall::Stalled(condition), next.failed(REFUSED))
    }

    /// AWS could not be read.
    pub fn failed(&mut self, previous: &C::Status, failure: Failure) -> C::Outcome {
        let failed = self.state.record_failure(failure, self.now, report::seed(self.object));
        self.still_failing(previous, &failed)
    }

    fn still_failing(&self, previous: &C::Status, failed: &RetryState) -> C::Outcome {
        let overall = overall_without_plan(failed, previous.conditions(), self.now);
        let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
        let mut outcome = self.unobserved(previous, overall, next);
        set_in_sync_unknown(C::conditions(&mut outcome), self.object.meta().generation, self.now, failed);
        outcome
    }

    /// Ends the reconcile while the last failure must not be retried yet.
    pub fn await_retry(&self, previous: &C::Status) -> Step<C, ()> {
        match self.state.failed.as_ref().filter(|failed| failed.retry_at > self.now) {
            Some(failed) => Err(self.still_failing(previous, failed).into()),
            None => Ok(()),
        }
    }
}
