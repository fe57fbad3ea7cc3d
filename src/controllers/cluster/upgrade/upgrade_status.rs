//! What status, conditions and events report of an upgrade. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::bounded;
use crate::api::status_cluster::{MAX_HISTORY, SoakStatus, UpgradeRecord, UpgradeStatus};
use crate::api::stored_time::whole_seconds;
use crate::api::{KubernetesVersion, Reason};
use crate::controllers::cluster::status::facts::cluster_key;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::plan_status::LaterSteps;
use crate::controllers::status::progress::describe_timing;
use crate::engine::{Action, Change, FinishedOperation, Key, Plan, Verdict};
use crate::resources::eks::addon;
use crate::resources::eks::lifecycle::is_version_update;
use crate::resources::eks::node_group::{self, REPLACES_NODES};
use crate::upgrade::soak::Soak;
use crate::upgrade::windows::rfc3339;
use crate::upgrade::{Decision, Hold, Preflight, State, Step, WindowState, remaining_steps};

/// Longest message about an upgrade.
const MAX_LENGTH: usize = 1024;

/// Input of the status.
pub struct Input<'a> {
    /// `status.upgrade` of the last status.
    pub previous: Option<&'a UpgradeStatus>,
    /// Version of the control plane when status was last written.
    pub version_before: Option<&'a str>,
    /// The decision.
    pub decision: &'a Decision,
    /// The target version.
    pub goal: KubernetesVersion,
    /// The current version.
    pub control_plane: KubernetesVersion,
    /// The remaining plan in AWS.
    pub plan: &'a Plan,
    /// Finished operations.
    pub ended: &'a [FinishedOperation],
    /// The last checks.
    pub preflight: Option<&'a Preflight>,
    /// Whether steps may start.
    pub window: &'a WindowState,
    /// The soak so far; `None`: the control plane has made no step.
    pub soak: Option<Soak>,
    /// The current time.
    pub now: Timestamp,
}

/// The EKS operation in progress for the step.
struct InProgress<'a> {
    update_id: Option<&'a str>,
    since: Timestamp,
    until: Timestamp,
}

fn in_progress<'a>(plan: &'a Plan, step: &Step) -> Option<InProgress<'a>> {
    let keys: Vec<Key> = match step {
        Step::ControlPlane { .. } | Step::Rollback { .. } => vec![cluster_key()],
        Step::Addons { moves, .. } => moves.iter().map(|one| addon::key(&one.name)).collect(),
        Step::NodeGroups { .. } => Vec::new(),
    };
    keys.iter().find_map(|key| match plan.verdict(key)? {
        Verdict::Waiting { since, until, operation, .. } => {
            let update_id = operation.as_ref().map(|operation| operation.id.as_str());
            Some(InProgress { update_id, since: *since, until: *until })
        }
        _ => None,
    })
}

impl Input<'_> {
    /// The version that this upgrade started from, and whether it is still the same upgrade.
    fn from(&self) -> KubernetesVersion {
        let goal = self.goal.to_string();
        let same = self.previous.filter(|previous| previous.to.as_ref() == Some(&goal));
        let from = same.and_then(|previous| previous.from.as_deref()?.parse().ok());
        from.unwrap_or(self.control_plane)
    }

    /// The number of the step, and of all steps.
    fn count(&self) -> Option<(usize, usize)> {
        let goal = self.goal.to_string();
        let same = self.previous.filter(|previous| previous.to.as_ref() == Some(&goal) && previous.step.is_some());
        let total = same.and_then(|previous| usize::try_from(previous.steps?).ok());
        self.decision.step(total)
    }

    /// The step and what holds it, for the user.
    pub fn message(&self) -> Option<String> {
        let counted = |text: String| match self.count() {
            Some((step, of)) => format!("{text} (step {step} of {of})"),
            None => text,
        };
        let text = match &self.decision.state {
            State::Settled => return None,
            State::Running(step) => {
                let mut text = counted(step.to_string());
                if let Some(InProgress { update_id, since, until }) = in_progress(self.plan, step) {
                    let update = update_id.map(|id| format!(", update {id}")).unwrap_or_default();
                    text = format!(
                        "{text}{update}: {}",
                        describe_timing(crate::engine::Action::Update, since, until, self.now)
                    );
                }
                text
            }
            State::Holding { next, why } => format!("{}: {why}", counted(next.to_string())),
            State::Blocked { next, why } => {
                let why: Vec<_> = why.iter().map(ToString::to_string).collect();
                format!("{}: {}", counted(next.to_string()), why.join("; "))
            }
        };
        Some(bounded(&text, MAX_LENGTH))
    }

    /// The whole of `status.upgrade`.
    pub fn status(&self) -> UpgradeStatus {
        let previous = self.previous.cloned().unwrap_or_default();
        let is_upgrade = self.decision.is_upgrade();
        let from = self.from();
        let path = remaining_steps::path(from, self.goal);
        let reached = path.iter().position(|version| *version == self.control_plane).map_or(0, |at| at + 1);
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let running = match &self.decision.state {
            State::Running(step) => in_progress(self.plan, step),
            _ => None,
        };
        let was = !previous.path.is_empty() && previous.to.as_deref() == Some(&self.goal.to_string());
        let is_shown = is_upgrade || was;
        let opens = match self.window {
            WindowState::Closed { opens } => opens.as_ref().map(rfc3339),
            WindowState::Always | WindowState::Open { .. } => None,
        };
        UpgradeStatus {
            from: is_shown.then(|| from.to_string()),
            to: is_shown.then(|| self.goal.to_string()),
            path: if is_shown { path.iter().map(ToString::to_string).collect() } else { Vec::new() },
            step: is_upgrade.then(|| number((reached + 1).min(path.len()))),
            steps: self.count().filter(|_| is_upgrade).map(|(_, of)| number(of)),
            update_id: running.as_ref().and_then(|running| running.update_id).map(str::to_owned),
            message: self.message(),
            since: running.as_ref().map(|running| whole_seconds(running.since)),
            expected_end: running.as_ref().map(|running| whole_seconds(running.until)),
            node_group_version: self.decision.targets.node_groups.map(|version| version.to_string()),
            soak: self.soak.filter(|_| is_upgrade).map(|soak| SoakStatus {
                seconds: i64::try_from(soak.counted).unwrap_or(i64::MAX),
                healthy_since: soak.healthy_since.map(whole_seconds),
            }),
            preflight: self.preflight.map_or(previous.preflight, |preflight| preflight.checks.clone()),
            next_window: opens,
            support_warning: previous.support_warning,
            // It is written on its own.
            wave: None,
            agent_wave: None,
            revision_wave: None,
            history: self.history(previous.history, previous.since.as_ref()),
        }
    }

    fn history(&self, mut history: Vec<UpgradeRecord>, since: Option<&Time>) -> Vec<UpgradeRecord> {
        let version = self.control_plane.to_string();
        if self.version_before.is_none_or(|before| before == version) {
            return history;
        }
        let of_cluster =
            self.ended.iter().find(|ended| ended.key == cluster_key() && is_version_update(&ended.operation.kind));
        let known = of_cluster.and_then(|ended| Some((ended.since, ended.result.as_ref().ok()?.as_secs())));
        // It ended unobserved: only its start is known.
        let (started, seconds) = known.unwrap_or_else(|| {
            let started = since.map_or(self.now, |since| since.0);
            (started, self.now.duration_since(started).unsigned_abs().as_secs())
        });
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        history.push(UpgradeRecord { version, started_at: whole_seconds(started), seconds });
        let surplus = history.len().saturating_sub(MAX_HISTORY);
        history.split_off(surplus)
    }
}

/// The Upgrading condition.
pub fn upgrading(decision: &Decision, message: Option<&str>) -> ConditionValue {
    let message = message.unwrap_or_default();
    match &decision.state {
        State::Settled => {
            ConditionValue::false_(Reason::Available, with_due("every version matches the spec", decision))
        }
        State::Running(_) => ConditionValue::true_(Reason::Upgrading, message),
        State::Holding { why, .. } => {
            let reason = of_hold(why);
            if decision.is_upgrade() {
                ConditionValue::true_(reason, message)
            } else {
                ConditionValue::false_(reason, message)
            }
        }
        State::Blocked { .. } => ConditionValue::false_(Reason::UpgradeBlocked, message),
    }
}

/// The same, with what is left to the user.
fn with_due(text: &str, decision: &Decision) -> String {
    if decision.due.is_empty() {
        return text.to_owned();
    }
    let due: Vec<_> = decision.due.iter().map(ToString::to_string).collect();
    bounded(&format!("{text}; left to you: {}", due.join("; ")), MAX_LENGTH)
}

fn of_hold(why: &Hold) -> Reason {
    match why {
        Hold::OutsideWindow { .. } => Reason::OutsideMaintenanceWindow,
        Hold::ByUser => Reason::OnHold,
        Hold::Wave { halted: false, .. } => Reason::WaitingForWave,
        Hold::Wave { halted: true, .. } => Reason::WaveHalted,
        Hold::Hook { failed: false, .. } => Reason::WaitingForHook,
        Hold::Hook { failed: true, .. } => Reason::HookFailed,
        _ => Reason::Upgrading,
    }
}

/// The overall state of the cluster including the upgrade. What requires intervention comes first.
pub fn overall(base: Overall, decision: &Decision, message: Option<&str>) -> Overall {
    let message = message.unwrap_or_default();
    match (base, &decision.state) {
        (base @ (Overall::Stalled(_) | Overall::Observed(_) | Overall::Suspended(_)), _) => base,
        (Overall::Ready(condition), State::Settled) => {
            Overall::Ready(ConditionValue { message: with_due(&condition.message, decision), ..condition })
        }
        (base, State::Settled) => base,
        (_, State::Blocked { .. }) => Overall::Stalled(ConditionValue::false_(Reason::UpgradeBlocked, message)),
        (_, State::Running(_)) => Overall::Reconciling(ConditionValue::false_(Reason::Upgrading, message)),
        (_, State::Holding { why: Hold::ByUser, .. }) if decision.is_upgrade() => {
            Overall::Stalled(ConditionValue::false_(Reason::OnHold, message))
        }
        (_, State::Holding { why: Hold::Hook { failed: true, .. }, .. }) if decision.is_upgrade() => {
            Overall::Stalled(ConditionValue::false_(Reason::HookFailed, message))
        }
        (_, State::Holding { why, .. }) if decision.is_upgrade() => {
            Overall::Reconciling(ConditionValue::false_(of_hold(why), message))
        }
        // Newer add-ons of the same Kubernetes version: nothing waits for them.
        (Overall::Ready(condition), State::Holding { .. }) => Overall::Ready(ConditionValue {
            message: bounded(&format!("{}; due: {message}", condition.message), MAX_LENGTH),
            ..condition
        }),
        (base, State::Holding { .. }) => base,
    }
}

/// InSync, including the versions that are not requested from AWS yet.
pub fn in_sync(base: ConditionValue, decision: &Decision) -> ConditionValue {
    if !base.is_true() || decision.remaining_steps.is_empty() || !decision.is_upgrade() {
        return base;
    }
    let reason = match &decision.state {
        State::Settled | State::Running(_) => Reason::Upgrading,
        State::Holding { why, .. } => of_hold(why),
        State::Blocked { .. } => Reason::UpgradeBlocked,
    };
    let steps: Vec<_> = decision.remaining_steps.iter().map(ToString::to_string).collect();
    ConditionValue::false_(reason, bounded(&steps.join("; "), MAX_LENGTH))
}

/// The remaining steps that are not in the engine's plan yet. `version_of`: the version of a node group, by its name
/// in EKS.
pub fn ahead(decision: &Decision, version_of: impl Fn(&str) -> Option<String>) -> LaterSteps {
    let running = matches!(decision.state, State::Running(_));
    let remaining_steps_of = |(n, one): (usize, &Step)| {
        let mut steps = steps_of(one, &version_of);
        match one {
            // Add-ons are updated in turns: those that wait are not in the engine's plan either.
            Step::Addons { moves, .. } if running && n == 0 => {
                let is_requested = |key: &Key| {
                    moves
                        .iter()
                        .any(|one| decision.targets.addons.contains_key(&one.name) && *key == addon::key(&one.name))
                };
                steps.retain(|(key, _)| !is_requested(key));
            }
            _ if running && n == 0 => steps.clear(),
            _ => {}
        }
        steps
    };
    let steps = decision.remaining_steps.iter().enumerate().flat_map(remaining_steps_of).collect();
    LaterSteps { steps, blocked: matches!(decision.state, State::Blocked { .. }) }
}

/// The steps of the engine that a step of an upgrade consists of. `version_of`: the version of a node group.
pub(super) fn steps_of(step: &Step, version_of: &impl Fn(&str) -> Option<String>) -> Vec<(Key, crate::engine::Step)> {
    let of_change =
        |key: Key, change| (key, crate::engine::Step { action: Action::Update, changes: vec![change], reason: None });
    let version = |key: Key, from: &str, to: &str| of_change(key, Change::in_place("version", from, to));
    match step {
        Step::ControlPlane { from, to } | Step::Rollback { from, to } => {
            vec![version(cluster_key(), &from.to_string(), &to.to_string())]
        }
        Step::Addons { moves, .. } => {
            moves.iter().map(|one| version(addon::key(&one.name), &one.from, &one.to)).collect()
        }
        Step::NodeGroups { to, names } => {
            let group = |name: &String| {
                let from = version_of(name).unwrap_or_default();
                let change = Change::in_place("version", from, to).disrupts(REPLACES_NODES);
                of_change(node_group::key(name), change)
            };
            names.iter().map(group).collect()
        }
    }
}

/// When the decision may change by itself.
pub fn requeue_after(decision: &Decision, now: Timestamp) -> Option<Timestamp> {
    let after = |pause: Duration| now.saturating_add(crate::engine::failure::span(pause)).ok();
    match &decision.state {
        State::Holding { why: Hold::OutsideWindow { opens }, .. } => opens.as_ref().map(jiff::Zoned::timestamp),
        State::Holding { why: Hold::Soaking { remaining }, .. } => after(*remaining),
        // An annotation wakes it.
        State::Holding { why: Hold::ByUser, .. } => None,
        // A change of its FleetRollout requests a reconcile.
        State::Holding { why: Hold::Wave { .. }, .. } => after(Duration::from_secs(60)),
        // The hook knows.
        State::Holding { why: Hold::Hook { .. }, .. } => None,
        State::Holding { .. } => after(Duration::from_secs(10)),
        State::Running(Step::NodeGroups { .. }) => after(Duration::from_secs(30)),
        State::Settled | State::Running(_) | State::Blocked { .. } => None,
    }
}

#[cfg(test)]
#[path = "upgrade_status_tests.rs"]
mod tests;
