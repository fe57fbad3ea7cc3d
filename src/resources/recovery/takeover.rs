//! What an object may take over from an earlier object of the same name, as after a restore: by tags, location and
//! name. Pure.
//!
//! After a restore, tags are nearly the only evidence, and anybody with tagging permissions can write them. So the user
//! must name the UID, and of the resources with that UID only those qualify that have the location and the name that
//! Keelson gives them. What tagging permissions cannot change is the description of the cluster's role, which is
//! permanent: it names the object that the role was created for. Without that proof, the owner of the AWS account must
//! allow the takeover, as for an adoption. [`super::retag`] writes the new tags, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::{evidence, instructions};
use crate::api::RECOVER_ANNOTATION;
use crate::aws::tags::{CLUSTER, INSTALLATION, OWNER, RESOURCE, Tags};
use crate::engine::Key;
use crate::resources::cloud::Owner;
use crate::resources::eks::{launch_template, node_group};
use crate::resources::graph::proof::Records;
use crate::resources::iam::role::Purpose;
use crate::resources::iam::role_name;
use crate::resources::tag_calls::Handle;

/// The location of a resource, as far as it is evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In that VPC.
    Vpc(String),
    /// In the EKS cluster with that name.
    Cluster(String),
    /// An address or gateway that is not in use.
    Unused,
    /// Without a location: a VPC or an IAM resource.
    Itself,
}

/// A resource that carries an owner tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedResource {
    /// The id, as in status.
    pub id: String,
    /// How to tag it.
    pub handle: Handle,
    /// Its tags.
    pub tags: Tags,
    /// Its location.
    pub location: Location,
}

impl TaggedResource {
    /// The key in the graph, from its tag.
    pub fn key(&self) -> Option<Key> {
        self.tags.resource().map(Key::parse)
    }
}

/// The EKS cluster that exists with the object's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// Its tags.
    pub tags: Tags,
    /// Its VPC.
    pub vpc: Option<String>,
    /// Its permanent role.
    pub role_arn: Option<String>,
    /// The description of that role.
    pub role_description: Option<String>,
    /// The security group that EKS created with the cluster's tags.
    pub security_group: Option<String>,
}

/// All resources to select from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The name of the cluster in EKS.
    pub cluster_name: String,
    /// The cluster, if it exists.
    pub control_plane: Option<ControlPlane>,
    /// Whether the spec asks for its own network and nothing indicates that the cluster uses an external one.
    pub own_network: bool,
    /// Resources that carry an owner tag.
    pub found: Vec<TaggedResource>,
    /// Descriptions of the roles that may be the cluster's, by name: tagging permissions cannot change them.
    pub role_descriptions: BTreeMap<String, String>,
    /// VPCs in which something runs; read only if the cluster does not exist.
    pub vpcs_in_use: BTreeSet<String>,
    /// Why the object may own resources although none carries its tags, if so.
    pub untagged: Option<String>,
}

/// A resource to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key in the graph.
    pub key: Key,
    /// The resource.
    pub found: TaggedResource,
    /// EC2 ids of resources that carry the same tags because they were created with it.
    pub extra_ids: Vec<String>,
}

/// What is taken over, and what carries the UID but is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is taken over.
    pub items: Vec<Item>,
    /// What is left alone: each "key id (reason)".
    pub left: Vec<String>,
}

/// The UID in the annotation's value: up to a `/`, so that the same UID can be requested again.
pub fn parse_uid(text: &str) -> &str {
    // Anything else would reach people's terminals in messages.
    let is_of_uid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.trim().split(|c: char| !is_of_uid(c)).next().unwrap_or_default()
}

/// What shows that resources with the tags are the object's.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// The description of the cluster's role.
    Role,
    /// The tags alone, because the owner of the AWS account allows it.
    Tags,
    /// They carry the object's own UID, and its cluster is on record. UIDs are unique, so they are its own, whatever
    /// installation their tags name. With records, so is what is on record and another object took over, as long as
    /// the cluster, which a recovery tags last, is this object's.
    Own(Option<&'a Records>),
}

/// Whether the tags of the EKS cluster show that another object of this name took it over, or created it.
pub fn is_taken_over(tags: &Tags, owner: &Owner) -> bool {
    tags.owner().is_some_and(|uid| uid != owner.uid) && tags.get(CLUSTER) == Some(owner.cluster.as_str())
}

/// Selects the resources that `owner` takes over from the object with UID `from`. Resources that carry `owner`'s UID
/// already are selected as well: an earlier attempt tagged them, or their record was lost.
///
/// # Errors
/// Why nothing is taken over.
pub fn select(all: &Inventory, owner: &Owner, from: &str, evidence: Evidence<'_>) -> Result<Selection, String> {
    let is_of_uid = |tags: &Tags| tags.owner().is_some_and(|uid| uid == from || uid == owner.uid);
    let is_named = |tags: &Tags| tags.get(CLUSTER) == Some(owner.cluster.as_str());
    let is_of = |tags: &Tags| is_of_uid(tags) && is_named(tags);
    if let Some(control_plane) = &all.control_plane
        && !is_of(&control_plane.tags)
    {
        return Err(describe_other_owner(&all.cluster_name, &control_plane.tags, owner, from, evidence));
    }
    let is_recorded = |key: &Key, one: &TaggedResource| match evidence {
        Evidence::Own(Some(records)) if all.control_plane.is_some() => {
            is_named(&one.tags) && records.ids().any(|on| on == (key.clone(), one.id.clone()))
        }
        _ => false,
    };
    let candidate = |one: &'_ TaggedResource| one.key().filter(|key| is_of(&one.tags) || is_recorded(key, one));
    let candidates: Vec<(Key, &TaggedResource)> =
        all.found.iter().filter_map(|one| Some((candidate(one)?, one))).collect();
    let by_tags = !matches!(evidence, Evidence::Role);
    let is_cluster_group = |one: &TaggedResource| {
        let group = all.control_plane.as_ref().and_then(|control_plane| control_plane.security_group.as_ref());
        one.handle == Handle::Ec2 && group == Some(&one.id)
    };
    // The tags of the cluster's security group are those of the cluster when EKS created it.
    let mut judged = candidates.iter().filter(|(_, one)| !is_cluster_group(one));
    if !matches!(evidence, Evidence::Own(_))
        && let Some(why) = judged.find_map(|(_, one)| instructions::other_installation(one.tags.installation(), owner))
    {
        return Err(format!("resources with UID {from} carry the tag{why}"));
    }
    evidence::check_installation(owner, from, by_tags, &candidates)?;
    evidence::check_without_cluster(all, from, &candidates)?;
    if !by_tags && !is_proven(all, owner, &candidates) {
        let missing = match &all.control_plane {
            Some(_) => "no role that Keelson created confirms it".to_owned(),
            None => format!(
                "no cluster {} exists here whose role confirms it (check spec.region and spec.clusterName against the \
                 earlier object's)",
                all.cluster_name
            ),
        };
        return Err(format!(
            "only tags indicate that the resources with UID {from} belong to {}, and anybody with tagging \
             permissions could have written them: {missing}. The owner of the AWS account has to allow it, in spec.adoption of the AwsAccount (without accountRef the one named default; \
             create it if there is none), with policy: Allow for this namespace and cluster {}",
            owner.cluster, all.cluster_name
        ));
    }
    let vpc = find_own_vpc(all, &candidates)?;
    let (mut items, mut selection): (BTreeMap<Key, Item>, _) = (BTreeMap::new(), Selection::default());
    for (key, one) in &candidates {
        if is_cluster_group(one) {
            continue;
        }
        let is_cluster = *key == crate::resources::eks::cluster::key();
        let proof = match one.handle {
            // Belongs to a deleted cluster, or to another one.
            Handle::Ec2 if is_cluster => Err("EKS did not create it for the existing cluster".to_owned()),
            // An unused resource has no location.
            Handle::Ec2 if one.location == Location::Unused && by_tags => Ok(()),
            _ => check_location(key, one, all, owner, vpc.as_deref())
                .and_then(|()| check_description(key, one, all, owner, by_tags)),
        };
        if let Err(why) = proof {
            selection.left.push(format!("{key} {} ({why})", one.id));
            continue;
        }
        let group = candidates
            .iter()
            .filter(|(_, other)| is_cluster && is_cluster_group(other))
            .map(|(_, other)| other.id.clone());
        let item = Item { key: key.clone(), found: (*one).clone(), extra_ids: group.collect() };
        if let Some(other) = items.insert(key.clone(), item) {
            return Err(duplicate_message(key, &[&other.found.id, &one.id]));
        }
    }
    selection.items = items.into_values().collect();
    selection.left.extend(evidence::incompletely_tagged(all, vpc.as_deref(), is_of_uid));
    Ok(selection)
}

/// Why nothing is taken over from UID `from`: the cluster's tags name another owner. Reveals nothing about objects of
/// other names.
fn describe_other_owner(cluster: &str, tags: &Tags, owner: &Owner, from: &str, evidence: Evidence<'_>) -> String {
    let Some(uid) = tags.owner().filter(|_| is_taken_over(tags, owner)) else {
        return format!(
            "the tags of cluster {cluster} do not name {} as its owner, so nothing is taken over: it belongs to \
             another object, or has no owner. Remove the annotation {RECOVER_ANNOTATION}; keelson recover --dry-run lists \
             the owners",
            owner.cluster
        );
    };
    let installation = tags.installation().map(|id| format!(" of installation {id}")).unwrap_or_default();
    if matches!(evidence, Evidence::Own(_)) {
        return format!(
            "cluster {cluster} carries UID {uid}{installation}: an object of this name took it over, so it is no longer \
             this object's. Delete this object, which deletes nothing in AWS"
        );
    }
    let cure = instructions::other_installation(tags.installation(), owner)
        .unwrap_or_else(|| format!(". To take over what that UID owned: {}", instructions::command(owner, uid)));
    format!(
        "cluster {cluster} carries the tags of {} with UID {uid}, not {from}, so nothing is taken over{cure}",
        owner.cluster
    )
}

/// Whether evidence that tagging permissions cannot change shows that the cluster was created for an object with this
/// name. The cluster of a node group belongs to the object already.
fn is_proven(all: &Inventory, owner: &Owner, candidates: &[(Key, &TaggedResource)]) -> bool {
    if candidates.iter().all(|(key, _)| node_group::KIND.is_of(key) || launch_template::KIND.is_of(key)) {
        return true;
    }
    let expected = crate::resources::iam::role::description("cluster", &owner.cluster);
    all.control_plane.as_ref().and_then(|control_plane| control_plane.role_description.as_ref()) == Some(&expected)
}

fn duplicate_message(key: &Key, ids: &[&str]) -> String {
    format!(
        "{} carry the same tags, all as {key}: remove the tags {OWNER}, {CLUSTER} and {RESOURCE} from those that are \
         not this cluster's",
        ids.join(" and ")
    )
}

/// The VPC that Keelson created: the one that the cluster is in.
fn find_own_vpc(all: &Inventory, candidates: &[(Key, &TaggedResource)]) -> Result<Option<String>, String> {
    if !all.own_network {
        return Ok(None);
    }
    let key = crate::resources::network::vpc::key();
    let tagged: Vec<&str> = candidates.iter().filter(|(of, _)| *of == key).map(|(_, one)| one.id.as_str()).collect();
    let of_cluster = all.control_plane.as_ref().and_then(|control_plane| control_plane.vpc.as_deref());
    match (tagged.as_slice(), of_cluster) {
        (tagged, Some(vpc)) => Ok(tagged.contains(&vpc).then(|| vpc.to_owned())),
        ([], None) => Ok(None),
        ([one], None) => Ok(Some((*one).to_owned())),
        (several, None) => Err(duplicate_message(&key, several)),
    }
}

/// Whether a resource has the location and the name that Keelson gives it.
fn check_location(
    key: &Key,
    one: &TaggedResource,
    all: &Inventory,
    owner: &Owner,
    vpc: Option<&str>,
) -> Result<(), String> {
    match (&one.handle, &one.location) {
        (Handle::Ec2, Location::Vpc(location)) if vpc == Some(location.as_str()) => Ok(()),
        (Handle::Ec2, Location::Itself) if vpc == Some(one.id.as_str()) => Ok(()),
        // Only the one that is named after the cluster and the node group is read.
        (Handle::Ec2, Location::Cluster(name)) if *name == all.cluster_name && launch_template::KIND.is_of(key) => {
            Ok(())
        }
        (Handle::Ec2, _) => Err("it is not in the cluster's VPC, or Keelson did not create that VPC".to_owned()),
        (Handle::Eks(_), Location::Cluster(name)) if *name == all.cluster_name => Ok(()),
        (Handle::Eks(_), _) => Err(format!("it does not belong to cluster {}", all.cluster_name)),
        (
            Handle::OidcProvider(_) | Handle::Role(_) | Handle::LogGroup(_) | Handle::Queue(_) | Handle::EventRule(_),
            _,
        ) if all.control_plane.is_none() => Err(format!("no cluster {} exists here that uses it", all.cluster_name)),
        (Handle::OidcProvider(_), _) => Ok(()),
        // Only the one that EKS names after the cluster is read.
        (Handle::LogGroup(_), _) if *key == crate::resources::eks::log_group::key() => Ok(()),
        (Handle::LogGroup(_), _) => Err("it is no log group of a control plane".to_owned()),
        // Only those with the name for this cluster are read.
        (Handle::Queue(_) | Handle::EventRule(_), _) if key.name() == one.id => Ok(()),
        (Handle::Queue(_) | Handle::EventRule(_), _) => Err("its tags name another one".to_owned()),
        (Handle::Role(name), _) if evidence::is_of_earlier_cluster(name, &one.tags, all, owner) => {
            Err(format!("this object created cluster {} with other roles", all.cluster_name))
        }
        (Handle::Role(name), _) => {
            let fits = role_name::is_named_for_key(name, &all.cluster_name, key);
            let of_cluster = all.control_plane.as_ref().and_then(|control_plane| control_plane.role_arn.as_deref());
            let role_of_cluster = of_cluster.map(|arn| arn.rsplit('/').next().unwrap_or(arn));
            let is_of_cluster = Purpose::of(key.name()) == Some(Purpose::Cluster);
            let is_current = !is_of_cluster || role_of_cluster.is_none_or(|role| role == name);
            if fits && is_current { Ok(()) } else { Err("Keelson creates no such role for it".to_owned()) }
        }
    }
}

/// Whether a role's description names the object. Its tags may have been copied from another cluster's role; with
/// `by_tags` the owner of the account accepts tags as the only evidence.
fn check_description(
    key: &Key,
    one: &TaggedResource,
    all: &Inventory,
    owner: &Owner,
    by_tags: bool,
) -> Result<(), String> {
    let Handle::Role(name) = &one.handle else { return Ok(()) };
    let expected = role_name::description(&role_name::purpose(key).unwrap_or_default(), &owner.cluster);
    if by_tags || all.role_descriptions.get(name) == Some(&expected) {
        return Ok(());
    }
    Err(format!("its description is not {expected:?}, so its tags are the only evidence of its owner"))
}

impl Item {
    /// The new ownership tags.
    pub fn wanted(&self, owner: &Owner) -> Tags {
        let tags =
            Tags::new().with(OWNER, &owner.uid).with(CLUSTER, &owner.cluster).with(RESOURCE, self.key.to_string());
        let tags_now = &self.found.tags;
        match owner.installation.as_ref().filter(|_| tags_now.installation().is_some() || tags_now.has_room()) {
            Some(id) => tags.with(INSTALLATION, id),
            None => tags,
        }
    }
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;
