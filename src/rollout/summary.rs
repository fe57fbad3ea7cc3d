//! What people read of a release: its state, its message, and the events of its changes. Pure.

use jiff::Timestamp;

use super::policy::{Placement, Policy};
use super::release::{PlacedMember, Release};
use super::release_target::Target;
use super::request::Step;
use super::wave::{Evaluation, describe};
use crate::api::conditions::bounded;
use crate::api::fleet_rollout_status::{ReleaseState, WaveState};
use crate::api::listing::{counted, first_few_joined};

/// Longest message.
const MAX_LENGTH: usize = 1024;
/// Maximum number of clusters in a message.
const MAX_NAMES: usize = 3;

/// An event of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutEvent {
    /// Whether a person must act.
    pub warning: bool,
    /// CamelCase reason, such as `RolloutHalted`.
    pub reason: &'static str,
    /// What happened.
    pub note: String,
    /// The annotation by which a person caused it.
    pub annotation: Option<&'static str>,
}

impl RolloutEvent {
    fn normal(reason: &'static str, note: String) -> Self {
        Self { warning: false, reason, note, annotation: None }
    }

    pub(super) fn approved(step: Step, wave: &str, hash: &str, clusters: usize) -> Self {
        let clusters = counted(clusters, "cluster");
        let note = format!("{step}: wave {wave} is approved for {clusters} (hash {hash})");
        Self { annotation: Some(crate::api::APPROVE_ANNOTATION), ..Self::normal("WaveApproved", note) }
    }

    pub(super) fn promoted(step: Step, wave: &str) -> Self {
        let note = format!("{step}: wave {wave} passes without its checks");
        Self { annotation: Some(crate::api::PROMOTE_ANNOTATION), ..Self::normal("WavePromoted", note) }
    }

    pub(super) fn retried(step: Step) -> Self {
        let note = format!("{step} continues after it had halted");
        Self { annotation: Some(crate::api::RETRY_ANNOTATION), ..Self::normal("RolloutRetried", note) }
    }

    pub(super) fn retry_ignored(value: &str) -> Self {
        let note = format!(
            "the annotation keelson.dev/retry: {value} names no version whose release has halted; the message of the halt has the value"
        );
        Self { warning: true, ..Self::normal("RetryIgnored", note) }
    }

    pub(super) fn halted(step: Step, message: &str) -> Self {
        let note = format!("{step} has halted: {message}");
        Self { warning: true, ..Self::normal("RolloutHalted", note) }
    }

    pub(super) fn passed(step: Step, wave: &str) -> Self {
        Self::normal("WavePassed", format!("{step}: wave {wave} has passed"))
    }

    fn completed(step: Step) -> Self {
        Self::normal("RolloutCompleted", format!("{step} is complete: all waves have passed"))
    }

    fn waiting_for_approval(step: Step, message: &str) -> Self {
        let note = format!("{step}: {message}");
        Self { warning: true, ..Self::normal("WaitingForApproval", note) }
    }
}

/// Sets state, message and progress of a release. `halted_by`: the first halted release that stops it.
pub fn summarize(
    release: &mut Release,
    policy: &Policy,
    waves: &[Evaluation<'_>],
    placed: &[PlacedMember<'_>],
    halted_by: Option<Step>,
    events: &mut Vec<RolloutEvent>,
) {
    let step = release.step;
    let unmatched: Vec<&str> = unmatched(step, placed).collect();
    let current = waves.iter().position(|wave| !wave.passed);
    let left = waves.iter().map(|wave| wave.status.members - wave.status.at_target).sum::<i32>();
    let (state, message) = match (&release.status.halt, current) {
        (Some(halt), _) => (
            ReleaseState::Halted,
            Some(format!(
                "wave {} has halted: {}; correct what is named, then set the annotation keelson.dev/retry to {}/{}",
                halt.wave,
                halt.message,
                step.target,
                halt.since.0.as_second()
            )),
        ),
        (None, _) if halted_by.is_some() && left > 0 => {
            let halted = halted_by.map(|halted| halted.to_string()).unwrap_or_default();
            (ReleaseState::Halted, Some(format!("{halted} has halted: nothing begins until that continues")))
        }
        (None, None) if left == 0 && unmatched.is_empty() => (ReleaseState::Completed, None),
        _ if policy.suspended => (ReleaseState::Suspended, Some("spec.suspend is true".to_owned())),
        (None, Some(index)) if is_idle(waves, index, step, placed) => {
            (ReleaseState::Completed, Some(describe_rest(policy, index, step)))
        }
        (None, Some(index)) => {
            let is_awaited = is_awaited(waves, index, step, placed);
            of_wave(policy, index, &waves[index], is_awaited)
        }
        (None, None) if is_left(waves, step, placed) => {
            // Promoted waves do not wait for their clusters, nor others for those that have failed and are tolerated.
            let waits: Vec<String> = waves.iter().flat_map(|wave| wave.waits_for.clone()).collect();
            let notes = || few(waves.iter().flat_map(|wave| wave.notes.clone()));
            let message = match waits.is_empty() {
                true => format!("all waves have passed; {}", notes()),
                false => format!("waiting for {}", few(waits)),
            };
            (ReleaseState::Progressing, Some(message))
        }
        (None, None) if unmatched.is_empty() => {
            let open = waves.iter().position(|wave| wave.status.at_target < wave.status.members);
            (ReleaseState::Completed, open.map(|index| describe_rest(policy, index, step)))
        }
        (None, None) => {
            let names = first_few_joined(unmatched, MAX_NAMES, ", ", " and ");
            (ReleaseState::Blocked, Some(format!("no wave selects {names}: add a label, or set spec.unmatched")))
        }
    };
    let before = release.status.state;
    let message = message.map(|message| bounded(&message, MAX_LENGTH));
    if state != before {
        match state {
            ReleaseState::Completed if current.is_none() => events.push(RolloutEvent::completed(step)),
            ReleaseState::WaitingForApproval => {
                events.push(RolloutEvent::waiting_for_approval(step, message.as_deref().unwrap_or_default()));
            }
            _ => {}
        }
    }
    let sum = |of: fn(&Evaluation<'_>) -> i32| waves.iter().map(of).sum::<i32>();
    release.status.progress = format!("{}/{}", sum(|wave| wave.status.at_target), sum(|wave| wave.status.members));
    release.status.wave = current.map(|index| policy.waves[index].name.clone());
    release.status.state = state;
    release.status.message = message;
}

/// The clusters that no wave selects, and that wait for the step.
fn unmatched<'a>(step: Step, placed: &'a [PlacedMember<'_>]) -> impl Iterator<Item = &'a str> {
    let unmatched = placed.iter().filter(|one| one.placement == Placement::Unmatched && !one.member.deleting);
    unmatched.filter(move |one| one.member.is_left(step)).map(|one| one.member.name.as_str())
}

/// Whether a cluster waits for the wave of that index: one of a later wave, or of none, that asks for the step.
fn is_awaited(waves: &[Evaluation<'_>], index: usize, step: Step, placed: &[PlacedMember<'_>]) -> bool {
    let mut later = waves.iter().skip(index + 1).flat_map(|wave| &wave.members);
    later.any(|one| one.member.is_left(step)) || unmatched(step, placed).next().is_some()
}

/// Whether nothing is to be done in the wave of that index: the specs of its clusters do not ask for the version, and nobody waits for
/// them. So it is in a team that commits one ring after the other.
fn is_idle(waves: &[Evaluation<'_>], index: usize, step: Step, placed: &[PlacedMember<'_>]) -> bool {
    let wave = &waves[index];
    wave.only_not_asked && wave.status.in_progress == 0 && !is_awaited(waves, index, step, placed)
}

/// Whether something is to be done once all waves have passed: a cluster asks for the step, or is not healthy.
fn is_left(waves: &[Evaluation<'_>], step: Step, placed: &[PlacedMember<'_>]) -> bool {
    let asks = |wave: &Evaluation<'_>| wave.members.iter().any(|one| one.member.is_left(step));
    let is_busy = |(index, wave): (usize, &Evaluation<'_>)| {
        asks(wave) || !wave.waits_for.is_empty() && !is_idle(waves, index, step, placed)
    };
    waves.iter().enumerate().any(is_busy)
}

fn describe_rest(policy: &Policy, index: usize, step: Step) -> String {
    format!("no cluster of wave {} asks for {} now", policy.waves[index].name, step.target)
}

fn few(texts: impl IntoIterator<Item = String>) -> String {
    first_few_joined(texts, MAX_NAMES, "; ", "; and ")
}

fn of_wave(policy: &Policy, index: usize, found: &Evaluation<'_>, is_awaited: bool) -> (ReleaseState, Option<String>) {
    let wave = &policy.waves[index];
    let name = &wave.name;
    if let Some(hash) = &found.status.approval_hash {
        return (
            ReleaseState::WaitingForApproval,
            Some(format!("wave {name} waits for an approval: set the annotation keelson.dev/approve to {hash}")),
        );
    }
    if let Some(until) = found.soaks_until {
        let (until, soak) = (until.strftime("%Y-%m-%dT%H:%M:%SZ"), describe(wave.soak));
        let checks = found.checks.waits_for.iter().map(|check| format!("; {check}")).collect::<String>();
        return (ReleaseState::Soaking, Some(format!("wave {name} soaks for {soak}, until {until}{checks}")));
    }
    let needs_person = found.needs_person || found.not_asked && is_awaited;
    let state = if needs_person { ReleaseState::Blocked } else { ReleaseState::Progressing };
    let notes = found.notes.iter().map(|note| format!("; {note}")).collect::<String>();
    if found.waits_for.is_empty() && !found.checks.waits_for.is_empty() {
        let waits = few(found.checks.waits_for.clone());
        return (ReleaseState::Soaking, Some(format!("wave {name} waits for {waits}{notes}")));
    }
    (state, Some(format!("wave {name} waits for {}{notes}", few(found.waits_for.clone()))))
}

/// The order in which people see releases: what needs attention first, with what has halted before what waits for that, then the lowest
/// target. One whose waves have all passed comes after those in progress, also while a cluster has lost what it had, such as one whose
/// sync fails.
pub fn order(release: &Release) -> (bool, ReleaseState, bool, Target, Timestamp) {
    let has_passed = match release.status.state {
        ReleaseState::Completed => true,
        ReleaseState::Progressing | ReleaseState::Soaking => {
            let mut waves = release.status.waves.iter();
            waves.all(|wave| wave.passed_at.is_some() || wave.promoted_at.is_some())
        }
        ReleaseState::Halted | ReleaseState::WaitingForApproval | ReleaseState::Blocked | ReleaseState::Suspended => {
            false
        }
    };
    (has_passed, release.status.state, release.status.halt.is_none(), release.step.target, release.status.since.0)
}

/// Sets the state of waves that are not open, or idle.
pub fn close(waves: &mut [Evaluation<'_>], open: usize, step: Step, placed: &[PlacedMember<'_>]) {
    for index in 0..waves.len() {
        let is_pending = index >= open || is_idle(waves, index, step, placed);
        let status = &mut waves[index].status;
        if is_pending && status.state == WaveState::Progressing && status.in_progress == 0 {
            status.state = WaveState::Pending;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn release_that_has_passed_comes_after_those_in_progress() {
        let release = |target: &str, state: &str, passed: bool| {
            let passed_at = passed.then_some("2026-11-28T00:00:00Z");
            let wave = json!({"name": "canary", "state": "Progressing", "passedAt": passed_at});
            let status = json!({"gate": "ControlPlane", "target": target, "state": state, "wave": "canary",
                "since": "2026-11-28T00:00:00Z", "waves": [wave]});
            Release::of(&serde_json::from_value(status).unwrap()).unwrap()
        };
        let mut all = [
            release("1.33", "Completed", true),
            // A sync fails there.
            release("1.34", "Progressing", true),
            release("1.35", "Progressing", false),
            release("1.36", "Halted", true),
        ];
        all.sort_by_key(order);
        let targets: Vec<&str> = all.iter().map(|release| release.status.target.as_str()).collect();
        assert_eq!(targets, ["1.36", "1.35", "1.34", "1.33"]);
    }
}
