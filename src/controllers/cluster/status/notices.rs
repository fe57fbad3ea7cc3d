//! What is worth knowing of a part that is ready: it stops nothing, and is said in the part's condition. Pure.

use std::collections::BTreeSet;

use super::facts::{Facts, cluster_key};
use crate::api::conditions::ConditionType;
use crate::engine::Memory;
use crate::resources::eks::cluster::SUBNET_IDS;
use crate::resources::network::{existing_network, subnet, vpc};

/// The notices about the resources of a condition.
pub fn notices(memory: &Memory, of: ConditionType) -> Vec<String> {
    match of {
        ConditionType::ControlPlaneReady => zones_without_control_plane(memory).into_iter().collect(),
        ConditionType::NetworkReady => {
            let of_existing = Facts(memory).output(&existing_network::key(), existing_network::NOTICES);
            let list = of_existing.or_else(|| Facts(memory).output(&vpc::key(), vpc::NOTICES));
            list.and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// EKS refused zones of our VPC when the cluster was created.
fn zones_without_control_plane(memory: &Memory) -> Option<String> {
    let placed = Facts(memory).output(&cluster_key(), SUBNET_IDS)?;
    let placed: BTreeSet<&str> = placed.split(',').collect();
    let zones_of = |of_cluster: bool| -> BTreeSet<&str> {
        let subnets = memory.iter().filter_map(|(key, _)| {
            let (_, zone) = subnet::zone_of(key)?;
            let id = memory.observed(key)?.id.as_str();
            (placed.contains(id) == of_cluster).then_some(zone)
        });
        subnets.collect()
    };
    let with = zones_of(true);
    let without: Vec<_> = zones_of(false).difference(&with).copied().collect();
    (!with.is_empty() && !without.is_empty())
        .then(|| format!("EKS took no control plane in {}: the subnets there are for nodes only", without.join(", ")))
}
