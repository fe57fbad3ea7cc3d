//! The watches of one cluster's agent: one per kind, run concurrently for as long as the caller needs them.
//!
//! Not allowed here: what is done about a change. I/O: by [`crate::workload::watch`].
//!
//! A client carries one token and is replaced before the token expires; the watches resume where they were. An
//! unreachable cluster is retried with exponential backoff, and at once when another call reaches it. Watched objects
//! are not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::watch::Receiver;

use crate::workload::client::Access;
use crate::workload::error::CallError;
use crate::workload::proxy::Proxy;
use crate::workload::watch::{IDLE_TIMEOUT, Watch, WatchEvent, Watched};

/// Backoff while the watches cannot be opened: first delay and maximum.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long until a kind that is not served (a component that is not installed) is tried again.
const UNSERVED_RETRY: Duration = Duration::from_secs(300);
/// A client is used for at least this long, whatever its credentials' expiry.
const MIN_CLIENT_LIFETIME: Duration = Duration::from_secs(5);

/// What the watches of a cluster report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchSignal {
    /// Something may have changed.
    Changed,
    /// Nothing changed, and the cluster answers.
    Alive,
    /// The cluster cannot be watched now: why, and the delay until the next try.
    Lost(String, Duration),
}

/// Watches `kinds` and never returns. Each new value of `access` means that another call reached the cluster with it.
pub async fn follow(
    proxy: Option<Arc<Proxy>>,
    kinds: Vec<Watched>,
    mut access: Receiver<Access>,
    notify: impl Fn(WatchSignal) + Sync,
) {
    let new_watches = || kinds.iter().cloned().map(Watch::of).collect::<Vec<_>>();
    let mut watches = new_watches();
    let mut delays = retry_delays();
    let answered = AtomicBool::new(false);
    let on_event = |event| {
        // A watch that starts may still fail at once, so it does not reset the backoff.
        if event != WatchEvent::Started {
            answered.store(true, Ordering::Relaxed);
        }
        notify(match event {
            WatchEvent::Started | WatchEvent::Changed { .. } => WatchSignal::Changed,
            WatchEvent::Alive => WatchSignal::Alive,
        });
    };
    loop {
        let current = access.borrow_and_update().clone();
        let now = SystemTime::now();
        let error = match current.client(proxy.as_deref(), now, IDLE_TIMEOUT) {
            Err(error) => Some(error.to_string()),
            Ok(client) => {
                let usable = current.usable_until(now).duration_since(now).unwrap_or_default().max(MIN_CLIENT_LIFETIME);
                tokio::select! {
                    error = run_all(&mut watches, &client, &on_event) => Some(error.to_string()),
                    () = tokio::time::sleep(usable) => None,
                    () = wait_for_new_access(&mut access, &current) => None,
                }
            }
        };
        if answered.swap(false, Ordering::Relaxed) {
            delays = retry_delays();
        }
        if let Some(error) = error {
            let delay = delays.next().unwrap_or(RETRY.1);
            notify(WatchSignal::Lost(error, delay));
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = access.changed() => {}
            }
        }
        if !access.borrow().is_same_cluster(&current) {
            watches = new_watches();
        }
    }
}

/// Returns when one of the watches cannot continue.
async fn run_all(watches: &mut [Watch], client: &Client, on_event: &(impl Fn(WatchEvent) + Sync)) -> CallError {
    let mut running: FuturesUnordered<_> = watches.iter_mut().map(|watch| run(watch, client, on_event)).collect();
    match running.next().await {
        Some(error) => error,
        None => std::future::pending().await,
    }
}

async fn run(watch: &mut Watch, client: &Client, on_event: &(impl Fn(WatchEvent) + Sync)) -> CallError {
    loop {
        match watch.follow(client, on_event).await {
            CallError::NotFound => tokio::time::sleep(UNSERVED_RETRY).await,
            other => return other,
        }
    }
}

/// Returns when a client for the cluster would differ from that of `current`.
async fn wait_for_new_access(access: &mut Receiver<Access>, current: &Access) {
    loop {
        if access.changed().await.is_err() {
            // The sender is gone: the owner cancels this task.
            std::future::pending::<()>().await;
        }
        if access.borrow_and_update().fingerprint() != current.fingerprint() {
            return;
        }
    }
}

fn retry_delays() -> ExponentialBackoff {
    let doubling = ExponentialBuilder::default().with_min_delay(RETRY.0).with_max_delay(RETRY.1).with_factor(2.0);
    doubling.without_max_times().with_jitter().build()
}
