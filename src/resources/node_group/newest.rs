//! The newest AMI release of a node group's nodes: as SSM names it, and whether EKS takes it. I/O: SSM, shared.

use aws_sdk_eks::types::{AmiTypes, Nodegroup};

use super::{Detail, NodeGroup};
use crate::aws::MaxStaleness;
use crate::engine::AnyObservation;
use crate::resources::cloud::Cloud;

/// The newest AMI release that may be gone to, or the one that EKS does not take yet, with why.
#[derive(Default)]
pub(super) struct Newest {
    pub(super) offered: Option<String>,
    pub(super) pending: Option<(String, String)>,
}

/// The newer AMI release that EKS does not take yet, of a node group that was seen: for people.
pub fn pending_release(seen: &AnyObservation) -> Option<String> {
    let (release, why) = seen.detail.downcast_ref::<Detail>()?.pending_release.as_ref()?;
    Some(format!("AMI release {release} is pending, as EKS does not take it yet ({why}); it is tried again by itself"))
}

impl NodeGroup {
    /// The newest AMI release for the nodes as they are. Where it cannot be read, nothing is held up: the last one known. One that
    /// EKS refused a while ago is pending: with why.
    pub(super) async fn newest_release(&self, cloud: &Cloud, group: &Nodegroup, last: Option<&Detail>) -> Newest {
        let newest = self.announced_release(cloud, group, last).await;
        let ami_type = group.ami_type().map_or("", AmiTypes::as_str);
        let refused =
            |release: &String| cloud.aws.snapshots.refused_releases().why(ami_type, release, self.intervals.seldom());
        match newest.as_ref().and_then(refused) {
            Some(why) => Newest { offered: None, pending: newest.zip(Some(why)) },
            None => Newest { offered: newest, pending: None },
        }
    }

    async fn announced_release(&self, cloud: &Cloud, group: &Nodegroup, last: Option<&Detail>) -> Option<String> {
        let (version, ami_type) = (group.version()?, group.ami_type()?.as_str());
        let fresh = MaxStaleness::within(self.intervals.seldom());
        match cloud.aws.snapshots.newest_release(version, ami_type, fresh).await {
            Ok(newest) => newest,
            Err(error) => {
                tracing::warn!(node_group = self.name, %error, "the newest AMI release is not known");
                last.filter(|last| last.version == version).and_then(|last| last.newest_release.clone())
            }
        }
    }
}
