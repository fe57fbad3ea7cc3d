//! The load balancers of a cluster that is deleted: before anything else, the workload cluster deletes them, within a
//! timeout. I/O: through [`crate::workload`] and [`crate::resources`].

use super::load_balancer_cleanup::{Decision, PASS_INTERVAL};
use crate::api::Reason;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::cluster::outcome::Outcome;
use crate::controllers::cluster::{Reconcile, agent};
use crate::controllers::reconcile_error::ObserveError;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::waits::Wait;
use crate::resources::cloud::Cloud;
use crate::resources::eks::{cluster, kubernetes_api};
use crate::workload::client::Location;

impl Reconcile<'_> {
    /// Makes the workload cluster delete its load balancers. `None`: none of them blocks the deletion.
    pub(crate) async fn load_balancers(&mut self, previous: &EksClusterStatus, cloud: &Cloud) -> Option<Outcome> {
        // A tag alone does not say that the cluster is this object's: whoever can tag it could have it drained.
        let is_recorded = self.records().proves(&cluster::key(), &self.object.cluster_name());
        if !cloud.proves(is_recorded) {
            return None;
        }
        let uid = self.owner().uid;
        let cleanup = self.controller.cleanups.of(&uid);
        if cleanup.is_done() {
            return None;
        }
        let api = match kubernetes_api::api(cloud, &self.object.cluster_name()).await {
            Ok(api) => api,
            Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
        };
        let deletion = previous.deletion.clone().unwrap_or_default();
        // In status before the first pass: another process counts from the same time.
        let resumed = deletion.with_hold(false, self.now);
        if resumed.is_some() {
            cleanup.restart();
        }
        let since = deletion.load_balancers_since(self.now).unwrap_or(self.now);
        let timeout = self.ctx.settings.load_balancer_timeout;
        let decision = cleanup.decide(api.is_some(), since, timeout, self.now);
        match decision {
            Decision::GoOn => None,
            Decision::GiveUp(left) => {
                let note = format!(
                    "the deletion continues without waiting any longer for {left}: its resources in AWS may block it"
                );
                tracing::warn!(cluster = self.owner().cluster, note);
                self.ctx.events.publish(self.object, vec![EventMessage::warning(Reason::Deleting, note)]);
                None
            }
            Decision::Wait { pass, message } => {
                let may_start = pass && resumed.is_none();
                if let Some(kubernetes_api::Api { arn, endpoint, certificate_authority }) = api.filter(|_| may_start) {
                    let location = Location { arn, endpoint, certificate_authority };
                    match agent::access_at(self.ctx, self.object, &cloud.aws, location).await {
                        Some(access) => cleanup.start(self.ctx, self.object, access),
                        None => cleanup.record_failure("no credentials for the workload cluster", self.now),
                    }
                }
                let overall = self.reconciling(Reason::Deleting, message);
                // It ends at the timeout.
                let waits = Some(vec![Wait::planned("the workload's load balancers")]);
                let next = if resumed.is_some() { Next::at(self.now) } else { Next::after(PASS_INTERVAL, self.now) };
                Some(Outcome { waits, deletion: resumed, ..self.unobserved(previous, overall, next) })
            }
        }
    }
}
