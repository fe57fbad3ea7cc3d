//! Whose something is that is found by its name, and how it becomes ours or nobody's. I/O: tags of EC2 and EKS.
//!
//! Ours is what carries our object's UID. What carries another's is never touched. What carries none is taken over only where
//! `adoptionPolicy: Adopt` says so; what says whose it is is written last, and is all that is taken away to let go of it.

use std::collections::HashMap;

use super::cloud::{Cloud, arn, tag_changes, tag_changes_of_untagged};
use crate::aws::Service;
use crate::aws::tags::{OWNERSHIP, Ownership, Tags};
use crate::engine::{Change, Failure, Observed, Presence};

/// What a person does about something that nobody owns.
const TAKE_OVER: &str = "exists and was not made by Keelson; to take it over as it is, set adoptionPolicy: Adopt on the \
                         EksCluster (keelson import writes a manifest that changes nothing)";

/// What a person does about something that another object of Keelson's owns.
fn belongs(owner: &str, cluster: Option<&str>) -> String {
    let whose = cluster.map_or_else(|| format!("the object with UID {owner}"), |name| format!("{name} (UID {owner})"));
    format!(
        "belongs to {whose}: delete that object with deletionPolicy: Retain, which lets go of it, or, where there is no such \
         object any more, remove the tags {} by hand",
        OWNERSHIP.join(", ")
    )
}

/// Whose something is that is found by its name. `what` names it for people.
pub fn presence<T>(cloud: &Cloud, tags: &Tags, seen: Observed<T>, what: impl FnOnce() -> String) -> Presence<T> {
    match Ownership::of(tags, &cloud.owner.uid) {
        Ownership::Ours => Presence::Ours(seen),
        Ownership::Nobody if cloud.adopt => Presence::Unclaimed(seen),
        Ownership::Nobody => Presence::Foreign(format!("{} {TAKE_OVER}", what())),
        Ownership::Other { owner, cluster } => {
            Presence::Foreign(format!("{} {}", what(), belongs(&owner, cluster.as_deref())))
        }
    }
}

/// The same of what the spec lists and is found in the cluster. In a cluster of ours, what is listed is ours to keep as listed,
/// whoever made it.
pub fn presence_of_listed<T>(
    cloud: &Cloud,
    tags: &Tags,
    seen: Observed<T>,
    what: impl FnOnce() -> String,
) -> Presence<T> {
    if tags.owner().is_none() && !cloud.adopt { Presence::Ours(seen) } else { presence(cloud, tags, seen, what) }
}

/// Whether something that the spec lists is ours though it carries no owner tag: then it gets our tags before all else, as the
/// operator's policy lets it change only what carries them.
pub fn untagged(cloud: &Cloud, tags: Option<&HashMap<String, String>>) -> bool {
    !cloud.adopt && Tags::from_eks(tags).owner().is_none()
}

/// The tags that differ of what the spec lists. `untagged`: whose it is counts, too.
pub fn tag_changes_of_listed(wanted: &Tags, seen: &Tags, untagged: bool) -> Vec<Change> {
    if untagged { tag_changes_of_untagged(wanted, seen) } else { tag_changes(wanted, seen) }
}

impl Cloud {
    /// Writes whose it is to an EKS resource that has `seen`, and to `seen`.
    pub async fn adopt_eks(&self, arn: &str, seen: &mut Tags, wanted: &Tags) -> Result<(), Failure> {
        self.tag_eks(arn, seen, wanted.ownership()).await
    }

    /// Takes away what says that an EC2 resource is ours.
    pub async fn release_ec2(&self, id: &str) -> Result<(), Failure> {
        let keys = OWNERSHIP.map(|key| aws_sdk_ec2::types::Tag::builder().key(key).build());
        let request = self.aws.ec2.delete_tags().resources(id).set_tags(Some(keys.into()));
        self.aws.call(Service::Ec2, "DeleteTags", id, request.send()).await?;
        Ok(())
    }

    /// Takes away what says that an EKS resource is ours.
    pub async fn release_eks<T: Sync>(&self, seen: &Observed<T>) -> Result<(), Failure> {
        let arn = arn(seen);
        let request = self.aws.eks.untag_resource().resource_arn(arn).set_tag_keys(Some(keys()));
        self.aws.call(Service::Eks, "UntagResource", arn, request.send()).await?;
        Ok(())
    }
}

/// The tags that say whose a resource is.
pub fn keys() -> Vec<String> {
    OWNERSHIP.map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_what_is_anothers_is_said() {
        let text = belongs("uid-2", Some("team/demo"));
        for part in ["team/demo (UID uid-2)", "deletionPolicy: Retain", "keelson.dev/owner, keelson.dev/cluster"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(belongs("uid-2", None).contains("the object with UID uid-2"));
    }
}
