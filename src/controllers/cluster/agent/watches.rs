//! The watches of the clusters' agents: who has one, and that a change asks for a pass. What is watched is in [`crate::gitops`].
//! I/O: starts what does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Agent;
use crate::api::EksCluster;
use crate::controllers::context::{Context, locked};
use crate::gitops::agent_watch::WatchSignal;
use crate::gitops::watch::Watched;
use crate::gitops::workload::Access;
use crate::telemetry::gitops::Watching;

/// What changes together is looked at together.
const QUIET: Duration = Duration::from_millis(250);

/// Those that are open, by the UID of the cluster.
pub struct Watches {
    open: Mutex<HashMap<String, Open>>,
    left: Arc<Semaphore>,
}

/// One cluster's; it ends when this goes.
struct Open {
    kinds: Vec<Watched>,
    access: watch::Sender<Access>,
    _task: AbortOnDropHandle<()>,
    _place: OwnedSemaphorePermit,
    _counted: Watching,
}

impl Watches {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self { open: Mutex::default(), left: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))) }
    }

    /// The cluster was reached by `access`: its agent is watched from now on, if one more may be.
    pub fn keep(
        &self,
        ctx: &Context,
        cluster: (&str, &ObjectRef<EksCluster>),
        agent: &Agent,
        kinds: Vec<Watched>,
        access: &Access,
    ) {
        let (uid, object) = cluster;
        match locked(&self.open).entry(uid.to_owned()) {
            Entry::Occupied(open) if open.get().kinds == kinds => {
                open.get().access.send_replace(access.clone());
            }
            // Its place is given back first: another may have it now, then this one is asked now and then.
            Entry::Occupied(open) => drop(open.remove()),
            Entry::Vacant(vacant) => {
                let Ok(place) = self.left.clone().try_acquire_owned() else { return };
                let (sender, receiver) = watch::channel(access.clone());
                let task = watching(ctx, object.clone(), agent.clone(), kinds.clone(), receiver);
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

    /// The cluster is left alone.
    pub fn end(&self, uid: &str) {
        locked(&self.open).remove(uid);
    }

    /// Nobody is watched any more.
    pub fn close(&self) {
        self.left.close();
        locked(&self.open).clear();
    }
}

/// Follows one cluster, and asks for a pass when something changed there or it is out of sight.
fn watching(
    ctx: &Context,
    object: ObjectRef<EksCluster>,
    agent: Agent,
    kinds: Vec<Watched>,
    access: watch::Receiver<Access>,
) -> impl Future<Output = ()> + Send + use<> {
    let (metrics, queue) = (ctx.metrics.clone(), ctx.queues.clusters.clone());
    let (tell, mut told) = unbounded_channel();
    let following = ctx.workloads.follow(kinds, access, move |what| {
        // Closed only when this task ends as a whole.
        let _ = tell.send(what);
    });
    let acting = async move {
        // Whether the last that was told is that it is there.
        let mut seen = false;
        let mut failing = false;
        let namespace = object.namespace.clone().unwrap_or_default();
        let object_name = object.name.as_str();
        while let Some(mut what) = told.recv().await {
            if what != WatchSignal::Alive {
                tokio::time::sleep(QUIET).await;
                while let Ok(more) = told.try_recv() {
                    what = if more == WatchSignal::Alive { what } else { more };
                }
            }
            let (before, now) = (seen, Timestamp::now());
            seen = !matches!(what, WatchSignal::Lost(..));
            if let WatchSignal::Lost(why, pause) = &what {
                // Each with a longer pause after it: at most one a minute.
                tracing::warn!(
                    namespace,
                    object_name,
                    error = why,
                    ?pause,
                    "the cluster's GitOps agent cannot be watched; tried again"
                );
                agent.watch_failed(why);
                failing = true;
            } else {
                agent.watched(now);
                metrics.gitops().record_response(&namespace, object_name, Instant::now());
            }
            if seen && what == WatchSignal::Alive && std::mem::take(&mut failing) {
                tracing::info!(namespace, object_name, "the cluster's GitOps agent is watched again");
            }
            // That it is lost is a reason to look once: the passes that follow have a pace of their own.
            if what == WatchSignal::Alive || (!seen && !before) {
                continue;
            }
            let Some(due) = agent.options(now) else { continue };
            tokio::time::sleep(due.duration_since(now).try_into().unwrap_or_default()).await;
            queue.push(object.clone());
        }
    };
    async move {
        tokio::select! {
            () = following => {}
            () = acting => {}
        }
    }
}
