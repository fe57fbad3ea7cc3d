//! What EC2 lists in a VPC that can hold its deletion: resources of services and users. I/O: reads of EC2, after a deletion
//! was refused.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, NatGateway, Tag, VpcEndpoint, VpcPeeringConnection, VpnGateway};

use super::blockers::{Blocker, Part, owned_by};
use super::makers;
use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service};
use crate::resources::cloud::Cloud;

/// Dependent resources of services and users, other than interfaces and groups.
pub(super) async fn services(cloud: &Cloud, vpc: &str, part: Part<'_>) -> Vec<Blocker> {
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
        let (peerings, gateways, rest, attachments, others) = futures::join!(
            peering_connections(cloud, vpc),
            vpn_gateways(cloud, vpc),
            subnets_and_tables(cloud, vpc),
            transit_gateway_attachments(cloud, vpc),
            gateways_and_lists(cloud, vpc),
        );
        blockers.extend(peerings.unwrap_or_default().iter().map(|one| peering_connection(one, vpc)));
        blockers.extend(gateways.unwrap_or_default().iter().map(vpn_gateway));
        blockers.extend(rest.unwrap_or_default());
        blockers.extend(attachments.unwrap_or_default());
        blockers.extend(others.unwrap_or_default());
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
        let (owner, name) = (owned_by(subnet.owner_id()), name_tag(subnet.tags()));
        let about = [subnet.cidr_block(), Some(owner.as_str()), name.as_deref()];
        Blocker::new("subnet", subnet.subnet_id().unwrap_or_default(), about)
    });
    let tables = tables.route_tables().iter().filter(|table| {
        let main = table.associations().iter().any(|one| one.main().unwrap_or_default());
        !main && foreign(table.tags())
    });
    let tables = tables.map(|table| {
        let (owner, name) = (owned_by(table.owner_id()), name_tag(table.tags()));
        let about = [Some(owner.as_str()), name.as_deref()];
        Blocker::new("route table", table.route_table_id().unwrap_or_default(), about)
    });
    Ok(subnets.chain(tables).collect())
}

/// The attachments of transit gateways that hold the VPC.
async fn transit_gateway_attachments(cloud: &Cloud, vpc: &str) -> Result<Vec<Blocker>, AwsError> {
    let active = filter_by("state", &["pendingAcceptance", "pending", "available", "modifying", "failing", "deleting"]);
    let request = cloud.aws.ec2.describe_transit_gateway_vpc_attachments();
    let request = request.filters(filter_by("vpc-id", &[vpc])).filters(active);
    let answer = cloud.aws.call(Service::Ec2, "DescribeTransitGatewayVpcAttachments", vpc, request.send()).await?;
    let attachments = answer.transit_gateway_vpc_attachments().iter().map(|one| {
        let (state, name) = (one.state().map(|state| state.as_str()), name_tag(one.tags()));
        let gateway = one.transit_gateway_id().map(|id| format!("to {id}"));
        let about = [state, gateway.as_deref(), name.as_deref()];
        Blocker::new("transit gateway attachment", one.transit_gateway_attachment_id().unwrap_or_default(), about)
    });
    Ok(attachments.collect())
}

/// What holds a VPC besides: <https://docs.aws.amazon.com/vpc/latest/userguide/delete-vpc.html>. Its default network ACL
/// goes with it.
async fn gateways_and_lists(cloud: &Cloud, vpc: &str) -> Result<Vec<Blocker>, AwsError> {
    let foreign = |tags: &[Tag]| !Tags::from_ec2(tags).is_owned_by(&cloud.owner.uid);
    let lists = cloud.aws.ec2.describe_network_acls().filters(filter_by("vpc-id", &[vpc]));
    let gateways = cloud.aws.ec2.describe_internet_gateways().filters(filter_by("attachment.vpc-id", &[vpc]));
    // EC2 has no filter for their VPC.
    let outbound = cloud.aws.ec2.describe_egress_only_internet_gateways();
    let (lists, gateways, outbound) = futures::try_join!(
        cloud.aws.call(Service::Ec2, "DescribeNetworkAcls", vpc, lists.send()),
        cloud.aws.call(Service::Ec2, "DescribeInternetGateways", vpc, gateways.send()),
        cloud.aws.call(Service::Ec2, "DescribeEgressOnlyInternetGateways", vpc, outbound.send()),
    )?;
    let lists =
        lists.network_acls().iter().filter(|list| !list.is_default().unwrap_or_default() && foreign(list.tags()));
    let lists = lists.map(|list| {
        Blocker::new("network ACL", list.network_acl_id().unwrap_or_default(), [name_tag(list.tags()).as_deref()])
    });
    let gateways = gateways.internet_gateways().iter().filter(|gateway| foreign(gateway.tags())).map(|gateway| {
        let name = name_tag(gateway.tags());
        Blocker::new("internet gateway", gateway.internet_gateway_id().unwrap_or_default(), [name.as_deref()])
    });
    let outbound = outbound
        .egress_only_internet_gateways()
        .iter()
        .filter(|gateway| gateway.attachments().iter().any(|one| one.vpc_id() == Some(vpc)) && foreign(gateway.tags()));
    let outbound = outbound.map(|gateway| {
        let (id, name) = (gateway.egress_only_internet_gateway_id().unwrap_or_default(), name_tag(gateway.tags()));
        Blocker::new("egress-only internet gateway", id, [name.as_deref()])
    });
    Ok(lists.chain(gateways).chain(outbound).collect())
}

/// The instances with these ids, with who launched them.
pub(super) async fn instances(cloud: &Cloud, ids: &BTreeSet<&str>) -> Result<Vec<Blocker>, AwsError> {
    /// More are only counted, so there is no need to describe them.
    const MAX_DESCRIBED: usize = 100;
    let ids: Vec<&str> = ids.iter().copied().take(MAX_DESCRIBED).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // With a filter instead of ids, EC2 does not reject the request for one terminated instance.
    let request = cloud.aws.ec2.describe_instances().filters(filter_by("instance-id", &ids));
    let answer = cloud.aws.call(Service::Ec2, "DescribeInstances", "instances", request.send()).await?;
    let all = answer.reservations().iter().flat_map(|reservation| reservation.instances());
    let all = all.map(|instance| {
        let (about, advice) = makers::describe_instance(instance);
        let id = instance.instance_id().unwrap_or_default();
        Blocker { advice, ..Blocker::new("instance", id, [Some(about.as_str())]) }
    });
    Ok(all.collect())
}

/// The value of the tag `Name`.
fn name_tag(tags: &[Tag]) -> Option<String> {
    Tags::from_ec2(tags).get("Name").map(|name| format!("{name:?}"))
}

fn vpc_endpoint(endpoint: &VpcEndpoint) -> Blocker {
    let (owner, name) = (owned_by(endpoint.owner_id()), name_tag(endpoint.tags()));
    let kind = endpoint.vpc_endpoint_type().map(|kind| kind.as_str());
    let by = makers::of_endpoint(endpoint).map(|maker| format!("of {}", maker.name));
    let about = [kind, endpoint.service_name(), by.as_deref(), Some(owner.as_str()), name.as_deref()];
    Blocker::new("VPC endpoint", endpoint.vpc_endpoint_id().unwrap_or_default(), about)
        .advised(makers::of_endpoint(endpoint))
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
    let owner = owned_by(connection.requester_vpc_info().and_then(|side| side.owner_id()));
    let status = connection.status().and_then(|status| status.code()).map(|code| code.as_str());
    let name = name_tag(connection.tags());
    let about = [status, with.as_deref(), Some(owner.as_str()), name.as_deref()];
    Blocker::new("VPC peering connection", connection.vpc_peering_connection_id().unwrap_or_default(), about)
}

fn vpn_gateway(gateway: &VpnGateway) -> Blocker {
    let (kind, name) = (gateway.r#type().map(|kind| kind.as_str()), name_tag(gateway.tags()));
    Blocker::new("virtual private gateway", gateway.vpn_gateway_id().unwrap_or_default(), [kind, name.as_deref()])
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{VpcEndpointType, VpcPeeringConnectionVpcInfo};

    use super::*;

    #[test]
    fn description_has_id_type_owner_and_name() {
        let name = Tag::builder().key("Name").value("to the data centre").build();
        let endpoint = VpcEndpoint::builder()
            .vpc_endpoint_id("vpce-1")
            .vpc_endpoint_type(VpcEndpointType::Interface)
            .service_name("com.amazonaws.eu-west-1.ec2")
            .owner_id("111122223333")
            .build();
        let text = "VPC endpoint vpce-1 (Interface, com.amazonaws.eu-west-1.ec2, owner 111122223333)";
        assert_eq!(vpc_endpoint(&endpoint).description, text);
        let side = |vpc: &str, owner: &str| VpcPeeringConnectionVpcInfo::builder().vpc_id(vpc).owner_id(owner).build();
        let peering = VpcPeeringConnection::builder()
            .vpc_peering_connection_id("pcx-1")
            .requester_vpc_info(side("vpc-2", "444455556666"))
            .accepter_vpc_info(side("vpc-1", "111122223333"))
            .tags(name.clone())
            .build();
        let text = "VPC peering connection pcx-1 (with vpc-2 of account 444455556666, owner 444455556666, \"to the data centre\")";
        assert_eq!(peering_connection(&peering, "vpc-1").description, text);
        let gateway = VpnGateway::builder().vpn_gateway_id("vgw-1").tags(name).build();
        assert_eq!(vpn_gateway(&gateway).description, "virtual private gateway vgw-1 (\"to the data centre\")");
        let bare = NatGateway::builder().nat_gateway_id("nat-1").build();
        assert_eq!(nat_gateway(&bare).description, "NAT gateway nat-1");
    }
}
