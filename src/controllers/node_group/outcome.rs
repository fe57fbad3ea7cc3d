//! Ends of a reconcile before AWS was looked at, and what status says of them. Pure, but for the memory of failures.

use jiff::SignedDuration;

use super::{Outcome, Reconcile, status};
use crate::api::Reason;
use crate::api::status::NodeGroupStatus;
use crate::controllers::account::Refusal;
use crate::controllers::conditions::{ConditionValue, Overall, before_the_engine, not_asked};
use crate::controllers::name_claims;
use crate::controllers::report::{self, MANAGEMENT_API, Next, REFUSED};
use crate::engine::Failure;
use crate::engine::failure::RetryState;

impl Reconcile<'_> {
    pub(super) fn unseen(&self, previous: &NodeGroupStatus, overall: Overall, next: Next) -> Outcome {
        let status = status::unseen(previous, self.group.metadata.generation, &overall, self.now);
        Outcome { status, overall, waits: None, next }
    }

    pub(super) fn suspended(&self, previous: &NodeGroupStatus, message: &str) -> Outcome {
        self.unseen(previous, Overall::Suspended(message.to_owned()), Next::change())
    }

    pub(super) fn waiting(&self, previous: &NodeGroupStatus, reason: Reason, message: String) -> Outcome {
        self.unseen(previous, Overall::Reconciling(ConditionValue::false_(reason, message)), Next::change())
    }

    /// What must stand in the management cluster first could not be written there.
    pub(super) fn not_kept(&self, previous: &NodeGroupStatus, message: String) -> Outcome {
        let next = Next::after(SignedDuration::from_secs(5), self.now).failed(MANAGEMENT_API);
        Outcome { next, ..self.waiting(previous, Reason::Pending, message) }
    }

    pub(super) fn refused(&self, previous: &NodeGroupStatus, refusal: Refusal) -> Outcome {
        let says = ConditionValue::false_(refusal.reason, refusal.message);
        self.unseen(previous, Overall::Stalled(says), Next::change().failed(REFUSED))
    }

    /// Another NodeGroup holds its name.
    pub(super) fn name_is_taken(&self, previous: &NodeGroupStatus) -> Option<Outcome> {
        let refusal = name_claims::of_node_group(self.ctx, self.group).err()?;
        let next = Next::after(name_claims::AGAIN, self.now).failed(REFUSED);
        Some(Outcome { next, ..self.refused(previous, refusal) })
    }

    pub(super) fn failed(&mut self, previous: &NodeGroupStatus, failure: Failure) -> Outcome {
        let failed = self.state.failed_before(failure, self.now, report::seed(self.group));
        self.still_failing(previous, &failed)
    }

    pub(super) fn still_failing(&self, previous: &NodeGroupStatus, failed: &RetryState) -> Outcome {
        let overall = before_the_engine(failed, &previous.conditions, self.now);
        let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
        let mut outcome = self.unseen(previous, overall, next);
        not_asked(&mut outcome.status.conditions, self.group.metadata.generation, self.now, failed);
        outcome
    }
}
