//! A term of leadership: watches, queues and reconciles, from acquiring the lease to losing or releasing it.
//!
//! Each reconcile is its own task: a panic ends only that one. I/O: starts tasks that do I/O.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config, ReconcileRequest, applier};
use kube::runtime::reflector::Store;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::apply::Kind;
use super::triggers::{Stores, Triggers, watch_all};
use super::{installation, secrets, unreadable};
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::controllers::context::{Context, Parts, Queue, Queues};
use crate::controllers::drift::events;
use crate::controllers::duration_estimates::EstimateStore;
use crate::controllers::status::report::{self, Next};
use crate::controllers::{account, approvals, cluster, node_group};
use crate::engine::failure::RetryState;
use crate::engine::{Class, Failure};

/// A running term.
pub struct Term {
    ctx: Arc<Context>,
    watches: Vec<JoinHandle<()>>,
    appliers: Vec<JoinHandle<()>>,
    estimate_store: Option<Arc<EstimateStore>>,
}

impl Term {
    /// Starts to watch and reconcile everything.
    pub fn start(client: &kube::Client, setup: impl FnOnce(Stores, Queues) -> Parts) -> Self {
        let (to_clusters, cluster_requests) = unbounded();
        let (to_node_groups, node_group_requests) = unbounded();
        let (to_accounts, account_requests) = unbounded();
        let queues = Queues {
            clusters: Queue::new(to_clusters),
            node_groups: Queue::new(to_node_groups),
            accounts: Queue::new(to_accounts),
        };
        let triggers = Arc::new(Triggers::default());
        let (stores, watches) = watch_all(client, &triggers);
        let ctx = Arc::new(Context::new(setup(stores, queues)));
        let _ = triggers.ctx.set(ctx.clone());
        let mut watches: Vec<_> = watches.into_iter().map(|watch| tokio::spawn(watch)).collect();
        let estimate_store = estimate_store(&ctx);
        watches.extend(estimate_store.clone().map(|estimate_store| tokio::spawn(estimate_store.run())));
        watches.push(tokio::spawn(signal_listed(ctx.clone())));
        watches.push(tokio::spawn(secrets::watch_secrets(ctx.clone())));
        watches.push(tokio::spawn(unreadable::report(ctx.clone())));
        watches.push(tokio::spawn(approvals::watch_approvals(ctx.clone())));
        let queue = ctx.settings.event_queue_url.as_deref().map(|url| ctx.accounts.event_queue(url));
        watches.extend(queue.map(|queue| tokio::spawn(events::poll_queue(ctx.clone(), queue))));
        let (c, g, a) = (ctx.clusters.clone(), ctx.node_groups.clone(), ctx.aws_accounts.clone());
        let appliers = vec![
            tokio::spawn(apply_all(ctx.clone(), c, cluster_requests, |o, ctx| Box::pin(cluster::reconcile(o, ctx)))),
            tokio::spawn(apply_all(ctx.clone(), g, node_group_requests, |o, ctx| {
                Box::pin(node_group::reconcile(o, ctx))
            })),
            tokio::spawn(apply_all(ctx.clone(), a, account_requests, |o, ctx| Box::pin(account::reconcile(o, ctx)))),
        ];
        Self { ctx, watches, appliers, estimate_store }
    }

    /// Completes once all kinds are listed.
    pub fn wait_until_listed(&self) -> impl Future<Output = ()> + Send + 'static {
        // If the term ends first, this never completes; the caller waits for the next term.
        self.ctx.all_listed.clone().cancelled_owned()
    }

    /// Stops accepting work, waits for running reconciles, and stops. Reconciles that exceed `patience` are aborted.
    pub async fn shutdown(self, patience: Duration) {
        let Self { ctx, watches, appliers, estimate_store } = self;
        ctx.queues.clusters.close();
        ctx.queues.node_groups.close();
        ctx.queues.accounts.close();
        ctx.watches.close();
        ctx.tasks.close();
        let running = ctx.tasks.len();
        if running > 0 {
            tracing::info!(running, "waiting for running reconciles");
        }
        if tokio::time::timeout(patience, ctx.tasks.wait()).await.is_err() {
            tracing::warn!(running = ctx.tasks.len(), "aborting running reconciles; the next leader continues");
        }
        // No reconcile may outlive the term: this replica may lead again, and two would handle one object
        // concurrently.
        ctx.term_ended.cancel();
        ctx.tasks.wait().await;
        for task in watches.into_iter().chain(appliers) {
            task.abort();
            // Its last metrics are counted before all metrics of the term are reset.
            let _ = task.await;
        }
        ctx.metrics.clear_leader_metrics();
        if let Some(estimate_store) = estimate_store {
            estimate_store.save_final().await;
        }
    }
}

/// Signals once all kinds are listed and the installation id is loaded.
async fn signal_listed(ctx: Arc<Context>) {
    /// A store wakes only one waiter: this one, or a consumer of its work.
    const RECHECK_INTERVAL: Duration = Duration::from_millis(100);
    let Context { clusters, node_groups, aws_accounts, .. } = &*ctx;
    loop {
        let all = futures::future::try_join3(
            clusters.wait_until_ready(),
            node_groups.wait_until_ready(),
            aws_accounts.wait_until_ready(),
        );
        match tokio::time::timeout(RECHECK_INTERVAL, all).await {
            Ok(Ok(_)) => {
                installation::load(&ctx).await;
                return ctx.all_listed.cancel();
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
    }
}

/// The store of learned durations, if a ConfigMap is configured.
fn estimate_store(ctx: &Context) -> Option<Arc<EstimateStore>> {
    let (namespace, name) = ctx.settings.estimates_configmap.as_ref()?;
    Some(Arc::new(EstimateStore::new(
        ctx.client.clone(),
        (namespace, name),
        ctx.duration_estimates.clone(),
        ctx.gate.clone(),
    )))
}

/// Requeue interval while the kinds are being listed.
const UNLISTED_REQUEUE: Duration = Duration::from_millis(100);

type Reconciler<K> = fn(Arc<K>, Arc<Context>) -> futures::future::BoxFuture<'static, Next>;

/// Reconciles requested objects until the queue is closed.
async fn apply_all<K: Reconciled>(
    ctx: Arc<Context>,
    store: Store<K>,
    requests: UnboundedReceiver<ReconcileRequest<K>>,
    reconcile: Reconciler<K>,
) {
    let config = Config::default().concurrency(ctx.settings.concurrency);
    let counted = store.clone();
    let queue = requests.map(Ok::<_, Infallible>);
    let reconcile_one = move |object: Arc<K>, ctx: Arc<Context>| {
        let count = counted.len();
        Box::pin(async move { Ok::<_, Infallible>(self::reconcile_one(object, ctx, reconcile, count).await) })
    };
    let never = |_: Arc<K>, _: &Infallible, _: Arc<Context>| Action::await_change();
    applier(reconcile_one, never, ctx, store, queue, config).for_each(|_| std::future::ready(())).await;
}

/// Runs one reconcile in its own task.
async fn reconcile_one<K: Reconciled>(
    object: Arc<K>,
    ctx: Arc<Context>,
    reconcile: Reconciler<K>,
    count: usize,
) -> Action {
    if ctx.tasks.is_closed() {
        return Action::await_change();
    }
    if !ctx.all_listed.is_cancelled() {
        // An AwsAccount or NodeGroup that is not listed yet would be treated as missing.
        return Action::requeue(UNLISTED_REQUEUE);
    }
    let uid = object.uid().unwrap_or_default();
    if object.is_steady() && !K::is_registered(&ctx, &uid) {
        let pause = report::spread(&*object, count);
        if K::register(&ctx, &object) && !pause.is_zero() {
            return Action::requeue(pause);
        }
    }
    let (kind, object_name, namespace) = (K::NAME, object.name_any(), object.namespace().unwrap_or_default());
    // Not `name`: JSON log lines use that for the span itself.
    let span = tracing::info_span!("reconcile", kind, namespace, object_name);
    let timer = ctx.metrics.reconcile().start(K::NAME);
    let started = Instant::now();
    let (work, term_ended) = (reconcile(object.clone(), ctx.clone()), ctx.term_ended.clone());
    let task = ctx.tasks.spawn(async move { term_ended.run_until_cancelled(work).await }.instrument(span));
    match task.await {
        Ok(Some(next)) => {
            timer.finish(next.result());
            Action::requeue(next.pause(Timestamp::now()))
        }
        Ok(None) => Action::await_change(),
        Err(error) => {
            timer.finish("panic");
            let elapsed = started.elapsed();
            tracing::error!(kind, namespace, object_name, ?elapsed, %error, "a reconcile panicked: this is a bug in Keelson, please report it; other objects are not affected");
            K::restart(&ctx, &uid).await;
            let failed = RetryState::after(
                None,
                Failure::new(Class::Unknown, "panic"),
                Timestamp::now(),
                report::seed(&*object),
            );
            // Retry slowly: the panic will most likely recur.
            Action::requeue(Next::at(failed.retry_at).pause(Timestamp::now()).max(Duration::from_secs(60)))
        }
    }
}

/// What the queue needs from a kind.
trait Reconciled: Kind {
    /// Whether the last reconcile left nothing to do.
    fn is_steady(&self) -> bool;
    fn is_registered(ctx: &Context, uid: &str) -> bool;
    /// Creates its in-memory state. Returns whether it had none.
    fn register(ctx: &Context, object: &Self) -> bool;
    /// Resets its state after a panic.
    fn restart(ctx: &Context, uid: &str) -> impl Future<Output = ()> + Send;
}

impl Reconciled for EksCluster {
    fn is_steady(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && self
                .status
                .as_ref()
                .is_some_and(|s| report::was_steady(self.metadata.generation, s.observed_generation, &s.conditions))
    }
    fn is_registered(ctx: &Context, uid: &str) -> bool {
        ctx.cluster_states.contains(uid)
    }
    fn register(ctx: &Context, object: &Self) -> bool {
        let resources = object.status.as_ref().map(|status| status.resources.as_slice()).unwrap_or_default();
        let inventory = crate::controllers::status::journal::parse_inventory(resources);
        drop(ctx.cluster_states.of(&object.uid().unwrap_or_default(), || ctx.memory(inventory)));
        true
    }
    async fn restart(ctx: &Context, uid: &str) {
        // Its agent watch reports to the discarded state.
        ctx.watches.end(uid);
        ctx.cluster_states.restart(uid, Timestamp::now()).await;
    }
}

impl Reconciled for NodeGroup {
    fn is_steady(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && self
                .status
                .as_ref()
                .is_some_and(|s| report::was_steady(self.metadata.generation, s.observed_generation, &s.conditions))
    }
    fn is_registered(ctx: &Context, uid: &str) -> bool {
        ctx.node_group_states.contains(uid)
    }
    fn register(ctx: &Context, object: &Self) -> bool {
        drop(ctx.node_group_states.of(&object.uid().unwrap_or_default(), || ctx.memory(node_group::recorded(object))));
        true
    }
    async fn restart(ctx: &Context, uid: &str) {
        ctx.node_group_states.restart(uid, Timestamp::now()).await;
    }
}

impl Reconciled for AwsAccount {
    fn is_steady(&self) -> bool {
        false
    }
    fn is_registered(_: &Context, _: &str) -> bool {
        true
    }
    fn register(_: &Context, _: &Self) -> bool {
        false
    }
    async fn restart(ctx: &Context, uid: &str) {
        ctx.account_states.restart(uid, Timestamp::now()).await;
    }
}

#[cfg(test)]
#[path = "leadership_term_tests.rs"]
mod tests;
