//! Metrics of hooks. No I/O.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HookLabels {
    result: &'static str,
}

/// Global to the process, as for calls to the management cluster's API.
static HOOKS: LazyLock<Family<HookLabels, Counter>> = LazyLock::new(Family::default);

pub(super) fn register(registry: &mut Registry) {
    registry.register("hooks", "Hooks of EksClusters that started, succeeded, failed or were skipped", HOOKS.clone());
}

/// Counts a hook that `started`, `succeeded`, `failed` or was `skipped`.
pub fn count(result: &'static str) {
    HOOKS.get_or_create(&HookLabels { result }).inc();
}
