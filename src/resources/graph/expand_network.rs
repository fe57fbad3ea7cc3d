//! Expands the spec of a VPC to the graph of resources that must exist. Pure.

use std::sync::Arc;

use super::expand::{ClusterInput, Node, is_deleted_with_cluster};
use super::layout::{self, ZoneLayout};
use crate::api::SpecError;
use crate::api::network::{IpFamily, Nat, Vpc as VpcSpec};
use crate::api::node_group::SubnetTier;
use crate::engine::Key;
use crate::resources::cloud::ResourceContext;
use crate::resources::deletion::leftovers::Leftovers;
use crate::resources::karpenter::names;
use crate::resources::network::egress_only_internet_gateway::EgressOnlyInternetGateway;
use crate::resources::network::elastic_ip::{self, ElasticIp};
use crate::resources::network::flow_log;
use crate::resources::network::internet_gateway::InternetGateway;
use crate::resources::network::nat_gateway::{self, NatGateway};
use crate::resources::network::private_endpoints;
use crate::resources::network::route::Route;
use crate::resources::network::route_table::{RouteTable, Table};
use crate::resources::network::route_table_association::RouteTableAssociation;
use crate::resources::network::security_group::{self, SecurityGroup};
use crate::resources::network::subnet::{self, Subnet};
use crate::resources::network::vpc::{self, Vpc};
use crate::resources::network::vpc_cidr::VpcCidr;
use crate::resources::network::vpc_endpoint::{self, VpcEndpoint};

/// Adds the VPC and everything in it. Returns the resources that the control plane depends on.
pub(super) fn add_own_network(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &VpcSpec,
    zones: &[String],
    input: &ClusterInput<'_>,
) -> Result<Vec<Key>, SpecError> {
    // Public subnets stay until the cluster is deleted, and are deleted with it.
    let has_public = input.owned.iter().any(|key| matches!(subnet::zone_of(key), Some((SubnetTier::Public, _))));
    let public = spec.public_subnets || has_public;
    let ipv6 = input.spec.kubernetes_network.ip_family == IpFamily::IPv6;
    let layout = layout::layout(&spec.cidr, zones.len(), public)?;
    if spec.nat != Nat::None && !spec.public_subnets {
        let why = "a NAT gateway needs a public subnet: set nat: None, or publicSubnets: true";
        return Err(SpecError::new("spec.network.vpc.nat", why));
    }
    let services = private_endpoints::services(spec, input.missing_services, input.owned);
    let notices = private_endpoints::notice(spec, &services).into_iter().collect();
    nodes.push(Arc::new(Vpc::new(context, &spec.cidr).with_ipv6(ipv6).with_notices(notices)));
    if public {
        nodes.push(Arc::new(InternetGateway::new(context)));
        nodes.push(Arc::new(RouteTable::new(context, Table::Public)));
        nodes.push(Arc::new(Route::to_internet(context)));
    }
    if ipv6 {
        nodes.push(Arc::new(EgressOnlyInternetGateway::new(context)));
        let private = zones.iter().cloned().map(Table::Private);
        for table in private.chain(public.then_some(Table::Public)) {
            nodes.push(Arc::new(Route::for_ipv6(context, table)));
        }
    }
    let nat_zones: &[String] = match spec.nat {
        Nat::None => &[],
        Nat::Single => &zones[..1],
        Nat::PerZone => zones,
    };
    add_nat_gateways(nodes, context, spec, (zones, nat_zones), input)?;
    let mut subnets = add_subnets(nodes, context, (zones, &layout), ipv6, input);
    for (n, zone) in zones.iter().enumerate() {
        let table = Table::Private(zone.clone());
        nodes.push(Arc::new(RouteTable::new(context, table.clone())));
        if let Some(nat_zone) = nat_zones.get(n).or_else(|| nat_zones.first()) {
            nodes.push(Arc::new(Route::to_nat(context, table, nat_zone)));
        }
    }
    subnets.extend(add_pod_subnets(nodes, context, spec, zones, input.owned)?);
    add_endpoints(nodes, context, spec, zones, (services.into_iter().collect(), input));
    nodes.extend(
        flow_log::all(context, spec, input.owned, input.removes)?.into_iter().map(|log| -> Node { Arc::new(log) }),
    );
    let spared = spec.security_group_ids.as_deref().unwrap_or_default();
    nodes.push(Arc::new(Leftovers::new(context, vpc::key(), subnets, spared)));
    Ok(zones.iter().map(|zone| subnet::key(SubnetTier::Private, zone)).collect())
}

/// Adds the NAT gateways and their addresses, as far as these are not given; and those of earlier specs, when the cluster is deleted.
fn add_nat_gateways(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &VpcSpec,
    (zones, nat_zones): (&[String], &[String]),
    input: &ClusterInput<'_>,
) -> Result<(), SpecError> {
    let given = &spec.nat_addresses;
    if input.removes.is_some() && !given.is_empty() && given.len() != nat_zones.len() {
        let why = format!("{} addresses for {} NAT gateways: list one for each", given.len(), nat_zones.len());
        return Err(SpecError::new("spec.network.vpc.natAddresses", why));
    }
    let is_owned = |key: &Key| is_deleted_with_cluster(input, key);
    for zone in zones {
        let position = nat_zones.iter().position(|one| one == zone);
        let address = position.and_then(|n| given.get(n));
        let owns_address = is_owned(&elastic_ip::key(zone));
        if position.is_none() && !owns_address && !is_owned(&nat_gateway::key(zone)) {
            continue;
        }
        let gateway = NatGateway::new(context, zone);
        // When an address that is ours is deleted, its gateway is deleted before.
        match address.filter(|_| !owns_address) {
            Some(address) => nodes.push(Arc::new(gateway.with_address(address))),
            None => {
                nodes.push(Arc::new(ElasticIp::new(context, zone).except(given)));
                nodes.push(Arc::new(gateway));
            }
        }
    }
    Ok(())
}

/// Adds the subnets in the first range of the VPC. Returns their keys.
fn add_subnets(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    (zones, layout): (&[String], &[ZoneLayout]),
    ipv6: bool,
    input: &ClusterInput<'_>,
) -> Vec<Key> {
    let karpenter = input.spec.karpenter.as_ref().map(|_| context.cluster_name);
    let had_karpenter = input.tag_keys.iter().any(|key| key == names::DISCOVERY_REQUESTED);
    let mut keys = Vec::new();
    for (n, (zone, ranges)) in zones.iter().zip(layout).enumerate() {
        let tiers = [(SubnetTier::Private, Some(ranges.private)), (SubnetTier::Public, ranges.public)];
        for (tier, cidr) in tiers {
            let Some(cidr) = cidr else { continue };
            let subnet = Subnet::new(context, tier, zone, cidr);
            let subnet =
                if tier == SubnetTier::Private { subnet.with_discovery(karpenter, had_karpenter) } else { subnet };
            nodes.push(Arc::new(if ipv6 { subnet.with_ipv6(n) } else { subnet }));
            nodes.push(Arc::new(RouteTableAssociation::new(context, tier, zone)));
            keys.push(subnet::key(tier, zone));
        }
    }
    keys
}

/// Adds the further ranges of the VPC and their subnets, also those that the spec no longer lists. Returns the subnets' keys.
fn add_pod_subnets(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &VpcSpec,
    zones: &[String],
    owned: &[Key],
) -> Result<Vec<Key>, SpecError> {
    let mut ranges = spec.pod_cidrs.clone();
    let used = owned.iter().filter_map(subnet::pods_range_of).map(str::to_owned);
    for range in used {
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    let mut keys = Vec::new();
    for range in &ranges {
        nodes.push(Arc::new(VpcCidr::new(context, range)));
        for (zone, cidr) in zones.iter().zip(layout::pods(range, zones.len())?) {
            nodes.push(Arc::new(Subnet::for_pods(context, zone, range, cidr)));
            nodes.push(Arc::new(RouteTableAssociation::of_pods(context, zone, range)));
            keys.push(subnet::pods_key(zone, range));
        }
    }
    Ok(keys)
}

/// Adds the endpoints of the spec and, when the cluster is deleted, those of earlier specs.
fn add_endpoints(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &VpcSpec,
    zones: &[String],
    (mut services, input): (Vec<String>, &ClusterInput<'_>),
) {
    let owned = input.owned.iter().filter(|key| vpc_endpoint::KIND.is_of(key) && is_deleted_with_cluster(input, key));
    services.extend(owned.map(|key| key.name().to_owned()));
    services.sort();
    services.dedup();
    let has_group = is_deleted_with_cluster(input, &security_group::key());
    if has_group || services.iter().any(|service| !vpc_endpoint::is_gateway(service)) {
        let ranges = [&spec.cidr].into_iter().chain(&spec.pod_cidrs).cloned().collect();
        nodes.push(Arc::new(SecurityGroup::new(context, ranges)));
    }
    for service in &services {
        nodes.push(Arc::new(VpcEndpoint::new(context, service, zones)));
    }
}
