//! Metrics of the event queue. No I/O.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// How a message of the queue was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It names a managed resource, which is observed again.
    Relevant,
    /// It names no managed resource, or changed nothing.
    Unrelated,
    /// The call was made by this operator.
    Own,
    /// It is not an event.
    Malformed,
    /// It contradicts itself, or its sender is not allowed to send it.
    Refused,
}

impl MessageOutcome {
    fn as_str(self) -> &'static str {
        match self {
            MessageOutcome::Relevant => "relevant",
            MessageOutcome::Unrelated => "unrelated",
            MessageOutcome::Own => "own",
            MessageOutcome::Malformed => "malformed",
            MessageOutcome::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Metrics of the event queue.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    messages: Family<ResultLabels, Counter>,
    failures: Counter,
    reachable: Reachable,
}

/// Whether the last poll succeeded. Without a queue there is no value: 0 would raise an alert without a problem.
#[derive(Debug, Clone, Default)]
struct Reachable(Arc<Mutex<Option<bool>>>);

impl Reachable {
    fn set(&self, reachable: Option<bool>) {
        *self.0.lock() = reachable;
    }
}

impl Collector for Reachable {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(reachable) = *self.0.lock() else { return Ok(()) };
        let help = "1 while the event queue can be read; absent if this replica polls no queue";
        let metric = encoder.encode_descriptor("event_queue_reachable", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(reachable)).encode(metric)
    }
}

impl EventMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics =
            EventMetrics { messages: Family::default(), failures: Counter::default(), reachable: Reachable::default() };
        registry.register(
            "cloudtrail_messages",
            "Messages of the CloudTrail event queue, by result",
            metrics.messages.clone(),
        );
        registry.register("event_queue_failures", "Failed polls of the event queue", metrics.failures.clone());
        registry.register_collector(Box::new(metrics.reachable.clone()));
        metrics
    }

    /// Counts a message.
    pub fn count_message(&self, what: MessageOutcome) {
        self.messages.get_or_create(&ResultLabels { result: what.as_str() }).inc();
    }

    /// Records a successful poll, with or without messages.
    pub fn record_poll(&self) {
        self.reachable.set(Some(true));
    }

    /// Records that this replica no longer polls the queue.
    pub fn clear(&self) {
        self.reachable.set(None);
    }

    /// Records a failed poll.
    pub fn record_poll_failure(&self) {
        self.reachable.set(Some(false));
        self.failures.inc();
    }
}
