//! A term of leadership: the watches, the queues and the reconciles, from taking the lease to giving it up.
//!
//! Every reconcile is a task of its own: a panic in one ends that one only. I/O: starts what does.

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
use super::context::{Context, Parts, Queue, Queues};
use super::expectations::Keeper;
use super::report::{self, Next};
use super::triggers::{Stores, Triggers, watch_all};
use super::{account, approvals, cluster, drift_events, installation, node_group, secrets, unreadable};
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::engine::failure::RetryState;
use crate::engine::{Class, Failure};

/// A term under way.
pub struct Term {
    ctx: Arc<Context>,
    watches: Vec<JoinHandle<()>>,
    appliers: Vec<JoinHandle<()>>,
    keeper: Option<Arc<Keeper>>,
}

impl Term {
    /// Begins: watches everything, and reconciles it.
    pub fn start(client: &kube::Client, setup: impl FnOnce(Stores, Queues) -> Parts) -> Self {
        let (to_clusters, clusters_asked) = unbounded();
        let (to_groups, groups_asked) = unbounded();
        let (to_accounts, accounts_asked) = unbounded();
        let queues = Queues {
            clusters: Queue::new(to_clusters),
            node_groups: Queue::new(to_groups),
            accounts: Queue::new(to_accounts),
        };
        let triggers = Arc::new(Triggers::default());
        let (stores, watches) = watch_all(client, &triggers);
        let ctx = Arc::new(Context::new(setup(stores, queues)));
        let _ = triggers.ctx.set(ctx.clone());
        let mut watches: Vec<_> = watches.into_iter().map(|watch| tokio::spawn(watch)).collect();
        let keeper = keeper(&ctx);
        watches.extend(keeper.clone().map(|keeper| tokio::spawn(keeper.keep())));
        watches.push(tokio::spawn(listed(ctx.clone())));
        watches.push(tokio::spawn(secrets::follow(ctx.clone())));
        watches.push(tokio::spawn(unreadable::report(ctx.clone())));
        watches.push(tokio::spawn(approvals::follow(ctx.clone())));
        let queue = ctx.settings.event_queue_url.as_deref().map(|url| ctx.accounts.event_queue(url));
        watches.extend(queue.map(|queue| tokio::spawn(drift_events::follow(ctx.clone(), queue))));
        let (c, g, a) = (ctx.clusters.clone(), ctx.node_groups.clone(), ctx.aws_accounts.clone());
        let appliers = vec![
            tokio::spawn(apply_all(ctx.clone(), c, clusters_asked, |o, ctx| Box::pin(cluster::reconcile(o, ctx)))),
            tokio::spawn(apply_all(ctx.clone(), g, groups_asked, |o, ctx| Box::pin(node_group::reconcile(o, ctx)))),
            tokio::spawn(apply_all(ctx.clone(), a, accounts_asked, |o, ctx| Box::pin(account::reconcile(o, ctx)))),
        ];
        Self { ctx, watches, appliers, keeper }
    }

    /// Returns when everything was listed once.
    pub fn synced(&self) -> impl Future<Output = ()> + Send + 'static {
        // A term that ends before never is: whoever waits for this waits for the next.
        self.ctx.listed.clone().cancelled_owned()
    }

    /// Takes no more work, lets what is under way end, and stops; what is not done after `patience` is given up.
    pub async fn end(self, patience: Duration) {
        let Self { ctx, watches, appliers, keeper } = self;
        ctx.queues.clusters.close();
        ctx.queues.node_groups.close();
        ctx.queues.accounts.close();
        ctx.watches.close();
        ctx.tasks.close();
        let left = ctx.tasks.len();
        if left > 0 {
            tracing::info!(left, "waiting for reconciles under way");
        }
        if tokio::time::timeout(patience, ctx.tasks.wait()).await.is_err() {
            tracing::warn!(left = ctx.tasks.len(), "reconciles under way are given up: the next replica goes on");
        }
        // None may outlive the term: this replica may lead again, and the same object would be reconciled twice at once.
        ctx.over.cancel();
        ctx.tasks.wait().await;
        for task in watches.into_iter().chain(appliers) {
            task.abort();
            // What it counted last is counted before all is forgotten.
            let _ = task.await;
        }
        ctx.metrics.clear_leader_metrics();
        if let Some(keeper) = keeper {
            keeper.last().await;
        }
    }
}

/// Says so once everything was listed.
async fn listed(ctx: Arc<Context>) {
    /// A store wakes one of those who wait for it: this one, and whoever takes work from it.
    const AGAIN: Duration = Duration::from_millis(100);
    let Context { clusters, node_groups, aws_accounts, .. } = &*ctx;
    loop {
        let all = futures::future::try_join3(
            clusters.wait_until_ready(),
            node_groups.wait_until_ready(),
            aws_accounts.wait_until_ready(),
        );
        match tokio::time::timeout(AGAIN, all).await {
            Ok(Ok(_)) => {
                installation::learn(&ctx).await;
                return ctx.listed.cancel();
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
    }
}

/// What keeps that which was learned, when it is to be kept.
fn keeper(ctx: &Context) -> Option<Arc<Keeper>> {
    let (namespace, name) = ctx.settings.learned_in.as_ref()?;
    Some(Arc::new(Keeper::new(ctx.client.clone(), (namespace, name), ctx.learned.clone(), ctx.gate.clone())))
}

/// How soon an object is looked at again while the kinds are listed.
const UNLISTED_AGAIN: Duration = Duration::from_millis(100);

type Reconciler<K> = fn(Arc<K>, Arc<Context>) -> futures::future::BoxFuture<'static, Next>;

/// Reconciles what is asked for until the queue is closed.
async fn apply_all<K: Reconciled>(
    ctx: Arc<Context>,
    store: Store<K>,
    asked: UnboundedReceiver<ReconcileRequest<K>>,
    reconcile: Reconciler<K>,
) {
    let config = Config::default().concurrency(ctx.settings.concurrency);
    let counted = store.clone();
    let queue = asked.map(Ok::<_, Infallible>);
    let one = move |object: Arc<K>, ctx: Arc<Context>| {
        let count = counted.len();
        Box::pin(async move { Ok::<_, Infallible>(one(object, ctx, reconcile, count).await) })
    };
    let never = |_: Arc<K>, _: &Infallible, _: Arc<Context>| Action::await_change();
    applier(one, never, ctx, store, queue, config).for_each(|_| std::future::ready(())).await;
}

/// One reconcile as a task of its own.
async fn one<K: Reconciled>(object: Arc<K>, ctx: Arc<Context>, reconcile: Reconciler<K>, count: usize) -> Action {
    if ctx.tasks.is_closed() {
        return Action::await_change();
    }
    if !ctx.listed.is_cancelled() {
        // Of an AwsAccount or a NodeGroup that is not listed yet it would be concluded that there is none.
        return Action::requeue(UNLISTED_AGAIN);
    }
    let uid = object.uid().unwrap_or_default();
    if object.is_steady() && !K::known(&ctx, &uid) {
        let pause = report::spread(&*object, count);
        if K::register(&ctx, &object) && !pause.is_zero() {
            return Action::requeue(pause);
        }
    }
    let (kind, object_name, namespace) = (K::NAME, object.name_any(), object.namespace().unwrap_or_default());
    // Not `name`: that is the span's own in a line of JSON.
    let span = tracing::info_span!("reconcile", kind, namespace, object_name);
    let timer = ctx.metrics.reconcile().start(K::NAME);
    let began = Instant::now();
    let (work, over) = (reconcile(object.clone(), ctx.clone()), ctx.over.clone());
    let task = ctx.tasks.spawn(async move { over.run_until_cancelled(work).await }.instrument(span));
    match task.await {
        Ok(Some(next)) => {
            timer.finish(next.result());
            Action::requeue(next.pause(Timestamp::now()))
        }
        Ok(None) => Action::await_change(),
        Err(error) => {
            timer.finish("panic");
            let after = began.elapsed();
            tracing::error!(kind, namespace, object_name, ?after, %error, "a reconcile ended in a panic: this is an error in Keelson, please report it; others go on");
            K::restart(&ctx, &uid).await;
            let failed = RetryState::after(
                None,
                Failure::new(Class::Unknown, "panic"),
                Timestamp::now(),
                report::seed(&*object),
            );
            // Slowly: what it was about will most likely happen again.
            Action::requeue(Next::at(failed.retry_at).pause(Timestamp::now()).max(Duration::from_secs(60)))
        }
    }
}

/// What the queue needs to know of a kind.
trait Reconciled: Kind {
    /// Nothing was left to do when it was last looked at.
    fn is_steady(&self) -> bool;
    fn known(ctx: &Context, uid: &str) -> bool;
    /// Makes it known. True: it was not.
    fn register(ctx: &Context, object: &Self) -> bool;
    /// After a panic of its reconcile.
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
    fn known(ctx: &Context, uid: &str) -> bool {
        ctx.cluster_states.knows(uid)
    }
    fn register(ctx: &Context, object: &Self) -> bool {
        let resources = object.status.as_ref().map(|status| status.resources.as_slice()).unwrap_or_default();
        let inventory = super::journal::recorded(resources);
        drop(ctx.cluster_states.of(&object.uid().unwrap_or_default(), || ctx.memory(inventory)));
        true
    }
    async fn restart(ctx: &Context, uid: &str) {
        // Its watch reports to the agent that is forgotten.
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
    fn known(ctx: &Context, uid: &str) -> bool {
        ctx.node_group_states.knows(uid)
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
    fn known(_: &Context, _: &str) -> bool {
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
