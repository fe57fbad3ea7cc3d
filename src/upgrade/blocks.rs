//! What holds or blocks an upgrade, for users: what a user must change, what resolves itself, and which manual updates
//! are due. Pure.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Zoned};

use super::addon_versions::{self, Obstacle};
use super::observation::{Goal, Observation, ObservedNodeGroup};
use super::remaining_steps::own_version_target;
use super::skew::{self, Skew};
use super::windows::rfc3339;
use crate::api::KubernetesVersion;
use crate::api::listing::first_few;
use crate::api::upgrade::FollowPolicy;

/// Maximum number of names in a message.
const MAX_NAMES: usize = 5;

/// What a user must change before the upgrade proceeds. [`fmt::Display`] says what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The target is in another major version.
    MajorVersionChange { from: KubernetesVersion, to: KubernetesVersion },
    /// EKS does not offer a version on the path.
    NotOffered { version: KubernetesVersion, newest: KubernetesVersion },
    /// A node group with its own version would violate the version skew policy.
    OwnVersion { name: String, version: KubernetesVersion, control_plane: KubernetesVersion },
    /// A node group that does not follow (`spec.upgrade.nodeGroups: Manual`) would violate the version skew policy.
    ManualNodeGroup { name: String, version: KubernetesVersion, control_plane: KubernetesVersion },
    /// A suspended node group would violate the version skew policy.
    SuspendedNodeGroup { name: String, version: KubernetesVersion, control_plane: KubernetesVersion },
    /// A node group with an AMI from its launch template would violate the version skew policy.
    CustomAmi { name: String, version: KubernetesVersion, control_plane: KubernetesVersion },
    /// Nodes outside the cluster's NodeGroups would violate the version skew policy.
    OtherNodes { names: Vec<String>, oldest: KubernetesVersion, control_plane: KubernetesVersion },
    /// An add-on does not run on the target version.
    Addon { name: String, installed: String, control_plane: KubernetesVersion, obstacle: Obstacle },
    /// The exact version of an add-on is not offered for the target version.
    AddonNotOffered { name: String, version: String, control_plane: KubernetesVersion, offered: String },
    /// An add-on failed.
    AddonFailed { name: String, installed: String },
    /// A preflight check failed.
    Preflight { check: String, message: String },
    /// The spec requests a lower version without allowing rollbacks.
    RollbackNotAllowed { from: KubernetesVersion, to: KubernetesVersion },
    /// The spec requests a version more than one minor lower.
    RollbackTooFar { from: KubernetesVersion, to: KubernetesVersion },
    /// Node groups are newer than the rollback version.
    NewerNodeGroups { names: Vec<String>, control_plane: KubernetesVersion },
    /// Nodes outside the cluster's NodeGroups are newer than the rollback version.
    NewerNodes { names: Vec<String>, control_plane: KubernetesVersion },
    /// A FleetRollout cannot decide about the cluster.
    Rollout { message: String },
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MajorVersionChange { from, to } => write!(
                f,
                "there is no upgrade path from Kubernetes {from} to {to}: set spec.version to a minor of the same major"
            ),
            Self::NotOffered { version, newest } => write!(
                f,
                "EKS does not offer Kubernetes {version} here, the newest is {newest}: set spec.version to one that \
                 `aws eks describe-cluster-versions` lists"
            ),
            Self::OwnVersion { name, version, control_plane } => {
                behind(f, &format!("node group {name} has {version} as its own version"), *version, *control_plane)?;
                let oldest = skew::oldest_with(*control_plane);
                write!(
                    f,
                    "set spec.version of its NodeGroup to {oldest} or later, or remove it so that it follows the cluster"
                )
            }
            Self::ManualNodeGroup { name, version, control_plane } => {
                let policy = "upgraded manually (spec.upgrade.nodeGroups: Manual)";
                let who = format!("node group {name} is at {version} and {policy}");
                behind(f, &who, *version, *control_plane)?;
                let oldest = skew::oldest_with(*control_plane);
                write!(f, "set spec.version of its NodeGroup to {oldest} or later")
            }
            Self::SuspendedNodeGroup { name, version, control_plane } => {
                behind(f, &format!("node group {name} is at {version} and suspended"), *version, *control_plane)?;
                f.write_str("set spec.suspend of its NodeGroup to false")
            }
            Self::CustomAmi { name, version, control_plane } => {
                behind(f, &format!("node group {name} is at {version} with a custom AMI"), *version, *control_plane)?;
                let oldest = skew::oldest_with(*control_plane);
                write!(
                    f,
                    "set spec.node.imageId of its NodeGroup to an AMI of {oldest} or later, or create a version of its own launch \
                     template with one, and set spec.launchTemplate.version of its NodeGroup to it"
                )
            }
            Self::OtherNodes { names, oldest, control_plane } => {
                let who = format!("{} outside the NodeGroups of this cluster, the oldest at {oldest}", nodes(names));
                behind(f, &who, *oldest, *control_plane)?;
                write!(f, "replace or remove those older than {}", skew::oldest_with(*control_plane))
            }
            Self::Addon { name, installed, control_plane, obstacle } => {
                write!(f, "add-on {name} {installed} does not run on Kubernetes {control_plane}")?;
                addon(f, name, *control_plane, obstacle)
            }
            Self::AddonNotOffered { name, version, control_plane, offered } if offered.is_empty() => write!(
                f,
                "add-on {name}: EKS offers no version {version} for Kubernetes {control_plane}, nor any other: remove the \
                 add-on from spec.addons and from the cluster"
            ),
            Self::AddonNotOffered { name, version, control_plane, offered } => write!(
                f,
                "add-on {name}: EKS offers no version {version} for Kubernetes {control_plane}; the newest are {offered}: set \
                 its version to one of these, or to Default"
            ),
            Self::AddonFailed { name, installed } => write!(
                f,
                "add-on {name} {installed} has failed: see status.addons for the message of EKS, and change its entry \
                 in spec.addons"
            ),
            Self::Preflight { check, message } => write!(f, "preflight check {check} failed: {message}"),
            Self::RollbackNotAllowed { from, to } => write!(
                f,
                "the control plane is at {from}, newer than spec.version {to}: set spec.version to {from}, or roll back with \
                 spec.upgrade.allowRollback: true"
            ),
            Self::RollbackTooFar { from, to } => write!(
                f,
                "the control plane is at {from}, and EKS rolls back by one minor only: spec.version {to} cannot be reached, \
                 set it to {from} or the minor before"
            ),
            Self::NewerNodeGroups { names, control_plane } => write!(
                f,
                "node groups {} are newer than Kubernetes {control_plane}, and nodes may not be newer than their control \
                 plane: create NodeGroups at {control_plane} for their workloads and delete these",
                names.join(", ")
            ),
            Self::Rollout { message } => f.write_str(message),
            Self::NewerNodes { names, control_plane } => write!(
                f,
                "{} outside the NodeGroups of this cluster, newer than Kubernetes {control_plane}, and nodes may not \
                 be newer than their control plane: replace or remove them",
                nodes(names)
            ),
        }
    }
}

/// `..., 3 minors behind Kubernetes 1.35, which supports nodes of 1.32 and later: `
fn behind(
    f: &mut fmt::Formatter<'_>,
    who: &str,
    is: KubernetesVersion,
    control_plane: KubernetesVersion,
) -> fmt::Result {
    let oldest = skew::oldest_with(control_plane);
    let minors = control_plane.minors_ahead_of(is).unwrap_or_default();
    write!(f, "{who}, {minors} minors behind Kubernetes {control_plane}, which supports nodes of {oldest} and later: ")
}

fn nodes(names: &[String]) -> String {
    format!("nodes {} are", first_few(names, MAX_NAMES))
}

fn addon(f: &mut fmt::Formatter<'_>, name: &str, to: KubernetesVersion, obstacle: &Obstacle) -> fmt::Result {
    match obstacle {
        Obstacle::NotOffered => write!(
            f,
            ", and EKS offers no version that does: remove {name} from spec.addons and from the cluster, or stay at \
             the current version"
        ),
        Obstacle::Exact { version, instead: Some(instead) } => {
            write!(f, ", and its exact version is {version}: set it to {instead}, which runs on both, or to Default")
        }
        Obstacle::Exact { version, instead: None } => {
            write!(
                f,
                ", its exact version is {version}, and no version runs on both: set it to Default, which updates it \
                 right after the control plane"
            )
        }
        Obstacle::Manual { instead: Some(instead) } => write!(
            f,
            ", and add-ons are upgraded manually (spec.upgrade.addons: Manual): set its version to {instead}, which \
             runs on both"
        ),
        Obstacle::Manual { instead: None } => write!(
            f,
            ", add-ons are upgraded manually (spec.upgrade.addons: Manual), and no version runs on both: set its \
             version to one offered for {to}, which is installed right after the control plane"
        ),
    }
}

/// What holds a step until it resolves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The preflight for the next control plane version must run first.
    Preflight { to: KubernetesVersion },
    /// A user holds the cluster: nothing begins until the hold is removed.
    ByUser,
    /// No maintenance window is open.
    OutsideWindow { opens: Option<Zoned> },
    /// The cluster must stay healthy for some time.
    Soaking { remaining: Duration },
    /// The cluster is unhealthy, so the soak time does not progress.
    Unhealthy { why: String, remaining: Duration },
    /// EKS is updating these.
    Busy { what: Vec<String> },
    /// These node groups must reach their own versions first.
    NodeGroupsMoving { names: Vec<String> },
    /// Outdated nodes of these node groups must be replaced first.
    OldNodes { names: Vec<String> },
    /// The kubelet versions of the nodes are being read.
    ReadingNodes,
    /// The kubelet versions cannot be read, so one of them may violate the version skew policy.
    UnreadableNodes { why: String, control_plane: KubernetesVersion },
    /// The cluster waits for its wave of a FleetRollout.
    Wave { halted: bool, message: String },
    /// A hook must succeed first.
    Hook { failed: bool, message: String },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preflight { to } => write!(f, "the preflight for {to} is running"),
            Self::ByUser => f.write_str("on hold until no annotation hold.keelson.dev/NAME is left"),
            Self::OutsideWindow { opens: Some(opens) } => {
                write!(f, "the next maintenance window opens {}", rfc3339(opens))
            }
            Self::OutsideWindow { opens: None } => {
                f.write_str("no maintenance window opens again: change spec.upgrade.windows")
            }
            Self::Soaking { remaining } => write!(f, "soaking for another {}", in_words(*remaining)),
            Self::Unhealthy { why, remaining } => {
                write!(f, "soaking for another {} once the cluster is healthy: {why}", in_words(*remaining))
            }
            Self::Busy { what } => write!(f, "EKS is updating {}", what.join(", ")),
            Self::NodeGroupsMoving { names } => {
                write!(f, "node groups {} must reach their own versions first", names.join(", "))
            }
            Self::OldNodes { names } => {
                write!(f, "the old nodes of node groups {} must be replaced first", names.join(", "))
            }
            Self::Wave { message, .. } | Self::Hook { message, .. } => f.write_str(message),
            Self::ReadingNodes => f.write_str("the versions of the cluster's nodes are being read"),
            Self::UnreadableNodes { why, control_plane } => write!(
                f,
                "the cluster's nodes cannot be read, and Kubernetes {control_plane} may not fit the kubelets of some: {why}; let \
                 the operator reach the cluster's API (endpoint access, an access entry for its role, --workload-proxy), or set \
                 spec.upgrade.unreadableNodes to Ignore to use the versions of the node groups"
            ),
        }
    }
}

fn in_words(duration: Duration) -> String {
    let whole = SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    format!("{whole:#}")
}

/// A manual update that is due and blocks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManualUpdate {
    /// A node group that does not follow is older than its control plane.
    NodeGroup { name: String, version: KubernetesVersion, control_plane: KubernetesVersion, suspended: bool },
    /// The same for a node group with an AMI from its launch template.
    CustomAmi { name: String, version: KubernetesVersion, control_plane: KubernetesVersion },
    /// An add-on that does not follow has a newer version.
    Addon { name: String, installed: String, to: String },
}

impl fmt::Display for ManualUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeGroup { name, version, control_plane, suspended } => {
                let how = if *suspended { "it is suspended" } else { "set spec.version of its NodeGroup" };
                write!(f, "node group {name} is at {version}, the control plane at {control_plane}: {how}")
            }
            Self::CustomAmi { name, version, control_plane } => write!(
                f,
                "node group {name} is at {version} with a custom AMI, the control plane at {control_plane}: set spec.node.imageId of \
                 its NodeGroup to an AMI of {control_plane}, or create a version of its own launch template with one, and set \
                 spec.launchTemplate.version of its NodeGroup to it"
            ),
            Self::Addon { name, installed, to } => write!(f, "add-on {name} is at {installed}: {to} is due"),
        }
    }
}

/// The manual updates that are due now.
pub(super) fn due(goal: &Goal, observed: &Observation) -> Vec<ManualUpdate> {
    let control_plane = observed.control_plane;
    let is_behind = |group: &&ObservedNodeGroup| {
        group.own.is_none()
            && group.version < control_plane
            && (group.suspended || group.custom_ami || goal.node_groups == FollowPolicy::Manual)
    };
    let groups = observed.node_groups.iter().filter(is_behind).map(|group| {
        let (name, version, suspended) = (group.name.clone(), group.version, group.suspended);
        match group.custom_ami && !suspended {
            true => ManualUpdate::CustomAmi { name, version, control_plane },
            false => ManualUpdate::NodeGroup { name, version, control_plane, suspended },
        }
    });
    let manual = observed.addons.iter().filter(|_| goal.addons == FollowPolicy::Manual);
    let addons =
        manual.filter(|addon| addon_versions::steady(addon, FollowPolicy::Manual, control_plane, None).is_none());
    let addons = addons.filter_map(|addon| {
        let to = addon_versions::steady(addon, FollowPolicy::Follow, control_plane, None)?;
        Some(ManualUpdate::Addon { name: addon.name.clone(), installed: addon.installed.clone(), to })
    });
    groups.chain(addons).collect()
}

/// What a user must change before the control plane is upgraded to `to`.
pub(super) fn of_step(goal: &Goal, observed: &Observation, to: KubernetesVersion) -> Vec<Block> {
    let too_old = |version| skew::breaks(to, version) == Some(Skew::TooOld);
    let groups = observed.node_groups.iter().filter(|group| too_old(group.version)).filter_map(|group| {
        let by_itself = own_version_target(group, observed.control_plane).is_some_and(|own| !too_old(own));
        let (name, version, control_plane) = (group.name.clone(), group.version, to);
        match group.own {
            _ if by_itself => None,
            _ if group.suspended => Some(Block::SuspendedNodeGroup { name, version, control_plane }),
            _ if group.custom_ami => Some(Block::CustomAmi { name, version, control_plane }),
            Some(_) => Some(Block::OwnVersion { name, version, control_plane }),
            None => Some(Block::ManualNodeGroup { name, version, control_plane }),
        }
    });
    let old: Vec<_> = observed.other_kubelets.iter().filter(|(_, version)| too_old(*version)).collect();
    let others = old.iter().map(|(_, version)| *version).min().map(|oldest| Block::OtherNodes {
        names: old.iter().map(|(name, _)| name.clone()).collect(),
        oldest,
        control_plane: to,
    });
    groups.chain(others).chain(of_addons(goal, observed, to)).collect()
}

/// What a user must change before the control plane is rolled back to `to`.
pub(super) fn of_rollback(goal: &Goal, observed: &Observation, to: KubernetesVersion) -> Vec<Block> {
    let from = observed.control_plane;
    let not_allowed = (!goal.allow_rollback).then_some(Block::RollbackNotAllowed { from, to });
    let too_far = (from.minors_ahead_of(to) != Some(1)).then_some(Block::RollbackTooFar { from, to });
    let refused: Vec<_> = not_allowed.into_iter().chain(too_far).collect();
    if !refused.is_empty() {
        return refused;
    }
    let newer = |version| skew::breaks(to, version) == Some(Skew::Newer);
    let groups = observed.node_groups.iter().filter(|group| newer(group.newest())).map(|group| group.name.clone());
    let names: Vec<_> = groups.collect();
    let groups = (!names.is_empty()).then_some(Block::NewerNodeGroups { names, control_plane: to });
    let nodes = observed.other_kubelets.iter().filter(|(_, version)| newer(*version)).map(|(name, _)| name.clone());
    let names: Vec<_> = nodes.collect();
    let others = (!names.is_empty()).then_some(Block::NewerNodes { names, control_plane: to });
    groups.into_iter().chain(others).chain(of_addons(goal, observed, to)).collect()
}

fn of_addons(goal: &Goal, observed: &Observation, to: KubernetesVersion) -> impl Iterator<Item = Block> {
    observed.addons.iter().filter_map(move |addon| {
        let obstacle = addon_versions::obstacle(addon, goal.addons, observed.control_plane, to)?;
        let (name, installed) = (addon.name.clone(), addon.installed.clone());
        Some(Block::Addon { name, installed, control_plane: to, obstacle })
    })
}

/// Blocks of the goal itself: versions that are not available.
pub(super) fn of_goal(goal: &Goal, observed: &Observation, path: &[KubernetesVersion]) -> Vec<Block> {
    let (from, to) = (observed.control_plane, goal.version);
    if to != from && path.is_empty() {
        return vec![Block::MajorVersionChange { from, to }];
    }
    let unknown = path.iter().rev().find(|version| **version > from && !observed.offered.contains(version));
    let newest = observed.offered.last();
    unknown
        .zip(newest)
        .map(|(version, newest)| Block::NotOffered { version: *version, newest: *newest })
        .into_iter()
        .collect()
}

/// Exact versions of add-ons that are not offered for the target version of the cluster.
pub(super) fn of_exact_addons(goal: &Goal, observed: &Observation) -> Vec<Block> {
    let control_plane = goal.version;
    let addons = observed.addons.iter().filter_map(|addon| {
        let offered = addon_versions::not_offered(addon, control_plane)?;
        let Some(addon_versions::DesiredVersion::Exact(version)) = addon.wanted.clone() else { return None };
        Some(Block::AddonNotOffered { name: addon.name.clone(), version, control_plane, offered })
    });
    addons.collect()
}
