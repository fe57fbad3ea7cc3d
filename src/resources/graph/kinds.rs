//! The table of kinds. Conditions, messages, the inventory, the search for owned resources, `keelson plan`, CloudTrail events
//! and the list of IAM actions iterate over it. Pure.
//!
//! A kind defines its row as `KIND` in its own file and has one line in [`ALL`]. Tests expand graphs and reject a kind that is not in it.

use super::kind::Kind;
use crate::engine::Key;
use crate::resources::deletion::{claim_volumes, leftovers, pruning, removals};
use crate::resources::eks::{
    access_entry, addon, auto_scaling_group_tags, capability, certificate_authority, cluster, fargate_profile,
    identity_provider, launch_template, log_group, node_group, pod_identity_association,
};
use crate::resources::iam::{oidc_provider, role, workload_role};
use crate::resources::karpenter::{event_rule, leftover_instances, queue};
use crate::resources::network::{
    egress_only_internet_gateway, elastic_ip, existing_network, flow_log, internet_gateway, nat_gateway, route,
    route_table, route_table_association, security_group, subnet, vpc, vpc_cidr, vpc_endpoint,
};

/// All kinds.
pub static ALL: &[&Kind] = &[
    &vpc::KIND,
    &vpc_cidr::KIND,
    &subnet::KIND,
    &internet_gateway::KIND,
    &egress_only_internet_gateway::KIND,
    &elastic_ip::KIND,
    &nat_gateway::KIND,
    &route_table::KIND,
    &route::KIND,
    &route_table_association::KIND,
    &vpc_endpoint::KIND,
    &security_group::KIND,
    &flow_log::KIND,
    &existing_network::KIND,
    &leftovers::KIND,
    &claim_volumes::KIND,
    &role::KIND,
    &workload_role::KIND,
    &log_group::KIND,
    &cluster::KIND,
    &certificate_authority::KIND,
    &oidc_provider::KIND,
    &access_entry::KIND,
    &addon::KIND,
    &pod_identity_association::KIND,
    &fargate_profile::KIND,
    &queue::KIND,
    &event_rule::KIND,
    &leftover_instances::KIND,
    &identity_provider::KIND,
    &capability::KIND,
    &launch_template::KIND,
    &node_group::KIND,
    &auto_scaling_group_tags::KIND,
    &removals::KIND,
    &pruning::ACCESS_ENTRIES,
    &pruning::ADDONS,
    &pruning::POD_IDENTITIES,
    &pruning::FARGATE_PROFILES,
];

/// The row of the kind with that name; `None` for gates and for parts of a plan that are no AWS resources.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.name == name)
}

/// Whether a record of the key means that something in AWS is the object's.
pub fn is_resource(key: &Key) -> bool {
    find(key.kind()).is_none_or(|kind| kind.is_resource)
}

/// Whether a resource of the key exists within a cluster.
pub fn is_in_cluster(key: &Key) -> bool {
    find(key.kind()).is_some_and(|kind| kind.in_eks().is_some())
}

/// Whether a resource of the key stays when the spec no longer asks for it, until it is released with the cluster.
pub fn is_kept(key: &Key) -> bool {
    find(key.kind()).is_some_and(|kind| kind.is_kept)
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod actions_tests;

#[cfg(test)]
#[path = "listing_tests.rs"]
mod listing_tests;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_labels_are_unique() {
        let of = |field: fn(&Kind) -> &'static str| ALL.iter().map(|kind| field(kind)).collect::<BTreeSet<_>>().len();
        assert_eq!((of(|kind| kind.name), of(|kind| kind.label)), (ALL.len(), ALL.len()));
    }

    #[test]
    fn each_kind_file_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/resources");
        let mut files = vec![std::path::PathBuf::from(folder)];
        let mut count = 0;
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                count += text.lines().filter(|line| line.starts_with("pub const ") && line.contains("Kind =")).count();
            }
        }
        assert_eq!(count, ALL.len(), "a row that is not in ALL, or is there twice");
    }
}
