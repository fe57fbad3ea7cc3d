//! What each resource of a cluster follows, by the graph that its spec expands to: the one that is planned and executed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;

use super::planned::owner;
use crate::api::addons::Addon;
use crate::api::network::NetworkKind;
use crate::api::{EksCluster, NodeGroup};
use crate::controllers::cluster::agent::steps;
use crate::engine::{Goal, Graph, Key};
use crate::resources::cloud::{AccountSettings, Cloud, Intervals};
use crate::resources::eks::{addon, cluster, node_group};
use crate::resources::graph::expand::{self, ClusterInput, NodeRole, Nodes, Versions};
use crate::resources::graph::kind::Area;
use crate::resources::graph::kinds;
use crate::resources::iam::role::{self, Purpose};
use crate::resources::network::subnet;

/// What each resource follows, directly and at once: what must be ready before it is created, or gone before it is deleted. Gates are
/// keys like others.
pub type Order = BTreeMap<Key, BTreeSet<Key>>;

/// The gate that opens when nodes exist, in whose place callers put the node groups.
pub fn nodes() -> Key {
    addon::nodes_gate()
}

/// The gate of what is deleted after the node groups.
pub fn node_groups() -> Key {
    Key::single("nodeGroups")
}

/// A node group of that name in EKS.
pub fn node_group(name: &str) -> Key {
    node_group::key(name)
}

/// The order of a cluster's resources. `known`: those that exist or are planned, which show the zones that were chosen. If the spec cannot
/// be expanded, only that of the control plane and the node groups.
pub fn of_cluster(cluster: &EksCluster, groups: &[&NodeGroup], known: &[Key], goal: Goal) -> Order {
    let Some(graph) = graph(cluster, groups, known, goal) else {
        return match goal {
            Goal::Present => [(nodes(), [cluster::key()].into())].into(),
            Goal::Deleted | Goal::Retained => [(cluster::key(), [node_groups()].into())].into(),
        };
    };
    if goal != Goal::Present {
        let of = |key: &Key| graph.held_by(key).iter().cloned();
        return graph
            .nodes()
            .iter()
            .map(|node| {
                let key = node.key();
                let before = of(&key).chain(node.deleted_after()).chain(node.deleted_with()).collect();
                (key, before)
            })
            .collect();
    }
    let mut order: Order = graph
        .nodes()
        .iter()
        .map(|node| (node.key(), node.after().into_iter().chain(node.inside()).collect()))
        .collect();
    let before_nodes = order.keys().filter(|key| is_before_nodes(key, &cluster.spec.addons)).cloned().collect();
    order.insert(nodes(), before_nodes);
    order.insert(steps::key(), [cluster::key(), nodes()].into());
    order
}

/// Whether node groups wait for it: for the network, the control plane, their role, and the add-ons that nodes need.
fn is_before_nodes(key: &Key, addons: &[Addon]) -> bool {
    let is_network = || kinds::find(key.kind()).is_some_and(|kind| kind.area == Area::Network);
    let is_needed = |one: &Addon| one.is_before_nodes() && addon::key(&one.name) == *key;
    *key == cluster::key() || *key == role::key(Purpose::Node) || is_network() || addons.iter().any(is_needed)
}

fn graph(object: &EksCluster, groups: &[&NodeGroup], known: &[Key], goal: Goal) -> Option<Graph<Cloud>> {
    let spec = &object.spec;
    let zones: Vec<String> = match spec.network.kind().ok()? {
        NetworkKind::Vpc(_) => {
            let zones: BTreeSet<&str> = known.iter().filter_map(|key| Some(subnet::zone_of(key)?.1)).collect();
            zones.into_iter().map(str::to_owned).collect()
        }
        NetworkKind::Existing(_) => Vec::new(),
    };
    if zones.is_empty() && spec.network.existing.is_none() {
        return None;
    }
    let is_present = goal == Goal::Present;
    let nodes = if groups.is_empty() { Nodes::NoneExpected(String::new()) } else { Nodes::Ready };
    expand::cluster(&ClusterInput {
        spec,
        cluster_name: &object.cluster_name(),
        owner: &owner(object, &object.uid().unwrap_or_default()),
        account: &AccountSettings::default(),
        zones: &zones,
        missing_services: &BTreeSet::new(),
        node_role: &NodeRole::of(groups.iter().map(|group| &group.spec)),
        nodes,
        node_groups_left: &[],
        owned: if is_present { &[] } else { known },
        tag_keys: &[],
        used_roles: &[],
        removes: if is_present { Some(&[]) } else { None },
        volumes_since: None,
        instances_since: None,
        versions: &Versions::default(),
        intervals: Intervals::default(),
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(of: &[&str]) -> Vec<Key> {
        of.iter().map(|key| Key::parse(key)).collect()
    }

    fn order(goal: Goal) -> Order {
        let cluster: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.36"},
        }))
        .unwrap();
        let group: NodeGroup = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": "web", "namespace": "team"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}},
        }))
        .unwrap();
        let known = keys(&["vpc", "subnet/private/eu-west-1a", "subnet/private/eu-west-1b", "cluster", "role/cluster"]);
        of_cluster(&cluster, &[&group], &known, goal)
    }

    #[test]
    fn creation_follows_what_must_be_ready() {
        let order = order(Goal::Present);
        let follows = |key: &str, before: &str| order[&Key::parse(key)].contains(&Key::parse(before));
        for (key, before) in [
            ("subnet/private/eu-west-1b", "vpc"),
            ("cluster", "subnet/private/eu-west-1a"),
            ("cluster", "role/cluster"),
            ("addon/vpc-cni", "cluster"),
            ("addon/coredns", "nodes"),
            ("nodes", "addon/vpc-cni"),
            ("nodes", "role/node"),
            ("gitOpsAgent", "nodes"),
        ] {
            assert!(follows(key, before), "{key} follows {before}: {order:?}");
        }
        assert!(!follows("nodes", "addon/coredns") && order[&Key::parse("vpc")].is_empty());
        assert!(!order.contains_key(&Key::parse("subnet/private/eu-west-1c")), "the zones are those that were chosen");
    }

    #[test]
    fn without_zones_node_groups_follow_the_control_plane() {
        let cluster: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.36"},
        }))
        .unwrap();
        assert_eq!(of_cluster(&cluster, &[], &[], Goal::Present)[&nodes()], BTreeSet::from([cluster::key()]));
        assert_eq!(of_cluster(&cluster, &[], &[], Goal::Deleted)[&cluster::key()], BTreeSet::from([node_groups()]));
    }

    #[test]
    fn deletion_follows_what_must_be_gone() {
        let order = order(Goal::Deleted);
        let follows = |key: &str, before: &str| order[&Key::parse(key)].contains(&Key::parse(before));
        for (key, before) in
            [("cluster", "nodeGroups"), ("role/cluster", "cluster"), ("vpc", "subnet/private/eu-west-1a")]
        {
            assert!(follows(key, before), "{key} follows {before}: {order:?}");
        }
    }
}
