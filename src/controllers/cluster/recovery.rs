//! What a takeover needs to know of an EksCluster: the owner of its resources, and which resources carry the tags of an
//! earlier object. I/O: reads from AWS.

use kube::ResourceExt;

use super::agent::roll_up::Secrets;
use super::apply_spec::ValidCluster;
use super::outcome::Outcome;
use super::{ClusterController, Reconcile};
use crate::api::network::NetworkKind;
use crate::api::status::EksClusterStatus;
use crate::controllers::account::{Grant, Refusal};
use crate::controllers::driver::{Step, Valid};
use crate::controllers::recovery::{self, RecoveryRequest};
use crate::engine::Failure;
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::eks::cluster;
use crate::resources::inventory::tagged_resources;
use crate::resources::recovery::takeover::Inventory;

impl Reconcile<'_> {
    /// The owner of its resources.
    pub(super) fn owner(&self) -> Owner {
        let name = self.object.name_any();
        Owner {
            uid: self.object.uid().unwrap_or_default(),
            cluster: format!("{}/{name}", self.namespace),
            object: format!("ekscluster/{name}"),
            installation: self.ctx.installation(),
            roles: recovery::roles_on_record(&self.state.memory),
        }
    }

    /// The resources that a takeover may find, and whether tags alone prove that they were the earlier object's.
    pub(super) async fn find_tagged(
        &self,
        grant: &Grant,
        request: &RecoveryRequest,
        cloud: &Cloud,
    ) -> Result<(Inventory, bool), Failure> {
        let name = self.object.cluster_name();
        let inventory = tagged_resources::of_cluster(&cloud.aws, &name, &cloud.owner).await?;
        let own_network = self.has_own_network(grant, &inventory);
        let by_tags = match request.to {
            None => grant.recovers_by_tags,
            // Only recorded resources can be handed over.
            Some(_) => self.records().proves(&cluster::key(), &name),
        };
        Ok((Inventory { own_network, ..inventory }, by_tags))
    }

    /// Suspended: only a user's request is carried out, which writes only tags.
    pub(super) async fn suspended(
        &mut self,
        previous: &EksClusterStatus,
        grant: Result<Grant, Refusal>,
    ) -> Step<ClusterController, Outcome> {
        let Some(request) = recovery::request_while_suspended(self.object, &previous.recovery, &previous.hand_over)
        else {
            self.end_recovery();
            let why = recovery::handed_over_message(self.object, previous.hand_over.as_ref());
            let message = why
                .unwrap_or_else(|| "spec.suspend is true: neither AWS nor the workload cluster is touched".to_owned());
            return Ok(self.stay_suspended(previous, message));
        };
        let grant = grant.map_err(|refusal| self.refused(previous, refusal))?;
        let own = ValidCluster { secrets: Secrets::Skipped };
        let valid = Valid { grant, named: Vec::new(), request: None, own };
        self.recover_while_suspended(previous, &valid, &request).await
    }

    /// Whether the spec describes a network of its own, and the account does not share the cluster's VPC.
    fn has_own_network(&self, grant: &Grant, inventory: &Inventory) -> bool {
        let vpc = inventory.control_plane.as_ref().and_then(|control_plane| control_plane.vpc.as_deref());
        let is_lent = vpc.is_some_and(|vpc| grant.allowlists.as_ref().is_some_and(|lists| lists.lists_shared_vpc(vpc)));
        matches!(self.object.spec.network.kind(), Ok(NetworkKind::Vpc(_))) && !is_lent
    }
}
