//! What an object may take over of what one of its name made before it, as after a restore: by tags, place and name. Pure.
//!
//! After a restore the tags are nearly all that is left to go by, and anybody who may tag can write them. So it takes a person's
//! word that names the UID, and of what carries that only what lies where, and is named as, Keelson makes it. What nobody can write
//! who may only tag is the description of the role that the cluster has for life: it names the object that the role was made for.
//! Where there is none, the owner of the AWS account has to allow it, as for an adoption. [`super::retag`] writes the new tags, and
//! nothing else.

use std::collections::BTreeMap;

use super::adoption::Existing;
use super::cloud::Owner;
use crate::api::RECOVER_ANNOTATION;
use crate::aws::tags::{CLUSTER, INSTALLATION, OWNER, RESOURCE, Tags};
use crate::engine::Key;

/// How something is tagged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handle {
    /// By its id, in EC2.
    Ec2,
    /// A role, by its name.
    Role(String),
    /// An OIDC provider, by its ARN.
    OidcProvider(String),
    /// Something of EKS's, by its ARN.
    Eks(String),
}

/// Where something lies, as far as that proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In that VPC.
    Vpc(String),
    /// In the EKS cluster of that name.
    Cluster(String),
    /// An address or gateway that nothing uses.
    Unused,
    /// Nowhere else: it is a place itself, or IAM's.
    Itself,
}

/// Something that carries an owner's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id, as the inventory holds it.
    pub id: String,
    /// How it is tagged.
    pub handle: Handle,
    /// Its tags.
    pub tags: Tags,
    /// Where it lies.
    pub place: Place,
}

impl Found {
    /// Its key in the graph, as its tag says.
    pub fn key(&self) -> Option<Key> {
        self.tags.resource().map(Key::parse)
    }
}

/// The EKS cluster that is there under the object's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// Its tags.
    pub tags: Tags,
    /// The VPC it is in.
    pub vpc: Option<String>,
    /// The role it has for life.
    pub role_arn: Option<String>,
    /// What that role says of itself.
    pub role_description: Option<String>,
    /// The group that EKS made with the cluster's tags.
    pub security_group: Option<String>,
}

/// All that is there to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Name of the cluster in EKS.
    pub cluster_name: String,
    /// The cluster, if it is there.
    pub control_plane: Option<ControlPlane>,
    /// The spec asks for a network of its own, and nothing says that the one it is in is lent by others.
    pub own_network: bool,
    /// What carries an owner's tag.
    pub found: Vec<Found>,
    /// What roles that may be the cluster's say of themselves, by name: what may only tag cannot change it.
    pub role_descriptions: BTreeMap<String, String>,
}

/// One resource that is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key in the graph.
    pub key: Key,
    /// What it is.
    pub found: Found,
    /// Ids in EC2 of what carries the same tags because it came with it.
    pub along: Vec<String>,
}

/// What is taken over, and what carries the UID and is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is taken over.
    pub items: Vec<Item>,
    /// Each as "key id", with why it is left alone.
    pub left: Vec<String>,
}

/// The UID that the annotation's text names: up to a `/`, so that the same can be said again.
pub fn named(text: &str) -> &str {
    text.split('/').next().unwrap_or_default().trim()
}

/// The command that gives the word.
pub fn command(owner: &Owner, uid: &str) -> String {
    let (object, namespace) = (&owner.object, owner.namespace());
    format!("kubectl annotate {object} -n {namespace} --overwrite {RECOVER_ANNOTATION}={uid}")
}

/// What a person reads behind "carries the tags of ... with UID `uid`", said of what an earlier object of this name had. `None`:
/// that object exists.
pub fn instructions(uid: &str, installation: Option<&str>, owner: &Owner, existing: &Existing) -> Option<String> {
    if let Some(why) = elsewhere(installation, owner) {
        return Some(why);
    }
    (!existing.has(uid)).then(|| {
        format!(
            ", and no object of that UID exists in this management cluster, as after a restore. To take over what carries it: {}. \
             Only tags are written; keelson recover --dry-run lists what carries it (docs/disaster-recovery.md)",
            command(owner, uid)
        )
    })
}

/// Why what carries the tag of `installation` is not this one's; `None`: it is.
fn elsewhere(installation: Option<&str>, owner: &Owner) -> Option<String> {
    let theirs = installation.filter(|id| owner.installation.as_deref() != Some(*id))?;
    let here = owner.installation.as_ref().map_or("has no id".to_owned(), |id| format!("is {id}"));
    Some(format!(
        " of installation {theirs}, and this one {here}: as long as that one runs, these resources are its own. If it is lost for \
         good, start Keelson here with --installation-id {theirs}, or restore its ConfigMap keelson-installation"
    ))
}

/// Chooses what `owner` takes over of what the object with UID `from` had. What carries `owner`'s own UID already is chosen as
/// well: an earlier try tagged it, or its record was lost.
///
/// `by_tags`: the owner of the AWS account allows it where nothing but tags says whose it is, or it is on record. `also`: an
/// installation whose id may stand there beside this one's.
///
/// # Errors
/// Why nothing is taken over.
pub fn select(
    all: &Inventory,
    owner: &Owner,
    from: &str,
    by_tags: bool,
    also: Option<&str>,
) -> Result<Selection, String> {
    let is_of = |tags: &Tags| {
        let uid = tags.owner().is_some_and(|uid| uid == from || uid == owner.uid);
        uid && tags.get(CLUSTER) == Some(owner.cluster.as_str())
    };
    if let Some(control_plane) = &all.control_plane
        && !is_of(&control_plane.tags)
    {
        return Err(format!(
            "cluster {} is there and is not tagged as of {} with UID {from}, so nothing is taken over",
            all.cluster_name, owner.cluster
        ));
    }
    let mine: Vec<(Key, &Found)> =
        all.found.iter().filter(|one| is_of(&one.tags)).filter_map(|one| Some((one.key()?, one))).collect();
    if let Some(why) = mine.iter().find_map(|(_, one)| {
        let installation = one.tags.installation();
        if installation.is_some() && installation == also { None } else { elsewhere(installation, owner) }
    }) {
        return Err(format!("what carries UID {from} carries the tag{why}"));
    }
    if !by_tags && !is_proven(all, owner, &mine) {
        return Err(format!(
            "only tags say that what carries UID {from} was made by {}, and anybody who may tag could have written them: no role that \
             Keelson made says so. Whoever owns the AWS account has to allow it, in spec.adoption of the AwsAccount, with policy: \
             Allow for this namespace and cluster {}",
            owner.cluster, all.cluster_name
        ));
    }
    let came_along = |one: &Found| {
        let group = all.control_plane.as_ref().and_then(|control_plane| control_plane.security_group.as_ref());
        one.handle == Handle::Ec2 && group == Some(&one.id)
    };
    let vpc = own_vpc(all, &mine)?;
    let (mut items, mut selection): (BTreeMap<Key, Item>, _) = (BTreeMap::new(), Selection::default());
    for (key, one) in &mine {
        if came_along(one) {
            continue;
        }
        let is_cluster = *key == super::cluster::key();
        let proof = match one.handle {
            // Of a cluster that is gone, or is another.
            Handle::Ec2 if is_cluster => Err("EKS did not make it for the cluster that is there".to_owned()),
            // What nothing uses lies nowhere.
            Handle::Ec2 if one.place == Place::Unused && by_tags => Ok(()),
            _ => proven(key, one, all, vpc.as_deref()).and_then(|()| says_so(key, one, all, owner, by_tags)),
        };
        if let Err(why) = proof {
            selection.left.push(format!("{key} {} ({why})", one.id));
            continue;
        }
        let group = mine.iter().filter(|(_, other)| is_cluster && came_along(other)).map(|(_, other)| other.id.clone());
        let item = Item { key: key.clone(), found: (*one).clone(), along: group.collect() };
        if let Some(other) = items.insert(key.clone(), item) {
            return Err(twice(key, &[&other.found.id, &one.id]));
        }
    }
    selection.items = items.into_values().collect();
    Ok(selection)
}

/// Whether something that nobody can write who may only tag says that the cluster was made for an object of this name. A node group
/// is in a cluster that is the object's already.
fn is_proven(all: &Inventory, owner: &Owner, mine: &[(Key, &Found)]) -> bool {
    if mine.iter().all(|(key, _)| key.kind() == "nodeGroup") {
        return true;
    }
    let says = super::role::description("cluster", &owner.cluster);
    all.control_plane.as_ref().and_then(|control_plane| control_plane.role_description.as_ref()) == Some(&says)
}

fn twice(key: &Key, ids: &[&str]) -> String {
    format!(
        "{} carry the same tags, both as {key}: remove the tags {OWNER}, {CLUSTER} and {RESOURCE} from the one that is not this \
         cluster's",
        ids.join(" and ")
    )
}

/// The VPC that Keelson made for it: the one that the cluster is in.
fn own_vpc(all: &Inventory, mine: &[(Key, &Found)]) -> Result<Option<String>, String> {
    if !all.own_network {
        return Ok(None);
    }
    let key = super::vpc::key();
    let tagged: Vec<&str> = mine.iter().filter(|(of, _)| *of == key).map(|(_, one)| one.id.as_str()).collect();
    let of_cluster = all.control_plane.as_ref().and_then(|control_plane| control_plane.vpc.as_deref());
    match (tagged.as_slice(), of_cluster) {
        (tagged, Some(vpc)) => Ok(tagged.contains(&vpc).then(|| vpc.to_owned())),
        ([], None) => Ok(None),
        ([one], None) => Ok(Some((*one).to_owned())),
        (several, None) => Err(twice(&key, several)),
    }
}

/// Whether something lies where, and is named as, Keelson makes it.
fn proven(key: &Key, one: &Found, all: &Inventory, vpc: Option<&str>) -> Result<(), String> {
    match (&one.handle, &one.place) {
        (Handle::Ec2, Place::Vpc(place)) if vpc == Some(place.as_str()) => Ok(()),
        (Handle::Ec2, Place::Itself) if vpc == Some(one.id.as_str()) => Ok(()),
        (Handle::Ec2, _) => Err("it is not in the cluster's VPC, or that is not Keelson's".to_owned()),
        (Handle::Eks(_), Place::Cluster(name)) if *name == all.cluster_name => Ok(()),
        (Handle::Eks(_), _) => Err(format!("it is not of cluster {}", all.cluster_name)),
        (Handle::OidcProvider(_), _) => Ok(()),
        (Handle::Role(name), _) => {
            let fits = name.starts_with(&super::role::name_prefix(&all.cluster_name))
                && name.ends_with(&format!("-{}", key.name()));
            let of_cluster = all.control_plane.as_ref().and_then(|control_plane| control_plane.role_arn.as_deref());
            let role_of_cluster = of_cluster.map(|arn| arn.rsplit('/').next().unwrap_or(arn));
            let is_its = key.name() != "cluster" || role_of_cluster.is_none_or(|role| role == name);
            if key.kind() == "role" && fits && is_its {
                Ok(())
            } else {
                Err("Keelson makes no such role for it".to_owned())
            }
        }
    }
}

/// Whether a role says itself that it was made for the object. Its tags can be those of another cluster's role, moved by whoever may
/// tag; with `by_tags` the owner of the account allows what only they say.
fn says_so(key: &Key, one: &Found, all: &Inventory, owner: &Owner, by_tags: bool) -> Result<(), String> {
    let Handle::Role(name) = &one.handle else { return Ok(()) };
    let says = super::role::description(key.name(), &owner.cluster);
    if by_tags || all.role_descriptions.get(name) == Some(&says) {
        return Ok(());
    }
    Err(format!("its description is not {says:?}, so only its tags say whose it is"))
}

impl Item {
    /// The tags that say whose it is from now on.
    pub fn wanted(&self, owner: &Owner) -> Tags {
        let tags =
            Tags::new().with(OWNER, &owner.uid).with(CLUSTER, &owner.cluster).with(RESOURCE, self.key.to_string());
        let there = &self.found.tags;
        match owner.installation.as_ref().filter(|_| there.installation().is_some() || there.has_room()) {
            Some(id) => tags.with(INSTALLATION, id),
            None => tags,
        }
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
