//! Metrics of the clusters' agents. No I/O.
//!
//! Only these have series per cluster: three each, so that an alert can name the cluster.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClusterLabels {
    namespace: String,
    cluster: String,
}

impl ClusterLabels {
    fn of(namespace: &str, cluster: &str) -> Self {
        Self { namespace: namespace.to_owned(), cluster: cluster.to_owned() }
    }
}

/// Metrics of the agents in workload clusters.
#[derive(Debug, Clone)]
pub struct GitOpsMetrics {
    ready: Family<ClusterLabels, Gauge>,
    failing: Family<ClusterLabels, Gauge>,
    contacts: Contacts,
    watches: Gauge,
}

impl GitOpsMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = GitOpsMetrics {
            ready: Family::default(),
            failing: Family::default(),
            contacts: Contacts::default(),
            watches: Gauge::default(),
        };
        registry.register("gitops_ready", "1 while GitOpsReady of the cluster is True", metrics.ready.clone());
        let failing = "Objects of the cluster's agent that fail";
        registry.register("gitops_failing_objects", failing, metrics.failing.clone());
        registry.register(
            "gitops_watches",
            "Workload clusters whose agent is watched; the others are polled",
            metrics.watches.clone(),
        );
        registry.register_collector(Box::new(metrics.contacts.clone()));
        metrics
    }

    /// Sets the state of a cluster's agent.
    pub fn set_state(&self, namespace: &str, cluster: &str, ready: bool, failing: i32) {
        let labels = ClusterLabels::of(namespace, cluster);
        self.ready.get_or_create(&labels).set(ready.into());
        self.failing.get_or_create(&labels).set(failing.into());
    }

    /// Records a response of the workload cluster at `at`.
    pub fn record_response(&self, namespace: &str, cluster: &str, at: Instant) {
        self.contacts.lock().insert(ClusterLabels::of(namespace, cluster), at);
    }

    /// Removes a cluster that was deleted or no longer has an agent.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let labels = ClusterLabels::of(namespace, cluster);
        self.ready.remove(&labels);
        self.failing.remove(&labels);
        self.contacts.lock().remove(&labels);
    }

    /// Removes everything: this replica is no longer the leader.
    pub fn forget_all(&self) {
        self.ready.clear();
        self.failing.clear();
        self.contacts.lock().clear();
    }

    /// Counts a watch until the returned guard is dropped.
    pub fn count_watch(&self) -> Watching {
        self.watches.inc();
        Watching(self.watches.clone())
    }
}

/// Guard of an open watch.
#[derive(Debug)]
pub struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The last response of each cluster: the metric is its age at the time of the scrape.
#[derive(Clone, Default)]
struct Contacts(Arc<Mutex<HashMap<ClusterLabels, Instant>>>);

impl Contacts {
    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<ClusterLabels, Instant>> {
        self.0.lock()
    }
}

impl fmt::Debug for Contacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contacts")
    }
}

impl Collector for Contacts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let contacts = self.lock().clone();
        if contacts.is_empty() {
            return Ok(());
        }
        let help = "Time since the last response of the workload cluster";
        let mut family =
            encoder.encode_descriptor("gitops_contact_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (labels, at) in &contacts {
            ConstGauge::new(at.elapsed().as_secs_f64()).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::telemetry::Metrics;

    const OF: &str = "{namespace=\"shop\",cluster=\"demo\"}";

    #[test]
    fn cluster_metrics_are_removed_with_the_cluster() {
        let metrics = Metrics::new();
        let gitops = metrics.gitops();
        gitops.set_state("shop", "demo", false, 3);
        gitops.record_response("shop", "demo", std::time::Instant::now().checked_sub(Duration::from_secs(90)).unwrap());
        let text = metrics.encode();
        for line in [format!("keelson_gitops_ready{OF} 0"), format!("keelson_gitops_failing_objects{OF} 3")] {
            assert!(text.contains(&line), "{line} not in\n{text}");
        }
        assert!(text.contains(&format!("keelson_gitops_contact_age_seconds{OF} 90.")), "{text}");
        gitops.forget("shop", "demo");
        assert!(!metrics.encode().contains(OF), "{}", metrics.encode());
    }

    #[test]
    fn watch_is_counted_while_open() {
        let metrics = Metrics::new();
        let watching = metrics.gitops().count_watch();
        assert!(metrics.encode().contains("keelson_gitops_watches 1"));
        drop(watching);
        assert!(metrics.encode().contains("keelson_gitops_watches 0"));
    }
}
