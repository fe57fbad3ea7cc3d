//! A simulated cluster that executes decisions, for tests: it starts what the targets allow, takes time, fails
//! sometimes, and verifies the rules of EKS at every tick. Independent of the decision code. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::addon_versions::{DesiredVersion, OfferedVersion, numbers};
use super::blocks::Block;
use super::preflight::Preflight;
use super::soak::Soak;
use super::*;
use crate::api::KubernetesVersion;
use crate::api::status_cluster::{PreflightCheck, Verdict};

const CONTROL_PLANE: &str = "control plane";
/// A control plane update other than a version change.
const OTHER_WORK: &str = "other work on the control plane";

/// The minor of a version 1.x.
pub fn minor(version: KubernetesVersion) -> i32 {
    i32::from(version.minor)
}

/// A version of 1.x.
pub fn v(minor: u16) -> KubernetesVersion {
    KubernetesVersion { major: 1, minor }
}

/// An update in progress.
#[derive(Clone, Debug)]
struct Update {
    what: String,
    to: String,
    ends: u32,
    fails: bool,
}

/// The simulated cluster and its surroundings.
#[derive(Debug)]
pub struct World {
    pub goal: Goal,
    pub observed: Observation,
    pub windows: Windows,
    pub soak: Duration,
    /// Versions for which a preflight check fails.
    pub failing_preflights: Vec<KubernetesVersion>,
    pub now: Timestamp,
    /// Seed of the random generator; `None`: no delays or failures.
    pub seed: Option<u64>,
    pub log: Vec<String>,
    tick: u32,
    updates: Vec<Update>,
    soaking: Soak,
    soak_from_start: bool,
    preflight: Option<Preflight>,
    steps: Option<usize>,
    /// The last logged state, expected blocks and due updates.
    last_logged: (String, Vec<String>),
}

/// The end of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Settled,
    Blocked(Vec<Block>),
    /// The maximum number of ticks was reached.
    Unfinished,
}

impl World {
    pub fn new(goal: Goal, observed: Observation) -> Self {
        Self {
            goal,
            observed,
            windows: Windows::default(),
            soak: Duration::ZERO,
            failing_preflights: Vec::new(),
            now: "2026-11-22T03:00:00Z".parse().unwrap(),
            seed: None,
            log: Vec::new(),
            tick: 0,
            updates: Vec::new(),
            soaking: Soak::default(),
            soak_from_start: true,
            preflight: None,
            steps: None,
            last_logged: Default::default(),
        }
    }

    /// 0 to 255, from a linear congruential generator.
    fn roll(&mut self) -> u8 {
        let Some(seed) = &mut self.seed else { return 255 };
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()[0]
    }

    /// Follows the decisions until nothing is left to do or a user must act. An error is a violated rule.
    pub fn follow(&mut self, most_ticks: u32) -> Result<End, String> {
        self.steps = None;
        let until = self.tick + most_ticks;
        while self.tick < until {
            if self.updates.is_empty() && self.roll() < 10 {
                self.observed.control_plane_work = ControlPlaneWork::Other;
                self.update(OTHER_WORK, String::new());
            }
            let decision = self.decision();
            self.log_decision(&decision);
            self.start_updates(&decision)?;
            let idle = self.updates.is_empty();
            match &decision.state {
                State::Settled if idle => return Ok(End::Settled),
                State::Blocked { why, .. } if idle => {
                    if why.is_empty() {
                        return Err("blocked without a reason".into());
                    }
                    return Ok(End::Blocked(why.clone()));
                }
                State::Holding { why: Hold::Preflight { to }, .. } => {
                    let verdict = if self.failing_preflights.contains(to) { Verdict::Failed } else { Verdict::Passed };
                    let check = PreflightCheck {
                        check: "Insights".into(),
                        verdict,
                        message: Some("a removed API is used".into()),
                    };
                    self.preflight = Some(Preflight { to: *to, checks: vec![check] });
                }
                State::Holding { why: Hold::OutsideWindow { opens }, .. } if idle => {
                    self.now = opens.as_ref().ok_or("no window opens again")?.timestamp();
                }
                _ => self.now += SignedDuration::from_mins(1),
            }
            self.tick += 1;
            self.finish_updates()?;
        }
        Ok(End::Unfinished)
    }

    /// Discards the preflight so that it runs again.
    pub fn forget_preflight(&mut self) {
        self.preflight = None;
    }

    /// Logs an action of a user.
    pub fn log_action(&mut self, text: &str) {
        self.log.push(format!("== {text}"));
        self.last_logged = Default::default();
    }

    fn clock(&self) -> Clock {
        let remaining = if self.soak_from_start { Duration::ZERO } else { self.soaking.remaining(self.soak, self.now) };
        let unhealthy = self.soaking.healthy_since.is_none().then(|| "a node is not ready".to_owned());
        Clock {
            now: self.now,
            window: self.windows.state(self.now),
            soaked: Soaked { remaining, unhealthy },
            on_hold: false,
            wave: WaveState::Free,
        }
    }

    fn decision(&mut self) -> Decision {
        let healthy = self.roll() > 20;
        self.soaking = self.soaking.advance(healthy, self.now);
        decide(&self.goal, &self.observed, &self.clock(), self.preflight.as_ref())
    }

    fn log_decision(&mut self, decision: &Decision) {
        let step = decision.step(self.steps);
        self.steps = step.map(|(_, all)| all);
        let count = step.map_or_else(String::new, |(step, all)| format!("{step} of {all}, "));
        let kind = match &decision.state {
            State::Settled => "",
            State::Running(_) => "runs: ",
            State::Holding { .. } => "waits: ",
            State::Blocked { .. } => "blocked: ",
        };
        let line = format!("{count}{kind}{}", decision.state);
        let ahead = decision.ahead.iter().map(|block| format!("    ahead: {block}"));
        let details: Vec<_> = ahead.chain(decision.due.iter().map(|due| format!("    due: {due}"))).collect();
        if line != self.last_logged.0 {
            self.log.push(line.clone());
        }
        if details != self.last_logged.1 {
            self.log.extend(details.clone());
        }
        self.last_logged = (line, details);
    }

    fn is_busy(&self, what: &str) -> bool {
        self.updates.iter().any(|update| update.what == what)
    }

    fn update(&mut self, what: &str, to: String) {
        let roll = self.roll();
        self.log.push(format!("  begins: {what} -> {to}"));
        let ends = self.tick + 1 + u32::from(roll % 3);
        self.updates.push(Update { what: what.to_owned(), to, ends, fails: roll < 30 });
    }

    /// Starts what the decision allows.
    fn start_updates(&mut self, decision: &Decision) -> Result<(), String> {
        let targets = &decision.targets;
        let is = self.observed.control_plane;
        if targets.control_plane != is && !self.is_busy(CONTROL_PLANE) {
            self.check_step(targets.control_plane)?;
            self.observed.control_plane_work = ControlPlaneWork::Version;
            self.update(CONTROL_PLANE, targets.control_plane.to_string());
        }
        for (name, to) in &targets.addons {
            let at = self.observed.addons.iter().position(|addon| addon.name == *name);
            let at = at.ok_or_else(|| format!("{name} does not exist"))?;
            if self.observed.addons[at].installed == *to || self.is_busy(name) {
                continue;
            }
            self.check_addon_update(at, to, &decision.path)?;
            self.observed.addons[at].state = AddonState::Busy;
            self.update(name, to.clone());
        }
        for at in 0..self.observed.node_groups.len() {
            let group = self.observed.node_groups[at].clone();
            let policy = self.goal.node_groups;
            let stays = is.min(self.goal.version);
            let to = node_group_version::target(group.version, group.own, policy, stays, targets.node_groups);
            let Some(to) = to.filter(|_| !group.suspended && !group.busy && self.clock().window.is_open()) else {
                continue;
            };
            self.check_node_group_update(&group, to)?;
            self.observed.node_groups[at].busy = true;
            self.observed.node_groups[at].kubelets.insert(to);
            self.update(&group.name, to.to_string());
        }
        Ok(())
    }

    fn rule(&self, holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
        if holds { Ok(()) } else { Err(format!("{}\n{}", broken(), self.log.join("\n"))) }
    }

    /// Steps by one minor, and never violates the version skew policy: kubelets not newer, and at most 3 minors older
    /// (2 up to 1.24).
    fn check_step(&self, to: KubernetesVersion) -> Result<(), String> {
        let is = self.observed.control_plane;
        let clock = self.clock();
        self.rule(self.observed.control_plane_work == ControlPlaneWork::Idle, || {
            "a second update of the control plane".into()
        })?;
        self.rule(self.updates.is_empty(), || {
            format!(
                "the control plane is updated concurrently with \
                                                       {:?}",
                self.updates
            )
        })?;
        if to < is {
            self.rule(self.goal.allow_rollback, || "a rollback that is not allowed".into())?;
        } else {
            self.rule(clock.window.is_open(), || "a step outside a window".into())?;
            self.rule(clock.soaked.remaining.is_zero(), || "a step before the soak is over".into())?;
            self.rule(!self.failing_preflights.contains(&to), || format!("a step to {to} despite the preflight"))?;
            self.rule(self.observed.offered.contains(&to), || format!("a step to {to}, which is not offered"))?;
            let made = self.preflight.as_ref().is_some_and(|preflight| preflight.to == to);
            self.rule(made, || format!("a step to {to} without its preflight"))?;
        }
        self.rule((minor(to) - minor(is)).abs() == 1, || format!("from {is} to {to} in one step"))?;
        for (name, kubelet) in self.kubelets() {
            self.rule(is_compatible(to, kubelet), || format!("{name} at {kubelet} is incompatible with {to}"))?;
        }
        for addon in &self.observed.addons {
            self.check_addon(addon, is, to)?;
        }
        Ok(())
    }

    fn kubelets(&self) -> Vec<(String, KubernetesVersion)> {
        let groups = self.observed.node_groups.iter();
        let groups = groups.flat_map(|group| {
            let all = group.kubelets.iter().copied().chain([group.version]);
            all.map(|kubelet| (group.name.clone(), kubelet)).collect::<Vec<_>>()
        });
        groups.chain(self.observed.other_kubelets.clone()).collect()
    }

    /// No add-on is left at a version that does not run on the target if a version that runs on both is offered.
    fn check_addon(&self, addon: &ObservedAddon, from: KubernetesVersion, to: KubernetesVersion) -> Result<(), String> {
        let (at_from, at_to) = (versions(addon, from), versions(addon, to));
        if addon.wanted.is_none() || at_to.contains(&addon.installed) {
            return Ok(());
        }
        let on_both = at_to.iter().any(|version| at_from.contains(version));
        self.rule(!on_both, || format!("{} {} does not run on {to}, and another does", addon.name, addon.installed))
    }

    fn check_addon_update(&self, at: usize, to: &String, path: &[KubernetesVersion]) -> Result<(), String> {
        let (addon, is) = (&self.observed.addons[at], self.observed.control_plane);
        let name = &addon.name;
        self.rule(addon.wanted.is_some(), || format!("{name} is not in the spec"))?;
        self.rule(versions(addon, is).contains(to), || format!("{name} {to} does not run on {is}"))?;
        let next = path.first().copied().unwrap_or(is);
        let back = next < is;
        self.rule(back || self.clock().window.is_open(), || format!("{name} is updated outside a window"))?;
        if !matches!(addon.wanted, Some(DesiredVersion::Exact(_))) {
            let lower = numbers(to) < numbers(&addon.installed);
            let runs =
                versions(addon, is).contains(&addon.installed) && versions(addon, next).contains(&addon.installed);
            self.rule(!(lower && runs), || format!("{name} is lowered from {} to {to}", addon.installed))?;
        }
        let order = ["vpc-cni", "kube-proxy", "coredns"];
        let before = order.iter().position(|one| one == name).unwrap_or(order.len());
        let first = order[..before].iter().find(|one| self.is_busy(one));
        self.rule(first.is_none(), || format!("{name} is updated while {first:?} is"))
    }

    fn check_node_group_update(&self, group: &ObservedNodeGroup, to: KubernetesVersion) -> Result<(), String> {
        let name = &group.name;
        self.rule(to <= self.observed.control_plane, || format!("{name} would be newer than the control plane"))?;
        self.rule(group.own.is_none_or(|own| to <= own), || format!("{name} is updated past its own version to {to}"))?;
        self.rule(group.own.is_some() || self.clock().soaked.remaining.is_zero(), || format!("{name} before the soak"))
    }

    fn finish_updates(&mut self) -> Result<(), String> {
        let (ended, running) =
            std::mem::take(&mut self.updates).into_iter().partition(|update| update.ends <= self.tick);
        self.updates = running;
        for Update { what, to, fails, .. } in ended {
            if what == CONTROL_PLANE || what == OTHER_WORK {
                self.observed.control_plane_work = ControlPlaneWork::Idle;
            }
            let group = self.observed.node_groups.iter().position(|group| group.name == what);
            let addon = self.observed.addons.iter().position(|addon| addon.name == what);
            if let Some(at) = group {
                self.observed.node_groups[at].busy = false;
                if !fails {
                    self.observed.node_groups[at].version = to.parse().unwrap();
                    self.observed.node_groups[at].kubelets.clear();
                }
            } else if let Some(at) = addon {
                let state = if fails { AddonState::Failed } else { AddonState::Settled };
                self.observed.addons[at].state = state;
                if !fails {
                    self.observed.addons[at].installed = to.clone();
                }
            } else if !fails && what == CONTROL_PLANE {
                self.observed.control_plane = to.parse().unwrap();
                (self.soaking, self.soak_from_start) = (Soak::default(), false);
            }
            if fails {
                self.log.push(format!("  failed: {what} -> {to}"));
            }
        }
        // At every tick, whatever changed last.
        for (name, kubelet) in self.kubelets() {
            let is = self.observed.control_plane;
            self.rule(is_compatible(is, kubelet), || {
                format!(
                    "{name} at {kubelet} is incompatible with a control \
                                                              plane at {is}"
                )
            })?;
        }
        Ok(())
    }
}

fn versions(addon: &ObservedAddon, at: KubernetesVersion) -> Vec<String> {
    addon.offered.get(&at).into_iter().flatten().map(|offer| offer.version.clone()).collect()
}

/// The rule of Kubernetes, as in eks-facts.
pub fn is_compatible(control_plane: KubernetesVersion, kubelet: KubernetesVersion) -> bool {
    let behind = minor(control_plane) - minor(kubelet);
    behind >= 0 && behind <= if kubelet.minor <= 24 { 2 } else { 3 }
}

/// What EKS offers: each version with the minors it runs on, and those that have it as default.
pub fn catalogue(
    lines: &[(&str, std::ops::RangeInclusive<u16>, std::ops::RangeInclusive<u16>)],
) -> BTreeMap<KubernetesVersion, Vec<OfferedVersion>> {
    let mut offered: BTreeMap<KubernetesVersion, Vec<OfferedVersion>> = BTreeMap::new();
    for (version, runs_on, default_of) in lines {
        for at in runs_on.clone() {
            let offer = OfferedVersion { version: (*version).to_owned(), default: default_of.contains(&at) };
            offered.entry(v(at)).or_default().push(offer);
        }
    }
    offered
}
