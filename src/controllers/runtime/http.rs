//! `/healthz`, `/readyz` and `/metrics`. I/O: a listening socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::controllers::runtime::locks::locked;

/// The process counts as hung when its runtime has made no progress for this long.
const HUNG_AFTER: Duration = Duration::from_secs(60);

/// State of the health probes.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    start: Instant,
    beat: AtomicU64,
    /// The reason for not being ready; `None`: ready.
    not_ready: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        let not_ready = Mutex::new(Some("starting".to_owned()));
        Self(Arc::new(Inner { start: Instant::now(), beat: AtomicU64::new(0), not_ready }))
    }
}

impl Health {
    /// Marks the replica ready: it leads with synced stores, or can take over.
    pub fn set_ready(&self) {
        if locked(&self.0.not_ready).take().is_some() {
            tracing::info!("ready");
        }
    }

    /// Marks the replica not ready.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        *locked(&self.0.not_ready) = Some(reason.into());
    }

    /// Updates the heartbeat while the runtime runs.
    pub async fn beat(self) {
        loop {
            self.0.beat.store(self.0.start.elapsed().as_secs(), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    fn is_alive(&self) -> bool {
        let beat = Duration::from_secs(self.0.beat.load(Ordering::SeqCst));
        self.0.start.elapsed().saturating_sub(beat) < HUNG_AFTER
    }

    /// Whether the replica is ready.
    pub fn is_ready(&self) -> bool {
        locked(&self.0.not_ready).is_none()
    }

    fn readiness(&self) -> (StatusCode, String) {
        match &*locked(&self.0.not_ready) {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("no: {reason}\n")),
        }
    }

    fn liveness(&self) -> (StatusCode, &'static str) {
        if self.is_alive() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no\n") }
    }
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    health: Health,
    metrics: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let (alive, ready) = (health.clone(), health);
    let app: Router = Router::new()
        .route("/healthz", get(move || async move { alive.liveness() }))
        .route("/readyz", get(move || async move { ready.readiness() }))
        .merge(metrics);
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "probes and metrics are no longer served");
        }
    });
    Ok(())
}
