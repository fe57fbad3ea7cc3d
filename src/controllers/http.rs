//! `/healthz`, `/readyz` and `/metrics`. I/O: a listening socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

/// The process counts as hung when its own clockwork stood still this long.
const HUNG: Duration = Duration::from_secs(60);

/// What probes ask.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    start: Instant,
    beat: AtomicU64,
    ready: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Inner { start: Instant::now(), beat: AtomicU64::new(0), ready: AtomicBool::new(false) }))
    }
}

impl Health {
    /// The API server was reached: this replica can take over, or has.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::SeqCst);
    }

    /// Beats as long as the runtime runs.
    pub async fn beat(self) {
        loop {
            self.0.beat.store(self.0.start.elapsed().as_secs(), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    fn is_alive(&self) -> bool {
        let beat = Duration::from_secs(self.0.beat.load(Ordering::SeqCst));
        self.0.start.elapsed().saturating_sub(beat) < HUNG
    }

    fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::SeqCst)
    }
}

fn answer(yes: bool) -> (StatusCode, &'static str) {
    if yes { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no\n") }
}

/// Serves until `stop`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    health: Health,
    metrics: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let (alive, ready) = (health.clone(), health);
    let app: Router = Router::new()
        .route("/healthz", get(move || async move { answer(alive.is_alive()) }))
        .route("/readyz", get(move || async move { answer(ready.is_ready()) }))
        .merge(metrics);
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "probes and metrics are no longer served");
        }
    });
    Ok(())
}
