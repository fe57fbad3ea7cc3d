//! What certain objects created in an account and region, by owner tags: a reference to their resources is not a
//! reference to foreign ones.
//!
//! I/O: reads of EC2 and IAM, shared with all clusters there.

use std::collections::{BTreeMap, BTreeSet};

use super::cloud::Tagged;
use crate::aws::{MaxStaleness, Session};
use crate::engine::Failure;

/// Resources of objects that other objects may reference, and the VPCs of certain subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeBy {
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
}

/// Finds what the objects with these UIDs created, and the VPC of each of `subnets`.
///
/// # Errors
/// The errors of the reads.
pub async fn made_by(
    aws: &Session,
    uids: &BTreeSet<String>,
    subnets: &[String],
    fresh: MaxStaleness,
) -> Result<MadeBy, Failure> {
    let reads = &aws.snapshots;
    let where_they_lie = async {
        // Foreign subnets are read only on request.
        if subnets.is_empty() { Ok(None) } else { reads.subnets_by_id(subnets, fresh).await.map(Some) }
    };
    let (vpcs, tagged, groups, roles, asked) = futures::try_join!(
        reads.vpcs(fresh),
        reads.subnets(fresh),
        reads.security_groups(fresh),
        reads.roles(fresh),
        where_they_lie,
    )?;
    let asked = asked.iter().flat_map(|all| all.iter()).filter(|subnet| subnets.contains(&subnet.id));
    let theirs = |owner: Option<&str>| owner.is_some_and(|uid| uids.contains(uid));
    Ok(MadeBy {
        vpcs: ids(&vpcs, uids),
        subnets: ids(&tagged, uids),
        security_groups: ids(&groups, uids),
        roles: roles.iter().filter(|role| theirs(role.tags.owner())).map(|role| role.arn.clone()).collect(),
        vpc_of_subnet: asked.map(|subnet| (subnet.id.clone(), subnet.vpc_id.clone())).collect(),
    })
}

fn ids<T: Tagged>(all: &[T], uids: &BTreeSet<String>) -> BTreeSet<String> {
    let theirs = all.iter().filter(|item| item.tags().owner().is_some_and(|uid| uids.contains(uid)));
    theirs.map(|item| item.id().to_owned()).collect()
}
