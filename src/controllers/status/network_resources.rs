//! The gateways and endpoints of a cluster's network, by the records in its status. Pure.

use crate::api::status_cluster::{EksClusterStatus, ResourceStatus};
use crate::resources::graph::kind::Kind;
use crate::resources::network::{egress_only_internet_gateway, internet_gateway, nat_gateway, vpc_endpoint};

/// Those of one cluster.
pub struct NetworkResources<'s> {
    /// Each NAT gateway: its zone and its id.
    pub nat_gateways: Vec<(&'s str, &'s str)>,
    /// Ids of internet gateways; there is one at most.
    pub internet_gateways: Vec<&'s str>,
    /// Ids of egress-only internet gateways; there is one at most.
    pub egress_only_gateways: Vec<&'s str>,
    /// The services of VPC endpoints.
    pub endpoints: Vec<&'s str>,
}

impl<'s> NetworkResources<'s> {
    /// What the status records.
    pub fn of(status: &'s EksClusterStatus) -> Self {
        let all = |kind: &Kind| -> Vec<(&'s str, &'s str)> {
            status.resources.iter().filter_map(|one| name_and_id(one, kind)).collect()
        };
        let ids = |kind: &Kind| -> Vec<&'s str> { all(kind).into_iter().map(|(_, id)| id).collect() };
        Self {
            nat_gateways: all(&nat_gateway::KIND),
            internet_gateways: ids(&internet_gateway::KIND),
            egress_only_gateways: ids(&egress_only_internet_gateway::KIND),
            endpoints: all(&vpc_endpoint::KIND).into_iter().map(|(service, _)| service).collect(),
        }
    }
}

/// Name and id of a resource, if it is of that kind.
fn name_and_id<'s>(resource: &'s ResourceStatus, kind: &Kind) -> Option<(&'s str, &'s str)> {
    let rest = resource.key.strip_prefix(kind.name)?;
    let name = if rest.is_empty() { "" } else { rest.strip_prefix('/')? };
    Some((name, resource.id.as_deref().unwrap_or_default()))
}
