//! Who owns a resource that is found by name, and how it is adopted or released. I/O: tags of EC2 and EKS.
//!
//! A resource with our object's UID is ours. A resource of another owner is never changed. A resource without an owner
//! is adopted only if `adoptionPolicy: Adopt` and the AwsAccount allow it ([`super::adoption`]); the owner tag is
//! written last. A released resource keeps the tag that names its former object and loses the others.

use std::collections::HashMap;

use super::adoption::{Adoption, describe_foreign};
use crate::aws::Service;
use crate::aws::tags::{REMOVED_ON_RELEASE, Tags};
use crate::engine::{Change, Failure, Observation, Presence};
use crate::resources::cloud::{Cloud, arn, tag_changes, tag_changes_of_untagged};

/// Who owns a resource found by name. `what` describes it in messages.
pub fn presence<T>(cloud: &Cloud, tags: &Tags, observed: Observation<T>, what: impl FnOnce() -> String) -> Presence<T> {
    if tags.is_owned_by(&cloud.owner.uid) {
        Presence::Ours(observed)
    } else if cloud.adoption.allows(&cloud.owner, tags) {
        Presence::Unowned(observed)
    } else {
        Presence::Foreign(describe_foreign(&what(), tags, &cloud.owner, &cloud.existing))
    }
}

/// The same for a resource that the spec lists, inside the cluster. In a cluster that this object owns, it manages all
/// listed resources, whoever created them.
pub fn presence_of_listed<T>(
    cloud: &Cloud,
    tags: &Tags,
    observed: Observation<T>,
    what: impl FnOnce() -> String,
) -> Presence<T> {
    if tags.owner().is_none() && cloud.adoption == Adoption::Forbidden {
        Presence::Ours(observed)
    } else {
        presence(cloud, tags, observed, what)
    }
}

/// Whether a listed resource is ours although it carries no owner tag. It then gets our tags first, because the
/// operator's IAM policy allows changes only to tagged resources.
pub fn untagged(cloud: &Cloud, tags: Option<&HashMap<String, String>>) -> bool {
    cloud.adoption == Adoption::Forbidden && Tags::from_eks(tags).owner().is_none()
}

/// The tag differences of a listed resource. `untagged`: ownership tags count, too.
pub fn tag_changes_of_listed(wanted: &Tags, observed: &Tags, untagged: bool) -> Vec<Change> {
    if untagged { tag_changes_of_untagged(wanted, observed) } else { tag_changes(wanted, observed) }
}

impl Cloud {
    /// Writes the ownership tags to an EKS resource, and to `observed`, its tags so far.
    pub async fn adopt_eks(&self, arn: &str, observed: &mut Tags, wanted: &Tags) -> Result<(), Failure> {
        self.tag_eks(arn, observed, wanted.ownership()).await
    }

    /// Removes the ownership tags from an EC2 resource.
    pub async fn release_ec2(&self, id: &str) -> Result<(), Failure> {
        let keys = REMOVED_ON_RELEASE.map(|key| aws_sdk_ec2::types::Tag::builder().key(key).build());
        let request = self.aws.ec2.delete_tags().resources(id).set_tags(Some(keys.into()));
        self.aws.call(Service::Ec2, "DeleteTags", id, request.send()).await?;
        Ok(())
    }

    /// Removes the ownership tags from an EKS resource.
    pub async fn release_eks<T: Sync>(&self, observed: &Observation<T>) -> Result<(), Failure> {
        let arn = arn(observed);
        let request = self.aws.eks.untag_resource().resource_arn(arn).set_tag_keys(Some(released_keys()));
        self.aws.call(Service::Eks, "UntagResource", arn, request.send()).await?;
        Ok(())
    }
}

/// Keys of the tags that are removed on release.
pub fn released_keys() -> Vec<String> {
    REMOVED_ON_RELEASE.map(str::to_owned).into()
}
