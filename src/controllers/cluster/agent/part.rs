//! The agent's part of a reconcile: how much of its step may run now. An upgrade waits for a maintenance window, for
//! its approval and for its wave of a FleetRollout; until then the agent is kept at its current version. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::agent_version_state::AgentVersionState;
use super::steps::{self, DesiredAgent, Fields};
use crate::agents;
use crate::api::conditions::bounded;
use crate::api::gitops::GitOps;
use crate::api::status_cluster::{AgentUpgradeStatus, EksClusterStatus, GitOpsStatus, StepState};
use crate::api::stored_time::whole_seconds;
use crate::controllers::cluster::status::facts::cluster_key;
use crate::controllers::status::conditions::ConditionValue;
use crate::engine::failure::span;
use crate::engine::{ExecutionPolicy, HoldReason, Item, Step, Verdict, WaitingOn};
use crate::upgrade::windows::rfc3339;
use crate::upgrade::{AgentUpgrade, Hold, WaveState, WindowState};

/// Longest message about an upgrade.
const MAX_LENGTH: usize = 1024;
/// If an upgrade shows no effect this long after its recorded start, it has not started: the cluster was unreachable.
const START_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// Input of the decision.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// What the spec asks for.
    pub gitops: Option<&'a GitOps>,
    /// The last status.
    pub previous: &'a EksClusterStatus,
    /// What may be done.
    pub policy: &'a ExecutionPolicy,
    /// Whether upgrades may start.
    pub window: &'a WindowState,
    /// Whether the wave of a FleetRollout holds an upgrade.
    pub wave: &'a WaveState,
    /// Whether the control plane exists.
    pub has_api: bool,
    /// The current time.
    pub now: Timestamp,
}

/// The agent's part of the plan.
pub struct AgentPart {
    /// The remaining step.
    pub step: Option<Step>,
    /// Its item in the plan.
    pub item: Option<Item>,
    /// Whether writes to the workload cluster are held.
    pub waits: bool,
    /// Whether a hold keeps passes over the workload cluster from starting, though no step is left.
    pub on_hold: bool,
    /// The version to run now; `None`: no agent.
    pub version: Option<String>,
    /// When an upgrade that is held now may go on.
    pub next: Option<Timestamp>,
    /// What its FleetRollout must know of an upgrade.
    pub turn: AgentVersionState,
    /// The fields to apply now: without an upgrade that is held.
    now: Fields,
    applied: Option<Fields>,
    field: Option<String>,
    bundled: Option<String>,
    of_git: bool,
    upgrade: Option<AgentUpgradeStatus>,
}

/// A step in two parts: the version, and everything else.
struct SplitStep {
    version: Option<Step>,
    rest: Option<Step>,
}

impl SplitStep {
    fn of(step: Option<&Step>, field: Option<&str>) -> Self {
        let part = |is_version: bool| {
            let step = step?;
            let changes = step.changes.iter().filter(|change| (Some(change.field.as_str()) == field) == is_version);
            let changes: Vec<_> = changes.cloned().collect();
            (!changes.is_empty()).then(|| Step { changes, ..step.clone() })
        };
        Self { version: part(true), rest: part(false) }
    }
}

impl AgentPart {
    /// Decides.
    pub fn of(input: &Input<'_>) -> Self {
        let Input { gitops, previous, policy, window, wave, now, .. } = *input;
        let applied = steps::applied(previous);
        let of_git = steps::is_of_git(gitops, previous);
        let DesiredAgent { fields, version } = steps::desired(gitops, applied.as_ref(), of_git);
        let step = steps::step(&fields, applied.as_ref());
        let upgrade = version.as_ref().and_then(|(_, versions)| versions.upgrade());
        let field = version.as_ref().map(|(field, _)| field.as_str());
        let split = SplitStep::of(step.as_ref(), field.filter(|_| upgrade.is_some()));
        let hold_reason = |part: &Option<Step>| part.as_ref().and_then(|step| policy.holds(&steps::key(), step));
        let in_progress = upgrade.as_ref().is_some_and(|upgrade| is_in_progress(upgrade, previous, now));
        // On hold, an upgrade that is in progress is finished.
        let version_held = hold_reason(&split.version).filter(|held| *held != HoldReason::OnHold || !in_progress);
        let rest_held = hold_reason(&split.rest);
        let waits = rest_held.is_some();
        let hold = upgrade.as_ref().and_then(|upgrade| upgrade.hold(in_progress, window, wave));
        let recorded = upgrade.as_ref().and_then(|upgrade| started(upgrade, previous));
        let may_go = !waits && version_held.is_none() && hold.is_none();
        // It starts once status records it: a write to the cluster before that could not be recognized later.
        let proceeds = may_go && recorded.is_some();
        let started_at = match hold {
            Some(_) => None,
            None if may_go && input.has_api => recorded.or_else(|| Some(whole_seconds(now))),
            None => recorded,
        };
        let next = match &hold {
            Some(Hold::OutsideWindow { opens: Some(opens) }) => Some(opens.timestamp()),
            _ => (started_at.is_some() && upgrade.is_some() && !proceeds && may_go).then_some(now),
        };
        let turn = AgentVersionState {
            agent: gitops.and_then(agents::requested).map(|agent| agent.name()),
            at: version.as_ref().and_then(|(_, versions)| versions.current.clone()),
            wanted: version.as_ref().map(|(_, versions)| versions.goal().to_owned()),
            is_upgrade: upgrade.as_ref().is_some_and(|upgrade| !upgrade.is_remedy()),
            is_held: waits || version_held.is_some() || matches!(hold, Some(Hold::OutsideWindow { .. })),
            has_api: input.has_api,
            in_progress,
        };
        let pinned = upgrade.as_ref().filter(|_| !proceeds).map(|upgrade| upgrade.from.clone());
        let mut current = fields;
        if let (Some(field), Some(version)) = (field, &pinned) {
            current.insert(field.to_owned(), version.clone());
        }
        let item = step.clone().map(|step| {
            let only_version = split.rest.is_none();
            item(step, rest_held.or(version_held), hold.as_ref().filter(|_| only_version), input)
        });
        Self {
            waits,
            on_hold: policy.on_hold && !in_progress,
            version: field.and_then(|field| current.get(field).cloned()),
            next,
            turn,
            now: current,
            applied,
            field: field.map(str::to_owned),
            bundled: version.map(|(_, versions)| versions.bundled),
            of_git,
            upgrade: upgrade.map(|upgrade| upgrade_status(&upgrade, version_held, hold.as_ref(), started_at)),
            step,
            item,
        }
    }

    /// Whether no record says what was applied last: none was, or it was lost with the object's status. An agent that is
    /// installed stays at its version, which becomes the record.
    pub fn is_unrecorded(&self) -> bool {
        self.applied.is_none()
    }

    /// Keeps the agent's record in status. `reached`: the agent now matches its desired state.
    pub fn keep(&self, status: Option<&mut GitOpsStatus>, reached: bool) {
        let Some(status) = status else { return };
        let is_new = reached && !self.waits;
        let mut applied = if is_new { Some(&self.now) } else { self.applied.as_ref() }.cloned();
        if let (true, Some(field), Some(version), Some(applied)) =
            (self.of_git && status.adopted || self.is_unrecorded(), &self.field, &status.version, &mut applied)
        {
            // Git decides its version, or it was installed before anything was recorded.
            applied.insert(field.clone(), version.clone());
        }
        status.applied = applied.as_ref().map(steps::for_status).unwrap_or_default();
        status.bundled_version.clone_from(&self.bundled);
        status.upgrade.clone_from(&self.upgrade);
    }

    /// GitOpsReady, with a note about the upgrade that is held.
    pub fn with_upgrade_note(&self, condition: ConditionValue) -> ConditionValue {
        let waits = self.upgrade.as_ref().filter(|upgrade| upgrade.started_at.is_none());
        let Some(message) = waits.and_then(|upgrade| upgrade.message.as_ref()) else { return condition };
        ConditionValue {
            message: bounded(&format!("{}; upgrade {message}", condition.message), MAX_LENGTH),
            ..condition
        }
    }
}

/// When status says that this upgrade started. The record of an earlier one, such as a downgrade that has just ended,
/// starts no other.
fn started(upgrade: &AgentUpgrade, previous: &EksClusterStatus) -> Option<Time> {
    let recorded = previous.gitops.as_ref()?.upgrade.as_ref()?;
    let is_this = (&recorded.from, &recorded.to) == (&upgrade.from, &upgrade.to);
    recorded.started_at.clone().filter(|_| is_this)
}

/// Whether to finish an upgrade though its window has closed: it started recently, or some of it is already applied.
fn is_in_progress(upgrade: &AgentUpgrade, previous: &EksClusterStatus, now: Timestamp) -> bool {
    let Some(gitops) = &previous.gitops else { return false };
    let Some(started) = started(upgrade, previous) else { return false };
    let has_moved = gitops.version.as_ref().is_some_and(|version| *version != upgrade.from);
    has_moved || now.duration_since(started.0) < START_TIMEOUT
}

fn upgrade_status(
    upgrade: &AgentUpgrade,
    hold_reason: Option<HoldReason>,
    hold: Option<&Hold>,
    started_at: Option<Time>,
) -> AgentUpgradeStatus {
    let waits = match (hold_reason, hold) {
        (Some(HoldReason::Observe), _) => "changePolicy is Observe".to_owned(),
        (Some(HoldReason::OnHold), _) => Hold::ByUser.to_string(),
        (Some(_), _) => "waits for approval".to_owned(),
        (None, Some(hold)) => hold.to_string(),
        (None, None) => "in progress".to_owned(),
    };
    let next_window = match hold {
        Some(Hold::OutsideWindow { opens: Some(opens) }) => Some(rfc3339(opens)),
        _ => None,
    };
    AgentUpgradeStatus {
        from: upgrade.from.clone(),
        to: upgrade.to.clone(),
        message: Some(bounded(&format!("{upgrade}: {waits}"), MAX_LENGTH)),
        next_window,
        started_at,
    }
}

/// The step in the plan: held, waiting for the control plane or a window, or in progress.
fn item(step: Step, hold_reason: Option<HoldReason>, hold: Option<&Hold>, input: &Input<'_>) -> Item {
    let key = steps::key();
    let verdict = match (hold_reason, hold) {
        (Some(hold_reason), _) => Verdict::Held(step, hold_reason),
        (None, _) if !input.has_api => Verdict::Pending(step, vec![WaitingOn::Resource(cluster_key())]),
        (None, Some(hold)) => {
            let step = Step { reason: Some(hold.to_string()), ..step };
            Verdict::Pending(step, vec![WaitingOn::Gate(key.clone(), hold.to_string())])
        }
        (None, None) => {
            let since = since(input.previous).unwrap_or(input.now);
            let until = since.saturating_add(span(steps::expected(step.action))).unwrap_or(since);
            Verdict::Waiting { action: step.action, since, until, note: String::new(), operation: None }
        }
    };
    Item { key, verdict, forbidden: Vec::new(), drift: Vec::new() }
}

/// Since when it is in progress, from the last status.
fn since(previous: &EksClusterStatus) -> Option<Timestamp> {
    let steps = &previous.plan.as_ref()?.steps;
    let step = steps.iter().find(|step| step.resource == steps::KIND && step.state == StepState::Running)?;
    step.since.as_ref().map(|time| time.0)
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
