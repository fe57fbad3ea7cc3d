//! Tags on the Auto Scaling group that EKS creates for a managed node group: EKS does not copy the node group's tags to it.
//!
//! Only the keys that the spec names are written, and those that it named before are removed. What EKS itself tags stays,
//! whatever the spec named. See
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html> and, for the keys of EKS,
//! <https://docs.aws.amazon.com/eks/latest/userguide/autoscaling.html>.
//!
//! They are no resource of their own: they come with the group and go with it, so a deletion leaves them alone. They exist
//! as soon as the group carries one of the keys.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Tag};

use super::node_group;
use crate::aws::{AwsError, Service, Session};
use crate::engine::{
    Change, Class, Failure, Goal, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("autoScalingGroupTags", "Auto Scaling group tags", Area::ControlPlane)
    .without_resource()
    .after_nodes()
    .with_actions(&[
        "autoscaling:CreateOrUpdateTags",
        "autoscaling:DeleteTags",
        "autoscaling:DescribeAutoScalingGroups",
    ]);

/// Begins the field of a change.
const FIELD: &str = "autoScalingGroupTags.";
/// In a change, the value of a tag that does not exist. The API allows no parentheses in values.
const NO_TAG: &str = "(none)";
/// AWS's type of the resource.
const RESOURCE_TYPE: &str = "auto-scaling-group";
/// Tags in one call. AWS does not document a limit, and other tools send no more.
const TAGS_PER_CALL: usize = 25;

/// The tag key of a change of such a tag.
pub fn tag_key(change_field: &str) -> Option<&str> {
    change_field.strip_prefix(FIELD)
}

/// Whether EKS itself sets the key on the groups of `cluster`.
pub fn is_of_eks(key: &str, cluster: &str) -> bool {
    let of_autoscaler = key.strip_prefix("k8s.io/cluster-autoscaler/");
    key.starts_with("eks:")
        || key.starts_with("kubernetes.io/cluster/")
        || of_autoscaler.is_some_and(|name| name == "enabled" || name == cluster)
}

/// The tags of the Auto Scaling groups of a node group.
pub struct AutoScalingGroupTags {
    node_group: String,
    wanted: BTreeMap<String, String>,
    /// Keys to remove.
    removed: BTreeSet<String>,
    intervals: Intervals,
}

/// A tag of an Auto Scaling group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    value: String,
    /// New instances get it.
    at_launch: bool,
}

/// The tags by Auto Scaling group and key.
pub type Detail = BTreeMap<String, BTreeMap<String, Found>>;

/// The key in the graph.
pub fn key(node_group: &str) -> Key {
    KIND.named(node_group)
}

/// The names of the Auto Scaling groups, from the output of the observed node group.
fn names(refs: &Refs, node_group: &str) -> Vec<String> {
    let listed = refs.output(&node_group::key(node_group), "autoScalingGroups");
    listed.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}

fn tags(group: &AutoScalingGroup) -> BTreeMap<String, Found> {
    let found = |tag: &aws_sdk_autoscaling::types::TagDescription| {
        let value = tag.value().unwrap_or_default().to_owned();
        let at_launch = tag.propagate_at_launch().unwrap_or_default();
        Some((tag.key()?.to_owned(), Found { value, at_launch }))
    };
    group.tags().iter().filter_map(found).collect()
}

/// The tags of the Auto Scaling groups with these names; those that do not exist are left out.
///
/// # Errors
/// Those of the read.
pub async fn describe(aws: &Session, names: &[String]) -> Result<Detail, AwsError> {
    let (client, mut found, mut next) = (aws.autoscaling(), Detail::new(), None);
    let what = names.join(", ");
    loop {
        let request = client.describe_auto_scaling_groups().set_auto_scaling_group_names(Some(names.to_vec()));
        let request = request.set_next_token(next);
        let answer = aws.call(Service::AutoScaling, "DescribeAutoScalingGroups", &what, request.send()).await?;
        let named = |group: &AutoScalingGroup| Some((group.auto_scaling_group_name()?.to_owned(), tags(group)));
        found.extend(answer.auto_scaling_groups().iter().filter_map(named));
        next = answer.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// The values by key, without the tags of AWS and of EKS. Where several groups have a key, that of the first one.
pub fn without_eks(found: &Detail, cluster: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (key, tag) in found.values().flatten().filter(|(key, _)| !key.starts_with("aws:") && !is_of_eks(key, cluster)) {
        all.entry(key.clone()).or_insert_with(|| tag.value.clone());
    }
    all
}

impl AutoScalingGroupTags {
    /// The tags that the spec asks for on the Auto Scaling group of a node group. `former`: keys that it asked for before.
    pub fn new(
        context: &ResourceContext<'_>,
        node_group: &str,
        wanted: BTreeMap<String, String>,
        former: &[String],
    ) -> Self {
        let is_removed = |key: &&String| !wanted.contains_key(*key) && !is_of_eks(key, context.cluster_name);
        let removed = former.iter().filter(is_removed).cloned().collect();
        Self { node_group: node_group.to_owned(), wanted, removed, intervals: context.intervals }
    }

    /// Whether nothing is asked for, and nothing is to be removed.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.removed.is_empty()
    }

    /// Whether nothing is asked for.
    pub fn is_removal(&self) -> bool {
        self.wanted.is_empty()
    }

    fn to_observation(detail: Detail) -> Observation<Detail> {
        let names: Vec<_> = detail.keys().cloned().collect();
        Observation::ready(names.join(", "), "tagged", detail)
    }

    /// Sets and removes tags, as far as they differ from `current`. What a group has beside them stays.
    async fn write(&self, cloud: &Cloud, mut current: Detail) -> Result<Detail, Failure> {
        let client = cloud.aws.autoscaling();
        for (group, tags) in &mut current {
            let tag = |key: &str| Tag::builder().resource_id(group).resource_type(RESOURCE_TYPE).key(key);
            let removed: Vec<_> = self.removed.iter().filter(|key| tags.contains_key(*key)).cloned().collect();
            // First, as a group has room for a limited number.
            for keys in removed.chunks(TAGS_PER_CALL) {
                let list = keys.iter().map(|key| tag(key).build()).collect();
                let request = client.delete_tags().set_tags(Some(list));
                cloud.aws.call(Service::AutoScaling, "DeleteTags", group, request.send()).await?;
            }
            let differs = |(key, value): &(&String, &String)| tags.get(*key).is_none_or(|found| found.value != **value);
            let set: Vec<_> = self.wanted.iter().filter(differs).collect();
            let at_launch = |key: &str| tags.get(key).is_some_and(|found| found.at_launch);
            for pairs in set.chunks(TAGS_PER_CALL) {
                let one = |(key, value): &(&String, &String)| {
                    tag(key).value(*value).propagate_at_launch(at_launch(key)).build()
                };
                let request = client.create_or_update_tags().set_tags(Some(pairs.iter().map(one).collect()));
                cloud.aws.call(Service::AutoScaling, "CreateOrUpdateTags", group, request.send()).await?;
            }
            tags.retain(|key, _| !self.removed.contains(key));
            for (key, value) in &self.wanted {
                value.clone_into(&mut tags.entry(key.clone()).or_default().value);
            }
        }
        Ok(current)
    }
}

#[async_trait]
impl Resource for AutoScalingGroupTags {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.node_group)
    }

    /// Not before the node group is this object's.
    fn after(&self) -> Vec<Key> {
        vec![node_group::key(&self.node_group)]
    }

    fn observed_after(&self) -> Option<Key> {
        Some(node_group::key(&self.node_group))
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(node_group::key(&self.node_group))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let tags: Vec<_> = self.wanted.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![("tags", tags.join(", "))]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = BTreeMap::new();
        for tags in observed.detail.values() {
            let current = |key: &String| tags.get(key).map(|found| found.value.as_str());
            let set = self.wanted.iter().map(|(key, value)| (key, Some(value.as_str())));
            let removed = self.removed.iter().map(|key| (key, None));
            for (key, to) in set.chain(removed).filter(|(key, to)| current(key) != *to) {
                let (from, to) = (current(key).unwrap_or(NO_TAG), to.unwrap_or(NO_TAG));
                changes.entry(key).or_insert_with(|| Change::in_place(format!("{FIELD}{key}"), from, to));
            }
        }
        changes.into_values().collect()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        // They go, or stay, with the node group.
        if options.goal != Goal::Present {
            return Ok(Presence::Absent);
        }
        let names = names(refs, &self.node_group);
        let found = if names.is_empty() { Detail::new() } else { describe(&cloud.aws, &names).await? };
        let carries = |key: &String| found.values().any(|tags| tags.contains_key(key));
        let exist = self.wanted.keys().chain(&self.removed).any(carries);
        if self.is_removal() && !exist {
            // Nothing is to be created.
            return Ok(Presence::External(Self::to_observation(found)));
        }
        Ok(if exist { Presence::Ours(Self::to_observation(found)) } else { Presence::Absent })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let names = names(refs, &self.node_group);
        if names.is_empty() {
            let why = format!("EKS reports no Auto Scaling group of node group {} yet", self.node_group);
            return Err(Failure::new(Class::NotYetVisible, why));
        }
        // Somebody may have written some of them since they were observed, with another propagation to instances.
        let found = describe(&cloud.aws, &names).await?;
        let current = names.into_iter().map(|name| (name.clone(), found.get(&name).cloned().unwrap_or_default()));
        Ok(Self::to_observation(self.write(cloud, current.collect()).await?))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Ok(Self::to_observation(self.write(cloud, observed.detail.clone()).await?))
    }

    /// AWS deletes them with the Auto Scaling group, which EKS deletes with the node group.
    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
#[path = "auto_scaling_group_tags_tests.rs"]
mod tests;
