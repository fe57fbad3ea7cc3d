//! The revision at which the source of a cluster's agent is held: a FleetRollout with the gate `Revision` lets it move on by
//! a ticket. Pure.

use super::{agent_version_state, steps};
use crate::agents;
use crate::api::EksCluster;
use crate::api::conditions::{self, ConditionType, bounded};
use crate::api::gitops::GitOps;
use crate::api::status_cluster::{EksClusterStatus, GitOpsStatus, HeldRevisionStatus};
use crate::controllers::status::conditions::ConditionValue;
use crate::rollout::{
    Candidate, ClaimFacts, ClaimedStep, FirstRevision, Follow, Revision, SourceKey, SourceState, Step, Target,
};
use crate::upgrade::WaveState;

/// Longest message.
const MAX_LENGTH: usize = 1024;

/// The source of an agent in the fields of its spec, or in those that were last applied; `None`: there is none, or it is one
/// commit, which the spec itself holds.
fn source_in(fields: &steps::Fields) -> Option<SourceKey> {
    let of_source = |field: &str| {
        let (_, rest) = field.split_once(".source.")?;
        let (_, rest) = rest.split_once('.')?;
        Some(rest == "url" || rest.starts_with("ref."))
    };
    let named: Vec<String> = fields
        .iter()
        .filter(|(field, _)| of_source(field) == Some(true))
        .map(|(field, value)| format!("{field}={value}"))
        .collect();
    let is_fixed = fields.keys().any(|field| field.ends_with(".ref.commit") || field.ends_with(".ref.digest"));
    (!named.is_empty() && !is_fixed).then(|| SourceKey::of(&named.join(" ")))
}

/// The source that the spec asks for.
pub fn source_of(gitops: Option<&GitOps>) -> Option<SourceKey> {
    source_in(&steps::desired(gitops, None, false).fields)
}

/// Whether the agent follows that source already, and Git does not manage it.
fn follows(source: SourceKey, status: &EksClusterStatus) -> Option<&GitOpsStatus> {
    let applied = steps::applied(status)?;
    (source_in(&applied) == Some(source)).then_some(status.gitops.as_ref()).flatten()
}

fn is_adopted(status: &EksClusterStatus) -> bool {
    status.gitops.as_ref().is_some_and(|gitops| gitops.source_adopted)
}

/// The revision that the agent has applied.
fn applied(source: SourceKey, status: &EksClusterStatus) -> Option<Revision> {
    Revision::new(source, follows(source, status)?.last_applied_revision.as_deref()?)
}

/// The revision that the agent has applied and works with.
fn runs(source: SourceKey, status: &EksClusterStatus) -> Option<Revision> {
    let is_ready = conditions::is_true(&status.conditions, ConditionType::GitOpsReady);
    applied(source, status).filter(|_| is_ready && agent_version_state::unhealthy(status).is_none())
}

/// The source as a FleetRollout sees it; `None`: there is none, Git manages it, or the spec names one commit.
pub fn source_state(cluster: &EksCluster, status: &EksClusterStatus) -> Option<SourceState> {
    let gitops = cluster.spec.gitops.as_ref()?;
    agents::requested(gitops)?;
    let key = source_of(Some(gitops)).filter(|_| !is_adopted(status))?;
    let found = follows(key, status);
    Some(SourceState {
        key,
        url: found.and_then(|gitops| gitops.url.clone()).unwrap_or_default(),
        fetched: found.and_then(|gitops| gitops.source_revision.clone()),
        applied: applied(key, status),
        runs: runs(key, status),
        held: is_held(key, status),
        unhealthy: agent_version_state::unhealthy(status),
    })
}

/// The source that the spec asks for, if Git manages it: the cluster follows what Git says.
pub fn adopted_source(cluster: &EksCluster, status: &EksClusterStatus) -> Option<SourceKey> {
    source_of(cluster.spec.gitops.as_ref()).filter(|_| is_adopted(status))
}

/// What the revision of a cluster depends on.
pub struct Input<'a> {
    /// The source that the spec asks for.
    pub source: SourceKey,
    /// The last status.
    pub previous: &'a EksClusterStatus,
    /// Whether a rollout lets it follow its source.
    pub follow: &'a Follow,
    /// Whether something else keeps passes over the workload cluster from starting.
    pub is_held: bool,
    /// Whether the control plane exists.
    pub has_api: bool,
}

/// What is decided about the source of an agent in a reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceDecision {
    /// At which revision it is held, as status reports it; `None`: no FleetRollout holds it, or Git manages it.
    pub held: Option<HeldRevisionStatus>,
    /// Why the agent of a new cluster is not installed yet: there is no revision that it may have.
    pub waits: Option<String>,
}

/// The revision on record for a source.
fn recorded(source: SourceKey, status: &EksClusterStatus) -> Option<&str> {
    let held = status.gitops.as_ref()?.held_revision.as_ref()?;
    held.allowed.as_deref().filter(|_| held.source == source.to_string())
}

/// Whether status records a revision at which a source is held, or begins.
pub fn is_held(source: SourceKey, status: &EksClusterStatus) -> bool {
    recorded(source, status).is_some()
}

/// Whether an agent is installed, as far as is known.
fn has_agent(status: &EksClusterStatus) -> bool {
    status.gitops.as_ref().is_some_and(|gitops| {
        gitops.last_contact.is_some() || gitops.last_applied_revision.is_some() || !gitops.applied.is_empty()
    })
}

/// The revision to apply now, and whether status must record the next one first: after a crash, the record says which one it
/// may have.
pub fn to_apply<'a>(held: &'a HeldRevisionStatus, previous: &'a EksClusterStatus) -> (Option<&'a str>, bool) {
    let allowed = held.allowed.as_deref();
    let before = SourceKey::parse(&held.source).and_then(|source| recorded(source, previous));
    let before = before.filter(|_| has_agent(previous));
    match (allowed, before) {
        (Some(allowed), Some(before)) if allowed != before => (Some(before), true),
        _ => (allowed, false),
    }
}

impl Input<'_> {
    /// The revision on record. It counts once there is an agent: before, its release may have halted since it was recorded.
    fn recorded(&self) -> Option<&str> {
        recorded(self.source, self.previous).filter(|_| has_agent(self.previous))
    }

    fn candidate(&self) -> Option<&Candidate> {
        match self.follow {
            Follow::Held { candidate, .. } => candidate.as_ref(),
            Follow::Freely | Follow::Leading(_) | Follow::Unchanged { .. } => None,
        }
    }

    /// The revision that it has without a ticket: the one at which it is held, or that it runs, or with which a new one begins.
    fn present(&self) -> Option<String> {
        let running = || follows(self.source, self.previous)?.last_applied_revision.clone();
        self.recorded().map(str::to_owned).or_else(running).or_else(|| self.first_revision())
    }

    /// The revision with which it begins if it has none.
    fn first_revision(&self) -> Option<String> {
        match self.follow {
            Follow::Held { first: FirstRevision::Revision(first), .. }
            | Follow::Unchanged { first: FirstRevision::Revision(first), .. } => Some(first.clone()),
            Follow::Held { .. } | Follow::Unchanged { .. } | Follow::Freely | Follow::Leading(_) => None,
        }
    }

    /// Whether its agent is not installed yet: nothing is taken away from it while it waits.
    fn is_new(&self) -> bool {
        !has_agent(self.previous)
    }

    /// Why a new cluster gets no revision yet.
    fn waits(&self) -> Option<&str> {
        match self.follow {
            Follow::Held { first: FirstRevision::Wait(why), .. }
            | Follow::Unchanged { first: FirstRevision::Wait(why), .. } => Some(why.as_str()).filter(|_| self.is_new()),
            Follow::Held { .. } | Follow::Unchanged { .. } | Follow::Freely | Follow::Leading(_) => None,
        }
    }

    /// The step that begins once there is a ticket for it.
    pub fn wants(&self) -> Option<Step> {
        let step = self.candidate()?.step;
        let present = self.present().and_then(|revision| Revision::new(self.source, &revision));
        let is_there = present.is_some_and(|present| Target::Revision(present) == step.target);
        (!is_there && !self.is_held && self.has_api).then_some(step)
    }

    /// The state of the step that it has claimed.
    pub fn claim(&self, step: Step) -> ClaimedStep {
        let is_target = |revision: Option<Revision>| revision.is_some_and(|one| Target::Revision(one) == step.target);
        let is_wanted = self.candidate().is_some_and(|candidate| candidate.step == step);
        let allowed = self.recorded().and_then(|revision| Revision::new(self.source, revision));
        let is_reached = is_target(runs(self.source, self.previous));
        ClaimedStep::of(ClaimFacts {
            is_reached,
            is_healthy: is_reached,
            // A newer one that its wave may have ends the wait for one that fails.
            is_in_progress: !is_reached && is_wanted && is_target(allowed),
            is_wanted,
            is_held: self.is_held,
        })
    }

    /// The revision for this reconcile, as status reports it. `wave`: the answer for [`Self::wants`].
    pub fn decide(&self, wave: &WaveState) -> SourceDecision {
        let held = |allowed: Option<String>, wanted: Option<String>, message: Option<&str>| {
            let waits = self.waits().filter(|_| allowed.is_none());
            let message = waits.or(message).map(|text| bounded(text, MAX_LENGTH));
            let waits = waits.map(str::to_owned);
            let source = self.source.to_string();
            SourceDecision { held: Some(HeldRevisionStatus { source, allowed, wanted, message }), waits }
        };
        let (newest, note) = match self.follow {
            Follow::Freely => return SourceDecision::default(),
            Follow::Leading(why) => return held(None, None, Some(why)),
            Follow::Unchanged { why, .. } => {
                let recorded = self.recorded().map(str::to_owned);
                let allowed = recorded.or_else(|| self.first_revision().filter(|_| self.is_new()));
                // One that was never held is not held now.
                let is_decided = allowed.is_some() || self.waits().is_some();
                return if is_decided { held(allowed, None, Some(why)) } else { SourceDecision::default() };
            }
            Follow::Held { newest, note, .. } => (newest, note),
        };
        let may_move = *wave == WaveState::Free && self.wants().is_some();
        let moved = self.candidate().filter(|_| may_move).map(|candidate| candidate.revision.clone());
        let allowed = moved.or_else(|| self.present());
        let of = |revision: Option<&String>| Revision::new(self.source, revision?);
        let wanted = newest.clone().filter(|newest| of(Some(newest)) != of(allowed.as_ref()));
        let message = match wave {
            WaveState::Held { message, .. } | WaveState::Blocked { message } | WaveState::Hook { message, .. } => {
                Some(message.as_str())
            }
            WaveState::Free if note.is_some() => note.as_deref(),
            WaveState::Free if wanted.is_some() && !may_move => {
                Some("the waves before have not run the newest one yet")
            }
            WaveState::Free => None,
        };
        held(allowed, wanted, message)
    }
}

/// Keeps it in status. A cluster whose agent is not installed yet keeps it as well.
pub fn keep(held: Option<HeldRevisionStatus>, gitops: Option<&GitOps>, status: &mut Option<GitOpsStatus>) {
    if held.is_some() {
        let agent = gitops.and_then(agents::requested).map(|agent| agent.name().to_owned());
        status.get_or_insert_with(|| GitOpsStatus { agent, ..GitOpsStatus::default() });
    }
    if let Some(status) = status {
        status.held_revision = held;
    }
}

/// GitOpsReady, with a note about a newer revision that is held.
pub fn with_note(condition: ConditionValue, status: Option<&GitOpsStatus>) -> ConditionValue {
    let held = status.and_then(|status| status.held_revision.as_ref());
    let Some((held, wanted)) = held.and_then(|held| Some((held, held.wanted.as_ref()?))) else { return condition };
    let why = held.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let message = bounded(&format!("{}; {wanted} is held back{why}", condition.message), MAX_LENGTH);
    ConditionValue { message, ..condition }
}

#[cfg(test)]
#[path = "held_revision_tests.rs"]
mod tests;
