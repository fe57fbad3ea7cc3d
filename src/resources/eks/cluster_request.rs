//! The parts of a request that creates or updates a control plane, and the calls that update one. I/O: EKS.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateClusterConfig.html>.

use aws_sdk_eks::operation::update_cluster_config::builders::UpdateClusterConfigFluentBuilder as UpdateConfig;
use aws_sdk_eks::types::{
    BlockStorage, ComputeConfigRequest, ControlPlaneEgressModeType, ControlPlaneScalingConfig, ElasticLoadBalancing,
    EncryptionConfig, KubernetesNetworkConfigRequest, LogSetup, LogType, Logging, Provider, StorageConfigRequest,
    Update, UpdateAccessConfigRequest, UpgradePolicyRequest, VpcConfigRequest, ZonalShiftConfigRequest,
};

use super::cluster::Cluster;
use super::cluster_diff::{self, Detail, Part};
use super::control_plane_config;
use super::updates::{self, UpdateTarget};
use crate::api::cluster::{ControlPlaneScaling, SecretsEncryption};
use crate::api::network::{IpFamily, KubernetesNetwork};
use crate::api::upgrade::InsightsPolicy;
use crate::aws::Service;
use crate::engine::{Change, Failure, Observation, Refs};
use crate::resources::cloud::{Cloud, arn, changed_tags};
use crate::resources::iam::role::{self, Purpose};

/// Enables the log types `on` and disables `off`.
pub(crate) fn logging(on: &[String], off: &[String]) -> Logging {
    let setup = |types: &[String], enabled| {
        let types: Vec<_> = types.iter().map(|log| LogType::from(log.as_str())).collect();
        (!types.is_empty()).then(|| LogSetup::builder().set_types(Some(types)).enabled(enabled).build())
    };
    let setups = [setup(on, true), setup(off, false)].into_iter().flatten().collect();
    Logging::builder().set_cluster_logging(Some(setups)).build()
}

/// Encryption of Secrets with a key.
pub(crate) fn encryption(wanted: &SecretsEncryption) -> Vec<EncryptionConfig> {
    let provider = Provider::builder().key_arn(&wanted.kms_key_arn).build();
    // EKS encrypts all API data by now and ignores the value, but still accepts it; older regions require it.
    #[allow(deprecated)]
    let config = EncryptionConfig::builder().resources("secrets").provider(provider).build();
    vec![config]
}

/// The tier of the control plane.
pub(crate) fn scaling(wanted: &ControlPlaneScaling) -> ControlPlaneScalingConfig {
    ControlPlaneScalingConfig::builder().tier(wanted.tier.as_str().into()).build()
}

/// Auto Mode's volumes. EKS accepts its three switches only together.
pub(crate) fn block_storage(enabled: bool) -> StorageConfigRequest {
    StorageConfigRequest::builder().block_storage(BlockStorage::builder().enabled(enabled).build()).build()
}

fn load_balancing(enabled: bool) -> ElasticLoadBalancing {
    ElasticLoadBalancing::builder().enabled(enabled).build()
}

impl Cluster {
    /// The subnets and the endpoint access of a new cluster.
    pub(crate) fn vpc_config(&self, subnets: Vec<String>) -> VpcConfigRequest {
        let access = &self.spec.endpoint_access;
        VpcConfigRequest::builder()
            .set_subnet_ids(Some(subnets))
            .set_security_group_ids(self.security_groups())
            .endpoint_public_access(access.public)
            .endpoint_private_access(access.private)
            .set_public_access_cidrs(access.public.then(|| access.public_cidrs.clone()))
            .set_control_plane_egress_mode(self.egress_mode())
            .build()
    }

    fn egress_mode(&self) -> Option<ControlPlaneEgressModeType> {
        self.spec.control_plane.as_ref().and_then(|settings| settings.egress_mode).map(control_plane_config::egress)
    }

    /// The addresses inside a new cluster, and whether Auto Mode creates its load balancers.
    pub(crate) fn network_config(&self) -> Option<KubernetesNetworkConfigRequest> {
        let auto_mode = self.spec.has_auto_mode();
        let KubernetesNetwork { ip_family, service_cidr } = self.spec.kubernetes_network.clone();
        let family = (ip_family != IpFamily::default()).then(|| cluster_diff::ip_family(ip_family).into());
        let needed = service_cidr.is_some() || family.is_some() || auto_mode;
        let config =
            KubernetesNetworkConfigRequest::builder().set_ip_family(family).set_service_ipv4_cidr(service_cidr);
        needed.then(|| config.set_elastic_load_balancing(auto_mode.then(|| load_balancing(true))).build())
    }

    /// The nodes of Auto Mode. `current` is their current role, which EKS cannot change, and which it takes only together
    /// with node pools.
    pub(crate) fn auto_mode(
        &self,
        refs: &Refs,
        current: Option<&str>,
    ) -> Result<Option<ComputeConfigRequest>, Failure> {
        let Some(wanted) = &self.spec.auto_mode else { return Ok(None) };
        if !wanted.enabled {
            return Ok(Some(ComputeConfigRequest::builder().enabled(false).build()));
        }
        let role = match current.or(wanted.node_role_arn.as_deref()) {
            _ if wanted.node_pools.is_empty() => None,
            Some(role) => Some(role),
            None => Some(refs.need(&role::key(Purpose::AutoNode), "arn")?),
        };
        let compute = ComputeConfigRequest::builder()
            .enabled(true)
            .set_node_pools(Some(wanted.node_pools.clone()))
            .set_node_role_arn(role.map(str::to_owned));
        Ok(Some(compute.build()))
    }

    /// Applies one part of the differences.
    pub(crate) async fn change(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut observed = observed.clone();
        let arn = arn(&observed).to_owned();
        cloud.tag_eks(&arn, &mut observed.detail.tags, changed_tags(changes)).await?;
        let Some((part, changes)) = Part::first(changes) else { return Ok(observed) };
        let descriptions: Vec<_> = changes.iter().map(|c| format!("{} {} -> {}", c.field, c.from, c.to)).collect();
        let token = updates::token(cloud, &observed, &format!("cluster {}", descriptions.join(", ")));
        let (eks, name) = (&cloud.aws.eks, &self.name);
        let update = match part {
            Part::Version => {
                let to = changes.first().map(|change| change.to.clone()).unwrap_or_default();
                // EKS itself rejects the step for an insight of status ERROR, unless it is forced.
                let force = (self.spec.upgrade.insights != InsightsPolicy::Block).then_some(true);
                let request = eks.update_cluster_version().name(name).version(to).set_force(force);
                let request = request.client_request_token(token);
                cloud.aws.call(Service::Eks, "UpdateClusterVersion", name, request.send()).await?.update
            }
            Part::Encryption => {
                let config = self.spec.secrets_encryption.as_ref().map(encryption);
                let request = eks.associate_encryption_config().cluster_name(name).set_encryption_config(config);
                let request = request.client_request_token(token);
                cloud.aws.call(Service::Eks, "AssociateEncryptionConfig", name, request.send()).await?.update
            }
            _ => {
                let request = eks.update_cluster_config().name(name).client_request_token(token);
                let request = self.config(part, &changes, request, refs, &observed.detail)?;
                self.update_config(cloud, request).await?
            }
        };
        Ok(updates::record_start(observed, UpdateTarget::Cluster(name), update))
    }

    /// Disables EKS's deletion protection.
    pub(crate) async fn lift_protection(
        &self,
        cloud: &Cloud,
        observed: &Observation<Detail>,
    ) -> Result<Observation<Detail>, Failure> {
        let token = updates::token(cloud, observed, "cluster deletionProtection true -> false to delete it");
        let request = cloud.aws.eks.update_cluster_config().name(&self.name).deletion_protection(false);
        let update = self.update_config(cloud, request.client_request_token(token)).await?;
        Ok(updates::record_start(observed.clone(), UpdateTarget::Cluster(&self.name), update))
    }

    async fn update_config(&self, cloud: &Cloud, request: UpdateConfig) -> Result<Option<Update>, Failure> {
        Ok(cloud.aws.call(Service::Eks, "UpdateClusterConfig", &self.name, request.send()).await?.update)
    }

    /// The one part of the configuration that a request changes.
    fn config(
        &self,
        part: Part,
        changes: &[&Change],
        request: UpdateConfig,
        refs: &Refs,
        current: &Detail,
    ) -> Result<UpdateConfig, Failure> {
        let spec = &self.spec;
        Ok(match part {
            // These two have their own calls.
            Part::Version | Part::Encryption => request,
            Part::DeletionProtection => request.set_deletion_protection(spec.deletion_protection),
            Part::AuthenticationMode => {
                // May be an intermediate mode.
                let mode = changes.first().map_or("", |change| change.to.as_str());
                let config = UpdateAccessConfigRequest::builder().authentication_mode(mode.into());
                request.access_config(config.build())
            }
            Part::Placement => {
                let subnets = changes.iter().any(|change| change.field == "network.subnetIds");
                let subnets = if subnets { Some(self.subnet_ids(refs)?) } else { None };
                let config = VpcConfigRequest::builder().set_subnet_ids(subnets);
                request.resources_vpc_config(config.set_security_group_ids(self.security_groups()).build())
            }
            Part::EndpointAccess => {
                let access = &spec.endpoint_access;
                let config = VpcConfigRequest::builder()
                    .endpoint_public_access(access.public)
                    .endpoint_private_access(access.private)
                    .set_public_access_cidrs(access.public.then(|| access.public_cidrs.clone()));
                request.resources_vpc_config(config.build())
            }
            Part::Logging => {
                let on = spec.logging.clone().unwrap_or_default();
                let off: Vec<_> = current.logging.iter().filter(|log| !on.contains(log)).cloned().collect();
                request.logging(logging(&on, &off))
            }
            Part::SupportType => {
                let support = spec.support_type.map(|support| cluster_diff::support(support).into());
                request.upgrade_policy(UpgradePolicyRequest::builder().set_support_type(support).build())
            }
            Part::ControlPlaneScaling => {
                request.set_control_plane_scaling_config(spec.control_plane_scaling.as_ref().map(scaling))
            }
            Part::ZonalShift => {
                let config = ZonalShiftConfigRequest::builder().set_enabled(spec.zonal_shift).build();
                request.zonal_shift_config(config)
            }
            Part::EgressMode => {
                let config = VpcConfigRequest::builder().set_control_plane_egress_mode(self.egress_mode());
                request.resources_vpc_config(config.build())
            }
            Part::Components => {
                let settings = spec.control_plane.clone().unwrap_or_default();
                request
                    .set_kube_api_server_config(settings.api_server.as_ref().map(control_plane_config::api_server))
                    .set_kube_controller_manager_config(
                        settings.controller_manager.as_ref().map(control_plane_config::controller_manager),
                    )
                    .set_kube_scheduler_config(settings.scheduler.as_ref().map(control_plane_config::scheduler))
            }
            Part::RemoteNetworks => request
                .set_remote_network_config(spec.remote_networks.as_ref().map(control_plane_config::remote_networks)),
            Part::AutoMode => {
                let on = spec.has_auto_mode();
                let network = KubernetesNetworkConfigRequest::builder().elastic_load_balancing(load_balancing(on));
                request
                    .set_compute_config(self.auto_mode(refs, current.auto_mode_role.as_deref())?)
                    .kubernetes_network_config(network.build())
                    .storage_config(block_storage(on))
            }
        })
    }
}
