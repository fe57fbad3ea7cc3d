//! The queue of finished spans, and what became of them as a metric. A full queue drops. No I/O.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::Span;

/// Where the exporter takes spans from.
pub type Receiver = mpsc::Receiver<Span>;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Global to the process: the layer that collects spans exists before the metrics.
static SPANS: LazyLock<Family<ResultLabels, Counter>> = LazyLock::new(Family::default);

pub fn register(registry: &mut Registry) {
    let help = "Spans of traces: exported, or dropped because the collector does not take them";
    registry.register("trace_spans", help, SPANS.clone());
    // From the start, so that a rate has a first value.
    count_exported(0);
    count_dropped(0);
}

/// Counts spans that the collector took.
pub fn count_exported(spans: u64) {
    SPANS.get_or_create(&ResultLabels { result: "exported" }).inc_by(spans);
}

/// Counts spans that are lost.
pub fn count_dropped(spans: u64) {
    SPANS.get_or_create(&ResultLabels { result: "dropped" }).inc_by(spans);
}

/// Finished spans on their way to the exporter. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue(mpsc::Sender<Span>);

/// A queue of `capacity` spans.
pub fn new(capacity: usize) -> (Queue, Receiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Queue(sender), receiver)
}

impl Queue {
    /// Adds a span, or drops it: never waits.
    pub fn push(&self, span: Span) {
        if self.0.try_send(span).is_err() {
            count_dropped(1);
        }
    }
}
