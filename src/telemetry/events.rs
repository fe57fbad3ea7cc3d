//! What is counted of the event queue. No I/O.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What became of a message of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It named something of ours, which was looked at.
    Relevant,
    /// It named nothing of ours, or changed nothing.
    Unrelated,
    /// It was a call of this operator's.
    Own,
    /// It was no event.
    Malformed,
    /// It contradicts itself, or a sender sent it that may not.
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

/// Of the event queue.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    messages: Family<ResultLabels, Counter>,
    failures: Counter,
    reachable: Reachable,
}

/// Whether the last poll was answered. Nothing is shown where no queue is polled: 0 would be an alert where nothing is wrong.
#[derive(Debug, Clone, Default)]
struct Reachable(Arc<Mutex<Option<bool>>>);

impl Reachable {
    fn set(&self, reachable: Option<bool>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reachable;
    }
}

impl Collector for Reachable {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(reachable) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) else { return Ok(()) };
        let help = "1 while the event queue can be read; absent where this replica polls none";
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
        registry.register("event_queue_failures", "Polls of the event queue that failed", metrics.failures.clone());
        registry.register_collector(Box::new(metrics.reachable.clone()));
        metrics
    }

    /// Counts a message.
    pub fn heard(&self, what: MessageOutcome) {
        self.messages.get_or_create(&ResultLabels { result: what.as_str() }).inc();
    }

    /// A poll ended, with messages or without.
    pub fn reached(&self) {
        self.reachable.set(Some(true));
    }

    /// The queue is not polled by this replica any more.
    pub fn stopped(&self) {
        self.reachable.set(None);
    }

    /// A poll failed.
    pub fn failed(&self) {
        self.reachable.set(Some(false));
        self.failures.inc();
    }
}
