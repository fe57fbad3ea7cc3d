//! What would keep EKS from deleting a control plane: node groups, Fargate profiles and capabilities that are not deleted with it. I/O:
//! reads of EKS.
//!
//! EKS refuses to delete a cluster that has either
//! (<https://docs.aws.amazon.com/eks/latest/APIReference/API_DeleteCluster.html>). So this is read before the first write of
//! a deletion: load balancers, add-ons and the other nodes would be gone before the refusal.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::tags::Tags;
use crate::engine::{Class, Failure, Graph};
use crate::resources::cloud::Cloud;
use crate::resources::eks::{capability, fargate_profile, lists};

/// A NodeGroup of the cluster, as far as the deletion is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGroupToDelete {
    /// Name of the object.
    pub object: String,
    /// UID of the object, which the node group's owner tag must have.
    pub uid: String,
    /// Why it stays in AWS, as a field of its spec or status, or an annotation; `None`: it is deleted.
    pub stays: Option<&'static str>,
}

/// Node groups, Fargate profiles and capabilities that stay when the objects are deleted, each described so that a user can find it.
/// `node_groups`: the NodeGroups of the cluster by the name of their node group.
///
/// # Errors
/// Those of the reads.
pub async fn find_users(
    cloud: &Cloud,
    cluster: &str,
    node_groups: &BTreeMap<String, NodeGroupToDelete>,
    graph: &Graph<Cloud>,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for name in lists::node_group_names(&cloud.aws, cluster).await? {
        let object = node_groups.get(&name);
        let tags = match object {
            Some(object) if object.stays.is_none() => match lists::node_group(&cloud.aws, cluster, &name).await? {
                Some(group) => Tags::from_eks(group.tags.as_ref()),
                None => continue,
            },
            _ => Tags::new(),
        };
        found.extend(why_node_group_stays(&name, object, &tags));
    }
    let mut named = BTreeSet::new();
    named.extend(graph.nodes().iter().map(|node| node.key().clone()));
    for profile in lists::fargate_profiles(&cloud.aws, cluster).await? {
        let name = profile.fargate_profile_name.unwrap_or_default();
        let is_ours = Tags::from_eks(profile.tags.as_ref()).is_owned_by(&cloud.owner.uid);
        // Those of the spec that are not ours block the plan itself.
        if !is_ours && !named.contains(&fargate_profile::key(&name)) {
            found.push(format!("Fargate profile {name}, which this object does not own"));
        }
    }
    let capabilities = match capability::list(&cloud.aws, cluster).await {
        // A role of the operator from before it knew capabilities: EKS itself refuses to delete a cluster that has some.
        Err(error) if error.class() == Class::Denied => Vec::new(),
        all => all?,
    };
    for capability in capabilities {
        let name = capability.capability_name().unwrap_or_default();
        let is_ours = Tags::from_eks(capability.tags()).is_owned_by(&cloud.owner.uid);
        if !named.contains(&capability::key(name)) {
            let why =
                if is_ours { "which is not recorded in status.resources" } else { "which this object does not own" };
            found.push(format!("capability {name}, {why}"));
        }
    }
    Ok(found)
}

/// `tags`: those of the node group; needed only if its object is to delete it.
fn why_node_group_stays(name: &str, object: Option<&NodeGroupToDelete>, tags: &Tags) -> Option<String> {
    let Some(object) = object else {
        return Some(format!(
            "node group {name}, which no NodeGroup names (a NodeGroup with nodeGroupName: {name} and adoptionPolicy: Adopt \
             would adopt it)"
        ));
    };
    if let Some(why) = object.stays {
        return Some(format!("node group {name}: NodeGroup {} has {why}", object.object));
    }
    let is_owned = tags.is_owned_by(&object.uid);
    (!is_owned).then(|| format!("node group {name}, which NodeGroup {} does not own", object.object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_node_groups_that_their_object_deletes_do_not_stay() {
        let object = |stays| NodeGroupToDelete { object: "blue".into(), uid: "uid-1".into(), stays };
        let retain = Some("deletionPolicy: Retain");
        let tags = |uid: &str| Tags::new().with(crate::aws::tags::OWNER, uid);
        assert_eq!(why_node_group_stays("n", Some(&object(None)), &tags("uid-1")), None);
        for (object, tags, text) in [
            (None, tags("uid-1"), "which no NodeGroup names"),
            (Some(object(retain)), tags("uid-1"), "NodeGroup blue has deletionPolicy: Retain"),
            (Some(object(None)), tags("uid-2"), "which NodeGroup blue does not own"),
            (Some(object(None)), Tags::new(), "which NodeGroup blue does not own"),
        ] {
            let why = why_node_group_stays("n", object.as_ref(), &tags).unwrap();
            assert!(why.starts_with("node group n") && why.contains(text), "{why}");
        }
    }
}
