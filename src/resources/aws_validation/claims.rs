//! What must be true in AWS before a spec can be applied. Pure.

use super::ami::CUSTOM;
use super::own_network::{self, AccountContext};
pub use super::requirement::{NodeLocations, Requirement, RequirementKind, Stage};
use crate::api::access::PodIdentity;
use crate::api::addons::{Addon, AddonVersion, FargateProfile};
use crate::api::network::{ExistingSubnets, NetworkKind};
use crate::api::node_group::{LaunchTemplate, NodeSubnetsKind, ReleaseVersion};
use crate::api::node_template::NodeTemplate;
use crate::api::policy::AdoptionPolicy;
use crate::api::workload_role::WorkloadRole;
use crate::api::{EksClusterSpec, NodeGroupSpec};
use crate::aws::partitions;
use crate::aws::snapshots::named::TemplateRef;
use crate::resources::graph::expand::{ClusterView, node_subnets};
use crate::resources::iam::workload_content;

/// The service that assumes a cluster's role.
pub const EKS: &str = "eks.amazonaws.com";
/// The service that assumes roles for Pods.
pub const PODS: &str = "pods.eks.amazonaws.com";

/// The service that assumes the role of Pods on Fargate.
pub const FARGATE: &str = "eks-fargate-pods.amazonaws.com";

/// The service that assumes the roles of capabilities.
pub const CAPABILITIES: &str = "capabilities.eks.amazonaws.com";

/// The service that assumes the role that delivers flow logs.
pub const FLOW_LOGS: &str = "vpc-flow-logs.amazonaws.com";

/// The requirements of an EksCluster.
pub fn of_cluster(spec: &EksClusterSpec, stage: Stage, around: AccountContext<'_>) -> Vec<Requirement> {
    let AccountContext { account_id, settings, own_vpc } = around;
    let mut requirements = Vec::new();
    // For an adopted cluster, these exist already.
    let is_new = stage == Stage::New && spec.adoption_policy == AdoptionPolicy::Refuse;
    if is_new {
        requirements.push(Requirement::new("spec.version", RequirementKind::Version(spec.version.clone())));
    }
    if stage == Stage::New {
        requirements.extend(spec.role_arn.iter().map(|arn| role("spec.roleArn", arn, Some(EKS))));
        // Every role that Keelson creates uses it.
        let boundary = settings.and_then(|settings| settings.permissions_boundary.clone());
        let boundary = boundary.map(RequirementKind::Policy);
        requirements.extend(boundary.map(|kind| Requirement::new("permissionsBoundaryArn of the AwsAccount", kind)));
    }
    requirements.extend(network(spec, own_vpc));
    requirements.extend(is_new.then(|| own_network::policy_of_ipv6_nodes(spec, account_id)).flatten());
    if workload_content::is_wanted(spec) {
        let boundary = settings.and_then(|settings| settings.workload_permissions_boundary.clone());
        let boundary = boundary.map(RequirementKind::Policy);
        let field = "workloadPermissionsBoundaryArn of the AwsAccount";
        requirements.extend(boundary.map(|kind| Requirement::new(field, kind)));
    }
    // An existing cluster may have add-ons of another version: the upgrade chooses their next version.
    let kubernetes = is_new.then(|| spec.version.clone());
    requirements.extend(spec.addons.iter().flat_map(|one| addon(one, kubernetes.as_ref())));
    requirements.extend(spec.pod_identities.iter().flat_map(pod_identity));
    requirements.extend(spec.fargate_profiles.iter().flat_map(fargate_profile));
    requirements.extend(
        spec.capabilities
            .iter()
            .map(|one| role(format!("spec.capabilities[{}].roleArn", one.name), &one.role_arn, Some(CAPABILITIES))),
    );
    let auto_node = spec.auto_mode.iter().filter_map(|auto| auto.node_role_arn.as_ref());
    let ec2 = partitions::of_region(&spec.region).ec2_principal;
    requirements.extend(auto_node.map(|arn| role("spec.autoMode.nodeRoleArn", arn, Some(ec2))));
    if is_new {
        // EKS keeps an entry whose principal was deleted.
        requirements.extend(spec.access.entries.iter().map(|entry| {
            let arn = &entry.principal_arn;
            let field = "spec.access.entries[].principalArn";
            if arn.contains(":user/") {
                Requirement::new(field, RequirementKind::User(arn.clone()))
            } else {
                role(field, arn, None)
            }
        }));
    }
    requirements
}

/// A target role is mostly in another account, where the operator may read nothing.
fn pod_identity(one: &PodIdentity) -> Vec<Requirement> {
    let field = |name: &str| format!("spec.podIdentities[{}/{}].{name}", one.namespace, one.service_account);
    let existing = one.role_arn.iter().map(|arn| role(field("roleArn"), arn, Some(PODS)));
    existing.chain(one.role.iter().flat_map(|created| policies(&field("role"), created))).collect()
}

/// What a role of Keelson's names.
fn policies(field: &str, role: &WorkloadRole) -> Vec<Requirement> {
    let policy = |arn: &String| Requirement::new(format!("{field}.policyArns"), RequirementKind::Policy(arn.clone()));
    role.policy_arns.iter().map(policy).collect()
}

pub(super) fn role(field: impl Into<String>, arn: &str, service: Option<&'static str>) -> Requirement {
    Requirement::new(field, RequirementKind::Role { arn: arn.to_owned(), service })
}

fn fargate_profile(profile: &FargateProfile) -> Vec<Requirement> {
    let field = |member: &str| format!("spec.fargateProfiles[{}].{member}", profile.name);
    let arn = profile.pod_execution_role_arn.iter();
    let role = arn.map(|arn| role(field("podExecutionRoleArn"), arn, Some(FARGATE)));
    let subnets = profile.subnet_ids.iter().flat_map(|ids| {
        let kinds = [RequirementKind::Subnets(ids.clone()), RequirementKind::PrivateSubnets(ids.clone())];
        kinds.map(|kind| Requirement::new(field("subnetIds"), kind))
    });
    role.chain(subnets).collect()
}

/// Whether the subnets exist and fit is checked by [`crate::resources::network::existing_network`].
fn network(spec: &EksClusterSpec, own_vpc: Option<&str>) -> Vec<Requirement> {
    let existing = match spec.network.kind() {
        Ok(NetworkKind::Existing(existing)) => existing,
        Ok(NetworkKind::Vpc(vpc)) => return own_network::requirements(vpc, own_vpc),
        Err(_) => return Vec::new(),
    };
    let subnets = match existing.subnets() {
        Ok(ExistingSubnets::Ids(ids)) => ids.to_vec(),
        // They are looked for in vpcId.
        Ok(ExistingSubnets::Tagged { .. } | ExistingSubnets::Listed { .. }) | Err(_) => Vec::new(),
    };
    let vpc = existing.vpc_id.iter().filter(|_| !subnets.is_empty()).map(|id| {
        Requirement::new(
            "spec.network.existing.vpcId",
            RequirementKind::Vpc { id: id.clone(), subnets: subnets.clone() },
        )
    });
    let groups = existing.security_group_ids.iter().filter(|ids| !ids.is_empty()).map(|ids| {
        let kind = RequirementKind::SecurityGroups {
            ids: ids.clone(),
            vpc: existing.vpc_id.clone(),
            subnets: subnets.clone(),
        };
        Requirement::new("spec.network.existing.securityGroupIds", kind)
    });
    vpc.chain(groups).collect()
}

fn addon(addon: &Addon, kubernetes: Option<&String>) -> Vec<Requirement> {
    let name = &addon.name;
    let version = match addon.version() {
        AddonVersion::Exact(exact) => Some(exact.to_owned()),
        AddonVersion::Default | AddonVersion::Latest => None,
    };
    let kind = RequirementKind::Addon { name: name.clone(), version, kubernetes: kubernetes.cloned() };
    let field = |member: &str| format!("spec.addons[{name}].{member}");
    // The trust policy for IRSA depends on the cluster's OIDC issuer, so it is not checked.
    let irsa = addon.service_account_role_arn.iter().map(|arn| role(field("serviceAccountRoleArn"), arn, None));
    let pods = addon.pod_identity_role_arn.iter().map(|arn| role(field("podIdentityRoleArn"), arn, Some(PODS)));
    let created = addon.pod_identity_role.iter().flat_map(|role| policies(&field("podIdentityRole"), role));
    [Requirement::new(format!("spec.addons[{name}]"), kind)]
        .into_iter()
        .chain(irsa)
        .chain(pods)
        .chain(created)
        .collect()
}

/// The requirements of a NodeGroup. `cluster` is what is known of its EksCluster, whose spec is `cluster_spec`.
pub fn of_node_group(
    spec: &NodeGroupSpec,
    stage: Stage,
    cluster_spec: &EksClusterSpec,
    cluster: &ClusterView,
) -> Vec<Requirement> {
    let mut requirements = Vec::new();
    let template = spec.launch_template.as_ref().and_then(|template| {
        let LaunchTemplate { id, name, version } = template;
        let named = id.clone().map(TemplateRef::Id).or_else(|| name.clone().map(TemplateRef::Name))?;
        Some((named, version.clone().unwrap_or_else(|| "$Default".to_owned())))
    });
    if let Some((id, version)) = &template {
        let kind = RequirementKind::Template { id: id.clone(), version: version.clone() };
        requirements.push(Requirement::new("spec.launchTemplate", kind));
    }
    if spec.role_arn.is_none() {
        let policies = spec.additional_role_policies.iter();
        requirements.extend(
            policies.map(|arn| Requirement::new("spec.additionalRolePolicies", RequirementKind::Policy(arn.clone()))),
        );
    }
    // For an existing group that follows its cluster, the cluster's upgrade chooses the version.
    let cluster_version = (stage == Stage::New).then(|| cluster.version.as_ref().unwrap_or(&cluster_spec.version));
    let kubernetes = spec.version.as_ref().or(cluster_version);
    if let (Some(name), Some(kubernetes)) = (&spec.ami_type, kubernetes) {
        let kind = RequirementKind::AmiType { name: name.clone(), kubernetes: kubernetes.clone() };
        requirements.push(Requirement::new("spec.amiType", kind));
    }
    requirements.extend(spec.node.iter().flat_map(|node| node_template(node, cluster_spec, cluster)));
    if stage == Stage::Edited {
        return requirements;
    }
    let has_image = spec.node.as_ref().is_some_and(|node| node.image_id.is_some());
    let ec2 = partitions::of_region(&cluster_spec.region).ec2_principal;
    requirements.extend(spec.role_arn.iter().map(|arn| role("spec.roleArn", arn, Some(ec2))));
    if let Some(ids) = &spec.subnets.ids {
        requirements.push(Requirement::new("spec.subnets.ids", RequirementKind::Subnets(ids.clone())));
    }
    requirements.extend(node_network(spec, cluster_spec, cluster));
    let release = match spec.release_version() {
        ReleaseVersion::Exact(exact) => Some(exact.to_owned()),
        ReleaseVersion::Latest | ReleaseVersion::Pinned => None,
    };
    if template.is_some() || spec.ami_type.as_deref() == Some(CUSTOM) && !has_image {
        let kind = RequirementKind::OwnImage { template: template.clone(), ami_type: spec.ami_type.clone(), release };
        requirements.push(Requirement::new("spec.launchTemplate", kind));
    }
    let kind = RequirementKind::Instances {
        types: spec.instance_types.clone(),
        ami_type: spec.ami_type.clone(),
        locations: locations(spec, cluster_spec, cluster),
        template,
        has_image,
        efa: spec.node.as_ref().is_some_and(|node| node.efa),
    };
    requirements.push(Requirement::new("spec.instanceTypes", kind));
    requirements
}

/// What the launch template names that Keelson creates.
fn node_template(node: &NodeTemplate, cluster_spec: &EksClusterSpec, cluster: &ClusterView) -> Vec<Requirement> {
    let existing = cluster_spec.network.existing.as_ref();
    let groups = RequirementKind::SecurityGroups {
        ids: node.security_group_ids.clone(),
        vpc: existing.and_then(|existing| existing.vpc_id.clone()),
        subnets: cluster.subnets.iter().map(|subnet| subnet.id.clone()).collect(),
    };
    let groups = Some(groups).filter(|_| !node.security_group_ids.is_empty());
    let groups = groups.map(|kind| Requirement::new("spec.node.securityGroupIds", kind));
    let keys = node.volumes.iter().filter_map(|volume| {
        let field = format!("spec.node.volumes[{}].kmsKeyArn", volume.device_name);
        Some(Requirement::new(field, RequirementKind::Key(volume.kms_key_arn.clone()?)))
    });
    groups.into_iter().chain(keys).collect()
}

/// A network that the user provides is judged for nodes; Keelson's own has what they need.
fn node_network(spec: &NodeGroupSpec, cluster_spec: &EksClusterSpec, cluster: &ClusterView) -> Option<Requirement> {
    let is_given = cluster_spec.network.existing.is_some() || is_listed(spec);
    let subnets = node_subnets(spec, cluster).ok().filter(|subnets| is_given && !subnets.is_empty())?;
    let kind = RequirementKind::NodeSubnets {
        subnets,
        private_access: cluster_spec.endpoint_access.private,
        nodes: spec.scaling.initial(),
        has_template: spec.launch_template.is_some() || spec.node.as_ref().is_some_and(has_user_data),
    };
    Some(Requirement::new("spec.subnets", kind))
}

fn has_user_data(node: &NodeTemplate) -> bool {
    node.user_data.is_some() || node.node_config.is_some()
}

/// Whether the subnets of a NodeGroup are known, so that all its requirements are.
pub fn knows_subnets(spec: &NodeGroupSpec, cluster: &ClusterView) -> bool {
    spec.subnets.ids.is_some() && spec.subnets.cidrs.is_none() || !cluster.subnets.is_empty()
}

fn is_listed(spec: &NodeGroupSpec) -> bool {
    spec.subnets.ids.is_some() || spec.subnets.cidrs.is_some()
}

fn locations(spec: &NodeGroupSpec, cluster_spec: &EksClusterSpec, cluster: &ClusterView) -> NodeLocations {
    let (tier, zones) = match spec.subnets.kind() {
        Ok(NodeSubnetsKind::Listed { .. }) => {
            let known = node_subnets(spec, cluster).ok().filter(|ids| !ids.is_empty());
            return known.map_or(NodeLocations::Unknown, NodeLocations::Subnets);
        }
        Ok(NodeSubnetsKind::Tier { tier, zones }) => (tier, zones),
        Err(_) => return NodeLocations::Unknown,
    };
    if let Some(zones) = zones {
        return NodeLocations::Zones(zones.to_vec());
    }
    let of_tier: Vec<_> = cluster.subnets.iter().filter(|one| one.tier == tier).map(|one| one.zone.clone()).collect();
    if !of_tier.is_empty() {
        return NodeLocations::Zones(of_tier);
    }
    match &cluster_spec.network.vpc {
        Some(vpc) => vpc.zones.clone().map_or(NodeLocations::Unknown, NodeLocations::Zones),
        None => NodeLocations::Unknown,
    }
}
