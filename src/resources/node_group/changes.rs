//! How a node group differs from the spec, and the calls that resolve it: one UpdateNodegroupConfig for all settings,
//! one UpdateNodegroupVersion for everything that replaces nodes. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupConfig.html> and
//! <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html>.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{
    LaunchTemplateSpecification, NodeRepairConfig, NodegroupScalingConfig, NodegroupUpdateConfig,
    NodegroupUpdateStrategies, Taint, TaintEffect, UpdateLabelsPayload, UpdateTaintsPayload,
};

use super::Target;
use super::observation::{Detail, LaunchTemplate, TaintId};
use super::release;
use crate::api::node_group::{
    CapacityType, DesiredPolicy, MaxUnavailable, NodeGroupSpec, ReleaseVersion, Scaling, Taint as WantedTaint,
    TaintEffect as WantedEffect, UpdateStrategy,
};
use crate::api::version::KubernetesVersion;
use crate::engine::Change;

/// EKS's default.
const DEFAULT_STRATEGY: &str = "DEFAULT";

/// The desired size, given the current one: a size set by an autoscaler changes only as far as the bounds require.
fn desired(scaling: &Scaling, there: i32) -> i32 {
    match scaling.desired_policy {
        DesiredPolicy::Enforce => scaling.initial(),
        // Not `clamp`, which panics where min is above max.
        DesiredPolicy::Initial => there.min(scaling.max).max(scaling.min),
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

/// How nodes are replaced, merged into the current settings. `None` if the spec sets nothing or equals the current
/// settings.
pub fn update_config(spec: &NodeGroupSpec, there: &Detail) -> Option<NodegroupUpdateConfig> {
    let update = spec.update.as_ref()?;
    let (nodes, percentage) = match update.max_unavailable() {
        Some(MaxUnavailable::Nodes(nodes)) => (Some(nodes), None),
        Some(MaxUnavailable::Percentage(percentage)) => (None, Some(percentage)),
        None => (there.max_unavailable, there.max_unavailable_percentage),
    };
    let seen = there.strategy.as_deref().unwrap_or(DEFAULT_STRATEGY);
    let wanted = update.strategy.map_or_else(|| NodegroupUpdateStrategies::from(seen), strategy);
    let same = (nodes, percentage) == (there.max_unavailable, there.max_unavailable_percentage);
    if same && wanted.as_str() == seen {
        return None;
    }
    // The request repeats what the spec does not set: EKS does not document that it keeps omitted values.
    let strategy = (update.strategy.is_some() || there.strategy.is_some()).then_some(wanted);
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
pub fn config(spec: &NodeGroupSpec, there: &Detail) -> Option<Config> {
    let repair = spec.repair.as_ref().filter(|repair| repair.enabled != there.repair);
    let config = Config {
        scaling: scaling(&spec.scaling, there),
        labels: labels(spec, there),
        taints: taints(spec, there),
        update: update_config(spec, there),
        repair: repair.map(|repair| NodeRepairConfig::builder().enabled(repair.enabled).build()),
    };
    (config != Config::default()).then_some(config)
}

/// The bounds are sent together. The size is sent only if it must change: an autoscaler may be changing it right now.
fn scaling(wanted: &Scaling, there: &Detail) -> Option<NodegroupScalingConfig> {
    let desired = Some(desired(wanted, there.desired)).filter(|desired| *desired != there.desired);
    if (wanted.min, wanted.max) == (there.min, there.max) && desired.is_none() {
        return None;
    }
    let config = NodegroupScalingConfig::builder().min_size(wanted.min).max_size(wanted.max);
    Some(config.set_desired_size(desired).build())
}

fn labels(spec: &NodeGroupSpec, there: &Detail) -> Option<UpdateLabelsPayload> {
    let wanted = spec.labels.as_ref()?;
    let set = wanted.iter().filter(|(key, value)| there.labels.get(*key) != Some(*value));
    let set: std::collections::HashMap<_, _> = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    let removed: Vec<_> = there.labels.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
    if set.is_empty() && removed.is_empty() {
        return None;
    }
    let payload = UpdateLabelsPayload::builder()
        .set_add_or_update_labels(Some(set).filter(|set| !set.is_empty()))
        .set_remove_labels(Some(removed).filter(|removed| !removed.is_empty()));
    Some(payload.build())
}

fn taints(spec: &NodeGroupSpec, there: &Detail) -> Option<UpdateTaintsPayload> {
    let wanted = taints_by_id(spec.taints.as_ref()?);
    let taint = |(id, value): (&TaintId, &String)| {
        let value = Some(value.clone()).filter(|value| !value.is_empty());
        Taint::builder().key(&id.0).set_value(value).effect(TaintEffect::from(id.1.as_str())).build()
    };
    let set: Vec<_> = wanted.iter().filter(|(id, value)| there.taints.get(*id) != Some(*value)).map(taint).collect();
    let removed: Vec<_> = there.taints.iter().filter(|(id, _)| !wanted.contains_key(*id)).map(taint).collect();
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
    pub launch_template: Option<LaunchTemplateSpecification>,
}

/// The changes that replace nodes; `None` if there are none, or no replacement is allowed now.
pub fn replacement(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Option<Replacement> {
    let version = next_version(spec, target, there);
    let release = next_release(spec, target, there);
    let launch_template = next_template(spec, target, there);
    if version.is_none() && release.is_none() && launch_template.is_none() {
        return None;
    }
    // For a new template version alone, the request repeats the AMI release; EKS would update it otherwise. A custom
    // AMI has its own version, and EKS rejects a release for it.
    let as_it_is = version.is_none() && there.ami_type != release::CUSTOM;
    let release = release.or_else(|| as_it_is.then(|| there.release.clone()));
    Some(Replacement { version, release, launch_template })
}

/// Whether the change replaces nodes.
pub fn replaces(change: &Change) -> bool {
    ["version", "releaseVersion", "launchTemplate.version"].contains(&change.field.as_str())
}

/// The changes that wait until nodes may be replaced, as a message.
pub fn waits_for_window(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Option<String> {
    let now = Target { replace: true, ..target.clone() };
    let release = next_release(spec, &now, there).filter(|_| next_release(spec, target, there).is_none());
    let template = next_template(spec, &now, there).filter(|_| !target.replace);
    let release = release.map(|release| format!("AMI release {release}"));
    let template = template.map(|t| format!("version {} of the launch template", t.version.unwrap_or_default()));
    let waiting: Vec<_> = release.into_iter().chain(template).collect();
    (!waiting.is_empty()).then(|| format!("{} waits for a maintenance window", waiting.join(", ")))
}

/// The Kubernetes version to update to. Nodes are never downgraded.
fn next_version(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Option<String> {
    let wanted = target.version.as_ref()?;
    let newer = match (wanted.parse::<KubernetesVersion>(), there.version.parse::<KubernetesVersion>()) {
        (Ok(wanted), Ok(seen)) => wanted > seen,
        _ => false,
    };
    if too_new(Some(wanted), target).is_some() {
        return None;
    }
    // The kubelet of a custom AMI comes with the AMI; an exact release supports only its own version.
    let possible = there.ami_type != release::CUSTOM && misfit(spec, target, there).is_none();
    (newer && possible).then(|| wanted.clone())
}

/// Why nodes cannot have that version yet, if so.
pub fn too_new(version: Option<&str>, target: &Target) -> Option<String> {
    let parsed = |version: Option<&str>| version?.parse::<KubernetesVersion>().ok();
    let (wanted, control_plane) = (parsed(version)?, parsed(target.control_plane.as_deref())?);
    (wanted > control_plane)
        .then(|| format!("Kubernetes {wanted} waits for the control plane, which runs {control_plane}"))
}

/// The AMI release to update to, by name. With a new version, EKS uses its newest release unless the spec sets an exact
/// one.
fn next_release(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Option<String> {
    let version = next_version(spec, target, there);
    if there.ami_type == release::CUSTOM || !target.replace && version.is_none() {
        return None;
    }
    match spec.release_version() {
        ReleaseVersion::Pinned => None,
        ReleaseVersion::Latest => {
            let newest = there.newest_release.as_ref().filter(|_| version.is_none());
            newest.filter(|newest| release::is_newer(newest, &there.release)).cloned()
        }
        ReleaseVersion::Exact(exact) => {
            let possible = misfit(spec, target, there).is_none() && !release::is_newer(&there.release, exact);
            (possible && exact != there.release).then(|| exact.to_owned())
        }
    }
}

/// The Kubernetes versions of the exact release and of the nodes, if they differ.
fn misfit(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Option<(String, String)> {
    let ReleaseVersion::Exact(exact) = spec.release_version() else { return None };
    let of = release::kubernetes_version(exact, &there.ami_type)?;
    let wanted = target.version.as_deref().and_then(|version| version.parse::<KubernetesVersion>().ok());
    let nodes = wanted.max(there.version.parse().ok())?.to_string();
    (of != nodes).then(|| (of.to_owned(), nodes))
}

fn next_template(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Option<LaunchTemplateSpecification> {
    let wanted = spec.launch_template.as_ref()?;
    let version = wanted.version.as_ref()?;
    let LaunchTemplate { id, version: seen } = there.launch_template.as_ref()?;
    let differs = target.replace && *id == wanted.id && version != seen;
    differs.then(|| LaunchTemplateSpecification::builder().id(&wanted.id).version(version).build())
}

/// All fields that differ, except tags.
pub fn changes(spec: &NodeGroupSpec, target: &Target, there: &Detail) -> Vec<Change> {
    let mut found = Found::default();
    found.settings(spec, there);
    found.nodes(spec, target, there);
    found.fixed(spec, there);
    found.0
}

#[derive(Default)]
struct Found(Vec<Change>);

const NEW_GROUP: &str = "create a new NodeGroup with the value of the spec and delete this one, or, to keep the nodes, delete \
     this one with deletionPolicy: Retain and apply it again with the actual value";

impl Found {
    fn in_place(&mut self, field: impl Into<String>, from: impl ToString, to: impl ToString) {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            self.0.push(Change::in_place(field, from, to));
        }
    }

    fn settings(&mut self, spec: &NodeGroupSpec, there: &Detail) {
        let wanted = &spec.scaling;
        self.in_place("scaling.min", there.min, wanted.min);
        self.in_place("scaling.max", there.max, wanted.max);
        self.in_place("scaling.desired", there.desired, desired(wanted, there.desired));
        if let Some(wanted) = &spec.labels {
            self.map("labels", wanted, &there.labels, Clone::clone);
        }
        if let Some(wanted) = &spec.taints {
            self.map("taints", &taints_by_id(wanted), &there.taints, |(key, effect)| format!("{key}:{effect}"));
        }
        if let Some(config) = update_config(spec, there) {
            let text = |number: Option<i32>| number.map(|number| number.to_string()).unwrap_or_default();
            self.in_place("update.maxUnavailable", text(there.max_unavailable), text(config.max_unavailable));
            let (from, to) = (there.max_unavailable_percentage, config.max_unavailable_percentage);
            self.in_place("update.maxUnavailablePercentage", text(from), text(to));
            let seen = there.strategy.as_deref().unwrap_or(DEFAULT_STRATEGY);
            self.in_place("update.strategy", seen, config.update_strategy.map_or(seen.to_owned(), |s| s.to_string()));
        }
        if let Some(repair) = &spec.repair {
            self.in_place("repair.enabled", there.repair, repair.enabled);
        }
    }

    fn map<K: Ord>(
        &mut self,
        field: &str,
        wanted: &BTreeMap<K, String>,
        there: &BTreeMap<K, String>,
        name: impl Fn(&K) -> String,
    ) {
        let keys: std::collections::BTreeSet<&K> = wanted.keys().chain(there.keys()).collect();
        for key in keys {
            let (from, to) = (there.get(key), wanted.get(key));
            if from != to {
                // An empty value differs from no value.
                let told = |value: Option<&String>| value.map_or("(none)".to_owned(), |value| format!("{value:?}"));
                self.in_place(format!("{field}.{}", name(key)), told(from), told(to));
            }
        }
    }

    /// The changes that replace nodes.
    fn nodes(&mut self, spec: &NodeGroupSpec, target: &Target, there: &Detail) {
        if let Some(version) = next_version(spec, target, there) {
            self.in_place("version", &there.version, version);
        }
        if let Some(own) = &spec.version
            && let (Ok(own), Ok(seen)) = (own.parse::<KubernetesVersion>(), there.version.parse())
            && own < seen
            // EKS does not know which version a custom AMI runs.
            && there.ami_type != release::CUSTOM
        {
            let why = format!(
                "nodes are never downgraded: set version: \"{seen}\", or create a NodeGroup with the lower version and delete \
                 this one"
            );
            self.0.push(Change::forbidden("version", seen, own, why));
        }
        let behind = spec.version.as_ref().zip(release::own_ami_is_behind(spec.version.as_deref(), there));
        if let Some((own, why)) = behind.filter(|_| next_template(spec, target, there).is_none()) {
            self.0.push(Change::forbidden("version", &there.version, own, why));
        }
        if let Some(release) = next_release(spec, target, there) {
            self.in_place("releaseVersion", &there.release, release);
        }
        if let ReleaseVersion::Exact(exact) = spec.release_version() {
            self.exact_release(exact, misfit(spec, target, there), there);
        }
        if let Some(template) = next_template(spec, target, there) {
            let seen = there.launch_template.as_ref().map_or("", |template| &template.version);
            self.in_place("launchTemplate.version", seen, template.version.unwrap_or_default());
        }
    }

    /// Reports what is wrong with an exact release.
    fn exact_release(&mut self, exact: &str, misfit: Option<(String, String)>, there: &Detail) {
        let why = if there.ami_type == release::CUSTOM {
            "its AMI comes from the launch template: set releaseVersion: Latest, and choose the AMI there".to_owned()
        } else if let Some((of, nodes)) = misfit {
            format!(
                "it is a release for Kubernetes {of}, but the nodes are to run {nodes}: set a release for {nodes}, or Latest"
            )
        } else if release::is_newer(&there.release, exact) {
            format!("nodes are never downgraded: set {} or a newer release, or Latest", there.release)
        } else {
            return;
        };
        self.0.push(Change::forbidden("releaseVersion", &there.release, exact, why));
    }

    /// What EKS cannot change. Admission rejects such edits; this covers node groups created or changed otherwise.
    fn fixed(&mut self, spec: &NodeGroupSpec, there: &Detail) {
        let mut fixed = |field: &str, from: &str, to: &str| {
            if from != to {
                self.0.push(Change::forbidden(field, from, to, format!("EKS cannot change it: {NEW_GROUP}")));
            }
        };
        fixed("capacityType", &there.capacity, capacity(spec.capacity_type));
        if !(there.instance_types.is_empty() && there.launch_template.is_some()) {
            fixed("instanceTypes", &there.instance_types.join(", "), &spec.instance_types.join(", "));
        }
        if let Some(ami_type) = &spec.ami_type {
            fixed("amiType", &there.ami_type, ami_type);
        }
        if let Some(size) = spec.disk_size_gib {
            fixed("diskSizeGiB", &there.disk_size.map(|size| size.to_string()).unwrap_or_default(), &size.to_string());
        }
        if let Some(role) = &spec.role_arn {
            fixed("roleArn", &there.role_arn, role);
        }
        let template = |id: Option<&String>| id.cloned().unwrap_or_default();
        let seen = there.launch_template.as_ref().map(|template| &template.id);
        fixed("launchTemplate.id", &template(seen), &template(spec.launch_template.as_ref().map(|wanted| &wanted.id)));
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
