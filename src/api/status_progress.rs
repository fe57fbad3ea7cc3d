//! The parts of status that tell how far an upgrade is and what the GitOps agent says. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most past upgrades that are kept.
pub const MAX_HISTORY: usize = 10;
/// Most failing objects that are named.
pub const MAX_FAILING: usize = 10;
/// Most components of an agent.
pub const MAX_COMPONENTS: usize = 20;

/// An upgrade under way, and past ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// Version it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub from: Option<String>,
    /// Version it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub to: Option<String>,
    /// The versions on the way, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    pub path: Vec<String>,
    /// Which of the path is under way, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// How many steps there are in all: of the control plane, of add-ons, of node groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<i32>,
    /// Id of the update in EKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub update_id: Option<String>,
    /// What is being done or comes next, and what holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the step under way began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the step under way should be over, by what was seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_end: Option<Time>,
    /// The version to which node groups that follow may go now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub node_group_version: Option<String>,
    /// How long the cluster has been healthy since the control plane's last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakStatus>,
    /// Verdict of each check made before anything is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["check"]))]
    pub preflight: Vec<PreflightCheck>,
    /// When the next maintenance window opens, with its zone's offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub next_window: Option<String>,
    /// The warning given last that AWS's support of the version ends, such as `1.33/Standard/90`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub support_warning: Option<String>,
    /// The last ten steps that were completed, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<UpgradeRecord>,
}

/// The soak after a step of the control plane. Only time in good health counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoakStatus {
    /// Seconds that count already.
    #[serde(default)]
    pub seconds: i64,
    /// Since when it has been healthy again: counts on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Time>,
}

/// A check made before an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightCheck {
    /// Name of the check, such as `Insights`.
    #[schemars(length(max = 64))]
    pub check: String,
    /// `Passed`, `Warning`, `Failed` or `Unknown`.
    pub verdict: Verdict,
    /// What was found.
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

/// A step of an upgrade that was completed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeRecord {
    /// Version that was reached.
    #[schemars(length(max = 32))]
    pub version: String,
    /// When it began.
    pub started_at: Time,
    /// How long it took.
    pub seconds: i64,
}

/// What the GitOps agent says.
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
    /// The newest version of the agent that this Keelson brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub bundled_version: Option<String>,
    /// The upgrade of the agent that waits, or is in progress. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<AgentUpgradeStatus>,
    /// Whether Git owns the agent's manifests.
    #[serde(default)]
    pub adopted: bool,
    /// Fields of `spec.gitops` that the agent was last brought to: what differs from the spec is a step of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub applied: Vec<AgentField>,
    /// The agent's controllers, and whether they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub components: Vec<GitOpsComponent>,
    /// Address of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Revision that the source shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub source_revision: Option<String>,
    /// Revision that the agent tried to apply last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_attempted_revision: Option<String>,
    /// Revision that the agent applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_applied_revision: Option<String>,
    /// The same, short: seven characters of a commit, for the GITOPS column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub revision: Option<String>,
    /// How the agent's own objects fare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<GitOpsObjects>,
    /// Objects that fail; at most ten are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub failing: Vec<FailingObject>,
    /// How many objects the agent keeps in the cluster, by its own inventories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<i64>,
    /// Why the agent is not watched just now: it is looked at every 10 to 60 seconds instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub watch_error: Option<String>,
    /// When the cluster last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<Time>,
    /// Since when the cluster does not answer: what stands here is what was known then. Absent: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Time>,
}

/// An upgrade of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentUpgradeStatus {
    /// Version that it has.
    #[schemars(length(max = 32))]
    pub from: String,
    /// Version that it is to have.
    #[schemars(length(max = 32))]
    pub to: String,
    /// Who asks for it, and what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the maintenance window opens that it waits for, with its zone's offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub next_window: Option<String>,
    /// When it began: it is finished, also when its window closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// Most fields of the agent that are kept.
pub const MAX_AGENT_FIELDS: usize = 100;

/// A field of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentField {
    /// Path below `spec.gitops`.
    #[schemars(length(max = 253))]
    pub field: String,
    /// Its value; of a long one the beginning and a digest.
    #[schemars(length(max = 512))]
    pub value: String,
}

/// A controller of the agent's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitOpsComponent {
    /// Name of the controller.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Whether a pod of it is ready.
    #[serde(default)]
    pub ready: bool,
    /// Why not, as the cluster says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// How the agent's own objects (Kustomizations, HelmReleases, Applications) fare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitOpsObjects {
    /// Objects that are ready, or on the way.
    #[serde(default)]
    pub running: i32,
    /// Objects that fail.
    #[serde(default)]
    pub failing: i32,
    /// Objects that are suspended.
    #[serde(default)]
    pub suspended: i32,
}

/// An object of the agent's that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingObject {
    /// Kind of the object.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Namespace and name.
    #[schemars(length(max = 320))]
    pub name: String,
    /// Reason that its Ready condition gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// Message that its Ready condition gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}
