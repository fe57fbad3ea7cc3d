//! What a workload cluster says of its nodes.
//!
//! May not enter: what is done about it; AWS. I/O: the workload cluster's API, reads only, page by page. Objects are counted as
//! they come, so that a cluster of thousands of nodes costs no more memory than a page of them.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::params::ListParams;
use serde::Deserialize;

use super::error::CallError;
use super::kept::{first_items, metadata_map, truncated};
use super::list::{Flow, for_each};
use super::object::or_default;

/// The label that EKS puts on the nodes of a managed node group.
pub const NODE_GROUP_LABEL: &str = "eks.amazonaws.com/nodegroup";

/// A Node is some 20 KiB, with the images on it.
const PAGE: u32 = 100;

/// Versions of kubelets that are told apart.
const MAX_VERSIONS: usize = 100;
/// Node groups that are told apart: EKS allows 30 in a cluster, and 100 on request.
const MAX_GROUPS: usize = 1000;

/// Nodes that belong together, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub total: i32,
    pub ready: i32,
    /// Those that take no new pods: an update or a person is draining them.
    pub cordoned: i32,
    /// By the kubelet's version, such as `v1.34.4-eks-ecaa3a6`.
    pub kubelets: BTreeMap<String, Kubelets>,
}

/// Nodes with the same kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubelets {
    pub nodes: i32,
    /// One of them, to name to a person.
    pub example: String,
}

/// All nodes of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// By the name of their node group in EKS.
    pub groups: BTreeMap<String, Count>,
    /// Those of no managed node group: self-managed, Karpenter's, Fargate's.
    pub others: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: NodeSpec,
    #[serde(deserialize_with = "or_default")]
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "metadata_map")]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    #[serde(deserialize_with = "first_items")]
    conditions: Vec<NodeCondition>,
    #[serde(deserialize_with = "or_default")]
    node_info: NodeInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeInfo {
    #[serde(deserialize_with = "truncated")]
    kubelet_version: String,
}

impl Count {
    fn add(&mut self, node: Node) {
        let ready = node.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
        self.total += 1;
        self.ready += i32::from(ready);
        self.cordoned += i32::from(node.spec.unschedulable);
        if self.kubelets.len() >= MAX_VERSIONS && !self.kubelets.contains_key(&node.status.node_info.kubelet_version) {
            return;
        }
        let kubelets = self.kubelets.entry(node.status.node_info.kubelet_version).or_default();
        kubelets.nodes += 1;
        if kubelets.example.is_empty() {
            kubelets.example = node.metadata.name;
        }
    }
}

/// All nodes of the cluster.
///
/// # Errors
/// What the API server answered: nothing is known then, which holds up nothing.
pub async fn nodes(client: &Client) -> Result<Nodes, CallError> {
    let mut nodes = Nodes::default();
    for_each(client, NODE, None, &ListParams::default(), PAGE, |node: Node| {
        let group = node.metadata.labels.get(NODE_GROUP_LABEL).cloned();
        match group {
            Some(name) if nodes.groups.len() < MAX_GROUPS || nodes.groups.contains_key(&name) => {
                nodes.groups.entry(name).or_default().add(node)
            }
            _ => nodes.others.add(node),
        }
        Flow::Continue
    })
    .await?;
    Ok(nodes)
}

/// The nodes of one node group.
///
/// # Errors
/// As [`nodes`].
pub async fn nodes_of(client: &Client, node_group: &str) -> Result<Count, CallError> {
    let mut count = Count::default();
    for_each(client, NODE, None, &of_group(node_group), PAGE, |node: Node| {
        count.add(node);
        Flow::Continue
    })
    .await?;
    Ok(count)
}

const NODE: (&str, &str) = ("v1", "Node");

fn of_group(node_group: &str) -> ListParams {
    ListParams::default().labels(&format!("{NODE_GROUP_LABEL}={node_group}"))
}

/// The names of a node group's nodes: the cordoned ones when there are any, since it is they that are drained.
///
/// # Errors
/// As [`nodes`].
pub async fn draining(client: &Client, node_group: &str) -> Result<Vec<String>, CallError> {
    let (mut all, mut cordoned) = (Vec::new(), Vec::new());
    for_each(client, NODE, None, &of_group(node_group), PAGE, |node: Node| {
        if node.spec.unschedulable {
            cordoned.push(node.metadata.name.clone());
        }
        all.push(node.metadata.name);
        Flow::Continue
    })
    .await?;
    Ok(if cordoned.is_empty() { all } else { cordoned })
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
