//! The whole plan of a cluster: the engine's, with the agent and the change policy, which are nothing in AWS. Pure.

use super::Reconcile;
use super::agent::steps::{self, Fields};
use super::facts::Facts;
use crate::api::status::{EksClusterStatus, GitOpsStatus};
use crate::controllers::approvals::policy;
use crate::engine::{Consent, Held, Plan, Step, Verdict};

/// The plans of one reconcile.
pub(super) struct Parts {
    /// What is done in AWS.
    pub in_aws: Plan,
    /// All that is shown, hashed and approved.
    pub whole: Plan,
    /// What decides how the cluster stands: the agent has a condition of its own, unless its step waits for an approval.
    pub judged: Plan,
    /// The agent's part.
    pub agent: AgentPart,
}

/// The agent's part of the plan.
pub(super) struct AgentPart {
    /// What is to be done with it.
    pub step: Option<Step>,
    /// Its step is held: nothing is written to the workload cluster.
    pub waits: bool,
    wanted: Fields,
    applied: Option<Fields>,
}

impl AgentPart {
    /// What of the agent is kept in status. `reached`: it is as the spec asks.
    pub fn keep(&self, status: Option<&mut GitOpsStatus>, reached: bool) {
        let Some(status) = status else { return };
        let is_new = reached && !self.waits;
        let applied = if is_new { Some(&self.wanted) } else { self.applied.as_ref() };
        status.applied = applied.map(steps::for_status).unwrap_or_default();
    }
}

impl Reconcile<'_> {
    /// Puts the plan together.
    pub(super) fn parts(&self, previous: &EksClusterStatus, in_aws: Plan, consent: &Consent) -> Parts {
        let generation = self.cluster.metadata.generation;
        let wanted = steps::wanted(self.cluster.spec.gitops.as_ref());
        let applied = steps::applied(previous, generation, &wanted);
        let step = steps::step(&wanted, applied.as_ref());
        let has_api = Facts(&self.state.memory).has_api();
        let agent = step.clone().map(|step| steps::item(step, consent, has_api, previous, self.now));
        let waits = agent.as_ref().is_some_and(|item| matches!(item.verdict, Verdict::Held(..)));
        let required = self.ctx.settings.require_approval_objects;
        let policy = policy::item(self.cluster, &self.last_status(), required);
        let (mut whole, mut judged) = (in_aws.clone(), in_aws.clone());
        for item in agent.into_iter().chain(policy) {
            if matches!(item.verdict, Verdict::Held(_, Held::Approval)) {
                judged.items.push(item.clone());
            }
            whole.items.push(item);
        }
        Parts { in_aws, whole, judged, agent: AgentPart { step, waits, wanted, applied } }
    }
}
