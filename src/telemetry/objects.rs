//! Metrics of the objects that this replica reconciles: their conditions, and what each cluster is. No I/O.
//!
//! Stores the last state of each object and writes the series on request: an object counts once, however often it is
//! updated, and a deleted one leaves no series.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// The possible statuses of a condition.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CountLabels {
    kind: &'static str,
    condition: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    namespace: String,
    name: String,
    r#type: String,
    status: String,
    reason: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InfoLabels {
    namespace: String,
    name: String,
    cluster_name: String,
    account: String,
    region: String,
    version: String,
    platform_version: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SupportLabels {
    namespace: String,
    name: String,
    support: &'static str,
}

/// A condition of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionState {
    pub condition_type: String,
    pub status: String,
    pub reason: String,
}

/// What a cluster is in AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// Name in EKS.
    pub name: String,
    pub account: String,
    pub region: String,
    /// Kubernetes version of the control plane.
    pub version: String,
    /// EKS's platform version, such as `eks.12`.
    pub platform_version: String,
    /// Ends of support by its kind (`standard`, `extended`), in seconds since 1970.
    pub support_ends: Vec<(&'static str, i64)>,
}

/// The state of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectState {
    pub namespace: String,
    pub name: String,
    /// Status of Ready: `True`, `False` or `Unknown`.
    pub ready: &'static str,
    pub conditions: Vec<ConditionState>,
    /// For an EksCluster whose control plane exists.
    pub cluster: Option<ClusterState>,
}

/// The state of every object that this replica reconciles.
#[derive(Clone, Default)]
pub struct ObjectMetrics(Arc<Mutex<HashMap<(&'static str, String), ObjectState>>>);

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

    /// Sets the state of the object `uid`.
    pub fn set(&self, kind: &'static str, uid: &str, state: ObjectState) {
        self.lock().insert((kind, uid.to_owned()), state);
    }

    /// Removes a deleted object.
    pub fn forget(&self, kind: &'static str, uid: &str) {
        self.lock().remove(&(kind, uid.to_owned()));
    }

    /// Removes all objects: this replica is no longer the leader.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, String), ObjectState>> {
        self.0.lock()
    }

    /// The objects, ordered, so that a page changes only where they do.
    fn sorted(&self) -> Vec<(&'static str, ObjectState)> {
        let mut all: Vec<_> = self.lock().iter().map(|((kind, _), state)| (*kind, state.clone())).collect();
        all.sort_by(|(a, one), (b, other)| (a, &one.namespace, &one.name).cmp(&(b, &other.namespace, &other.name)));
        all
    }
}

/// Objects by kind and status of Ready, with zeros for statuses that no object has.
fn counts(objects: &[(&'static str, ObjectState)]) -> BTreeMap<(&'static str, &'static str), i64> {
    let mut counts = BTreeMap::new();
    for (kind, state) in objects {
        for other in STATUSES {
            counts.entry((*kind, other)).or_default();
        }
        *counts.entry((*kind, state.ready)).or_default() += 1;
    }
    counts
}

impl Collector for ObjectMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let objects = self.sorted();
        if objects.is_empty() {
            return Ok(());
        }
        let help = "Objects by the status of their Ready condition";
        let mut family = encoder.encode_descriptor("objects", help, None, MetricType::Gauge)?;
        for ((kind, status), count) in counts(&objects) {
            let labels = CountLabels { kind, condition: "Ready", status };
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Always 1: the status and reason that a condition of an object has now";
        let mut family = encoder.encode_descriptor("condition", help, None, MetricType::Gauge)?;
        for (kind, state) in &objects {
            for condition in &state.conditions {
                let labels = ConditionLabels {
                    kind,
                    namespace: state.namespace.clone(),
                    name: state.name.clone(),
                    r#type: condition.condition_type.clone(),
                    status: condition.status.clone(),
                    reason: condition.reason.clone(),
                };
                ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
            }
        }
        let clusters: Vec<_> = objects.iter().filter_map(|(_, state)| Some((state, state.cluster.as_ref()?))).collect();
        if clusters.is_empty() {
            return Ok(());
        }
        let help = "Always 1: what the cluster is in AWS";
        let mut family = encoder.encode_descriptor("cluster_info", help, None, MetricType::Gauge)?;
        for (state, cluster) in &clusters {
            let labels = InfoLabels {
                namespace: state.namespace.clone(),
                name: state.name.clone(),
                cluster_name: cluster.name.clone(),
                account: cluster.account.clone(),
                region: cluster.region.clone(),
                version: cluster.version.clone(),
                platform_version: cluster.platform_version.clone(),
            };
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        let help = "End of the support that EKS gives the cluster's Kubernetes version, since 1970";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("cluster_support_end_timestamp", help, unit, MetricType::Gauge)?;
        for (state, cluster) in &clusters {
            for (support, at) in &cluster.support_ends {
                let (namespace, name) = (state.namespace.clone(), state.name.clone());
                let labels = SupportLabels { namespace, name, support };
                ConstGauge::new(*at).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn state(name: &str, ready: &'static str) -> ObjectState {
        let reason = if ready == "True" { "Available" } else { "Creating" };
        let (condition_type, status) = ("Ready".to_owned(), ready.to_owned());
        let conditions = vec![ConditionState { condition_type, status, reason: reason.to_owned() }];
        ObjectState { namespace: "shop".into(), name: name.into(), ready, conditions, cluster: None }
    }

    fn counted(metrics: &Metrics, status: &str) -> Option<u32> {
        let line = format!("keelson_objects{{kind=\"EksCluster\",condition=\"Ready\",status=\"{status}\"}} ");
        metrics.encode().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
    }

    #[test]
    fn object_is_counted_once_by_its_last_status() {
        let metrics = Metrics::new();
        for status in ["False", "True", "True"] {
            metrics.objects().set("EksCluster", "uid-1", state("a", status));
        }
        metrics.objects().set("EksCluster", "uid-2", state("b", "False"));
        assert_eq!((counted(&metrics, "True"), counted(&metrics, "False")), (Some(1), Some(1)));
        metrics.objects().forget("EksCluster", "uid-2");
        assert_eq!((counted(&metrics, "True"), counted(&metrics, "False")), (Some(1), Some(0)));
    }

    #[test]
    fn a_condition_has_one_series_with_its_status_and_reason_of_now() {
        let metrics = Metrics::new();
        for status in ["False", "True"] {
            metrics.objects().set("EksCluster", "uid-1", state("a", status));
        }
        let text = metrics.encode();
        let found: Vec<_> = text.lines().filter(|line| line.starts_with("keelson_condition{")).collect();
        let labels = "kind=\"EksCluster\",namespace=\"shop\",name=\"a\",type=\"Ready\"";
        assert_eq!(found, [format!("keelson_condition{{{labels},status=\"True\",reason=\"Available\"}} 1")]);
        assert!(!text.contains("keelson_cluster_info{"), "{text}");
    }

    #[test]
    fn cluster_is_described_with_the_ends_of_its_support() {
        let metrics = Metrics::new();
        let cluster = ClusterState {
            name: "prod".into(),
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            version: "1.36".into(),
            platform_version: "eks.3".into(),
            support_ends: vec![("standard", 1_800_000_000)],
        };
        metrics.objects().set("EksCluster", "uid-1", ObjectState { cluster: Some(cluster), ..state("a", "True") });
        let text = metrics.encode();
        let info = "keelson_cluster_info{namespace=\"shop\",name=\"a\",cluster_name=\"prod\",account=\"123456789012\",\
                    region=\"eu-west-1\",version=\"1.36\",platform_version=\"eks.3\"} 1";
        let end = "keelson_cluster_support_end_timestamp_seconds{namespace=\"shop\",name=\"a\",support=\"standard\"} \
                   1800000000";
        assert!(text.contains(info) && text.contains(end), "{text}");
    }

    #[test]
    fn former_leader_reports_no_objects_agents_or_queue() {
        let metrics = Metrics::new();
        assert!(!metrics.encode().contains("event_queue_reachable"), "no queue");
        metrics.objects().set("EksCluster", "uid-1", state("demo", "True"));
        metrics.gitops().set_state("shop", "demo", true, 0);
        metrics.gitops().record_response("shop", "demo", std::time::Instant::now());
        metrics.events().record_poll();
        assert!(metrics.encode().contains("\nkeelson_event_queue_reachable 1\n"), "{}", metrics.encode());
        metrics.events().record_poll_failure();
        assert!(metrics.encode().contains("\nkeelson_event_queue_reachable 0\n"), "{}", metrics.encode());
        metrics.clear_leader_metrics();
        let text = metrics.encode();
        assert_eq!(counted(&metrics, "True"), None);
        assert!(!text.contains("demo") && !text.contains("event_queue_reachable"), "{text}");
    }
}
