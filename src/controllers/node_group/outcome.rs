//! Ends of a reconcile before AWS was looked at, and what status says of them. Pure, but for the memory of failures.

use super::{Outcome, Reconcile, status};
use crate::api::Reason;
use crate::api::status::NodeGroupStatus;
use crate::controllers::account::Refusal;
use crate::controllers::conditions::{Overall, Says, before_the_engine, not_asked};
use crate::controllers::name_claims;
use crate::controllers::report::{self, Next, REFUSED};
use crate::engine::Failure;
use crate::engine::failure::Failed;

impl Reconcile<'_> {
    pub(super) fn unseen(&self, previous: &NodeGroupStatus, overall: Overall, next: Next) -> Outcome {
        let status = status::unseen(previous, self.group.metadata.generation, &overall, self.now);
        Outcome { status, overall, waits: None, next }
    }

    pub(super) fn suspended(&self, previous: &NodeGroupStatus, message: &str) -> Outcome {
        self.unseen(previous, Overall::Suspended(message.to_owned()), Next::change())
    }

    pub(super) fn waiting(&self, previous: &NodeGroupStatus, reason: Reason, message: String) -> Outcome {
        self.unseen(previous, Overall::Reconciling(Says::no(reason, message)), Next::change())
    }

    pub(super) fn refused(&self, previous: &NodeGroupStatus, refusal: Refusal) -> Outcome {
        let says = Says::no(refusal.reason, refusal.message);
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

    pub(super) fn still_failing(&self, previous: &NodeGroupStatus, failed: &Failed) -> Outcome {
        let overall = before_the_engine(failed, &previous.conditions, self.now);
        let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
        let mut outcome = self.unseen(previous, overall, next);
        not_asked(&mut outcome.status.conditions, self.group.metadata.generation, self.now, failed);
        outcome
    }
}
