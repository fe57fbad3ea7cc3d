//! Whose something is that is found by its name, and how it becomes ours or nobody's. I/O: tags of EC2 and EKS.
//!
//! Ours is what carries our object's UID. What carries another's is never touched. What carries none is adopted only where
//! `adoptionPolicy: Adopt` and the AwsAccount say so ([`super::adoption`]); what says whose it is is written last. What is
//! released keeps the tag that names the object it belonged to, and loses the others.

use std::collections::HashMap;

use super::adoption::{Adoption, describe_foreign};
use super::cloud::{Cloud, arn, tag_changes, tag_changes_of_untagged};
use crate::aws::Service;
use crate::aws::tags::{REMOVED_ON_RELEASE, Tags};
use crate::engine::{Change, Failure, Observation, Presence};

/// Whose something is that is found by its name. `what` names it for people.
pub fn presence<T>(cloud: &Cloud, tags: &Tags, seen: Observation<T>, what: impl FnOnce() -> String) -> Presence<T> {
    if tags.is_owned_by(&cloud.owner.uid) {
        Presence::Ours(seen)
    } else if cloud.adoption.allows(&cloud.owner, tags) {
        Presence::Unowned(seen)
    } else {
        Presence::Foreign(describe_foreign(&what(), tags, &cloud.owner, &cloud.existing))
    }
}

/// The same of what the spec lists and is found in the cluster. In a cluster of ours, what is listed is ours to keep as listed,
/// whoever made it.
pub fn presence_of_listed<T>(
    cloud: &Cloud,
    tags: &Tags,
    seen: Observation<T>,
    what: impl FnOnce() -> String,
) -> Presence<T> {
    if tags.owner().is_none() && cloud.adoption == Adoption::Forbidden {
        Presence::Ours(seen)
    } else {
        presence(cloud, tags, seen, what)
    }
}

/// Whether something that the spec lists is ours though it carries no owner tag: then it gets our tags before all else, as the
/// operator's policy lets it change only what carries them.
pub fn untagged(cloud: &Cloud, tags: Option<&HashMap<String, String>>) -> bool {
    cloud.adoption == Adoption::Forbidden && Tags::from_eks(tags).owner().is_none()
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

    /// Removes what says that an EC2 resource is ours.
    pub async fn release_ec2(&self, id: &str) -> Result<(), Failure> {
        let keys = REMOVED_ON_RELEASE.map(|key| aws_sdk_ec2::types::Tag::builder().key(key).build());
        let request = self.aws.ec2.delete_tags().resources(id).set_tags(Some(keys.into()));
        self.aws.call(Service::Ec2, "DeleteTags", id, request.send()).await?;
        Ok(())
    }

    /// Removes what says that an EKS resource is ours.
    pub async fn release_eks<T: Sync>(&self, seen: &Observation<T>) -> Result<(), Failure> {
        let arn = arn(seen);
        let request = self.aws.eks.untag_resource().resource_arn(arn).set_tag_keys(Some(released_keys()));
        self.aws.call(Service::Eks, "UntagResource", arn, request.send()).await?;
        Ok(())
    }
}

/// Keys of the tags that are removed on release.
pub fn released_keys() -> Vec<String> {
    REMOVED_ON_RELEASE.map(str::to_owned).into()
}
