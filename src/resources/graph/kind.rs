//! What is known of a kind of resource apart from how it is observed and changed: its row in the table of kinds
//! ([`super::kinds`]). Pure.

use futures::future::BoxFuture;

use super::located::ListRead;
use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::engine::Key;

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
    /// Reads the tags of the one with that id, for kinds that no list has: their keys are named after their ids.
    pub tags_of: Option<TagsOf>,
    /// One that the spec no longer asks for is not managed, and released with the cluster.
    pub is_kept: bool,
    /// Nodes can join only once it is ready.
    pub is_before_nodes: bool,
    /// Whatever runs in the VPC may need it, and EC2 deletes it nevertheless (of subnets: those that are empty just now).
    /// It stays while others use the VPC.
    pub serves_vpc: bool,
    /// A record of it means that something in AWS is the object's. Not so for sweeps, and for a network that the user provides.
    pub is_resource: bool,
    /// The IAM actions that Keelson needs for it, sorted: those of its calls, and of the reads and tags that it shares with
    /// other kinds. Tests hold the files' calls, the policies in deploy/ and docs/iam-actions.md against them.
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

/// Reads the tags of a resource by its id; `None`: it does not exist.
pub type TagsOf = for<'a> fn(&'a Session, &'a str) -> BoxFuture<'a, Result<Option<Tags>, AwsError>>;

/// How a resource that a spec no longer asks for is deleted, if nothing of the cluster uses it.
#[derive(Debug)]
pub struct Removal {
    /// The field of the spec that asked for it.
    pub field: &'static str,
    /// Whether both can exist at the same time. If so, the new one exists before the earlier one is deleted.
    pub can_coexist: fn(&Key, &Key) -> bool,
    /// Deletes the one with that id, which is the last argument, of the cluster with that name.
    pub delete: for<'a> fn(&'a Session, &'a str, &'a str) -> BoxFuture<'a, Result<(), AwsError>>,
}

impl Kind {
    /// A kind that is found with its parent, is not removable, and that nodes wait for.
    pub const fn new(name: &'static str, label: &'static str, area: Area) -> Self {
        let listing = Listing::WithParent;
        Self {
            name,
            label,
            area,
            listing,
            is_removable: false,
            removal: None,
            tags_of: None,
            is_kept: false,
            is_before_nodes: true,
            serves_vpc: false,
            is_resource: true,
            actions: &[],
        }
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

    /// The same, found one by one, by the names in their keys.
    pub const fn found_by_name(self, tags_of: TagsOf) -> Self {
        Self { tags_of: Some(tags_of), ..self }
    }

    /// The same, that stays when a spec no longer asks for it.
    pub const fn kept_when_removed(self) -> Self {
        Self { is_kept: true, ..self }
    }

    /// The same, that nodes do not wait for.
    pub const fn after_nodes(self) -> Self {
        Self { is_before_nodes: false, ..self }
    }

    /// The same, that whatever runs in the VPC may need.
    pub const fn serving_vpc(self) -> Self {
        Self { serves_vpc: true, ..self }
    }

    /// The same, which is no resource of the object's.
    pub const fn without_resource(self) -> Self {
        Self { is_resource: false, ..self }
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
