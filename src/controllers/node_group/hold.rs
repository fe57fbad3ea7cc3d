//! Holds the deletion of a NodeGroup that is deleted only because its CRD or its namespace is, until a user releases
//! it. I/O: the management cluster's API.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{Outcome, Reconcile, status};
use crate::api::status::{DeletionStatus, NodeGroupStatus};
use crate::api::{NodeGroup, RELEASE_ANNOTATION, Reason};
use crate::controllers::deletions::{REMOVAL_INTERVAL, Release, Removal};
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::report::Next;

/// Why a deletion is held, and what releases it.
pub(super) struct Hold {
    removal: Removal,
    release: Release,
}

impl Reconcile<'_> {
    /// The hold on this deletion, if there is one.
    ///
    /// # Errors
    /// Why it cannot be determined: then nothing may be deleted.
    pub(super) async fn hold(&self, previous: &NodeGroupStatus) -> Result<Option<Hold>, String> {
        let Some(removal) = self.ctx.deletions.removal::<NodeGroup>(&self.namespace).await? else { return Ok(None) };
        let deleted_at = self.object.metadata.deletion_timestamp.as_ref().map_or(self.now, |time| time.0);
        let annotation = self.object.annotations().get(RELEASE_ANNOTATION).map(String::as_str);
        let uid = self.object.uid().unwrap_or_default();
        let release = Release::of(&uid, deleted_at, annotation, &self.approvals(previous), Some(&removal));
        Ok(Some(Hold { removal, release }))
    }

    /// The outcome of a deletion that is held, or was released just now. `summary`: what it would do.
    pub(super) fn held_outcome(
        &self,
        previous: &NodeGroupStatus,
        outcome: Outcome,
        hold: Hold,
        summary: &str,
    ) -> Outcome {
        let Hold { removal, release } = hold;
        let mut outcome = outcome;
        if release.allowed {
            let started = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
            outcome.status.deletion = Some(self.started_deletion(Time(started), release.approval_uid));
            // As soon as status records it.
            outcome.next = Next::at(self.now);
            outcome.overall = Overall::Reconciling(ConditionValue::false_(Reason::Deleting, "the deletion starts"));
        } else {
            let how = release.instructions(&self.as_argument(), &self.approvals(previous));
            let message = format!("{}: {summary}: {how}", removal.describe());
            outcome.next = outcome.next.or(Next::after(REMOVAL_INTERVAL, self.now));
            outcome.status.deletion =
                Some(DeletionStatus { release: Some(release.token), ..DeletionStatus::default() });
            outcome.overall = Overall::Stalled(ConditionValue::false_(Reason::WaitingForApproval, message));
        }
        let generation = self.object.metadata.generation;
        outcome.status = status::unobserved(&outcome.status, generation, &outcome.overall, self.now);
        outcome
    }
}
