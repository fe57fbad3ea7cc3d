//! Outcomes of a reconcile that ended before AWS was observed, and their status. Pure, except for the memory of
//! failures.

use jiff::SignedDuration;

use super::{Outcome, Reconcile, status};
use crate::api::Reason;
use crate::api::status::NodeGroupStatus;
use crate::controllers::account::Refusal;
use crate::controllers::name_claims;
use crate::controllers::status::conditions::{ConditionValue, Overall, overall_without_plan, set_in_sync_unknown};
use crate::controllers::status::report::{self, MANAGEMENT_API, Next, REFUSED};
use crate::engine::Failure;
use crate::engine::failure::RetryState;

impl Reconcile<'_> {
    pub(super) fn unobserved(&self, previous: &NodeGroupStatus, overall: Overall, next: Next) -> Outcome {
        let status = status::unobserved(previous, self.group.metadata.generation, &overall, self.now);
        Outcome { status, overall, waits: None, next }
    }

    pub(super) fn suspended(&self, previous: &NodeGroupStatus, message: &str) -> Outcome {
        self.unobserved(previous, Overall::Suspended(message.to_owned()), Next::change())
    }

    pub(super) fn waiting(&self, previous: &NodeGroupStatus, reason: Reason, message: String) -> Outcome {
        self.unobserved(previous, Overall::Reconciling(ConditionValue::false_(reason, message)), Next::change())
    }

    /// A record that must exist in the management cluster first could not be written.
    pub(super) fn record_not_written(&self, previous: &NodeGroupStatus, message: String) -> Outcome {
        let next = Next::after(SignedDuration::from_secs(5), self.now).failed(MANAGEMENT_API);
        Outcome { next, ..self.waiting(previous, Reason::Pending, message) }
    }

    pub(super) fn refused(&self, previous: &NodeGroupStatus, refusal: Refusal) -> Outcome {
        let condition = ConditionValue::false_(refusal.reason, refusal.message);
        self.unobserved(previous, Overall::Stalled(condition), Next::change().failed(REFUSED))
    }

    /// Another NodeGroup holds its name.
    pub(super) fn name_is_taken(&self, previous: &NodeGroupStatus) -> Option<Outcome> {
        let refusal = name_claims::check_node_group_name(self.ctx, self.group).err()?;
        let next = Next::after(name_claims::RECHECK_INTERVAL, self.now).failed(REFUSED);
        Some(Outcome { next, ..self.refused(previous, refusal) })
    }

    pub(super) fn failed(&mut self, previous: &NodeGroupStatus, failure: Failure) -> Outcome {
        let failed = self.state.record_failure(failure, self.now, report::seed(self.group));
        self.still_failing(previous, &failed)
    }

    pub(super) fn still_failing(&self, previous: &NodeGroupStatus, failed: &RetryState) -> Outcome {
        let overall = overall_without_plan(failed, &previous.conditions, self.now);
        let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
        let mut outcome = self.unobserved(previous, overall, next);
        set_in_sync_unknown(&mut outcome.status.conditions, self.group.metadata.generation, self.now, failed);
        outcome
    }
}
