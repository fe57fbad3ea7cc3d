//! What a plan needs of an account: quotas, actions, roles. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::plan::{ManifestCluster, Planned};
use crate::api::node_group::CapacityType;
use crate::engine::{Action, Key};
use crate::resources::account_checks::quotas::{self, Needs};
use crate::resources::account_checks::requests::{Names, RoleName};
use crate::resources::account_checks::service_roles::{self, ServiceRole};
use crate::resources::eks::{cluster, fargate_profile, launch_template, node_group};
use crate::resources::graph::kind::Kind;
use crate::resources::graph::kinds;
use crate::resources::iam::role::{self, Purpose};
use crate::resources::iam::workload_role;
use crate::resources::network::{elastic_ip, internet_gateway, nat_gateway, vpc};

/// What Keelson calls for no single kind of resource.
const ALWAYS: &[&str] = &[
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "eks:DescribeAddonVersions",
    "eks:DescribeClusterVersions",
    "iam:CreateServiceLinkedRole",
    "iam:GetRole",
];

/// The keys of what the plans create.
pub fn created(plans: &[Planned]) -> BTreeSet<Key> {
    let steps = plans.iter().flat_map(|planned| planned.plan.steps());
    steps.filter(|(_, step)| step.action == Action::Create).map(|(key, _)| key.clone()).collect()
}

/// The quotas that what is created needs. `vcpus`: of an instance type.
pub fn quotas(created: &BTreeSet<Key>, wanted: &ManifestCluster<'_>, vcpus: &BTreeMap<String, u32>) -> Needs {
    let count = |kind: &Kind| u32::try_from(created.iter().filter(|key| kind.is_of(key)).count()).unwrap_or(u32::MAX);
    let mut needs = Needs::default();
    needs.add(quotas::VPCS, count(&vpc::KIND));
    needs.add(quotas::INTERNET_GATEWAYS, count(&internet_gateway::KIND));
    // At most one in each zone.
    needs.add(quotas::NAT_GATEWAYS, count(&nat_gateway::KIND).min(1));
    needs.add(quotas::ADDRESSES, count(&elastic_ip::KIND));
    needs.add(quotas::CLUSTERS, count(&cluster::KIND));
    needs.add(quotas::NODE_GROUPS, count(&node_group::KIND));
    let is_created = |name: &str| created.contains(&node_group::key(name));
    for group in wanted.groups.iter().filter(|group| is_created(&group.node_group_name())) {
        // EC2 takes the first type that it has.
        let Some(first) = group.spec.instance_types.first() else { continue };
        let is_spot = group.spec.capacity_type == CapacityType::Spot;
        if let (Some(quota), Some(each)) = (quotas::of_instance_type(first, is_spot), vcpus.get(first)) {
            needs.add(quota, each * u32::try_from(group.spec.scaling.initial()).unwrap_or_default());
        }
    }
    needs
}

/// The actions that the graphs need, to create and to delete.
pub fn actions(plans: &[Planned]) -> BTreeSet<&'static str> {
    let kinds =
        plans.iter().flat_map(|planned| planned.graph.nodes()).filter_map(|node| kinds::find(node.key().kind()));
    let mut all: BTreeSet<&str> = kinds.flat_map(|kind| kind.actions).chain(ALWAYS).copied().collect();
    if plans.iter().any(|planned| planned.graph.nodes().iter().any(|node| role::KIND.is_of(&node.key()))) {
        all.insert("iam:PassRole");
    }
    // EKS tries a launch with the permissions of whoever creates the node group.
    if plans.iter().any(|planned| planned.graph.nodes().iter().any(|node| launch_template::KIND.is_of(&node.key()))) {
        all.insert("ec2:RunInstances");
        // Whose an AMI is that a node group names.
        all.insert("ec2:DescribeImages");
    }
    all
}

/// The names in simulated requests.
pub fn names(plans: &[Planned], wanted: &ManifestCluster<'_>, partition: &str) -> Names {
    let settings = &wanted.grant.settings;
    let path = settings.role_path.as_deref().unwrap_or("/").trim_start_matches('/');
    let is_role = |key: &Key| role::KIND.is_of(key) || workload_role::KIND.is_of(key);
    let nodes = plans.iter().flat_map(|planned| planned.graph.nodes()).filter(|node| is_role(&node.key()));
    let roles = nodes.filter_map(|node| {
        let (key, facts) = (node.key(), node.facts());
        let fact = |name: &str| facts.iter().find(|(one, _)| *one == name).map(|(_, value)| value.clone());
        // Facts name policies without their path; those of AWS that Keelson attaches have none.
        let policies = fact("policies").unwrap_or_default();
        let policies = policies.split(", ").filter(|name| name.starts_with("Amazon"));
        Some(RoleName {
            name: format!("{path}{}", fact("name")?),
            policies: policies.map(|name| format!("arn:{partition}:iam::aws:policy/{name}")).collect(),
            is_of_pods: workload_role::KIND.is_of(&key),
            passed_to: match Purpose::of(key.name()) {
                _ if workload_role::KIND.is_of(&key) => vec!["pods.eks.amazonaws.com"],
                Some(Purpose::Cluster) => vec!["eks.amazonaws.com"],
                Some(Purpose::Fargate) => vec!["eks-fargate-pods.amazonaws.com"],
                Some(Purpose::Source) => vec!["pods.eks.amazonaws.com"],
                Some(Purpose::Node | Purpose::AutoNode) | None => vec!["ec2.amazonaws.com"],
            },
        })
    });
    Names {
        cluster: wanted.cluster.cluster_name(),
        version: wanted.cluster.spec.version.clone(),
        roles: roles.collect(),
        permissions_boundary: settings.permissions_boundary.clone(),
        workload_permissions_boundary: settings.workload_boundary().map(str::to_owned),
    }
}

/// The service-linked roles that the plans need.
pub fn service_roles(plans: &[Planned], wanted: &ManifestCluster<'_>) -> Vec<ServiceRole> {
    let has = |kind: &Kind| plans.iter().any(|one| one.graph.nodes().iter().any(|node| kind.is_of(&node.key())));
    let is_spot = wanted.groups.iter().any(|group| group.spec.capacity_type == CapacityType::Spot);
    [
        (has(&cluster::KIND), service_roles::CLUSTER),
        (has(&node_group::KIND), service_roles::NODE_GROUP),
        (has(&fargate_profile::KIND), service_roles::FARGATE),
        (is_spot, service_roles::SPOT),
    ]
    .into_iter()
    .filter_map(|(needed, role)| needed.then_some(role))
    .collect()
}
