//! What a reconcile leads to for the change that it works on. No I/O, but for the spans that it exports.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::followed_change::{Before, ChangeOutcome, Followed, export_root, ready_differs};
use super::{Provisioned, Reconcile};
use crate::api::status::{ChangeStatus, ChangeType};
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::report::{WithChange as _, WithConditions as _};
use crate::controllers::status::whole_seconds;

impl<'a> Before<'a> {
    /// The state that a status shows.
    pub fn of<C: Provisioned>(status: &'a C::Status) -> Self {
        let (change, conditions) = (status.change(), status.conditions());
        Self { change, observed: C::observed_generation(status), conditions }
    }
}

impl<C: Provisioned> Reconcile<'_, C> {
    /// The change after this reconcile. Ends it if nothing is left to do. `conditions`:
    /// before and after this reconcile.
    pub fn update_change(
        &self,
        followed: Followed,
        conditions: (&[Condition], &[Condition]),
        overall: &Overall,
    ) -> Option<ChangeStatus> {
        let Followed { change, is_new, superseded } = followed;
        let in_progress = change.as_ref().is_some_and(|change| change.ended_at.is_none());
        if is_new || superseded.is_some() || (in_progress && ready_differs(conditions.0, conditions.1)) {
            self.trace.keep();
        }
        let mut change = change?;
        // A cluster that was Ready stays so for a while when AWS cannot be read.
        let is_observed = self.state.failed.is_none();
        let outcome = match overall {
            Overall::Ready(_) if is_observed => Some(ChangeOutcome::Ready),
            Overall::Observed(_) => Some(ChangeOutcome::Observed),
            Overall::Suspended(_) => Some(ChangeOutcome::Suspended),
            Overall::Ready(_) | Overall::Reconciling(_) | Overall::Stalled(_) => None,
        };
        let is_open = change.ended_at.is_none() && change.change_type != ChangeType::Delete;
        if let Some(outcome) = outcome.filter(|_| is_open) {
            self.trace.keep();
            export_root(&self.ctx.traces, self.object, &change, outcome);
            change.ended_at = Some(Time(whole_seconds(Timestamp::now())));
        }
        Some(change)
    }

    /// Ends the deletion: the finalizer is removed.
    pub fn end_deletion(&self, change: Option<&ChangeStatus>) {
        // An object that other finalizers keep is reconciled again.
        if let Some(change) = change.filter(|change| change.change_type == ChangeType::Delete && self.has_finalizer()) {
            self.trace.keep();
            export_root(&self.ctx.traces, self.object, change, ChangeOutcome::Deleted);
        }
    }
}
