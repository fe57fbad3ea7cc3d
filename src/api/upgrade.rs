//! How a version change is carried out. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// How upgrades are carried out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// What an upgrade insight of status ERROR does: `Block` stops the upgrade, `Warn` tells, `Ignore` says nothing.
    #[serde(default)]
    pub insights: InsightsPolicy,
    /// When upgrades and node replacements may begin; what has begun is finished. Absent: at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub windows: Vec<UpgradeWindow>,
    /// How long the cluster must have been healthy between a control plane step and its nodes, such as `10m`.
    #[serde(default = "default_soak")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    pub soak: String,
    /// Whether node groups without a version of their own `Follow` the cluster, or are upgraded `Manual`ly.
    #[serde(default)]
    pub node_groups: FollowPolicy,
    /// Whether add-ons at Default or Latest move to the new version's (`Follow`), or are left as they are (`Manual`).
    #[serde(default)]
    pub addons: FollowPolicy,
    /// What it means that the cluster's nodes cannot be read: `Block` holds steps of the control plane back, as a kubelet might be
    /// too old for the next version; `Ignore` goes by the versions of the node groups in EKS.
    #[serde(default)]
    pub unreadable_nodes: UnreadableNodesPolicy,
    /// Lets `version` be lowered by one minor. EKS rolls back within 7 days of an upgrade; node groups and add-ons stay.
    #[serde(default)]
    pub allow_rollback: bool,
}

fn default_soak() -> String {
    "0s".to_owned()
}

impl Default for Upgrade {
    fn default() -> Self {
        Self {
            insights: InsightsPolicy::default(),
            windows: Vec::new(),
            soak: default_soak(),
            node_groups: FollowPolicy::default(),
            addons: FollowPolicy::default(),
            unreadable_nodes: UnreadableNodesPolicy::default(),
            allow_rollback: false,
        }
    }
}

/// What an ERROR insight does to an upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InsightsPolicy {
    #[default]
    Block,
    Warn,
    Ignore,
}

/// What it means that the nodes of a workload cluster cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UnreadableNodesPolicy {
    #[default]
    Block,
    Ignore,
}

/// Whether a part moves with the cluster's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FollowPolicy {
    #[default]
    Follow,
    Manual,
}

/// A maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeWindow {
    /// When it opens: five cron fields (minute, hour, day of month, month, day of week).
    #[schemars(length(min = 9, max = 100))]
    #[x_kube(validation = rules::cron_schedule())]
    pub schedule: String,
    /// How long it stays open, such as `4h`.
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    pub duration: String,
    /// IANA time zone of the schedule.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::time_zone())]
    pub time_zone: String,
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}
