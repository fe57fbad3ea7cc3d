//! The input of an upgrade decision, from the engine's memory and the NodeGroups' status. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::conditions::{self, ConditionType};
use crate::api::status_cluster::HealthIssue;
use crate::api::upgrade::FollowPolicy;
use crate::api::{EksClusterSpec, KubernetesVersion, NodeGroup, Reason};
use crate::controllers::cluster::status::facts::Facts;
use crate::engine::{Action, AnyObservation, Memory, Phase};
use crate::resources::eks::addon;
use crate::resources::eks::lifecycle::{self, LifecycleState};
use crate::upgrade::addon_versions::{DesiredVersion, OfferedVersion};
use crate::upgrade::preflight::NodeGroupHealth;
use crate::upgrade::{AddonState, ControlPlaneWork, Observation, ObservedAddon, ObservedNodeGroup, UnreadNodes};
use crate::workload::nodes::{Count, Nodes};

/// Offers of an add-on by the Kubernetes version they run on.
pub type Offers = BTreeMap<KubernetesVersion, Vec<OfferedVersion>>;

/// What was read besides the engine's own observations.
#[derive(Clone, Debug, Default)]
pub struct UpgradeReads {
    /// The versions that EKS offers of each add-on.
    pub offers: BTreeMap<String, Offers>,
    /// The Kubernetes versions that EKS offers.
    pub offered: BTreeSet<KubernetesVersion>,
    /// The nodes, if the cluster's API could be read.
    pub nodes: Option<Nodes>,
    /// Why not, where that matters.
    pub unread: Option<UnreadNodes>,
}

/// Everything observed. `None`: there is no control plane that could be upgraded.
pub fn observe(
    memory: &Memory,
    spec: &EksClusterSpec,
    groups: &[Arc<NodeGroup>],
    read: &UpgradeReads,
) -> Option<Observation> {
    let facts = Facts(memory);
    let cluster = facts.cluster()?;
    let control_plane_work = control_plane_work(cluster)?;
    let others = read.nodes.as_ref().map(|nodes| &nodes.others);
    Some(Observation {
        control_plane: facts.of_cluster("version")?.parse().ok()?,
        control_plane_work,
        addons: addons(memory, spec, read),
        node_groups: groups.iter().filter_map(|group| node_group(group, read.nodes.as_ref())).collect(),
        other_kubelets: others.map(kubelets_named).unwrap_or_default(),
        unread: read.unread.clone(),
        offered: read.offered.clone(),
    })
}

/// `None`: it is being created or deleted, or has failed.
fn control_plane_work(cluster: &AnyObservation) -> Option<ControlPlaneWork> {
    match &cluster.phase {
        Phase::Ready | Phase::Incomplete => Some(ControlPlaneWork::Idle),
        Phase::Busy { action: Action::Update, .. } => Some(match &cluster.operation {
            Some(operation) if lifecycle::is_version_update(&operation.kind) => ControlPlaneWork::Version,
            _ => ControlPlaneWork::Other,
        }),
        Phase::Busy { .. } | Phase::Failed { .. } => None,
    }
}

fn addons(memory: &Memory, spec: &EksClusterSpec, read: &UpgradeReads) -> Vec<ObservedAddon> {
    let there = memory.iter().filter(|(key, _)| addon::KIND.is_of(key));
    there
        .filter_map(|(key, _)| {
            let observed = memory.observed(key)?;
            let listed = spec.addons.iter().find(|addon| addon.name == key.name());
            Some(ObservedAddon {
                name: key.name().to_owned(),
                installed: observed.outputs.get("version").filter(|version| !version.is_empty())?.clone(),
                wanted: listed.map(|addon| DesiredVersion::from(addon.version())),
                state: addon_state(observed),
                offered: read.offers.get(key.name()).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

fn addon_state(observed: &AnyObservation) -> AddonState {
    let is_degraded = LifecycleState::parse(&observed.state) == LifecycleState::Degraded;
    match &observed.phase {
        // It may never clear, and would block the upgrade forever.
        _ if is_degraded && observed.operation.is_none() => AddonState::Settled,
        Phase::Ready | Phase::Incomplete => AddonState::Settled,
        Phase::Busy { .. } => AddonState::Busy,
        Phase::Failed { .. } => AddonState::Failed,
    }
}

fn node_group(group: &NodeGroup, nodes: Option<&Nodes>) -> Option<ObservedNodeGroup> {
    let status = group.status.as_ref()?;
    let name = group.node_group_name();
    // During a replacement it has nodes in two node groups.
    let counts = group.node_group_names().into_iter().filter_map(|name| nodes?.groups.get(&name));
    let kubelets: BTreeSet<_> = counts.flat_map(kubelets).collect();
    let custom_ami = has_custom_ami(group);
    let reported = status.version.as_deref().and_then(|version| version.parse().ok());
    // The kubelet comes with the AMI, of which EKS knows nothing: it may report no version, or that of the cluster.
    let of_kubelets = kubelets.first().copied().filter(|_| custom_ami);
    Some(ObservedNodeGroup {
        version: of_kubelets.or(reported)?,
        own: group.spec.version().ok().flatten(),
        kubelets,
        busy: is_busy(group) || is_replaced(group),
        suspended: group.spec.suspend,
        custom_ami,
        name,
    })
}

/// The AMI type of a node group, as far as known.
pub fn ami_type(group: &NodeGroup) -> Option<&str> {
    group.status.as_ref().and_then(|status| status.ami_type.as_deref()).or(group.spec.ami_type.as_deref())
}

/// Whether its AMI comes from its launch template: then EKS reports the AMI's id as its release.
fn has_custom_ami(group: &NodeGroup) -> bool {
    let release = group.status.as_ref().and_then(|status| status.release_version.as_deref()).unwrap_or_default();
    ami_type(group) == Some("CUSTOM") || release.starts_with("ami-")
}

/// Whether its nodes move to Kubernetes `to` by themselves, once the control plane has it.
pub fn moves_to(group: &NodeGroup, to: KubernetesVersion, policy: FollowPolicy) -> bool {
    match group.spec.version().ok().flatten() {
        _ if group.spec.suspend => false,
        Some(own) => own >= to,
        None => policy == FollowPolicy::Follow,
    }
}

/// Whether EKS is working on it, according to its status.
pub fn is_busy(group: &NodeGroup) -> bool {
    const AT_WORK: [Reason; 4] = [Reason::Creating, Reason::Updating, Reason::Upgrading, Reason::Deleting];
    let conditions = group.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions::get(conditions, ConditionType::NodesReady)
        .is_some_and(|nodes| nodes.status != "True" && AT_WORK.iter().any(|reason| reason.as_str() == nodes.reason))
}

/// Whether another node group is made beside it, or deleted.
fn is_replaced(group: &NodeGroup) -> bool {
    let replacement = group.status.as_ref().and_then(|status| status.replacement.as_ref());
    replacement.is_some_and(|replacement| replacement.arn.is_some())
}

fn kubelets(count: &Count) -> BTreeSet<KubernetesVersion> {
    count.kubelets.keys().filter_map(|version| minor(version)).collect()
}

fn kubelets_named(count: &Count) -> Vec<(String, KubernetesVersion)> {
    count.kubelets.iter().filter_map(|(version, those)| Some((those.example.clone(), minor(version)?))).collect()
}

/// `v1.34.4-eks-ecaa3a6` as 1.34.
fn minor(kubelet: &str) -> Option<KubernetesVersion> {
    let mut parts = kubelet.strip_prefix('v')?.split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    format!("{major}.{}", minor.trim_end_matches('+')).parse().ok()
}

/// Health of the node groups, by name.
pub fn health(groups: &[Arc<NodeGroup>]) -> Vec<(String, NodeGroupHealth)> {
    let describe = |issues: &[HealthIssue]| {
        let texts = issues.iter().map(|issue| match &issue.message {
            Some(message) => format!("{}: {message}", issue.code),
            None => issue.code.clone(),
        });
        texts.collect::<Vec<_>>().join("; ")
    };
    let health = |group: &Arc<NodeGroup>| {
        let status = group.status.as_ref()?;
        let nodes = conditions::get(&status.conditions, ConditionType::NodesReady)?;
        Some(if nodes.reason == Reason::Failed.as_str() {
            NodeGroupHealth::Failed(nodes.message.clone())
        } else if status.health_issues.is_empty() {
            NodeGroupHealth::Healthy
        } else {
            NodeGroupHealth::Degraded(describe(&status.health_issues))
        })
    };
    groups.iter().filter_map(|group| Some((group.node_group_name(), health(group)?))).collect()
}

/// Why the cluster is unhealthy, if it is: such time does not count towards the soak.
pub fn unhealthy(memory: &Memory, groups: &[Arc<NodeGroup>], agent_fails: Option<&str>) -> Option<String> {
    let facts = Facts(memory);
    let addon = memory.iter().filter(|(key, _)| addon::KIND.is_of(key)).find_map(|(key, _)| {
        let observed = memory.observed(key)?;
        (!lifecycle::is_active(&observed.state)).then(|| format!("add-on {} is {}", key.name(), observed.state))
    });
    let cluster = facts.cluster().filter(|observed| !lifecycle::is_active(&observed.state));
    let cluster = cluster.map(|observed| format!("the control plane is {}", observed.state));
    let group = groups.iter().find(|group| !group.spec.suspend && !super::super::status::is_ready(group));
    let group = group.map(|group| format!("node group {} is not ready", group.node_group_name()));
    cluster.or(addon).or(group).or(agent_fails.map(|why| format!("the GitOps agent: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(spec: serde_json::Value, status: serde_json::Value) -> NodeGroup {
        let mut wanted = serde_json::json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
        wanted.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(serde_json::json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": "own", "namespace": "team"},
            "spec": wanted, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn kubelets_are_the_version_of_a_custom_ami_whatever_eks_reports() {
        use crate::workload::nodes::Kubelets;
        use serde_json::json;
        let version = |ami_type: &str, reported: Option<&str>, kubelets: &[&str]| {
            let group = group(json!({}), json!({"amiType": ami_type, "version": reported}));
            let of = |kubelet: &&str| ((*kubelet).to_owned(), Kubelets { nodes: 1, example: "a".into() });
            let count = Count { kubelets: kubelets.iter().map(of).collect(), ..Count::default() };
            let nodes = Nodes { groups: BTreeMap::from([("own".to_owned(), count)]), ..Nodes::default() };
            node_group(&group, Some(&nodes)).map(|found| found.version.to_string())
        };
        assert_eq!(version("CUSTOM", None, &["v1.33.7", "v1.31.2"]).as_deref(), Some("1.31"));
        assert_eq!(version("CUSTOM", Some("1.31"), &["v1.34.1"]).as_deref(), Some("1.34"), "its template has moved");
        assert_eq!(version("CUSTOM", Some("1.31"), &[]).as_deref(), Some("1.31"));
        assert_eq!(version("CUSTOM", None, &[]), None);
        assert_eq!(version("AL2023_x86_64_STANDARD", Some("1.34"), &["v1.33.1"]).as_deref(), Some("1.34"));
    }

    #[test]
    fn only_nodes_that_follow_or_have_their_own_version_move() {
        use serde_json::json;
        let to = "1.33".parse().unwrap();
        let moves = |spec, policy| moves_to(&group(spec, json!({})), to, policy);
        assert!(moves(json!({}), FollowPolicy::Follow));
        assert!(!moves(json!({}), FollowPolicy::Manual));
        assert!(moves(json!({"version": "1.33"}), FollowPolicy::Manual));
        assert!(!moves(json!({"version": "1.32"}), FollowPolicy::Follow));
        assert!(!moves(json!({"suspend": true}), FollowPolicy::Follow));
    }

    #[test]
    fn kubelet_minor_version_is_parsed() {
        assert_eq!(minor("v1.34.4-eks-ecaa3a6").unwrap().to_string(), "1.34");
        assert_eq!(minor("v1.33+").unwrap().to_string(), "1.33");
        assert_eq!(minor(""), None);
    }
}
