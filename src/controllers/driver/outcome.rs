//! How a reconcile of any kind ends before AWS was observed: refused, waiting, failed. No I/O but the log.

use kube::Resource;

use super::{Provisioned, Reconcile, Step};
use crate::api::Reason;
use crate::controllers::reconcile_error::{
    BuildError, DereferenceError, Effect, ObserveError, ReconcileError, ValidateError,
};
use crate::controllers::status::conditions::{ConditionValue, Overall, overall_without_plan, set_in_sync_unknown};
use crate::controllers::status::finish_reconcile::{self, Next, WithConditions};
use crate::engine::failure::RetryState;

/// Why a reconcile does not go on.
pub enum Stop<O> {
    /// It waits, is suspended, or has done what was asked for.
    Outcome(Box<O>),
    /// A step failed.
    Failed(Box<ReconcileError>),
}

impl<O> Stop<O> {
    /// Ends with `outcome`, without an error.
    pub fn with_outcome(outcome: O) -> Self {
        Self::Outcome(Box::new(outcome))
    }
}

macro_rules! stop_by {
    ($($error:ty),*) => {$(
        impl<O> From<$error> for Stop<O> {
            fn from(error: $error) -> Self {
                Self::Failed(Box::new(error.into()))
            }
        }
    )*};
}

stop_by!(DereferenceError, ValidateError, BuildError, ObserveError);

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

    /// The outcome of a reconcile that does not go on.
    pub fn stopped(&mut self, previous: &C::Status, stop: Stop<C::Outcome>) -> C::Outcome {
        match stop {
            Stop::Outcome(outcome) => *outcome,
            Stop::Failed(error) => self.failed(previous, *error),
        }
    }

    /// The outcome of an error. Logs it.
    pub fn failed(&mut self, previous: &C::Status, error: impl Into<ReconcileError>) -> C::Outcome {
        let error = error.into();
        error.log();
        let result = error.result();
        match error.effect() {
            // Nothing continues until the user changes something.
            Effect::Refused { refusal, recheck } => {
                let next = recheck.map_or(Next::change(), |pause| Next::after(pause, self.now));
                let condition = ConditionValue::false_(refusal.reason, refusal.message);
                self.unobserved(previous, Overall::Stalled(condition), next.failed(result))
            }
            Effect::Failed(failure) => {
                let failed = self.state.record_failure(failure, self.now, finish_reconcile::seed(self.object));
                self.still_failing(previous, &failed)
            }
            Effect::ManagementApi { reason, message, retry } => {
                self.waiting_until(previous, reason, message, Next::after(retry, self.now).failed(result))
            }
            Effect::Unsafe(violation) => {
                let condition = ConditionValue::false_(Reason::AwsError, violation.to_string());
                self.unobserved(previous, Overall::Stalled(condition), Next::change().failed(result))
            }
        }
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
            Some(failed) => Err(Stop::with_outcome(self.still_failing(previous, failed))),
            None => Ok(()),
        }
    }
}
