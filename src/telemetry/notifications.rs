//! Metrics of notifications. No I/O.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

static NOTIFICATIONS: LazyLock<Family<ResultLabels, Counter>> = LazyLock::new(Family::default);
static PENDING: LazyLock<Gauge> = LazyLock::new(Gauge::default);

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The endpoint has taken it.
    Sent,
    /// It is tried again.
    Failed,
    /// The endpoint refuses it for good.
    Rejected,
}

impl Attempt {
    const ALL: [Self; 3] = [Self::Sent, Self::Failed, Self::Rejected];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

pub(super) fn register(registry: &mut Registry) {
    let help = "Notifications by result of the attempt: sent; failed (tried again); rejected (given up)";
    registry.register("notifications", help, NOTIFICATIONS.clone());
    registry.register("notifications_pending", "Notifications that are to be sent", PENDING.clone());
    // From the start, so that a rate has a first value.
    for result in Attempt::ALL {
        NOTIFICATIONS.get_or_create(&ResultLabels { result: result.as_str() }).inc_by(0);
    }
}

/// Counts an attempt.
pub fn count(result: Attempt) {
    NOTIFICATIONS.get_or_create(&ResultLabels { result: result.as_str() }).inc();
}

/// Sets how many are to be sent.
pub fn set_pending(count: usize) {
    PENDING.set(i64::try_from(count).unwrap_or(i64::MAX));
}
