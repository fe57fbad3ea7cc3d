//! The decision: which of the remaining steps may run now, and what holds the next one. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::addon_versions;
use super::blocks::{self, Block, Hold, ManualUpdate};
use super::observation::{
    AddonState, Clock, ControlPlaneWork, Goal, Observation, ObservedNodeGroup, UnreadNodes, WaveState,
};
use super::preflight::Preflight;
use super::remaining_steps::{self, AddonStep, Stage, Step};
use super::skew;
use super::windows::WindowState;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;
use crate::api::upgrade::FollowPolicy;

/// The current targets, and the state for users.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// The versions for the desired graph.
    pub targets: Targets,
    /// State of the upgrade.
    pub state: State,
    /// The remaining control plane versions, in order.
    pub path: Vec<KubernetesVersion>,
    /// All remaining steps, in order.
    pub remaining_steps: Vec<Step>,
    /// Expected blocks of later steps, as far as they are known; empty once a step is blocked.
    pub ahead: Vec<Block>,
    /// Manual updates that are due and block nothing.
    pub due: Vec<ManualUpdate>,
    /// The next step, if nothing but the wave of a FleetRollout may hold it, and it has not started.
    pub gated: Option<GatedStep>,
}

/// A step that waits for the wave of a FleetRollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatedStep {
    /// What is upgraded.
    pub gate: Gate,
    /// The version that it gets.
    pub to: KubernetesVersion,
}

/// The allowed versions: the current ones, and those of steps that started or may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Version of the control plane.
    pub control_plane: KubernetesVersion,
    /// Versions of add-ons by name; others are unchanged.
    pub addons: BTreeMap<String, String>,
    /// The version for node groups that follow; `None`: they are unchanged.
    pub node_groups: Option<KubernetesVersion>,
}

/// State of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything that follows has its target version.
    Settled,
    /// This step is in progress, or may start.
    Running(Step),
    /// The next step waits for something that resolves itself.
    Holding { next: Step, why: Hold },
    /// The next step waits for a user.
    Blocked { next: Step, why: Vec<Block> },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settled => f.write_str("settled"),
            Self::Running(step) => step.fmt(f),
            Self::Holding { next, why } => write!(f, "{next}: {why}"),
            Self::Blocked { next, why } => {
                let why: Vec<_> = why.iter().map(ToString::to_string).collect();
                write!(f, "{next}: {}", why.join("; "))
            }
        }
    }
}

impl Decision {
    /// The next step, counted from 1, and the total. `total` is the number of steps when this upgrade started; the
    /// caller stores it until the goal changes. `None`: no steps remain.
    pub fn step(&self, total: Option<usize>) -> Option<(usize, usize)> {
        let left = self.remaining_steps.len();
        let total = total.unwrap_or(left).max(left);
        (left > 0).then_some((total - left + 1, total))
    }

    /// The version for the preflight: the next version that the control plane is upgraded to.
    pub fn preflight_for(&self) -> Option<KubernetesVersion> {
        self.remaining_steps.iter().find_map(|step| match step {
            Step::ControlPlane { to, .. } => Some(*to),
            _ => None,
        })
    }

    /// Whether the control plane or nodes still have to reach a Kubernetes version; otherwise at most add-ons are
    /// updated.
    pub fn is_upgrade(&self) -> bool {
        self.remaining_steps.iter().any(|step| !matches!(step, Step::Addons { .. }))
    }
}

/// Decides what may run now. `preflight` is the last one, for any version.
pub fn decide(goal: &Goal, observed: &Observation, clock: &Clock, preflight: Option<&Preflight>) -> Decision {
    let path = remaining_steps::path(observed.control_plane, goal.version);
    let stages = remaining_steps::stages(goal, observed);
    let is_rollback = path.first().is_some_and(|to| *to < observed.control_plane);
    let inputs = Inputs { goal, observed, clock, preflight, is_rollback };
    let state = inputs.state(&path, &stages);
    let gated = stages.first().and_then(|stage| inputs.asked(stage, &state));
    let may_start = !clock.on_hold && (is_rollback || clock.window.is_open());
    let targets = targets(goal, observed, may_start, &state);
    let ahead = match &state {
        State::Blocked { .. } => Vec::new(),
        _ => {
            let blocked = stages.iter().map(|stage| &stage.blocks).find(|blocks| !blocks.is_empty());
            blocked.cloned().unwrap_or_else(|| blocks::of_exact_addons(goal, observed))
        }
    };
    let remaining_steps = stages.into_iter().map(|stage| stage.step).collect();
    Decision { targets, state, path, remaining_steps, ahead, due: blocks::due(goal, observed), gated }
}

fn targets(goal: &Goal, observed: &Observation, may_start: bool, state: &State) -> Targets {
    let mut targets = Targets { control_plane: observed.control_plane, addons: BTreeMap::new(), node_groups: None };
    match state {
        State::Running(Step::ControlPlane { to, .. } | Step::Rollback { to, .. }) => targets.control_plane = *to,
        State::Running(Step::Addons { moves, .. }) => {
            let now = moves.iter().filter(|one| {
                is_busy(observed, one) || (may_start && addon_versions::turn(&one.name) == first_turn(moves))
            });
            targets.addons = now.map(|one| (one.name.clone(), one.to.clone())).collect();
        }
        State::Running(Step::NodeGroups { to, .. }) => targets.node_groups = Some(*to),
        State::Settled if goal.node_groups == FollowPolicy::Follow => {
            targets.node_groups = Some(observed.control_plane)
        }
        State::Settled | State::Holding { .. } | State::Blocked { .. } => {}
    }
    targets
}

fn is_busy(observed: &Observation, one: &AddonStep) -> bool {
    observed.addons.iter().any(|addon| addon.name == one.name && addon.state == AddonState::Busy)
}

/// The inputs of a decision.
struct Inputs<'a> {
    goal: &'a Goal,
    observed: &'a Observation,
    clock: &'a Clock,
    preflight: Option<&'a Preflight>,
    /// Whether this is a rollback: a remedy that waits for no window, preflight or soak, because EKS allows it for 7
    /// days only.
    is_rollback: bool,
}

impl Inputs<'_> {
    fn state(&self, path: &[KubernetesVersion], stages: &[Stage]) -> State {
        let from = self.observed.control_plane;
        let control_plane =
            |to| if self.is_rollback { Step::Rollback { from, to } } else { Step::ControlPlane { from, to } };
        if let Some(to) = path.first()
            && self.observed.control_plane_work == ControlPlaneWork::Version
        {
            return State::Running(control_plane(*to));
        }
        let mut why = blocks::of_goal(self.goal, self.observed, path);
        if self.is_rollback {
            // A refused rollback is not prepared either.
            why.extend(stages.iter().flat_map(|stage| stage.blocks.clone()));
        }
        if !why.is_empty() {
            let to = path.first().copied().unwrap_or(self.goal.version);
            return State::Blocked { next: control_plane(to), why };
        }
        stages.first().map_or_else(|| self.settled_state(), |stage| self.state_of(stage))
    }

    /// No step remains; an exact add-on version that is not offered is still reported.
    fn settled_state(&self) -> State {
        let why = blocks::of_exact_addons(self.goal, self.observed);
        let moves = why.iter().filter_map(|block| match block {
            Block::AddonNotOffered { name, version, .. } => {
                let addon = self.observed.addons.iter().find(|addon| addon.name == *name)?;
                Some(AddonStep { name: name.clone(), from: addon.installed.clone(), to: version.clone() })
            }
            _ => None,
        });
        let next = Step::Addons { minor: self.goal.version, moves: moves.collect() };
        if why.is_empty() { State::Settled } else { State::Blocked { next, why } }
    }

    /// State of the next step.
    fn state_of(&self, stage: &Stage) -> State {
        let next = stage.step.clone();
        // Something else may make them busy, such as an edit of a label: that opens no wave.
        let is_open = self.gate(stage).is_none() || self.clock.wave == WaveState::Free;
        if is_open && self.has_started(&next) {
            return State::Running(next);
        }
        if let Some(to) = stage.ahead_of.filter(|to| !self.is_rollback && self.preflight_for_version(*to).is_none()) {
            return State::Holding { next, why: Hold::Preflight { to } };
        }
        let why = self.blocks(stage);
        if !why.is_empty() {
            return State::Blocked { next, why };
        }
        match (self.hold(stage), &self.clock.wave) {
            (Some(why), _) => State::Holding { next, why },
            (None, WaveState::Held { halted, message }) if self.gate(stage).is_some() => {
                State::Holding { next, why: Hold::Wave { halted: *halted, message: message.clone() } }
            }
            (None, WaveState::Hook { failed, message }) if self.gate(stage).is_some() => {
                State::Holding { next, why: Hold::Hook { failed: *failed, message: message.clone() } }
            }
            (None, WaveState::Blocked { message }) if self.gate(stage).is_some() => {
                State::Blocked { next, why: vec![Block::Rollout { message: message.clone() }] }
            }
            (None, _) => State::Running(next),
        }
    }

    /// The wave that a step belongs to. Add-on updates before a control plane step are a part of it. Rollbacks, and newer
    /// add-ons of the same version, wait for no wave.
    fn gate(&self, stage: &Stage) -> Option<GatedStep> {
        let (gate, to) = match &stage.step {
            Step::NodeGroups { to, .. } => (Gate::NodeGroups, *to),
            Step::ControlPlane { to, .. } => (Gate::ControlPlane, *to),
            Step::Addons { .. } => (Gate::ControlPlane, stage.ahead_of?),
            Step::Rollback { .. } => return None,
        };
        (!self.is_rollback).then_some(GatedStep { gate, to })
    }

    /// The next step, if only its wave may hold it.
    fn asked(&self, stage: &Stage, state: &State) -> Option<GatedStep> {
        let is_asked = match state {
            State::Running(step) => {
                let is_version_update = self.observed.control_plane_work == ControlPlaneWork::Version;
                *step == stage.step && !is_version_update
            }
            State::Holding { why: Hold::Wave { .. } | Hold::Hook { .. }, .. } => true,
            State::Blocked { why, .. } => matches!(why.as_slice(), [Block::Rollout { .. }]),
            State::Settled | State::Holding { .. } => false,
        };
        self.gate(stage).filter(|_| is_asked)
    }

    fn preflight_for_version(&self, to: KubernetesVersion) -> Option<&Preflight> {
        self.preflight.filter(|preflight| preflight.to == to)
    }

    /// Whether the step already started: it must finish, even outside the window.
    fn has_started(&self, step: &Step) -> bool {
        match step {
            Step::Addons { moves, .. } => moves.iter().any(|one| is_busy(self.observed, one)),
            Step::NodeGroups { names, .. } => {
                self.observed.node_groups.iter().any(|group| group.busy && names.contains(&group.name))
            }
            Step::ControlPlane { .. } | Step::Rollback { .. } => false,
        }
    }

    fn blocks(&self, stage: &Stage) -> Vec<Block> {
        let failed = |before: usize| {
            let failed = self.observed.addons.iter().filter(move |addon| {
                addon.wanted.is_some()
                    && addon.state == AddonState::Failed
                    && addon_versions::turn(&addon.name) < before
            });
            failed.map(|addon| Block::AddonFailed { name: addon.name.clone(), installed: addon.installed.clone() })
        };
        match &stage.step {
            Step::ControlPlane { to, .. } => {
                let checks = self.preflight_for_version(*to).into_iter().flat_map(Preflight::blocks);
                stage.blocks.iter().cloned().chain(failed(usize::MAX)).chain(checks).collect()
            }
            Step::NodeGroups { .. } => failed(usize::MAX).collect(),
            // The resource of an add-on that failed in this round retries it and reports it.
            Step::Addons { moves, .. } => failed(first_turn(moves)).collect(),
            Step::Rollback { .. } => stage.blocks.clone(),
        }
    }

    fn hold(&self, stage: &Stage) -> Option<Hold> {
        let what = self.busy(&stage.step);
        if !what.is_empty() {
            return Some(Hold::Busy { what });
        }
        if self.clock.on_hold {
            return Some(Hold::ByUser);
        }
        if let Step::Rollback { to, .. } = stage.step
            && let Some(hold) = self.hold_for_unread_nodes(to)
        {
            return Some(hold);
        }
        if self.is_rollback {
            return None;
        }
        if let WindowState::Closed { opens } = &self.clock.window {
            return Some(Hold::OutsideWindow { opens: opens.clone() });
        }
        if let Step::ControlPlane { to, .. } = stage.step
            && let Some(hold) = self.hold_for_unread_nodes(to).or_else(|| self.hold_for_old_nodes(to))
        {
            return Some(hold);
        }
        // Add-on updates for a version are part of its step: they share its soak.
        let soaks = stage.ahead_of.is_some() || matches!(stage.step, Step::NodeGroups { .. });
        let remaining = self.clock.soaked.remaining;
        if !soaks || remaining.is_zero() {
            return None;
        }
        Some(match self.clock.soaked.unhealthy.clone() {
            Some(why) => Hold::Unhealthy { why, remaining },
            None => Hold::Soaking { remaining },
        })
    }

    /// What must be idle before the step.
    fn busy(&self, step: &Step) -> Vec<String> {
        let addons = |before: usize| {
            let busy = self
                .observed
                .addons
                .iter()
                .filter(move |addon| addon.state == AddonState::Busy && addon_versions::turn(&addon.name) < before);
            busy.map(|addon| format!("add-on {}", addon.name))
        };
        match step {
            Step::Addons { moves, .. } => addons(first_turn(moves)).collect(),
            Step::NodeGroups { .. } => addons(usize::MAX).collect(),
            Step::ControlPlane { .. } | Step::Rollback { .. } => {
                let is_idle = self.observed.control_plane_work == ControlPlaneWork::Idle;
                let control_plane = (!is_idle).then(|| "the control plane".to_owned());
                let groups = self.observed.node_groups.iter().filter(|group| group.busy);
                let groups = groups.map(|group| format!("node group {}", group.name));
                control_plane.into_iter().chain(addons(usize::MAX)).chain(groups).collect()
            }
        }
    }

    /// A failed read does not pass.
    fn hold_for_unread_nodes(&self, to: KubernetesVersion) -> Option<Hold> {
        Some(match self.observed.unread.as_ref()? {
            UnreadNodes::Reading => Hold::ReadingNodes,
            UnreadNodes::Failed(why) => Hold::UnreadableNodes { why: why.clone(), control_plane: to },
        })
    }

    /// Holds for node groups that are moving, and that the step would leave too old now.
    fn hold_for_old_nodes(&self, to: KubernetesVersion) -> Option<Hold> {
        let names = |behind: &dyn Fn(&&ObservedNodeGroup) -> bool| -> Vec<String> {
            self.observed.node_groups.iter().filter(behind).map(|group| group.name.clone()).collect()
        };
        let moving = names(&|group| skew::breaks(to, group.version).is_some());
        if !moving.is_empty() {
            return Some(Hold::NodeGroupsMoving { names: moving });
        }
        let old = names(&|group| skew::breaks(to, group.oldest()).is_some());
        (!old.is_empty()).then_some(Hold::OldNodes { names: old })
    }
}

fn first_turn(moves: &[AddonStep]) -> usize {
    moves.iter().map(|one| addon_versions::turn(&one.name)).min().unwrap_or_default()
}
