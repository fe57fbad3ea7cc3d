//! The watches of the clusters' agents: which clusters have one, and requesting a pass on a change. [`crate::workload`]
//! defines what is watched. I/O: starts the watches.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Agent;
use crate::api::EksCluster;
use crate::controllers::context::Context;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::telemetry::gitops::Watching;
use crate::workload::client::Access;
use crate::workload::follow::WatchSignal;
use crate::workload::watch::Watched;

/// Debounce: changes within this time lead to one pass.
const DEBOUNCE: Duration = Duration::from_millis(250);

/// The open watches, by the UID of the cluster.
pub struct Watches {
    open: Mutex<HashMap<String, Open>>,
    left: Arc<Semaphore>,
}

/// One cluster's watch; dropping it ends the watch.
struct Open {
    kinds: Vec<Watched>,
    access: watch::Sender<Access>,
    _task: AbortOnDropHandle<()>,
    _place: OwnedSemaphorePermit,
    _counted: Watching,
}

impl Watches {
    /// `most`: the maximum number of watches.
    pub fn new(most: usize) -> Self {
        Self { open: Mutex::default(), left: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))) }
    }

    /// Called when the cluster was reached by `access`: watches its agent from now on, if the limit allows one more.
    pub fn ensure(
        &self,
        ctx: &Context,
        cluster: (&str, &ObjectRef<EksCluster>),
        agent: &Agent,
        kinds: Vec<Watched>,
        access: &Access,
    ) {
        let (uid, object) = cluster;
        match self.open.lock().entry(uid.to_owned()) {
            Entry::Occupied(open) if open.get().kinds == kinds => {
                open.get().access.send_replace(access.clone());
            }
            // Releases the slot first: if another cluster takes it, this one is polled.
            Entry::Occupied(open) => drop(open.remove()),
            Entry::Vacant(vacant) => {
                let Ok(place) = self.left.clone().try_acquire_owned() else { return };
                let (sender, receiver) = watch::channel(access.clone());
                let task = watch_agent(ctx, object.clone(), agent.clone(), kinds.clone(), receiver);
                vacant.insert(Open {
                    kinds,
                    access: sender,
                    _task: AbortOnDropHandle::new(tokio::spawn(task)),
                    _place: place,
                    _counted: ctx.metrics.gitops().count_watch(),
                });
            }
        }
    }

    /// Ends the watch of a cluster.
    pub fn end(&self, uid: &str) {
        self.open.lock().remove(uid);
    }

    /// Ends all watches.
    pub fn close(&self) {
        self.left.close();
        self.open.lock().clear();
    }
}

/// Watches one cluster, and requests a pass when something changes there or the watch is lost.
fn watch_agent(
    ctx: &Context,
    object: ObjectRef<EksCluster>,
    agent: Agent,
    kinds: Vec<Watched>,
    access: watch::Receiver<Access>,
) -> impl Future<Output = ()> + Send + use<> {
    let (metrics, queue) = (ctx.metrics.clone(), ctx.queues.clusters.clone());
    let (sender, mut receiver) = unbounded_channel();
    let following = ctx.workloads.follow(kinds, access, move |what| {
        // Closed only when the whole task ends.
        let _ = sender.send(what);
    });
    let acting = async move {
        // Whether the last signal was `Alive`.
        let mut is_alive = false;
        let mut failing = false;
        let namespace = object.namespace.clone().unwrap_or_default();
        let object_name = object.name.as_str();
        while let Some(mut what) = receiver.recv().await {
            if what != WatchSignal::Alive {
                tokio::time::sleep(DEBOUNCE).await;
                while let Ok(more) = receiver.try_recv() {
                    what = if more == WatchSignal::Alive { what } else { more };
                }
            }
            let (was_alive, now) = (is_alive, Timestamp::now());
            is_alive = !matches!(what, WatchSignal::Lost(..));
            if let WatchSignal::Lost(why, pause) = &what {
                // Each failure doubles the pause, up to one minute.
                tracing::warn!(
                    namespace,
                    object_name,
                    error = why,
                    ?pause,
                    "the cluster's GitOps agent cannot be watched; retrying"
                );
                agent.watch_failed(why);
                failing = true;
            } else {
                agent.watched(now);
                metrics.gitops().record_response(&namespace, object_name, Instant::now());
            }
            if is_alive && what == WatchSignal::Alive && std::mem::take(&mut failing) {
                tracing::info!(namespace, object_name, "the cluster's GitOps agent is watched again");
            }
            // A lost watch requests one pass; further passes have an interval of their own.
            if what == WatchSignal::Alive || (!is_alive && !was_alive) {
                continue;
            }
            let Some(due) = agent.request_pass(now) else { continue };
            tokio::time::sleep(due.duration_since(now).try_into().unwrap_or_default()).await;
            queue.push(object.clone(), Trigger::Workload);
        }
    };
    async move {
        tokio::select! {
            () = following => {}
            () = acting => {}
        }
    }
}
