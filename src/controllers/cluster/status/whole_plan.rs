//! The whole plan of a cluster: the engine's, plus the agent and the change policy, which are not in AWS. Pure.

use super::facts::Facts;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::approvals::change_policy;
use crate::controllers::cluster::Reconcile;
use crate::controllers::cluster::agent::part::{self, AgentPart};
use crate::engine::{ExecutionPolicy, HoldReason, Plan, Verdict};
use crate::upgrade::{WaveState, WindowState, Windows};

/// The plans of one reconcile.
pub(crate) struct Parts {
    /// What runs in AWS.
    pub in_aws: Plan,
    /// Everything that is shown, hashed and approved.
    pub whole: Plan,
    /// What the overall state is derived from: the agent has its own condition, unless its step waits for an
    /// approval.
    pub judged: Plan,
    /// The agent's part.
    pub agent: AgentPart,
}

impl Reconcile<'_> {
    /// The agent's part. `wave`: whether the wave of a FleetRollout holds an upgrade of it.
    pub(crate) fn agent_part(
        &self,
        previous: &EksClusterStatus,
        policy: &ExecutionPolicy,
        wave: &WaveState,
    ) -> AgentPart {
        let spec = &self.object.spec;
        // Windows are validated earlier: an unreadable one counts as closed.
        let window = Windows::parse(&spec.upgrade.windows).map(|windows| windows.state(self.now));
        let window = window.unwrap_or(WindowState::Closed { opens: None });
        AgentPart::of(&part::Input {
            gitops: spec.gitops.as_ref(),
            previous,
            policy,
            window: &window,
            wave,
            has_api: Facts(&self.state.memory).has_api(),
            now: self.now,
        })
    }

    /// Assembles the plan.
    pub(crate) fn parts(
        &self,
        previous: &EksClusterStatus,
        in_aws: Plan,
        policy: &ExecutionPolicy,
        agent_wave: &WaveState,
    ) -> Parts {
        let agent = self.agent_part(previous, policy, agent_wave);
        let required = self.ctx.settings.require_approval_objects;
        let policy = change_policy::item(self.object, &self.last_status(), required);
        let (mut whole, mut judged) = (in_aws.clone(), in_aws.clone());
        for item in agent.item.iter().cloned().chain(policy) {
            if matches!(item.verdict, Verdict::Held(_, HoldReason::Approval)) {
                judged.items.push(item.clone());
            }
            whole.items.push(item);
        }
        Parts { in_aws, whole, judged, agent }
    }
}
