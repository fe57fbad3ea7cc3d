//! Finds what blocks a deletion: EC2 only reports that some resource depends on it. I/O: reads of EC2, and only after a
//! deletion was refused.
//!
//! The resources listed here are not owned by Keelson, or AWS created them for such a resource: Keelson never changes
//! them.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, NatGateway, Tag, VpcEndpoint, VpcPeeringConnection, VpnGateway};

use crate::api::listing::first_few_joined;
use crate::aws::snapshots::{NetworkInterface, SecurityGroup};
use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Service};
use crate::engine::{Class, Failure};
use crate::resources::cloud::Cloud;

/// Most blockers in one message; the rest are counted.
const MAX_NAMED: usize = 5;

/// The resource being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The VPC.
    Vpc,
    /// A subnet.
    Subnet(&'a str),
    /// A security group.
    SecurityGroup(&'a str),
    /// The internet gateway, which public addresses block.
    InternetGateway,
}

/// A blocking resource, described so that a user can find it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocker {
    id: String,
    description: String,
}

impl Blocker {
    /// `kind` is AWS's name for it; `about` adds details: type, owner, name.
    fn new<'a>(kind: &str, id: &str, about: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let about: Vec<_> = about.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
        Self { id: id.to_owned(), description: format!("{kind} {id}{about}") }
    }
}

/// Adds the dependent resources to a dependency error, with type, owner and description.
pub async fn with_blockers(cloud: &Cloud, vpc: &str, part: Part<'_>, failure: Failure) -> Failure {
    if failure.class != Class::Busy {
        return failure;
    }
    let mut blockers = services(cloud, vpc, part).await;
    // What cannot be read is not listed; the error stays as it is.
    if let Ok(interfaces) = cloud.aws.snapshots.network_interfaces_of_vpc(vpc, MaxStaleness::now()).await {
        blockers.extend(interfaces.iter().filter(|one| uses(one, part)).map(interface));
    }
    if let Part::Vpc | Part::SecurityGroup(_) = part
        && let Ok(groups) = cloud.aws.snapshots.security_groups_of_vpc(vpc, MaxStaleness::now()).await
    {
        blockers.extend(groups.iter().filter(|group| group_uses(group, part, &cloud.owner.uid)).map(security_group));
    }
    add_blockers(failure, &without_named_interfaces(blockers))
}

/// Dependent resources of services and users, other than interfaces and groups.
async fn services(cloud: &Cloud, vpc: &str, part: Part<'_>) -> Vec<Blocker> {
    let in_subnet = |subnet: &str| match part {
        Part::Subnet(id) => subnet == id,
        Part::Vpc | Part::SecurityGroup(_) | Part::InternetGateway => true,
    };
    let (endpoints, nats) = match part {
        Part::Vpc | Part::Subnet(_) => futures::join!(vpc_endpoints(cloud, vpc), nat_gateways(cloud, vpc)),
        Part::SecurityGroup(_) | Part::InternetGateway => (Ok(Vec::new()), Ok(Vec::new())),
    };
    let mut blockers = Vec::new();
    let foreign = |tags: &[Tag]| !Tags::from_ec2(tags).is_owned_by(&cloud.owner.uid);
    let endpoints = endpoints.unwrap_or_default().into_iter().filter(|one| foreign(one.tags()));
    let endpoints = endpoints.filter(|one| part == Part::Vpc || one.subnet_ids().iter().any(|id| in_subnet(id)));
    blockers.extend(endpoints.map(|one| vpc_endpoint(&one)));
    let nats = nats.unwrap_or_default().into_iter().filter(|one| foreign(one.tags()));
    blockers.extend(nats.filter(|one| in_subnet(one.subnet_id().unwrap_or_default())).map(|one| nat_gateway(&one)));
    if part == Part::Vpc {
        let (peerings, gateways, rest) =
            futures::join!(peering_connections(cloud, vpc), vpn_gateways(cloud, vpc), subnets_and_tables(cloud, vpc));
        blockers.extend(peerings.unwrap_or_default().iter().map(|one| peering_connection(one, vpc)));
        blockers.extend(gateways.unwrap_or_default().iter().map(vpn_gateway));
        blockers.extend(rest.unwrap_or_default());
    }
    blockers
}

fn filter_by(name: &str, values: &[&str]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.iter().map(|value| (*value).to_owned()).collect())).build()
}

async fn vpc_endpoints(cloud: &Cloud, vpc: &str) -> Result<Vec<VpcEndpoint>, AwsError> {
    let request = cloud.aws.ec2.describe_vpc_endpoints().filters(filter_by("vpc-id", &[vpc]));
    let answer = cloud.aws.call(Service::Ec2, "DescribeVpcEndpoints", vpc, request.send()).await?;
    Ok(answer.vpc_endpoints.unwrap_or_default())
}

async fn nat_gateways(cloud: &Cloud, vpc: &str) -> Result<Vec<NatGateway>, AwsError> {
    let active = filter_by("state", &["pending", "available", "deleting"]);
    let request = cloud.aws.ec2.describe_nat_gateways().filter(filter_by("vpc-id", &[vpc])).filter(active);
    let answer = cloud.aws.call(Service::Ec2, "DescribeNatGateways", vpc, request.send()).await?;
    Ok(answer.nat_gateways.unwrap_or_default())
}

/// Of both sides. Filters are combined with "and", so each side needs its own request.
async fn peering_connections(cloud: &Cloud, vpc: &str) -> Result<Vec<VpcPeeringConnection>, AwsError> {
    let side = async |side: &'static str| {
        let active = filter_by("status-code", &["initiating-request", "pending-acceptance", "provisioning", "active"]);
        let request = cloud.aws.ec2.describe_vpc_peering_connections().filters(filter_by(side, &[vpc])).filters(active);
        cloud.aws.call(Service::Ec2, "DescribeVpcPeeringConnections", vpc, request.send()).await
    };
    let (ours, foreign) = futures::try_join!(side("requester-vpc-info.vpc-id"), side("accepter-vpc-info.vpc-id"))?;
    let [ours, foreign] = [ours, foreign].map(|answer| answer.vpc_peering_connections.unwrap_or_default());
    Ok([ours, foreign].concat())
}

async fn vpn_gateways(cloud: &Cloud, vpc: &str) -> Result<Vec<VpnGateway>, AwsError> {
    let request = cloud.aws.ec2.describe_vpn_gateways().filters(filter_by("attachment.vpc-id", &[vpc]));
    let answer = cloud.aws.call(Service::Ec2, "DescribeVpnGateways", vpc, request.send()).await?;
    Ok(answer.vpn_gateways.unwrap_or_default())
}

/// Those that the object does not own.
async fn subnets_and_tables(cloud: &Cloud, vpc: &str) -> Result<Vec<Blocker>, AwsError> {
    let subnets = cloud.aws.ec2.describe_subnets().filters(filter_by("vpc-id", &[vpc]));
    let tables = cloud.aws.ec2.describe_route_tables().filters(filter_by("vpc-id", &[vpc]));
    let (subnets, tables) = futures::try_join!(
        cloud.aws.call(Service::Ec2, "DescribeSubnets", vpc, subnets.send()),
        cloud.aws.call(Service::Ec2, "DescribeRouteTables", vpc, tables.send()),
    )?;
    let foreign = |tags: &[Tag]| !Tags::from_ec2(tags).is_owned_by(&cloud.owner.uid);
    let subnets = subnets.subnets().iter().filter(|subnet| foreign(subnet.tags())).map(|subnet| {
        let (owner, name) = (owned_filter_by(subnet.owner_id()), name_tag(subnet.tags()));
        let about = [subnet.cidr_block(), Some(owner.as_str()), name.as_deref()];
        Blocker::new("subnet", subnet.subnet_id().unwrap_or_default(), about)
    });
    let tables = tables.route_tables().iter().filter(|table| {
        let main = table.associations().iter().any(|one| one.main().unwrap_or_default());
        !main && foreign(table.tags())
    });
    let tables = tables.map(|table| {
        let (owner, name) = (owned_filter_by(table.owner_id()), name_tag(table.tags()));
        let about = [Some(owner.as_str()), name.as_deref()];
        Blocker::new("route table", table.route_table_id().unwrap_or_default(), about)
    });
    Ok(subnets.chain(tables).collect())
}

fn owned_filter_by(owner: Option<&str>) -> String {
    format!("owner {}", owner.unwrap_or("unknown"))
}

/// The value of the tag `Name`.
fn name_tag(tags: &[Tag]) -> Option<String> {
    Tags::from_ec2(tags).get("Name").map(|name| format!("{name:?}"))
}

fn vpc_endpoint(endpoint: &VpcEndpoint) -> Blocker {
    let (owner, name) = (owned_filter_by(endpoint.owner_id()), name_tag(endpoint.tags()));
    let kind = endpoint.vpc_endpoint_type().map(|kind| kind.as_str());
    let about = [kind, endpoint.service_name(), Some(owner.as_str()), name.as_deref()];
    Blocker::new("VPC endpoint", endpoint.vpc_endpoint_id().unwrap_or_default(), about)
}

fn nat_gateway(gateway: &NatGateway) -> Blocker {
    let (state, name) = (gateway.state().map(|state| state.as_str()), name_tag(gateway.tags()));
    let subnet = gateway.subnet_id().map(|subnet| format!("in {subnet}"));
    let about = [state, subnet.as_deref(), name.as_deref()];
    Blocker::new("NAT gateway", gateway.nat_gateway_id().unwrap_or_default(), about)
}

fn peering_connection(connection: &VpcPeeringConnection, vpc: &str) -> Blocker {
    let sides = [connection.requester_vpc_info(), connection.accepter_vpc_info()];
    let other = sides.into_iter().flatten().find(|side| side.vpc_id() != Some(vpc));
    let with = other.map(|side| {
        let (id, owner) = (side.vpc_id().unwrap_or("a VPC"), side.owner_id().unwrap_or("unknown"));
        format!("with {id} of account {owner}")
    });
    let owner = owned_filter_by(connection.requester_vpc_info().and_then(|side| side.owner_id()));
    let status = connection.status().and_then(|status| status.code()).map(|code| code.as_str());
    let name = name_tag(connection.tags());
    let about = [status, with.as_deref(), Some(owner.as_str()), name.as_deref()];
    Blocker::new("VPC peering connection", connection.vpc_peering_connection_id().unwrap_or_default(), about)
}

fn vpn_gateway(gateway: &VpnGateway) -> Blocker {
    let (kind, name) = (gateway.r#type().map(|kind| kind.as_str()), name_tag(gateway.tags()));
    Blocker::new("virtual private gateway", gateway.vpn_gateway_id().unwrap_or_default(), [kind, name.as_deref()])
}

fn uses(interface: &NetworkInterface, part: Part<'_>) -> bool {
    match part {
        Part::Vpc => true,
        Part::Subnet(id) => interface.subnet_id == id,
        Part::SecurityGroup(id) => interface.security_group_ids.iter().any(|group| group == id),
        Part::InternetGateway => interface.public_ip.is_some(),
    }
}

fn interface(interface: &NetworkInterface) -> Blocker {
    let kind = interface.kind.as_deref().unwrap_or("interface");
    let instance = interface.instance_id.as_ref().map(|id| format!("of instance {id}"));
    // If a service created the interface, the requester is that service; otherwise it is only the principal that made
    // the call.
    let service = interface.requester_id.as_deref().filter(|_| interface.requester_managed);
    let owner = owned_filter_by(service.or(interface.owner_id.as_deref()));
    let address = interface.public_ip.as_ref().map(|address| format!("public address {address}"));
    let description = format!("{:?}", interface.description);
    let about = [Some(kind), instance.as_deref(), address.as_deref(), Some(owner.as_str()), Some(description.as_str())];
    Blocker::new("network interface", &interface.id, about)
}

/// Describes a security group so that a user can find it.
pub fn describe_group(group: &SecurityGroup) -> String {
    security_group(group).description
}

/// Describes a network interface so that a user can find it.
pub fn describe_interface(one: &NetworkInterface) -> String {
    interface(one).description
}

fn group_uses(group: &SecurityGroup, part: Part<'_>, owner: &str) -> bool {
    match part {
        Part::Vpc => group.name != "default" && !group.tags.is_owned_by(owner),
        Part::SecurityGroup(id) => group.id != id && group.refers_to(id),
        Part::Subnet(_) | Part::InternetGateway => false,
    }
}

fn security_group(group: &SecurityGroup) -> Blocker {
    let owner = owned_filter_by(group.owner_id.as_deref());
    let (name, description) = (format!("{:?}", group.name), format!("{:?}", group.description));
    Blocker::new("security group", &group.id, [Some(name.as_str()), Some(owner.as_str()), Some(description.as_str())])
}

/// Omits an interface whose description names another blocker.
fn without_named_interfaces(blockers: Vec<Blocker>) -> Vec<String> {
    let ids: BTreeSet<String> =
        blockers.iter().map(|one| one.id.clone()).filter(|id| !id.starts_with("eni-")).collect();
    let is_named =
        |one: &Blocker| one.id.starts_with("eni-") && ids.iter().any(|id| one.description.contains(id.as_str()));
    blockers.iter().filter(|one| !is_named(one)).map(|one| one.description.clone()).collect()
}

fn add_blockers(mut failure: Failure, blockers: &[String]) -> Failure {
    if !blockers.is_empty() {
        let named = first_few_joined(blockers, MAX_NAMED, "; ", " and ");
        failure.message = format!("{} Blocked by {named}: delete what Keelson does not own by hand.", failure.message);
    }
    failure
}

#[cfg(test)]
#[path = "blockers_tests.rs"]
mod tests;
