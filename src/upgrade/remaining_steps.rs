//! All remaining steps from the observed to the desired versions, assuming that nothing holds them. Pure.
//!
//! [`super::decide()`] decides about the first of these steps; the others are counted and shown.

use std::collections::BTreeMap;
use std::fmt;

use super::addon_versions;
use super::blocks::{self, Block};
use super::observation::{Goal, Observation, ObservedAddon, ObservedNodeGroup};
use super::skew;
use crate::api::KubernetesVersion;
use crate::api::upgrade::FollowPolicy;

/// A step of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The control plane is upgraded by one minor.
    ControlPlane { from: KubernetesVersion, to: KubernetesVersion },
    /// The control plane is rolled back by one minor.
    Rollback { from: KubernetesVersion, to: KubernetesVersion },
    /// A round of add-on updates to versions that run on this Kubernetes version, before or after the control plane
    /// step.
    Addons { minor: KubernetesVersion, moves: Vec<AddonStep> },
    /// A round of node group updates, run concurrently.
    NodeGroups { to: KubernetesVersion, names: Vec<String> },
}

/// The update of an add-on in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddonStep {
    /// Name in EKS.
    pub name: String,
    /// Current version.
    pub from: String,
    /// Target version.
    pub to: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane { from, to } => write!(f, "control plane {from} -> {to}"),
            Self::Rollback { from, to } => write!(f, "control plane back {from} -> {to}"),
            Self::Addons { minor, moves } => {
                let moves: Vec<_> = moves.iter().map(ToString::to_string).collect();
                write!(f, "add-ons for {minor}: {}", moves.join(", "))
            }
            Self::NodeGroups { to, names } => write!(f, "node groups to {to}: {}", names.join(", ")),
        }
    }
}

impl fmt::Display for AddonStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, to } = self;
        write!(f, "{name} {from} -> {to}")
    }
}

/// A step with its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub step: Step,
    /// The control plane version that this step reaches or prepares; `None`: it comes after the last one.
    pub ahead_of: Option<KubernetesVersion>,
    /// What a user must change before this step, as far as it is known now.
    pub blocks: Vec<Block>,
}

/// The version after `at` on the path to `goal`; `None`: it is reached, or there is no path.
fn next(at: KubernetesVersion, goal: KubernetesVersion) -> Option<KubernetesVersion> {
    match goal.minors_ahead_of(at)? {
        0 => None,
        ahead if ahead > 0 => Some(at.next()),
        _ => Some(goal),
    }
}

/// The remaining control plane versions, in order.
pub fn path(at: KubernetesVersion, goal: KubernetesVersion) -> Vec<KubernetesVersion> {
    std::iter::successors(next(at, goal), |at| next(*at, goal)).collect()
}

/// The remaining steps, as stages.
pub(super) fn stages(goal: &Goal, observed: &Observation) -> Vec<Stage> {
    let mut at = observed.clone();
    let mut stages = Vec::new();
    loop {
        let from = at.control_plane;
        let next = next(from, goal.version);
        // Before a rollback no add-on is raised.
        if from <= goal.version {
            let steady = |addon: &ObservedAddon| addon_versions::steady(addon, goal.addons, from, next);
            stages.extend(addon_round(&mut at.addons, from, None, steady));
        }
        let Some(to) = next else { break };
        if to > from {
            stages.extend(update_followers(goal, &mut at.node_groups, from, to));
        }
        let before = |addon: &ObservedAddon| addon_versions::before(addon, goal.addons, from, to);
        stages.extend(addon_round(&mut at.addons, to, Some(to), before));
        let (step, blocks) = if to > from {
            (Step::ControlPlane { from, to }, blocks::of_step(goal, &at, to))
        } else {
            (Step::Rollback { from, to }, blocks::of_rollback(goal, &at, to))
        };
        stages.push(Stage { step, ahead_of: Some(to), blocks });
        at.control_plane = to;
        for group in &mut at.node_groups {
            if let Some(own) = own_version_target(group, to) {
                set_version(group, own);
            }
        }
    }
    stages.extend(final_node_groups(goal, &mut at));
    stages
}

fn set_version(group: &mut ObservedNodeGroup, version: KubernetesVersion) {
    group.version = version;
    group.kubelets.clear();
}

/// The version that a node group moves to independently of the cluster: its own, once the control plane has reached it.
pub(super) fn own_version_target(
    group: &ObservedNodeGroup,
    control_plane: KubernetesVersion,
) -> Option<KubernetesVersion> {
    let moves = !group.suspended && !group.custom_ami;
    group.own.filter(|own| moves && group.version < *own && *own <= control_plane)
}

/// How far a node group follows the cluster: up to the control plane if it follows, and up to its own version if the
/// control plane has not reached that yet.
fn follow_target(
    goal: &Goal,
    group: &ObservedNodeGroup,
    control_plane: KubernetesVersion,
) -> Option<KubernetesVersion> {
    let follows = group.own.is_none() && goal.node_groups == FollowPolicy::Follow;
    let early = group.own.is_some_and(|own| own > control_plane);
    let moves = !group.suspended && !group.custom_ami;
    (moves && (follows || early) && group.version < control_plane).then_some(control_plane)
}

/// Node groups that the step would leave too old are updated to the control plane's version, together with all others
/// that follow, because one version applies to all.
fn update_followers(
    goal: &Goal,
    groups: &mut [ObservedNodeGroup],
    from: KubernetesVersion,
    to: KubernetesVersion,
) -> Option<Stage> {
    let follows = |group: &ObservedNodeGroup| follow_target(goal, group, from).is_some();
    let must = |group: &ObservedNodeGroup| follows(group) && skew::breaks(to, group.oldest()).is_some();
    if !groups.iter().any(must) {
        return None;
    }
    let names = groups.iter_mut().filter(|group| follows(group)).map(|group| {
        set_version(group, from);
        group.name.clone()
    });
    Some(Stage { step: Step::NodeGroups { to: from, names: names.collect() }, ahead_of: Some(to), blocks: Vec::new() })
}

/// At the end, node groups that follow are updated to the control plane's version.
fn final_node_groups(goal: &Goal, at: &mut Observation) -> Option<Stage> {
    let to = at.control_plane;
    let lag = |group: &&ObservedNodeGroup| group.own.is_none() && follow_target(goal, group, to).is_some();
    let names: Vec<_> = at.node_groups.iter().filter(lag).map(|group| group.name.clone()).collect();
    let stage = Stage { step: Step::NodeGroups { to, names }, ahead_of: None, blocks: Vec::new() };
    (!matches!(&stage.step, Step::NodeGroups { names, .. } if names.is_empty())).then_some(stage)
}

fn addon_round(
    addons: &mut [ObservedAddon],
    minor: KubernetesVersion,
    ahead_of: Option<KubernetesVersion>,
    choose: impl Fn(&ObservedAddon) -> Option<String>,
) -> Option<Stage> {
    let mut moves = BTreeMap::new();
    for addon in addons {
        if let Some(to) = choose(addon) {
            let from = std::mem::replace(&mut addon.installed, to.clone());
            let name = addon.name.clone();
            moves.insert((addon_versions::turn(&name), name.clone()), AddonStep { name, from, to });
        }
    }
    let moves: Vec<_> = moves.into_values().collect();
    let blocks = Vec::new();
    (!moves.is_empty()).then_some(Stage { step: Step::Addons { minor, moves }, ahead_of, blocks })
}
