//! Traces as OpenTelemetry's OTLP, for `--otlp-endpoint`. Spans of the crate `tracing` whose target is [`TARGET`] are
//! collected by a layer; a bounded queue takes them to the collector, and drops what it cannot hold. I/O: the
//! collector, in a task of its own: no reconcile waits for it.
//!
//! Why by hand, and why the ids are derived: docs/adr/0010-traces.md.

mod attributes;
pub mod current;
mod encode;
mod exporter;
mod ids;
mod layer;
mod span_queue;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

pub use attributes::Value;
pub use exporter::Endpoint;
pub use ids::{SpanId, TraceId};

/// Target of the spans that are exported. The engine, which knows no telemetry, writes it out.
pub const TARGET: &str = "keelson::trace";
/// Spans that may wait for the collector. One is below a kilobyte.
const QUEUE: usize = 4096;
/// How long the spans that wait may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn register(registry: &mut Registry) {
    span_queue::register(registry);
}

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that contains it; `None`: the root of its trace.
    pub parent: Option<SpanId>,
    /// Name, with few different values.
    pub name: String,
    /// Whether it is a call to another system.
    pub is_call: bool,
    /// Start.
    pub start: SystemTime,
    /// End.
    pub end: SystemTime,
    /// Attributes. Those that are not in the list of allowed ones are left out.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What all spans of the process say of it.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// Name of this Pod, if it runs in one.
    pub pod: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// The way of spans to the collector. Clones share it; without an endpoint, spans go nowhere.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: span_queue::Queue,
    /// Until the exporter starts.
    unstarted: Mutex<Option<(Endpoint, span_queue::Receiver)>>,
    /// Known once this replica leads.
    installation: Arc<Mutex<Option<String>>>,
}

impl Traces {
    /// Traces for the collector at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        let (queue, receiver) = span_queue::new(QUEUE);
        let unstarted = Mutex::new(Some((endpoint, receiver)));
        Self(Some(Arc::new(Inner { queue, unstarted, installation: Arc::default() })))
    }

    /// Whether spans are exported.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The layer that collects spans; `None`: traces are off.
    pub fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
    where
        S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    {
        self.0.as_ref().map(|inner| layer::layer(inner.queue.clone()))
    }

    /// Exports a span that was not collected: it began in another process, or in AWS.
    pub fn export(&self, span: Span) {
        if let Some(inner) = &self.0 {
            inner.queue.push(span);
        }
    }

    /// Records the id of this installation, for all spans from now on.
    pub fn set_installation(&self, id: Option<String>) {
        if let Some(inner) = &self.0 {
            *inner.installation.lock() = id;
        }
    }

    /// Starts the task that exports.
    pub fn start(&self, resource: Resource) -> Exporting {
        let stop = CancellationToken::new();
        let started = self.0.as_ref().and_then(|inner| {
            let (endpoint, receiver) = inner.unstarted.lock().take()?;
            let exporter = exporter::Exporter::new(endpoint, resource, inner.installation.clone());
            Some(tokio::spawn(exporter.run(receiver, stop.clone())))
        });
        Exporting { task: started, stop }
    }
}

/// The running export.
#[derive(Debug)]
pub struct Exporting {
    task: Option<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Exporting {
    /// Exports what waits, for a few seconds at most, and stops.
    pub async fn finish(self) {
        let Some(mut task) = self.task else { return };
        self.stop.cancel();
        if tokio::time::timeout(FLUSH_TIMEOUT, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("traces: the collector does not answer; the last spans are lost");
        }
    }
}

#[cfg(test)]
mod tests;
