//! The load balancers of a cluster that is deleted: before anything else, the workload cluster deletes them, within a
//! timeout.
//!
//! The decision is pure. The passes over the workload cluster run in the background, so that an unreachable one
//! delays nothing else. I/O: through [`crate::workload`] and [`crate::resources`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::api::policy::DeletionPolicy;
use crate::api::status::EksClusterStatus;
use crate::api::{EksCluster, Reason};
use crate::controllers::cluster::{Outcome, Reconcile, agent};
use crate::controllers::context::{Context, locked};
use crate::controllers::runtime::events::EventMessage;
use crate::controllers::status::report::Next;
use crate::controllers::status::waits::Wait;
use crate::resources::cloud::Cloud;
use crate::resources::eks::control_plane;
use crate::workload::GitOpsError;
use crate::workload::client::{Access, Location};
use crate::workload::load_balancers::{self, Remaining};

/// Interval between passes: deleting a load balancer takes about a minute.
const PASS_INTERVAL: SignedDuration = SignedDuration::from_secs(2);
/// How long a NodeGroup waits beyond the timeout for its cluster to continue.
const SLACK: SignedDuration = SignedDuration::from_secs(30);

/// Progress of one cluster.
#[derive(Clone, Debug, Default)]
struct State {
    running: bool,
    /// When the last pass ended.
    last_pass: Option<Timestamp>,
    /// Its result.
    result: Option<Result<Remaining, String>>,
    done: bool,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing blocks the deletion.
    GoOn,
    /// The timeout has expired. Holds what was left.
    GiveUp(String),
    /// Wait for what the message names; and start a pass.
    Wait { pass: bool, message: String },
}

/// `api`: whether the Kubernetes API exists. `since`: when the deletion started.
fn decide(state: &State, api: bool, since: Timestamp, timeout: Duration, now: Timestamp) -> Decision {
    let timeout = span(timeout);
    if !api || timeout.is_zero() {
        return Decision::GoOn;
    }
    let left = match &state.result {
        Some(Ok(left)) if left.is_empty() => return Decision::GoOn,
        Some(Ok(left)) => Some(format!("{left} to be deleted")),
        Some(Err(error)) => Some(format!("the workload cluster's answer: {error}")),
        None => None,
    };
    if now.duration_since(since) >= timeout {
        // If this process started after the timeout, the previous one has tried.
        let tried = state.running || state.result.is_some();
        let left = left.unwrap_or_else(|| "the workload cluster's answer".to_owned());
        return if tried { Decision::GiveUp(left) } else { Decision::GoOn };
    }
    let pass = !state.running && state.last_pass.is_none_or(|at| now.duration_since(at) >= PASS_INTERVAL);
    let until = since.saturating_add(timeout).unwrap_or(since);
    let left = left.unwrap_or_else(|| "the workload cluster's answer".to_owned());
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    let message = format!(
        "the load balancers of the workload are deleted first: waiting for {left}; at {until} the deletion continues \
         without"
    );
    Decision::Wait { pass, message }
}

/// Progress of each cluster, by UID; its NodeGroups read it, too.
#[derive(Debug, Default)]
pub struct LoadBalancerCleanups(Mutex<HashMap<String, LoadBalancerCleanup>>);

/// Progress of one cluster. Clones share it.
#[derive(Clone, Debug, Default)]
struct LoadBalancerCleanup(Arc<Mutex<State>>);

impl LoadBalancerCleanups {
    fn of(&self, uid: &str) -> LoadBalancerCleanup {
        locked(&self.0).entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets a cluster that is deleted.
    pub fn forget(&self, uid: &str) {
        locked(&self.0).remove(uid);
    }

    /// Whether the node groups of a cluster whose deletion has started must stay, because its load balancer
    /// controllers run on them.
    pub fn hold_nodes(&self, cluster: &EksCluster, timeout: Duration, now: Timestamp) -> bool {
        let Some(since) = cluster.status.as_ref().and_then(started_at) else { return false };
        let is_deleted = cluster.spec.deletion_policy == DeletionPolicy::Delete && !cluster.spec.suspend;
        let in_time = now.duration_since(since) < span(timeout).saturating_add(SLACK);
        is_deleted && in_time && !timeout.is_zero() && cluster.uid().is_some_and(|uid| !locked(&self.of(&uid).0).done)
    }
}

fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn started_at(status: &EksClusterStatus) -> Option<Timestamp> {
    Some(status.deletion.as_ref()?.began.as_ref()?.0)
}

impl Reconcile<'_> {
    /// Makes the workload cluster delete its load balancers. `None`: none of them blocks the deletion.
    pub(crate) async fn load_balancers(&mut self, previous: &EksClusterStatus, cloud: &Cloud) -> Option<Outcome> {
        let uid = self.owner().uid;
        let cleanup = self.ctx.load_balancer_cleanups.of(&uid);
        if locked(&cleanup.0).done {
            return None;
        }
        let api = match control_plane::api(cloud, &self.cluster.cluster_name()).await {
            Ok(api) => api,
            Err(failure) => return Some(self.failed(previous, failure)),
        };
        let decision = {
            let mut state = locked(&cleanup.0);
            let since = started_at(previous).unwrap_or(self.now);
            let decision = decide(&state, api.is_some(), since, self.ctx.settings.load_balancer_timeout, self.now);
            state.done = !matches!(decision, Decision::Wait { .. });
            decision
        };
        match decision {
            Decision::GoOn => None,
            Decision::GiveUp(left) => {
                let note = format!(
                    "the deletion continues without waiting any longer for {left}: its resources in AWS may block it"
                );
                tracing::warn!(cluster = self.owner().cluster, note);
                self.ctx.events.publish(self.cluster, vec![EventMessage::warning(Reason::Deleting, note)]);
                None
            }
            Decision::Wait { pass, message } => {
                if let Some(control_plane::Api { arn, endpoint, certificate_authority }) = api.filter(|_| pass) {
                    let location = Location { arn, endpoint, certificate_authority };
                    match agent::access_at(self.ctx, self.cluster, &cloud.aws, location).await {
                        Some(access) => cleanup.start(self.ctx, self.cluster, access),
                        None => locked(&cleanup.0)
                            .record_result(Err("no credentials for the workload cluster".to_owned()), self.now),
                    }
                }
                let overall = self.reconciling(Reason::Deleting, message);
                // It ends at the timeout.
                let waits = Some(vec![Wait::planned("the workload's load balancers")]);
                Some(Outcome { waits, ..self.unobserved(previous, overall, Next::after(PASS_INTERVAL, self.now)) })
            }
        }
    }
}

impl LoadBalancerCleanup {
    /// Starts a pass in the background. When it ends, the cluster is reconciled again.
    fn start(&self, ctx: &Arc<Context>, cluster: &EksCluster, access: Access) {
        locked(&self.0).running = true;
        let running = Running { cleanup: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(cluster) };
        let key = cluster.uid().unwrap_or_default();
        let pass = async move {
            let workloads = running.ctx.workloads.clone();
            let pass = async |client| load_balancers::delete_exposed(&client).await;
            let result = workloads.read(&key, &access, SystemTime::now(), pass).await;
            let result = result.map_err(|error: GitOpsError| error.to_string());
            locked(&running.cleanup.0).record_result(result, Timestamp::now());
        };
        let over = ctx.term_ended.clone();
        ctx.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }
}

impl State {
    fn record_result(&mut self, result: Result<Remaining, String>, now: Timestamp) {
        self.result = Some(result);
        self.last_pass = Some(now);
    }
}

/// A running pass. However it ends, the cluster is requeued.
struct Running {
    cleanup: LoadBalancerCleanup,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.cleanup.0).running = false;
        self.ctx.queues.clusters.push(self.object.clone());
    }
}

#[cfg(test)]
#[path = "load_balancers_tests.rs"]
mod tests;
