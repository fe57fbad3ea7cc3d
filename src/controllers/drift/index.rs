//! An index of objects by the names in events, so that a message costs a few lookups however large the fleet is. Pure.
//! Rebuilt from the stores for each batch of messages.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::ResourceExt;

use super::affected::{clusters_of_eks_call, inventory, launch_template_names, parts};
use crate::api::{EksCluster, NodeGroup};
use crate::aws::Service;
use crate::aws::events::Event;

/// Clusters by name and by the ids of their resources; node groups by cluster.
#[derive(Default)]
pub struct EventIndex {
    clusters: Vec<Arc<EksCluster>>,
    /// By account, region and EKS cluster name.
    by_name: HashMap<(String, String, String), Vec<usize>>,
    by_resource_id: HashMap<String, BTreeSet<usize>>,
    /// By namespace and name of the EksCluster.
    node_groups: HashMap<(String, String), Vec<Arc<NodeGroup>>>,
}

impl EventIndex {
    /// Indexes all objects. A cluster without an account id has nothing in AWS yet, so it is skipped.
    pub fn new(clusters: Vec<Arc<EksCluster>>, node_groups: Vec<Arc<NodeGroup>>) -> Self {
        let mut index = Self::default();
        for group in node_groups {
            let key = (group.namespace().unwrap_or_default(), group.spec.cluster_ref.name.clone());
            index.node_groups.entry(key).or_default().push(group);
        }
        for cluster in clusters {
            let position = index.clusters.len();
            let Some(account) = cluster.status.as_ref().and_then(|status| status.account_id.clone()) else { continue };
            let name = (account, cluster.spec.region.clone(), cluster.cluster_name());
            index.by_name.entry(name).or_default().push(position);
            for (key, id) in inventory(&cluster) {
                for part in parts(&key, id) {
                    index.by_resource_id.entry(part.to_owned()).or_default().insert(position);
                }
            }
            let groups = index.node_groups_of(&cluster).iter();
            let templates: Vec<_> = groups.flat_map(|group| launch_template_names(group, &cluster)).collect();
            for name in templates {
                index.by_resource_id.entry(name).or_default().insert(position);
            }
            index.clusters.push(cluster);
        }
        index
    }

    /// The clusters in the event's account and region that the event names, directly or by one of their resources.
    pub fn clusters_of(&self, event: &Event) -> Vec<&Arc<EksCluster>> {
        let mut positions = BTreeSet::new();
        if event.service == Service::Eks {
            for name in clusters_of_eks_call(event) {
                let key = (event.account.clone(), event.region.clone(), name);
                positions.extend(self.by_name.get(&key).into_iter().flatten().copied());
            }
        } else {
            positions.extend(event.values().filter_map(|value| self.by_resource_id.get(value)).flatten().copied());
        }
        positions.into_iter().filter_map(|position| self.clusters.get(position)).collect()
    }

    /// The node groups that refer to a cluster.
    pub fn node_groups_of(&self, cluster: &EksCluster) -> &[Arc<NodeGroup>] {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        self.node_groups.get(&key).map_or(&[], Vec::as_slice)
    }
}
