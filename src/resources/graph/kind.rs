//! The table of kinds: what is known of each kind of resource apart from how it is observed and changed. Conditions, messages, the
//! inventory, the search for owned resources, `keelson plan`, CloudTrail events and the list of IAM actions iterate over it. Pure.
//!
//! A kind defines its row as `KIND` in its own file and has one line in [`ALL`]. Tests expand graphs and reject a kind that is not in it.

use futures::future::BoxFuture;

use super::proof::ListRead;
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::engine::Key;
use crate::resources::deletion::{leftovers, pruned_kind, removals};
use crate::resources::eks::{access_entry, addon, cluster, fargate_profile, node_group, pod_identity_association};
use crate::resources::iam::{oidc_provider, role};
use crate::resources::network::{
    elastic_ip, existing_network, flow_log, internet_gateway, nat_gateway, route, route_table, route_table_association,
    security_group, subnet, vpc, vpc_endpoint,
};

/// A kind of resource.
#[derive(Debug)]
pub struct Kind {
    /// Its name in keys, e.g. `natGateway`.
    pub name: &'static str,
    /// Its name in messages, e.g. `NAT gateway`.
    pub label: &'static str,
    /// The condition of an EksCluster that it counts for.
    pub area: Area,
    /// How those of an owner are found.
    pub listing: Listing,
    /// A spec can ask for fewer than before: then those that are left over are deleted.
    pub is_removable: bool,
    /// How, if nothing else has to be deleted or moved first.
    pub removal: Option<Removal>,
    /// Nodes can join only once it is ready.
    pub is_before_nodes: bool,
    /// The IAM actions that Keelson needs for it, sorted: those of its calls, and of the reads and tags that it shares with
    /// other kinds. Tests hold the files' calls, the policies in deploy/ and docs/iam-actions.md against them.
    #[cfg_attr(not(test), expect(dead_code, reason = "what the policies grant is checked by tests"))]
    pub actions: &'static [&'static str],
}

/// The part of a cluster that a kind belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// `NetworkReady`.
    Network,
    /// `ControlPlaneReady`.
    ControlPlane,
    /// `AddonsReady`.
    Addons,
    /// No resource in AWS: nothing waits for it.
    Cleanup,
}

/// How the resources of a kind that belong to an owner are found.
#[derive(Debug)]
pub enum Listing {
    /// With the resource that contains it: it has no tags of its own.
    WithParent,
    /// In EC2's list of the account, by tags.
    Ec2(for<'a> fn(&'a Session, MaxStaleness) -> ListRead<'a>),
    /// In IAM, by tags and name.
    Iam,
    /// In EKS's list for its cluster.
    InCluster(InCluster),
}

/// How EKS names a kind that exists within a cluster.
#[derive(Debug)]
pub struct InCluster {
    /// The parameter of EKS calls that holds its name; `None`: it has no name of one parameter.
    pub parameter: Option<&'static str>,
    /// The resource type in its ARN, e.g. `fargateprofile`.
    pub arn_type: &'static str,
    /// The action that creates one, and the kind that deletes those that the spec does not list.
    pub pruning: Option<(&'static str, &'static Kind)>,
}

/// How a resource that a spec no longer asks for is deleted, if nothing of the cluster uses it.
#[derive(Debug)]
pub struct Removal {
    /// The field of the spec that asked for it.
    pub field: &'static str,
    /// Whether both can exist at the same time. If so, the new one exists before the earlier one is deleted.
    pub can_coexist: fn(&Key, &Key) -> bool,
    /// Deletes the one with that id.
    pub delete: for<'a> fn(&'a Session, &'a str) -> BoxFuture<'a, Result<(), AwsError>>,
}

/// All kinds.
pub static ALL: &[&Kind] = &[
    &vpc::KIND,
    &subnet::KIND,
    &internet_gateway::KIND,
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
    &role::KIND,
    &cluster::KIND,
    &oidc_provider::KIND,
    &access_entry::KIND,
    &addon::KIND,
    &pod_identity_association::KIND,
    &fargate_profile::KIND,
    &node_group::KIND,
    &removals::KIND,
    &pruned_kind::ACCESS_ENTRIES,
    &pruned_kind::ADDONS,
    &pruned_kind::POD_IDENTITIES,
    &pruned_kind::FARGATE_PROFILES,
];

/// The row of the kind with that name; `None` for gates and for parts of a plan that are no AWS resources.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.name == name)
}

impl Kind {
    /// A kind that is found with its parent, is not removable, and that nodes wait for.
    pub const fn new(name: &'static str, label: &'static str, area: Area) -> Self {
        let listing = Listing::WithParent;
        Self { name, label, area, listing, is_removable: false, removal: None, is_before_nodes: true, actions: &[] }
    }

    /// The same, listed by EC2.
    pub const fn in_ec2(self, list: for<'a> fn(&'a Session, MaxStaleness) -> ListRead<'a>) -> Self {
        Self { listing: Listing::Ec2(list), ..self }
    }

    /// The same, listed by IAM.
    pub const fn in_iam(self) -> Self {
        Self { listing: Listing::Iam, ..self }
    }

    /// The same, listed by EKS within a cluster.
    pub const fn in_cluster(self, in_cluster: InCluster) -> Self {
        Self { listing: Listing::InCluster(in_cluster), ..self }
    }

    /// The same, of which a spec can ask for fewer than before.
    pub const fn removable(self) -> Self {
        Self { is_removable: true, ..self }
    }

    /// The same, deleted alone.
    pub const fn removed_by(self, removal: Removal) -> Self {
        Self { is_removable: true, removal: Some(removal), ..self }
    }

    /// The same, that nodes do not wait for.
    pub const fn after_nodes(self) -> Self {
        Self { is_before_nodes: false, ..self }
    }

    /// The same, with the IAM actions that it needs.
    pub const fn with_actions(self, actions: &'static [&'static str]) -> Self {
        Self { actions, ..self }
    }

    /// The key of the only one in a graph.
    pub fn key(&self) -> Key {
        Key::single(self.name)
    }

    /// The key of one of them.
    pub fn named(&self, name: impl Into<String>) -> Key {
        Key::named(self.name, name)
    }

    /// Whether a key is of this kind.
    pub fn is_of(&self, key: &Key) -> bool {
        key.kind() == self.name
    }

    /// How EKS names it, if it exists within a cluster.
    pub fn in_eks(&self) -> Option<&InCluster> {
        match &self.listing {
            Listing::InCluster(in_cluster) => Some(in_cluster),
            Listing::WithParent | Listing::Ec2(_) | Listing::Iam => None,
        }
    }

    /// Reads EC2's list of them in the account; `None`: EC2 has no such list.
    pub fn read<'a>(&self, aws: &'a Session, staleness: MaxStaleness) -> Option<ListRead<'a>> {
        match self.listing {
            Listing::Ec2(list) => Some(list(aws, staleness)),
            Listing::WithParent | Listing::Iam | Listing::InCluster(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod actions_tests;

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
