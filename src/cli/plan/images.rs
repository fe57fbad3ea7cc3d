//! Whether the AMI that a NodeGroup names exists and its AwsAccount allows it, in the operator's words. I/O: reads from EC2.

use crate::api::NodeGroup;
use crate::aws::{MaxStaleness, Session};
use crate::controllers::account::{Grant, named, owned};
use crate::engine::Class;

/// Checks the AMI.
///
/// # Errors
/// It does not exist, the account does not allow it, or EC2 could not be read.
pub async fn check(aws: &Session, grant: &Grant, group: &NodeGroup) -> anyhow::Result<()> {
    let Some(image) = group.spec.node.as_ref().and_then(|node| node.image_id.as_deref()) else { return Ok(()) };
    owned::check_images(aws, grant, &named::by_node_group(&group.spec)).await?;
    match aws.snapshots.image_owner(image, MaxStaleness::now()).await {
        Ok(owner) if owner.is_none() => Err(missing(image, &aws.region)),
        // Whoever plans may have fewer rights than the operator.
        Err(error) if error.class() != Class::Denied => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn missing(image: &str, region: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "spec.node.imageId: EC2 shows no AMI {image} in {region} to this account: set the id of an AMI of this region that the account \
         may launch"
    )
}
