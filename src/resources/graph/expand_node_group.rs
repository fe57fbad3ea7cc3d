//! Expands the spec of a NodeGroup to the graph of resources that must exist. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::expand::{Node, graph};
use crate::api::node_group::{CapacityType, NodeSubnetsKind, SubnetTier};
use crate::api::{NodeGroupSpec, SpecError};
use crate::engine::{Gate, Graph, Key, Succession};
use crate::resources::cloud::{AccountSettings, Cloud, Intervals, Owner, ResourceContext};
use crate::resources::eks::auto_scaling_group_tags::AutoScalingGroupTags;
use crate::resources::eks::launch_template::LaunchTemplate;
use crate::resources::eks::node_group::{self, NodeGroup, ReplacementPart, Target};
use crate::resources::eks::node_template::{self, Content, desired_content};

/// What a node group needs to know about its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The name in EKS.
    pub cluster_name: String,
    /// The Kubernetes version of its control plane.
    pub version: Option<String>,
    /// Its subnets.
    pub subnets: Vec<SubnetView>,
    /// The role of nodes without their own.
    pub node_role_arn: Option<String>,
    /// What launch templates of nodes need of it.
    pub node_template: node_template::Cluster,
    /// Why the cluster cannot take nodes yet, if so.
    pub not_ready: Option<String>,
    /// The cluster's tags.
    pub tags: BTreeMap<String, String>,
}

/// A subnet of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetView {
    /// Its id.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// For nodes or for load balancers.
    pub tier: SubnetTier,
    /// Its IPv4 range, if it is known.
    pub cidr: Option<String>,
}

/// The input for a node group's graph.
#[derive(Clone, Debug)]
pub struct NodeGroupInput<'a> {
    /// The spec.
    pub spec: &'a NodeGroupSpec,
    /// The name in EKS.
    pub node_group_name: &'a str,
    /// The NodeGroup.
    pub owner: &'a Owner,
    /// The settings of the account.
    pub account: &'a AccountSettings,
    /// Its cluster.
    pub cluster: &'a ClusterView,
    /// The versions its nodes may be updated to now.
    pub target: Target,
    /// It exists in EKS, which fixed its subnets: what its selection matches now does not count.
    pub exists: bool,
    /// The names of its node groups for which Keelson created a launch template: each is deleted with its node group, whatever the
    /// spec says now.
    pub with_template: BTreeSet<String>,
    /// Another node group of the same NodeGroup.
    pub beside: SecondNodeGroup,
    /// Tag keys requested so far, from status.
    pub tag_keys: &'a [String],
    /// The same of the tags on its Auto Scaling group.
    pub group_tag_keys: &'a [String],
    /// How long observations stay valid.
    pub intervals: Intervals,
}

/// Another node group of the same NodeGroup, during a replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecondNodeGroup {
    /// There is none.
    #[default]
    Nothing,
    /// It will replace the main one, and may not be created yet.
    Planned {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The main one replaces it.
    Replaced {
        /// Its name.
        name: String,
        /// Its size.
        nodes: i32,
        /// Why the main one may not be created yet, if so.
        not_yet: Option<String>,
        /// The spec describes neither: what EKS cannot change is not compared.
        is_outdated: bool,
        /// Why it may still be in use; `None`: its nodes are drained, and those of the main one are ready.
        in_use: Option<String>,
    },
}

/// The gate of the creation of a node group beside another one.
fn replacement_gate() -> Key {
    Key::single("replacementWindow")
}

/// The gate that opens when the nodes of a node group are drained.
fn drain_gate(name: &str) -> Key {
    Key::named("drain", name)
}

/// A gate that is closed for a reason.
fn closed_if(key: Key, why: Option<&String>) -> Gate {
    Gate { key, open: why.is_none(), why: why.cloned().unwrap_or_default(), holds: Vec::new() }
}

/// The user tags of a node group: its own take precedence over its cluster's, within the account's settings.
pub fn node_group_tags(
    spec: &NodeGroupSpec,
    cluster: &ClusterView,
    account: &AccountSettings,
) -> BTreeMap<String, String> {
    let mut own = cluster.tags.clone();
    own.extend(spec.tags.clone());
    account.tags_with(&own)
}

/// The contents of the launch template that a spec with these tags asks for; `None`: it asks for none, or they depend on what is not
/// known of the cluster yet.
///
/// # Errors
/// A value that AWS would refuse.
pub fn node_content(
    spec: &NodeGroupSpec,
    cluster: &ClusterView,
    node_group_name: &str,
    tags: &BTreeMap<String, String>,
) -> Result<Option<Content>, SpecError> {
    let Some(node) = &spec.node else { return Ok(None) };
    let name = format!("{}/{node_group_name}", cluster.cluster_name);
    let content = desired_content::content(node, &cluster.node_template, &name, tags)?;
    let block = spec.instance_types.first().filter(|_| spec.capacity_type == CapacityType::CapacityBlock);
    Ok(content.map(|content| Content { capacity_block: block.cloned(), ..content }))
}

/// Builds the graph of a node group.
pub fn node_group(input: &NodeGroupInput<'_>) -> Result<Graph<Cloud>, SpecError> {
    let NodeGroupInput { spec, owner, account, cluster, .. } = input;
    let user_tags = node_group_tags(spec, cluster, account);
    let former_tags = input.tag_keys.iter().cloned().collect();
    let context = ResourceContext {
        owner,
        cluster_name: &cluster.cluster_name,
        user_tags,
        former_tags,
        intervals: input.intervals,
    };
    let role = spec.role_arn.clone().or_else(|| cluster.node_role_arn.clone());
    let subnets = match node_subnets(spec, cluster) {
        Err(_) if input.exists => Vec::new(),
        selected => selected?,
    };
    let not_ready = match (&cluster.not_ready, &role) {
        (Some(why), _) => Some(why.clone()),
        (None, None) => Some("the node role does not exist yet".into()),
        (None, Some(_)) => None,
    };
    let gate = Gate {
        key: node_group::cluster_gate(),
        open: not_ready.is_none(),
        why: not_ready.unwrap_or_default(),
        holds: Vec::new(),
    };
    let target = Target { control_plane: cluster.version.clone(), ..input.target.clone() };
    let name = input.node_group_name;
    let content = target.node.clone();
    let role = role.unwrap_or_default();
    // A node group, and before it the launch template that Keelson creates for it.
    let group = |name: &str, part: ReplacementPart, content: Option<Content>| -> Vec<Node> {
        let (target, subnets) = (Target { node: content.clone(), ..target.clone() }, subnets.clone());
        let main = NodeGroup::new(&context, name, spec, target, subnets, role.clone()).in_replacement(part.clone());
        // The spec does not describe one that is outdated: it has what it was created with.
        let asked = spec.node.is_some() && part != ReplacementPart::Outdated;
        if !asked && !input.with_template.contains(name) {
            return vec![Arc::new(main)];
        }
        let is_used = input.exists && name == input.node_group_name;
        let template = LaunchTemplate::new(&context, name, content, &spec.instance_types, is_used);
        vec![Arc::new(template.in_replacement(part)), Arc::new(main.with_own_template())]
    };
    let (mut gates, mut beside): (_, Vec<Node>) = (vec![gate], Vec::new());
    let part = match &input.beside {
        SecondNodeGroup::Nothing => ReplacementPart::Described,
        SecondNodeGroup::Planned { name, why } => {
            let gate = replacement_gate();
            gates.push(closed_if(gate.clone(), Some(why)));
            let content = node_content(spec, cluster, name, &context.user_tags)?;
            beside.extend(group(name, ReplacementPart::Successor { gate, nodes: 0 }, content));
            ReplacementPart::Outdated
        }
        SecondNodeGroup::Replaced { name: old, nodes: size, not_yet, is_outdated, in_use } => {
            let (gate, unused) = (replacement_gate(), drain_gate(old));
            gates.extend([closed_if(gate.clone(), not_yet.as_ref()), closed_if(unused.clone(), in_use.as_ref())]);
            let successor = node_group::key(name);
            beside.extend(group(old, ReplacementPart::Replaced(Succession { successor, unused }), None));
            if *is_outdated { ReplacementPart::Outdated } else { ReplacementPart::Successor { gate, nodes: *size } }
        }
    };
    let mut nodes = group(name, part, content);
    nodes.extend(beside);
    // A node group that another one replaces keeps the tags that it has.
    let wanted = account.with_enforced_values(&spec.auto_scaling_group_tags);
    let group_tags = AutoScalingGroupTags::new(&context, name, wanted, input.group_tag_keys);
    if !group_tags.is_empty() && (input.exists || !group_tags.is_removal()) {
        nodes.push(Arc::new(group_tags));
    }
    graph(nodes, gates)
}

/// The subnets of a node group. Selected subnets are checked once the cluster's subnets are known.
pub(crate) fn node_subnets(spec: &NodeGroupSpec, cluster: &ClusterView) -> Result<Vec<String>, SpecError> {
    let refuse = |field, why: String| Err(SpecError::new(field, why));
    match spec.subnets.kind()? {
        NodeSubnetsKind::Listed { ids, cidrs: [] } => Ok(ids.to_vec()),
        NodeSubnetsKind::Listed { .. } if cluster.subnets.is_empty() => Ok(Vec::new()),
        NodeSubnetsKind::Listed { ids, cidrs } => {
            let of_range = |range: &String| cluster.subnets.iter().find(|subnet| subnet.cidr.as_ref() == Some(range));
            let missing: Vec<_> = cidrs.iter().filter(|range| of_range(range).is_none()).cloned().collect();
            if !missing.is_empty() {
                let known: Vec<_> = cluster.subnets.iter().filter_map(|subnet| subnet.cidr.clone()).collect();
                let (missing, known) = (missing.join(", "), known.join(", "));
                let why = format!("the cluster has no subnet of {missing}; it has {known}");
                return refuse("spec.subnets.cidrs", why);
            }
            let of_ranges = cidrs.iter().filter_map(of_range).map(|subnet| &subnet.id).filter(|id| !ids.contains(id));
            Ok(ids.iter().chain(of_ranges).cloned().collect())
        }
        NodeSubnetsKind::Tier { .. } if cluster.subnets.is_empty() => Ok(Vec::new()),
        NodeSubnetsKind::Tier { tier, zones } => {
            let of_tier: Vec<_> = cluster.subnets.iter().filter(|subnet| subnet.tier == tier).collect();
            if of_tier.is_empty() {
                return refuse("spec.subnets.tier", format!("the cluster has no {tier:?} subnets"));
            }
            let Some(zones) = zones else {
                return Ok(of_tier.iter().map(|subnet| subnet.id.clone()).collect());
            };
            let missing: Vec<_> =
                zones.iter().filter(|zone| of_tier.iter().all(|subnet| subnet.zone != **zone)).cloned().collect();
            if !missing.is_empty() {
                let available: Vec<_> = of_tier.iter().map(|subnet| subnet.zone.clone()).collect();
                return refuse(
                    "spec.subnets.zones",
                    format!(
                        "the cluster has no {tier:?} subnet in {}; it has them in {}",
                        missing.join(", "),
                        available.join(", ")
                    ),
                );
            }
            let chosen = of_tier.iter().filter(|subnet| zones.contains(&subnet.zone));
            Ok(chosen.map(|subnet| subnet.id.clone()).collect())
        }
    }
}

#[cfg(test)]
#[path = "expand_node_group_tests.rs"]
mod tests;
