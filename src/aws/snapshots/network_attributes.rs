//! The stored attributes of EC2's network resources: only what decisions need, and tags. Pure.

use aws_sdk_ec2::types as sdk;
pub use sdk::{
    NatGatewayState, NetworkInterfaceStatus, RouteState, RouteTableAssociationStateCode, State as VpcEndpointState,
    SubnetState, VpcEndpointType, VpcState,
};

use super::ranges::VpcCidr;
use crate::aws::tags::Tags;

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn maybe(text: Option<&str>) -> Option<String> {
    text.filter(|t| !t.is_empty()).map(str::to_owned)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    pub id: String,
    pub state: Option<VpcState>,
    pub cidr: String,
    /// All IPv4 blocks, including the first.
    pub cidrs: Vec<VpcCidr>,
    pub ipv6_cidrs: Vec<VpcCidr>,
    pub tags: Tags,
}

impl From<&sdk::Vpc> for Vpc {
    fn from(vpc: &sdk::Vpc) -> Self {
        Vpc {
            id: owned(vpc.vpc_id()),
            state: vpc.state().cloned(),
            cidr: owned(vpc.cidr_block()),
            cidrs: vpc.cidr_block_association_set().iter().map(VpcCidr::from).collect(),
            ipv6_cidrs: vpc.ipv6_cidr_block_association_set().iter().map(VpcCidr::from).collect(),
            tags: Tags::from_ec2(vpc.tags()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    pub id: String,
    pub vpc_id: String,
    pub state: Option<SubnetState>,
    /// `eu-west-1a`.
    pub zone: String,
    /// `euw1-az1`: identical in every account, unlike zone names.
    pub zone_id: String,
    pub cidr: String,
    pub ipv6_cidrs: Vec<String>,
    pub free_addresses: i32,
    pub map_public_ip_on_launch: bool,
    pub assign_ipv6_address_on_creation: bool,
    pub on_outpost: bool,
    pub tags: Tags,
}

impl From<&sdk::Subnet> for Subnet {
    fn from(subnet: &sdk::Subnet) -> Self {
        let ipv6 = subnet.ipv6_cidr_block_association_set().iter();
        Subnet {
            id: owned(subnet.subnet_id()),
            vpc_id: owned(subnet.vpc_id()),
            state: subnet.state().cloned(),
            zone: owned(subnet.availability_zone()),
            zone_id: owned(subnet.availability_zone_id()),
            cidr: owned(subnet.cidr_block()),
            ipv6_cidrs: ipv6.filter_map(|block| maybe(block.ipv6_cidr_block())).collect(),
            free_addresses: subnet.available_ip_address_count().unwrap_or_default(),
            map_public_ip_on_launch: subnet.map_public_ip_on_launch().unwrap_or_default(),
            assign_ipv6_address_on_creation: subnet.assign_ipv6_address_on_creation().unwrap_or_default(),
            on_outpost: subnet.outpost_arn().is_some_and(|arn| !arn.is_empty()),
            tags: Tags::from_ec2(subnet.tags()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternetGateway {
    pub id: String,
    /// The VPC it is attached to, or being attached to or detached from.
    pub vpc_id: Option<String>,
    pub tags: Tags,
}

impl From<&sdk::InternetGateway> for InternetGateway {
    fn from(gateway: &sdk::InternetGateway) -> Self {
        InternetGateway {
            id: owned(gateway.internet_gateway_id()),
            vpc_id: gateway.attachments().first().and_then(|attachment| maybe(attachment.vpc_id())),
            tags: Tags::from_ec2(gateway.tags()),
        }
    }
}

/// An Elastic IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub allocation_id: String,
    pub public_ip: String,
    /// Set while it is in use.
    pub association_id: Option<String>,
    pub network_interface_id: Option<String>,
    /// The region, or a Local or Wavelength Zone.
    pub border_group: Option<String>,
    pub tags: Tags,
}

impl From<&sdk::Address> for Address {
    fn from(address: &sdk::Address) -> Self {
        Address {
            allocation_id: owned(address.allocation_id()),
            public_ip: owned(address.public_ip()),
            association_id: maybe(address.association_id()),
            network_interface_id: maybe(address.network_interface_id()),
            border_group: maybe(address.network_border_group()),
            tags: Tags::from_ec2(address.tags()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatGateway {
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub state: Option<NatGatewayState>,
    pub allocation_ids: Vec<String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub tags: Tags,
}

impl From<&sdk::NatGateway> for NatGateway {
    fn from(gateway: &sdk::NatGateway) -> Self {
        NatGateway {
            id: owned(gateway.nat_gateway_id()),
            vpc_id: owned(gateway.vpc_id()),
            subnet_id: owned(gateway.subnet_id()),
            state: gateway.state().cloned(),
            allocation_ids: gateway.nat_gateway_addresses().iter().filter_map(|a| maybe(a.allocation_id())).collect(),
            created: gateway.create_time().map(aws_sdk_ec2::primitives::DateTime::secs),
            failure_code: maybe(gateway.failure_code()),
            failure_message: maybe(gateway.failure_message()),
            tags: Tags::from_ec2(gateway.tags()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    pub id: String,
    pub vpc_id: String,
    pub routes: Vec<Route>,
    pub associations: Vec<RouteTableAssociation>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTableAssociation {
    pub id: String,
    /// None for the VPC's main association, or that of a gateway.
    pub subnet_id: Option<String>,
    pub main: bool,
    pub state: Option<RouteTableAssociationStateCode>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// An IPv4 or IPv6 block, or the id of a prefix list.
    pub destination: String,
    pub target: RouteTarget,
    /// `Blackhole`: the target no longer exists.
    pub state: Option<RouteState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    Local,
    InternetGateway(String),
    EgressOnlyInternetGateway(String),
    NatGateway(String),
    /// A gateway endpoint (S3, DynamoDB).
    VpcEndpoint(String),
    /// Peering, transit gateways and so on: not created by Keelson.
    Other(String),
}

impl From<&sdk::RouteTable> for RouteTable {
    fn from(table: &sdk::RouteTable) -> Self {
        RouteTable {
            id: owned(table.route_table_id()),
            vpc_id: owned(table.vpc_id()),
            routes: table.routes().iter().map(Route::from).collect(),
            associations: table.associations().iter().map(RouteTableAssociation::from).collect(),
            tags: Tags::from_ec2(table.tags()),
        }
    }
}

impl From<&sdk::RouteTableAssociation> for RouteTableAssociation {
    fn from(association: &sdk::RouteTableAssociation) -> Self {
        RouteTableAssociation {
            id: owned(association.route_table_association_id()),
            subnet_id: maybe(association.subnet_id()),
            main: association.main().unwrap_or_default(),
            state: association.association_state().and_then(|s| s.state()).cloned(),
        }
    }
}

impl From<&sdk::Route> for Route {
    fn from(route: &sdk::Route) -> Self {
        let destination = route
            .destination_cidr_block()
            .or_else(|| route.destination_ipv6_cidr_block())
            .or_else(|| route.destination_prefix_list_id());
        Route { destination: owned(destination), target: RouteTarget::of(route), state: route.state().cloned() }
    }
}

impl RouteTarget {
    fn of(route: &sdk::Route) -> Self {
        if let Some(id) = maybe(route.nat_gateway_id()) {
            return RouteTarget::NatGateway(id);
        }
        if let Some(id) = maybe(route.egress_only_internet_gateway_id()) {
            return RouteTarget::EgressOnlyInternetGateway(id);
        }
        match route.gateway_id() {
            Some("local") => RouteTarget::Local,
            Some(id) if id.starts_with("igw-") => RouteTarget::InternetGateway(id.to_owned()),
            Some(id) if id.starts_with("vpce-") => RouteTarget::VpcEndpoint(id.to_owned()),
            Some(id) if !id.is_empty() => RouteTarget::Other(id.to_owned()),
            _ => RouteTarget::Other(owned(
                route
                    .transit_gateway_id()
                    .or_else(|| route.vpc_peering_connection_id())
                    .or_else(|| route.network_interface_id())
                    .or_else(|| route.local_gateway_id())
                    .or_else(|| route.core_network_arn()),
            )),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcEndpoint {
    pub id: String,
    pub vpc_id: String,
    /// `com.amazonaws.eu-west-1.s3`.
    pub service_name: String,
    pub kind: Option<VpcEndpointType>,
    pub state: Option<VpcEndpointState>,
    pub route_table_ids: Vec<String>,
    pub subnet_ids: Vec<String>,
    pub security_group_ids: Vec<String>,
    pub private_dns: bool,
    pub failure: Option<String>,
    pub tags: Tags,
}

impl From<&sdk::VpcEndpoint> for VpcEndpoint {
    fn from(endpoint: &sdk::VpcEndpoint) -> Self {
        let error = endpoint.last_error().and_then(|error| maybe(error.message()));
        VpcEndpoint {
            id: owned(endpoint.vpc_endpoint_id()),
            vpc_id: owned(endpoint.vpc_id()),
            service_name: owned(endpoint.service_name()),
            kind: endpoint.vpc_endpoint_type().cloned(),
            state: endpoint.state().cloned(),
            route_table_ids: endpoint.route_table_ids().to_vec(),
            subnet_ids: endpoint.subnet_ids().to_vec(),
            security_group_ids: endpoint.groups().iter().filter_map(|group| maybe(group.group_id())).collect(),
            private_dns: endpoint.private_dns_enabled().unwrap_or_default(),
            failure: maybe(endpoint.failure_reason()).or(error),
            tags: Tags::from_ec2(endpoint.tags()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub description: String,
    pub owner_id: Option<String>,
    pub vpc_id: String,
    pub ingress: Vec<Permission>,
    pub egress: Vec<Permission>,
    pub tags: Tags,
}

impl SecurityGroup {
    /// Whether one of its rules refers to another group, which blocks the deletion of that group.
    pub fn refers_to(&self, group: &str) -> bool {
        self.ingress.iter().chain(&self.egress).any(|rule| rule.group_ids.iter().any(|id| id == group))
    }
}

/// One rule, with all its sources or destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// `tcp`, `-1` for all.
    pub protocol: String,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub cidrs: Vec<String>,
    pub ipv6_cidrs: Vec<String>,
    /// Groups that it refers to: it blocks their deletion.
    pub group_ids: Vec<String>,
}

impl From<&sdk::SecurityGroup> for SecurityGroup {
    fn from(group: &sdk::SecurityGroup) -> Self {
        SecurityGroup {
            id: owned(group.group_id()),
            name: owned(group.group_name()),
            description: owned(group.description()),
            owner_id: maybe(group.owner_id()),
            vpc_id: owned(group.vpc_id()),
            ingress: group.ip_permissions().iter().map(Permission::from).collect(),
            egress: group.ip_permissions_egress().iter().map(Permission::from).collect(),
            tags: Tags::from_ec2(group.tags()),
        }
    }
}

impl From<&sdk::IpPermission> for Permission {
    fn from(permission: &sdk::IpPermission) -> Self {
        Permission {
            protocol: owned(permission.ip_protocol()),
            from_port: permission.from_port(),
            to_port: permission.to_port(),
            cidrs: permission.ip_ranges().iter().filter_map(|range| maybe(range.cidr_ip())).collect(),
            ipv6_cidrs: permission.ipv6_ranges().iter().filter_map(|range| maybe(range.cidr_ipv6())).collect(),
            group_ids: permission.user_id_group_pairs().iter().filter_map(|pair| maybe(pair.group_id())).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterface {
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    /// `Available`: not in use.
    pub status: Option<NetworkInterfaceStatus>,
    pub description: String,
    /// E.g. `interface`, `network_load_balancer`.
    pub kind: Option<String>,
    /// The account that is billed for it.
    pub owner_id: Option<String>,
    /// The service that created it for an account, e.g. `amazon-elb`.
    pub requester_id: Option<String>,
    pub security_group_ids: Vec<String>,
    pub attachment_id: Option<String>,
    pub instance_id: Option<String>,
    /// Created and deleted by another AWS service.
    pub requester_managed: bool,
    pub public_ip: Option<String>,
    pub tags: Tags,
}

impl From<&sdk::NetworkInterface> for NetworkInterface {
    fn from(interface: &sdk::NetworkInterface) -> Self {
        let attachment = interface.attachment();
        NetworkInterface {
            id: owned(interface.network_interface_id()),
            vpc_id: owned(interface.vpc_id()),
            subnet_id: owned(interface.subnet_id()),
            status: interface.status().cloned(),
            description: owned(interface.description()),
            kind: interface.interface_type().map(|kind| kind.as_str().to_owned()),
            owner_id: maybe(interface.owner_id()),
            requester_id: maybe(interface.requester_id()),
            security_group_ids: interface.groups().iter().filter_map(|group| maybe(group.group_id())).collect(),
            attachment_id: attachment.and_then(|a| maybe(a.attachment_id())),
            instance_id: attachment.and_then(|a| maybe(a.instance_id())),
            requester_managed: interface.requester_managed().unwrap_or_default(),
            public_ip: interface.association().and_then(|a| maybe(a.public_ip())),
            tags: Tags::from_ec2(interface.tag_set()),
        }
    }
}

#[cfg(test)]
#[path = "network_attributes_tests.rs"]
mod tests;
