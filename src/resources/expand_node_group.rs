//! From the spec of a NodeGroup to the graph of what must exist. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cloud::{AccountSettings, Cloud, Intervals, Owner, ResourceContext};
use super::expand::graph;
use super::node_group::{self, NodeGroup, Target};
use crate::api::node_group::{NodeSubnetsKind, SubnetTier};
use crate::api::{NodeGroupSpec, SpecError};
use crate::engine::{Gate, Graph};

/// What a node group is to know of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Its name in EKS.
    pub cluster_name: String,
    /// The Kubernetes version of its control plane.
    pub version: Option<String>,
    /// Its subnets.
    pub subnets: Vec<SubnetView>,
    /// The role of nodes that name none of their own.
    pub node_role_arn: Option<String>,
    /// Why it cannot take nodes yet, if so.
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
}

/// What a node group's graph is expanded from.
#[derive(Clone, Debug)]
pub struct NodeGroupInput<'a> {
    /// What is asked for.
    pub spec: &'a NodeGroupSpec,
    /// Its name in EKS.
    pub node_group_name: &'a str,
    /// The NodeGroup.
    pub owner: &'a Owner,
    /// What the account adds.
    pub account: &'a AccountSettings,
    /// Its cluster.
    pub cluster: &'a ClusterView,
    /// What its nodes may become now.
    pub target: Target,
    /// Keys of tags that were asked for so far, as status keeps them.
    pub tag_keys: &'a [String],
    /// How long what was seen is believed.
    pub intervals: Intervals,
}

/// The tags that a node group is to have beside those of the operator: its own over those of its cluster, as the account has it.
pub fn node_group_tags(
    spec: &NodeGroupSpec,
    cluster: &ClusterView,
    account: &AccountSettings,
) -> BTreeMap<String, String> {
    let mut own = cluster.tags.clone();
    own.extend(spec.tags.clone());
    account.tags_with(&own)
}

/// The graph of a node group.
pub fn node_group(input: &NodeGroupInput<'_>) -> Result<Graph<Cloud>, SpecError> {
    let NodeGroupInput { spec, owner, account, cluster, .. } = input;
    let user_tags = node_group_tags(spec, cluster, account);
    let former_tags = input.tag_keys.iter().cloned().collect();
    let making = ResourceContext {
        owner,
        cluster_name: &cluster.cluster_name,
        user_tags,
        former_tags,
        intervals: input.intervals,
    };
    let role = spec.role_arn.clone().or_else(|| cluster.node_role_arn.clone());
    let subnets = node_subnets(spec, cluster)?;
    let not_ready = match (&cluster.not_ready, &role) {
        (Some(why), _) => Some(why.clone()),
        (None, None) => Some("the node role is not there yet".into()),
        (None, Some(_)) => None,
    };
    let gate = Gate {
        key: node_group::cluster_gate(),
        open: not_ready.is_none(),
        why: not_ready.unwrap_or_default(),
        holds: Vec::new(),
    };
    let target = Target { control_plane: cluster.version.clone(), ..input.target.clone() };
    let group = NodeGroup::new(&making, input.node_group_name, spec, target, subnets, role.unwrap_or_default());
    graph(vec![Arc::new(group)], vec![gate])
}

/// The subnets of a node group. Those it selects are checked once the cluster's are known.
pub(super) fn node_subnets(spec: &NodeGroupSpec, cluster: &ClusterView) -> Result<Vec<String>, SpecError> {
    let refuse = |field, why: String| Err(SpecError::new(field, why));
    match spec.subnets.kind()? {
        NodeSubnetsKind::Ids(ids) => Ok(ids.to_vec()),
        NodeSubnetsKind::Tier { .. } if cluster.subnets.is_empty() => Ok(Vec::new()),
        NodeSubnetsKind::Tier { tier, zones } => {
            let of_tier: Vec<_> = cluster.subnets.iter().filter(|subnet| subnet.tier == tier).collect();
            if of_tier.is_empty() {
                return refuse("spec.subnets.tier", format!("the cluster has no {tier:?} subnets"));
            }
            let Some(zones) = zones else {
                return Ok(of_tier.iter().map(|subnet| subnet.id.clone()).collect());
            };
            let without: Vec<_> =
                zones.iter().filter(|zone| of_tier.iter().all(|subnet| subnet.zone != **zone)).cloned().collect();
            if !without.is_empty() {
                let there: Vec<_> = of_tier.iter().map(|subnet| subnet.zone.clone()).collect();
                return refuse(
                    "spec.subnets.zones",
                    format!(
                        "the cluster has no {tier:?} subnet in {}; it has them in {}",
                        without.join(", "),
                        there.join(", ")
                    ),
                );
            }
            let chosen = of_tier.iter().filter(|subnet| zones.contains(&subnet.zone));
            Ok(chosen.map(|subnet| subnet.id.clone()).collect())
        }
    }
}
