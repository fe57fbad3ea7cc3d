//! Metrics of FleetRollouts. Stores the last state of each, and writes the series on request: a deleted one leaves none.
//! No I/O.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RolloutLabels {
    name: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReleaseLabels {
    name: String,
    gate: &'static str,
    target: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    name: String,
    gate: &'static str,
    target: String,
    state: &'static str,
}

/// The state of a FleetRollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutState {
    pub name: String,
    /// Number of clusters that it selects.
    pub members: i64,
    pub releases: Vec<ReleaseState>,
}

/// The state of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseState {
    pub gate: &'static str,
    pub target: String,
    pub state: &'static str,
    /// Clusters that may begin, or have begun.
    pub tickets: i64,
    /// Clusters that have the version.
    pub at_target: i64,
    pub failed: i64,
}

/// The state of all FleetRollouts.
static ALL: Mutex<Vec<RolloutState>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct RolloutMetrics;

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(RolloutMetrics));
}

/// Sets the state of all.
pub fn set(all: impl Iterator<Item = RolloutState>) {
    *ALL.lock() = all.collect();
}

/// Removes all: this replica is no longer the leader.
pub fn forget_all() {
    ALL.lock().clear();
}

type OfRelease = fn(&ReleaseState) -> i64;

impl Collector for RolloutMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = ALL.lock().clone();
        let mut members = encoder.encode_descriptor(
            "rollout_members",
            "EksClusters that a FleetRollout selects",
            None,
            MetricType::Gauge,
        )?;
        for rollout in &all {
            let labels = RolloutLabels { name: rollout.name.clone() };
            ConstGauge::new(rollout.members).encode(members.encode_family(&labels)?)?;
        }
        let mut states = encoder.encode_descriptor(
            "rollout_release_state",
            "1 for the state of each release of a FleetRollout",
            None,
            MetricType::Gauge,
        )?;
        for (rollout, release) in all.iter().flat_map(|rollout| rollout.releases.iter().map(move |one| (rollout, one)))
        {
            let ReleaseState { gate, target, state, .. } = release.clone();
            let labels = StateLabels { name: rollout.name.clone(), gate, target, state };
            ConstGauge::new(1_i64).encode(states.encode_family(&labels)?)?;
        }
        let numbers: [(&str, &str, OfRelease); 3] = [
            ("rollout_tickets", "Clusters that may begin, or have begun, and have not finished", |release| {
                release.tickets
            }),
            ("rollout_clusters_at_target", "Clusters in waves that have the version", |release| release.at_target),
            ("rollout_clusters_failed", "Clusters in waves that failed", |release| release.failed),
        ];
        for (name, help, number) in numbers {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (rollout, release) in
                all.iter().flat_map(|rollout| rollout.releases.iter().map(move |one| (rollout, one)))
            {
                let labels =
                    ReleaseLabels { name: rollout.name.clone(), gate: release.gate, target: release.target.clone() };
                ConstGauge::new(number(release)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
