//! A cluster with every setting that import does not cover.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_eks::types::{
    AccessConfigResponse, AccessEntry, AccessScope, AccessScopeType, Addon, AmiTypes, AssociatedAccessPolicy,
    AuthenticationMode, Capability, CapabilityType, CapacityTypes, Cluster, ComputeConfigResponse,
    ControlPlaneEgressModeType, EncryptionConfig, FargateProfile, FargateProfileSelector, KubeApiServerConfigResponse,
    KubeControllerManagerConfigResponse, KubernetesNetworkConfigResponse, LaunchTemplateSpecification, LogSetup,
    LogType, Logging, NodeRepairConfig, NodeRepairConfigOverrides, Nodegroup, NodegroupScalingConfig,
    NodegroupUpdateConfig, OidcIdentityProviderConfig, PodGcControllerConfigResponse, PodIdentityAssociation, Provider,
    RemoteAccessConfig, RemoteNetworkConfigResponse, RemoteNodeNetwork, RemotePodNetwork, RepairAction, SupportType,
    Taint, TaintEffect, UpgradePolicyResponse, VpcConfigResponse, WarmPoolConfig, WarmPoolState,
    ZonalShiftConfigResponse,
};

use super::{FoundAddon, FoundEntry, Inventory};
use crate::resources::eks::log_group;

/// The ARN of a role.
pub fn role(name: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{name}")
}

pub fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A cluster that import covers completely.
pub fn plain() -> Inventory {
    let vpc = VpcConfigResponse::builder().subnet_ids("subnet-1").subnet_ids("subnet-2").vpc_id("vpc-1");
    let vpc = vpc.endpoint_public_access(true).public_access_cidrs("0.0.0.0/0").build();
    let access = AccessConfigResponse::builder().authentication_mode(AuthenticationMode::ConfigMap).build();
    let cluster = Cluster::builder()
        .name("plain")
        .arn("arn:aws:eks:eu-west-1:123456789012:cluster/plain")
        .version("1.34")
        .role_arn(role("cluster"))
        .resources_vpc_config(vpc)
        .access_config(access)
        .build();
    Inventory {
        cluster,
        addons: Vec::new(),
        access_entries: Vec::new(),
        pod_identities: Vec::new(),
        fargate_profiles: Vec::new(),
        node_groups: Vec::new(),
        group_tags: BTreeMap::new(),
        log_group: Some(log_group::Detail::default()),
        capabilities: Vec::new(),
        identity_provider: None,
        oidc_provider: false,
        subnets_gone: Vec::new(),
        other_instances: Vec::new(),
    }
}

/// Those of the user's, one of which the API does not take.
fn group_tags() -> BTreeMap<String, String> {
    let tags = [("k8s.io/cluster-autoscaler/node-template/label/team", "a"), ("owners", "a, b")];
    tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub fn addon(name: &str) -> aws_sdk_eks::types::builders::AddonBuilder {
    Addon::builder().addon_name(name).addon_version("v1.2.3-eksbuild.1")
}

fn entry(principal: &str, kind: &str) -> aws_sdk_eks::types::builders::AccessEntryBuilder {
    AccessEntry::builder().principal_arn(principal).r#type(kind)
}

fn cluster() -> Cluster {
    let vpc = VpcConfigResponse::builder()
        .subnet_ids("subnet-1")
        .subnet_ids("subnet-2")
        .security_group_ids("sg-1")
        .endpoint_private_access(true)
        .public_access_cidrs("203.0.113.0/24")
        .control_plane_egress_mode(ControlPlaneEgressModeType::CustomerRouted)
        .build();
    let gc = PodGcControllerConfigResponse::builder().terminated_pod_gc_threshold(1000).build();
    let remote = RemoteNetworkConfigResponse::builder()
        .remote_node_networks(RemoteNodeNetwork::builder().cidrs("10.80.0.0/16").build())
        .remote_pod_networks(RemotePodNetwork::builder().cidrs("10.85.0.0/16").build());
    let on = LogSetup::builder().types(LogType::Audit).types(LogType::Api).enabled(true).build();
    let off = LogSetup::builder().types(LogType::Scheduler).enabled(false).build();
    let key = Provider::builder().key_arn("arn:aws:kms:eu-west-1:123456789012:key/1234").build();
    let auto = ComputeConfigResponse::builder().enabled(true).node_pools("system").node_role_arn(role("auto"));
    let access = AccessConfigResponse::builder().authentication_mode(AuthenticationMode::ApiAndConfigMap).build();
    Cluster::builder()
        .name("Odd_One")
        .arn("arn:aws:eks:eu-west-1:123456789012:cluster/Odd_One")
        .version("1.33")
        .role_arn(role("path/cluster"))
        .resources_vpc_config(vpc)
        .kubernetes_network_config(
            KubernetesNetworkConfigResponse::builder().service_ipv4_cidr("10.100.0.0/16").build(),
        )
        .logging(Logging::builder().cluster_logging(on).cluster_logging(off).build())
        .encryption_config(EncryptionConfig::builder().provider(key).build())
        .access_config(access)
        .upgrade_policy(UpgradePolicyResponse::builder().support_type(SupportType::Extended).build())
        .zonal_shift_config(ZonalShiftConfigResponse::builder().enabled(true).build())
        .compute_config(auto.build())
        .kube_api_server_config(KubeApiServerConfigResponse::builder().event_ttl("30m").build())
        .kube_controller_manager_config(
            KubeControllerManagerConfigResponse::builder().pod_gc_controller_config(gc).build(),
        )
        .remote_network_config(remote.build())
        .deletion_protection(true)
        .set_tags(Some(map(&[("Name", "odd"), ("team", "a"), ("aws:cloudformation:stack-name", "x")])))
        .build()
}

fn node_group() -> Nodegroup {
    let scaling = NodegroupScalingConfig::builder().min_size(0).max_size(9).desired_size(3).build();
    let taint = Taint::builder().key("spot").value("true").effect(TaintEffect::PreferNoSchedule).build();
    let template = LaunchTemplateSpecification::builder().id("lt-1").version("3").build();
    Nodegroup::builder()
        .nodegroup_name("Spot_Nodes")
        .version("1.32")
        .release_version("1.32.1-20261106")
        .ami_type(AmiTypes::Custom)
        .capacity_type(CapacityTypes::Spot)
        .scaling_config(scaling)
        .subnets("subnet-2")
        .node_role(role("nodes"))
        .set_labels(Some(map(&[("a", "1.10"), ("b", "true")])))
        .taints(taint)
        .launch_template(template)
        .update_config(NodegroupUpdateConfig::builder().max_unavailable_percentage(33).build())
        .node_repair_config(NodeRepairConfig::builder().enabled(true).max_parallel_nodes_repaired_count(2).build())
        .remote_access(RemoteAccessConfig::builder().ec2_ssh_key("key").build())
        .set_tags(Some(map(&[("shift", "night"), ("kubernetes.io/cluster/x", "owned")])))
        .build()
}

/// With a warm pool, and repair in other ways than by default.
fn prepared_group() -> Nodegroup {
    let overrides = NodeRepairConfigOverrides::builder()
        .node_monitoring_condition("KernelReady")
        .node_unhealthy_reason("SoftLockup")
        .min_repair_wait_time_mins(10)
        .repair_action(RepairAction::Reboot);
    let pool = WarmPoolConfig::builder()
        .enabled(true)
        .min_size(1)
        .max_group_prepared_capacity(4)
        .pool_state(WarmPoolState::Running)
        .reuse_on_scale_in(true);
    Nodegroup::builder()
        .nodegroup_name("prepared")
        .version("1.33")
        .release_version("1.33.1-20261106")
        .ami_type(AmiTypes::Al2023X8664Standard)
        .capacity_type(CapacityTypes::OnDemand)
        .instance_types("m7i.large")
        .scaling_config(NodegroupScalingConfig::builder().min_size(1).max_size(3).desired_size(1).build())
        .subnets("subnet-1")
        .node_role(role("nodes"))
        .node_repair_config(
            NodeRepairConfig::builder().enabled(true).node_repair_config_overrides(overrides.build()).build(),
        )
        .warm_pool_config(pool.build())
        .build()
}

/// A cluster with every setting that import does not cover.
pub fn odd() -> Inventory {
    let scope = AccessScope::builder().r#type(AccessScopeType::Namespace).namespaces("shop").build();
    let view = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy";
    let view = AssociatedAccessPolicy::builder().policy_arn(view).access_scope(scope).build();
    let admins = entry(&role("team/admins"), "STANDARD").kubernetes_groups("viewers").username("boss").build();
    let pod = PodIdentityAssociation::builder().namespace("kube-system").service_account("dns").role_arn(role("dns"));
    let untagged = PodIdentityAssociation::builder().namespace("shop").service_account("till").role_arn(role("dns"));
    let untagged = untagged.disable_session_tags(true);
    let kro = Capability::builder().capability_name("kro").r#type(CapabilityType::Kro).role_arn(role("kro"));
    let okta = OidcIdentityProviderConfig::builder().identity_provider_config_name("okta").client_id("kubernetes");
    let okta = okta
        .issuer_url("https://example.okta.com")
        .username_claim("email")
        .set_required_claims(Some(map(&[("hd", "x")])));
    let fargate = FargateProfile::builder().fargate_profile_name("batch").pod_execution_role_arn(role("fargate"));
    let selector =
        FargateProfileSelector::builder().namespace("batch").set_labels(Some(map(&[("on", "fargate")]))).build();
    let fargate = fargate.selectors(selector).subnets("subnet-1");
    let cni = addon("vpc-cni").configuration_values(r#"{"env":{"WARM":"1","ON":"yes"}}"#).build();
    let csi = addon("aws-ebs-csi-driver").build();
    let found = |addon, is_default, roles: &[&str]| FoundAddon {
        addon,
        is_default,
        pod_identity_roles: roles.iter().map(|name| role(name)).collect(),
    };
    Inventory {
        cluster: cluster(),
        addons: vec![found(cni, true, &[]), found(csi, false, &["csi"])],
        access_entries: vec![
            FoundEntry { entry: admins, policies: vec![view] },
            FoundEntry { entry: entry(&role("nodes"), "EC2_LINUX").build(), policies: Vec::new() },
            FoundEntry { entry: entry(&role("hybrid"), "HYBRID_LINUX").build(), policies: Vec::new() },
        ],
        pod_identities: vec![pod.target_role_arn(role("other")).build(), untagged.build()],
        fargate_profiles: vec![fargate.build()],
        node_groups: vec![node_group(), prepared_group()],
        group_tags: [("Spot_Nodes".to_owned(), group_tags())].into(),
        log_group: Some(log_group::Detail { retention_days: Some(30), ..log_group::Detail::default() }),
        capabilities: vec![kro.build()],
        identity_provider: Some(okta.build()),
        oidc_provider: true,
        subnets_gone: Vec::new(),
        other_instances: vec!["i-1".to_owned()],
    }
}
