//! Drains the nodes of a node group that another one replaces: cordons them, and evicts their Pods within their
//! PodDisruptionBudgets.
//!
//! Not allowed here: whether, and which node group; AWS. I/O: the workload cluster's API, reads page by page. One pass does what
//! is possible now, and returns; the caller repeats it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer;
use super::budgets::{self, BlockedBy, BlockedPod};
use super::error::{CallError, Unreachable};
use super::kept::{first_items, metadata_map_with, truncated, truncated_or_none};
use super::list::{ListFlow, for_each};
use super::nodes::{NODE, of_group};
use super::object::{collection, or_default};
use crate::api::node_group::MaxUnavailable;

const PAGE: u32 = 100;
/// Nodes of a node group: EKS allows 450, more on request.
const MAX_NODES: usize = 1000;
/// Evictions of a pass; the next pass evicts more.
const MAX_EVICTIONS: usize = 200;
/// Pods that are listed as blocked.
const MAX_BLOCKED: usize = 20;
/// A Pod is deleted only after its budget refused its eviction for this long: as long as EKS tries to evict in an update.
const FORCE_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// Annotation of nodes that Keelson cordoned: the UID of the NodeGroup. Only these are uncordoned.
const CORDONED: &str = "keelson.dev/cordoned-for";
/// Annotation of Pods that the kubelet runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What a pass does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// UID of the NodeGroup.
    pub owner: String,
    /// The node group whose nodes take over: what was cordoned there by an earlier order is uncordoned.
    pub stays: String,
    /// The node group whose nodes are drained.
    pub leaves: String,
    /// Whether anything may be written: no node is uncordoned otherwise.
    pub writes: bool,
    /// How; `None`: no node is drained.
    pub evict: Option<Eviction>,
}

/// How nodes are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// How many nodes at the same time.
    pub at_once: MaxUnavailable,
    /// Pods whose budgets refuse their eviction for long are deleted.
    pub force: bool,
}

/// Since when the eviction of Pods is refused, by their UIDs.
pub type Refusals = BTreeMap<String, Timestamp>;

/// What a pass found, and left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Nodes that take Pods, of the node group that stays.
    pub schedulable: i32,
    /// Nodes of the other one.
    pub leaving: i32,
    /// Those of them that still take Pods.
    pub uncordoned: i32,
    /// Pods on them that are to be evicted, or are terminating.
    pub pods: i32,
    /// Pods whose eviction was refused; at most twenty.
    pub blocked: Vec<BlockedPod>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "truncated")]
    namespace: String,
    #[serde(deserialize_with = "truncated")]
    uid: String,
    #[serde(deserialize_with = "truncated_or_none")]
    deletion_timestamp: Option<String>,
    #[serde(deserialize_with = "annotations")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "first_items")]
    owner_references: Vec<OwnerReference>,
}

fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    metadata_map_with(deserializer, |key| [CORDONED, MIRROR].contains(&key))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    #[serde(deserialize_with = "truncated")]
    kind: String,
    controller: bool,
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
struct NodeSpec {
    unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    #[serde(deserialize_with = "first_items")]
    conditions: Vec<NodeCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Node {
    fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    #[serde(deserialize_with = "truncated")]
    phase: String,
}

impl Pod {
    /// Whether the node is not drained while it is there. A DaemonSet's Pod would be created again on the same node, a mirror Pod
    /// follows its file, and a finished one loses nothing.
    fn is_to_leave(&self) -> bool {
        let of_daemon_set = self.metadata.owner_references.iter().any(|one| one.controller && one.kind == "DaemonSet");
        let is_finished = ["Succeeded", "Failed"].contains(&self.status.phase.as_str());
        !of_daemon_set && !is_finished && !self.metadata.annotations.contains_key(MIRROR)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }
}

/// Why a Pod stays.
struct Refusal {
    why: String,
    by_budget: bool,
}

/// A Pod that stays.
struct Refused {
    pod: String,
    node: String,
    refusal: Refusal,
}

/// Does what is possible now. `known`: what the pass before returned. Returns also which evictions are refused by now.
///
/// # Errors
/// The API server's first error, other than that an eviction is refused. What was done until then stands.
pub async fn pass(
    client: &Client,
    order: &Order,
    known: &Refusals,
    now: Timestamp,
) -> Result<(Drained, Refusals), CallError> {
    let mut found = Drained::default();
    for node in nodes(client, &order.stays).await? {
        // The UID may be of the object from which this one took the node group over.
        let uncordons = order.writes && node.metadata.annotations.contains_key(CORDONED);
        if uncordons {
            set_cordon(client, &node.metadata.name, false, Value::Null).await?;
        }
        found.schedulable += i32::from(node.is_ready() && (uncordons || !node.spec.unschedulable));
    }
    let mut leaving = nodes(client, &order.leaves).await?;
    leaving.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    found.leaving = i32::try_from(leaving.len()).unwrap_or(i32::MAX);
    for node in leaving.iter().filter(|node| !node.spec.unschedulable) {
        // A Pod may have come right before: the next pass shows it.
        found.uncordoned += 1;
        if order.evict.is_some() {
            set_cordon(client, &node.metadata.name, true, order.owner.as_str().into()).await?;
        }
    }
    let (mut refused, mut refusals) = (Vec::new(), Refusals::new());
    let mut budget = order.evict.map_or(0, |evict| at_once(evict.at_once, found.leaving));
    let mut evictions = 0;
    for node in &leaving {
        let pods = pods_on(client, &node.metadata.name).await?;
        found.pods = found.pods.saturating_add(i32::try_from(pods.len()).unwrap_or(i32::MAX));
        let Some(eviction) = order.evict.filter(|_| !pods.is_empty() && budget > 0) else { continue };
        budget -= 1;
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            if evictions == MAX_EVICTIONS {
                break;
            }
            evictions += 1;
            let Some(refusal) = evict(client, pod).await? else { continue };
            let uid = &pod.metadata.uid;
            let since = known.get(uid).copied().or(refusal.by_budget.then_some(now));
            refusals.extend(since.map(|since| (uid.clone(), since)));
            let is_late = since.is_some_and(|since| now.duration_since(since) >= FORCE_AFTER);
            let left =
                if eviction.force && refusal.by_budget && is_late { delete(client, pod).await? } else { Some(refusal) };
            let (pod, node) = (pod.name(), node.metadata.name.clone());
            refused.extend(left.map(|refusal| Refused { pod, node, refusal }));
        }
    }
    found.blocked = describe_blocked(client, refused).await?;
    Ok((found, refusals))
}

/// How many of `nodes` are drained at the same time.
fn at_once(wanted: MaxUnavailable, nodes: i32) -> i32 {
    match wanted {
        MaxUnavailable::Nodes(number) => number,
        MaxUnavailable::Percentage(percent) => nodes.saturating_mul(percent) / 100,
    }
    .max(1)
}

async fn nodes(client: &Client, node_group: &str) -> Result<Vec<Node>, CallError> {
    let mut found = Vec::new();
    for_each(client, NODE, None, &of_group(node_group), PAGE, |node: Node| {
        found.push(node);
        if found.len() < MAX_NODES { ListFlow::Continue } else { ListFlow::Stop }
    })
    .await?;
    if found.len() == MAX_NODES {
        return Err(CallError::TooLarge(format!("node group {node_group} has {MAX_NODES} nodes or more")));
    }
    Ok(found)
}

async fn pods_on(client: &Client, node: &str) -> Result<Vec<Pod>, CallError> {
    let mut found = Vec::new();
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    for_each(client, ("v1", "Pod"), None, &on_node, PAGE, |pod: Pod| {
        if pod.is_to_leave() {
            found.push(pod);
        }
        ListFlow::Continue
    })
    .await?;
    Ok(found)
}

/// Cordons or uncordons a node, unless it is gone.
async fn set_cordon(client: &Client, node: &str, cordoned: bool, owner: Value) -> Result<(), CallError> {
    let patch = json!({"spec": {"unschedulable": cordoned}, "metadata": {"annotations": {CORDONED: owner}}});
    let requests = collection("v1", "Node", None);
    let request = requests.patch(node, &PatchParams::default(), &Patch::Merge(patch));
    unless_gone(answer::send(client, request.map_err(kube::Error::BuildRequest)?).await)
}

fn unless_gone(result: Result<(), CallError>) -> Result<(), CallError> {
    match result {
        Err(CallError::NotFound) => Ok(()),
        other => other,
    }
}

/// Another Pod of that name may be on another node by now.
fn same(pod: &Pod) -> Preconditions {
    Preconditions { uid: Some(pod.metadata.uid.clone()), ..Preconditions::default() }
}

/// Evicts a Pod within its budgets. Returns why it stays, if it is refused.
async fn evict(client: &Client, pod: &Pod) -> Result<Option<Refusal>, CallError> {
    let Metadata { name, namespace, .. } = &pod.metadata;
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": same(pod)},
    });
    let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
    let requests = collection("v1", "Pod", Some(namespace));
    let request = requests.create_subresource("eviction", name, &PostParams::default(), body);
    refusal(answer::send(client, request.map_err(kube::Error::BuildRequest)?).await)
}

/// Deletes a Pod regardless of its budgets. Returns why it stays, if it is refused.
async fn delete(client: &Client, pod: &Pod) -> Result<Option<Refusal>, CallError> {
    let params = DeleteParams { preconditions: Some(same(pod)), ..DeleteParams::default() };
    let requests = collection("v1", "Pod", Some(&pod.metadata.namespace));
    let request = requests.delete(&pod.metadata.name, &params).map_err(kube::Error::BuildRequest)?;
    refusal(answer::send(client, request).await)
}

/// A Pod that is refused stays, and the others go on: it says nothing of the API server.
fn refusal(result: Result<(), CallError>) -> Result<Option<Refusal>, CallError> {
    match result {
        // 429, or 500 for a Pod with more than one budget. The API server sends 429 under load as well.
        Err(CallError::Unreachable(Unreachable::Busy(why))) => {
            let by_budget = names_budget(&why);
            Ok(Some(Refusal { why, by_budget }))
        }
        // By an admission webhook.
        Err(CallError::Refused(why) | CallError::Denied { message: why, unauthenticated: false }) => {
            Ok(Some(Refusal { why, by_budget: false }))
        }
        other => unless_other(other).map(|()| None),
    }
}

/// It is gone, or another Pod has its name.
fn unless_other(result: Result<(), CallError>) -> Result<(), CallError> {
    match result {
        Err(CallError::Conflict) => Ok(()),
        other => unless_gone(other),
    }
}

fn names_budget(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("disruption budget") || message.contains("disruptionbudget")
}

/// What holds the Pods that were `refused`.
async fn describe_blocked(client: &Client, refused: Vec<Refused>) -> Result<Vec<BlockedPod>, CallError> {
    let held = refused.iter().filter(|one| one.refusal.by_budget);
    let nodes: Vec<_> = held.map(|one| one.node.clone()).collect();
    let known = if nodes.is_empty() { Vec::new() } else { budgets::blocked_pods(client, &nodes).await? };
    let describe = |Refused { pod, node, refusal: Refusal { why, by_budget } }: Refused| {
        let of_pod = known.iter().find(|one| by_budget && one.pod == pod);
        of_pod.cloned().unwrap_or(BlockedPod { pod, node, by: BlockedBy::Refusal(why) })
    };
    Ok(refused.into_iter().take(MAX_BLOCKED).map(describe).collect())
}

#[cfg(test)]
#[path = "eviction_tests.rs"]
mod tests;
