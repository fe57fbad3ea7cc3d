//! The settings of a node group that EKS changes without replacing nodes: one UpdateNodegroupConfig for all of them. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupConfig.html>.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{
    NodeRepairConfig, NodegroupScalingConfig, NodegroupUpdateConfig, NodegroupUpdateStrategies, Taint, TaintEffect,
    UpdateLabelsPayload, UpdateTaintsPayload, WarmPoolConfig,
};

use super::observed_node_group::{Detail, TaintId};
use super::repair;
use super::warm_pool;
use crate::api::node_group::{
    CapacityType, DesiredPolicy, MaxUnavailable, NodeGroupSpec, NodeUpdate, Scaling, Taint as DesiredTaint,
    TaintEffect as DesiredEffect, UpdateStrategy,
};

/// EKS's default.
pub(super) const DEFAULT_STRATEGY: &str = "DEFAULT";

/// The capacity type of a Capacity Block.
pub(super) const CAPACITY_BLOCK: &str = "CAPACITY_BLOCK";

/// The desired size, given the current one: a size set by an autoscaler changes only as far as the bounds require.
pub(super) fn desired(scaling: &Scaling, current: i32) -> i32 {
    match scaling.desired_policy {
        DesiredPolicy::Enforce => scaling.initial(),
        // Not `clamp`, which panics where min is above max.
        DesiredPolicy::Initial => current.min(scaling.max).max(scaling.min),
    }
}

fn effect(effect: DesiredEffect) -> TaintEffect {
    match effect {
        DesiredEffect::NoSchedule => TaintEffect::NoSchedule,
        DesiredEffect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
        DesiredEffect::NoExecute => TaintEffect::NoExecute,
    }
}

fn strategy(strategy: UpdateStrategy) -> NodegroupUpdateStrategies {
    match strategy {
        UpdateStrategy::Default => NodegroupUpdateStrategies::Default,
        UpdateStrategy::Minimal => NodegroupUpdateStrategies::Minimal,
    }
}

/// In AWS's notation.
pub fn capacity(capacity: CapacityType) -> &'static str {
    match capacity {
        CapacityType::OnDemand => "ON_DEMAND",
        CapacityType::Spot => "SPOT",
        CapacityType::CapacityBlock => CAPACITY_BLOCK,
    }
}

/// A taint in EKS's form.
pub fn taint(taint: &DesiredTaint) -> Taint {
    Taint::builder().key(&taint.key).set_value(taint.value.clone()).effect(effect(taint.effect)).build()
}

pub(super) fn taints_by_id(taints: &[DesiredTaint]) -> BTreeMap<TaintId, String> {
    let id = |taint: &DesiredTaint| (taint.key.clone(), effect(taint.effect).as_str().to_owned());
    taints.iter().map(|taint| (id(taint), taint.value.clone().unwrap_or_default())).collect()
}

/// How nodes are replaced, merged into the current settings. `None` if the spec changes nothing.
pub fn update_config(spec: &NodeGroupSpec, current: &Detail) -> Option<NodegroupUpdateConfig> {
    let update = spec.update.as_ref()?;
    let (nodes, percentage) = match update.max_unavailable() {
        Some(MaxUnavailable::Nodes(nodes)) => (Some(nodes), None),
        Some(MaxUnavailable::Percentage(percentage)) => (None, Some(percentage)),
        None => (current.max_unavailable, current.max_unavailable_percentage),
    };
    let observed = current.strategy.as_deref().unwrap_or(DEFAULT_STRATEGY);
    let wanted = update.strategy.map_or_else(|| NodegroupUpdateStrategies::from(observed), strategy);
    let same = (nodes, percentage) == (current.max_unavailable, current.max_unavailable_percentage);
    if same && wanted.as_str() == observed {
        return None;
    }
    // The request repeats what the spec does not set: EKS does not document that it keeps omitted values.
    let strategy = (update.strategy.is_some() || current.strategy.is_some()).then_some(wanted);
    let config = NodegroupUpdateConfig::builder()
        .set_max_unavailable(nodes)
        .set_max_unavailable_percentage(percentage)
        .set_update_strategy(strategy);
    Some(config.build())
}

/// How many nodes EKS replaces at a time, as a message.
pub fn describe_pace(spec: &NodeGroupSpec, current: &Detail) -> String {
    let percentage = |percentage: i32| format!("at most {percentage} % of them at a time");
    let nodes = |nodes: i32| format!("at most {nodes} at a time");
    match (spec.update.as_ref().and_then(NodeUpdate::max_unavailable), current.max_unavailable_percentage) {
        (Some(MaxUnavailable::Nodes(wanted)), _) => nodes(wanted),
        (Some(MaxUnavailable::Percentage(wanted)), _) | (None, Some(wanted)) => percentage(wanted),
        (None, None) => nodes(current.max_unavailable.unwrap_or(1)),
    }
}

/// The input of UpdateNodegroupConfig: only what differs.
#[derive(Debug, Default, PartialEq)]
pub struct Config {
    pub scaling: Option<NodegroupScalingConfig>,
    pub labels: Option<UpdateLabelsPayload>,
    pub taints: Option<UpdateTaintsPayload>,
    pub update: Option<NodegroupUpdateConfig>,
    pub repair: Option<NodeRepairConfig>,
    pub warm_pool: Option<WarmPoolConfig>,
}

/// The settings that differ; `None` if there are none.
pub fn config(spec: &NodeGroupSpec, current: &Detail) -> Option<Config> {
    let config = Config {
        scaling: scaling(&spec.scaling, current),
        labels: labels(spec, current),
        taints: taints(spec, current),
        update: update_config(spec, current),
        repair: repair::config(spec.repair.as_ref(), &current.repair),
        warm_pool: warm_pool::config(spec.warm_pool.as_ref(), &current.warm_pool),
    };
    (config != Config::default()).then_some(config)
}

/// The bounds are sent together. The size is sent only if it must change: an autoscaler may be changing it right now.
fn scaling(wanted: &Scaling, current: &Detail) -> Option<NodegroupScalingConfig> {
    let desired = Some(desired(wanted, current.desired)).filter(|desired| *desired != current.desired);
    if (wanted.min, wanted.max) == (current.min, current.max) && desired.is_none() {
        return None;
    }
    let config = NodegroupScalingConfig::builder().min_size(wanted.min).max_size(wanted.max);
    Some(config.set_desired_size(desired).build())
}

fn labels(spec: &NodeGroupSpec, current: &Detail) -> Option<UpdateLabelsPayload> {
    let wanted = spec.labels.as_ref()?;
    let set = wanted.iter().filter(|(key, value)| current.labels.get(*key) != Some(*value));
    let set: std::collections::HashMap<_, _> = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    let removed: Vec<_> = current.labels.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
    if set.is_empty() && removed.is_empty() {
        return None;
    }
    let payload = UpdateLabelsPayload::builder()
        .set_add_or_update_labels(Some(set).filter(|set| !set.is_empty()))
        .set_remove_labels(Some(removed).filter(|removed| !removed.is_empty()));
    Some(payload.build())
}

fn taints(spec: &NodeGroupSpec, current: &Detail) -> Option<UpdateTaintsPayload> {
    let wanted = taints_by_id(spec.taints.as_ref()?);
    let taint = |(id, value): (&TaintId, &String)| {
        let value = Some(value.clone()).filter(|value| !value.is_empty());
        Taint::builder().key(&id.0).set_value(value).effect(TaintEffect::from(id.1.as_str())).build()
    };
    let set: Vec<_> = wanted.iter().filter(|(id, value)| current.taints.get(*id) != Some(*value)).map(taint).collect();
    let removed: Vec<_> = current.taints.iter().filter(|(id, _)| !wanted.contains_key(*id)).map(taint).collect();
    if set.is_empty() && removed.is_empty() {
        return None;
    }
    let payload = UpdateTaintsPayload::builder()
        .set_add_or_update_taints(Some(set).filter(|set| !set.is_empty()))
        .set_remove_taints(Some(removed).filter(|removed| !removed.is_empty()));
    Some(payload.build())
}
