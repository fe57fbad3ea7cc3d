//! PodDisruptionBudgets of a workload cluster that block evictions, and so an upgrade.
//!
//! Not allowed here: what is done about it; AWS. I/O: the workload cluster's API, reads only, page by page.

use std::collections::BTreeMap;
use std::fmt;

use kube::Client;
use kube::core::params::ListParams;
use serde::Deserialize;

use super::error::CallError;
use super::kept::{first_items, first_strings, metadata_map, truncated};
use super::list::{ListFlow, for_each};
use super::object::or_default;

const PAGE: u32 = 100;
/// Budgets and pods that are listed by name.
const MAX_NAMED: usize = 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "truncated")]
    namespace: String,
}

/// PodDisruptionBudgets that allow no eviction, as `namespace/name`: at most twenty of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// They never allow one: a node with their pods cannot be drained.
    pub never: Vec<String>,
    /// They allow none at present.
    pub not_now: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Budget {
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: BudgetSpec,
    #[serde(deserialize_with = "or_default")]
    status: BudgetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BudgetSpec {
    min_available: Option<Bound>,
    max_unavailable: Option<Bound>,
    #[serde(deserialize_with = "or_default")]
    selector: Selector,
}

/// A number of pods, or a percentage such as `50%`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Bound {
    Pods(i32),
    Part(String),
}

impl Bound {
    /// The number out of `pods`, rounded up like the disruption controller does.
    fn of(&self, pods: i32) -> i32 {
        match self {
            Bound::Pods(pods) => *pods,
            Bound::Part(part) => {
                let percent: i64 = part.trim_end_matches('%').parse().unwrap_or_default();
                i32::try_from((i64::from(pods) * percent + 99) / 100).unwrap_or(i32::MAX)
            }
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    #[serde(deserialize_with = "metadata_map")]
    match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "first_items")]
    match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Expression {
    #[serde(deserialize_with = "truncated")]
    key: String,
    #[serde(deserialize_with = "truncated")]
    operator: String,
    #[serde(deserialize_with = "first_strings")]
    values: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BudgetStatus {
    disruptions_allowed: i32,
    expected_pods: i32,
}

/// Whether a budget allows an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EvictionAnswer {
    Yes,
    NotNow,
    Never,
}

impl Budget {
    /// Uses the disruption controller's result. A budget without pods blocks nothing.
    fn allows(&self) -> EvictionAnswer {
        let BudgetStatus { disruptions_allowed, expected_pods } = self.status;
        let BudgetSpec { min_available, max_unavailable, .. } = &self.spec;
        let all_stay = min_available.as_ref().is_some_and(|least| least.of(expected_pods) >= expected_pods);
        let none_may_leave = max_unavailable.as_ref().is_some_and(|most| most.of(expected_pods) == 0);
        if disruptions_allowed > 0 || expected_pods == 0 {
            EvictionAnswer::Yes
        } else if all_stay || none_may_leave {
            EvictionAnswer::Never
        } else {
            EvictionAnswer::NotNow
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }
}

impl Selector {
    /// As a label selector query. An empty one selects every pod of the namespace.
    fn query(&self) -> String {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let expressions = self.match_expressions.iter().map(|Expression { key, operator, values }| {
            let values = values.join(",");
            match operator.as_str() {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.clone(),
            }
        });
        labels.chain(expressions).collect::<Vec<_>>().join(",")
    }
}

const BUDGET: (&str, &str) = ("policy/v1", "PodDisruptionBudget");

/// The budgets that allow no eviction.
///
/// # Errors
/// The API server's error. Callers treat the budgets as unknown, which blocks nothing.
pub async fn budgets(client: &Client) -> Result<Budgets, CallError> {
    let mut found = Budgets::default();
    for_each(client, BUDGET, None, &ListParams::default(), PAGE, |budget: Budget| {
        let list = match budget.allows() {
            EvictionAnswer::Yes => return ListFlow::Continue,
            EvictionAnswer::NotNow => &mut found.not_now,
            EvictionAnswer::Never => &mut found.never,
        };
        if list.len() < MAX_NAMED {
            list.push(budget.name());
        }
        ListFlow::Continue
    })
    .await?;
    Ok(found)
}

const POD: (&str, &str) = ("v1", "Pod");

/// A pod that cannot be evicted from its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedPod {
    /// `namespace/name`.
    pub pod: String,
    pub node: String,
    /// What blocks it.
    pub by: BlockedBy,
}

/// What blocks an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockedBy {
    /// A PodDisruptionBudget, as `namespace/name`; `never`: it never allows one.
    Budget { name: String, never: bool },
    /// The API server refused it with this message, such as that of a webhook.
    Refusal(String),
}

impl BlockedPod {
    /// Whether its budget never allows an eviction.
    pub fn is_never_evicted(&self) -> bool {
        matches!(self.by, BlockedBy::Budget { never: true, .. })
    }
}

impl fmt::Display for BlockedPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, node, by } = self;
        write!(f, "pod {pod} on {node}: ")?;
        match by {
            BlockedBy::Budget { name, never: true } => {
                write!(f, "its PodDisruptionBudget {name} never allows an eviction")
            }
            BlockedBy::Budget { name, never: false } => {
                write!(f, "its PodDisruptionBudget {name} allows no eviction now")
            }
            BlockedBy::Refusal(why) => write!(f, "its eviction is refused: {why}"),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    #[serde(deserialize_with = "truncated")]
    node_name: String,
}

/// The pods on these nodes whose eviction a budget blocks; at most twenty.
///
/// # Errors
/// The API server's error.
pub async fn blocked_pods(client: &Client, nodes: &[String]) -> Result<Vec<BlockedPod>, CallError> {
    let mut strict = Vec::new();
    for_each(client, BUDGET, None, &ListParams::default(), PAGE, |budget: Budget| {
        if budget.allows() != EvictionAnswer::Yes {
            strict.push(budget);
        }
        if strict.len() < MAX_NAMED { ListFlow::Continue } else { ListFlow::Stop }
    })
    .await?;
    let mut found = Vec::new();
    for budget in strict {
        let pods = ListParams::default().labels(&budget.spec.selector.query());
        let namespace = Some(budget.metadata.namespace.as_str());
        for_each(client, POD, namespace, &pods, PAGE, |pod: Pod| {
            if nodes.contains(&pod.spec.node_name) {
                found.push(BlockedPod {
                    pod: format!("{}/{}", pod.metadata.namespace, pod.metadata.name),
                    node: pod.spec.node_name,
                    by: BlockedBy::Budget { name: budget.name(), never: budget.allows() == EvictionAnswer::Never },
                });
            }
            if found.len() < MAX_NAMED { ListFlow::Continue } else { ListFlow::Stop }
        })
        .await?;
        if found.len() >= MAX_NAMED {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "budgets_tests.rs"]
mod tests;
