//! The call that creates a control plane, and its answer to a zone that EKS refuses. I/O: EKS.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html>.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{CreateAccessConfigRequest, UpgradePolicyRequest, ZonalShiftConfigRequest};
use serde::Deserialize;

use super::cluster::Cluster;
use super::cluster_diff::{self, Detail};
use super::cluster_request::{self as request, logging};
use super::control_plane_config;
use super::control_plane_zones::{MIN_ZONES, subnets_in_valid_zones};
use crate::api::remote_networks::RemoteNetworks;
use crate::aws::{AwsError, Service};
use crate::engine::{Failure, Observation, Refs};
use crate::resources::cloud::Cloud;
use crate::resources::iam::role::{self, Purpose};
use crate::resources::network::subnet;

/// What to do when too few zones remain.
const MOVE: &str = "the zones of a VPC are fixed once it exists: delete this EksCluster, and apply it again with \
                    spec.network.vpc.zones, or spec.network.existing with subnets in other zones";

/// A subnet in the output of an existing network.
#[derive(Deserialize)]
struct ExistingSubnet {
    id: String,
    zone: String,
}

fn has_ranges(networks: &RemoteNetworks) -> bool {
    let RemoteNetworks { node_cidrs, pod_cidrs } = networks;
    [node_cidrs, pod_cidrs].iter().any(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
}

impl Cluster {
    /// Creates the cluster. If EKS refuses a zone, the network is not made again: the cluster is placed in the subnets
    /// of the zones that EKS names as valid, when there are enough.
    pub(crate) async fn create_in_valid_zones(
        &self,
        cloud: &Cloud,
        refs: &Refs,
    ) -> Result<Observation<Detail>, Failure> {
        let subnets = self.subnet_ids(refs)?;
        let error = match self.request_create(cloud, refs, subnets.clone()).await? {
            Ok(observed) => return Ok(observed),
            Err(error) => error,
        };
        let zones = self.zones_of(refs).into_iter().filter(|(id, _)| subnets.contains(id)).collect();
        let refused = error.to_string();
        let remaining = subnets_in_valid_zones(&zones, error, MIN_ZONES, MOVE)?;
        tracing::warn!(cluster = self.name, refused, subnets = remaining.join(","), "placed in the zones that remain");
        Ok(self.request_create(cloud, refs, remaining).await??)
    }

    /// The zone of each subnet of the network, by id.
    pub(crate) fn zones_of(&self, refs: &Refs) -> BTreeMap<String, String> {
        let mut zones = BTreeMap::new();
        for key in self.network() {
            if let (Some(id), Some((_, zone))) = (refs.get(key), subnet::zone_of(key)) {
                zones.insert(id.to_owned(), zone.to_owned());
            }
            let existing = refs.output(key, "subnets").unwrap_or_default();
            let existing: Vec<ExistingSubnet> = serde_json::from_str(existing).unwrap_or_default();
            zones.extend(existing.into_iter().map(|ExistingSubnet { id, zone }| (id, zone)));
        }
        zones
    }

    /// The outer failure: the request could not be made; the inner one: EKS refused it.
    async fn request_create(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        subnets: Vec<String>,
    ) -> Result<Result<Observation<Detail>, AwsError>, Failure> {
        let spec = &self.spec;
        let access = CreateAccessConfigRequest::builder()
            .authentication_mode(cluster_diff::mode(spec.access.authentication_mode).into())
            // The operator's own access, to bootstrap the GitOps agent.
            .bootstrap_cluster_creator_admin_permissions(true)
            .build();
        let support = spec.support_type.map(|support| cluster_diff::support(support).into());
        let auto = if spec.has_auto_mode() { self.auto_mode(refs, None)? } else { None };
        let role = refs.need(&role::key(Purpose::Cluster), "arn")?;
        let settings = spec.control_plane.clone().unwrap_or_default();
        let networks = spec.remote_networks.as_ref().filter(|networks| has_ranges(networks));
        let request = cloud
            .aws
            .eks
            .create_cluster()
            .name(&self.name)
            .version(self.version.as_ref().unwrap_or(&spec.version))
            .role_arn(role)
            .resources_vpc_config(self.vpc_config(subnets))
            .set_kubernetes_network_config(self.network_config())
            .set_logging(spec.logging.as_ref().filter(|types| !types.is_empty()).map(|types| logging(types, &[])))
            .set_encryption_config(spec.secrets_encryption.as_ref().map(request::encryption))
            .access_config(access)
            .bootstrap_self_managed_addons(false)
            .set_upgrade_policy(support.map(|support| UpgradePolicyRequest::builder().support_type(support).build()))
            .set_zonal_shift_config(
                spec.zonal_shift.map(|enabled| ZonalShiftConfigRequest::builder().enabled(enabled).build()),
            )
            .set_control_plane_scaling_config(spec.control_plane_scaling.as_ref().map(request::scaling))
            .set_storage_config(auto.as_ref().map(|_| request::block_storage(true)))
            .set_compute_config(auto)
            .set_deletion_protection(spec.deletion_protection)
            .set_kube_api_server_config(settings.api_server.as_ref().map(control_plane_config::api_server))
            .set_kube_controller_manager_config(
                settings.controller_manager.as_ref().map(control_plane_config::controller_manager),
            )
            .set_kube_scheduler_config(settings.scheduler.as_ref().map(control_plane_config::scheduler))
            .set_remote_network_config(networks.map(control_plane_config::remote_networks))
            .set_tags(Some(self.tags.to_eks()));
        let answer = match cloud.aws.call(Service::Eks, "CreateCluster", &self.name, request.send()).await {
            Err(error) => return Ok(Err(error)),
            Ok(answer) => answer,
        };
        let cluster = answer.cluster.unwrap_or_else(|| aws_sdk_eks::types::Cluster::builder().build());
        Ok(Ok(self.to_observation(&cluster)))
    }
}
