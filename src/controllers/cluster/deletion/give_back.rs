//! A recovery that is not complete when its object is deleted: what it took over gets the earlier object's UID again,
//! and nothing is deleted. I/O: reads from AWS; tags, through the engine.
//!
//! The control plane is taken over last, so that it is still the earlier object's, while the network and the roles that
//! it uses are this one's already.

use super::gate;
use crate::api::Reason;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::cluster::{Outcome, Reconcile};
use crate::controllers::reconcile_error::{BuildError, ObserveError};
use crate::controllers::recovery_requests::{self, RecoveryRequest};
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::conditions::{Overall, overall_of_plan};
use crate::controllers::status::finish_reconcile::Next;
use crate::engine::{ExecutionPolicy, Goal};
use crate::resources::cloud::Cloud;
use crate::resources::eks::cluster;
use crate::resources::inventory::tagged_resources;
use crate::resources::recovery::{evidence, retag};

impl Reconcile<'_> {
    /// Gives back what an incomplete recovery took over.
    ///
    /// # Errors
    /// The outcome of the deletion, which ends with that; without an incomplete recovery it continues.
    pub(super) async fn give_back(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
    ) -> Result<(), Option<Outcome>> {
        let name = self.object.cluster_name();
        if self.state.recovering.as_ref().is_some_and(|request| !request.gives_back()) {
            self.end_recovery();
        }
        let is_on_record = self.records().proves(&cluster::key(), &name);
        // Where changes need an approval, the engine blocks the deletion instead.
        let writes = self.change_policy() == ChangePolicy::Automatic;
        if gate::has_started(previous) || is_on_record || self.has_no_record() || !writes {
            return Ok(());
        }
        let inventory = match tagged_resources::of_cluster(&cloud.aws, &name, &cloud.owner).await {
            Ok(inventory) => inventory,
            Err(failure) => return Err(Some(self.failed(previous, ObserveError::Aws(failure)))),
        };
        let Some((uid, items)) = evidence::incomplete_recovery(&inventory, &cloud.owner, &cloud.existing) else {
            return Ok(());
        };
        let request = RecoveryRequest::giving_back(&uid);
        if self.state.recovering.as_ref() != Some(&request) {
            self.state.memory.restart(self.now);
            self.state.recovering = Some(request.clone());
        }
        let graph = match retag::graph(&items, cloud, |_| evidence::earlier_owner(&uid)) {
            Ok(graph) => graph,
            Err(error) => return Err(Some(self.failed(previous, BuildError::Spec(error)))),
        };
        let (recovers, on_hold) = (Some(request.digest(&items)), self.holds.any());
        let policy = ExecutionPolicy { recovers, on_hold, ..ExecutionPolicy::default() };
        let report = self.engine_while(&|| Ok(()), &graph, cloud, Goal::Present, &policy).await;
        if recovery_requests::is_complete(&report, &self.state.memory, self.now) {
            let note = format!(
                "the recovery from UID {uid} was not complete: what it took over carries that UID again, and nothing is \
                 deleted"
            );
            return Err(self.remove_finalizer(previous, Some(EventMessage::normal("Retained", note))).await);
        }
        let overall = match overall_of_plan(&report.plan, &self.state.memory, &report.violations, self.now, "") {
            Overall::Ready(_) => self.reconciling(Reason::Deleting, format!("everything carries UID {uid} again")),
            other => other,
        };
        let visible = self.state.memory.writes_visible_at().map_or(Next::change(), Next::at);
        let next = report.next.map_or(visible, Next::at).of(&report);
        Err(Some(self.unobserved(previous, overall, next)))
    }
}
