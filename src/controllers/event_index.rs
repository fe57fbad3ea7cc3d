//! The objects that an event may be about, by what events name: so that one message costs a few lookups, however large the fleet is.
//! Pure. Made anew for each batch of messages, from the stores.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::ResourceExt;

use super::drift_events::{about_clusters, inventory, parts};
use crate::api::{EksCluster, NodeGroup};
use crate::aws::Service;
use crate::aws::events::Event;

/// Clusters by name and by the ids of their resources; node groups by cluster.
#[derive(Default)]
pub struct EventIndex {
    clusters: Vec<Arc<EksCluster>>,
    /// Account, region and name in EKS.
    by_name: HashMap<(String, String, String), Vec<usize>>,
    by_resource_id: HashMap<String, BTreeSet<usize>>,
    /// Namespace and name of the EksCluster.
    node_groups: HashMap<(String, String), Vec<Arc<NodeGroup>>>,
}

impl EventIndex {
    /// Of all objects. A cluster whose account is not known yet has nothing in AWS that an event could be about.
    pub fn new(clusters: Vec<Arc<EksCluster>>, node_groups: Vec<Arc<NodeGroup>>) -> Self {
        let mut index = Self::default();
        for group in node_groups {
            let key = (group.namespace().unwrap_or_default(), group.spec.cluster_ref.name.clone());
            index.node_groups.entry(key).or_default().push(group);
        }
        for cluster in clusters {
            let number = index.clusters.len();
            let Some(account) = cluster.status.as_ref().and_then(|status| status.account_id.clone()) else { continue };
            let name = (account, cluster.spec.region.clone(), cluster.cluster_name());
            index.by_name.entry(name).or_default().push(number);
            for (key, id) in inventory(&cluster) {
                for part in parts(&key, id) {
                    index.by_resource_id.entry(part.to_owned()).or_default().insert(number);
                }
            }
            index.clusters.push(cluster);
        }
        index
    }

    /// The clusters of the event's account and region that it names, itself or something of theirs.
    pub fn clusters_of(&self, event: &Event) -> Vec<&Arc<EksCluster>> {
        let mut numbers = BTreeSet::new();
        if event.service == Service::Eks {
            for name in about_clusters(event) {
                let key = (event.account.clone(), event.region.clone(), name);
                numbers.extend(self.by_name.get(&key).into_iter().flatten().copied());
            }
        } else {
            numbers.extend(event.values().filter_map(|value| self.by_resource_id.get(value)).flatten().copied());
        }
        numbers.into_iter().filter_map(|number| self.clusters.get(number)).collect()
    }

    /// The node groups that refer to a cluster.
    pub fn node_groups_of(&self, cluster: &EksCluster) -> &[Arc<NodeGroup>] {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        self.node_groups.get(&key).map_or(&[], Vec::as_slice)
    }
}
