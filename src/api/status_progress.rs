//! Status of upgrades and of the GitOps agent. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet_rollout_status::WaveRequestStatus;

/// Maximum past upgrades.
pub const MAX_HISTORY: usize = 10;
/// Maximum failing objects listed.
pub const MAX_FAILING: usize = 10;
/// Maximum components of an agent.
pub const MAX_COMPONENTS: usize = 20;

/// A change of an object, from the edit until the object is Ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeStatus {
    /// `Create`, `Update` or `Delete`.
    #[serde(rename = "type")]
    pub change_type: ChangeType,
    /// Generation of the spec that it leads to.
    pub generation: i64,
    /// When it started: the time of the creation or deletion, or of the first reconcile after the edit.
    pub started_at: Time,
    /// When the object was Ready with it and nothing of it waited for a maintenance window, or when it was suspended or
    /// only observed; absent while it is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What it waits for; absent while Keelson or AWS works on it, and once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<ChangeWait>,
}

/// A wait of a change for something other than AWS's work.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeWait {
    /// Reason of the condition `Ready`, or `Soaking`; `OutsideMaintenanceWindow` also while the object is Ready.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// Type of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ChangeType {
    Create,
    Update,
    Delete,
}

impl ChangeType {
    /// The type as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
        }
    }
}

/// The upgrade in progress, and past ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// Version at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub from: Option<String>,
    /// Target version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub to: Option<String>,
    /// The versions of the path, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    pub path: Vec<String>,
    /// Position in the path that is in progress, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// Total number of steps: of the control plane, of add-ons, of node groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<i32>,
    /// Id of the update in EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub update_id: Option<String>,
    /// The step in progress or the next one, and what blocks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the step in progress started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the step in progress should end, estimated from earlier durations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_end: Option<Time>,
    /// The version to which following node groups may be upgraded now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub node_group_version: Option<String>,
    /// How long the cluster has been healthy since the control plane's last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakStatus>,
    /// Verdict of each check before the upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["check"]))]
    pub preflight: Vec<PreflightCheck>,
    /// When the next maintenance window opens, with its zone's offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub next_window: Option<String>,
    /// The last warning about the end of AWS support, such as `1.33/Standard/90`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub support_warning: Option<String>,
    /// What the cluster says to the FleetRollout that selects it, of its control plane and node groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<WaveRequestStatus>,
    /// The same of its GitOps agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_wave: Option<WaveRequestStatus>,
    /// The same of the revision of the agent's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_wave: Option<WaveRequestStatus>,
    /// The last ten completed steps, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<UpgradeRecord>,
}

/// The soak after a control plane step. Only healthy time counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoakStatus {
    /// Healthy seconds so far.
    #[serde(default)]
    pub seconds: i64,
    /// Since when it has been healthy; this time is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Time>,
}

/// A check before an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightCheck {
    /// Name of the check, such as `Insights`.
    #[schemars(length(max = 64))]
    pub check: String,
    /// `Passed`, `Warning`, `Failed` or `Unknown`.
    pub verdict: Verdict,
    /// Result of the check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Verdict {
    Passed,
    Warning,
    Failed,
    Unknown,
}

/// A completed step of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeRecord {
    /// Version reached.
    #[schemars(length(max = 32))]
    pub version: String,
    /// When it started.
    pub started_at: Time,
    /// How long it took.
    pub seconds: i64,
}

/// State of the GitOps agent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitOpsStatus {
    /// `flux` or `argocd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub agent: Option<String>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub version: Option<String>,
    /// The newest version of the agent that is built into this Keelson.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub bundled_version: Option<String>,
    /// The upgrade of the agent that waits or is in progress; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<AgentUpgradeStatus>,
    /// Whether Git owns the agent's manifests.
    #[serde(default)]
    pub adopted: bool,
    /// Fields of `spec.gitops` that were last applied: differences from the spec are steps of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub applied: Vec<AgentField>,
    /// The agent's controllers, and whether they are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub components: Vec<GitOpsComponent>,
    /// Address of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Whether Git owns the source that Keelson created: then no FleetRollout holds its revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source_adopted: bool,
    /// How a FleetRollout with the gate `Revision` holds the source; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_revision: Option<HeldRevisionStatus>,
    /// Revision that the source has fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub source_revision: Option<String>,
    /// Revision that the agent last tried to apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_attempted_revision: Option<String>,
    /// Revision that the agent last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_applied_revision: Option<String>,
    /// The last applied revision in short form, seven characters of a commit, for the GITOPS column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub revision: Option<String>,
    /// Health of the agent's objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<GitOpsObjects>,
    /// Failing objects; at most ten are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub failing: Vec<FailingObject>,
    /// Number of objects in the agent's inventories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<i64>,
    /// Why the agent cannot be watched at present; it is polled every 10 to 60 seconds instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub watch_error: Option<String>,
    /// When the cluster last answered. While it answers, this is up to ten minutes old: it alone is not worth a write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<Time>,
    /// Since when the cluster is unreachable; the other fields are from then. Absent: it is reachable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Time>,
}

/// The revision of a source that a FleetRollout holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldRevisionStatus {
    /// Hash of the source's address and reference: what follows counts for this source.
    #[schemars(length(max = 16))]
    pub source: String,
    /// The revision at which the source is held; absent: it follows its reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub allowed: Option<String>,
    /// The newest revision that a cluster of the first wave has fetched, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub wanted: Option<String>,
    /// What it waits for, or why it is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// An upgrade of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentUpgradeStatus {
    /// Present version.
    #[schemars(length(max = 32))]
    pub from: String,
    /// Desired version.
    #[schemars(length(max = 32))]
    pub to: String,
    /// What requested it, and what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the maintenance window that it waits for opens, with its zone's offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub next_window: Option<String>,
    /// When it started. It is finished even if its window closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// Maximum entries of `applied`.
pub const MAX_AGENT_FIELDS: usize = 100;

/// A field of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentField {
    /// Path below `spec.gitops`.
    #[schemars(length(max = 253))]
    pub field: String,
    /// Its value; a long one is cut and followed by a digest.
    #[schemars(length(max = 512))]
    pub value: String,
}

/// A controller of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitOpsComponent {
    /// Name of the controller.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Whether it has a ready pod.
    #[serde(default)]
    pub ready: bool,
    /// Whether Pods of an earlier version still run: the newest ones are not ready yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updating: bool,
    /// Why not, from the cluster's conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Health of the agent's objects (Kustomizations, HelmReleases, Applications).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitOpsObjects {
    /// Objects that are ready or in progress.
    #[serde(default)]
    pub running: i32,
    /// Failing objects.
    #[serde(default)]
    pub failing: i32,
    /// Suspended objects.
    #[serde(default)]
    pub suspended: i32,
}

/// A failing object of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingObject {
    /// Kind of the object.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Namespace and name.
    #[schemars(length(max = 320))]
    pub name: String,
    /// Reason of its Ready condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// Message of its Ready condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// A health issue that AWS reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthIssue {
    /// AWS's code of the issue.
    #[schemars(length(max = 128))]
    pub code: String,
    /// AWS's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Affected resources: at most ten ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub resource_ids: Vec<String>,
}
