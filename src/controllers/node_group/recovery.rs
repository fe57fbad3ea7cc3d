//! What a takeover needs to know of a NodeGroup: the owner of its resource, and its tags. I/O: reads of EKS.

use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;

use super::apply_spec::ValidGroup;
use super::replacement::node_group_names::is_name_of;
use super::{Outcome, Reconcile};
use crate::api::status_cluster::NodeGroupStatus;
use crate::api::{EksCluster, Reason};
use crate::controllers::account::{self, Refusal, Request};
use crate::controllers::driver::Valid;
use crate::controllers::hand_over;
use crate::controllers::reconcile_error::DereferenceError;
use crate::controllers::recovery_requests;
use crate::controllers::status::finish_reconcile::Next;
use crate::engine::Failure;
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::eks::kubernetes_api;
use crate::resources::inventory::tagged_resources;
use crate::resources::recovery::takeover::Inventory;

impl Reconcile<'_> {
    /// The owner of its node group.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            uid: self.object.uid().unwrap_or_default(),
            cluster: format!("{}/{}", self.namespace, self.object.spec.cluster_ref.name),
            object: format!("nodegroup/{}", self.object.name_any()),
            installation: self.ctx.installation(),
            ..Owner::default()
        }
    }

    /// Its node groups, with their tags: those of its name, and of the names that replacements give.
    pub(super) async fn find_tagged(&self, cluster: &EksCluster, cloud: &Cloud) -> Result<Inventory, Failure> {
        let first = self.object.first_node_group_name();
        let is_candidate = |name: &str| is_name_of(&first, name);
        tagged_resources::of_node_group(&cloud.aws, &cluster.cluster_name(), &first, is_candidate).await
    }

    /// Suspended: only a user's request is carried out, which writes only tags.
    pub(super) async fn while_suspended(
        &mut self,
        previous: &NodeGroupStatus,
        cluster: Option<Arc<EksCluster>>,
        message: &str,
    ) -> Outcome {
        // Node groups of a cluster that is not recorded do not belong to it.
        let cluster = cluster.filter(|cluster| recovery_requests::is_on_record(cluster));
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let request = hand_over::request_while_suspended(self.object, recovered, handed_over, self.ctx.installation());
        if request.is_some() && cluster.is_none() {
            let message = "its EksCluster has nothing on record in AWS yet";
            let next = Next::after(SignedDuration::from_secs(2), self.now);
            return self.waiting_until(previous, Reason::WaitingForCluster, message, next);
        }
        let (Some(request), Some(cluster)) = (request, cluster) else {
            self.end_recovery();
            let why = hand_over::handed_over_message(self.object, previous.hand_over.as_ref());
            return self.stay_suspended(previous, why.as_deref().unwrap_or(message));
        };
        let grant = match account::grant_in(self.ctx, &Request::of(&cluster)) {
            Ok(grant) => grant,
            Err(refusal) => return self.failed(previous, DereferenceError::Account(refusal)),
        };
        let valid = Valid { grant, named: Vec::new(), request: None, own: ValidGroup::of(cluster) };
        let recovered = self.recover_while_suspended(previous, &valid, &request).await;
        recovered.unwrap_or_else(|stop| self.stopped(previous, stop))
    }

    /// Why its node group is not deleted with the object: another object owns the cluster, or is about to.
    pub(super) async fn left_in_aws(&self, cluster: &EksCluster, cloud: &Cloud) -> Result<Option<String>, Failure> {
        if let Some(why) = hand_over::cluster_handed_over_message(cluster) {
            return Ok(Some(why));
        }
        let name = cluster.cluster_name();
        let tags = kubernetes_api::tags(&cloud.aws, &name).await?;
        let uid = cluster.uid().unwrap_or_default();
        let is_foreign = tags.is_some_and(|tags| tags.owner().is_some_and(|owner| owner != uid));
        Ok(is_foreign.then(|| format!("cluster {name} in AWS does not belong to its EksCluster")))
    }

    /// Whether its node group was handed over to another installation.
    pub(super) fn still_here(&self, previous: &NodeGroupStatus) -> Result<(), Refusal> {
        let why = hand_over::handed_over_message(self.object, previous.hand_over.as_ref());
        why.map_or(Ok(()), |why| Err(Refusal::new(Reason::NotOwned, why)))
    }
}
