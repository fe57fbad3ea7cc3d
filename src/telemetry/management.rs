//! Metrics of calls to the management cluster's API. No I/O.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
}

/// Global to the process, because the callers hold only a client.
static TIMEOUTS: LazyLock<Family<CallLabels, Counter>> = LazyLock::new(Family::default);

pub(super) fn register(registry: &mut Registry) {
    let help = "Calls to the management cluster's API that timed out";
    registry.register("management_api_timeouts", help, TIMEOUTS.clone());
}

/// Counts a call that timed out.
pub fn count_timeout(call: &'static str) {
    TIMEOUTS.get_or_create(&CallLabels { call }).inc();
}
