//! FleetRollout: a standing policy that decides which clusters may begin an upgrade that their own specs ask for, wave by
//! wave. It never writes a spec. Its status is in [`super::fleet_rollout_status`]. No I/O.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet_rollout_check::WaveCheck;
use super::fleet_rollout_status::FleetRolloutStatus;
use super::rules;
use super::schema;

/// Maximum number of waves.
pub const MAX_WAVES: usize = 20;
/// The name that `spec.unmatched: Last` gives to its wave.
pub const UNMATCHED_WAVE: &str = "unmatched";

/// Decides in which order clusters are upgraded, and stops when one fails.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "keelson.dev",
    version = "v1alpha1",
    kind = "FleetRollout",
    plural = "fleetrollouts",
    shortname = "fr",
    category = "keelson",
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".status.releases[0].target",
        description = "The version that is rolled out"
    ),
    printcolumn(
        name = "Wave",
        type_ = "string",
        json_path = ".status.releases[0].wave",
        description = "The first wave that has not passed"
    ),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.releases[0].progress",
        description = "Clusters that have the version, of all"
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.releases[0].state",
        description = "State of the release"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "What it waits for"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created"
    ),
    derive = "PartialEq",
    status = "FleetRolloutStatus",
    doc = "Decides in which order clusters are upgraded, and stops when one fails."
)]
#[serde(rename_all = "camelCase")]
pub struct FleetRolloutSpec {
    /// The EksClusters of the rollout, in all namespaces, by their labels. A cluster that two FleetRollouts select is
    /// not upgraded.
    pub cluster_selector: LabelSelector,
    /// The steps that wait for their wave: `ControlPlane` (a new minor version of the control plane, with the add-on
    /// updates before it), `NodeGroups` (node groups that follow it), `Agent` (a newer version of the GitOps agent that
    /// Keelson installed), `Revision` (a new revision of the agent's source, unless Git has adopted the source; not a default).
    #[serde(default = "default_gates")]
    // Not a set: defaults would stay in it after a server-side apply with fewer items.
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::unique())]
    pub gates: Vec<Gate>,
    /// While true, no further cluster begins; what has begun is finished.
    #[serde(default)]
    pub suspend: bool,
    /// The waves, in order. A cluster belongs to the first one that selects it.
    #[schemars(length(min = 1, max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::unique_names())]
    pub waves: Vec<Wave>,
    /// Clusters that no wave selects: `Block` (they are not upgraded), `Last` (one after the other, after the last
    /// wave) or `Ungated` (they wait for no wave).
    #[serde(default)]
    pub unmatched: UnmatchedPolicy,
    /// Clusters of an earlier wave whose spec does not ask for the version yet: `Block` (later waves wait until it does)
    /// or `Ignore` (later waves do not wait for them).
    #[serde(default)]
    pub not_asked: NotAskedPolicy,
}

fn default_gates() -> Vec<Gate> {
    vec![Gate::ControlPlane, Gate::NodeGroups, Gate::Agent]
}

/// A step that waits for its wave: `ControlPlane`, `NodeGroups`, `Agent` or `Revision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Gate {
    ControlPlane,
    NodeGroups,
    Agent,
    Revision,
}

impl Gate {
    /// All gates, in the order of an upgrade.
    pub const ALL: [Self; 4] = [Self::ControlPlane, Self::NodeGroups, Self::Agent, Self::Revision];

    /// The gate as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "ControlPlane",
            Self::NodeGroups => "NodeGroups",
            Self::Agent => "Agent",
            Self::Revision => "Revision",
        }
    }

    /// What is upgraded, for messages.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::ControlPlane => "control planes",
            Self::NodeGroups => "node groups",
            Self::Agent => "GitOps agents",
            Self::Revision => "sources",
        }
    }
}

/// Clusters that are upgraded before those of the next wave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Name of the wave.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::wave_name())]
    pub name: String,
    /// The clusters of the wave among those of the rollout, by their labels; `{}` selects all.
    #[serde(default)]
    pub selector: LabelSelector,
    /// How many clusters of the wave are upgraded at the same time: a number, or a percentage of the wave such as `10%`,
    /// rounded down, at least 1.
    #[serde(default)]
    #[schemars(schema_with = "schema::number_or_percentage")]
    pub max_concurrent: Share,
    /// How many clusters of the wave may fail. With one more, the release halts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub max_failed: i32,
    /// How long the step of one cluster may take, such as `3h`; it has failed after that.
    #[serde(default = "default_deadline")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub progress_deadline: String,
    /// How long all clusters of the wave must have been healthy, after the last one got the version, such as `24h`.
    #[serde(default = "default_soak")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    pub soak: String,
    /// What must be good before later waves begin, besides the health of the clusters: from when they have the version until the soak
    /// ends, and at its end. Too many failures or errors halt the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::unique_names())]
    pub checks: Vec<WaveCheck>,
    /// Whether clusters of the wave begin `Automatic`ally, or an approval is `Required` (annotation `keelson.dev/approve`).
    #[serde(default)]
    pub approval: WaveApproval,
}

fn default_deadline() -> String {
    "3h".to_owned()
}

fn default_soak() -> String {
    "0s".to_owned()
}

/// A number of clusters, or a percentage of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Share {
    Number(u32),
    Percentage(String),
}

impl Default for Share {
    fn default() -> Self {
        Self::Number(1)
    }
}

/// Who lets a wave begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WaveApproval {
    #[default]
    Automatic,
    Required,
}

/// Clusters that no wave selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UnmatchedPolicy {
    #[default]
    Block,
    Last,
    Ungated,
}

/// Clusters that do not ask for the version yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum NotAskedPolicy {
    #[default]
    Block,
    Ignore,
}

/// Labels that an object must have. All requirements apply; without any, all objects are selected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::selector_labels")]
    #[x_kube(validation = rules::label_keys())]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A requirement of one label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::selector_values())]
#[serde(rename_all = "camelCase")]
pub struct LabelRequirement {
    /// Key of the label.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = rules::label_key())]
    pub key: String,
    /// `In` (it has one of the values), `NotIn` (it has none of them, or is absent), `Exists` or `DoesNotExist`.
    pub operator: LabelOperator,
    /// The values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// How the values of a requirement are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}
