//! An EKS managed node group.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html>. An autoscaler or the user
//! owns the size: `desired` is only the initial one.

mod ami_release;
mod changes;
mod newest;
pub mod observed_node_group;
mod own_template;
pub mod owned;
pub mod repair;
mod replacement_part;
mod settings;
pub mod target;
mod template_changes;
mod updating;
pub mod warm_pool;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{AmiTypes, CapacityTypes, Nodegroup, NodegroupScalingConfig, UpdateType};

use super::cluster;
use super::updates::{self, UpdateTarget};
use crate::api::node_group::{NodeGroupSpec, ReleaseVersion};
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{
    Action, AnyObservation, Change, Class, Failure, Goal, Key, Observation, ObserveOptions, Phase, PollPolicy,
    Presence, Refs, Resource, Succession,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, is_tag, tag_changes};
use crate::resources::graph::kind::{Area, InCluster, Kind};
use crate::resources::graph::ownership;
use crate::resources::tag_calls::OwnerTags;
use newest::NewestRelease;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("nodeGroup", "node group", Area::ControlPlane)
    .in_cluster(InCluster { parameter: Some("nodegroupName"), arn_type: "nodegroup", pruning: None })
    .with_actions(&[
        "ec2:CreateLaunchTemplateVersion",
        "ec2:DeleteLaunchTemplateVersions",
        "ec2:DescribeLaunchTemplateVersions",
        "eks:CreateNodegroup",
        "eks:DeleteNodegroup",
        "eks:DescribeNodegroup",
        "eks:DescribeUpdate",
        "eks:ListUpdates",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdateNodegroupConfig",
        "eks:UpdateNodegroupVersion",
        "ssm:GetParameter",
    ]);
pub use changes::REPLACES_NODES;
pub use newest::pending_release;
pub use observed_node_group::Detail;
pub use replacement_part::ReplacementPart;
pub use target::{Target, UpdateHold};

/// What else waits for a maintenance window in an observed node group, as a message.
pub fn waits_for_window(spec: &NodeGroupSpec, target: &Target, observed: &AnyObservation) -> Option<String> {
    changes::waits_for_window(spec, target, observed.detail.downcast_ref::<Detail>()?)
}

/// A managed node group, with everything from its cluster resolved.
pub struct NodeGroup {
    cluster: String,
    name: String,
    spec: Box<NodeGroupSpec>,
    target: Target,
    subnet_ids: Vec<String>,
    role_arn: String,
    /// Keelson creates its launch template.
    has_own_template: bool,
    part: ReplacementPart,
    tags: Tags,
    intervals: Intervals,
}

/// The key in the graph.
pub fn key(name: &str) -> Key {
    KIND.named(name)
}

/// The gate that opens when the cluster can take nodes. In the graph of a NodeGroup it stands for the control plane, and has its key.
pub fn cluster_gate() -> Key {
    cluster::key()
}

impl NodeGroup {
    /// A node group of the cluster in `subnet_ids`, whose nodes assume `role_arn` and may be updated to `target`.
    pub fn new(
        context: &ResourceContext<'_>,
        name: &str,
        spec: &NodeGroupSpec,
        target: Target,
        subnet_ids: Vec<String>,
        role_arn: String,
    ) -> Self {
        Self {
            cluster: context.cluster_name.into(),
            name: name.into(),
            spec: Box::new(spec.clone()),
            target,
            subnet_ids,
            role_arn,
            has_own_template: false,
            part: ReplacementPart::Described,
            tags: context.tags(&key(name)),
            intervals: context.intervals,
        }
    }

    /// The same with the launch template that Keelson creates for it.
    #[must_use]
    pub fn with_own_template(self) -> Self {
        Self { has_own_template: true, ..self }
    }

    /// The same with its part in a replacement.
    #[must_use]
    pub fn in_replacement(self, part: ReplacementPart) -> Self {
        Self { part, ..self }
    }

    fn to_observation(&self, group: &Nodegroup, newest_release: Option<String>) -> Observation<Detail> {
        observed_node_group::to_observation(&self.name, group, newest_release)
    }

    async fn describe(&self, cloud: &Cloud) -> Result<Option<Nodegroup>, Failure> {
        let request = cloud.aws.eks.describe_nodegroup().cluster_name(&self.cluster).nodegroup_name(&self.name);
        match cloud.aws.call(Service::Eks, "DescribeNodegroup", &self.name, request.send()).await {
            Err(error) if error.class() == Class::NotFound => Ok(None),
            other => Ok(other?.nodegroup),
        }
    }

    fn update_target(&self) -> UpdateTarget<'_> {
        UpdateTarget::NodeGroup(&self.cluster, &self.name)
    }
}

#[async_trait]
impl Resource for NodeGroup {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.name)
    }

    fn after(&self) -> Vec<Key> {
        self.own_template_key().into_iter().chain([cluster_gate()]).chain(self.part.gate()).collect()
    }

    /// The gate blocks creation only, not deletion.
    fn holds(&self) -> Vec<Key> {
        self.own_template_key().into_iter().collect()
    }

    fn observed_after(&self) -> Option<Key> {
        self.own_template_key()
    }

    fn succession(&self) -> Option<Succession> {
        self.part.succession()
    }

    /// EKS refuses to delete a node group that it is updating.
    fn deletable_while(&self, action: Action) -> bool {
        action != Action::Update
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        if let Some(Succession { successor, .. }) = self.succession() {
            return vec![("replacedBy", successor.name().to_owned())];
        }
        let scaling = &self.spec.scaling;
        vec![
            ("instanceTypes", self.spec.instance_types.join(", ")),
            ("scaling", format!("{}..{}, initially {}", scaling.min, scaling.max, scaling.initial())),
        ]
    }

    /// 88 to 201 s according to published measurements.
    fn expected(&self, action: Action) -> Duration {
        Duration::from_secs(match action {
            Action::Create => 130,
            Action::Update => 600,
            Action::Adopt | Action::Release => 1,
            Action::Delete => 180,
        })
    }

    fn expected_operation(&self, kind: &str) -> Duration {
        if kind == UpdateType::ConfigUpdate.as_str() { Duration::from_secs(20) } else { self.expected(Action::Update) }
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.single()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        changes.extend(template_changes::other_template(&self.spec, self.own_template(refs), &observed.detail));
        changes.extend(changes::changes(&self.spec, &self.target, &observed.detail));
        changes.retain(|change| self.part.compares(change));
        changes
    }

    /// EKS accepts one update of a node group at a time. Settings go first: they take seconds.
    fn batch(&self, changes: &[Change]) -> Vec<Change> {
        let (nodes, settings): (Vec<_>, Vec<_>) = changes.iter().cloned().partition(changes::replaces);
        if settings.is_empty() { nodes } else { settings }
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let Some(group) = self.describe(cloud).await? else { return Ok(Presence::Absent) };
        let tags = Tags::from_eks(group.tags());
        let what = || format!("node group {} of cluster {}", self.name, self.cluster);
        if let Presence::Foreign(reason) = ownership::presence(cloud, &tags, Observation::ready("", "", ()), what) {
            return Ok(Presence::Foreign(reason));
        }
        let newest = match options.goal {
            Goal::Present => self.newest_release(cloud, &group, last.map(|last| &last.detail)).await,
            Goal::Deleted | Goal::Retained => NewestRelease::default(),
        };
        let mut observed = self.to_observation(&group, newest.offered);
        observed.detail.pending_release = newest.pending;
        if options.goal == Goal::Present {
            self.read_template(cloud, refs, &mut observed.detail, last.map(|last| &last.detail)).await?;
        }
        let observed = updates::follow(cloud, self.update_target(), observed, options, last).await?;
        Ok(ownership::presence(cloud, &tags, observed, what))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let spec = &self.spec;
        if let Some(why) = changes::too_new(spec.version.as_deref(), &self.target) {
            return Err(Failure::new(Class::Busy, format!("node group {}: {why}", self.name)));
        }
        if self.subnet_ids.is_empty() {
            let why = "spec.subnets selects none of the cluster's subnets: change it in a new NodeGroup";
            return Err(Failure::invalid(format!("node group {}: {why}", self.name)));
        }
        let template = self.template(cloud).await?;
        let launch_template = match &spec.node {
            Some(_) => Some(self.own_version(cloud, refs, &Detail::default()).await??),
            None => self.launch_template(),
        };
        let exact = match spec.release_version() {
            ReleaseVersion::Exact(exact) => Some(exact.to_owned()),
            ReleaseVersion::Latest | ReleaseVersion::Pinned => None,
        };
        let scaling = &spec.scaling;
        let scaling = NodegroupScalingConfig::builder()
            .min_size(scaling.min)
            .max_size(scaling.max)
            .desired_size(self.part.initial_size(scaling));
        let request = cloud
            .aws
            .eks
            .create_nodegroup()
            .cluster_name(&self.cluster)
            .nodegroup_name(&self.name)
            .node_role(&self.role_arn)
            .set_subnets(Some(self.subnet_ids.clone()))
            .set_instance_types((!template.has_instance_type).then(|| spec.instance_types.clone()))
            .capacity_type(CapacityTypes::from(settings::capacity(spec.capacity_type)))
            .set_ami_type(spec.ami_type.as_deref().filter(|_| !self.has_own_image()).map(AmiTypes::from))
            .set_disk_size(spec.disk_size_gib)
            .scaling_config(scaling.build())
            .set_labels(spec.labels.as_ref().map(|labels| labels.clone().into_iter().collect()))
            .set_taints(spec.taints.as_ref().map(|taints| taints.iter().map(settings::taint).collect()))
            .set_update_config(settings::update_config(spec, &Detail::default()))
            .set_node_repair_config(repair::initial(spec.repair.as_ref()))
            .set_warm_pool_config(warm_pool::initial(spec.warm_pool.as_ref()))
            .set_launch_template(launch_template)
            .set_version(spec.version.clone().filter(|_| !template.has_image))
            .set_release_version(exact.filter(|_| !template.has_image))
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreateNodegroup", &self.name, request.send()).await;
        let answer = answer.map_err(|error| self.maybe_not_visible(error))?;
        let group = answer.nodegroup.unwrap_or_else(|| Nodegroup::builder().build());
        Ok(self.to_observation(&group, None))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut observed = observed.clone();
        let arn = arn(&observed).to_owned();
        cloud.tag_eks(&arn, &mut observed.detail.tags, changed_tags(changes)).await?;
        if changes.iter().any(changes::replaces) {
            self.replace(cloud, refs, observed).await
        } else if changes.iter().any(|change| !is_tag(change)) {
            self.configure(cloud, observed).await
        } else {
            Ok(observed)
        }
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.eks.delete_nodegroup().cluster_name(&self.cluster).nodegroup_name(&self.name);
        cloud.aws.call(Service::Eks, "DeleteNodegroup", &self.name, request.send()).await?;
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "DELETING".into(), ..observed.clone() }.phase(phase)))
    }
}
