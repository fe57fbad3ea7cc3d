//! What is known of a kind of resource apart from how it is observed and changed: its row in the table of kinds
//! ([`super::kinds`]). Pure.

use futures::future::BoxFuture;

use super::located::ListRead;
use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::engine::Key;
use crate::resources::tag_calls::Handle;

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
    /// With the resource that contains it: it has no owner tag of its own.
    WithParent,
    /// In EC2's list of the account, by tags.
    Ec2(for<'a> fn(&'a Session, MaxStaleness) -> ListRead<'a>),
    /// In IAM, by tags and name.
    Iam,
    /// In EKS's list for its cluster, with which it is deleted.
    InCluster(InCluster),
    /// By a name that follows from the cluster's: there is one at most.
    ByName(FindNamed),
    /// By its record: the list of the account has no tags, and each one's cost a call. What has a record without an id is
    /// searched for by its tag when it is observed.
    ByRecord,
}

/// A resource that is found by its name: its id, how to tag it, and its tags.
pub type NamedResource = (String, Handle, Tags);

/// Reads the one of the cluster with that name; `None`: it does not exist, or may not be read.
pub type FindNamed = for<'a> fn(&'a Session, &'a str) -> BoxFuture<'a, Result<Option<NamedResource>, AwsError>>;

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

/// A kind of which nobody has said yet how those of an owner are found. A row does not compile without that: the last check of a
/// deletion would miss what is found by nothing.
#[derive(Debug)]
pub struct NewKind {
    name: &'static str,
    label: &'static str,
    area: Area,
}

impl NewKind {
    const fn found(self, listing: Listing) -> Kind {
        Kind {
            name: self.name,
            label: self.label,
            area: self.area,
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

    /// Listed by EC2.
    pub const fn in_ec2(self, list: for<'a> fn(&'a Session, MaxStaleness) -> ListRead<'a>) -> Kind {
        self.found(Listing::Ec2(list))
    }

    /// Listed by IAM.
    pub const fn in_iam(self) -> Kind {
        self.found(Listing::Iam)
    }

    /// Listed by EKS within a cluster.
    pub const fn in_cluster(self, in_cluster: InCluster) -> Kind {
        self.found(Listing::InCluster(in_cluster))
    }

    /// Without an owner tag, found with the resource that contains it.
    pub const fn with_parent(self) -> Kind {
        self.found(Listing::WithParent)
    }

    /// Found by a name that follows from the cluster's.
    pub const fn by_name(self, find: FindNamed) -> Kind {
        self.found(Listing::ByName(find))
    }

    /// Found by its record.
    pub const fn by_record(self) -> Kind {
        self.found(Listing::ByRecord)
    }

    /// No resource of the object's: nothing carries its owner tag.
    pub const fn without_resource(self) -> Kind {
        Kind { is_resource: false, ..self.found(Listing::WithParent) }
    }
}

impl Kind {
    /// A kind that is not removable, and that nodes wait for. The next call says how those of an owner are found.
    #[expect(clippy::new_ret_no_self, reason = "a kind is complete only once it is known how its resources are found")]
    pub const fn new(name: &'static str, label: &'static str, area: Area) -> NewKind {
        NewKind { name, label, area }
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
            Listing::WithParent | Listing::Ec2(_) | Listing::Iam | Listing::ByName(_) | Listing::ByRecord => None,
        }
    }

    /// Reads EC2's list of them in the account; `None`: EC2 has no such list.
    pub fn read<'a>(&self, aws: &'a Session, staleness: MaxStaleness) -> Option<ListRead<'a>> {
        match self.listing {
            Listing::Ec2(list) => Some(list(aws, staleness)),
            Listing::WithParent | Listing::Iam | Listing::InCluster(_) | Listing::ByName(_) | Listing::ByRecord => None,
        }
    }

    /// Reads the one that belongs to the cluster by its name; `None`: those of the kind have no such name, it does not exist, or may
    /// not be read.
    ///
    /// # Errors
    /// Those of the read.
    pub async fn find_named(&self, aws: &Session, cluster: &str) -> Result<Option<NamedResource>, AwsError> {
        match self.listing {
            Listing::ByName(find) => find(aws, cluster).await,
            Listing::WithParent | Listing::Ec2(_) | Listing::Iam | Listing::InCluster(_) | Listing::ByRecord => {
                Ok(None)
            }
        }
    }
}
