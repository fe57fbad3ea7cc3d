//! All resources of an account and region that can carry an owner tag, as EC2 and IAM list them. I/O: shared reads.

use std::sync::Arc;

use super::proof::PlacedAddress;
use crate::aws::snapshots::network::NatGatewayState;
use crate::aws::snapshots::{InternetGateway, NatGateway, Role, RouteTable, SecurityGroup, Subnet, Vpc, VpcEndpoint};
use crate::aws::{AwsError, MaxStaleness, Session};

/// The lists of one account and region.
pub(super) struct AccountLists {
    pub vpcs: Arc<Vec<Vpc>>,
    pub subnets: Arc<Vec<Subnet>>,
    pub internet_gateways: Arc<Vec<InternetGateway>>,
    /// Each with the VPC of the gateway that uses it.
    pub addresses: Vec<PlacedAddress>,
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
    pub async fn read(aws: &Session, fresh: MaxStaleness) -> Result<Self, AwsError> {
        let reads = &aws.snapshots;
        let (vpcs, subnets, internet_gateways, addresses, nats, route_tables, vpc_endpoints, security_groups, roles) =
            futures::try_join!(
                reads.vpcs(fresh),
                reads.subnets(fresh),
                reads.internet_gateways(fresh),
                reads.addresses(fresh),
                reads.nat_gateways(fresh),
                reads.route_tables(fresh),
                reads.vpc_endpoints(fresh),
                reads.security_groups(fresh),
                reads.roles(fresh),
            )?;
        let over = |nat: &&NatGateway| matches!(nat.state, Some(NatGatewayState::Deleted | NatGatewayState::Failed));
        let nat_gateways: Vec<_> = nats.iter().filter(|nat| !over(nat)).cloned().collect();
        let addresses = PlacedAddress::all(&addresses, &nat_gateways);
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
