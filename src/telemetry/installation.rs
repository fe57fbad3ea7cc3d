//! `keelson_installation_info`: the id of this installation. No I/O.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InstallationLabels {
    id: String,
}

/// The id of this installation, while this replica is the leader.
#[derive(Debug, Clone, Default)]
pub struct InstallationMetrics(Family<InstallationLabels, Gauge>);

impl InstallationMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("installation_info", "1 for the id of this installation", metrics.0.clone());
        metrics
    }

    /// Shows the id.
    pub fn set(&self, id: &str) {
        self.0.clear();
        self.0.get_or_create(&InstallationLabels { id: id.to_owned() }).set(1);
    }

    /// Removes the id: this replica is no longer the leader.
    pub fn clear(&self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Metrics;

    #[test]
    fn only_the_current_id_is_shown() {
        let metrics = Metrics::new();
        metrics.installation().set("lost");
        metrics.installation().set("here");
        assert!(metrics.encode().contains("keelson_installation_info{id=\"here\"} 1"), "{}", metrics.encode());
        assert!(!metrics.encode().contains("lost"));
        metrics.clear_leader_metrics();
        assert!(!metrics.encode().contains("here"));
    }
}
