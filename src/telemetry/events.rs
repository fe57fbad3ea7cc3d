//! What is counted of the event queue. No I/O.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What became of a message of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It named something of ours, which was looked at.
    News,
    /// It named nothing of ours, or changed nothing.
    Unrelated,
    /// It was a call of this operator's.
    Own,
    /// It was no event.
    Malformed,
}

impl Heard {
    fn as_str(self) -> &'static str {
        match self {
            Heard::News => "news",
            Heard::Unrelated => "unrelated",
            Heard::Own => "own",
            Heard::Malformed => "malformed",
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
    reachable: Gauge,
}

impl EventMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics =
            EventMetrics { messages: Family::default(), failures: Counter::default(), reachable: Gauge::default() };
        registry.register("events", "Messages of the event queue by what became of them", metrics.messages.clone());
        registry.register("event_queue_failures", "Polls of the event queue that failed", metrics.failures.clone());
        registry.register(
            "event_queue_reachable",
            "1 while the event queue can be read; 0 also when there is none",
            metrics.reachable.clone(),
        );
        metrics
    }

    /// Counts a message.
    pub fn heard(&self, what: Heard) {
        self.messages.get_or_create(&ResultLabels { result: what.as_str() }).inc();
    }

    /// A poll ended, with messages or without.
    pub fn reached(&self) {
        self.reachable.set(1);
    }

    /// The queue is not polled by this replica any more.
    pub fn stopped(&self) {
        self.reachable.set(0);
    }

    /// A poll failed.
    pub fn failed(&self) {
        self.reachable.set(0);
        self.failures.inc();
    }
}
