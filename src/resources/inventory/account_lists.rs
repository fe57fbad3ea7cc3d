//! All resources of an account and region that can carry an owner tag, as EC2 and IAM list them. I/O: shared reads.

use std::sync::Arc;

use crate::aws::snapshots::network::NatGatewayState;
use crate::aws::snapshots::{InternetGateway, NatGateway, Role, RouteTable, SecurityGroup, Subnet, Vpc, VpcEndpoint};
use crate::aws::{AwsError, MaxStaleness, Session};
use crate::resources::graph::located::LocatedAddress;

/// The lists of one account and region.
pub struct AccountLists {
    pub vpcs: Arc<Vec<Vpc>>,
    pub subnets: Arc<Vec<Subnet>>,
    pub internet_gateways: Arc<Vec<InternetGateway>>,
    /// Each with the VPC of the gateway that uses it.
    pub addresses: Vec<LocatedAddress>,
    /// Without deleted and failed ones.
    pub nat_gateways: Vec<NatGateway>,
    pub route_tables: Arc<Vec<RouteTable>>,
    pub vpc_endpoints: Arc<Vec<VpcEndpoint>>,
    pub security_groups: Arc<Vec<SecurityGroup>>,
    pub roles: Arc<Vec<Role>>,
}

impl AccountLists {
    /// Reads all lists.
    ///
    /// # Errors
    /// The error of the first read that fails: a partial list proves nothing.
    pub async fn read(aws: &Session, staleness: MaxStaleness) -> Result<Self, AwsError> {
        let reads = &aws.snapshots;
        let (vpcs, subnets, internet_gateways, addresses, nats, route_tables, vpc_endpoints, security_groups, roles) =
            futures::try_join!(
                reads.vpcs(staleness),
                reads.subnets(staleness),
                reads.internet_gateways(staleness),
                reads.addresses(staleness),
                reads.nat_gateways(staleness),
                reads.route_tables(staleness),
                reads.vpc_endpoints(staleness),
                reads.security_groups(staleness),
                reads.roles(staleness),
            )?;
        let has_ended =
            |nat: &&NatGateway| matches!(nat.state, Some(NatGatewayState::Deleted | NatGatewayState::Failed));
        let nat_gateways: Vec<_> = nats.iter().filter(|nat| !has_ended(nat)).cloned().collect();
        let addresses = LocatedAddress::all(&addresses, &nat_gateways);
        Ok(Self {
            vpcs,
            subnets,
            internet_gateways,
            addresses,
            nat_gateways,
            route_tables,
            vpc_endpoints,
            security_groups,
            roles,
        })
    }
}
