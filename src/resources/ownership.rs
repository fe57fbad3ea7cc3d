//! Whose something is that is found by its name, and how it becomes ours or nobody's. I/O: tags of EC2 and EKS.
//!
//! Ours is what carries our object's UID. What carries another's is never touched.

use std::collections::HashMap;

use super::cloud::{Cloud, tag_changes, tag_changes_of_untagged};
use crate::aws::tags::{OWNERSHIP, Ownership, Tags};
use crate::engine::{Change, Observed, Presence};

/// What to do about something that another object of Keelson's owns.
fn belongs(what: &str, owner: String, cluster: Option<String>) -> String {
    let whose = cluster.map_or_else(|| format!("the object with UID {owner}"), |name| format!("{name} (UID {owner})"));
    format!(
        "{what} belongs to {whose}: delete that object with deletionPolicy: Retain, which lets go of it, or, where the object \
         is no more, remove the tags {} by hand",
        OWNERSHIP.join(", ")
    )
}

/// Whether something that the spec lists, in a cluster of ours, is to get our tags because it carries nobody's.
pub fn untagged(_cloud: &Cloud, tags: Option<&HashMap<String, String>>) -> bool {
    Tags::from_eks(tags).owner().is_none()
}

/// Whose something is that the spec lists and that is found in the cluster by its name. In a cluster of ours, what is listed is
/// ours to keep as listed.
pub fn of_listed<T>(cloud: &Cloud, tags: &Tags, seen: Observed<T>, what: impl FnOnce() -> String) -> Presence<T> {
    match Ownership::of(tags, &cloud.owner.uid) {
        Ownership::Ours | Ownership::Nobody => Presence::Ours(seen),
        Ownership::Other { owner, cluster } => Presence::Foreign(belongs(&what(), owner, cluster)),
    }
}

/// Its tags that differ. `untagged`: whose it is counts, too.
pub fn tag_changes_of_listed(wanted: &Tags, seen: &Tags, untagged: bool) -> Vec<Change> {
    if untagged { tag_changes_of_untagged(wanted, seen) } else { tag_changes(wanted, seen) }
}
