//! How version upgrades are carried out. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// How upgrades are carried out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Effect of an upgrade insight with status ERROR: `Block` stops the upgrade, `Warn` reports it, `Ignore` does
    /// nothing.
    #[serde(default)]
    pub insights: InsightsPolicy,
    /// When upgrades and node replacements may start; those in progress are finished. Absent: at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub windows: Vec<UpgradeWindow>,
    /// How long the cluster must be healthy after a control plane step before its nodes are upgraded, such as `10m`.
    #[serde(default = "default_soak")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    pub soak: String,
    /// Whether node groups without their own version `Follow` the cluster, or are upgraded `Manual`ly.
    #[serde(default)]
    pub node_groups: FollowPolicy,
    /// Whether add-ons at Default or Latest are upgraded for the new version (`Follow`), or stay unchanged (`Manual`).
    #[serde(default)]
    pub addons: FollowPolicy,
    /// Behavior when the cluster's nodes cannot be read: `Block` stops control plane upgrades, because a kubelet may be
    /// too old for the next version; `Ignore` uses the versions of the node groups in EKS.
    #[serde(default)]
    pub unreadable_nodes: UnreadableNodesPolicy,
    /// Allows lowering `version` by one minor version. EKS allows a rollback within 7 days of an upgrade. Node groups
    /// stay; add-ons move to versions for the lower one. No window is waited for.
    #[serde(default)]
    pub allow_rollback: bool,
    /// Name of the FleetRollout that must select the cluster; without it, no upgrade begins. Absent: a FleetRollout applies if
    /// it selects the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub rollout: Option<String>,
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
            rollout: None,
        }
    }
}

/// Effect of an ERROR insight on an upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InsightsPolicy {
    #[default]
    Block,
    Warn,
    Ignore,
}

/// Behavior when the nodes of a workload cluster cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UnreadableNodesPolicy {
    #[default]
    Block,
    Ignore,
}

/// Whether a part is upgraded with the cluster.
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
