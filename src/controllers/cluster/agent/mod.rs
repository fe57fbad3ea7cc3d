//! The cluster's agent: its Secrets are read here, and its passes run beside the reconcile, so that a workload cluster that
//! does not answer never holds up AWS. A pass is due after a while, or when a watch tells that something changed.
//! I/O: the management cluster's Secrets; the rest through [`crate::gitops`].

mod access;
mod argocd;
mod backoff;
mod events;
mod flux;
pub mod part;
mod secrets;
mod source;
pub mod steps;
mod watches;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

pub use access::{access, access_at, access_of, facts, locate};
pub use argocd::ValidArgoCd;
pub use events::AgentEvents;
pub use flux::ValidFlux;
pub use secrets::Missing;
use secrets::Reader;
#[cfg(test)]
pub use source::ValidSource;
pub use watches::Watches;

use crate::api::gitops::Agent as Asked;
use crate::api::status::GitOpsStatus;
use crate::api::{EksCluster, Reason};
use crate::controllers::account::Refusal;
use crate::controllers::conditions::ConditionValue;
use crate::controllers::context::{Context, locked};
use crate::controllers::events::EventMessage;
use crate::controllers::watch::digest;
use crate::gitops::error::{GitOpsError, MESSAGE, bounded};
use crate::gitops::object::ObjectId;
use crate::gitops::validate::SourcePolicy;
use crate::gitops::workload::Access;
use crate::gitops::{AgentInput, GitOpsOutcome, Verdict};

/// `spec.gitops`, checked.
#[derive(Clone, Debug)]
pub enum ValidAgent {
    Flux(Box<ValidFlux>),
    ArgoCd(Box<ValidArgoCd>),
}

impl ValidAgent {
    /// Checks what is asked for.
    pub fn of(asked: Asked<'_>, sources: SourcePolicy) -> Result<Self, Refusal> {
        match asked {
            Asked::Flux(flux) => flux::valid(flux, sources).map(|flux| Self::Flux(Box::new(flux))),
            Asked::ArgoCd(argocd) => argocd::valid(argocd, sources).map(|argocd| Self::ArgoCd(Box::new(argocd))),
        }
    }

    /// Whether the facts of the cluster are to be kept in it.
    pub fn wants_facts(&self) -> bool {
        match self {
            Self::Flux(flux) => flux.spec.facts,
            Self::ArgoCd(_) => true,
        }
    }

    async fn input(&self, reader: &Reader<'_>, namespace: &str) -> Result<AgentInput, Missing> {
        match self {
            Self::Flux(flux) => {
                flux::input(reader, namespace, flux).await.map(|input| AgentInput::Flux(Box::new(input)))
            }
            Self::ArgoCd(argocd) => {
                argocd::input(reader, namespace, argocd).await.map(|input| AgentInput::ArgoCd(Box::new(input)))
            }
        }
    }
}

/// Secrets are read again after this: not at each of the passes that follow each other while something is under way.
const SECRETS_KEPT: Duration = Duration::from_secs(10);
/// The same where a watch tells of changes.
const SECRETS_WATCHED: Duration = Duration::from_secs(600);
/// A Secret that is missing is looked for again after this.
pub const SECRET_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// Secrets that nobody tells of are looked at this often.
pub const SECRETS_UNWATCHED: SignedDuration = SignedDuration::from_secs(60);
/// After a pass that ended without a word (a panic).
const LOST: SignedDuration = SignedDuration::from_secs(60);

/// What is remembered of a cluster's agent. The pass that runs beside writes it.
#[derive(Clone, Default)]
pub struct Agent(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    /// Something changed since the pass under way began.
    stale: bool,
    /// It is something that cannot wait.
    urgent: bool,
    /// When the next pass is to begin.
    due: Option<Timestamp>,
    /// None begins before, however much changes.
    rests_until: Option<Timestamp>,
    /// When the last pass ended, and how many there were close before.
    last: Option<(Timestamp, u32)>,
    /// The agent's objects are watched.
    watched: bool,
    /// Why the watch failed, until it works again.
    watch_error: Option<String>,
    /// Of what was asked for in the last pass.
    asked: u64,
    verdict: Option<Verdict>,
    status: Option<GitOpsStatus>,
    /// When the cluster answered last.
    contact: Option<Timestamp>,
    unreachable_since: Option<Timestamp>,
    endpoint_in_doubt: bool,
    news: Vec<EventMessage>,
    secrets: Option<Read>,
    /// What was asked for when the Secrets were last as they should be.
    last_good: Option<AgentInput>,
    /// Of what was asked for in the last pass that found all of the agent there.
    reached: Option<u64>,
}

/// What reading the Secrets came to.
struct Read {
    at: Instant,
    /// Of what was asked for.
    asked: u64,
    /// How much had changed before it.
    changes: u64,
    result: Result<AgentInput, Refusal>,
}

/// What the agent says now.
pub struct AgentReport {
    /// For GitOpsReady.
    pub says: ConditionValue,
    /// For status.
    pub status: Option<GitOpsStatus>,
    /// Since when the cluster does not answer.
    pub unreachable_since: Option<Timestamp>,
    /// When to come again.
    pub due: Option<Timestamp>,
    /// For events.
    pub news: Vec<EventMessage>,
    /// The endpoint or its CA may have changed: look at the control plane.
    pub endpoint_in_doubt: bool,
}

impl Agent {
    /// All that is to be applied but the facts, with the Secrets it names.
    pub async fn input(&self, ctx: &Context, cluster: &EksCluster, valid: &ValidAgent) -> Result<AgentInput, Missing> {
        let (uid, namespace) = (cluster.uid().unwrap_or_default(), cluster.namespace().unwrap_or_default());
        let (asked, changes) = (digest(format!("{valid:?}")), ctx.secrets.changes(&uid));
        {
            let mut inner = locked(&self.0);
            if let Some(read) = &inner.secrets {
                let kept =
                    if ctx.secrets.are_watched() && read.result.is_ok() { SECRETS_WATCHED } else { SECRETS_KEPT };
                if read.changes != changes {
                    // Rare, and somebody waits for it.
                    inner.urgent = true;
                    inner.wake(Timestamp::now());
                } else if read.asked == asked && read.at.elapsed() < kept {
                    return read.result.clone().map_err(Missing::Refused);
                }
            }
        }
        let result = match valid.input(&Reader::new(ctx, cluster), &namespace).await {
            Ok(input) => Ok(input),
            Err(Missing::Refused(refusal)) => Err(refusal),
            Err(unread) => return Err(unread),
        };
        let mut inner = locked(&self.0);
        if let Ok(input) = &result {
            inner.last_good = Some(input.clone());
        }
        inner.secrets = Some(Read { at: Instant::now(), asked, changes, result: result.clone() });
        result.map_err(Missing::Refused)
    }

    /// What was asked for when its Secrets were last as they should be.
    pub fn last_good(&self) -> Option<AgentInput> {
        locked(&self.0).last_good.clone()
    }

    /// Everything is to be looked at anew.
    pub fn forget(&self) {
        let mut inner = locked(&self.0);
        inner.due = None;
        inner.secrets = None;
    }

    /// It is left alone for now, and looked at when that is over.
    pub fn leave(&self) {
        let mut inner = locked(&self.0);
        (inner.due, inner.watched, inner.watch_error) = (None, false, None);
    }

    /// What is known from before this process began.
    pub fn restore(&self, status: Option<&GitOpsStatus>) {
        let mut inner = locked(&self.0);
        if inner.verdict.is_none() {
            inner.unreachable_since = status.and_then(|status| Some(status.unreachable_since.as_ref()?.0));
        }
    }

    /// The agent's objects are watched.
    fn watched(&self, now: Timestamp) {
        let mut inner = locked(&self.0);
        (inner.watched, inner.watch_error) = (true, None);
        inner.contact = Some(now);
    }

    /// They cannot be watched.
    fn watch_failed(&self, why: &str) {
        let mut inner = locked(&self.0);
        (inner.watched, inner.watch_error) = (false, Some(bounded(why, MESSAGE)));
    }

    /// Something changed: a pass is due. Says when; `None`: the one under way is followed by another.
    fn options(&self, now: Timestamp) -> Option<Timestamp> {
        let mut inner = locked(&self.0);
        inner.wake(now);
        inner.due.filter(|_| !inner.running)
    }

    /// What it said last; its news only once.
    pub fn word(&self) -> AgentReport {
        let mut inner = locked(&self.0);
        let says = match &inner.verdict {
            None => ConditionValue::false_(Reason::Creating, "the agent comes when the control plane is there"),
            Some(Verdict { ready: true, reason, message }) => ConditionValue::true_(*reason, message),
            Some(Verdict { ready: false, reason, message }) => ConditionValue::false_(*reason, message),
        };
        let due = if inner.running { None } else { inner.due };
        let contact = inner.contact;
        let watch_error = inner.watch_error.clone();
        let status = inner.status.clone();
        let status = status.map(|status| GitOpsStatus { last_contact: contact.map(Time), watch_error, ..status });
        AgentReport {
            says,
            status,
            unreachable_since: inner.unreachable_since,
            due,
            news: std::mem::take(&mut inner.news),
            endpoint_in_doubt: std::mem::take(&mut inner.endpoint_in_doubt),
        }
    }

    /// Starts a pass beside this reconcile, if one is due. At its end the cluster is reconciled again. True: a pass of this very
    /// input found the agent there.
    pub fn start_sync(
        &self,
        ctx: &Arc<Context>,
        cluster: &EksCluster,
        input: AgentInput,
        access: Access,
        now: Timestamp,
    ) -> bool {
        let asked = digest((format!("{input:?}"), &access.endpoint, &access.certificate_authority));
        {
            let mut inner = locked(&self.0);
            let due = inner.due.is_none_or(|due| due <= now) || inner.asked != asked;
            let reached = inner.reached == Some(asked);
            if inner.running || !due {
                return reached;
            }
            inner.running = true;
            (inner.stale, inner.urgent) = (false, false);
            inner.asked = asked;
            inner.due = now.checked_add(LOST).ok();
        }
        let (this, tasks, ctx) = (self.clone(), ctx, ctx.clone());
        let (key, object) = (cluster.uid().unwrap_or_default(), ObjectRef::from_obj(cluster));
        let pass = async move {
            let _running = Running { agent: this.clone(), ctx: ctx.clone(), object: object.clone() };
            let began = Instant::now();
            let result = ctx.workloads.reconcile(&key, &access, &input, SystemTime::now()).await;
            if let Ok(outcome) = &result {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                ctx.metrics.gitops().record_response(namespace, &object.name, Instant::now());
                if outcome.status.is_some() {
                    ctx.watches.keep(&ctx, (&key, &object), &this, input.watched(), &access);
                }
            }
            this.record_result(result, began.elapsed(), Timestamp::now());
        };
        let over = tasks.over.clone();
        tasks.tasks.spawn(async move { over.run_until_cancelled(pass).await });
        locked(&self.0).reached == Some(asked)
    }

    fn record_result(&self, result: Result<GitOpsOutcome, GitOpsError>, took: Duration, now: Timestamp) {
        let mut inner = locked(&self.0);
        let close =
            inner.last.filter(|(ended, _)| now.duration_since(*ended).unsigned_abs() < backoff::IN_A_ROW + took);
        let in_a_row = close.map_or(0, |(_, count)| count.saturating_add(1));
        inner.last = Some((now, in_a_row));
        let (pause, rest) = match result {
            Ok(GitOpsOutcome { status, complete, verdict, changed, released, requeue_after }) => {
                if !changed.is_empty() {
                    inner.news.push(EventMessage::normal("Applied", format!("in the cluster: {}", first_of(&changed))));
                }
                if !released.is_empty() {
                    let message = format!("Git has adopted, and Keelson has let go of: {}", first_of(&released));
                    inner.news.push(EventMessage::normal("HandedOver", message));
                }
                let rest = backoff::rest(took, !changed.is_empty(), in_a_row);
                let pauses = (backoff::pause(requeue_after, verdict.ready, inner.watched), rest);
                if complete && status.is_some() {
                    inner.reached = Some(inner.asked);
                }
                inner.status = status.or(inner.status.take());
                inner.verdict = Some(verdict);
                inner.contact = Some(now);
                inner.unreachable_since = None;
                pauses
            }
            Err(error) => {
                let since = *inner.unreachable_since.get_or_insert(whole_seconds(now));
                let error = error.since(since);
                inner.endpoint_in_doubt = error.endpoint_in_doubt();
                inner.verdict = Some(Verdict::not_ready(error.reason(), error.to_string()));
                (error.requeue_after(), error.requeue_after())
            }
        };
        let after = |pause| now.checked_add(SignedDuration::try_from(pause).unwrap_or(LOST)).ok();
        inner.rests_until = after(rest);
        inner.due = after(pause);
        if inner.stale {
            inner.wake_rested(now);
        }
    }
}

impl Inner {
    fn wake(&mut self, now: Timestamp) {
        if self.running {
            self.stale = true;
        } else {
            self.wake_rested(now);
        }
    }

    fn wake_rested(&mut self, now: Timestamp) {
        let rested = self.rests_until.filter(|_| !self.urgent).map_or(now, |until| until.max(now));
        self.due = Some(self.due.map_or(rested, |due| due.min(rested)));
    }
}

/// As the API server keeps times.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
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
        locked(&self.agent.0).running = false;
        self.ctx.queues.clusters.push(self.object.clone());
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
