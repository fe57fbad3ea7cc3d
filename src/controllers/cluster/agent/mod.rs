//! The cluster's agent: its Secrets are read here, and its passes run beside the reconcile, so that a workload cluster that
//! does not answer never holds up AWS. I/O: the management cluster's Secrets; the rest through [`crate::gitops`].

mod access;
mod flux;
mod secrets;
mod source;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

pub use access::{access, access_at, access_of, facts, locate};
pub use flux::ValidFlux;
pub use secrets::Missing;
#[cfg(test)]
pub use source::ValidSource;

use crate::api::gitops::Agent as Asked;
use crate::api::status::GitOpsStatus;
use crate::api::{EksCluster, Reason};
use crate::controllers::account::Refusal;
use crate::controllers::conditions::Says;
use crate::controllers::context::{Context, locked};
use crate::controllers::events::Told;
use crate::controllers::watch::digest;
use crate::gitops::error::GitOpsError;
use crate::gitops::object::ObjectId;
use crate::gitops::validate::SourcePolicy;
use crate::gitops::workload::Access;
use crate::gitops::{AgentInput, GitOpsOutcome, Verdict};

/// `spec.gitops`, checked.
#[derive(Clone, Debug)]
pub enum ValidAgent {
    Flux(ValidFlux),
}

impl ValidAgent {
    /// Checks what is asked for.
    pub fn of(asked: Asked<'_>, sources: SourcePolicy) -> Result<Self, Refusal> {
        match asked {
            Asked::Flux(flux) => flux::valid(flux, sources).map(Self::Flux),
            Asked::ArgoCd(_) => {
                let message = "spec.gitops.argocd: not supported yet by this version of the operator; remove it";
                Err(Refusal::new(Reason::InvalidSpec, message))
            }
        }
    }

    /// Whether the facts of the cluster are to be kept in it.
    pub fn wants_facts(&self) -> bool {
        match self {
            Self::Flux(flux) => flux.spec.facts,
        }
    }

    async fn input(&self, ctx: &Context, namespace: &str) -> Result<AgentInput, Missing> {
        match self {
            Self::Flux(flux) => flux::input(ctx, namespace, flux).await.map(AgentInput::Flux),
        }
    }
}

/// Secrets are read again after this: not at each of the passes that follow each other while something is under way.
const SECRETS_KEPT: Duration = Duration::from_secs(10);
/// A Secret that is missing is looked for again after this.
pub const SECRET_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// After a pass that ended without a word (a panic).
const LOST: SignedDuration = SignedDuration::from_secs(60);

/// What is remembered of a cluster's agent. The pass that runs beside writes it.
#[derive(Clone, Default)]
pub struct Agent(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    due: Option<Timestamp>,
    /// Of what was asked for in the last pass.
    asked: u64,
    verdict: Option<Verdict>,
    status: Option<GitOpsStatus>,
    endpoint_in_doubt: bool,
    news: Vec<Told>,
    secrets: Option<(Instant, u64, Result<AgentInput, Refusal>)>,
}

/// What the agent says now.
pub struct Word {
    /// For GitOpsReady.
    pub says: Says,
    /// For status.
    pub status: Option<GitOpsStatus>,
    /// When to come again.
    pub due: Option<Timestamp>,
    /// For events.
    pub news: Vec<Told>,
    /// The endpoint or its CA may have changed: look at the control plane.
    pub endpoint_in_doubt: bool,
}

impl Agent {
    /// All that is to be applied but the facts, with the Secrets it names.
    pub async fn input(&self, ctx: &Context, namespace: &str, valid: &ValidAgent) -> Result<AgentInput, Missing> {
        let asked = digest(format!("{valid:?}"));
        if let Some((read, of, result)) = &locked(&self.0).secrets
            && *of == asked
            && read.elapsed() < SECRETS_KEPT
        {
            return result.clone().map_err(Missing::Refused);
        }
        let result = match valid.input(ctx, namespace).await {
            Ok(input) => Ok(input),
            Err(Missing::Refused(refusal)) => Err(refusal),
            Err(unread) => return Err(unread),
        };
        locked(&self.0).secrets = Some((Instant::now(), asked, result.clone()));
        result.map_err(Missing::Refused)
    }

    /// Everything is to be looked at anew.
    pub fn forget(&self) {
        let mut inner = locked(&self.0);
        inner.due = None;
        inner.secrets = None;
    }

    /// What it said last; its news only once.
    pub fn word(&self) -> Word {
        let mut inner = locked(&self.0);
        let says = match &inner.verdict {
            None => Says::no(Reason::Creating, "the agent comes when the control plane is there"),
            Some(Verdict { ready: true, reason, message }) => Says::yes(*reason, message),
            Some(Verdict { ready: false, reason, message }) => Says::no(*reason, message),
        };
        let due = if inner.running { None } else { inner.due };
        Word {
            says,
            status: inner.status.clone(),
            due,
            news: std::mem::take(&mut inner.news),
            endpoint_in_doubt: std::mem::take(&mut inner.endpoint_in_doubt),
        }
    }

    /// Starts a pass beside this reconcile, if one is due. At its end the cluster is reconciled again.
    pub fn poke(&self, ctx: &Arc<Context>, cluster: &EksCluster, input: AgentInput, access: Access, now: Timestamp) {
        let asked = digest((format!("{input:?}"), &access.endpoint, &access.certificate_authority));
        {
            let mut inner = locked(&self.0);
            let due = inner.due.is_none_or(|due| due <= now) || inner.asked != asked;
            if inner.running || !due {
                return;
            }
            inner.running = true;
            inner.asked = asked;
        }
        let (this, tasks, ctx) = (self.clone(), ctx, ctx.clone());
        let (key, object) = (cluster.uid().unwrap_or_default(), ObjectRef::from_obj(cluster));
        let pass = async move {
            let _running = Running { agent: this.clone(), ctx: ctx.clone(), object };
            let result = ctx.workloads.reconcile(&key, &access, &input, SystemTime::now()).await;
            this.heard(result, Timestamp::now());
        };
        let over = tasks.over.clone();
        tasks.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    fn heard(&self, result: Result<GitOpsOutcome, GitOpsError>, now: Timestamp) {
        let mut inner = locked(&self.0);
        let look_again = match result {
            Ok(GitOpsOutcome { status, verdict, changed, let_go, look_again }) => {
                if !changed.is_empty() {
                    inner.news.push(Told::normal("Applied", format!("in the cluster: {}", first_of(&changed))));
                }
                if !let_go.is_empty() {
                    let message = format!("Git has adopted, and Keelson has let go of: {}", first_of(&let_go));
                    inner.news.push(Told::normal("HandedOver", message));
                }
                inner.status = status.or(inner.status.take());
                inner.verdict = Some(verdict);
                look_again
            }
            Err(error) => {
                inner.endpoint_in_doubt = error.endpoint_in_doubt();
                inner.verdict = Some(Verdict::not_ready(error.reason(), error.to_string()));
                error.look_again()
            }
        };
        let pause = SignedDuration::try_from(look_again).unwrap_or(LOST);
        inner.due = now.checked_add(pause).ok();
    }
}

/// "Namespace flux-system, Deployment flux-system/source-controller and 12 more".
fn first_of(objects: &[ObjectId]) -> String {
    let names: Vec<_> = objects.iter().take(5).map(ToString::to_string).collect();
    let more = objects.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// A pass under way. However it ends, the cluster hears of it.
struct Running {
    agent: Agent,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut inner = locked(&self.agent.0);
            inner.running = false;
            let now = Timestamp::now();
            if inner.due.is_none_or(|due| due <= now) {
                inner.due = now.checked_add(LOST).ok();
            }
        }
        self.ctx.queues.clusters.push(self.object.clone());
    }
}
