//! The nodes of a workload cluster, counted.
//!
//! Not allowed here: what is done about it; AWS. I/O: the workload cluster's API, reads only, page by page. Objects are
//! counted while a page is parsed, so that memory does not grow with the number of nodes.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::params::ListParams;
use serde::Deserialize;

use super::error::CallError;
use super::kept::{first_items, metadata_map, truncated};
use super::list::{ListFlow, for_each};
use super::object::or_default;

/// The label that EKS puts on the nodes of a managed node group.
pub const NODE_GROUP_LABEL: &str = "eks.amazonaws.com/nodegroup";

/// The label of the node that Fargate makes for each of its Pods.
const FARGATE: (&str, &str) = ("eks.amazonaws.com/compute-type", "fargate");

/// A Node is about 20 KiB, including its list of images.
const PAGE: u32 = 100;

/// Distinct kubelet versions that are counted.
const MAX_VERSIONS: usize = 100;
/// Distinct node groups that are counted: EKS allows 30 in a cluster, and 100 on request.
const MAX_GROUPS: usize = 1000;

/// Counts of a set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub total: i32,
    pub ready: i32,
    /// Unschedulable nodes, which an update or a user is draining.
    pub cordoned: i32,
    /// By the kubelet's version, such as `v1.34.4-eks-ecaa3a6`.
    pub kubelets: BTreeMap<String, Kubelets>,
}

/// Nodes with the same kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubelets {
    pub nodes: i32,
    /// Name of one of them, for messages.
    pub example: String,
}

/// All nodes of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// By name of the node group in EKS.
    pub groups: BTreeMap<String, Count>,
    /// Nodes outside managed node groups: self-managed, Karpenter's, Fargate's.
    pub others: Count,
    /// All nodes that take Pods: ready, not cordoned, and not made for one Pod.
    pub schedulable: i32,
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

impl Node {
    fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True")
    }

    fn is_schedulable(&self) -> bool {
        let is_fargate = self.metadata.labels.get(FARGATE.0).is_some_and(|value| value == FARGATE.1);
        self.is_ready() && !self.spec.unschedulable && !is_fargate
    }
}

impl Count {
    fn add(&mut self, node: Node) {
        self.total += 1;
        self.ready += i32::from(node.is_ready());
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
/// The API server's error. Callers treat the nodes as unknown, which blocks nothing.
pub async fn nodes(client: &Client) -> Result<Nodes, CallError> {
    let mut nodes = Nodes::default();
    for_each(client, NODE, None, &ListParams::default(), PAGE, |node: Node| {
        nodes.schedulable += i32::from(node.is_schedulable());
        let group = node.metadata.labels.get(NODE_GROUP_LABEL).cloned();
        match group {
            Some(name) if nodes.groups.len() < MAX_GROUPS || nodes.groups.contains_key(&name) => {
                nodes.groups.entry(name).or_default().add(node)
            }
            _ => nodes.others.add(node),
        }
        ListFlow::Continue
    })
    .await?;
    Ok(nodes)
}

/// Whether any node takes Pods.
///
/// # Errors
/// As [`nodes`].
pub async fn has_schedulable(client: &Client) -> Result<bool, CallError> {
    let mut found = false;
    for_each(client, NODE, None, &ListParams::default(), PAGE, |node: Node| {
        found = node.is_schedulable();
        if found { ListFlow::Stop } else { ListFlow::Continue }
    })
    .await?;
    Ok(found)
}

/// The nodes of one node group.
///
/// # Errors
/// As [`nodes`].
pub async fn nodes_of(client: &Client, node_group: &str) -> Result<Count, CallError> {
    let mut count = Count::default();
    for_each(client, NODE, None, &of_group(node_group), PAGE, |node: Node| {
        count.add(node);
        ListFlow::Continue
    })
    .await?;
    Ok(count)
}

pub(super) const NODE: (&str, &str) = ("v1", "Node");

pub(super) fn of_group(node_group: &str) -> ListParams {
    ListParams::default().labels(&format!("{NODE_GROUP_LABEL}={node_group}"))
}

/// The names of a node group's nodes; only the cordoned ones if there are any, because those are being drained.
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
        ListFlow::Continue
    })
    .await?;
    Ok(if cordoned.is_empty() { all } else { cordoned })
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
