//! The default routes of a route table: for IPv4 to the internet gateway or to a NAT gateway, for IPv6 to the internet gateway or
//! to the egress-only one.

use async_trait::async_trait;
use aws_sdk_ec2::types::RouteState;

use super::route_table::Table;
use super::{egress_only_internet_gateway, internet_gateway, nat_gateway};
use crate::aws::Service;
use crate::aws::snapshots::RouteTarget;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("route", "route", Area::Network).with_parent().removable().with_actions(&[
    "ec2:CreateRoute",
    "ec2:DeleteRoute",
    "ec2:DescribeRouteTables",
    "ec2:ReplaceRoute",
]);

/// All destinations outside the VPC.
const ANYWHERE: &str = "0.0.0.0/0";
/// The same of IPv6.
const ANYWHERE_IPV6: &str = "::/0";

/// The default route of a table.
pub struct Route {
    table: Table,
    via: RouteGateway,
    ipv6: bool,
    intervals: Intervals,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RouteGateway {
    Internet,
    /// The gateway of that zone.
    Nat(String),
    EgressOnly,
}

/// The target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    target: RouteTarget,
    blackhole: bool,
}

/// The key in the graph.
pub fn key(table: &Table) -> Key {
    KIND.named(table.name())
}

/// The key of the route for IPv6.
pub fn ipv6_key(table: &Table) -> Key {
    KIND.named(format!("ipv6/{}", table.name()))
}

impl Route {
    /// The public subnets' route to the internet.
    pub fn to_internet(context: &ResourceContext<'_>) -> Self {
        Self { table: Table::Public, via: RouteGateway::Internet, ipv6: false, intervals: context.intervals }
    }

    /// A private subnet's route to the NAT gateway in `nat_zone`.
    pub fn to_nat(context: &ResourceContext<'_>, table: Table, nat_zone: &str) -> Self {
        Self { table, via: RouteGateway::Nat(nat_zone.into()), ipv6: false, intervals: context.intervals }
    }

    /// A table's route for IPv6: private subnets have a way out only.
    pub fn for_ipv6(context: &ResourceContext<'_>, table: Table) -> Self {
        let via = if table == Table::Public { RouteGateway::Internet } else { RouteGateway::EgressOnly };
        Self { table, via, ipv6: true, intervals: context.intervals }
    }

    fn target(&self) -> Key {
        match &self.via {
            RouteGateway::Internet => internet_gateway::key(),
            RouteGateway::Nat(zone) => nat_gateway::key(zone),
            RouteGateway::EgressOnly => egress_only_internet_gateway::key(),
        }
    }

    fn wanted(&self, id: &str) -> RouteTarget {
        match self.via {
            RouteGateway::Internet => RouteTarget::InternetGateway(id.into()),
            RouteGateway::Nat(_) => RouteTarget::NatGateway(id.into()),
            RouteGateway::EgressOnly => RouteTarget::EgressOnlyInternetGateway(id.into()),
        }
    }

    fn destination(&self) -> &'static str {
        if self.ipv6 { ANYWHERE_IPV6 } else { ANYWHERE }
    }

    /// The destination in the two parameters of EC2's calls.
    fn destinations(&self) -> (Option<String>, Option<String>) {
        let destination = Some(self.destination().to_owned());
        if self.ipv6 { (None, destination) } else { (destination, None) }
    }

    /// The target in the three parameters of EC2's calls: a gateway, a NAT gateway, an egress-only one.
    fn targets(&self, id: &str) -> [Option<String>; 3] {
        let id = Some(id.to_owned());
        match self.via {
            RouteGateway::Internet => [id, None, None],
            RouteGateway::Nat(_) => [None, id, None],
            RouteGateway::EgressOnly => [None, None, id],
        }
    }

    fn to_observation(&self, table: &str, detail: Detail) -> Observation<Detail> {
        let state = if detail.blackhole { "blackhole" } else { "active" };
        let id = format!("{table}:{}", self.destination());
        Observation::ready(id, state, detail).output("routeTable", table)
    }
}

#[async_trait]
impl Resource for Route {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        if self.ipv6 { ipv6_key(&self.table) } else { key(&self.table) }
    }

    fn after(&self) -> Vec<Key> {
        vec![self.table.key(), self.target()]
    }

    fn inside(&self) -> Option<Key> {
        Some(self.table.key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(self.table.key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("destination", self.destination().into()), ("target", self.target().to_string())]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let Some(id) = refs.get(&self.target()) else { return Vec::new() };
        if observed.detail.target == self.wanted(id) {
            return Vec::new();
        }
        vec![Change::in_place("target", format!("{:?}", observed.detail.target), id)]
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let tables = cloud.aws.snapshots.route_tables(max_staleness(options)).await?;
        let table = refs.get(&self.table.key());
        let Some(table) = tables.iter().find(|one| Some(one.id.as_str()) == table) else {
            return Ok(Presence::Absent);
        };
        let Some(route) = table.routes.iter().find(|route| route.destination == self.destination()) else {
            return Ok(Presence::Absent);
        };
        let blackhole = route.state == Some(RouteState::Blackhole);
        Ok(Presence::Ours(self.to_observation(&table.id, Detail { target: route.target.clone(), blackhole })))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let (table, target) = (refs.id(&self.table.key())?, refs.id(&self.target())?);
        let ((ipv4, ipv6), [gateway, nat, egress_only]) = (self.destinations(), self.targets(target));
        let request = cloud.aws.ec2.create_route().route_table_id(table).set_destination_cidr_block(ipv4);
        let request = request.set_destination_ipv6_cidr_block(ipv6).set_gateway_id(gateway).set_nat_gateway_id(nat);
        let request = request.set_egress_only_internet_gateway_id(egress_only);
        let answer = cloud.aws.call(Service::Ec2, "CreateRoute", table, request.send()).await;
        // RouteAlreadyExists: created by an attempt whose response was lost. The next observation checks its target.
        match answer.map(drop) {
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other?,
        }
        Ok(self.to_observation(table, Detail { target: self.wanted(target), blackhole: false }))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let (table, target) = (refs.id(&self.table.key())?, refs.id(&self.target())?);
        let ((ipv4, ipv6), [gateway, nat, egress_only]) = (self.destinations(), self.targets(target));
        let request = cloud.aws.ec2.replace_route().route_table_id(table).set_destination_cidr_block(ipv4);
        let request = request.set_destination_ipv6_cidr_block(ipv6).set_gateway_id(gateway).set_nat_gateway_id(nat);
        let request = request.set_egress_only_internet_gateway_id(egress_only);
        cloud.aws.call(Service::Ec2, "ReplaceRoute", table, request.send()).await?;
        Ok(self.to_observation(table, Detail { target: self.wanted(target), blackhole: false }))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let table = observed.outputs.get("routeTable").cloned().unwrap_or_default();
        let (ipv4, ipv6) = self.destinations();
        let request = cloud.aws.ec2.delete_route().route_table_id(&table);
        let request = request.set_destination_cidr_block(ipv4).set_destination_ipv6_cidr_block(ipv6);
        cloud.aws.call(Service::Ec2, "DeleteRoute", &table, request.send()).await?;
        Ok(Presence::Absent)
    }
}
