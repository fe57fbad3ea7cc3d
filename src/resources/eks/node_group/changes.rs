//! How a node group differs from the spec, and the calls that resolve it: one UpdateNodegroupConfig for all settings,
//! one UpdateNodegroupVersion for everything that replaces nodes. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupConfig.html> and
//! <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html>.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{
    NodeRepairConfig, NodegroupScalingConfig, NodegroupUpdateConfig, NodegroupUpdateStrategies, Taint, TaintEffect,
    UpdateLabelsPayload, UpdateTaintsPayload,
};

use super::Target;
use super::observation::{Detail, TaintId};
use super::release;
use super::template_changes::{self, NextTemplate};
use crate::api::node_group::{
    CapacityType, DesiredPolicy, MaxUnavailable, NodeGroupSpec, ReleaseVersion, Scaling, Taint as WantedTaint,
    TaintEffect as WantedEffect, UpdateStrategy,
};
use crate::api::version::KubernetesVersion;
use crate::engine::Change;

/// EKS's default.
const DEFAULT_STRATEGY: &str = "DEFAULT";

/// The desired size, given the current one: a size set by an autoscaler changes only as far as the bounds require.
fn desired(scaling: &Scaling, current: i32) -> i32 {
    match scaling.desired_policy {
        DesiredPolicy::Enforce => scaling.initial(),
        // Not `clamp`, which panics where min is above max.
        DesiredPolicy::Initial => current.min(scaling.max).max(scaling.min),
    }
}

fn effect(effect: WantedEffect) -> TaintEffect {
    match effect {
        WantedEffect::NoSchedule => TaintEffect::NoSchedule,
        WantedEffect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
        WantedEffect::NoExecute => TaintEffect::NoExecute,
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
    }
}

/// A taint in EKS's form.
pub fn taint(taint: &WantedTaint) -> Taint {
    Taint::builder().key(&taint.key).set_value(taint.value.clone()).effect(effect(taint.effect)).build()
}

fn taints_by_id(taints: &[WantedTaint]) -> BTreeMap<TaintId, String> {
    let id = |taint: &WantedTaint| (taint.key.clone(), effect(taint.effect).as_str().to_owned());
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

/// The input of UpdateNodegroupConfig: only what differs.
#[derive(Debug, Default, PartialEq)]
pub struct Config {
    pub scaling: Option<NodegroupScalingConfig>,
    pub labels: Option<UpdateLabelsPayload>,
    pub taints: Option<UpdateTaintsPayload>,
    pub update: Option<NodegroupUpdateConfig>,
    pub repair: Option<NodeRepairConfig>,
}

/// The settings that differ; `None` if there are none.
pub fn config(spec: &NodeGroupSpec, current: &Detail) -> Option<Config> {
    let repair = spec.repair.as_ref().filter(|repair| repair.enabled != current.repair);
    let config = Config {
        scaling: scaling(&spec.scaling, current),
        labels: labels(spec, current),
        taints: taints(spec, current),
        update: update_config(spec, current),
        repair: repair.map(|repair| NodeRepairConfig::builder().enabled(repair.enabled).build()),
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

/// The input of UpdateNodegroupVersion.
#[derive(Debug, Default, PartialEq)]
pub struct Replacement {
    pub version: Option<String>,
    /// `None`: the newest.
    pub release: Option<String>,
    pub launch_template: Option<NextTemplate>,
}

/// The changes that replace nodes; `None` if there are none, or no replacement is allowed now.
pub fn replacement(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<Replacement> {
    let version = next_version(spec, target, current);
    let release = next_release(spec, target, current);
    let launch_template = template_changes::next(spec, target, current);
    if version.is_none() && release.is_none() && launch_template.is_none() {
        return None;
    }
    // For a new template version alone, the request repeats the AMI release; EKS would update it otherwise. A custom
    // AMI has its own version, and EKS rejects a release for it.
    let keeps_release = version.is_none() && current.ami_type != release::CUSTOM;
    let release = release.or_else(|| keeps_release.then(|| current.release.clone()));
    Some(Replacement { version, release, launch_template })
}

/// Whether the change replaces nodes.
pub fn replaces(change: &Change) -> bool {
    ["version", "releaseVersion"].contains(&change.field.as_str()) || template_changes::is_of_template(change)
}

/// The changes that wait until nodes may be replaced, as a message.
pub fn waits_for_window(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<String> {
    let now = Target { replace: true, ..target.clone() };
    let release = next_release(spec, &now, current).filter(|_| next_release(spec, target, current).is_none());
    let template = template_changes::next(spec, &now, current).filter(|_| !target.replace);
    let release = release.map(|release| format!("AMI release {release}"));
    let template = template.as_ref().map(template_changes::describe);
    let waiting: Vec<_> = release.into_iter().chain(template).collect();
    (!waiting.is_empty()).then(|| format!("{} waits for a maintenance window", waiting.join(", ")))
}

/// The Kubernetes version to update to. Nodes are never downgraded.
fn next_version(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<String> {
    let wanted = target.version.as_ref()?;
    let newer = match (wanted.parse::<KubernetesVersion>(), current.version.parse::<KubernetesVersion>()) {
        (Ok(wanted), Ok(observed)) => wanted > observed,
        _ => false,
    };
    if too_new(Some(wanted), target).is_some() {
        return None;
    }
    // The kubelet of a custom AMI comes with the AMI; an exact release supports only its own version.
    let possible = current.ami_type != release::CUSTOM && version_mismatch(spec, target, current).is_none();
    (newer && possible).then(|| wanted.clone())
}

/// Why nodes cannot have that version yet, if so.
pub fn too_new(version: Option<&str>, target: &Target) -> Option<String> {
    let parsed = |version: Option<&str>| version?.parse::<KubernetesVersion>().ok();
    let (wanted, control_plane) = (parsed(version)?, parsed(target.control_plane.as_deref())?);
    (wanted > control_plane)
        .then(|| format!("Kubernetes {wanted} waits for the control plane, which runs {control_plane}"))
}

/// The AMI release to update to. With a new version, EKS uses its newest release unless the spec sets an exact one.
fn next_release(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<String> {
    let version = next_version(spec, target, current);
    if current.ami_type == release::CUSTOM || !target.replace && version.is_none() {
        return None;
    }
    match spec.release_version() {
        ReleaseVersion::Pinned => None,
        ReleaseVersion::Latest => {
            let newest = current.newest_release.as_ref().filter(|_| version.is_none());
            newest.filter(|newest| release::is_newer(newest, &current.release)).cloned()
        }
        ReleaseVersion::Exact(exact) => {
            let fits = version_mismatch(spec, target, current).is_none();
            let possible = fits && !release::is_newer(&current.release, exact);
            (possible && exact != current.release).then(|| exact.to_owned())
        }
    }
}

/// The Kubernetes versions of the exact release and of the nodes, if they differ.
fn version_mismatch(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<(String, String)> {
    let ReleaseVersion::Exact(exact) = spec.release_version() else { return None };
    let of = release::kubernetes_version(exact, &current.ami_type)?;
    let wanted = target.version.as_deref().and_then(|version| version.parse::<KubernetesVersion>().ok());
    let nodes = wanted.max(current.version.parse().ok())?.to_string();
    (of != nodes).then(|| (of.to_owned(), nodes))
}

/// All fields that differ, except tags.
pub fn changes(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Vec<Change> {
    let mut found = Differences::default();
    found.settings(spec, current);
    found.nodes(spec, target, current);
    found.fixed(spec, current);
    found.0
}

#[derive(Default)]
struct Differences(Vec<Change>);

const NEW_GROUP: &str = "create a new NodeGroup with the value of the spec and delete this one, or, to keep the \
                         nodes, delete this one with deletionPolicy: Retain and apply it again with the actual value";

impl Differences {
    fn in_place(&mut self, field: impl Into<String>, from: impl ToString, to: impl ToString) {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            self.0.push(Change::in_place(field, from, to));
        }
    }

    fn settings(&mut self, spec: &NodeGroupSpec, current: &Detail) {
        let wanted = &spec.scaling;
        self.in_place("scaling.min", current.min, wanted.min);
        self.in_place("scaling.max", current.max, wanted.max);
        self.in_place("scaling.desired", current.desired, desired(wanted, current.desired));
        if let Some(wanted) = &spec.labels {
            self.map("labels", wanted, &current.labels, Clone::clone);
        }
        if let Some(wanted) = &spec.taints {
            self.map("taints", &taints_by_id(wanted), &current.taints, |(key, effect)| format!("{key}:{effect}"));
        }
        if let Some(config) = update_config(spec, current) {
            let text = |number: Option<i32>| number.map(|number| number.to_string()).unwrap_or_default();
            self.in_place("update.maxUnavailable", text(current.max_unavailable), text(config.max_unavailable));
            let (from, to) = (current.max_unavailable_percentage, config.max_unavailable_percentage);
            self.in_place("update.maxUnavailablePercentage", text(from), text(to));
            let from = current.strategy.as_deref().unwrap_or(DEFAULT_STRATEGY);
            self.in_place("update.strategy", from, config.update_strategy.map_or(from.to_owned(), |s| s.to_string()));
        }
        if let Some(repair) = &spec.repair {
            self.in_place("repair.enabled", current.repair, repair.enabled);
        }
    }

    fn map<K: Ord>(
        &mut self,
        field: &str,
        wanted: &BTreeMap<K, String>,
        current: &BTreeMap<K, String>,
        name: impl Fn(&K) -> String,
    ) {
        let keys: std::collections::BTreeSet<&K> = wanted.keys().chain(current.keys()).collect();
        for key in keys {
            let (from, to) = (current.get(key), wanted.get(key));
            if from != to {
                // An empty value differs from no value.
                let text = |value: Option<&String>| value.map_or("(none)".to_owned(), |value| format!("{value:?}"));
                self.in_place(format!("{field}.{}", name(key)), text(from), text(to));
            }
        }
    }

    /// The changes that replace nodes.
    fn nodes(&mut self, spec: &NodeGroupSpec, target: &Target, current: &Detail) {
        if let Some(version) = next_version(spec, target, current) {
            self.in_place("version", &current.version, version);
        }
        if let Some(own) = &spec.version
            && let (Ok(own), Ok(observed)) = (own.parse::<KubernetesVersion>(), current.version.parse())
            && own < observed
            // EKS does not know which version a custom AMI runs.
            && current.ami_type != release::CUSTOM
        {
            let why = format!(
                "nodes are never downgraded: set version: \"{observed}\", or create a NodeGroup with the lower \
                 version and delete this one"
            );
            self.0.push(Change::forbidden("version", observed, own, why));
        }
        let template = template_changes::changes(spec, target, current);
        let behind = spec.version.as_ref().zip(release::own_ami_is_behind(spec, current));
        if let Some((own, why)) = behind.filter(|_| template.is_empty()) {
            self.0.push(Change::forbidden("version", &current.version, own, why));
        }
        if let Some(release) = next_release(spec, target, current) {
            self.in_place("releaseVersion", &current.release, release);
        }
        if let ReleaseVersion::Exact(exact) = spec.release_version() {
            self.exact_release(exact, version_mismatch(spec, target, current), current);
        }
        self.0.extend(template);
    }

    fn exact_release(&mut self, exact: &str, version_mismatch: Option<(String, String)>, current: &Detail) {
        let why = if current.ami_type == release::CUSTOM {
            "its AMI comes from the launch template: set releaseVersion: Latest, and choose the AMI there".to_owned()
        } else if let Some((of, nodes)) = version_mismatch {
            format!(
                "it is a release for Kubernetes {of}, but the nodes are to run {nodes}: set a release for {nodes}, \
                 or Latest"
            )
        } else if release::is_newer(&current.release, exact) {
            format!("nodes are never downgraded: set {} or a newer release, or Latest", current.release)
        } else {
            return;
        };
        self.0.push(Change::forbidden("releaseVersion", &current.release, exact, why));
    }

    /// What EKS cannot change. Admission rejects such edits; this covers node groups created or changed otherwise.
    fn fixed(&mut self, spec: &NodeGroupSpec, current: &Detail) {
        let mut fixed = |field: &str, from: &str, to: &str| {
            if from != to {
                self.0.push(Change::forbidden(field, from, to, format!("EKS cannot change it: {NEW_GROUP}")));
            }
        };
        fixed("capacityType", &current.capacity, capacity(spec.capacity_type));
        if !(current.instance_types.is_empty() && current.launch_template.is_some()) {
            fixed("instanceTypes", &current.instance_types.join(", "), &spec.instance_types.join(", "));
        }
        if let Some(ami_type) = &spec.ami_type {
            fixed("amiType", &current.ami_type, ami_type);
        }
        if let Some(size) = spec.disk_size_gib {
            let from = current.disk_size.map(|size| size.to_string()).unwrap_or_default();
            fixed("diskSizeGiB", &from, &size.to_string());
        }
        if let Some(role) = &spec.role_arn {
            fixed("roleArn", &current.role_arn, role);
        }
        if spec.node.is_none() {
            let template = |id: Option<&String>| id.cloned().unwrap_or_default();
            let from = template(current.launch_template.as_ref().map(|template| &template.id));
            fixed("launchTemplate.id", &from, &template(spec.launch_template.as_ref().map(|wanted| &wanted.id)));
        }
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
