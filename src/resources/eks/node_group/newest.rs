//! The newest AMI release for a node group: as SSM publishes it, and whether EKS accepts it. I/O: SSM, shared.

use aws_sdk_eks::types::{AmiTypes, Nodegroup};

use super::{Detail, NodeGroup};
use crate::aws::MaxStaleness;
use crate::engine::AnyObservation;
use crate::resources::cloud::Cloud;

/// The newest AMI release to update to, or the one that EKS does not accept yet, with the reason.
#[derive(Default)]
pub(super) struct NewestRelease {
    pub(super) offered: Option<String>,
    pub(super) pending: Option<(String, String)>,
}

/// The newer AMI release that EKS does not accept yet for an observed node group, as a message.
pub fn pending_release(observed: &AnyObservation) -> Option<String> {
    let (release, why) = observed.detail.downcast_ref::<Detail>()?.pending_release.as_ref()?;
    Some(format!("AMI release {release} is pending: EKS does not accept it yet ({why}); Keelson retries automatically"))
}

impl NodeGroup {
    /// The newest AMI release for the nodes. If it cannot be read, the last known one is used and nothing is blocked. A
    /// release that EKS recently rejected is pending, with the reason.
    pub(super) async fn newest_release(
        &self,
        cloud: &Cloud,
        group: &Nodegroup,
        last: Option<&Detail>,
    ) -> NewestRelease {
        let newest = self.announced_release(cloud, group, last).await;
        let ami_type = group.ami_type().map_or("", AmiTypes::as_str);
        let refused =
            |release: &String| cloud.aws.snapshots.refused_releases().why(ami_type, release, self.intervals.rare());
        match newest.as_ref().and_then(refused) {
            Some(why) => NewestRelease { offered: None, pending: newest.zip(Some(why)) },
            None => NewestRelease { offered: newest, pending: None },
        }
    }

    async fn announced_release(&self, cloud: &Cloud, group: &Nodegroup, last: Option<&Detail>) -> Option<String> {
        let (version, ami_type) = (group.version()?, group.ami_type()?.as_str());
        let staleness = MaxStaleness::within(self.intervals.rare());
        match cloud.aws.snapshots.newest_release(version, ami_type, staleness).await {
            Ok(newest) => newest,
            Err(error) => {
                tracing::warn!(node_group = self.name, %error, "cannot read the newest AMI release");
                last.filter(|last| last.version == version).and_then(|last| last.newest_release.clone())
            }
        }
    }
}
