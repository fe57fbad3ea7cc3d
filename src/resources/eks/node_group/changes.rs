//! How a node group differs from the spec, and the call that replaces nodes: one UpdateNodegroupVersion for everything
//! that does. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html>.

use std::collections::BTreeMap;

use super::Target;
use super::observed_node_group::Detail;
use super::repair::{self, Fields};
use super::settings::{
    CAPACITY_BLOCK, DEFAULT_STRATEGY, capacity, describe_pace, desired, taints_by_id, update_config,
};
use super::template_changes::{self, NextTemplate};
use super::{ami_release, warm_pool};
use crate::api::kubernetes_version::KubernetesVersion;
use crate::api::node_group::{NodeGroupSpec, ReleaseVersion};
use crate::engine::{Change, Correction};

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
    if waits_for_no_nodes(current) {
        return None;
    }
    let version = next_version(spec, target, current);
    let release = next_release(spec, target, current);
    let launch_template = template_changes::next(spec, target, current);
    if version.is_none() && release.is_none() && launch_template.is_none() {
        return None;
    }
    // For a new template version alone, the request repeats the AMI release; EKS would update it otherwise. A custom
    // AMI has its own version, and EKS rejects a release for it.
    let keeps_release = version.is_none() && current.ami_type != ami_release::CUSTOM;
    let release = release.or_else(|| keeps_release.then(|| current.release.clone()));
    Some(Replacement { version, release, launch_template })
}

/// Whether EKS does not replace nodes now: those of a Capacity Block occupy what new ones would need.
fn waits_for_no_nodes(current: &Detail) -> bool {
    current.capacity == CAPACITY_BLOCK && current.desired > 0
}

/// Whether the change replaces nodes.
pub fn replaces(change: &Change) -> bool {
    ["version", "releaseVersion"].contains(&change.field.as_str()) || template_changes::is_of_template(change)
}

/// Fields that EKS cannot change.
const FIXED: [&str; 6] = ["capacityType", "instanceTypes", "amiType", "diskSizeGiB", "roleArn", "launchTemplate.id"];

/// Whether EKS cannot change the field.
pub fn is_fixed(change: &Change) -> bool {
    FIXED.contains(&change.field.as_str())
}

/// The changes that wait until nodes may be replaced, as a message.
pub fn waits_for_window(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<String> {
    let now = Target { replace: true, ..target.clone() };
    let release = next_release(spec, &now, current).filter(|_| next_release(spec, target, current).is_none());
    let template = template_changes::next(spec, &now, current).filter(|_| !target.replace);
    let release = release.map(|release| format!("AMI release {release}"));
    let template = template.as_ref().map(template_changes::describe);
    let waiting: Vec<_> = release.into_iter().chain(template).collect();
    let opens = target.next_window.as_ref().map(|opens| format!(": {opens}")).unwrap_or_default();
    (!waiting.is_empty()).then(|| format!("{} waits for a maintenance window{opens}", waiting.join(", ")))
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
    let possible = current.ami_type != ami_release::CUSTOM && version_mismatch(spec, target, current).is_none();
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
    if current.ami_type == ami_release::CUSTOM || !target.replace && version.is_none() {
        return None;
    }
    match spec.release_version() {
        ReleaseVersion::Pinned => None,
        ReleaseVersion::Latest => {
            let newest = current.newest_release.as_ref().filter(|_| version.is_none());
            newest.filter(|newest| ami_release::is_newer(newest, &current.release)).cloned()
        }
        ReleaseVersion::Exact(exact) => {
            let fits = version_mismatch(spec, target, current).is_none();
            let possible = fits && !ami_release::is_newer(&current.release, exact);
            (possible && exact != current.release).then(|| exact.to_owned())
        }
    }
}

/// The Kubernetes versions of the exact release and of the nodes, if they differ.
fn version_mismatch(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<(String, String)> {
    let ReleaseVersion::Exact(exact) = spec.release_version() else { return None };
    let of = ami_release::kubernetes_version(exact, &current.ami_type)?;
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
    let waits = waits_for_no_nodes(current);
    for change in found.0.iter_mut().filter(|change| replaces(change) && change.how == Correction::InPlace) {
        if waits {
            change.how = Correction::Reported(NO_NODES.to_owned());
        } else {
            change.disruption = Some(format!("{REPLACES_NODES}, {}", describe_pace(spec, current)));
        }
    }
    found.0
}

#[derive(Default)]
struct Differences(Vec<Change>);

const NEW_GROUP: &str = "create a new NodeGroup with the value of the spec and delete this one, or, to keep the \
                         nodes, delete this one with deletionPolicy: Retain and apply it again with the actual value";

/// What an update of a version does, as a message.
pub const REPLACES_NODES: &str = "replaces its nodes";

const NO_NODES: &str = "EKS updates a node group of a Capacity Block only without nodes: set scaling.min: 0, and \
                        scaling.desired: 0 with desiredPolicy: Enforce, or wait until the autoscaler has removed them";

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
        if let Some(wanted) = &spec.repair {
            self.fields("repair", &repair::desired(wanted, &current.repair).fields(), &current.repair.fields());
        }
        if let Some(wanted) = &spec.warm_pool {
            self.fields(
                "warmPool",
                &warm_pool::desired(wanted, &current.warm_pool).fields(),
                &current.warm_pool.fields(),
            );
        }
    }

    /// The members of a setting, by name.
    fn fields(&mut self, setting: &str, wanted: &Fields, current: &Fields) {
        let names: std::collections::BTreeSet<&String> = wanted.keys().chain(current.keys()).collect();
        let value = |of: &Fields, name: &String| of.get(name).cloned().unwrap_or_else(|| "(none)".to_owned());
        for name in names {
            self.in_place(format!("{setting}.{name}"), value(current, name), value(wanted, name));
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
            && current.ami_type != ami_release::CUSTOM
        {
            let why = format!(
                "nodes are never downgraded: set version: \"{observed}\", or create a NodeGroup with the lower \
                 version and delete this one"
            );
            self.0.push(Change::forbidden("version", observed, own, why));
        }
        let template = template_changes::changes(spec, target, current);
        let behind = spec.version.as_ref().zip(ami_release::own_ami_is_behind(spec, current));
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
        let why = if current.ami_type == ami_release::CUSTOM {
            "its AMI comes from the launch template: set releaseVersion: Latest, and choose the AMI there".to_owned()
        } else if let Some((of, nodes)) = version_mismatch {
            format!(
                "it is a release for Kubernetes {of}, but the nodes are to run {nodes}: set a release for {nodes}, \
                 or Latest"
            )
        } else if ami_release::is_newer(&current.release, exact) {
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
            let from = current.launch_template.as_ref().map(|template| template.id.as_str());
            // By name, its id is not known while no template has that name.
            let is_unknown = spec.launch_template.as_ref().is_some_and(|wanted| wanted.id.is_none());
            let to = spec.launch_template.as_ref().and_then(|wanted| wanted.id.as_deref());
            if !(is_unknown && from.is_some()) {
                fixed("launchTemplate.id", from.unwrap_or_default(), to.unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
