//! The cluster's GitOps agent. Its Secrets are read here. Its passes run in the background, so that an unreachable
//! workload cluster never delays work in AWS. A pass is due after an interval, or when a watch reports a change. I/O:
//! the management cluster's Secrets; the rest through [`crate::workload`].

mod agent_events;
pub mod agent_version_state;
mod backoff;
pub mod held_revision;
mod own_cni;
pub mod part;
mod secrets;
pub mod steps;
mod watches;
mod workload_access;

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

pub use agent_events::AgentEvents;
use secrets::Reader;
pub use watches::Watches;
pub use workload_access::{access, access_at, access_of, facts, locate};

use crate::agents::agent::ValidSpec;
use crate::agents::secret_reader::{Missing, UnusableSecret};
use crate::agents::{self, AgentInput, GitOpsOutcome, Verdict, sync_outcome};
use crate::api::conditions::ConditionStatus;
use crate::api::listing::first_few;
use crate::api::status_cluster::GitOpsStatus;
use crate::api::stored_time::whole_seconds;
use crate::api::{EksCluster, Reason};
use crate::controllers::context::Context;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::runtime::kind_watch::digest;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::controllers::status::conditions::ConditionValue;
use crate::workload::client::Access;
use crate::workload::error::{GitOpsError, MESSAGE, bounded};

/// How long read Secrets stay valid: consecutive passes during an operation do not read them again.
const SECRETS_TTL: Duration = Duration::from_secs(10);
/// The same where a watch reports changes.
const SECRETS_WATCHED_TTL: Duration = Duration::from_secs(600);
/// Retry interval for a missing Secret.
pub const SECRET_RETRY: SignedDuration = SignedDuration::from_secs(15);
/// Polling interval for Secrets that no watch covers.
pub const SECRETS_POLL_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// Objects that an event names.
const MAX_NAMED: usize = 5;
/// After a pass that ended without a result (a panic).
const PANIC_RETRY: SignedDuration = SignedDuration::from_secs(60);

/// In-memory state of a cluster's agent, shared with the background pass.
#[derive(Clone, Default)]
pub struct Agent(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    /// Something changed after the running pass started.
    stale: bool,
    /// The change is urgent.
    urgent: bool,
    /// When the next pass starts.
    due: Option<Timestamp>,
    /// Earliest start of the next pass, however many changes there are.
    earliest_start: Option<Timestamp>,
    /// When the last pass ended, and how many consecutive ones preceded it.
    last: Option<(Timestamp, u32)>,
    /// Whether the agent's objects are watched.
    watched: bool,
    /// Why the watch failed, until it works again.
    watch_error: Option<String>,
    /// Hash of the input of the last pass.
    input_hash: u64,
    verdict: Option<Verdict>,
    /// The last verdict of the process before this one: it counts until a pass has ended.
    restored: Option<Verdict>,
    status: Option<GitOpsStatus>,
    /// When the cluster last answered.
    contact: Option<Timestamp>,
    unreachable_since: Option<Timestamp>,
    endpoint_in_doubt: bool,
    events: Vec<EventMessage>,
    secrets: Option<Read>,
    /// The input when the Secrets were last valid.
    last_good: Option<AgentInput>,
    /// Hash of the input of the last pass that found the whole agent applied.
    reached: Option<u64>,
}

/// A completed read of the Secrets.
struct Read {
    at: Instant,
    /// Hash of the requested input.
    input_hash: u64,
    /// The Secrets' change counter before the read.
    changes: u64,
    result: Result<AgentInput, UnusableSecret>,
}

/// The agent's current state.
pub struct AgentReport {
    /// Value of GitOpsReady.
    pub condition: ConditionValue,
    /// Value of `status.gitops`.
    pub status: Option<GitOpsStatus>,
    /// Since when the cluster has been unreachable.
    pub unreachable_since: Option<Timestamp>,
    /// When to requeue.
    pub due: Option<Timestamp>,
    /// Events to publish.
    pub events: Vec<EventMessage>,
    /// The endpoint or its CA may have changed: observe the control plane.
    pub endpoint_in_doubt: bool,
}

impl Agent {
    /// Everything to apply except the facts, with the referenced Secrets.
    pub async fn input(
        &self,
        ctx: &Context,
        cluster: &EksCluster,
        valid: &dyn ValidSpec,
    ) -> Result<AgentInput, Missing> {
        let uid = cluster.uid().unwrap_or_default();
        let (input_hash, changes) = (digest(format!("{valid:?}")), ctx.secrets.change_count(&uid));
        {
            let mut inner = self.0.lock();
            if let Some(read) = &inner.secrets {
                let kept =
                    if ctx.secrets.are_watched() && read.result.is_ok() { SECRETS_WATCHED_TTL } else { SECRETS_TTL };
                if read.changes != changes {
                    // Rare, and a user waits for it.
                    inner.urgent = true;
                    inner.schedule_pass(Timestamp::now());
                } else if read.input_hash == input_hash && read.at.elapsed() < kept {
                    return read.result.clone().map_err(Missing::Unusable);
                }
            }
        }
        let result = match valid.input(&Reader::new(ctx, cluster)).await {
            Ok(input) => Ok(input),
            Err(Missing::Unusable(unusable)) => Err(unusable),
            Err(unread) => return Err(unread),
        };
        let mut inner = self.0.lock();
        if let Ok(input) = &result {
            inner.last_good = Some(input.clone());
        }
        inner.secrets = Some(Read { at: Instant::now(), input_hash, changes, result: result.clone() });
        result.map_err(Missing::Unusable)
    }

    /// The input when its Secrets were last valid.
    pub fn last_good(&self) -> Option<AgentInput> {
        self.0.lock().last_good.clone()
    }

    /// Discards what is known, so that everything is observed again.
    pub fn forget(&self) {
        let mut inner = self.0.lock();
        inner.due = None;
        inner.secrets = None;
    }

    /// Pauses the agent's passes; the next one is due when they resume.
    pub fn pause(&self) {
        let mut inner = self.0.lock();
        (inner.due, inner.watched, inner.watch_error) = (None, false, None);
    }

    /// Restores what the status says from before this process started. `condition`: the last GitOpsReady.
    pub fn restore(&self, status: Option<&GitOpsStatus>, condition: Option<&Condition>) {
        let mut inner = self.0.lock();
        if inner.verdict.is_none() {
            inner.unreachable_since = status.and_then(|status| Some(status.unreachable_since.as_ref()?.0));
            inner.restored = status.and(condition).and_then(last_verdict);
        }
    }

    /// Records that the agent's objects are watched.
    fn watched(&self, now: Timestamp) {
        let mut inner = self.0.lock();
        (inner.watched, inner.watch_error) = (true, None);
        inner.contact = Some(now);
    }

    /// Records that they cannot be watched.
    fn watch_failed(&self, why: &str) {
        let mut inner = self.0.lock();
        (inner.watched, inner.watch_error) = (false, Some(bounded(why, MESSAGE)));
    }

    /// Records a change, which makes a pass due. Returns when; `None`: another pass follows the running one.
    fn request_pass(&self, now: Timestamp) -> Option<Timestamp> {
        let mut inner = self.0.lock();
        inner.schedule_pass(now);
        inner.due.filter(|_| !inner.running)
    }

    /// The last report; each event appears only once.
    pub fn report(&self) -> AgentReport {
        let mut inner = self.0.lock();
        let condition = match inner.verdict.as_ref().or(inner.restored.as_ref()) {
            None => ConditionValue::false_(Reason::Creating, "the agent is installed once the control plane exists"),
            Some(Verdict { ready: true, reason, message }) => ConditionValue::true_(*reason, message),
            Some(Verdict { ready: false, reason, message }) => ConditionValue::false_(*reason, message),
        };
        let due = if inner.running { None } else { inner.due };
        let contact = inner.contact;
        let watch_error = inner.watch_error.clone();
        let status = inner.status.clone();
        let status = status.map(|status| GitOpsStatus { last_contact: contact.map(Time), watch_error, ..status });
        AgentReport {
            condition,
            status,
            unreachable_since: inner.unreachable_since,
            due,
            events: std::mem::take(&mut inner.events),
            endpoint_in_doubt: std::mem::take(&mut inner.endpoint_in_doubt),
        }
    }

    /// Starts a pass in the background if one is due. When it ends, the cluster is reconciled again. Returns true if
    /// a pass with this exact input found the agent applied.
    pub fn start_sync(
        &self,
        (ctx, watches): (&Arc<Context>, &Arc<Watches>),
        cluster: &EksCluster,
        input: AgentInput,
        access: Access,
        now: Timestamp,
    ) -> bool {
        let input_hash = digest((format!("{input:?}"), &access.endpoint, &access.certificate_authority));
        {
            let mut inner = self.0.lock();
            let due = inner.due.is_none_or(|due| due <= now) || inner.input_hash != input_hash;
            let reached = inner.reached == Some(input_hash);
            if inner.running || !due {
                return reached;
            }
            inner.running = true;
            (inner.stale, inner.urgent) = (false, false);
            inner.input_hash = input_hash;
            inner.due = now.checked_add(PANIC_RETRY).ok();
        }
        let (this, tasks, ctx, watches) = (self.clone(), ctx, ctx.clone(), watches.clone());
        let (key, object) = (cluster.uid().unwrap_or_default(), ObjectRef::from_obj(cluster));
        let pass = async move {
            let _running = Running { agent: this.clone(), ctx: ctx.clone(), object: object.clone() };
            let started = Instant::now();
            let result =
                sync_outcome::reconcile(&ctx.workloads, agents::ALL, (&key, &access), &*input, SystemTime::now()).await;
            if let Ok(outcome) = &result {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                ctx.metrics.gitops().record_response(namespace, &object.name, Instant::now());
                if outcome.status.is_some() {
                    watches.ensure(&ctx, (&key, &object), &this, input.watched(), &access);
                }
            }
            this.record_result(result, started.elapsed(), Timestamp::now());
        };
        let over = tasks.term_ended.clone();
        tasks.tasks.spawn(async move { over.run_until_cancelled(pass).await });
        self.0.lock().reached == Some(input_hash)
    }

    fn record_result(&self, result: Result<GitOpsOutcome, GitOpsError>, took: Duration, now: Timestamp) {
        let mut inner = self.0.lock();
        let close =
            inner.last.filter(|(ended, _)| now.duration_since(*ended).unsigned_abs() < backoff::CONSECUTIVE + took);
        let consecutive = close.map_or(0, |(_, count)| count.saturating_add(1));
        inner.last = Some((now, consecutive));
        let (pause, min_pause) = match result {
            Ok(GitOpsOutcome { status, complete, verdict, changed, released, requeue_after }) => {
                if !changed.is_empty() {
                    inner.events.push(EventMessage::normal(
                        "Applied",
                        format!("in the cluster: {}", first_few(&changed, MAX_NAMED)),
                    ));
                }
                if !released.is_empty() {
                    let message =
                        format!("Git has adopted and Keelson has released: {}", first_few(&released, MAX_NAMED));
                    inner.events.push(EventMessage::normal("HandedOver", message));
                }
                let min_pause = backoff::min_pause(took, !changed.is_empty(), consecutive);
                let pauses = (backoff::pause(requeue_after, verdict.ready, inner.watched), min_pause);
                if complete && status.is_some() {
                    inner.reached = Some(inner.input_hash);
                }
                inner.status = status.or(inner.status.take());
                inner.verdict = Some(verdict);
                inner.contact = Some(now);
                inner.unreachable_since = None;
                pauses
            }
            Err(error) => {
                let since = *inner.unreachable_since.get_or_insert(whole_seconds(now).0);
                let error = error.since(since);
                inner.endpoint_in_doubt = error.endpoint_may_have_changed();
                inner.verdict = Some(Verdict::not_ready(error.reason(), error.to_string()));
                (error.requeue_after(), error.requeue_after())
            }
        };
        let after = |pause| now.checked_add(SignedDuration::try_from(pause).unwrap_or(PANIC_RETRY)).ok();
        inner.earliest_start = after(min_pause);
        inner.due = after(pause);
        if inner.stale {
            inner.schedule_after_pause(now);
        }
    }
}

impl Inner {
    fn schedule_pass(&mut self, now: Timestamp) {
        if self.running {
            self.stale = true;
        } else {
            self.schedule_after_pause(now);
        }
    }

    fn schedule_after_pause(&mut self, now: Timestamp) {
        let start = self.earliest_start.filter(|_| !self.urgent).map_or(now, |until| until.max(now));
        self.due = Some(self.due.map_or(start, |due| due.min(start)));
    }
}

/// A running pass. However it ends, the cluster is requeued.
struct Running {
    agent: Agent,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.agent.0.lock().running = false;
        self.ctx.queues.clusters.push(self.object.clone(), Trigger::Workload);
    }
}

/// The verdict that a condition tells, if it was one of an installed agent: a restart alone changes nothing of it.
fn last_verdict(condition: &Condition) -> Option<Verdict> {
    let reason = Reason::parse(&condition.reason)?;
    let ready = condition.status == ConditionStatus::True.as_str();
    let is_verdict = ready || matches!(reason, Reason::SyncFailed | Reason::WaitingForSync | Reason::AgentUnreachable);
    is_verdict.then(|| Verdict { ready, reason, message: condition.message.clone() })
}

pub mod roll_up;

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
