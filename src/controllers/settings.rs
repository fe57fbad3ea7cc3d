//! How the operator was started, as far as reconciles know. Pure.

use std::time::Duration;

use super::deletions::Limits;
use super::installation::Source;
use crate::gitops::validate::SourcePolicy;
use crate::resources::cloud::Intervals;

/// How the operator was started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often what is at rest is looked at.
    pub intervals: Intervals,
    /// How long a read may miss a write.
    pub read_after_write_window: Duration,
    /// What a Git source may be.
    pub sources: SourcePolicy,
    /// Objects that name no AwsAccount use the operator's own credentials, where there is no AwsAccount `default`.
    pub allow_ambient_account: bool,
    /// Reconciles of a kind side by side.
    pub concurrency: u16,
    /// Where STS is, when it is not AWS's own (an emulator).
    pub sts_endpoint: Option<String>,
    /// Namespace and name of the ConfigMap that keeps what was learned; none: it is not kept.
    pub learned_in: Option<(String, String)>,
    /// How many clusters may begin to be deleted within an hour without a person's word.
    pub max_deletions: Limits,
    /// Where the id of this installation is from.
    pub installation: Source,
    /// Namespace and name of the ConfigMap that keeps which did; none: they are only remembered.
    pub deletions_in: Option<(String, String)>,
    /// URL of the queue that tells of changes in AWS; none: they are found when drift is looked for.
    pub event_queue_url: Option<String>,
    /// Ids of the principals whose messages in that queue are read; empty: everybody's.
    pub event_queue_sender_ids: Vec<String>,
    /// How long a deletion waits for the load balancers of the workload.
    pub load_balancer_timeout: Duration,
    /// Of how many clusters the agent is watched; the others are asked now and then.
    pub max_watches: usize,
    /// What the deadlines of waits are multiplied by: 1, but for tests.
    pub wait_scale: f64,
    /// Only PlanApprovals approve; annotations do not count.
    pub require_approval_objects: bool,
}
