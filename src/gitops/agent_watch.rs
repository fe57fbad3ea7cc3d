//! The watches of one cluster's agent: its kinds side by side, for as long as somebody wants to know.
//!
//! May not enter: what is done about a change. I/O: by [`super::watch`].
//!
//! A client carries one token and is made anew before that ends; the watches go on where they were. What cannot be reached is tried
//! again with growing pauses, and at once when others have reached it. Nothing of what is watched is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::watch::Receiver;

use super::error::CallError;
use super::proxy::Proxy;
use super::watch::{SILENT_FOR, Watch, WatchEvent, Watched};
use super::workload::Access;

/// While they cannot be opened: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A kind that is not served (a component that was left out) is asked for again after this.
const UNSERVED: Duration = Duration::from_secs(300);
/// Clients are made anew at least this long after each other, whatever their credentials say.
const SHORTEST: Duration = Duration::from_secs(5);

/// What the watches of a cluster tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchSignal {
    /// Something may have changed.
    Changed,
    /// Nothing did, and the cluster answers.
    Alive,
    /// The cluster cannot be watched just now: why, and how long until the next try.
    Lost(String, Duration),
}

/// Watches `kinds` and never ends. `access` is followed too: each value of it says that the cluster was reached that way.
pub async fn follow(
    proxy: Option<Arc<Proxy>>,
    kinds: Vec<Watched>,
    mut access: Receiver<Access>,
    told: impl Fn(WatchSignal) + Sync,
) {
    let begin = || kinds.iter().cloned().map(Watch::of).collect::<Vec<_>>();
    let mut watches = begin();
    let mut pauses = pauses();
    let answered = AtomicBool::new(false);
    let hear = |heard| {
        // That it begins says nothing of whether it lasts.
        if heard != WatchEvent::Began {
            answered.store(true, Ordering::Relaxed);
        }
        told(match heard {
            WatchEvent::Began | WatchEvent::Changed { .. } => WatchSignal::Changed,
            WatchEvent::Alive => WatchSignal::Alive,
        });
    };
    loop {
        let by = access.borrow_and_update().clone();
        let now = SystemTime::now();
        let lost = match by.client(proxy.as_deref(), now, SILENT_FOR) {
            Err(error) => Some(error.to_string()),
            Ok(client) => {
                let usable = by.usable_until(now).duration_since(now).unwrap_or_default().max(SHORTEST);
                tokio::select! {
                    error = all(&mut watches, &client, &hear) => Some(error.to_string()),
                    () = tokio::time::sleep(usable) => None,
                    () = replaced(&mut access, &by) => None,
                }
            }
        };
        if answered.swap(false, Ordering::Relaxed) {
            pauses = self::pauses();
        }
        if let Some(why) = lost {
            let pause = pauses.next().unwrap_or(RETRY.1);
            told(WatchSignal::Lost(why, pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = access.changed() => {}
            }
        }
        if !access.borrow().is_same_cluster(&by) {
            watches = begin();
        }
    }
}

/// Returns when one of them cannot go on.
async fn all(watches: &mut [Watch], client: &Client, heard: &(impl Fn(WatchEvent) + Sync)) -> CallError {
    let mut running: FuturesUnordered<_> = watches.iter_mut().map(|watch| one(watch, client, heard)).collect();
    match running.next().await {
        Some(error) => error,
        None => std::future::pending().await,
    }
}

async fn one(watch: &mut Watch, client: &Client, heard: &(impl Fn(WatchEvent) + Sync)) -> CallError {
    loop {
        match watch.follow(client, heard).await {
            CallError::NotFound => tokio::time::sleep(UNSERVED).await,
            other => return other,
        }
    }
}

/// Returns when the cluster is reached another way.
async fn replaced(access: &mut Receiver<Access>, by: &Access) {
    loop {
        if access.changed().await.is_err() {
            // Nobody wants to know any more; the task ends with its owner.
            std::future::pending::<()>().await;
        }
        if access.borrow_and_update().fingerprint() != by.fingerprint() {
            return;
        }
    }
}

fn pauses() -> ExponentialBackoff {
    let doubling = ExponentialBuilder::default().with_min_delay(RETRY.0).with_max_delay(RETRY.1).with_factor(2.0);
    doubling.without_max_times().with_jitter().build()
}
