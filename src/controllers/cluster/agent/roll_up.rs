//! The agent's part in a reconcile: its Secrets, a pass when one is due, and what conditions, status, events and
//! metrics report of it. I/O: through [`crate::controllers::cluster::agent`].

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::held_revision::SourceDecision;
use super::part::AgentPart;
use super::{Agent, agent_version_state, held_revision, own_cni};
use crate::agents::secret_reader::Missing;
use crate::agents::{AgentInput, ValidAgent};
use crate::api::Reason;
use crate::api::conditions::{self, ConditionType};
use crate::api::status_cluster::{EksClusterStatus, GitOpsStatus, HeldRevisionStatus};
use crate::aws::WriteGate;
use crate::controllers::cluster::Reconcile;
use crate::controllers::cluster::agent;
use crate::controllers::cluster::status::facts::Facts;
use crate::controllers::status::conditions::ConditionValue;
use crate::controllers::status::finish_reconcile::Next;
use crate::engine::ExecutionPolicy;
use crate::resources::cloud::Cloud;
use crate::resources::graph::source_identity;
use crate::rollout::{ClaimedStep, Follow, Lane};
use crate::upgrade::WaveState;

/// How often a cluster looks whether a step of its agent has ended.
const CLAIMED_POLL: SignedDuration = SignedDuration::from_secs(3);

/// The result of reading the agent's Secrets.
pub(crate) enum Secrets {
    NotRequested,
    /// `changePolicy: Observe`.
    Skipped,
    Read(DesiredInput),
    /// The GitOpsReady value, and whether it requires intervention.
    Missing {
        condition: ConditionValue,
        stalled: bool,
        /// The agent already exists and keeps its current input.
        last_good: Option<DesiredInput>,
    },
}

/// The agent's desired state.
pub(crate) struct DesiredInput {
    input: AgentInput,
    wants_facts: bool,
}

/// The agent's result.
pub(crate) struct GitOps {
    /// Value of GitOpsReady.
    pub condition: ConditionValue,
    /// Whether it requires intervention.
    pub stalled: bool,
    pub status: Option<GitOpsStatus>,
    pub next: Next,
    /// The agent matches the spec: a pass with this input found it applied.
    pub reached: bool,
}

impl Reconcile<'_> {
    pub(crate) async fn secrets(&self, previous: &EksClusterStatus, valid: Option<&ValidAgent>) -> Secrets {
        let Some(valid) = valid else { return Secrets::NotRequested };
        let agent = &self.state.kind.agent;
        let wanted = |input| DesiredInput { input, wants_facts: valid.wants_facts() };
        let installed = previous.gitops.as_ref().is_some_and(|gitops| gitops.last_contact.is_some());
        match agent.input(self.ctx, self.object, &**valid).await {
            Ok(input) => Secrets::Read(wanted(input)),
            Err(Missing::Unusable(refusal)) if installed => {
                let message =
                    format!("{}; the copy in the cluster is unchanged, and the agent keeps using it", refusal.message);
                let last_good = agent.last_good().map(wanted);
                Secrets::Missing {
                    condition: ConditionValue::false_(refusal.reason, message),
                    stalled: false,
                    last_good,
                }
            }
            Err(Missing::Unusable(refusal)) => {
                let condition = ConditionValue::false_(refusal.reason, refusal.message);
                Secrets::Missing { condition, stalled: true, last_good: None }
            }
            Err(Missing::Unread(message)) => match agent.last_good() {
                // Transient, and nothing is known to have changed.
                Some(input) => Secrets::Read(wanted(input)),
                None => {
                    let condition = ConditionValue::false_(Reason::Pending, message);
                    Secrets::Missing { condition, stalled: false, last_good: None }
                }
            },
        }
    }

    /// Points the agent at Git when that is due, and returns its state. `part`: how much of its step may run now.
    pub(crate) async fn gitops(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        secrets: Secrets,
        part: &AgentPart,
        source: &SourceDecision,
    ) -> GitOps {
        let held = source.held.as_ref();
        let waits = part.waits || part.on_hold;
        let left =
            |condition, status| GitOps { condition, stalled: false, status, next: Next::change(), reached: false };
        match secrets {
            Secrets::NotRequested => {
                self.pause_agent();
                // Discarded only once that is allowed.
                let status = previous.gitops.clone().filter(|_| part.waits);
                left(ConditionValue::true_(Reason::NotRequested, "the spec requests no agent"), status)
            }
            Secrets::Skipped => {
                self.pause_agent();
                let message = "changePolicy is Observe: the workload cluster is not touched";
                left(ConditionValue::unknown(Reason::Observed, message), previous.gitops.clone())
            }
            Secrets::Read(_) if waits => {
                let (reason, message) = if part.on_hold {
                    (Reason::OnHold, "nothing is changed in the workload cluster until no hold is left")
                } else {
                    let message =
                        "nothing is changed in the workload cluster while a change of the agent waits for approval";
                    (Reason::WaitingForApproval, message)
                };
                left(ConditionValue::unknown(reason, message), previous.gitops.clone())
            }
            Secrets::Read(wanted) => match &source.waits {
                Some(why) => {
                    let message = format!("the agent is not installed yet: {why}");
                    left(ConditionValue::false_(Reason::WaitingForWave, message), previous.gitops.clone())
                }
                None => {
                    let gitops = self.agent(previous, wanted, cloud, (part, held)).await;
                    self.publish_state(previous, gitops)
                }
            },
            Secrets::Missing { condition, stalled, last_good } => {
                let status = match last_good.filter(|_| !waits && source.waits.is_none()) {
                    Some(wanted) => self.agent(previous, wanted, cloud, (part, held)).await,
                    None => left(condition.clone(), previous.gitops.clone()),
                };
                let next = status.next.or(Next::after(agent::SECRET_RETRY, self.now));
                self.publish_state(previous, GitOps { condition, stalled, next, ..status })
            }
        }
    }

    /// Whether the wave of a FleetRollout holds the upgrade of the agent.
    pub(crate) async fn agent_wave(&mut self, previous: &EksClusterStatus, policy: &ExecutionPolicy) -> WaveState {
        let turn = self.agent_part(previous, policy, &WaveState::Free).turn;
        let claimed = self.stored_request(Lane::Agent).claimed.map(|claimed| claimed.step);
        let is_synced = conditions::is_true(&previous.conditions, ConditionType::GitOpsReady);
        let is_healthy = is_synced && agent_version_state::unhealthy(previous).is_none() && self.is_healthy(previous);
        let claim = claimed.map(|step| turn.claim(step, is_healthy));
        self.ask_rollout(Lane::Agent, turn.wants(claimed), claim).await
    }

    /// At which revision the source is held now.
    pub(crate) async fn held_revision(&mut self, previous: &EksClusterStatus, part: &AgentPart) -> SourceDecision {
        let is_adopted = previous.gitops.as_ref().is_some_and(|gitops| gitops.source_adopted);
        let source = held_revision::source_of(self.object.spec.gitops.as_ref()).filter(|_| !is_adopted);
        let Some(source) = source else {
            let dropped = self.stored_request(Lane::Revision).claimed.map(|_| ClaimedStep::Dropped);
            self.ask_rollout(Lane::Revision, None, dropped).await;
            return SourceDecision::default();
        };
        let follow = self.follow_source(source, held_revision::is_held(source, previous));
        let is_held = part.waits || part.on_hold || self.observes();
        let has_api = Facts(&self.state.memory).has_api();
        let input = held_revision::Input { source, previous, follow: &follow, is_held, has_api };
        if let Follow::Unchanged { .. } = follow {
            // What it has said stays said until that is decided.
            return input.decide(&WaveState::Free);
        }
        let claim = self.stored_request(Lane::Revision).claimed.map(|claimed| input.claim(claimed.step));
        let wave = self.ask_rollout(Lane::Revision, input.wants(), claim).await;
        input.decide(&wave)
    }

    /// When a step of the agent may go on, or may have ended.
    pub(crate) fn next_of_agent(
        &self,
        previous: &EksClusterStatus,
        part: &AgentPart,
        held: Option<&HeldRevisionStatus>,
    ) -> Next {
        let lanes = [Lane::Agent, Lane::Revision];
        let records_first = held.is_some_and(|held| held_revision::to_apply(held, previous).1);
        let retries = lanes.map(|lane| self.wave_retry(lane)).into_iter().flatten();
        let at = part.next.into_iter().chain(retries).chain(records_first.then_some(self.now)).min();
        let next = at.map_or(Next::change(), Next::at);
        // Status shows that it has ended, and no watch reports that: other clusters wait for it.
        let has_claimed = lanes.iter().any(|lane| self.stored_request(*lane).claimed.is_some());
        if has_claimed { next.or(Next::after(CLAIMED_POLL, self.now)) } else { next }
    }

    /// Stops observing the agent, and drops its metrics.
    pub(crate) fn pause_agent(&self) {
        self.state.kind.agent.pause();
        self.controller.watches.end(&self.object.uid().unwrap_or_default());
        self.ctx.metrics.gitops().forget(&self.namespace, &self.object.name_any());
    }

    /// Publishes its events and metrics.
    fn publish_state(&mut self, previous: &EksClusterStatus, gitops: GitOps) -> GitOps {
        let GitOps { condition, status, .. } = &gitops;
        let failing = status.as_ref().and_then(|status| status.objects.as_ref()).map_or(0, |objects| objects.failing);
        self.ctx.metrics.gitops().set_state(&self.namespace, &self.object.name_any(), condition.is_true(), failing);
        let events = self.state.kind.agent_events.of(previous, condition, status.as_ref());
        self.ctx.events.publish(self.object, events.into_iter().collect());
        gitops
    }

    /// Starts a pass of the agent when it is due, and returns its last report.
    async fn agent(
        &mut self,
        previous: &EksClusterStatus,
        wanted: DesiredInput,
        cloud: &Cloud,
        (part, held): (&AgentPart, Option<&HeldRevisionStatus>),
    ) -> GitOps {
        let DesiredInput { mut input, wants_facts } = wanted;
        let (agent, name) = (self.state.kind.agent.clone(), input.agent().name());
        let last = conditions::get(&previous.conditions, ConditionType::GitOpsReady);
        agent.restore(previous.gitops.as_ref(), last);
        if let Some(version) = &part.version {
            input.install_version(version);
        }
        if part.is_unrecorded() {
            input.keep_installed_version();
        }
        if let Some(revision) = held.and_then(|held| held_revision::to_apply(held, previous).0) {
            input.hold_revision(revision);
        }
        if wants_facts {
            input.set_facts(agent::facts(&self.state.memory, self.object, &cloud.aws));
        }
        input.set_host_network(own_cni::api_address(&self.object.spec, input.pod_namespace(), &self.state.memory));
        let (reached, instead) = match self.pass(&agent, input, cloud).await {
            Ok(reached) => (reached, None),
            Err(condition) => (false, Some(condition)),
        };
        let report = agent.report();
        if report.endpoint_in_doubt {
            self.state.memory.entry(&crate::controllers::cluster::status::facts::cluster_key()).due = None;
        }
        self.ctx.events.publish(self.object, report.events);
        let mut status = report.status.or_else(|| previous.gitops.clone());
        if let Some(since) = report.unreachable_since {
            let known =
                status.get_or_insert_with(|| GitOpsStatus { agent: Some(name.into()), ..GitOpsStatus::default() });
            known.unreachable_since = Some(Time(since));
        }
        let unwatched = if self.ctx.secrets.are_watched() {
            Next::change()
        } else {
            Next::after(agent::SECRETS_POLL_INTERVAL, self.now)
        };
        let next = report.due.map_or(Next::change(), Next::at).or(unwatched);
        GitOps { condition: instead.unwrap_or(report.condition), stalled: false, status, next, reached }
    }

    /// Starts a pass when one is due. True: a pass with this input found the agent applied. An error says why none
    /// can start.
    async fn pass(&self, agent: &Agent, mut input: AgentInput, cloud: &Cloud) -> Result<bool, ConditionValue> {
        let memory = &self.state.memory;
        if !Facts(memory).has_api() || !Facts(memory).is_ours() || !self.ctx.gate.may_write() {
            return Ok(false);
        }
        if let Some(identity) = input.identity() {
            // Pods get the identity when they are created, so it must exist before them.
            let (key, label) = (source_identity::key(&identity), input.agent().label());
            let message = || format!("waiting for {key}, by which {label} pulls from ECR");
            let waits = || ConditionValue::false_(Reason::Creating, message());
            input.set_identity(memory.observed(&key).ok_or_else(waits)?.id.clone());
        }
        let sts = self.ctx.settings.sts_endpoint.as_deref();
        match agent::access(memory, &self.object.cluster_name(), &cloud.aws, sts).await {
            Ok(Some(access)) => {
                Ok(agent.start_sync((self.ctx, &self.controller.watches), self.object, input, access, self.now))
            }
            Ok(None) => Ok(false),
            Err(verdict) => Err(ConditionValue::false_(verdict.reason, verdict.message)),
        }
    }
}
