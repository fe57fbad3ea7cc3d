//! Where a replacement takes place in a reconcile: it is decided and recorded before the graph is built, and again from what the
//! engine observed; then the nodes are read or drained. I/O: status; AWS and the workload cluster through the files beside this one.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::super::Reconcile;
use super::decide::{self, Decision, Step, decide};
use super::node_group_names::{Group, Pair, immutable_digest};
use super::progress::{DecidedReplacement, size_of};
use super::{discovery, observed};
use crate::api::policy::{ChangePolicy, ReplacementPolicy};
use crate::api::status_cluster::{LaunchTemplateStatus, NodeGroupStatus};
use crate::api::{EksCluster, SpecError};
use crate::controllers::account::Grant;
use crate::controllers::cluster::status::view::view;
use crate::controllers::reconcile_error::BuildError;
use crate::controllers::runtime::apply;
use crate::engine::{ExecutionPolicy, Failure, Graph, Key};
use crate::resources::cloud::Cloud;
use crate::resources::eks::launch_template;
use crate::resources::eks::node_group::{self, Target};
use crate::resources::graph::expand::SecondNodeGroup;

impl Reconcile<'_> {
    /// The key of the node group in use.
    pub(in super::super) fn key(&self, previous: &NodeGroupStatus) -> Key {
        node_group::key(&self.recorded_pair(previous).in_use.name)
    }

    /// The node groups on record.
    pub(in super::super) fn recorded_pair(&self, previous: &NodeGroupStatus) -> Pair {
        let desired = immutable_digest(&self.object.spec);
        Pair::recorded(previous, &self.object.first_node_group_name(), &desired)
    }

    /// Finds its node groups if its status has no record of one although there may be some: once in a term.
    pub(in super::super) async fn discover_groups(
        &mut self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        cloud: &Cloud,
    ) -> Result<Option<NodeGroupStatus>, Failure> {
        if previous.arn.is_some() || self.state.kind.has_discovered {
            return Ok(None);
        }
        let (first, desired) = (self.object.first_node_group_name(), immutable_digest(&self.object.spec));
        let found = discovery::discover(cloud, &cluster.cluster_name(), &first, &desired, &self.object.spec).await?;
        self.state.kind.has_discovered = true;
        Ok(found.map(|pair| self.with_pair(previous, &self.undecided(pair))))
    }

    fn undecided(&self, pair: Pair) -> DecidedReplacement {
        let decision = Decision { pair, step: Step::Observe, in_use_stays: true };
        DecidedReplacement { decision, reading: None, leaving_size: 0 }
    }

    /// Decides the next step. `closed`: why nothing that disrupts workloads may start.
    pub(in super::super) fn decide_replacement(
        &self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        closed: Option<&str>,
    ) -> DecidedReplacement {
        let (first, desired) = (self.object.first_node_group_name(), immutable_digest(&self.object.spec));
        let recorded = self.recorded_pair(previous);
        let state = |group: &Group| observed::of_group(&self.state.memory, group, &desired);
        let may_begin = self.object.spec.replacement_policy == ReplacementPolicy::MakeBeforeBreak
            && self.change_policy(cluster) != ChangePolicy::Observe;
        let reading = self.state.kind.passes.last();
        let nodes = reading.as_ref().and_then(|reading| reading.nodes(Timestamp::now()));
        let decision = decide(&decide::Input {
            first: &first,
            desired: &desired,
            recorded: &recorded,
            in_use: state(&recorded.in_use),
            other: recorded.other.as_ref().map(state).unwrap_or_default(),
            nodes: nodes.as_ref(),
            may_begin,
            closed,
        });
        let leaving_size = size_of(decision.leaves().map(state).unwrap_or_default());
        let leaves = decision.leaves().map(|group| group.name.clone()).unwrap_or_default();
        let stays = decision.stays().name.clone();
        let reading = reading.filter(|reading| reading.order.stays == stays && reading.order.leaves == leaves);
        DecidedReplacement { decision, reading, leaving_size }
    }

    /// Records in status which node groups there are, before one of them is created, and returns that status.
    pub(in super::super) async fn record_pair(
        &mut self,
        previous: &NodeGroupStatus,
        replacing: &DecidedReplacement,
    ) -> Result<NodeGroupStatus, BuildError> {
        let status = self.with_pair(previous, replacing);
        let names = |status: &NodeGroupStatus| {
            let other = status.replacement.as_ref().map(|other| other.node_group_name.clone());
            (status.node_group_name.clone(), other)
        };
        if names(&status) == names(previous) {
            return Ok(status);
        }
        let (ctx, object) = (self.ctx, self.object);
        let written = apply::patch_status(&ctx.client, object, apply::MANAGER, &*ctx.gate, &status).await;
        self.state.last_write.record(written.map_err(BuildError::TagKeys)?);
        self.state.written = Some(status.clone());
        Ok(status)
    }

    /// The status with these node groups.
    pub(in super::super) fn with_pair(
        &self,
        previous: &NodeGroupStatus,
        replacing: &DecidedReplacement,
    ) -> NodeGroupStatus {
        let Pair { in_use, other } = &replacing.decision.pair;
        let arn = |name: &str| {
            let observed = self.state.memory.observed(&node_group::key(name))?;
            observed.outputs.get("arn").filter(|arn| !arn.is_empty()).cloned()
        };
        let template =
            |name: &str| self.state.memory.observed(&launch_template::key(name)).map(|observed| observed.id.clone());
        let was_swapped = self.recorded_pair(previous).in_use.name != in_use.name;
        // The one that had the place keeps what was recorded of it.
        let recorded = previous.launch_template.as_ref().map(|template| template.id.clone()).filter(|_| was_swapped);
        let of_other = |one: &Group| (arn(&one.name), template(&one.name).or(recorded));
        let of_other = other.as_ref().map(of_other).unwrap_or_default();
        let replacement = replacing.status(previous.replacement.as_ref(), of_other, self.now);
        let is_first = in_use.name == self.object.first_node_group_name();
        let launch_template = if was_swapped {
            let of_former = previous.replacement.as_ref().filter(|former| former.node_group_name == in_use.name);
            let id = template(&in_use.name).or_else(|| of_former?.launch_template_id.clone());
            id.map(|id| LaunchTemplateStatus { id, version: None })
        } else {
            previous.launch_template.clone()
        };
        NodeGroupStatus {
            node_group_name: (!is_first).then(|| in_use.name.clone()),
            immutable_digest: Some(in_use.digest.clone()),
            replacement,
            launch_template,
            // What was recorded is of the node group that had this place.
            arn: if was_swapped { arn(&in_use.name) } else { previous.arn.clone() },
            ..previous.clone()
        }
    }

    /// The graph of all its node groups, for their deletion: with the launch template of each.
    pub(in super::super) fn graph_to_delete(
        &self,
        previous: &NodeGroupStatus,
        grant: &Grant,
        cloud: &Cloud,
        cluster: &EksCluster,
    ) -> Result<Graph<Cloud>, SpecError> {
        let Pair { in_use, other } = self.recorded_pair(previous);
        let beside = other.map_or(SecondNodeGroup::Nothing, |other| SecondNodeGroup::Replaced {
            name: other.name,
            nodes: 0,
            not_yet: None,
            // One that is outdated has no launch template in the graph unless status names it. The gate of the other case is of a
            // creation, and is open.
            is_outdated: false,
            in_use: None,
        });
        let previous =
            NodeGroupStatus { tag_keys: Vec::new(), auto_scaling_group_tag_keys: Vec::new(), ..previous.clone() };
        self.graph(grant, cloud, &view(cluster), &Target::default(), &previous, (&in_use.name, beside))
    }

    /// Reads or drains the nodes when that is due. Returns when to reconcile again.
    pub(in super::super) async fn advance_replacement(
        &mut self,
        cluster: &EksCluster,
        cloud: &Cloud,
        replacing: &DecidedReplacement,
        policy: &ExecutionPolicy,
    ) -> Option<Timestamp> {
        let owner = self.object.uid().unwrap_or_default();
        let order = replacing.order(owner, &self.object.spec, policy);
        if let Some(order) = order {
            let passes = self.state.kind.passes.clone();
            return passes.poll(self.ctx, self.object, cluster, &cloud.aws, order).await;
        }
        // An absence that is not certain yet is observed again.
        let pair = &replacing.decision.pair;
        let names = [Some(&pair.in_use), pair.other.as_ref()];
        let mut next = None;
        let is_uncertain = matches!(replacing.decision.step, Step::Observe | Step::DeleteTemplate);
        let names = names.into_iter().flatten().filter(|_| is_uncertain);
        for key in names.flat_map(|group| [node_group::key(&group.name), launch_template::key(&group.name)]) {
            if self.state.memory.is_absent(&key)
                && let Some(certain) = observed::certain_at(&self.state.memory, &key)
            {
                self.state.memory.entry(&key).due = Some(certain);
                next = next.max(Some(certain));
            }
        }
        next
    }
}
