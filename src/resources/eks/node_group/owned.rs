//! The node groups of a cluster that an object owns, by their tags. I/O: reads of EKS.

use aws_sdk_eks::types::Nodegroup;
use jiff::Timestamp;

use super::observed_node_group::Detail;
use super::{Target, changes};
use crate::api::NodeGroupSpec;
use crate::aws::tags::Tags;
use crate::engine::Failure;
use crate::resources::cloud::Cloud;
use crate::resources::eks::lists;

/// A node group that an object owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNodeGroup {
    pub name: String,
    pub created_at: Option<Timestamp>,
    /// It has other values than the spec of what EKS cannot change.
    pub differs: bool,
}

/// The node groups with a name that `is_candidate` and the owner tag of the cloud's object.
///
/// # Errors
/// Those of the reads.
pub async fn find(
    cloud: &Cloud,
    cluster: &str,
    spec: &NodeGroupSpec,
    is_candidate: impl Fn(&str) -> bool,
) -> Result<Vec<OwnedNodeGroup>, Failure> {
    let mut found = Vec::new();
    for name in lists::node_group_names_if_any(&cloud.aws, cluster).await?.into_iter().filter(|name| is_candidate(name))
    {
        let Some(group) = lists::node_group(&cloud.aws, cluster, &name).await? else { continue };
        if Tags::from_eks(group.tags()).is_owned_by(&cloud.owner.uid) {
            found.push(OwnedNodeGroup { created_at: created_at(&group), differs: differs(spec, &group), name });
        }
    }
    Ok(found)
}

fn created_at(group: &Nodegroup) -> Option<Timestamp> {
    let at = group.created_at()?;
    Timestamp::new(at.secs(), at.subsec_nanos().try_into().ok()?).ok()
}

fn differs(spec: &NodeGroupSpec, group: &Nodegroup) -> bool {
    changes::changes(spec, &Target::default(), &Detail::from(group)).iter().any(changes::is_fixed)
}
