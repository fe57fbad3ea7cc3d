//! What a takeover needs to know of an EksCluster: the owner of its resources, and which resources carry the tags of an
//! earlier object. I/O: reads from AWS.

use kube::ResourceExt;

use super::agent::roll_up::Secrets;
use super::apply_spec::ValidCluster;
use super::outcome::Outcome;
use super::status::facts::Facts;
use super::{ClusterController, Reconcile};
use crate::api::network::NetworkKind;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::account::{Grant, Refusal};
use crate::controllers::driver::{Step, Valid};
use crate::controllers::reconcile_error::DereferenceError;
use crate::controllers::{hand_over, recovery_requests};
use crate::engine::Failure;
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::eks::{cluster, kubernetes_api};
use crate::resources::graph::proof::Records;
use crate::resources::inventory::tagged_resources;
use crate::resources::recovery::takeover::Inventory;
use crate::resources::recovery::takeover::is_taken_over;

impl Reconcile<'_> {
    /// The owner of its resources.
    pub(super) fn owner(&self) -> Owner {
        let name = self.object.name_any();
        Owner {
            uid: self.object.uid().unwrap_or_default(),
            cluster: format!("{}/{name}", self.namespace),
            object: format!("ekscluster/{name}"),
            installation: self.ctx.installation(),
            roles: recovery_requests::roles_on_record(&self.state.memory),
        }
    }

    /// The resources that a takeover may find; and the records, if the cluster is on record: only recorded resources can be
    /// handed over and taken back.
    pub(super) async fn find_tagged(
        &self,
        grant: &Grant,
        cloud: &Cloud,
    ) -> Result<(Inventory, Option<Records>), Failure> {
        let name = self.object.cluster_name();
        let inventory = tagged_resources::of_cluster(&cloud.aws, &name, &cloud.owner).await?;
        let own_network = self.has_own_network(grant, &inventory);
        let records = self.records();
        let is_on_record = records.proves(&cluster::key(), &name);
        let recorded = Facts(&self.state.memory).recorded_resource();
        let untagged = recorded.map(|key| format!("its status records resources ({key})"));
        Ok((Inventory { own_network, untagged, ..inventory }, Some(records).filter(|_| is_on_record)))
    }

    /// Why nothing is deleted with the object, neither its resources nor its NodeGroups: another object of this name
    /// owns the cluster, as after a move or a recovery.
    pub(super) async fn taken_over_by(&self, cloud: &Cloud) -> Result<Option<String>, Failure> {
        let name = self.object.cluster_name();
        let tags = kubernetes_api::tags(&cloud.aws, &name).await?;
        Ok(tags.filter(|tags| is_taken_over(tags, &cloud.owner)).map(|tags| {
            let uid = tags.owner().unwrap_or_default();
            let installation = tags.installation().map(|id| format!(" of installation {id}")).unwrap_or_default();
            format!(
                "cluster {name} carries UID {uid}{installation}, so it belongs to another object of this name: nothing is \
                 deleted in AWS, nor any NodeGroup"
            )
        }))
    }

    /// Suspended: only a user's request is carried out, which writes only tags.
    pub(super) async fn suspended(
        &mut self,
        previous: &EksClusterStatus,
        grant: Result<Grant, Refusal>,
    ) -> Step<ClusterController, Outcome> {
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let installation = self.ctx.installation();
        let Some(request) = hand_over::request_while_suspended(self.object, recovered, handed_over, installation)
        else {
            self.end_recovery();
            let why = hand_over::handed_over_message(self.object, previous.hand_over.as_ref());
            let message = why
                .unwrap_or_else(|| "spec.suspend is true: neither AWS nor the workload cluster is touched".to_owned());
            return Ok(self.stay_suspended(previous, message));
        };
        let grant = grant.map_err(DereferenceError::Account)?;
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
