//! The resources that must exist for an EksCluster: its graph, from the spec, its node groups' requests, and what was
//! observed in AWS.

use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt;

use super::apply_spec::NoGraph;
use super::status::view;
use super::{Reconcile, status};
use crate::api::NodeGroup;
use crate::api::network::NetworkKind;
use crate::api::status::{EksClusterStatus, ResourceStatus};
use crate::controllers::account::Grant;
use crate::engine::{Graph, Key};
use crate::resources::cloud::Cloud;
use crate::resources::eks::{addon_fargate, fargate_profile};
use crate::resources::graph::expand::{self, ClusterInput, NodeRole, Nodes, Versions};
use crate::resources::graph::proof::Records;
use crate::resources::iam::role::Purpose;
use crate::resources::inventory::survey;

impl Reconcile<'_> {
    /// Builds the graph.
    pub(super) async fn graph(
        &self,
        previous: &EksClusterStatus,
        grant: &Grant,
        cloud: &Cloud,
        versions: &Versions,
    ) -> Result<Graph<Cloud>, NoGraph> {
        let spec = &self.object.spec;
        let survey = survey::survey(cloud, self.survey_age(), &self.records()).await.map_err(NoGraph::Unobserved)?;
        let zones = match spec.network.kind().map_err(NoGraph::Spec)? {
            NetworkKind::Vpc(vpc) => survey::choose_zones(vpc, &survey).map_err(NoGraph::Spec)?,
            NetworkKind::Existing(_) => Vec::new(),
        };
        let owner = self.owner();
        let input = ClusterInput {
            spec,
            cluster_name: &self.object.cluster_name(),
            owner: &owner,
            account: &grant.settings,
            zones: &zones,
            node_role: &self.node_role(grant),
            nodes: self.nodes(),
            node_groups_left: &[],
            owned: &survey.owned,
            tag_keys: &previous.tag_keys,
            used_roles: &self.used_roles(),
            removes: Some(&survey.owned_ids),
            volumes_since: None,
            versions,
            intervals: self.ctx.settings.intervals,
        };
        expand::cluster(&input).map_err(NoGraph::Spec)
    }

    /// What its node groups request of the role that is created for them. A NodeGroup that requests a policy that the
    /// account does not allow, or that does not exist, reports that itself and does not get it.
    pub(super) fn node_role(&self, grant: &Grant) -> NodeRole {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let may_have = |policy: &str| grant.allows_policy(policy) && self.state.kind.checked.is_attachable(policy);
        let of_groups = NodeRole::of(groups.iter().map(|group| &group.spec)).with_only(may_have);
        NodeRole { node_groups: groups.iter().map(|group| group.node_group_name()).collect(), ..of_groups }
    }

    /// Our roles that are in use: EKS has created their access entries.
    pub(super) fn used_roles(&self) -> Vec<Purpose> {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let has_nodes = |group: &NodeGroup| {
            // EKS creates the Auto Scaling group after the access entry.
            let there = group.status.as_ref().is_some_and(|status| !status.auto_scaling_groups.is_empty());
            there && group.spec.role_arn.is_none() && group.metadata.deletion_timestamp.is_none()
        };
        let lines = self.object.status.iter().flat_map(|status| &status.resources);
        let runs_pods = |line: &ResourceStatus| {
            fargate_profile::KIND.is_of(&Key::parse(&line.key)) && line.state.as_deref() == Some("ACTIVE")
        };
        let nodes = groups.iter().any(|group| has_nodes(group)).then_some(Purpose::Node);
        let fargate = lines.into_iter().any(runs_pods).then_some(Purpose::Fargate);
        nodes.into_iter().chain(fargate).collect()
    }

    /// Whether add-ons have nodes to run on.
    pub(super) fn nodes(&self) -> Nodes {
        if self.object.spec.auto_mode.is_some() {
            return Nodes::Ready;
        }
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        if groups.iter().any(|group| status::is_ready(group)) {
            return Nodes::Ready;
        }
        let described = view::describe_awaited(groups.iter().map(|group| &**group));
        Nodes::NotYet(match groups.is_empty() {
            true => {
                let text = "it needs nodes, and no NodeGroup refers to this cluster yet";
                let fargate = !self.object.spec.fargate_profiles.is_empty();
                if fargate { format!("{text}; {}", addon_fargate::ADVICE) } else { text.to_owned() }
            }
            false => format!("waiting for nodes of NodeGroup {described}"),
        })
    }

    /// How old a survey by tag may be: not from before this process became leader, since another may have made
    /// changes, and not from before a reconcile that panicked.
    pub(super) fn survey_age(&self) -> Duration {
        let led = self.now.duration_since(self.state.memory.since).max(SignedDuration::ZERO).unsigned_abs();
        self.ctx.settings.intervals.drift.min(led)
    }

    /// The resources on record as the object's.
    pub(super) fn records(&self) -> Records {
        Records::of(&self.state.memory)
    }
}
