//! `spec.repair` of a NodeGroup: EKS's node auto repair. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Node auto repair. A limit that is absent is not managed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["maxUnhealthyCount", "maxUnhealthyPercentage"]))]
#[x_kube(validation = rules::at_most_one_of(&["maxParallelRepairedCount", "maxParallelRepairedPercentage"]))]
#[serde(rename_all = "camelCase")]
pub struct NodeRepair {
    /// Whether EKS repairs nodes automatically.
    pub enabled: bool,
    /// Number of unhealthy nodes above which EKS repairs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_unhealthy_count: Option<i32>,
    /// Percentage of unhealthy nodes above which EKS repairs none, instead of a number; EKS's default is 20, for more than
    /// five nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unhealthy_percentage: Option<i32>,
    /// Number of nodes that EKS repairs at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_parallel_repaired_count: Option<i32>,
    /// Percentage of unhealthy nodes that EKS repairs at the same time, instead of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_parallel_repaired_percentage: Option<i32>,
    /// What EKS does in other ways than by default, by condition and reason of the node monitoring agent; `[]`: nothing;
    /// absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["nodeMonitoringCondition".into(), "nodeUnhealthyReason".into()]))]
    pub overrides: Option<Vec<RepairOverride>>,
}

/// What EKS does about one reason of one condition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairOverride {
    /// Condition of the node monitoring agent, such as `AcceleratedHardwareReady`.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::aws_name())]
    pub node_monitoring_condition: String,
    /// Reason of the condition, such as `NvidiaXID64Error`.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::aws_name())]
    pub node_unhealthy_reason: String,
    /// Minutes that the condition lasts before EKS repairs the node.
    #[schemars(range(min = 1))]
    pub min_repair_wait_time_mins: i32,
    /// `Replace` or `Reboot` the node, or `NoAction`.
    pub repair_action: RepairAction,
}

/// How a node is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RepairAction {
    Replace,
    Reboot,
    NoAction,
}
