//! Asks the FleetRollout that selects the cluster, as the last question before a step begins, and records in status what
//! the cluster says to it. I/O: that status, with a resourceVersion: what others changed since is read first.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;

use super::{approved, observation};
use crate::api::fleet_rollout::Gate;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{EksClusterStatus, UpgradeStatus};
use crate::controllers::cluster::Reconcile;
use crate::controllers::runtime::apply;
use crate::controllers::states::LastWrite;
use crate::rollout::{
    Answer, ClaimFacts, ClaimedStep, Follow, HoldKind, Lane, Question, Request, Rollouts, SourceKey, Step as GatedStep,
    Target, ask, follow,
};
use crate::upgrade::{AddonState, ControlPlaneWork, Decision, Goal, Hold, Observation, State, Step, WaveState};

/// Field manager of what the cluster says to its rollout, and its field. It is separate, because it is written before anything
/// begins, and with a resourceVersion.
const fn field(lane: Lane) -> (&'static str, &'static str) {
    match lane {
        Lane::Kubernetes => ("keelson-wave", "wave"),
        Lane::Agent => ("keelson-agent-wave", "agentWave"),
        Lane::Revision => ("keelson-revision-wave", "revisionWave"),
    }
}

/// What the cluster decided is not in its status, which lags or was changed by others: it is read and written again.
const UNSTORED: &str = "it goes on as soon as its status, which is written first, says so";

/// When to try again after a write that was rejected because the cache lags.
const RETRY: SignedDuration = SignedDuration::from_millis(500);

/// How long a new leader may take to read again what must be known before a step: so long a cluster keeps its place in its wave.
const READ_AGAIN: SignedDuration = SignedDuration::from_secs(60);

impl Reconcile<'_> {
    /// Whether the next step may begin now.
    pub(super) async fn wave(
        &mut self,
        previous: &EksClusterStatus,
        goal: &Goal,
        (decision, observed): (&Decision, &Observation),
        is_healthy: bool,
    ) -> WaveState {
        let request = self.stored_request(Lane::Kubernetes);
        let wants = self.wanted_step(previous, decision);
        let led_for = self.now.duration_since(self.ctx.leading_since);
        if wants.is_none() && request.asks.is_some_and(|asked| is_read_again(asked.step, decision, led_for)) {
            return held("what must be known before the step is being read");
        }
        let claim = request.claimed.map(|claimed| {
            let waits = self.waits_for_person(previous, decision, claimed.step);
            claim(claimed.step, goal, (decision, waits), observed, is_healthy)
        });
        let has_begun = wants.is_none_or(|step| is_in_progress(step, observed) || self.has_passed_hooks_before(step));
        self.ask_rollout_of(Lane::Kubernetes, wants, claim, has_begun).await
    }

    /// Asks the FleetRollout whether a step may begin. `wants`: nothing but its wave holds it; `claim`: the state of the step
    /// that the cluster has claimed.
    pub(in crate::controllers::cluster) async fn ask_rollout(
        &mut self,
        lane: Lane,
        wants: Option<GatedStep>,
        claim: Option<ClaimedStep>,
    ) -> WaveState {
        self.ask_rollout_of(lane, wants, claim, true).await
    }

    /// The same. `has_begun`: whether the claimed step may have begun.
    async fn ask_rollout_of(
        &mut self,
        lane: Lane,
        wants: Option<GatedStep>,
        claim: Option<ClaimedStep>,
        has_begun: bool,
    ) -> WaveState {
        let request = self.stored_request(lane);
        let memory = self.state.kind.upgrade.wave_mut(lane);
        memory.retry_at = None;
        if wants.is_none() && request.asks.is_none() && request.claimed.is_none() {
            return WaveState::Free;
        }
        let term = self.ctx.leading_since.as_millisecond() + memory.unanswered;
        let snapshot = self.ctx.rollouts.snapshot(&self.ctx.unreadable);
        let rollouts = snapshot.rollouts();
        let uid = self.object.uid().unwrap_or_default();
        let claim = claim.unwrap_or(ClaimedStep::Ongoing);
        let reply = ask(&Question { request, wants, claim, has_begun, term, ..self.question(&uid, &rollouts) });
        let is_stored = reply.request == request || self.record_request(lane, reply.request).await;
        let has_claimed =
            wants.is_some() && request.claimed.map(|claimed| claimed.step) == wants && request.term == Some(term);
        match reply.answer {
            Answer::Free | Answer::Claims if is_stored || has_claimed => WaveState::Free,
            // Nothing begins on what the API server may not have stored.
            Answer::Free | Answer::Claims => held(UNSTORED),
            Answer::Held(hold) if hold.kind == HoldKind::Blocked => WaveState::Blocked { message: hold.message },
            Answer::Held(hold) => WaveState::Held { halted: hold.kind == HoldKind::Halted, message: hold.message },
        }
    }

    /// What its FleetRollout decides on, without a step.
    fn question<'q>(&'q self, uid: &'q str, rollouts: &'q Rollouts<'q>) -> Question<'q> {
        Question {
            uid,
            labels: self.object.labels(),
            rollout: self.object.spec.upgrade.rollout.as_deref(),
            request: Request::default(),
            wants: None,
            claim: ClaimedStep::Ongoing,
            has_begun: true,
            rollouts,
            term: 0,
            now: self.now,
        }
    }

    /// Whether the cluster follows the source of its agent. `is_held`: whether it is held at a revision.
    pub(in crate::controllers::cluster) fn follow_source(&self, source: SourceKey, is_held: bool) -> Follow {
        let snapshot = self.ctx.rollouts.snapshot(&self.ctx.unreadable);
        let rollouts = snapshot.rollouts();
        let plans = self.ctx.rollouts.plans();
        follow(&self.question("", &rollouts), (source, is_held), |name| plans.get(name).map(Vec::as_slice))
    }

    /// When to record again what the cluster says.
    pub(in crate::controllers::cluster) fn wave_retry(&self, lane: Lane) -> Option<Timestamp> {
        self.state.kind.upgrade.wave(lane).retry_at
    }

    /// Gives up the steps that it asks for, and one that it has claimed and whose hooks have not passed: a suspended cluster keeps
    /// nobody waiting, unless it is in the middle of its step.
    pub(in crate::controllers::cluster) async fn withdraw_requests(&mut self) {
        for lane in Lane::ALL {
            let request = self.stored_request(lane);
            let waits = request.claimed.is_some_and(|claimed| self.waits_for_hooks_before(claimed.step));
            let withdrawn = if waits { request.given_up() } else { request.withdrawn() };
            if withdrawn != request {
                self.record_request(lane, withdrawn).await;
            }
        }
    }

    /// What the cluster says to its rollout, as the API server has it.
    pub(in crate::controllers::cluster) fn stored_request(&self, lane: Lane) -> Request {
        let version = self.object.metadata.resource_version.as_deref();
        match &self.state.kind.upgrade.wave(lane).written {
            Some((request, last)) if !last.is_in(version) => *request,
            _ => {
                let upgrade = self.object.status.as_ref().and_then(|status| status.upgrade.as_ref());
                let of_lane = |upgrade: &UpgradeStatus| match lane {
                    Lane::Kubernetes => upgrade.wave.as_ref().map(Request::of),
                    Lane::Agent => upgrade.agent_wave.as_ref().map(Request::of),
                    Lane::Revision => upgrade.revision_wave.as_ref().map(Request::of),
                };
                upgrade.and_then(of_lane).unwrap_or_default()
            }
        }
    }

    /// The step that may begin if its wave is open. A step that waits for an approval does not take a slot.
    pub(in crate::controllers::cluster) fn wanted_step(
        &self,
        previous: &EksClusterStatus,
        decision: &Decision,
    ) -> Option<GatedStep> {
        let gated = decision.gated.filter(|_| !self.observes())?;
        let step = GatedStep { gate: gated.gate, target: Target::Kubernetes(gated.to) };
        self.is_approved(previous, decision).then_some(step)
    }

    /// Whether a person has approved what the cluster would begin with its turn: all of the step, or an add-on update that begins
    /// without the rest of it.
    fn is_approved(&self, previous: &EksClusterStatus, decision: &Decision) -> bool {
        let plan = previous.plan.as_ref();
        self.change_policy() != ChangePolicy::Approval
            || approved::is_control_plane_approved(decision, plan)
            || approved::may_begin(decision, plan)
    }

    /// Whether nothing of a step that the cluster has claimed goes on without a person: it gives its slot back then, unless something is
    /// in progress in AWS. The approval may have come to an end, as a new version of an add-on needs one of its own.
    fn waits_for_person(&self, previous: &EksClusterStatus, decision: &Decision, step: GatedStep) -> bool {
        let lacks_approval = step.gate == Gate::ControlPlane && !self.is_claim_approved(previous, decision, step);
        // What is blocked in the middle of the step is a failure, and keeps its slot.
        let is_blocked = matches!(decision.state, State::Blocked { .. }) && self.waits_for_hooks_before(step);
        lacks_approval || is_blocked || self.observes()
    }

    /// Whether a person has approved what would go on of a step of the control plane that the cluster has claimed. What comes before the
    /// step, and waits for no wave, says nothing about it.
    fn is_claim_approved(&self, previous: &EksClusterStatus, decision: &Decision, step: GatedStep) -> bool {
        match step.target {
            Target::Kubernetes(to) if decision.gated.is_none() && !approved::begins_with(decision, to) => {
                self.change_policy() != ChangePolicy::Approval
                    || approved::is_approved_up_to(decision, to, previous.plan.as_ref())
            }
            _ => self.is_approved(previous, decision),
        }
    }

    /// Records what the cluster says. Returns whether the API server has stored it.
    async fn record_request(&mut self, lane: Lane, request: Request) -> bool {
        let (ctx, object) = (self.ctx, self.object);
        let version = object.metadata.resource_version.as_deref();
        let memory = self.state.kind.upgrade.wave_mut(lane);
        let is_late = memory.written.as_ref().is_some_and(|(_, last)| !last.is_in(version));
        // An object that lags behind our own writes is certainly rejected.
        if is_late || !self.state.last_write.is_in(version) {
            memory.retry_at = self.now.saturating_add(RETRY).ok();
            return false;
        }
        let (manager, name) = field(lane);
        let status = json!({"upgrade": {name: request.status()}});
        let stored = apply::patch_unchanged_status(&ctx.client, object, manager, &*ctx.gate, &status).await;
        let memory = self.state.kind.upgrade.wave_mut(lane);
        match stored {
            Ok(version) => {
                self.state.last_write.record(version.clone());
                let mut last = LastWrite::default();
                last.record(version);
                memory.written = Some((request, last));
                true
            }
            Err(error) => {
                let is_conflict = matches!(&error, kube::Error::Api(response) if matches!(response.code, 404 | 409));
                if !is_conflict {
                    memory.unanswered += 1;
                    let error = apply::describe_error(&error);
                    tracing::warn!(
                        error,
                        "failed to record what the cluster says to its FleetRollout; Keelson will retry"
                    );
                }
                // It may have been stored: only the cache knows.
                memory.written = None;
                memory.retry_at = self.now.saturating_add(RETRY).ok();
                false
            }
        }
    }
}

/// Whether nothing keeps the step that the cluster asks for from being asked for but that this leader has not read yet what must be known
/// before it. The cluster would only give up its place, and ask again some seconds later.
fn is_read_again(asked: GatedStep, decision: &Decision, led_for: SignedDuration) -> bool {
    let is_unread = matches!(decision.state, State::Holding { why: Hold::Preflight { .. } | Hold::ReadingNodes, .. });
    let next = match decision.remaining_steps.first() {
        Some(Step::ControlPlane { to, .. }) => Some((Gate::ControlPlane, *to)),
        // They are a part of the control plane's step.
        Some(Step::Addons { .. }) => decision.preflight_for().map(|to| (Gate::ControlPlane, to)),
        Some(Step::NodeGroups { to, .. }) => Some((Gate::NodeGroups, *to)),
        Some(Step::Rollback { .. }) | None => None,
    };
    let is_next = next.is_some_and(|(gate, to)| (asked.gate, asked.target) == (gate, Target::Kubernetes(to)));
    is_unread && is_next && led_for < READ_AGAIN
}

fn held(message: &str) -> WaveState {
    WaveState::Held { halted: false, message: message.to_owned() }
}

/// Whether something of a step is in progress in AWS.
fn is_in_progress(step: GatedStep, observed: &Observation) -> bool {
    let Target::Kubernetes(target) = step.target else { return false };
    let has_addon_updates = || observed.addons.iter().any(|addon| addon.state == AddonState::Busy);
    match step.gate {
        Gate::ControlPlane => {
            let is_version_update = observed.control_plane_work == ControlPlaneWork::Version;
            is_version_update || observed.control_plane < target && has_addon_updates()
        }
        Gate::NodeGroups | Gate::Agent | Gate::Revision => observed.node_groups.iter().any(|group| group.busy),
    }
}

/// The state of the step that the cluster has claimed.
fn claim(
    step: GatedStep,
    goal: &Goal,
    (decision, waits_for_person): (&Decision, bool),
    observed: &Observation,
    is_healthy: bool,
) -> ClaimedStep {
    // The lane has no other ones.
    let Target::Kubernetes(target) = step.target else { return ClaimedStep::Dropped };
    let is_at_version = observed.control_plane >= target;
    let is_reached = match step.gate {
        Gate::ControlPlane => is_at_version,
        Gate::NodeGroups | Gate::Agent | Gate::Revision => {
            let is_left = |one: &Step| matches!(one, Step::NodeGroups { to, .. } if *to <= target);
            is_at_version && !decision.remaining_steps.iter().any(is_left)
        }
    };
    ClaimedStep::of(ClaimFacts {
        is_reached,
        is_healthy,
        is_in_progress: is_in_progress(step, observed),
        is_wanted: goal.version >= target,
        is_held: waits_for_person
            || matches!(&decision.state, State::Holding { why: Hold::OutsideWindow { .. } | Hold::ByUser, .. }),
    })
}

impl Reconcile<'_> {
    /// Whether the cluster is healthy, as its soak counts it.
    pub(in crate::controllers::cluster) fn is_healthy(&self, previous: &EksClusterStatus) -> bool {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        observation::unhealthy(&self.state.memory, &groups, super::agent_fails(previous)).is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::upgrade::decide::Targets;

    #[test]
    fn cluster_keeps_its_place_while_a_new_leader_reads_what_must_be_known() {
        let (at, to) = ("1.33".parse().unwrap(), "1.34".parse().unwrap());
        let decision = |why: Hold| {
            let next = Step::ControlPlane { from: at, to };
            Decision {
                targets: Targets { control_plane: at, addons: BTreeMap::new(), node_groups: None },
                state: State::Holding { next: next.clone(), why },
                path: vec![to],
                remaining_steps: vec![next],
                ahead: Vec::new(),
                due: Vec::new(),
                gated: None,
            }
        };
        let asked = |gate, to: &str| GatedStep { gate, target: to.parse().unwrap() };
        let control_plane = asked(Gate::ControlPlane, "1.34");
        let (soon, late) = (SignedDuration::from_secs(5), SignedDuration::from_secs(60));
        let table = [
            (control_plane, Hold::Preflight { to }, soon, true),
            (control_plane, Hold::ReadingNodes, soon, true),
            // It has failed, or takes too long: the place is free for another one.
            (control_plane, Hold::Preflight { to }, late, false),
            (control_plane, Hold::ByUser, soon, false),
            (control_plane, Hold::OutsideWindow { opens: None }, soon, false),
            // It asks for something else now.
            (asked(Gate::ControlPlane, "1.35"), Hold::Preflight { to }, soon, false),
            (asked(Gate::NodeGroups, "1.34"), Hold::Preflight { to }, soon, false),
        ];
        for (asked, why, led_for, expected) in table {
            let found = is_read_again(asked, &decision(why.clone()), led_for);
            assert_eq!(found, expected, "{asked} {why:?} {led_for:#}");
        }
    }
}
