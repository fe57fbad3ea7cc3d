//! Whether the resources of an earlier object can be this one's at all: by installation, region and name of the cluster.
//! Pure. What each resource needs besides is in [`super::takeover`].

use super::takeover::{Inventory, Item, Location, TaggedResource};
use crate::aws::tags::{CLUSTER, INSTALLATION, OWNER, RESOURCE, Tags};
use crate::engine::Key;
use crate::resources::cloud::Owner;
use crate::resources::eks::node_group;
use crate::resources::graph::adoption::Existing;
use crate::resources::iam::{role, role_name};
use crate::resources::tag_calls::Handle;

/// Resources that no tag assigns to any installation may be another one's, which still runs: then the owner of the
/// account decides. A node group is in a cluster that is on record already.
pub(super) fn check_installation(
    owner: &Owner,
    from: &str,
    by_tags: bool,
    candidates: &[(Key, &TaggedResource)],
) -> Result<(), String> {
    let is_tagged =
        |(key, one): &(Key, &TaggedResource)| node_group::KIND.is_of(key) || one.tags.installation().is_some();
    let Some(id) = owner.installation.as_ref().filter(|_| !by_tags && !candidates.is_empty()) else { return Ok(()) };
    if candidates.iter().any(is_tagged) {
        return Ok(());
    }
    Err(format!(
        "none of the resources with UID {from} has the tag {INSTALLATION}, so another installation may own them. If this \
         one does, add the tag {INSTALLATION}={id} to the EKS cluster or to its VPC, or have the owner of the AWS account \
         allow it, in spec.adoption of the AwsAccount (without accountRef the one named default; create it if there is \
         none), with policy: Allow for this namespace and cluster"
    ))
}

/// Whether resources without a cluster can be the object's. IAM is global and names are chosen freely, so that an object
/// with another region or cluster name than the earlier one's would take parts of a cluster that runs elsewhere.
pub(super) fn check_without_cluster(
    all: &Inventory,
    from: &str,
    candidates: &[(Key, &TaggedResource)],
) -> Result<(), String> {
    let name = &all.cluster_name;
    if all.control_plane.is_some() {
        return Ok(());
    }
    let advice = "check spec.clusterName and spec.region against the earlier object's: neither can be changed, so delete \
                  this object and apply it again with those";
    for (key, one) in candidates {
        match &one.handle {
            Handle::Role(id) if id.starts_with(role::NAME_PREFIX) && !role_name::is_named_for_key(id, name, key) => {
                return Err(format!(
                    "no cluster {name} exists here, and role {id} with UID {from} was created for another cluster: {advice}"
                ));
            }
            Handle::Ec2 if all.vpcs_in_use.contains(&one.id) => {
                return Err(format!(
                    "no cluster {name} exists here, but something runs in {} with UID {from}: {advice}",
                    one.id
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether `role` belongs to an earlier object's cluster, and not to this one, which the object created itself.
pub(super) fn is_of_earlier_cluster(role: &str, tags: &Tags, all: &Inventory, owner: &Owner) -> bool {
    let Some(control_plane) = &all.control_plane else { return false };
    let current = control_plane.role_arn.as_deref().map(|arn| arn.rsplit('/').next().unwrap_or(arn));
    let created_here = current.is_some_and(|current| role::is_named_for(current, &owner.uid));
    let is_ours = |tags: &Tags| tags.is_owned_by(&owner.uid);
    created_here && is_ours(&control_plane.tags) && !is_ours(tags) && !role::is_named_for(role, &owner.uid)
}

/// Resources that carry the UID without the other tags, or are in the VPC with another UID: each "id (reason)".
pub(super) fn incompletely_tagged<'a>(
    all: &'a Inventory,
    vpc: Option<&'a str>,
    is_of_uid: impl Fn(&Tags) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    all.found.iter().filter_map(move |one| {
        let missing = [CLUSTER, RESOURCE].into_iter().find(|tag| one.tags.get(tag).is_none());
        let is_inside = matches!((&one.location, vpc), (Location::Vpc(of), Some(vpc)) if of == vpc);
        match (is_of_uid(&one.tags), missing) {
            (true, Some(tag)) => Some(format!("{} (it has lost the tag {tag})", one.id)),
            (false, _) if is_inside => Some(format!("{} (it is in the cluster's VPC with another UID)", one.id)),
            _ => None,
        }
    })
}

/// The UID of the earlier object whose control plane was not taken over, and what was; `None`: there is no incomplete
/// recovery. Only for an object without a record of its control plane.
pub fn incomplete_recovery(all: &Inventory, owner: &Owner, existing: &Existing) -> Option<(String, Vec<Item>)> {
    let is_of_object = |tags: &Tags| tags.get(CLUSTER) == Some(owner.cluster.as_str());
    let tags = &all.control_plane.as_ref()?.tags;
    let uid = tags.owner().filter(|uid| *uid != owner.uid && !existing.has(uid) && is_of_object(tags))?;
    if tags.installation().is_some() && tags.installation() != owner.installation.as_deref() {
        return None;
    }
    let taken = all.found.iter().filter(|one| one.tags.owner() == Some(&owner.uid) && is_of_object(&one.tags));
    let item = |one: &TaggedResource| Some(Item { key: one.key()?, found: one.clone(), extra_ids: Vec::new() });
    Some((uid.to_owned(), taken.filter_map(item).collect()))
}

/// The tag that gives a resource back to the object with that UID.
pub fn earlier_owner(uid: &str) -> Tags {
    Tags::new().with(OWNER, uid)
}
