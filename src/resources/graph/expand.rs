//! Expands a spec to the graph of resources that must exist. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::expand_karpenter;
use super::expand_network::add_own_network;
pub(crate) use super::expand_node_group::node_subnets;
pub use super::expand_node_group::{
    ClusterView, NodeGroupInput, SecondNodeGroup, SubnetView, node_content, node_group, node_group_tags,
};
use super::kinds;
use super::layout;
use super::proof::Owned;
use super::source_identity;
use crate::api::access::AuthenticationMode;
use crate::api::addons::Addon as DesiredAddon;
use crate::api::network::{IpFamily, NetworkKind};
use crate::api::{EksClusterSpec, SpecError};
use crate::aws::tags::{MAX_TAGS, MAX_USER_TAGS};
use crate::engine::{Gate, Graph, Key, erased};
use crate::resources::cloud::{AccountSettings, Cloud, Intervals, Owner, ResourceContext};
use crate::resources::deletion::claim_volumes::ClaimVolumes;
use crate::resources::deletion::leftovers::Leftovers;
use crate::resources::deletion::prune::Pruning;
use crate::resources::deletion::pruned_kind::PrunedKind;
use crate::resources::deletion::removals::{self, Removals};
use crate::resources::eks::access_entry::AccessEntry;
use crate::resources::eks::addon::{self, Addon};
use crate::resources::eks::addon_fargate;
use crate::resources::eks::capability::{self, Capability};
use crate::resources::eks::certificate_authority::CertificateAuthority;
use crate::resources::eks::cluster::{self, Cluster};
use crate::resources::eks::fargate_profile::{self, FargateProfile};
use crate::resources::eks::identity_provider::{self, IdentityProvider};
use crate::resources::eks::log_group::{self, LogGroup};
use crate::resources::eks::node_access_entry::NodeAccessEntry;
use crate::resources::eks::pod_identity_association::PodIdentityAssociation;
use crate::resources::iam::external_role::ExternalRole;
pub use crate::resources::iam::node_role::NodeRole;
use crate::resources::iam::oidc_provider::{self, OidcProvider};
use crate::resources::iam::role::{self, Purpose, Role};
use crate::resources::iam::workload_content;
use crate::resources::iam::workload_role;
use crate::resources::network::existing_network::{self, ExistingNetwork};

/// A node of the graph.
pub(crate) type Node = Arc<dyn erased::Node<Cloud>>;

/// Whether nodes exist that add-ons can run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// They do.
    Ready,
    /// Not yet, and why.
    NotYet(String),
    /// No NodeGroup refers to the cluster, and no other node is known: as far as possible, add-ons run on Fargate.
    NoneExpected(String),
}

/// The versions to install now, as the upgrade in progress chose them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the control plane; `None` keeps the current one, or uses the spec's on creation.
    pub control_plane: Option<String>,
    /// Of add-ons, by name. An add-on that is missing here keeps its current version, or gets the spec's on creation.
    pub addons: BTreeMap<String, String>,
}

/// The input for a cluster's graph.
#[derive(Clone, Debug)]
pub struct ClusterInput<'a> {
    /// The spec.
    pub spec: &'a EksClusterSpec,
    /// The name in EKS.
    pub cluster_name: &'a str,
    /// The EksCluster.
    pub owner: &'a Owner,
    /// The settings of the account.
    pub account: &'a AccountSettings,
    /// The zones of the VPC's subnets.
    pub zones: &'a [String],
    /// Endpoint services that `private` stands for and the region does not have.
    pub missing_services: &'a BTreeSet<String>,
    /// What its NodeGroups require of the node role.
    pub node_role: &'a NodeRole,
    /// Whether nodes exist.
    pub nodes: Nodes,
    /// Node groups that still exist in AWS: they block the cluster's deletion.
    pub node_groups_left: &'a [String],
    /// What exists in AWS with the object's tag: resources that the spec no longer lists are deleted with the cluster.
    pub owned: &'a [Key],
    /// Tag keys requested so far, from status.
    pub tag_keys: &'a [String],
    /// Roles that nodes use: EKS created their access entries.
    pub used_roles: &'a [Purpose],
    /// The same with ids, if resources that the spec no longer lists are removed now; `None`: everything is deleted, in
    /// order.
    pub removes: Option<&'a [Owned]>,
    /// Volumes of the cluster's claims that are newer than this are deleted with it; `None`: none are.
    pub volumes_since: Option<Timestamp>,
    /// Instances of Karpenter that are newer than this and outlive the cluster are terminated with it; `None`: none are.
    pub instances_since: Option<Timestamp>,
    /// The versions to install now.
    pub versions: &'a Versions,
    /// How long observations stay valid.
    pub intervals: Intervals,
}

pub(crate) fn graph(nodes: Vec<Node>, gates: Vec<Gate>) -> Result<Graph<Cloud>, SpecError> {
    // Cannot fail for any spec: the tests expand every combination.
    Graph::new(nodes, gates).map_err(|error| SpecError::new("spec", error.to_string()))
}

/// Refuses tags that do not all fit on a resource: the limits of the CRDs hold for each list alone, and resources carry
/// all of them. Not asked for a deletion, which must not depend on it.
pub fn check_tag_count(tags: &BTreeMap<String, String>) -> Result<(), SpecError> {
    let Some(excess) = tags.len().checked_sub(MAX_USER_TAGS).filter(|excess| *excess > 0) else { return Ok(()) };
    let message = format!(
        "{} tags, with those of the AwsAccount and the EksCluster; AWS allows {MAX_TAGS} on a resource, and Keelson needs \
         {} of them: remove {excess}",
        tags.len(),
        MAX_TAGS - MAX_USER_TAGS,
    );
    Err(SpecError::new("spec.tags", message))
}

/// Builds the graph of a cluster.
pub fn cluster(input: &ClusterInput<'_>) -> Result<Graph<Cloud>, SpecError> {
    let ClusterInput { spec, owner, account, zones, .. } = input;
    if input.removes.is_some() {
        check_tag_count(&account.tags_with(&spec.tags))?;
        workload_content::check(spec, input.cluster_name)?;
    }
    let context = ResourceContext {
        owner,
        cluster_name: input.cluster_name,
        user_tags: account.tags_with(&spec.tags),
        former_tags: input.tag_keys.iter().cloned().collect(),
        intervals: input.intervals,
    };
    let mut nodes: Vec<Node> = Vec::new();
    let network = match spec.network.kind()? {
        NetworkKind::Vpc(vpc) => {
            if let Some(service) = &spec.kubernetes_network.service_cidr {
                layout::check_no_overlap(&vpc.cidr, service)?;
            }
            add_own_network(&mut nodes, &context, vpc, zones, input)?
        }
        NetworkKind::Existing(existing) => {
            nodes.push(Arc::new(ExistingNetwork::new(&context, existing, spec.endpoint_access.private)));
            let spared = existing.security_group_ids.as_deref().unwrap_or_default();
            nodes.push(Arc::new(Leftovers::new(&context, existing_network::key(), Vec::new(), spared)));
            vec![existing_network::key()]
        }
    };
    nodes.push(match &spec.role_arn {
        Some(arn) => Arc::new(ExternalRole::new(&context, Purpose::Cluster, arn)),
        None => {
            let role = Role::new(&context, Purpose::Cluster, &[], account);
            Arc::new(if spec.has_auto_mode() { role.for_auto_mode() } else { role })
        }
    });
    if cluster::creates_node_role(spec) || input.owned.contains(&role::key(Purpose::AutoNode)) {
        nodes.push(Arc::new(Role::new(&context, Purpose::AutoNode, &[], account).in_region(&spec.region)));
    }
    if input.node_role.is_required(spec) || input.owned.contains(&role::key(Purpose::Node)) {
        let role = Role::new(&context, Purpose::Node, &input.node_role.policies, account).in_region(&spec.region);
        let role = role.with_node_groups(&input.node_role.node_groups);
        // Nodes of an existing network with IPv6 have roles of their own.
        let ipv6 = spec.kubernetes_network.ip_family == IpFamily::IPv6 && spec.network.vpc.is_some();
        let role = if ipv6 { role.for_ipv6() } else { role };
        nodes.push(Arc::new(role.with_kept_policies(&input.node_role.refused_policies)));
    }
    let version = input.versions.control_plane.clone();
    let cluster = Cluster::new(&context, spec, network.clone(), version);
    nodes.push(Arc::new(cluster));
    if spec.log_group.is_some() || is_deleted_with_cluster(input, &log_group::key()) {
        nodes.push(Arc::new(LogGroup::new(&context, spec.log_group.as_ref())));
    }
    nodes.extend(CertificateAuthority::of(&context, spec)?.map(|node| -> Node { Arc::new(node) }));
    if spec.oidc_provider || is_deleted_with_cluster(input, &oidc_provider::key()) {
        nodes.push(Arc::new(OidcProvider::new(&context)));
    }
    add_cluster_resources(&mut nodes, &context, spec, input);
    expand_karpenter::add(&mut nodes, &context, input);
    source_identity::add(&mut nodes, &context, spec, account, input.owned);
    let roles = workload_role::all(&context, spec, account, input.owned, input.removes.is_some());
    nodes.extend(roles.into_iter().map(|role| -> Node { Arc::new(role) }));
    let needs_role = spec.fargate_profiles.iter().any(|profile| profile.pod_execution_role_arn.is_none());
    if needs_role || input.owned.contains(&role::key(Purpose::Fargate)) {
        nodes.push(Arc::new(Role::new(&context, Purpose::Fargate, &[], account)));
    }
    add_fargate_profiles(&mut nodes, &context, spec, &network);
    add_capabilities(&mut nodes, &context, spec, input);
    add_identity_provider(&mut nodes, &context, spec, input);
    if spec.access.authentication_mode != AuthenticationMode::ConfigMap {
        let ours = |purpose: &&Purpose| nodes.iter().any(|node| node.key() == role::key(**purpose));
        let used: Vec<_> = input.used_roles.iter().filter(ours).copied().collect();
        nodes.extend(used.into_iter().map(|purpose| -> Node { Arc::new(NodeAccessEntry::new(&context, purpose)) }));
    }
    nodes.extend(input.volumes_since.map(|since| -> Node { Arc::new(ClaimVolumes::new(&context, since)) }));
    let keys = nodes.iter().map(|node| node.key()).collect();
    if let Some(removals) = input.removes.and_then(|owned| Removals::new(&context, owned, &keys)) {
        nodes.push(Arc::new(removals));
    }
    graph(nodes, gates(input))
}

/// Whether a resource of an earlier spec exists and is deleted with the cluster; otherwise [`Removals`] removes it
/// separately.
pub(super) fn is_deleted_with_cluster(input: &ClusterInput<'_>, key: &Key) -> bool {
    input.removes.is_none() && input.owned.contains(key)
}

/// Adds the resources inside the control plane that take little time.
fn add_cluster_resources(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    input: &ClusterInput<'_>,
) {
    let only_fargate = matches!(input.nodes, Nodes::NoneExpected(_));
    for entry in &spec.access.entries {
        nodes.push(Arc::new(AccessEntry::new(context, entry)));
    }
    for wanted in &spec.addons {
        let addon = Addon::new(context, wanted, input.versions.addons.get(&wanted.name).cloned());
        nodes.push(Arc::new(addon.on_fargate(addon_fargate::profile(spec, wanted, only_fargate))));
    }
    for wanted in &spec.pod_identities {
        nodes.push(Arc::new(PodIdentityAssociation::new(context, wanted)));
    }
    let listed = spec.pod_identities.iter().map(|one| format!("{}/{}", one.namespace, one.service_account));
    let listed = listed.chain(source_identity::service_account(spec)).chain(expand_karpenter::service_account(input));
    nodes.push(Arc::new(Pruning::new(context, PrunedKind::PodIdentities, listed)));
    if spec.access.prune {
        let listed = spec.access.entries.iter().map(|entry| entry.principal_arn.clone());
        nodes.push(Arc::new(Pruning::new(context, PrunedKind::AccessEntries, listed)));
    }
    if spec.prune_addons {
        let listed = spec.addons.iter().map(|addon| addon.name.clone());
        let pruning = Pruning::new(context, PrunedKind::Addons, listed);
        nodes.push(Arc::new(pruning.with_core_addons(spec.prune_core_addons)));
    }
}

/// Adds the Fargate profiles, each after the previous one.
fn add_fargate_profiles(nodes: &mut Vec<Node>, context: &ResourceContext<'_>, spec: &EksClusterSpec, network: &[Key]) {
    let mut before = None;
    for wanted in &spec.fargate_profiles {
        nodes.push(Arc::new(FargateProfile::new(context, wanted, network.to_vec(), before)));
        before = Some(fargate_profile::key(&wanted.name));
    }
    let listed = spec.fargate_profiles.iter().map(|profile| profile.name.clone());
    nodes.push(Arc::new(Pruning::new(context, PrunedKind::FargateProfiles, listed)));
}

/// Adds the capabilities; new ones wait for the removal of those that are no longer listed, which may be of the same type.
fn add_capabilities(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    input: &ClusterInput<'_>,
) {
    let is_dropped = |key: &Key| {
        capability::KIND.is_of(key) && spec.capabilities.iter().all(|capability| capability.name != key.name())
    };
    let earlier = input.owned.iter().filter(|key| is_dropped(key) && input.removes.is_none());
    nodes.extend(earlier.map(|key| -> Node { Arc::new(Capability::earlier(context, key.name())) }));
    let removal = input.removes.filter(|owned| owned.iter().any(|(key, _)| is_dropped(key))).map(|_| removals::key());
    let listed = spec.capabilities.iter();
    nodes.extend(listed.map(|wanted| -> Node { Arc::new(Capability::new(context, wanted, removal.clone())) }));
}

/// Adds the identity provider after everything else in the cluster, and after its nodes: EKS creates none of it while it associates one.
/// Add-ons that wait for nodes that nobody asked for come later.
fn add_identity_provider(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    input: &ClusterInput<'_>,
) {
    let wanted = spec.access.oidc_identity_provider.as_ref();
    let earlier = input.owned.iter().filter(|key| identity_provider::KIND.is_of(key) && input.removes.is_none());
    let earlier = earlier.filter(|key| wanted.is_none_or(|wanted| wanted.name != key.name()));
    nodes.extend(earlier.map(|key| -> Node { Arc::new(IdentityProvider::earlier(context, key.name())) }));
    let Some(wanted) = wanted else { return };
    let waits_in_vain = |addon: &&DesiredAddon| addon.needs_nodes() && matches!(input.nodes, Nodes::NoneExpected(_));
    let later: BTreeSet<Key> = spec.addons.iter().filter(waits_in_vain).map(|addon| addon::key(&addon.name)).collect();
    let is_first = |key: &Key| kinds::is_in_cluster(key) && !identity_provider::KIND.is_of(key) && !later.contains(key);
    let gate = matches!(input.nodes, Nodes::NotYet(_)).then(addon::nodes_gate);
    let after = nodes.iter().map(|node| node.key()).filter(is_first).chain(gate).collect();
    let key = identity_provider::key(&wanted.name);
    let removal =
        input.removes.filter(|existing| removals::must_wait_for_removal(&key, existing)).map(|_| removals::key());
    nodes.push(Arc::new(IdentityProvider::new(context, wanted, after, removal)));
}

fn gates(input: &ClusterInput<'_>) -> Vec<Gate> {
    let (open, why) = match &input.nodes {
        Nodes::Ready => (true, String::new()),
        Nodes::NotYet(why) | Nodes::NoneExpected(why) => (false, why.clone()),
    };
    let remaining = input.node_groups_left;
    vec![
        Gate { key: addon::nodes_gate(), open, why, holds: Vec::new() },
        Gate {
            key: Key::single("nodeGroups"),
            open: remaining.is_empty(),
            why: format!("node groups {} to be deleted", remaining.join(", ")),
            // Nodes still need their role while they are drained.
            holds: vec![cluster::key(), role::key(Purpose::Node)],
        },
    ]
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "expand_parts_tests.rs"]
mod parts_tests;
