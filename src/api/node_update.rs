//! How the nodes of a node group are replaced. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// How nodes are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["maxUnavailable", "maxUnavailablePercentage"]))]
#[serde(rename_all = "camelCase")]
pub struct NodeUpdate {
    /// Number of nodes replaced at the same time, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable: Option<i32>,
    /// Percentage of nodes replaced at the same time, 1 to 100, instead of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable_percentage: Option<i32>,
    /// `Default` (new nodes are created first) or `Minimal` (old nodes are terminated first, without surge); absent:
    /// not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UpdateStrategy")]
    pub strategy: Option<UpdateStrategy>,
    /// Evicts Pods regardless of their disruption budgets.
    #[serde(default)]
    pub force: bool,
}

/// How many nodes are replaced at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxUnavailable {
    Nodes(i32),
    Percentage(i32),
}

impl NodeUpdate {
    /// The number or percentage; `None`: not managed.
    pub fn max_unavailable(&self) -> Option<MaxUnavailable> {
        match (self.max_unavailable, self.max_unavailable_percentage) {
            (Some(nodes), _) => Some(MaxUnavailable::Nodes(nodes)),
            (None, Some(percentage)) => Some(MaxUnavailable::Percentage(percentage)),
            (None, None) => None,
        }
    }
}

/// EKS's node group update strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UpdateStrategy {
    Default,
    Minimal,
}
