//! Converts an existing node group to a NodeGroup spec that changes nothing of it. Pure.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_eks::types::{CapacityTypes, Nodegroup, TaintEffect as Effect};

use super::{Inventory, Note};
use crate::api::NodeGroupSpec;
use crate::api::node_group::{
    CapacityType, DesiredPolicy, LaunchTemplate, NodeSubnets, NodeUpdate, Scaling, Taint, TaintEffect, UpdateStrategy,
    default_instance_types,
};
use crate::api::policy::{DeletionPolicy, ReplacementPolicy};
use crate::api::reference::ClusterReference;
use crate::aws::tags::{is_never_removed, is_reserved};
use crate::resources::eks::node_group::repair::Repair;
use crate::resources::eks::node_group::warm_pool::ObservedWarmPool;

/// EKS's default: one node at a time.
const DEFAULT_MAX_UNAVAILABLE: i32 = 1;

/// A node group's name in EKS, its spec if there can be one, and notes on what that does not cover.
pub struct Found {
    pub name: String,
    pub spec: Option<NodeGroupSpec>,
    pub notes: Vec<Note>,
}

/// Converts all node groups of a cluster whose EksCluster is named `cluster`.
pub fn convert_all(inventory: &Inventory, cluster: &str) -> Vec<Found> {
    let none = BTreeMap::new();
    let one = |group: &Nodegroup| {
        let group_tags = inventory.group_tags.get(group.nodegroup_name().unwrap_or_default()).unwrap_or(&none);
        convert(group, group_tags, cluster, inventory.cluster.version())
    };
    inventory.node_groups.iter().map(one).collect()
}

fn convert(
    group: &Nodegroup,
    group_tags: &BTreeMap<String, String>,
    cluster: &str,
    control_plane: Option<&str>,
) -> Found {
    let name = group.nodegroup_name().unwrap_or_default().to_owned();
    let mut notes = Vec::new();
    let mut note = |what: &str, why: &str| notes.push(Note::new(format!("{what} of node group {name}"), why));
    let capacity_type = match group.capacity_type() {
        Some(CapacityTypes::Spot) => CapacityType::Spot,
        Some(CapacityTypes::CapacityBlock) => CapacityType::CapacityBlock,
        None | Some(CapacityTypes::OnDemand) => CapacityType::OnDemand,
        Some(other) => {
            let note = Note::new(format!("node group {name}"), format!("its capacity type is {other}"));
            return Found { name, spec: None, notes: vec![note] };
        }
    };
    if group.remote_access().is_some() {
        note("remote access", "Keelson has no field for it and does not change it: a launch template can set it");
    }
    let (tags, reserved) = tags(group.tags());
    if !reserved.is_empty() {
        note(
            &format!("tags {}", format_tags(&reserved)),
            "these keys are reserved for Keelson, which does not change existing ones",
        );
    }
    let (group_tags, untaken): (BTreeMap<_, _>, BTreeMap<_, _>) =
        group_tags.clone().into_iter().partition(|(key, value)| is_taken(key, value));
    if !untaken.is_empty() {
        note(
            &format!("tags {} of the Auto Scaling group", format_tags(&untaken)),
            "autoScalingGroupTags takes no such key or value: Keelson does not change them",
        );
    }
    let scaling = group.scaling_config();
    let (min, max) = (scaling.and_then(|s| s.min_size()).unwrap_or(0), scaling.and_then(|s| s.max_size()).unwrap_or(1));
    let desired = scaling.and_then(|s| s.desired_size()).filter(|desired| *desired != min);
    let types = group.instance_types();
    let version = group.version().filter(|version| Some(*version) != control_plane);
    let custom = group.ami_type().is_some_and(|ami_type| ami_type.as_str() == "CUSTOM");
    let spec = NodeGroupSpec {
        cluster_ref: ClusterReference { name: cluster.to_owned() },
        node_group_name: None,
        version: version.map(str::to_owned),
        release_version: "Pinned".to_owned(),
        // The launch template sets a custom AMI.
        ami_type: group.ami_type().filter(|_| !custom).map(|ami_type| ami_type.as_str().to_owned()),
        // If the group has none, the launch template sets them and this value has no effect.
        instance_types: if types.is_empty() { default_instance_types() } else { types.to_vec() },
        capacity_type,
        // A launch template sets it.
        disk_size_gib: group.disk_size().filter(|_| group.launch_template().is_none()),
        scaling: Scaling { min, max, desired, desired_policy: DesiredPolicy::default() },
        subnets: NodeSubnets { tier: None, zones: None, ids: Some(group.subnets().to_vec()), cidrs: None },
        labels: group.labels().map(sorted).filter(|labels| !labels.is_empty()),
        taints: Some(group.taints().iter().filter_map(taint).collect()).filter(|taints: &Vec<_>| !taints.is_empty()),
        launch_template: group.launch_template().and_then(|template| {
            let (id, version) = (template.id()?.to_owned(), template.version().map(str::to_owned));
            Some(LaunchTemplate { id: Some(id), name: None, version })
        }),
        node: None,
        role_arn: group.node_role().map(str::to_owned),
        additional_role_policies: Vec::new(),
        update: update(group),
        repair: group.node_repair_config().and_then(|repair| Repair::from(repair).to_spec()),
        warm_pool: group.warm_pool_config().and_then(|pool| ObservedWarmPool::from(pool).to_spec()),
        replacement_policy: ReplacementPolicy::Refuse,
        deletion_policy: DeletionPolicy::Retain,
        suspend: false,
        tags,
        auto_scaling_group_tags: group_tags,
    };
    Found { name, spec: Some(spec), notes }
}

fn sorted(map: &HashMap<String, String>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn taint(taint: &aws_sdk_eks::types::Taint) -> Option<Taint> {
    let effect = match taint.effect()? {
        Effect::NoExecute => TaintEffect::NoExecute,
        Effect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
        _ => TaintEffect::NoSchedule,
    };
    let value = taint.value().filter(|value| !value.is_empty()).map(str::to_owned);
    Some(Taint { key: taint.key()?.to_owned(), value, effect })
}

/// `None` if it equals EKS's default.
fn update(group: &Nodegroup) -> Option<NodeUpdate> {
    let update_config = group.update_config()?;
    let percentage = update_config.max_unavailable_percentage();
    let nodes =
        update_config.max_unavailable().filter(|nodes| percentage.is_none() && *nodes != DEFAULT_MAX_UNAVAILABLE);
    let strategy =
        update_config.update_strategy().map(|strategy| strategy.as_str()).filter(|strategy| *strategy == "MINIMAL");
    let update = NodeUpdate {
        max_unavailable: nodes,
        max_unavailable_percentage: percentage,
        strategy: strategy.map(|_| UpdateStrategy::Minimal),
        force: false,
    };
    (update != NodeUpdate::default()).then_some(update)
}

/// The tags that the API accepts, and those with reserved keys. AWS's own tags are in neither.
fn tags(all: Option<&HashMap<String, String>>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let all = all.map(sorted).unwrap_or_default().into_iter().filter(|(key, _)| !key.starts_with("aws:"));
    all.partition(|(key, _)| !is_reserved(key))
}

/// Whether the API takes a tag of an Auto Scaling group, which takes more than most services.
fn is_taken(key: &str, value: &str) -> bool {
    let fits = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c));
    let of_a_cluster = key.strip_prefix("k8s.io/cluster-autoscaler/").is_some_and(|rest| !rest.contains('/'));
    fits(key) && fits(value) && !of_a_cluster && !is_never_removed(key)
}

fn format_tags(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// All tags except AWS's own, for messages; `None` if there are none.
pub(super) fn describe_tags(all: Option<&HashMap<String, String>>) -> Option<String> {
    let (mut own, reserved) = tags(all);
    own.extend(reserved);
    (!own.is_empty()).then(|| format_tags(&own))
}
