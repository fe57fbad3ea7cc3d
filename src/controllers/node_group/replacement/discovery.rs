//! Finds the node groups of a NodeGroup whose status was lost in the middle of a replacement, or after one: their names begin
//! with its own, and they carry its owner tag. Which is which is pure. I/O: reads of EKS.

use super::node_group_names::{Group, Pair, UNKNOWN, digest_in_name, is_name_of};
use crate::api::NodeGroupSpec;
use crate::engine::Failure;
use crate::resources::cloud::Cloud;
use crate::resources::eks::node_group::owned::{self, OwnedNodeGroup};

/// The node groups that it owns; `None`: none has a name that a replacement makes, so its name leads to it.
///
/// # Errors
/// Those of the reads.
pub async fn discover(
    cloud: &Cloud,
    cluster: &str,
    first: &str,
    desired: &str,
    spec: &NodeGroupSpec,
) -> Result<Option<Pair>, Failure> {
    let found = find(cloud, cluster, first, desired, spec).await?;
    Ok(found.filter(|pair| pair.in_use.name != first || pair.other.is_some()))
}

/// The node groups that it owns; `None`: there is none.
///
/// # Errors
/// Those of the reads.
pub async fn find(
    cloud: &Cloud,
    cluster: &str,
    first: &str,
    desired: &str,
    spec: &NodeGroupSpec,
) -> Result<Option<Pair>, Failure> {
    let found = owned::find(cloud, cluster, spec, |name| is_name_of(first, name)).await?;
    Ok(pair(found, first, desired))
}

/// What exists: the one that the spec describes replaces another one. Without it, the older one counts as in use.
fn pair(mut found: Vec<OwnedNodeGroup>, first: &str, desired: &str) -> Option<Pair> {
    found.sort_by_key(|one| one.created_at);
    let group = |OwnedNodeGroup { name, differs, .. }: OwnedNodeGroup| {
        let digest = match digest_in_name(first, &name) {
            Some(digest) => digest,
            None if differs => UNKNOWN,
            None => desired,
        };
        Group { digest: digest.to_owned(), name }
    };
    let (desired_ones, others): (Vec<_>, Vec<_>) = found.into_iter().map(group).partition(|one| one.digest == desired);
    let mut ordered = others.into_iter().chain(desired_ones);
    let in_use = ordered.next()?;
    Some(Pair { in_use, other: ordered.next() })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const NEW: &str = "web-0123456789";
    const OTHER: &str = "web-aaaaaaaaaa";

    fn owned(name: &str, created: i64, differs: bool) -> OwnedNodeGroup {
        OwnedNodeGroup { name: name.into(), created_at: Timestamp::from_second(created).ok(), differs }
    }

    fn found(all: Vec<OwnedNodeGroup>) -> Option<(String, Option<String>)> {
        pair(all, "web", "0123456789").map(|pair| (pair.in_use.name, pair.other.map(|other| other.name)))
    }

    #[test]
    fn node_groups_on_no_record_are_distinguished_by_their_names() {
        assert_eq!(found(vec![]), None);
        assert_eq!(found(vec![owned("web", 1, false)]), Some(("web".into(), None)));
        assert_eq!(found(vec![owned(NEW, 1, false)]), Some((NEW.into(), None)), "after a replacement");
        let pair = |in_use: &str, other: &str| Some((in_use.to_owned(), Some(other.to_owned())));
        assert_eq!(found(vec![owned(NEW, 2, false), owned("web", 1, true)]), pair("web", NEW));
        assert_eq!(found(vec![owned(NEW, 1, false), owned(OTHER, 2, true)]), pair(OTHER, NEW));
        assert_eq!(found(vec![owned(OTHER, 2, true), owned("web", 1, true)]), pair("web", OTHER));
        // The edit was taken back: the first one is as the spec says, and replaces the other.
        assert_eq!(found(vec![owned(OTHER, 2, true), owned("web", 1, false)]), pair(OTHER, "web"));
    }
}
