//! Operator settings used by reconciles. Pure.

use std::time::Duration;

use super::installation::Source;
use crate::agents::hub;
use crate::agents::validate_source::SourcePolicy;
use crate::controllers::deletions::AllLimits;
use crate::resources::cloud::Intervals;

/// Operator settings used by reconciles.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often steady resources are polled.
    pub intervals: Intervals,
    /// How long reads may miss a write.
    pub read_after_write_window: Duration,
    /// Restrictions on Git sources.
    pub sources: SourcePolicy,
    /// Whether objects without `accountRef` use the operator's own credentials when there is no AwsAccount `default`.
    pub allow_ambient_account: bool,
    /// Concurrent reconciles per kind.
    pub concurrency: u16,
    /// STS endpoint, if not AWS's own (an emulator).
    pub sts_endpoint: Option<String>,
    /// Namespace and name of the ConfigMap with learned durations; `None`: they are not stored.
    pub estimates_configmap: Option<(String, String)>,
    /// How many deletions may begin within an hour without a release.
    pub max_deletions: AllLimits,
    /// Sources of the installation id.
    pub installation: Source,
    /// Namespace and name of the ConfigMap that records deletions; `None`: they are kept in memory only.
    pub deletions_configmap: Option<(String, String)>,
    /// URL of the queue with change events; `None`: changes are found by polling for drift.
    pub event_queue_url: Option<String>,
    /// Ids of the principals whose messages are accepted; empty: all.
    pub event_queue_sender_ids: Vec<String>,
    /// How long a deletion waits for the workload's load balancers.
    pub load_balancer_timeout: Duration,
    /// The number of clusters whose agent is watched; the others are polled.
    pub max_watches: usize,
    /// Factor for wait deadlines: 1, except in tests.
    pub wait_scale: f64,
    /// Where clusters are registered, and how.
    pub registry: hub::Settings,
    /// Whether only PlanApprovals approve, and annotations do not count.
    pub require_approval_objects: bool,
}
