//! An [`Inventory`] from descriptions in EKS's notation, such as others keep of a cluster: the state of Terraform, the objects of
//! Cluster API. Pure. What a description lacks, AWS is not asked for.

mod described_node_group;
mod extensions;
mod values;

use aws_sdk_eks::types::{
    AccessConfigResponse, AccessEntry, AccessScope, Addon, AddonNamespaceConfigResponse, AssociatedAccessPolicy,
    Cluster, ComputeConfigResponse, ControlPlaneScalingConfig, EncryptionConfig, FargateProfile,
    FargateProfileSelector, KubernetesNetworkConfigResponse, LogSetup, Logging, PodIdentityAssociation, Provider,
    RemoteNetworkConfigResponse, RemoteNodeNetwork, RemotePodNetwork, UpgradePolicyResponse, VpcConfigResponse,
    ZonalShiftConfigResponse,
};
use serde_json::Value;

use described_node_group::node_group;
use extensions::{capability, identity_provider};
use values::{flag, list, map, part, text, texts};

use super::{FoundAddon, FoundEntry, Inventory};
use crate::resources::eks::log_group;

/// What somebody else knows of a cluster. Values have the members of EKS's answers.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// As of DescribeCluster.
    pub cluster: Value,
    /// As of DescribeAddon; of `podIdentityAssociations`, the role ARNs.
    pub addons: Vec<Value>,
    /// As of DescribeAccessEntry, with `policies` as of ListAssociatedAccessPolicies.
    pub access_entries: Vec<Value>,
    /// As of DescribePodIdentityAssociation.
    pub pod_identities: Vec<Value>,
    /// As of DescribeFargateProfile.
    pub fargate_profiles: Vec<Value>,
    /// As of DescribeNodegroup.
    pub node_groups: Vec<Value>,
    /// As of DescribeIdentityProviderConfig, of its member `oidc`.
    pub identity_provider: Option<Value>,
    /// As of DescribeCapability.
    pub capabilities: Vec<Value>,
    /// The days that the control plane's logs are kept, and the ARN of their key.
    pub log_retention: Option<(i32, Option<String>)>,
    /// Whether there is an IAM OIDC provider for its issuer.
    pub oidc_provider: bool,
}

/// The inventory of a described cluster.
pub fn inventory(of: &Description) -> Inventory {
    let log_group = of.log_retention.clone().map(|(days, kms_key_arn)| log_group::Detail {
        retention_days: Some(days),
        kms_key_arn,
        ..log_group::Detail::default()
    });
    Inventory {
        cluster: cluster(&of.cluster),
        addons: of.addons.iter().map(addon).collect(),
        access_entries: of.access_entries.iter().map(access_entry).collect(),
        pod_identities: of.pod_identities.iter().map(pod_identity).collect(),
        fargate_profiles: of.fargate_profiles.iter().map(fargate_profile).collect(),
        node_groups: of.node_groups.iter().map(node_group).collect(),
        group_tags: Default::default(),
        log_group,
        identity_provider: of.identity_provider.as_ref().map(identity_provider),
        capabilities: of.capabilities.iter().map(capability).collect(),
        oidc_provider: of.oidc_provider,
        subnets_gone: Vec::new(),
        other_instances: Vec::new(),
    }
}

fn cluster(of: &Value) -> Cluster {
    Cluster::builder()
        .set_name(text(of, "name"))
        .set_arn(text(of, "arn"))
        .set_version(text(of, "version"))
        .set_role_arn(text(of, "roleArn"))
        .set_tags(map(of, "tags"))
        .set_deletion_protection(flag(of, "deletionProtection"))
        .set_resources_vpc_config(part(of, "resourcesVpcConfig", vpc_config))
        .set_kubernetes_network_config(part(of, "kubernetesNetworkConfig", |network| {
            KubernetesNetworkConfigResponse::builder()
                .set_ip_family(text(network, "ipFamily").map(|family| family.as_str().into()))
                .set_service_ipv4_cidr(text(network, "serviceIpv4Cidr"))
                .build()
        }))
        .set_logging(part(of, "logging", |logging| {
            let setup = |one: &Value| {
                let types = texts(one, "types").unwrap_or_default();
                LogSetup::builder()
                    .set_types(Some(types.iter().map(|name| name.as_str().into()).collect()))
                    .set_enabled(flag(one, "enabled"))
                    .build()
            };
            Logging::builder().set_cluster_logging(list(logging, "clusterLogging", setup)).build()
        }))
        .set_encryption_config(list(of, "encryptionConfig", |one| {
            let provider =
                part(one, "provider", |provider| Provider::builder().set_key_arn(text(provider, "keyArn")).build());
            EncryptionConfig::builder().set_provider(provider).build()
        }))
        .set_access_config(part(of, "accessConfig", |access| {
            let mode = text(access, "authenticationMode").map(|mode| mode.as_str().into());
            AccessConfigResponse::builder().set_authentication_mode(mode).build()
        }))
        .set_upgrade_policy(part(of, "upgradePolicy", |policy| {
            let support = text(policy, "supportType").map(|support| support.as_str().into());
            UpgradePolicyResponse::builder().set_support_type(support).build()
        }))
        .set_zonal_shift_config(part(of, "zonalShiftConfig", |shift| {
            ZonalShiftConfigResponse::builder().set_enabled(flag(shift, "enabled")).build()
        }))
        .set_compute_config(part(of, "computeConfig", |compute| {
            ComputeConfigResponse::builder()
                .set_enabled(flag(compute, "enabled"))
                .set_node_pools(texts(compute, "nodePools"))
                .set_node_role_arn(text(compute, "nodeRoleArn"))
                .build()
        }))
        .set_control_plane_scaling_config(part(of, "controlPlaneScalingConfig", |scaling| {
            let tier = text(scaling, "tier").map(|tier| tier.as_str().into());
            ControlPlaneScalingConfig::builder().set_tier(tier).build()
        }))
        .set_remote_network_config(part(of, "remoteNetworkConfig", |networks| {
            let nodes = |one: &Value| RemoteNodeNetwork::builder().set_cidrs(texts(one, "cidrs")).build();
            let pods = |one: &Value| RemotePodNetwork::builder().set_cidrs(texts(one, "cidrs")).build();
            RemoteNetworkConfigResponse::builder()
                .set_remote_node_networks(list(networks, "remoteNodeNetworks", nodes))
                .set_remote_pod_networks(list(networks, "remotePodNetworks", pods))
                .build()
        }))
        .build()
}

fn vpc_config(of: &Value) -> VpcConfigResponse {
    VpcConfigResponse::builder()
        .set_vpc_id(text(of, "vpcId"))
        .set_subnet_ids(texts(of, "subnetIds"))
        .set_security_group_ids(texts(of, "securityGroupIds"))
        .set_endpoint_public_access(flag(of, "endpointPublicAccess"))
        .set_endpoint_private_access(flag(of, "endpointPrivateAccess"))
        .set_public_access_cidrs(texts(of, "publicAccessCidrs"))
        .build()
}

/// Its version counts as chosen: whether it is EKS's default is not known without asking EKS.
fn addon(of: &Value) -> FoundAddon {
    let namespace = part(of, "namespaceConfig", |config| {
        AddonNamespaceConfigResponse::builder().set_namespace(text(config, "namespace")).build()
    });
    let addon = Addon::builder()
        .set_addon_name(text(of, "addonName"))
        .set_addon_version(text(of, "addonVersion"))
        .set_configuration_values(text(of, "configurationValues"))
        .set_service_account_role_arn(text(of, "serviceAccountRoleArn"))
        .set_namespace_config(namespace)
        .build();
    let mut pod_identity_roles = texts(of, "podIdentityAssociations").unwrap_or_default();
    pod_identity_roles.sort();
    pod_identity_roles.dedup();
    FoundAddon { addon, is_default: false, pod_identity_roles }
}

fn access_entry(of: &Value) -> FoundEntry {
    let entry = AccessEntry::builder()
        .set_principal_arn(text(of, "principalArn"))
        .set_type(text(of, "type"))
        .set_username(text(of, "username"))
        .set_kubernetes_groups(texts(of, "kubernetesGroups"))
        .build();
    let policy = |one: &Value| {
        let scope = part(one, "accessScope", |scope| {
            let kind = text(scope, "type").map(|kind| kind.as_str().into());
            AccessScope::builder().set_type(kind).set_namespaces(texts(scope, "namespaces")).build()
        });
        AssociatedAccessPolicy::builder().set_policy_arn(text(one, "policyArn")).set_access_scope(scope).build()
    };
    FoundEntry { entry, policies: list(of, "policies", policy).unwrap_or_default() }
}

fn pod_identity(of: &Value) -> PodIdentityAssociation {
    PodIdentityAssociation::builder()
        .set_namespace(text(of, "namespace"))
        .set_service_account(text(of, "serviceAccount"))
        .set_role_arn(text(of, "roleArn"))
        .set_target_role_arn(text(of, "targetRoleArn"))
        .set_disable_session_tags(flag(of, "disableSessionTags"))
        .set_policy(text(of, "policy"))
        .build()
}

fn fargate_profile(of: &Value) -> FargateProfile {
    let selector = |one: &Value| {
        FargateProfileSelector::builder()
            .set_namespace(text(one, "namespace"))
            .set_labels(map(one, "labels").filter(|labels| !labels.is_empty()))
            .build()
    };
    FargateProfile::builder()
        .set_fargate_profile_name(text(of, "fargateProfileName"))
        .set_pod_execution_role_arn(text(of, "podExecutionRoleArn"))
        .set_subnets(texts(of, "subnets"))
        .set_selectors(list(of, "selectors", selector))
        .build()
}
