//! The load balancers of a cluster that is to go: its workload is asked to let go of them first, for a time.
//!
//! What is decided is pure; the passes over the workload cluster run beside the reconcile, so that one that does not answer
//! holds up nothing else. I/O: through [`crate::gitops`] and [`crate::resources`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::{Outcome, Reconcile, agent};
use crate::api::policy::DeletionPolicy;
use crate::api::status::EksClusterStatus;
use crate::api::{EksCluster, Reason};
use crate::controllers::context::{Context, locked};
use crate::controllers::events::EventMessage;
use crate::controllers::report::Next;
use crate::controllers::waits::Wait;
use crate::gitops::GitOpsError;
use crate::gitops::load_balancers::{self, Left};
use crate::gitops::workload::{Access, Location};
use crate::resources::cloud::Cloud;
use crate::resources::control_plane;

/// Between two passes: a load balancer takes a minute or so to go.
const AGAIN: SignedDuration = SignedDuration::from_secs(2);
/// What a NodeGroup waits beyond the time, for its cluster to go on.
const SLACK: SignedDuration = SignedDuration::from_secs(30);

/// How far one cluster is.
#[derive(Clone, Debug, Default)]
struct State {
    running: bool,
    /// When the last pass ended.
    passed: Option<Timestamp>,
    /// What it came to.
    seen: Option<Result<Left, String>>,
    done: bool,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing is in the way.
    GoOn,
    /// The time is up. Holds what was left.
    GiveUp(String),
    /// Wait, and what for; and begin a pass.
    Wait { pass: bool, message: String },
}

/// `api`: whether there is one to talk to. `since`: when the deletion began.
fn decide(state: &State, api: bool, since: Timestamp, timeout: Duration, now: Timestamp) -> Decision {
    let timeout = span(timeout);
    if !api || timeout.is_zero() {
        return Decision::GoOn;
    }
    let left = match &state.seen {
        Some(Ok(left)) if left.is_empty() => return Decision::GoOn,
        Some(Ok(left)) => Some(format!("{left} to be gone")),
        Some(Err(error)) => Some(format!("the workload cluster's answer: {error}")),
        None => None,
    };
    if now.duration_since(since) >= timeout {
        // Of a process that began when the time was up, another has tried.
        let tried = state.running || state.seen.is_some();
        let left = left.unwrap_or_else(|| "the workload cluster's answer".to_owned());
        return if tried { Decision::GiveUp(left) } else { Decision::GoOn };
    }
    let pass = !state.running && state.passed.is_none_or(|at| now.duration_since(at) >= AGAIN);
    let until = since.saturating_add(timeout).unwrap_or(since);
    let left = left.unwrap_or_else(|| "the workload cluster's answer".to_owned());
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    let message = format!("load balancers of the workload go first: waiting for {left}; at {until} it goes on without");
    Decision::Wait { pass, message }
}

/// How far each cluster is, by UID: its NodeGroups ask, too.
#[derive(Debug, Default)]
pub struct LoadBalancerCleanups(Mutex<HashMap<String, LoadBalancerCleanup>>);

/// One cluster's. Clones share it.
#[derive(Clone, Debug, Default)]
struct LoadBalancerCleanup(Arc<Mutex<State>>);

impl LoadBalancerCleanups {
    fn of(&self, uid: &str) -> LoadBalancerCleanup {
        locked(&self.0).entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, uid: &str) {
        locked(&self.0).remove(uid);
    }

    /// Whether the node groups of a cluster whose deletion began have to stay, as the controllers of its load balancers run
    /// on them.
    pub fn hold_nodes(&self, cluster: &EksCluster, timeout: Duration, now: Timestamp) -> bool {
        let Some(since) = cluster.status.as_ref().and_then(began) else { return false };
        let goes = cluster.spec.deletion_policy == DeletionPolicy::Delete && !cluster.spec.suspend;
        let in_time = now.duration_since(since) < span(timeout).saturating_add(SLACK);
        goes && in_time && !timeout.is_zero() && cluster.uid().is_some_and(|uid| !locked(&self.of(&uid).0).done)
    }
}

fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn began(status: &EksClusterStatus) -> Option<Timestamp> {
    Some(status.deletion.as_ref()?.began.as_ref()?.0)
}

impl Reconcile<'_> {
    /// Asks the workload to let go of its load balancers. `None`: nothing of it is in the way.
    pub(super) async fn load_balancers(&mut self, previous: &EksClusterStatus, cloud: &Cloud) -> Option<Outcome> {
        let uid = self.owner().uid;
        let clearing = self.ctx.load_balancer_cleanups.of(&uid);
        if locked(&clearing.0).done {
            return None;
        }
        let api = match control_plane::api(cloud, &self.cluster.cluster_name()).await {
            Ok(api) => api,
            Err(failure) => return Some(self.failed(previous, failure)),
        };
        let decision = {
            let mut state = locked(&clearing.0);
            let since = began(previous).unwrap_or(self.now);
            let decision = decide(&state, api.is_some(), since, self.ctx.settings.load_balancer_timeout, self.now);
            state.done = !matches!(decision, Decision::Wait { .. });
            decision
        };
        match decision {
            Decision::GoOn => None,
            Decision::GiveUp(left) => {
                let note =
                    format!("deleted without waiting any longer for {left}: what it had in AWS may be in the way");
                tracing::warn!(cluster = self.owner().cluster, note);
                self.ctx.events.publish(self.cluster, vec![EventMessage::warning(Reason::Deleting, note)]);
                None
            }
            Decision::Wait { pass, message } => {
                if let Some(control_plane::Api { arn, endpoint, certificate_authority }) = api.filter(|_| pass) {
                    let location = Location { arn, endpoint, certificate_authority };
                    match agent::access_at(self.ctx, self.cluster, &cloud.aws, location).await {
                        Some(access) => clearing.start(self.ctx, self.cluster, access),
                        None => locked(&clearing.0).record_result(Err("no credentials for it".to_owned()), self.now),
                    }
                }
                let overall = self.reconciling(Reason::Deleting, message);
                // It ends when the time is up.
                let waits = Some(vec![Wait::planned("the workload's load balancers")]);
                Some(Outcome { waits, ..self.unseen(previous, overall, Next::after(AGAIN, self.now)) })
            }
        }
    }
}

impl LoadBalancerCleanup {
    /// Starts a pass beside this reconcile. At its end the cluster is reconciled again.
    fn start(&self, ctx: &Arc<Context>, cluster: &EksCluster, access: Access) {
        locked(&self.0).running = true;
        let running = Running { clearing: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(cluster) };
        let key = cluster.uid().unwrap_or_default();
        let pass = async move {
            let workloads = running.ctx.workloads.clone();
            let pass = async |client| load_balancers::clear(&client).await;
            let result = workloads.read(&key, &access, SystemTime::now(), pass).await;
            let result = result.map_err(|error: GitOpsError| error.to_string());
            locked(&running.clearing.0).record_result(result, Timestamp::now());
        };
        let over = ctx.term_ended.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }
}

impl State {
    fn record_result(&mut self, result: Result<Left, String>, now: Timestamp) {
        self.seen = Some(result);
        self.passed = Some(now);
    }
}

/// A pass under way. However it ends, the cluster hears of it.
struct Running {
    clearing: LoadBalancerCleanup,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.clearing.0).running = false;
        self.ctx.queues.clusters.push(self.object.clone());
    }
}

#[cfg(test)]
#[path = "load_balancers_tests.rs"]
mod tests;
