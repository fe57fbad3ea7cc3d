//! The cluster's side: whether its next step may begin, and what it says to its rollout. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::membership::{Rollout, Rollouts, Selection};
use super::policy::{Placement, Policy};
use super::request::{Request, RequestId, Step};
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::{ReleaseStatus, WaveState};
use crate::api::listing::counted;

/// That the FleetRollouts are not known yet.
pub(super) const UNLISTED: &str = "the FleetRollouts are not listed yet; if this lasts longer than a minute, install the CRD \
    fleetrollouts.keelson.dev (crds/) and the operator's ClusterRole (deploy/rbac.yaml) of this version";

/// What a cluster decides on.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// UID of the cluster.
    pub uid: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// `spec.upgrade.rollout`.
    pub rollout: Option<&'a str>,
    /// What its status says, as the API server has stored it.
    pub request: Request,
    /// The next step, if nothing but its wave holds it.
    pub wants: Option<Step>,
    /// The step that it has claimed, as it is now.
    pub claim: ClaimedStep,
    /// Whether the claimed step may have begun: it may not while hooks before it have not passed. Without hooks it may.
    pub has_begun: bool,
    /// All rollouts.
    pub rollouts: &'a Rollouts<'a>,
    /// The term of the leader that asks: another one after a write that had no answer.
    pub term: i64,
    /// Now.
    pub now: Timestamp,
}

/// State of the step that a cluster has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimedStep {
    /// It is in progress, or about to begin.
    Ongoing,
    /// The cluster has the version and is healthy.
    Finished,
    /// It has not begun, and is not wanted now.
    Dropped,
}

/// What is known of the step that a cluster has claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// The cluster has the version.
    pub is_reached: bool,
    /// The cluster is healthy.
    pub is_healthy: bool,
    /// Something of the step is in progress.
    pub is_in_progress: bool,
    /// Its spec still asks for the version.
    pub is_wanted: bool,
    /// It waits for a maintenance window, or for a person: an approval, the removal of a hold.
    pub is_held: bool,
}

impl ClaimedStep {
    /// The state of a claimed step. A cluster that waits for its window, or for a person, takes no slot.
    pub fn of(facts: ClaimFacts) -> Self {
        let ClaimFacts { is_reached, is_healthy, is_in_progress, is_wanted, is_held } = facts;
        match () {
            () if is_in_progress => Self::Ongoing,
            () if is_reached && is_healthy => Self::Finished,
            () if !is_reached && (!is_wanted || is_held) => Self::Dropped,
            () => Self::Ongoing,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reply {
    /// What status must say before anything else is done.
    pub request: Request,
    /// Whether the step may begin.
    pub answer: Answer,
}

/// Whether a step may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No wave holds it.
    Free,
    /// It may begin once status says that it is claimed.
    Claims,
    /// It is held.
    Held(StepHold),
}

/// Why a step is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepHold {
    /// What ends it.
    pub kind: HoldKind,
    /// What it waits for.
    pub message: String,
}

/// What ends a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// Its turn.
    Waiting,
    /// A retry of the rollout.
    Halted,
    /// A change of its labels, or of FleetRollouts.
    Blocked,
}

fn held(kind: HoldKind, message: impl Into<String>) -> Answer {
    Answer::Held(StepHold { kind, message: message.into() })
}

/// Decides what a cluster says to its rollout, and whether its next step may begin.
///
/// Nothing begins before the API server has stored [`Reply::request`]: with the term of this leader, so that what an earlier
/// one wrote and comes late is rejected.
pub fn ask(question: &Question<'_>) -> Reply {
    let mut reply = reply(question);
    if reply.request != question.request || question.wants.is_some() && reply.request.claimed.is_some() {
        reply.request.term = Some(question.term);
    }
    reply
}

fn reply(question: &Question<'_>) -> Reply {
    let mut request = question.request;
    if let Some(claimed) = request.claimed
        && question.claim != ClaimedStep::Ongoing
    {
        request.claimed = None;
        request.record_release(claimed);
    }
    let Some(step) = question.wants else {
        request.withdraw();
        return Reply { request, answer: Answer::Free };
    };
    if request.claimed.is_some_and(|claimed| claimed.step == step) {
        request.withdraw();
        return Reply { request, answer: claimed_answer(question, step) };
    }
    let answer = match decider(question, step.gate) {
        Decider::Open => {
            request.withdraw();
            Answer::Free
        }
        Decider::Blocked(message) => {
            request.withdraw();
            held(HoldKind::Blocked, message)
        }
        Decider::Unlisted(message) => held(HoldKind::Waiting, message),
        Decider::Rollout(rollout, wave) => match request.claimed {
            Some(claimed) => {
                request.withdraw();
                held(HoldKind::Waiting, format!("the step {} is finished first", claimed.step))
            }
            None => ask_rollout(question, &mut request, step, rollout, &wave),
        },
    };
    Reply { request, answer }
}

/// Whether a step that the cluster has claimed goes on. What has begun is finished, whatever became of the rollout. Its hooks run
/// after the claim, and take their time: until they have passed, a halt or a suspension holds it, and it keeps its ticket.
fn claimed_answer(question: &Question<'_>, step: Step) -> Answer {
    if question.has_begun {
        return Answer::Free;
    }
    match decider(question, step.gate) {
        Decider::Rollout(rollout, _) => stops(rollout, step).unwrap_or(Answer::Free),
        Decider::Open | Decider::Blocked(_) | Decider::Unlisted(_) => Answer::Free,
    }
}

/// Asks for a ticket, or claims it.
fn ask_rollout(
    question: &Question<'_>,
    request: &mut Request,
    step: Step,
    rollout: &Rollout<'_>,
    wave: &str,
) -> Answer {
    let is_same = request.asks.is_some_and(|asked| asked.step == step);
    if !is_same {
        let number = question.now.as_millisecond().max(request.last_number() + 1);
        request.withdraw();
        request.asks = Some(RequestId { step, number });
    }
    let release = rollout.status.releases.iter().find(|one| is_release(one, step));
    let stops = stops(rollout, step);
    // A ticket counts only for what the API server has stored.
    let asked = request.asks.filter(|_| is_same);
    let has_ticket = asked.is_some_and(|asked| {
        let mut tickets = release.into_iter().flat_map(|release| &release.tickets);
        tickets.any(|ticket| ticket.uid == question.uid && ticket.id == asked.to_string())
    });
    match stops {
        Some(answer) => answer,
        None if has_ticket => {
            request.claimed = request.asks.take();
            Answer::Claims
        }
        None => held(HoldKind::Waiting, describe_turn(rollout, release, wave)),
    }
}

fn is_release(release: &ReleaseStatus, step: Step) -> bool {
    release.gate == step.gate && release.target == step.target.to_string()
}

/// Why nothing begins: the rollout is suspended, or a release that stops this step has halted.
fn stops(rollout: &Rollout<'_>, step: Step) -> Option<Answer> {
    let name = rollout.name;
    if rollout.spec.suspend {
        return Some(held(HoldKind::Waiting, format!("FleetRollout {name} is suspended")));
    }
    let halted = rollout
        .status
        .releases
        .iter()
        .filter(|release| Step::of(release.gate, &release.target).is_none_or(|halted| step.is_stopped_by(halted)))
        .find_map(|release| release.halt.as_ref());
    halted.map(|halt| {
        // Not why: that names other clusters, and this is read by whoever may read this one.
        let wave = &halt.wave;
        held(
            HoldKind::Halted,
            format!("FleetRollout {name} has halted in wave {wave}: keelson rollout status {name} says why"),
        )
    })
}

fn describe_turn(rollout: &Rollout<'_>, release: Option<&ReleaseStatus>, wave: &str) -> String {
    let name = rollout.name;
    let found = release.and_then(|release| release.waves.iter().find(|one| one.name == wave));
    let (Some(release), Some(found)) = (release, found) else {
        return format!("FleetRollout {name} decides about wave {wave}");
    };
    match (found.state, &release.wave) {
        // Without the rollout's message, which changes as its clusters proceed: each change would reach all that wait.
        (WaveState::Pending, Some(open)) if open != wave => {
            format!(
                "FleetRollout {name}: wave {wave} is not open yet: wave {open} of {} has not passed",
                release.target
            )
        }
        // Nor here: the rollout's message may name other clusters.
        (WaveState::WaitingForApproval, _) => {
            let hash = found.approval_hash.as_ref();
            let how =
                hash.map(|hash| format!(": set the annotation keelson.dev/approve to {hash}")).unwrap_or_default();
            format!("FleetRollout {name}: wave {wave} waits for an approval{how}")
        }
        _ => {
            let is = if found.in_progress == 1 { "is" } else { "are" };
            format!(
                "FleetRollout {name}: {} of {} of wave {wave} {is} in progress",
                found.in_progress,
                counted(found.members, "cluster")
            )
        }
    }
}

/// What decides about a step of a cluster.
pub(super) enum Decider<'a> {
    Open,
    Blocked(String),
    Unlisted(String),
    Rollout(&'a Rollout<'a>, String),
}

pub(super) fn decider<'a>(question: &Question<'a>, gate: Gate) -> Decider<'a> {
    if matches!(question.rollouts, Rollouts::Unlisted) {
        return Decider::Unlisted(UNLISTED.to_owned());
    }
    let selected = match (question.rollouts.selection(question.labels), question.rollout) {
        (Selection::Unknown(why), _) => return Decider::Blocked(why),
        (Selection::Several(names), _) => {
            return Decider::Blocked(format!(
                "FleetRollouts {} select this cluster, and one may: change its labels, or a spec.clusterSelector",
                names.join(", ")
            ));
        }
        (Selection::None, None) => return Decider::Open,
        (Selection::None, Some(name)) if question.rollouts.get(name).is_none() => {
            return Decider::Blocked(format!(
                "FleetRollout {name}, which spec.upgrade.rollout names, does not exist: create it, or change spec.upgrade.rollout"
            ));
        }
        (Selection::One(selected), Some(name)) if name != selected => {
            return Decider::Blocked(format!(
                "FleetRollout {selected} selects this cluster, and spec.upgrade.rollout names {name}: change one of them"
            ));
        }
        (Selection::None, Some(name)) => {
            return Decider::Blocked(format!(
                "FleetRollout {name}, which spec.upgrade.rollout names, does not select this cluster: change the labels of the \
                 EksCluster"
            ));
        }
        (Selection::One(selected), _) => selected,
    };
    let Some(rollout) = question.rollouts.get(selected) else {
        return Decider::Unlisted(format!("FleetRollout {selected} is being read"));
    };
    let policy = match Policy::of(rollout.spec) {
        Ok(policy) => policy,
        Err(why) => return Decider::Blocked(format!("FleetRollout {selected} is invalid: {why}")),
    };
    if !policy.gates.contains(&gate) {
        return Decider::Open;
    }
    match policy.placement(question.labels) {
        Placement::Ungated => Decider::Open,
        Placement::Unmatched => Decider::Blocked(format!(
            "no wave of FleetRollout {selected} selects this cluster: add a label, or set spec.unmatched of the FleetRollout"
        )),
        Placement::Wave(index) => Decider::Rollout(rollout, policy.waves[index].name.clone()),
    }
}
