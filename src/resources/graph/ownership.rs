//! Who owns a resource that is found by name. Pure.
//!
//! A resource with our object's UID is ours. A resource of another owner is never changed. A resource without an owner
//! is adopted only if `adoptionPolicy: Adopt` and the AwsAccount allow it ([`super::adoption`]); the owner tag is
//! written last.

use std::collections::HashMap;

use super::adoption::{Adoption, describe_foreign};
use crate::aws::tags::Tags;
use crate::engine::{Change, Observation, Presence};
use crate::resources::cloud::{Cloud, tag_changes, tag_changes_of_untagged};

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
