//! `spec.warmPool` of a NodeGroup: instances that EC2 Auto Scaling keeps ready. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A warm pool: instances beside the nodes that have booted, and become nodes faster. A setting that is absent is not
/// managed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::warm_pool_within_capacity())]
#[serde(rename_all = "camelCase")]
pub struct WarmPool {
    /// Whether there is a warm pool; `false` removes it, and the other settings wait until there is one again.
    pub enabled: bool,
    /// Minimum number of instances in the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_size: Option<i32>,
    /// Maximum number of nodes and instances in the pool together; where EKS has none, it is the node group's maximum size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_group_prepared_capacity: Option<i32>,
    /// State of the instances in the pool: `Stopped` (costs their volumes), `Running` (costs the same as nodes) or
    /// `Hibernated` (some instance types, not with Bottlerocket).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PoolState")]
    pub pool_state: Option<PoolState>,
    /// Whether nodes return to the pool when the node group shrinks, instead of being terminated; not with Bottlerocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse_on_scale_in: Option<bool>,
}

/// State of the instances in a warm pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PoolState {
    Stopped,
    Running,
    Hibernated,
}
