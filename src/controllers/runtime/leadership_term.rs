//! A term of leadership: watches, queues and reconciles, from acquiring the lease to losing or releasing it. I/O: starts
//! tasks that do I/O.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use tokio::task::JoinHandle;

use super::mirror::Mirror;
use super::reconcile_queue::{Queue, Queues};
use super::triggers::{Controllers, Triggers, watch_all};
use super::{installation, secrets, unreadable, worker};
use crate::controllers::account::AccountController;
use crate::controllers::approvals;
use crate::controllers::cluster::ClusterController;
use crate::controllers::cluster::agent::Watches;
use crate::controllers::cluster::registration::sweep;
use crate::controllers::context::{Context, Process};
use crate::controllers::drift::events;
use crate::controllers::duration_estimates::EstimateStore;
use crate::controllers::node_group::NodeGroupController;
use crate::controllers::notifications;
use crate::controllers::rollout;

/// A running term.
pub struct Term {
    pub(super) ctx: Arc<Context>,
    pub(super) agent_watches: Arc<Watches>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) estimate_store: Option<Arc<EstimateStore>>,
    pub(super) mirror: Option<Arc<dyn Mirror>>,
}

impl Term {
    /// Starts to watch and reconcile everything. `mirror` shows what is read.
    pub fn start(process: Process, mirror: Option<Arc<dyn Mirror>>) -> Self {
        let (to_clusters, cluster_requests) = unbounded();
        let (to_node_groups, node_group_requests) = unbounded();
        let (to_accounts, account_requests) = unbounded();
        let queues = Queues {
            clusters: Queue::new(to_clusters),
            node_groups: Queue::new(to_node_groups),
            accounts: Queue::new(to_accounts),
        };
        let triggers = Arc::new(Triggers::default());
        let (stores, watches) = watch_all(&process.client, &triggers, mirror.as_ref());
        let ctx = Arc::new(Context::new(process, stores, queues));
        let clusters = Arc::new(ClusterController::new(ctx.clone()));
        let node_groups = Arc::new(NodeGroupController::new(ctx.clone(), clusters.cleanups.clone()));
        let accounts = Arc::new(AccountController::new(ctx.clone()));
        let agent_watches = clusters.watches.clone();
        triggers.start(Controllers {
            clusters: clusters.clone(),
            node_groups: node_groups.clone(),
            accounts: accounts.clone(),
        });
        let mut tasks: Vec<_> = watches.into_iter().map(|watch| tokio::spawn(watch)).collect();
        let estimate_store = estimate_store(&ctx);
        tasks.extend(estimate_store.clone().map(|estimate_store| tokio::spawn(estimate_store.run())));
        tasks.push(tokio::spawn(signal_listed(ctx.clone())));
        let (client, secrets) = (ctx.client.clone(), ctx.secrets.clone());
        tasks.push(tokio::spawn(secrets::watch_secrets(client, secrets, ctx.queues.clusters.clone())));
        let (unreadable, client, gate) = (ctx.unreadable.clone(), ctx.client.clone(), ctx.gate.clone());
        tasks.push(tokio::spawn(unreadable::report(unreadable, client, gate)));
        tasks.push(tokio::spawn(approvals::watch_approvals(ctx.clone())));
        tasks.push(tokio::spawn(sweep::follow(ctx.clone())));
        tasks.push(tokio::spawn(rollout::run(ctx.clone(), mirror.clone())));
        tasks.extend(ctx.notify.clone().map(|sender| tokio::spawn(notifications::run(ctx.clone(), sender))));
        let queue = ctx.settings.event_queue_url.as_deref().map(|url| ctx.accounts.event_queue(url));
        tasks.extend(queue.map(|queue| tokio::spawn(events::poll_queue(ctx.clone(), queue))));
        tasks.push(tokio::spawn(worker::run(clusters, ctx.clusters.clone(), cluster_requests)));
        tasks.push(tokio::spawn(worker::run(node_groups, ctx.node_groups.clone(), node_group_requests)));
        tasks.push(tokio::spawn(worker::run(accounts, ctx.aws_accounts.clone(), account_requests)));
        Self { ctx, agent_watches, tasks, estimate_store, mirror }
    }

    /// Completes once all kinds are listed.
    pub fn wait_until_listed(&self) -> impl Future<Output = ()> + Send + 'static {
        // If the term ends first, this never completes; the caller waits for the next term.
        self.ctx.all_listed.clone().cancelled_owned()
    }

    /// Stops accepting work, waits for running reconciles, and stops. Reconciles that exceed `patience` are aborted.
    pub async fn shutdown(self, patience: Duration) {
        let Self { ctx, agent_watches, tasks, estimate_store, mirror } = self;
        ctx.queues.close();
        agent_watches.close();
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
        for task in tasks {
            task.abort();
            // Its last metrics are counted before all metrics of the term are reset.
            let _ = task.await;
        }
        if let Some(mirror) = mirror {
            mirror.on_end();
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
                let id = installation::load(&ctx).await;
                ctx.traces.set_installation(id.clone());
                // The context belongs to this term only, so it is not set yet.
                let _ = ctx.installation.set(id);
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
