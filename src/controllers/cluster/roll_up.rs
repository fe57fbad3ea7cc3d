//! The agent's part in a reconcile: its Secrets, a pass when one is due, and what conditions, status, events and metrics tell of
//! it. I/O: through [`super::agent`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::Reconcile;
use super::agent::part::AgentPart;
use super::agent::{self, Agent, Missing, ValidAgent};
use super::facts::Facts;
use crate::api::Reason;
use crate::api::status::{EksClusterStatus, GitOpsStatus};
use crate::aws::WriteGate;
use crate::controllers::conditions::ConditionValue;
use crate::controllers::report::Next;
use crate::gitops::AgentInput;
use crate::resources::cloud::Cloud;
use crate::resources::source_identity;

/// What the agent's Secrets came to.
pub(super) enum Secrets {
    NotAsked,
    /// `changePolicy: Observe`.
    NotTouched,
    Read(Wanted),
    /// For GitOpsReady, and whether a person has to act before anything goes on.
    Missing {
        says: ConditionValue,
        stalled: bool,
        /// The agent is there already and goes on with what it has.
        last_good: Option<Wanted>,
    },
}

/// What the agent is to be.
pub(super) struct Wanted {
    input: Box<AgentInput>,
    wants_facts: bool,
}

/// What there is to say of the agent.
pub(super) struct GitOps {
    /// For GitOpsReady.
    pub says: ConditionValue,
    /// Whether a person has to act before anything goes on.
    pub stalled: bool,
    pub status: Option<GitOpsStatus>,
    pub next: Next,
    /// The agent is as the spec asks: a pass that wrote what it says found it there.
    pub reached: bool,
}

impl Reconcile<'_> {
    pub(super) async fn secrets(&self, previous: &EksClusterStatus, valid: Option<&ValidAgent>) -> Secrets {
        let Some(valid) = valid else { return Secrets::NotAsked };
        let agent = &self.state.kind.agent;
        let wanted = |input| Wanted { input: Box::new(input), wants_facts: valid.wants_facts() };
        let installed = previous.gitops.as_ref().is_some_and(|gitops| gitops.last_contact.is_some());
        match agent.input(self.ctx, self.cluster, valid).await {
            Ok(input) => Secrets::Read(wanted(input)),
            Err(Missing::Refused(refusal)) if installed => {
                let message = format!(
                    "{}; the copy in the cluster is left as it was, and the agent goes on with that",
                    refusal.message
                );
                let last_good = agent.last_good().map(wanted);
                Secrets::Missing { says: ConditionValue::false_(refusal.reason, message), stalled: false, last_good }
            }
            Err(Missing::Refused(refusal)) => {
                let says = ConditionValue::false_(refusal.reason, refusal.message);
                Secrets::Missing { says, stalled: true, last_good: None }
            }
            Err(Missing::Unread(message)) => match agent.last_good() {
                // It passes, and nothing is known to have changed.
                Some(input) => Secrets::Read(wanted(input)),
                None => {
                    let says = ConditionValue::false_(Reason::Pending, message);
                    Secrets::Missing { says, stalled: false, last_good: None }
                }
            },
        }
    }

    /// Points the agent at Git when that is due, and tells how it fares. `part`: what of its step may be done now.
    pub(super) async fn gitops(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        secrets: Secrets,
        part: &AgentPart,
    ) -> GitOps {
        let waits = part.waits;
        let left = |says, status| GitOps { says, stalled: false, status, next: Next::change(), reached: false };
        match secrets {
            Secrets::NotAsked => {
                self.leave_agent();
                // Forgotten only once that may be.
                let status = previous.gitops.clone().filter(|_| waits);
                left(ConditionValue::true_(Reason::NotRequested, "the spec asks for no agent"), status)
            }
            Secrets::NotTouched => {
                self.leave_agent();
                let message = "changePolicy is Observe: the workload cluster is not touched";
                left(ConditionValue::unknown(Reason::Observed, message), previous.gitops.clone())
            }
            Secrets::Read(_) if waits => {
                let message = "nothing is done in the workload cluster while a change of the agent waits for approval";
                left(ConditionValue::unknown(Reason::WaitingForApproval, message), previous.gitops.clone())
            }
            Secrets::Read(wanted) => {
                let gitops = self.agent(previous, wanted, cloud, part).await;
                self.told(previous, gitops)
            }
            Secrets::Missing { says, stalled, last_good } => {
                let status = match last_good.filter(|_| !waits) {
                    Some(wanted) => self.agent(previous, wanted, cloud, part).await,
                    None => left(says.clone(), previous.gitops.clone()),
                };
                let next = status.next.or(Next::after(agent::SECRET_AGAIN, self.now));
                self.told(previous, GitOps { says, stalled, next, ..status })
            }
        }
    }

    /// The agent is looked at no more, and nothing is counted of it.
    pub(super) fn leave_agent(&self) {
        self.state.kind.agent.leave();
        self.ctx.watches.end(&self.cluster.uid().unwrap_or_default());
        self.ctx.metrics.gitops().forget(&self.namespace, &self.cluster.name_any());
    }

    /// Events and metrics of it.
    fn told(&mut self, previous: &EksClusterStatus, gitops: GitOps) -> GitOps {
        let GitOps { says, status, .. } = &gitops;
        let failing = status.as_ref().and_then(|status| status.objects.as_ref()).map_or(0, |objects| objects.failing);
        self.ctx.metrics.gitops().set_state(&self.namespace, &self.cluster.name_any(), says.is_true(), failing);
        let news = self.state.kind.news.of(previous, says, status.as_ref());
        self.ctx.events.publish(self.cluster, news.into_iter().collect());
        gitops
    }

    /// Starts a pass of the agent when it is due, and returns what it said last.
    async fn agent(&mut self, previous: &EksClusterStatus, wanted: Wanted, cloud: &Cloud, part: &AgentPart) -> GitOps {
        let Wanted { mut input, wants_facts } = wanted;
        let (agent, name) = (self.state.kind.agent.clone(), input.agent());
        agent.restore(previous.gitops.as_ref());
        if let Some(version) = &part.version {
            input.install_version(version);
        }
        if wants_facts {
            input.set_facts(agent::facts(&self.state.memory, &self.cluster.cluster_name(), &cloud.aws));
        }
        let (reached, instead) = match self.pass(&agent, *input, cloud).await {
            Ok(reached) => (reached, None),
            Err(says) => (false, Some(says)),
        };
        let word = agent.word();
        if word.endpoint_in_doubt {
            self.state.memory.entry(&super::facts::cluster_key()).due = None;
        }
        self.ctx.events.publish(self.cluster, word.news);
        let mut status = word.status.or_else(|| previous.gitops.clone());
        if let Some(since) = word.unreachable_since {
            let known =
                status.get_or_insert_with(|| GitOpsStatus { agent: Some(name.into()), ..GitOpsStatus::default() });
            known.unreachable_since = Some(Time(since));
        }
        let unwatched = if self.ctx.secrets.are_watched() {
            Next::change()
        } else {
            Next::after(agent::SECRETS_UNWATCHED, self.now)
        };
        let next = word.due.map_or(Next::change(), Next::at).or(unwatched);
        GitOps { says: instead.unwrap_or(word.says), stalled: false, status, next, reached }
    }

    /// Starts a pass when one is due. True: one of this input found the agent there. An error says why it cannot.
    async fn pass(&self, agent: &Agent, mut input: AgentInput, cloud: &Cloud) -> Result<bool, ConditionValue> {
        let memory = &self.state.memory;
        if !Facts(memory).has_api() || !Facts(memory).is_ours() || !self.ctx.gate.may_write() {
            return Ok(false);
        }
        if input.needs_identity() {
            // Its Pods get the identity when they are made, so it must be there before them.
            let key = source_identity::key();
            let waits =
                || ConditionValue::false_(Reason::Creating, format!("waiting for {key}, by which Flux pulls from ECR"));
            input.set_identity(memory.observed(&key).ok_or_else(waits)?.id.clone());
        }
        let sts = self.ctx.settings.sts_endpoint.as_deref();
        match agent::access(memory, &self.cluster.cluster_name(), &cloud.aws, sts).await {
            Ok(Some(access)) => Ok(agent.start_sync(self.ctx, self.cluster, input, access, self.now)),
            Ok(None) => Ok(false),
            Err(verdict) => Err(ConditionValue::false_(verdict.reason, verdict.message)),
        }
    }
}
