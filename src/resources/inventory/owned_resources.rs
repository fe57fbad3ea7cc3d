//! What certain objects created in an account and region, by owner tags: a reference to their resources is not a
//! reference to foreign ones.
//!
//! I/O: reads of EC2 and IAM, shared with all clusters there.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::snapshots::named::ImageOwner;
use crate::aws::{MaxStaleness, Session};
use crate::engine::Failure;
use crate::resources::cloud::Tagged;

/// Resources of objects that other objects may reference, and the VPCs of certain subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedResources {
    /// Ids of VPCs.
    pub vpcs: BTreeSet<String>,
    /// Ids of subnets.
    pub subnets: BTreeSet<String>,
    /// Ids of security groups.
    pub security_groups: BTreeSet<String>,
    /// ARNs of roles.
    pub roles: BTreeSet<String>,
    /// The VPC of each requested subnet, whoever created it.
    pub vpc_of_subnet: BTreeMap<String, String>,
    /// The owner of each requested AMI that EC2 shows.
    pub image_owners: BTreeMap<String, ImageOwner>,
}

/// Finds what the objects with these UIDs created, and the VPC of each of `subnets`.
///
/// # Errors
/// The errors of the reads.
pub async fn find_owned_resources(
    aws: &Session,
    uids: &BTreeSet<String>,
    subnets: &[String],
    staleness: MaxStaleness,
) -> Result<OwnedResources, Failure> {
    let reads = &aws.snapshots;
    let subnet_locations = async {
        // Foreign subnets are read only on request.
        if subnets.is_empty() { Ok(None) } else { reads.subnets_by_id(subnets, staleness).await.map(Some) }
    };
    let (vpcs, tagged, groups, roles, requested) = futures::try_join!(
        reads.vpcs(staleness),
        reads.subnets(staleness),
        reads.security_groups(staleness),
        reads.roles(staleness),
        subnet_locations,
    )?;
    let requested = requested.iter().flat_map(|all| all.iter()).filter(|subnet| subnets.contains(&subnet.id));
    let is_owned = |owner: Option<&str>| owner.is_some_and(|uid| uids.contains(uid));
    Ok(OwnedResources {
        vpcs: ids(&vpcs, uids),
        subnets: ids(&tagged, uids),
        security_groups: ids(&groups, uids),
        roles: roles.iter().filter(|role| is_owned(role.tags.owner())).map(|role| role.arn.clone()).collect(),
        vpc_of_subnet: requested.map(|subnet| (subnet.id.clone(), subnet.vpc_id.clone())).collect(),
        image_owners: BTreeMap::new(),
    })
}

/// Finds the owners of AMIs. One that does not exist, or that EC2 does not show to the account, has none.
///
/// # Errors
/// The errors of the reads.
pub async fn find_image_owners(
    aws: &Session,
    ids: &[String],
    staleness: MaxStaleness,
) -> Result<BTreeMap<String, ImageOwner>, Failure> {
    let mut owners = BTreeMap::new();
    for id in ids {
        let owner = aws.snapshots.image_owner(id, staleness).await?;
        owners.extend((*owner).clone().map(|owner| (id.clone(), owner)));
    }
    Ok(owners)
}

fn ids<T: Tagged>(all: &[T], uids: &BTreeSet<String>) -> BTreeSet<String> {
    let is_owned = all.iter().filter(|item| item.tags().owner().is_some_and(|uid| uids.contains(uid)));
    is_owned.map(|item| item.id().to_owned()).collect()
}
