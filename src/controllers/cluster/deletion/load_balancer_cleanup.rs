//! Progress of the deletion of a workload's load balancers, within a timeout.
//!
//! The decision is pure. The passes over the workload cluster run in the background, so that an unreachable one
//! delays nothing else. I/O: through [`crate::workload`].

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::agents::{self, pause::pause_all};
use crate::api::EksCluster;
use crate::api::policy::DeletionPolicy;
use crate::controllers::context::Context;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::workload::GitOpsError;
use crate::workload::client::Access;
use crate::workload::drain::{Deleted, Remaining};
use crate::workload::load_balancers;

/// Interval between passes: deleting a load balancer takes about a minute.
pub(super) const PASS_INTERVAL: SignedDuration = SignedDuration::from_secs(2);
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
    /// What the passes deleted.
    deleted: Deleted,
    done: bool,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing blocks the deletion.
    GoOn,
    /// The timeout has expired. Holds what was left.
    GiveUp(String),
    /// Wait for what the message names; and start a pass.
    Wait { pass: bool, message: String },
}

/// `api`: whether the Kubernetes API exists. `since`: when the timeout began to run.
fn decide(state: &State, api: bool, since: Timestamp, timeout: Duration, now: Timestamp) -> Decision {
    let timeout = span(timeout);
    if !api || timeout.is_zero() {
        return Decision::GoOn;
    }
    let left = match &state.result {
        Some(Ok(left)) if left.is_empty() => return Decision::GoOn,
        Some(Ok(left)) => Some(left.describe(now, now.duration_since(since) >= timeout)),
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
        "the load balancers of the workload are deleted first, then Karpenter's nodes: waiting for {left}; at {until} \
         the deletion continues without"
    );
    Decision::Wait { pass, message }
}

/// Progress of each cluster, by UID; its NodeGroups read it, too. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LoadBalancerCleanups(Arc<Mutex<HashMap<String, LoadBalancerCleanup>>>);

/// Progress of one cluster. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadBalancerCleanup(Arc<Mutex<State>>);

impl LoadBalancerCleanups {
    /// The progress of one cluster.
    pub(super) fn of(&self, uid: &str) -> LoadBalancerCleanup {
        self.0.lock().entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets a cluster that is deleted.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Whether the node groups of a cluster whose deletion has started must stay, because its load balancer
    /// controllers run on them.
    pub fn hold_nodes(&self, cluster: &EksCluster, timeout: Duration, now: Timestamp) -> bool {
        let deletion = cluster.status.as_ref().and_then(|status| status.deletion.as_ref());
        let since = deletion.and_then(|deletion| deletion.load_balancers_since(now));
        let (Some(since), Some(uid)) = (since, cluster.uid()) else { return false };
        let policy = deletion.map(|deletion| deletion.effective_policy(cluster.spec.deletion_policy));
        let is_deleted = policy == Some(DeletionPolicy::Delete) && !cluster.spec.suspend;
        let in_time = now.duration_since(since) < span(timeout).saturating_add(SLACK);
        is_deleted && !timeout.is_zero() && !self.of(&uid).is_done() && in_time
    }
}

fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

impl LoadBalancerCleanup {
    /// Whether nothing is waited for any more.
    pub(super) fn is_done(&self) -> bool {
        self.0.lock().done
    }

    /// Records that the deletion is past them: they are deleted, not waited for any longer, or none of this object's.
    pub(super) fn finish(&self) {
        self.0.lock().done = true;
    }

    /// Forgets what passes found before a hold: it may have changed since.
    pub(super) fn restart(&self) {
        self.0.lock().result = None;
    }

    /// Decides what is next, as [`decide`].
    pub(super) fn decide(&self, api: bool, since: Timestamp, timeout: Duration, now: Timestamp) -> Decision {
        let mut state = self.0.lock();
        let decision = decide(&state, api, since, timeout, now);
        state.done = !matches!(decision, Decision::Wait { .. });
        decision
    }

    /// Records that no pass can start.
    pub(super) fn record_failure(&self, why: &str, now: Timestamp) {
        self.0.lock().record_result(Err(why.to_owned()), now);
    }

    /// Starts a pass in the background. When it ends, the cluster is reconciled again.
    pub(super) fn start(&self, ctx: &Arc<Context>, cluster: &EksCluster, access: Access) {
        self.0.lock().running = true;
        let running = Running { cleanup: self.clone(), ctx: ctx.clone(), object: ObjectRef::from_obj(cluster) };
        let key = cluster.uid().unwrap_or_default();
        let pass = async move {
            let workloads = running.ctx.workloads.clone();
            let mut deleted = running.cleanup.0.lock().deleted.clone();
            let pass = async move |client| {
                // The agents would create them again.
                let paused = pause_all(agents::ALL, &client).await?;
                let remaining = load_balancers::delete_exposed(&client, &mut deleted).await?;
                Ok((remaining.settling(paused > 0), deleted))
            };
            let result = workloads.read(&key, &access, SystemTime::now(), pass).await;
            let mut state = running.cleanup.0.lock();
            let result = result.map(|(remaining, deleted)| {
                state.deleted = deleted;
                remaining
            });
            state.record_result(result.map_err(|error: GitOpsError| error.to_string()), Timestamp::now());
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
        self.cleanup.0.lock().running = false;
        self.ctx.queues.clusters.push(self.object.clone(), Trigger::Workload);
    }
}

#[cfg(test)]
#[path = "load_balancer_cleanup_tests.rs"]
mod tests;
