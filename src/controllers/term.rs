//! A term of leadership: the watches, the queues and the reconciles, from taking the lease to giving it up.
//!
//! Every reconcile is a task of its own: a panic in one ends that one only. I/O: starts what does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use jiff::Timestamp;
use kube::runtime::controller::{Action, Config, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::apply::Kind;
use super::context::{Context, Parts, Queue, Queues};
use super::expectations::Keeper;
use super::report::{self, Next};
use super::watch::{Change, watched};
use super::{account, approvals, cluster, drift_events, node_group, secrets};
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::engine::failure::Failed;
use crate::engine::{Class, Failure};

/// The stores of all kinds.
#[allow(missing_docs)]
pub struct Stores {
    pub clusters: Store<EksCluster>,
    pub node_groups: Store<NodeGroup>,
    pub aws_accounts: Store<AwsAccount>,
}

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
        }
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
            Ok(Ok(_)) => return ctx.listed.cancel(),
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

/// Who hears of whom.
#[derive(Default)]
struct Triggers {
    ctx: std::sync::OnceLock<Arc<Context>>,
}

type Watch = futures::future::BoxFuture<'static, ()>;

fn watch_all(client: &kube::Client, triggers: &Arc<Triggers>) -> (Stores, Vec<Watch>) {
    let to = triggers.clone();
    let (clusters, of_clusters) =
        watched(Api::all(client.clone()), cluster::view::shown, move |change| to.of_cluster(change));
    let to = triggers.clone();
    let (node_groups, of_groups) =
        watched(Api::all(client.clone()), cluster::view::node_group_shown, move |change| to.of_node_group(change));
    let to = triggers.clone();
    let (aws_accounts, of_accounts) =
        watched(Api::all(client.clone()), account::shown, move |change| to.of_account(change));
    let watches: Vec<Watch> = vec![Box::pin(of_clusters), Box::pin(of_groups), Box::pin(of_accounts)];
    (Stores { clusters, node_groups, aws_accounts }, watches)
}

impl Triggers {
    fn of_cluster(&self, change: Change<'_, EksCluster>) {
        let Some(ctx) = self.ctx.get() else { return };
        match change {
            Change::Own(cluster) => ctx.queues.clusters.push(ObjectRef::from_obj(cluster)),
            Change::Shown(cluster) => groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any()),
            Change::Gone { object, uid, .. } => {
                forget(ctx, EksCluster::NAME, ctx.cluster_states.forget(uid));
                ctx.workloads.forget(uid);
                ctx.news.take(uid);
                ctx.clearings.forget(uid);
                ctx.secrets.gone(uid);
                ctx.watches.end(uid);
                ctx.metrics.gitops().forget(object.namespace.as_deref().unwrap_or_default(), &object.name);
                groups_of(ctx, object.namespace.as_deref(), &object.name);
            }
        }
    }

    fn of_node_group(&self, change: Change<'_, NodeGroup>) {
        let Some(ctx) = self.ctx.get() else { return };
        let cluster = |name: &str, namespace: Option<String>| {
            let cluster = ObjectRef::new(name);
            ctx.queues.clusters.push(match namespace {
                Some(namespace) => cluster.within(&namespace),
                None => cluster,
            });
        };
        match change {
            Change::Own(group) => ctx.queues.node_groups.push(ObjectRef::from_obj(group)),
            Change::Shown(group) => cluster(&group.spec.cluster_ref.name, group.namespace()),
            Change::Gone { object, uid, part_of } => {
                forget(ctx, NodeGroup::NAME, ctx.node_group_states.forget(uid));
                ctx.news.take(uid);
                cluster(part_of, object.namespace.clone());
            }
        }
    }

    fn of_account(&self, change: Change<'_, AwsAccount>) {
        let Some(ctx) = self.ctx.get() else { return };
        match change {
            Change::Own(account) => ctx.queues.accounts.push(ObjectRef::from_obj(account)),
            Change::Shown(account) => users_of(ctx, &account.name_any()),
            Change::Gone { object, uid, .. } => {
                forget(ctx, AwsAccount::NAME, ctx.account_states.forget(uid));
                users_of(ctx, &object.name);
            }
        }
    }
}

fn groups_of(ctx: &Context, namespace: Option<&str>, cluster: &str) {
    for group in ctx.node_groups_of(namespace.unwrap_or_default(), cluster) {
        ctx.queues.node_groups.push(ObjectRef::from_obj(&*group));
    }
}

/// The clusters that refer to an account; their node groups follow through what they show.
fn users_of(ctx: &Context, account: &str) {
    let uses =
        |cluster: &EksCluster| cluster.spec.account_ref.as_ref().is_some_and(|reference| reference.name == account);
    for cluster in ctx.clusters.state_filter(uses) {
        ctx.queues.clusters.push(ObjectRef::from_obj(&*cluster));
        groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any());
    }
}

/// An object that is gone is no longer counted.
fn forget<S: Send + 'static, R: Send + 'static>(
    ctx: &Context,
    kind: &'static str,
    state: Option<super::context::Shared<S, R>>,
) {
    let Some(state) = state else { return };
    let metrics = ctx.metrics.clone();
    // Its last reconcile may still hold it.
    tokio::spawn(async move {
        let counted = state.lock().await.counted.take();
        metrics.reconcile().condition(kind, "Ready", counted, None);
    });
}

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
    let uid = object.uid().unwrap_or_default();
    if object.rests() && !K::known(&ctx, &uid) {
        let pause = report::spread(&*object, count);
        if K::meet(&ctx, &object) && !pause.is_zero() {
            return Action::requeue(pause);
        }
    }
    let (kind, name, namespace) = (K::NAME, object.name_any(), object.namespace().unwrap_or_default());
    let span = tracing::info_span!("reconcile", kind, namespace, name);
    let timer = ctx.metrics.reconcile().start(K::NAME);
    let began = Instant::now();
    let (work, over) = (reconcile(object.clone(), ctx.clone()), ctx.over.clone());
    let task = ctx.tasks.spawn(async move { over.run_until_cancelled(work).await }.instrument(span));
    match task.await {
        Ok(Some(next)) => {
            timer.finish("ok");
            Action::requeue(next.pause(Timestamp::now()))
        }
        Ok(None) => Action::await_change(),
        Err(error) => {
            timer.finish("panic");
            let after = began.elapsed();
            tracing::error!(kind, namespace, name, ?after, %error, "a reconcile ended in a panic: this is an error in Keelson, please report it; others go on");
            K::forget(&ctx, &uid);
            let failed =
                Failed::after(None, Failure::new(Class::Unknown, "panic"), Timestamp::now(), report::seed(&*object));
            // Slowly: what it was about will most likely happen again.
            Action::requeue(Next::at(failed.retry_at).pause(Timestamp::now()).max(Duration::from_secs(60)))
        }
    }
}

/// What the queue needs to know of a kind.
trait Reconciled: Kind {
    /// Nothing was left to do when it was last looked at.
    fn rests(&self) -> bool;
    fn known(ctx: &Context, uid: &str) -> bool;
    /// Makes it known. True: it was not.
    fn meet(ctx: &Context, object: &Self) -> bool;
    fn forget(ctx: &Context, uid: &str);
}

impl Reconciled for EksCluster {
    fn rests(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && self
                .status
                .as_ref()
                .is_some_and(|s| report::was_at_rest(self.metadata.generation, s.observed_generation, &s.conditions))
    }
    fn known(ctx: &Context, uid: &str) -> bool {
        ctx.cluster_states.knows(uid)
    }
    fn meet(ctx: &Context, object: &Self) -> bool {
        let resources = object.status.as_ref().map(|status| status.resources.as_slice()).unwrap_or_default();
        let inventory = super::journal::recorded(resources);
        drop(ctx.cluster_states.of(&object.uid().unwrap_or_default(), || ctx.memory(inventory)));
        true
    }
    fn forget(ctx: &Context, uid: &str) {
        drop(ctx.cluster_states.forget(uid));
    }
}

impl Reconciled for NodeGroup {
    fn rests(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && self
                .status
                .as_ref()
                .is_some_and(|s| report::was_at_rest(self.metadata.generation, s.observed_generation, &s.conditions))
    }
    fn known(ctx: &Context, uid: &str) -> bool {
        ctx.node_group_states.knows(uid)
    }
    fn meet(ctx: &Context, object: &Self) -> bool {
        drop(ctx.node_group_states.of(&object.uid().unwrap_or_default(), || ctx.memory(node_group::recorded(object))));
        true
    }
    fn forget(ctx: &Context, uid: &str) {
        drop(ctx.node_group_states.forget(uid));
    }
}

impl Reconciled for AwsAccount {
    fn rests(&self) -> bool {
        false
    }
    fn known(_: &Context, _: &str) -> bool {
        true
    }
    fn meet(_: &Context, _: &Self) -> bool {
        false
    }
    fn forget(ctx: &Context, uid: &str) {
        drop(ctx.account_states.forget(uid));
    }
}

#[cfg(test)]
#[path = "term_tests.rs"]
mod tests;
