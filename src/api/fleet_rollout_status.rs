//! Status of a FleetRollout, and what a cluster says to it. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet_rollout::Gate;
use super::fleet_rollout_check::CheckStatus;
use super::schema;

/// Maximum number of tickets of a release.
pub const MAX_TICKETS: usize = 200;
/// Maximum number of approved clusters of a wave.
pub const MAX_APPROVED: usize = 1000;

/// Observed state of the rollout.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetRolloutStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Standard Kubernetes conditions: Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Number of clusters that the rollout selects.
    #[serde(default)]
    pub members: i32,
    /// Value of the annotation `keelson.dev/retry` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_retry: Option<String>,
    /// The releases: the one that needs most attention first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 60), extend("x-kubernetes-list-type" = "atomic"))]
    pub releases: Vec<ReleaseStatus>,
}

/// A version that clusters of the rollout get.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// What is upgraded.
    pub gate: Gate,
    /// The version: of Kubernetes, such as `1.36`, of the agent, such as `flux-v2.9.5`, or the start
    /// of a commit and a hash of its source, such as `76087da78cdc-1a2b3c4d5e6f7081`.
    #[schemars(length(max = 64))]
    pub target: String,
    /// The whole revision, of gate `Revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub revision: Option<String>,
    /// Address of the source, of gate `Revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub source: Option<String>,
    /// State of the release.
    pub state: ReleaseState,
    /// The first wave that has not passed; absent: all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub wave: Option<String>,
    /// Clusters that have the version, of all, such as `3/9`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub progress: String,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the first cluster asked for it.
    pub since: Time,
    /// Why it halted; it stays halted until the annotation `keelson.dev/retry` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<HaltStatus>,
    /// When it was last retried: failures before that no longer count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Time>,
    /// Its waves, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 21), extend("x-kubernetes-list-type" = "atomic"))]
    pub waves: Vec<WaveStatus>,
    /// The clusters that may begin, or have begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "atomic"))]
    pub tickets: Vec<TicketStatus>,
}

/// State of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum ReleaseState {
    /// Nothing new begins.
    Halted,
    /// A wave waits for a person.
    WaitingForApproval,
    /// A person must change something.
    Blocked,
    /// `spec.suspend` is true.
    Suspended,
    /// Clusters are upgraded, or wait for others.
    Progressing,
    /// A wave is observed before the next one begins.
    Soaking,
    /// All waves have passed, or no cluster asks for more: a wave is idle while the specs of its clusters do not ask for the version.
    Completed,
}

impl ReleaseState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Halted,
        Self::WaitingForApproval,
        Self::Blocked,
        Self::Suspended,
        Self::Progressing,
        Self::Soaking,
        Self::Completed,
    ];

    /// The state as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Halted => "Halted",
            Self::WaitingForApproval => "WaitingForApproval",
            Self::Blocked => "Blocked",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Soaking => "Soaking",
            Self::Completed => "Completed",
        }
    }
}

/// Why a release halted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaltStatus {
    /// The wave that failed.
    #[schemars(length(max = 63))]
    pub wave: String,
    /// Which clusters failed, and why.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When it halted.
    pub since: Time,
}

/// A wave of a release.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    /// Name of the wave.
    #[schemars(length(max = 63))]
    pub name: String,
    /// State of the wave.
    pub state: WaveState,
    /// Number of its clusters.
    #[serde(default)]
    pub members: i32,
    /// Of them, those that have the version.
    #[serde(default)]
    pub at_target: i32,
    /// Of them, those that may begin, or have begun.
    #[serde(default)]
    pub in_progress: i32,
    /// Of them, those that failed.
    #[serde(default)]
    pub failed: i32,
    /// When it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_at: Option<Time>,
    /// Since when all its clusters have the version and are healthy, until it passes; of gates `Agent` and
    /// `Revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Time>,
    /// When a person let it pass without its checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_at: Option<Time>,
    /// The field manager that wrote the annotation `keelson.dev/promote` then; absent: that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub promoted_by: Option<String>,
    /// What was found of its checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub checks: Vec<CheckStatus>,
    /// The value of the annotation `keelson.dev/approve` that lets the clusters begin that wait for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub approval_hash: Option<String>,
    /// Digests of the UIDs of clusters that are approved and do not have the version yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 8)), extend("x-kubernetes-list-type" = "atomic"))]
    pub approved: Vec<String>,
}

/// State of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WaveState {
    /// An earlier wave has not passed, or no cluster asks for the version.
    Pending,
    WaitingForApproval,
    Progressing,
    Soaking,
    Failed,
    Passed,
}

/// A cluster that may begin its step, or has begun it. It counts until the cluster says that it has finished.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketStatus {
    /// Namespace and name of the cluster.
    #[schemars(length(max = 320))]
    pub cluster: String,
    /// UID of the cluster.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// What the cluster asked for.
    #[schemars(length(max = 64))]
    pub id: String,
    /// The wave in which it counts.
    #[schemars(length(max = 63))]
    pub wave: String,
    /// When it was given.
    pub since: Time,
}

/// What a cluster says to its FleetRollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveRequestStatus {
    /// Id of the step that the cluster is ready to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub asks: Option<String>,
    /// Id of the step that it begins, or has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub claimed: Option<String>,
    /// Id of the last step that it has finished, or no longer asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub released: Option<String>,
    /// Since when the operator leads that wrote this, in milliseconds since 1970. A later leader writes it again before it begins the
    /// step, so that a late write of an earlier one is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,
}
