//! The decision: of the way to the goal, what may be done now, and what holds back the rest. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::addons;
use super::blocks::{self, Block, Due, Hold};
use super::observation::{AddonState, Clock, ControlPlaneWork, Goal, Observation, ObservedNodeGroup, UnreadNodes};
use super::preflight::Preflight;
use super::remaining_steps::{self, AddonStep, Stage, Step};
use super::skew;
use super::windows::WindowState;
use crate::api::KubernetesVersion;
use crate::api::upgrade::FollowPolicy;

/// What is to be done now about versions, and what people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What the wanted graph is to say now.
    pub targets: Targets,
    /// Where the upgrade stands.
    pub state: State,
    /// The versions of the control plane still to come, one by one.
    pub path: Vec<KubernetesVersion>,
    /// All the steps still to come, the next one first.
    pub way: Vec<Step>,
    /// What will block a step on the way, as far as it can be told now; empty once it does.
    pub ahead: Vec<Block>,
    /// What is left to a person, and stands in nobody's way.
    pub due: Vec<Due>,
}

/// The versions that may be there now: what is there, and what has begun or may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Version of the control plane.
    pub control_plane: KubernetesVersion,
    /// Versions of add-ons by name; one that is not in here stays as it is.
    pub addons: BTreeMap<String, String>,
    /// The version that node groups which follow may go to; `None`: they stay as they are.
    pub node_groups: Option<KubernetesVersion>,
}

/// Where an upgrade stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All that follows is where it is to be.
    Settled,
    /// This is under way, or may begin.
    Running(Step),
    /// The next step waits for something that passes by itself.
    Holding { next: Step, why: Hold },
    /// The next step waits for a person.
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
    /// Which step is next, counted from 1, and how many there are in all. `total` is the number that was counted when this
    /// upgrade began, to be kept for as long as the goal stays. `None`: there are none.
    pub fn step(&self, total: Option<usize>) -> Option<(usize, usize)> {
        let left = self.way.len();
        let total = total.unwrap_or(left).max(left);
        (left > 0).then_some((total - left + 1, total))
    }

    /// The version that the preflight is to be made for: the next that the control plane goes up to.
    pub fn preflight_for(&self) -> Option<KubernetesVersion> {
        self.way.iter().find_map(|step| match step {
            Step::ControlPlane { to, .. } => Some(*to),
            _ => None,
        })
    }

    /// Whether a Kubernetes version is still to be reached, by the control plane or by nodes; no: at most add-ons move.
    pub fn is_upgrade(&self) -> bool {
        self.way.iter().any(|step| !matches!(step, Step::Addons { .. }))
    }
}

/// Decides what may be done now. `preflight` is the last one that was made, whichever version it was for.
pub fn decide(goal: &Goal, seen: &Observation, clock: &Clock, preflight: Option<&Preflight>) -> Decision {
    let path = remaining_steps::path(seen.control_plane, goal.version);
    let stages = remaining_steps::way(goal, seen);
    let back = path.first().is_some_and(|to| *to < seen.control_plane);
    let state = Scene { goal, seen, clock, preflight, back }.state(&path, &stages);
    let targets = targets(goal, seen, back || clock.window.is_open(), &state);
    let ahead = match &state {
        State::Blocked { .. } => Vec::new(),
        _ => {
            let blocked = stages.iter().map(|stage| &stage.blocks).find(|blocks| !blocks.is_empty());
            blocked.cloned().unwrap_or_else(|| blocks::of_exact_addons(goal, seen))
        }
    };
    let way = stages.into_iter().map(|stage| stage.step).collect();
    Decision { targets, state, path, way, ahead, due: blocks::due(goal, seen) }
}

fn targets(goal: &Goal, seen: &Observation, may_begin: bool, state: &State) -> Targets {
    let mut targets = Targets { control_plane: seen.control_plane, addons: BTreeMap::new(), node_groups: None };
    match state {
        State::Running(Step::ControlPlane { to, .. } | Step::Rollback { to, .. }) => targets.control_plane = *to,
        State::Running(Step::Addons { moves, .. }) => {
            let now = moves
                .iter()
                .filter(|one| is_busy(seen, one) || (may_begin && addons::turn(&one.name) == first_turn(moves)));
            targets.addons = now.map(|one| (one.name.clone(), one.to.clone())).collect();
        }
        State::Running(Step::NodeGroups { to, .. }) => targets.node_groups = Some(*to),
        State::Settled if goal.node_groups == FollowPolicy::Follow => targets.node_groups = Some(seen.control_plane),
        State::Settled | State::Holding { .. } | State::Blocked { .. } => {}
    }
    targets
}

fn is_busy(seen: &Observation, one: &AddonStep) -> bool {
    seen.addons.iter().any(|addon| addon.name == one.name && addon.state == AddonState::Busy)
}

/// All that a decision is made from.
struct Scene<'a> {
    goal: &'a Goal,
    seen: &'a Observation,
    clock: &'a Clock,
    preflight: Option<&'a Preflight>,
    /// Whether the way goes back: a remedy that waits for no window, no preflight and no soak, as EKS takes a version back
    /// for 7 days only.
    back: bool,
}

impl Scene<'_> {
    fn state(&self, path: &[KubernetesVersion], stages: &[Stage]) -> State {
        let from = self.seen.control_plane;
        let control_plane = |to| if self.back { Step::Rollback { from, to } } else { Step::ControlPlane { from, to } };
        if let Some(to) = path.first()
            && self.seen.control_plane_work == ControlPlaneWork::Version
        {
            return State::Running(control_plane(*to));
        }
        let mut why = blocks::of_goal(self.goal, self.seen, path);
        if self.back {
            // What is refused is not prepared either.
            why.extend(stages.iter().flat_map(|stage| stage.blocks.clone()));
        }
        if !why.is_empty() {
            let to = path.first().copied().unwrap_or(self.goal.version);
            return State::Blocked { next: control_plane(to), why };
        }
        stages.first().map_or_else(|| self.at_rest(), |stage| self.stand(stage))
    }

    /// There is no step: but a version that cannot be had is not passed over in silence.
    fn at_rest(&self) -> State {
        let why = blocks::of_exact_addons(self.goal, self.seen);
        let moves = why.iter().filter_map(|block| match block {
            Block::AddonNotOffered { name, version, .. } => {
                let addon = self.seen.addons.iter().find(|addon| addon.name == *name)?;
                Some(AddonStep { name: name.clone(), from: addon.installed.clone(), to: version.clone() })
            }
            _ => None,
        });
        let next = Step::Addons { minor: self.goal.version, moves: moves.collect() };
        if why.is_empty() { State::Settled } else { State::Blocked { next, why } }
    }

    /// Where the next step stands.
    fn stand(&self, stage: &Stage) -> State {
        let next = stage.step.clone();
        if self.has_begun(&next) {
            return State::Running(next);
        }
        if let Some(to) = stage.ahead_of.filter(|to| !self.back && self.made_for(*to).is_none()) {
            return State::Holding { next, why: Hold::Preflight { to } };
        }
        let why = self.blocks(stage);
        if !why.is_empty() {
            return State::Blocked { next, why };
        }
        match self.hold(stage) {
            Some(why) => State::Holding { next, why },
            None => State::Running(next),
        }
    }

    fn made_for(&self, to: KubernetesVersion) -> Option<&Preflight> {
        self.preflight.filter(|preflight| preflight.to == to)
    }

    /// What has begun is finished, whatever the time.
    fn has_begun(&self, step: &Step) -> bool {
        match step {
            Step::Addons { moves, .. } => moves.iter().any(|one| is_busy(self.seen, one)),
            Step::NodeGroups { names, .. } => {
                self.seen.node_groups.iter().any(|group| group.busy && names.contains(&group.name))
            }
            Step::ControlPlane { .. } | Step::Rollback { .. } => false,
        }
    }

    fn blocks(&self, stage: &Stage) -> Vec<Block> {
        let failed = |before: usize| {
            let failed = self.seen.addons.iter().filter(move |addon| {
                addon.wanted.is_some() && addon.state == AddonState::Failed && addons::turn(&addon.name) < before
            });
            failed.map(|addon| Block::AddonFailed { name: addon.name.clone(), installed: addon.installed.clone() })
        };
        match &stage.step {
            Step::ControlPlane { to, .. } => {
                let checks = self.made_for(*to).into_iter().flat_map(Preflight::blocks);
                stage.blocks.iter().cloned().chain(failed(usize::MAX)).chain(checks).collect()
            }
            Step::NodeGroups { .. } => failed(usize::MAX).collect(),
            // What failed in this very round is tried again by its own resource, and shown there.
            Step::Addons { moves, .. } => failed(first_turn(moves)).collect(),
            Step::Rollback { .. } => stage.blocks.clone(),
        }
    }

    fn hold(&self, stage: &Stage) -> Option<Hold> {
        let what = self.busy(&stage.step);
        if !what.is_empty() {
            return Some(Hold::Busy { what });
        }
        if let Step::Rollback { to, .. } = stage.step
            && let Some(hold) = self.nodes_unread(to)
        {
            return Some(hold);
        }
        if self.back {
            return None;
        }
        if let WindowState::Closed { opens } = &self.clock.window {
            return Some(Hold::OutsideWindow { opens: opens.clone() });
        }
        if let Step::ControlPlane { to, .. } = stage.step
            && let Some(hold) = self.nodes_unread(to).or_else(|| self.nodes_behind(to))
        {
            return Some(hold);
        }
        // The add-ons of a version belong to its step: the cluster settles with them.
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
                .seen
                .addons
                .iter()
                .filter(move |addon| addon.state == AddonState::Busy && addons::turn(&addon.name) < before);
            busy.map(|addon| format!("add-on {}", addon.name))
        };
        match step {
            Step::Addons { moves, .. } => addons(first_turn(moves)).collect(),
            Step::NodeGroups { .. } => addons(usize::MAX).collect(),
            Step::ControlPlane { .. } | Step::Rollback { .. } => {
                let is_idle = self.seen.control_plane_work == ControlPlaneWork::Idle;
                let control_plane = (!is_idle).then(|| "the control plane".to_owned());
                let groups = self.seen.node_groups.iter().filter(|group| group.busy);
                let groups = groups.map(|group| format!("node group {}", group.name));
                control_plane.into_iter().chain(addons(usize::MAX)).chain(groups).collect()
            }
        }
    }

    /// What cannot be checked does not pass.
    fn nodes_unread(&self, to: KubernetesVersion) -> Option<Hold> {
        Some(match self.seen.unread.as_ref()? {
            UnreadNodes::Reading => Hold::ReadingNodes,
            UnreadNodes::Failed(why) => Hold::UnreadableNodes { why: why.clone(), control_plane: to },
        })
    }

    /// Node groups that are on their way, and that the step would leave too far behind now.
    fn nodes_behind(&self, to: KubernetesVersion) -> Option<Hold> {
        let names = |behind: &dyn Fn(&&ObservedNodeGroup) -> bool| -> Vec<String> {
            self.seen.node_groups.iter().filter(behind).map(|group| group.name.clone()).collect()
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
    moves.iter().map(|one| addons::turn(&one.name)).min().unwrap_or_default()
}
