//! The resources that must exist for an EksCluster: its graph, from the spec, its node groups' requests, and what was
//! observed in AWS.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt;

use super::status::view;
use super::{Reconcile, status};
use crate::api::NodeGroup;
use crate::api::addons::Addon;
use crate::api::network::NetworkKind;
use crate::api::status_cluster::{EksClusterStatus, ResourceStatus};
use crate::controllers::account::Grant;
use crate::controllers::reconcile_error::BuildError;
use crate::engine::{Graph, Key};
use crate::resources::cloud::Cloud;
use crate::resources::eks::{addon, addon_fargate, fargate_profile, lifecycle};
use crate::resources::graph::expand::{self, ClusterInput, NodeRole, Nodes, Versions};
use crate::resources::graph::proof::Records;
use crate::resources::iam::role::Purpose;
use crate::resources::inventory::{survey, zones};
use crate::resources::network::private_endpoints;

/// How often the cluster's API is asked for nodes that nothing reports.
const NODES_POLL_INTERVAL: Duration = Duration::from_secs(60);

impl Reconcile<'_> {
    /// Builds the graph.
    pub(super) async fn graph(
        &self,
        previous: &EksClusterStatus,
        grant: &Grant,
        cloud: &Cloud,
        versions: &Versions,
    ) -> Result<Graph<Cloud>, BuildError> {
        let spec = &self.object.spec;
        let survey = survey::survey(cloud, self.survey_age(), &self.records()).await.map_err(BuildError::Survey)?;
        let zones = match spec.network.kind().map_err(BuildError::Spec)? {
            NetworkKind::Vpc(vpc) => {
                zones::choose_zones(vpc, &survey.zones, &survey.owned).map_err(BuildError::Spec)?
            }
            NetworkKind::Existing(_) => Vec::new(),
        };
        let missing_services = match &spec.network.vpc {
            Some(vpc) => private_endpoints::missing(&cloud.aws, vpc).await.map_err(BuildError::Survey)?,
            None => BTreeSet::new(),
        };
        let owner = self.owner();
        let input = ClusterInput {
            spec,
            cluster_name: &self.object.cluster_name(),
            owner: &owner,
            account: &grant.settings,
            zones: &zones,
            missing_services: &missing_services,
            node_role: &self.node_role(grant),
            nodes: self.nodes(cloud).await,
            node_groups_left: &[],
            owned: &survey.owned,
            tag_keys: &previous.tag_keys,
            used_roles: &self.used_roles(),
            removes: Some(&survey.owned_ids),
            volumes_since: None,
            instances_since: None,
            versions,
            intervals: self.ctx.settings.intervals,
        };
        expand::cluster(&input).map_err(BuildError::Spec)
    }

    /// What its node groups request of the role that is created for them. A NodeGroup that requests a policy that the
    /// account does not allow, or that does not exist, reports that itself and does not get it.
    pub(super) fn node_role(&self, grant: &Grant) -> NodeRole {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let may_have = |policy: &str| grant.allows_policy(policy) && self.state.kind.checked.is_attachable(policy);
        let of_groups = NodeRole::of(groups.iter().map(|group| &group.spec)).with_only(may_have);
        NodeRole { node_groups: groups.iter().flat_map(|group| group.node_group_names()).collect(), ..of_groups }
    }

    /// Our roles that are in use: EKS has created their access entries. For nodes of Karpenter, it creates none.
    pub(super) fn used_roles(&self) -> Vec<Purpose> {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let has_nodes = |group: &NodeGroup| {
            // EKS creates the Auto Scaling group after the access entry.
            let there = group.status.as_ref().is_some_and(|status| !status.auto_scaling_groups.is_empty());
            there && group.spec.role_arn.is_none() && group.metadata.deletion_timestamp.is_none()
        };
        let lines = self.object.status.iter().flat_map(|status| &status.resources);
        let runs_pods = |line: &ResourceStatus| {
            fargate_profile::KIND.is_of(&Key::parse(&line.key))
                && line.state.as_deref().is_some_and(lifecycle::is_active)
        };
        let has_karpenter = self.object.spec.karpenter.is_some();
        let nodes = (has_karpenter || groups.iter().any(|group| has_nodes(group))).then_some(Purpose::Node);
        let fargate = lines.into_iter().any(runs_pods).then_some(Purpose::Fargate);
        nodes.into_iter().chain(fargate).collect()
    }

    /// Whether add-ons have nodes to run on: of a NodeGroup or Auto Mode, or, as the cluster's API shows, of others, such
    /// as Karpenter.
    async fn nodes(&self, cloud: &Cloud) -> Nodes {
        if self.has_expected_nodes() {
            return Nodes::Ready;
        }
        let needed = self.object.spec.addons.iter().any(Addon::needs_nodes);
        if needed && self.schedulable_nodes(cloud).await > 0 {
            return Nodes::Ready;
        }
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let described = view::describe_awaited(groups.iter().map(|group| &**group));
        if !groups.is_empty() {
            return Nodes::NotYet(format!("waiting for nodes of NodeGroup {described}"));
        }
        let text = "it needs nodes: no NodeGroup refers to this cluster yet, and no other node is ready";
        let fargate = !self.object.spec.fargate_profiles.is_empty();
        Nodes::NoneExpected(if fargate { format!("{text}; {}", addon_fargate::ADVICE) } else { text.to_owned() })
    }

    fn has_expected_nodes(&self) -> bool {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        self.object.spec.has_auto_mode() || groups.iter().any(|group| status::is_ready(group))
    }

    /// When to look for nodes of others again, while an add-on waits for some: nothing reports that they joined.
    pub(super) fn nodes_poll(&self) -> Option<Duration> {
        let is_missing = |addon: &Addon| self.state.memory.is_absent(&addon::key(&addon.name)) && addon.needs_nodes();
        let waits = self.object.spec.addons.iter().any(is_missing);
        let interval = NODES_POLL_INTERVAL.min(self.ctx.settings.intervals.drift);
        (waits && !self.has_expected_nodes()).then_some(interval)
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
