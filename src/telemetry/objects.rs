//! `keelson_objects`: the number of objects of a kind by the status of their Ready condition. No I/O.
//!
//! Stores the status of each object and counts on request: an object counts once, however often it is updated.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The possible statuses of a condition.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    condition: &'static str,
    status: &'static str,
}

/// The Ready condition of every object that this replica reconciles.
#[derive(Clone, Default)]
pub struct ObjectMetrics(Arc<Mutex<HashMap<(&'static str, String), &'static str>>>);

impl fmt::Debug for ObjectMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectMetrics")
    }
}

impl ObjectMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// Sets the Ready condition of the object `uid` to `status` (`True`, `False` or `Unknown`).
    pub fn set_ready(&self, kind: &'static str, uid: &str, status: &'static str) {
        self.lock().insert((kind, uid.to_owned()), status);
    }

    /// Removes a deleted object.
    pub fn forget(&self, kind: &'static str, uid: &str) {
        self.lock().remove(&(kind, uid.to_owned()));
    }

    /// Removes all objects: this replica is no longer the leader.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, String), &'static str>> {
        self.0.lock()
    }

    fn counts(&self) -> BTreeMap<(&'static str, &'static str), i64> {
        let mut counts = BTreeMap::new();
        for ((kind, _), status) in self.lock().iter() {
            for other in STATUSES {
                counts.entry((*kind, other)).or_default();
            }
            *counts.entry((*kind, *status)).or_default() += 1;
        }
        counts
    }
}

impl Collector for ObjectMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = self.counts();
        if counts.is_empty() {
            return Ok(());
        }
        let help = "Objects by the status of each condition";
        let mut family = encoder.encode_descriptor("objects", help, None, MetricType::Gauge)?;
        for ((kind, status), count) in counts {
            let labels = ConditionLabels { kind, condition: "Ready", status };
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Metrics;

    fn counted(metrics: &Metrics, status: &str) -> Option<u32> {
        let line = format!("keelson_objects{{kind=\"EksCluster\",condition=\"Ready\",status=\"{status}\"}} ");
        metrics.encode().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
    }

    #[test]
    fn object_is_counted_once_by_its_last_status() {
        let metrics = Metrics::new();
        for status in ["False", "True", "True"] {
            metrics.objects().set_ready("EksCluster", "uid-1", status);
        }
        metrics.objects().set_ready("EksCluster", "uid-2", "False");
        assert_eq!((counted(&metrics, "True"), counted(&metrics, "False")), (Some(1), Some(1)));
        metrics.objects().forget("EksCluster", "uid-2");
        assert_eq!((counted(&metrics, "True"), counted(&metrics, "False")), (Some(1), Some(0)));
    }

    #[test]
    fn former_leader_reports_no_objects_agents_or_queue() {
        let metrics = Metrics::new();
        assert!(!metrics.encode().contains("event_queue_reachable"), "no queue");
        metrics.objects().set_ready("EksCluster", "uid-1", "True");
        metrics.gitops().set_state("shop", "demo", true, 0);
        metrics.gitops().record_response("shop", "demo", std::time::Instant::now());
        metrics.events().record_poll();
        assert!(metrics.encode().contains("\nkeelson_event_queue_reachable 1\n"), "{}", metrics.encode());
        metrics.events().record_poll_failure();
        assert!(metrics.encode().contains("\nkeelson_event_queue_reachable 0\n"), "{}", metrics.encode());
        metrics.clear_leader_metrics();
        let text = metrics.encode();
        assert_eq!(counted(&metrics, "True"), None);
        assert!(!text.contains("cluster=\"demo\"") && !text.contains("event_queue_reachable"), "{text}");
    }
}
