//! Collects an object's references to resources that it may not have created: each such field with its value. Pure.
//!
//! Destructured without `..`, so that a new field compiles only after someone decides whether it can refer to a
//! foreign resource.

use std::borrow::Cow;

use crate::api::access::PodIdentity;
use crate::api::addons::{Addon, FargateProfile};
use crate::api::capability::Capability;
use crate::api::cluster::{AutoMode, SecretsEncryption};
use crate::api::flow_logs::LogGroupDestination;
use crate::api::karpenter::Karpenter;
use crate::api::log_group::LogGroup;
use crate::api::network::{ExistingNetwork, Network, SubnetReference, Vpc};
use crate::api::node_group::{LaunchTemplate, NodeSubnets};
use crate::api::node_template::NodeTemplate;
use crate::api::registration::Registration;
use crate::api::workload_role::{WorkloadPolicy, WorkloadRole};
use crate::api::{EksClusterSpec, NodeGroupSpec};

/// The kind of an AWS resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An IAM role, by ARN.
    Role,
    /// An IAM policy, by ARN.
    Policy,
    /// A policy that Keelson includes, by name.
    WorkloadPolicy,
    /// A policy document of the object's own: its value says so.
    InlinePolicy,
    /// A VPC, by id.
    Vpc,
    /// A subnet, by id.
    Subnet,
    /// A security group, by id.
    SecurityGroup,
    /// A KMS key, by ARN.
    KmsKey,
    /// An EC2 launch template, by id.
    LaunchTemplate,
    /// An AMI, by id.
    Image,
    /// A capacity reservation of EC2, by id.
    CapacityReservation,
    /// A placement group, by name.
    PlacementGroup,
    /// An Elastic IP address, by allocation id.
    ElasticIp,
}

/// A reference in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceReference {
    /// Path of the field.
    pub field: Cow<'static, str>,
    /// Kind of the resource.
    pub kind: Kind,
    /// Its id or ARN.
    pub value: String,
}

impl ResourceReference {
    fn new(field: impl Into<Cow<'static, str>>, kind: Kind, value: &str) -> Self {
        Self { field: field.into(), kind, value: value.to_owned() }
    }
}

/// The references of a NodeGroup and of its EksCluster's network: nodes may not join a network that is refused to
/// their cluster.
pub fn by_node_group_in(name: &str, cluster: &EksClusterSpec, group: &NodeGroupSpec) -> Vec<ResourceReference> {
    let network = by_network(&cluster.network).into_iter();
    let of_cluster =
        network.map(|one| ResourceReference { field: format!("EksCluster {name}: {}", one.field).into(), ..one });
    of_cluster.chain(by_node_group(group)).collect()
}

/// The VPC and subnets of a network.
pub fn by_network(network: &Network) -> Vec<ResourceReference> {
    let named = network.existing.iter().flat_map(by_existing_network);
    named.filter(|one| matches!(one.kind, Kind::Vpc | Kind::Subnet)).collect()
}

/// The references of an EksCluster.
pub fn by_cluster(spec: &EksClusterSpec) -> Vec<ResourceReference> {
    let EksClusterSpec {
        account_ref: _,
        region: _,
        cluster_name: _,
        version: _,
        // The schema restricts the keys, and the account's enforcedTags the values.
        tags: _,
        change_policy: _,
        drift_policy: _,
        deletion_policy: _,
        adoption_policy: _,
        suspend: _,
        network: Network { vpc, existing },
        kubernetes_network: _,
        endpoint_access: _,
        logging: _,
        log_group,
        secrets_encryption,
        role_arn,
        support_type: _,
        control_plane_scaling: _,
        control_plane: _,
        remote_networks: _,
        zonal_shift: _,
        persistent_volumes: _,
        deletion_protection: _,
        auto_mode,
        // Entries and an identity provider give somebody access to this cluster, and to nothing in AWS.
        access: _,
        oidc_provider: _,
        pod_identities,
        addons,
        prune_addons: _,
        prune_core_addons: _,
        fargate_profiles,
        karpenter,
        capabilities,
        upgrade: _,
        hooks: _,
        gitops: _,
        write_kubeconfig_to_secret_ref: _,
        register_with: _,
        registration,
    } = spec;
    let mut named: Vec<ResourceReference> =
        role_arn.iter().map(|arn| ResourceReference::new("spec.roleArn", Kind::Role, arn)).collect();
    if let Some(SecretsEncryption { kms_key_arn }) = secrets_encryption {
        named.push(ResourceReference::new("spec.secretsEncryption.kmsKeyArn", Kind::KmsKey, kms_key_arn));
    }
    named.extend(log_group.iter().filter_map(|LogGroup { kms_key_arn, retention_days: _, deletion_policy: _ }| {
        Some(ResourceReference::new("spec.logGroup.kmsKeyArn", Kind::KmsKey, kms_key_arn.as_ref()?))
    }));
    named.extend(auto_mode.iter().filter_map(|AutoMode { enabled: _, node_pools: _, node_role_arn }| {
        Some(ResourceReference::new("spec.autoMode.nodeRoleArn", Kind::Role, node_role_arn.as_ref()?))
    }));
    named.extend(vpc.iter().flat_map(by_own_network));
    named.extend(existing.iter().flat_map(by_existing_network));
    named.extend(pod_identities.iter().flat_map(by_pod_identity));
    named.extend(addons.iter().flat_map(by_addon));
    named.extend(fargate_profiles.iter().flat_map(by_fargate_profile));
    // Its Pods get this policy, for a queue and nodes of this cluster; they are not named, but created.
    named.extend(karpenter.iter().map(|Karpenter { namespace: _, service_account: _, interruption_queue: _ }| {
        ResourceReference::new("spec.karpenter", Kind::WorkloadPolicy, WorkloadPolicy::Karpenter.as_str())
    }));
    named.extend(capabilities.iter().map(|capability| {
        // Who logs in to Argo CD, and from where, opens nothing in AWS: what it does there, it does with the role.
        let Capability { name, type_: _, role_arn, configuration: _, delete_propagation_policy: _ } = capability;
        ResourceReference::new(format!("spec.capabilities[{name}].roleArn"), Kind::Role, role_arn)
    }));
    // What registers the cluster assumes the role. Which labels it may have is the operator's own setting.
    named.extend(registration.iter().filter_map(|Registration { role_arn, labels: _ }| {
        Some(ResourceReference::new("spec.registration.roleArn", Kind::Role, role_arn.as_ref()?))
    }));
    named
}

/// The addresses of NAT gateways, security groups, and the role that delivers flow logs. A bucket is not checked: its own
/// policy says from whom it takes them.
fn by_own_network(network: &Vpc) -> Vec<ResourceReference> {
    let Vpc {
        cidr: _,
        zone_count: _,
        zones: _,
        nat: _,
        nat_addresses,
        public_subnets: _,
        endpoints: _,
        pod_cidrs: _,
        security_group_ids,
        flow_logs,
    } = network;
    let field = |name: &str| format!("spec.network.vpc.{name}");
    let addresses = nat_addresses.iter().map(|id| ResourceReference::new(field("natAddresses"), Kind::ElasticIp, id));
    let groups = security_group_ids
        .iter()
        .flatten()
        .map(|id| ResourceReference::new(field("securityGroupIds"), Kind::SecurityGroup, id));
    let delivery = flow_logs.iter().filter_map(|logs| logs.cloud_watch_logs.as_ref());
    let roles = delivery.map(|LogGroupDestination { log_group: _, role_arn }| {
        ResourceReference::new(field("flowLogs.cloudWatchLogs.roleArn"), Kind::Role, role_arn)
    });
    addresses.chain(groups).chain(roles).collect()
}

fn by_fargate_profile(profile: &FargateProfile) -> Vec<ResourceReference> {
    let FargateProfile { name, selectors: _, pod_execution_role_arn, subnet_ids } = profile;
    let field = |member: &str| format!("spec.fargateProfiles[{name}].{member}");
    let role =
        pod_execution_role_arn.iter().map(|arn| ResourceReference::new(field("podExecutionRoleArn"), Kind::Role, arn));
    let subnets = subnet_ids.iter().flatten().map(|id| ResourceReference::new(field("subnetIds"), Kind::Subnet, id));
    role.chain(subnets).collect()
}

fn by_existing_network(network: &ExistingNetwork) -> Vec<ResourceReference> {
    // Tags, ranges and zones select among the subnets of vpcId.
    let ExistingNetwork { vpc_id, subnet_ids, subnet_selector: _, subnets, security_group_ids } = network;
    let field = |name: &str| format!("spec.network.existing.{name}");
    let vpc = vpc_id.iter().map(|id| ResourceReference::new(field("vpcId"), Kind::Vpc, id));
    let by_id = subnets.iter().flatten().filter_map(|SubnetReference { id, cidr: _, zone: _ }| id.as_ref());
    let by_id = by_id.map(|id| ResourceReference::new(field("subnets"), Kind::Subnet, id));
    let subnets =
        subnet_ids.iter().flatten().map(|id| ResourceReference::new(field("subnetIds"), Kind::Subnet, id)).chain(by_id);
    let groups = security_group_ids
        .iter()
        .flatten()
        .map(|id| ResourceReference::new(field("securityGroupIds"), Kind::SecurityGroup, id));
    vpc.chain(subnets).chain(groups).collect()
}

fn by_pod_identity(one: &PodIdentity) -> Vec<ResourceReference> {
    let PodIdentity { namespace, service_account, role_arn, role, target_role_arn, disable_session_tags: _ } = one;
    let field = |name: &str| format!("spec.podIdentities[{namespace}/{service_account}].{name}");
    let existing = role_arn.iter().map(|arn| ResourceReference::new(field("roleArn"), Kind::Role, arn));
    let target = target_role_arn.iter().map(|arn| ResourceReference::new(field("targetRoleArn"), Kind::Role, arn));
    existing.chain(target).chain(role.iter().flat_map(|role| by_workload_role(&field("role"), role))).collect()
}

/// What a role of Keelson's may do: its boundary alone limits a document that the object's author writes.
fn by_workload_role(field: &str, role: &WorkloadRole) -> Vec<ResourceReference> {
    let WorkloadRole { policy_arns, policies, policy } = role;
    let managed =
        policy_arns.iter().map(|arn| ResourceReference::new(format!("{field}.policyArns"), Kind::Policy, arn));
    let included = policies
        .iter()
        .map(|policy| ResourceReference::new(format!("{field}.policies"), Kind::WorkloadPolicy, policy.as_str()));
    let own = policy
        .iter()
        .map(|_| ResourceReference::new(format!("{field}.policy"), Kind::InlinePolicy, "a policy document"));
    managed.chain(included).chain(own).collect()
}

fn by_addon(addon: &Addon) -> Vec<ResourceReference> {
    // `configuration` belongs to the add-on, for what runs in the cluster.
    let Addon {
        name,
        version: _,
        configuration: _,
        conflicts: _,
        service_account_role_arn,
        pod_identity_role_arn,
        before_nodes: _,
        pod_identity_role,
        namespace: _,
        preserve_on_delete: _,
    } = addon;
    let field = |field: &str| format!("spec.addons[{name}].{field}");
    let irsa = service_account_role_arn.iter().map(|arn| (field("serviceAccountRoleArn"), arn));
    let pods = pod_identity_role_arn.iter().map(|arn| (field("podIdentityRoleArn"), arn));
    let existing = irsa.chain(pods).map(|(field, arn)| ResourceReference::new(field, Kind::Role, arn));
    let created = pod_identity_role.iter().flat_map(|role| by_workload_role(&field("podIdentityRole"), role));
    existing.chain(created).collect()
}

/// The references of a NodeGroup.
pub fn by_node_group(spec: &NodeGroupSpec) -> Vec<ResourceReference> {
    let NodeGroupSpec {
        cluster_ref: _,
        node_group_name: _,
        version: _,
        release_version: _,
        ami_type: _,
        instance_types: _,
        capacity_type: _,
        disk_size_gib: _,
        scaling: _,
        subnets: NodeSubnets { tier: _, zones: _, ids, cidrs: _ },
        labels: _,
        taints: _,
        launch_template,
        node,
        role_arn,
        additional_role_policies,
        update: _,
        repair: _,
        warm_pool: _,
        replacement_policy: _,
        deletion_policy: _,
        suspend: _,
        tags: _,
        auto_scaling_group_tags: _,
    } = spec;
    let role = role_arn.iter().map(|arn| ResourceReference::new("spec.roleArn", Kind::Role, arn));
    let policies = additional_role_policies.iter();
    let policies = policies.map(|arn| ResourceReference::new("spec.additionalRolePolicies", Kind::Policy, arn));
    let subnets = ids.iter().flatten().map(|id| ResourceReference::new("spec.subnets.ids", Kind::Subnet, id));
    // A name is resolved to an id first: see `node_group/template_name.rs`.
    let template = launch_template.iter().filter_map(|LaunchTemplate { id, name: _, version: _ }| {
        Some(ResourceReference::new("spec.launchTemplate.id", Kind::LaunchTemplate, id.as_ref()?))
    });
    let node = node.iter().flat_map(by_node_template);
    role.chain(policies).chain(subnets).chain(template).chain(node).collect()
}

/// The references of a launch template that Keelson creates.
fn by_node_template(node: &NodeTemplate) -> Vec<ResourceReference> {
    let NodeTemplate {
        image_id,
        // What it says of a cluster gives a node nothing there: its role would need an access entry.
        node_config: _,
        user_data: _,
        volumes,
        metadata: _,
        security_group_ids,
        capacity_reservation_id,
        placement_group,
        efa: _,
    } = node;
    let groups = security_group_ids.iter();
    let groups = groups.map(|id| ResourceReference::new("spec.node.securityGroupIds", Kind::SecurityGroup, id));
    let keys = volumes.iter().filter_map(|volume| {
        let field = format!("spec.node.volumes[{}].kmsKeyArn", volume.device_name);
        Some(ResourceReference::new(field, Kind::KmsKey, volume.kms_key_arn.as_ref()?))
    });
    let single = [
        ("spec.node.imageId", Kind::Image, image_id),
        ("spec.node.capacityReservationId", Kind::CapacityReservation, capacity_reservation_id),
        ("spec.node.placementGroup", Kind::PlacementGroup, placement_group),
    ];
    let single = single
        .into_iter()
        .filter_map(|(field, kind, value)| Some(ResourceReference::new(field, kind, value.as_ref()?)));
    groups.chain(keys).chain(single).collect()
}
