//! The default route of a route table: to the internet gateway or to a NAT gateway.

use async_trait::async_trait;
use aws_sdk_ec2::types::RouteState;

use super::route_table::Table;
use super::{internet_gateway, nat_gateway};
use crate::aws::Service;
use crate::aws::snapshots::RouteTarget;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("route", "route", Area::Network).removable().with_actions(&[
    "ec2:CreateRoute",
    "ec2:DeleteRoute",
    "ec2:DescribeRouteTables",
    "ec2:ReplaceRoute",
]);

/// All destinations outside the VPC.
const ANYWHERE: &str = "0.0.0.0/0";

/// The default route of a table.
pub struct Route {
    table: Table,
    /// The zone of its NAT gateway; `None`: to the internet gateway.
    nat: Option<String>,
    intervals: Intervals,
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

impl Route {
    /// The public subnets' route to the internet.
    pub fn to_internet(context: &ResourceContext<'_>) -> Self {
        Self { table: Table::Public, nat: None, intervals: context.intervals }
    }

    /// A private subnet's route to the NAT gateway in `nat_zone`.
    pub fn to_nat(context: &ResourceContext<'_>, table: Table, nat_zone: &str) -> Self {
        Self { table, nat: Some(nat_zone.into()), intervals: context.intervals }
    }

    fn target(&self) -> Key {
        self.nat.as_ref().map_or_else(internet_gateway::key, |zone| nat_gateway::key(zone))
    }

    fn wanted(&self, id: &str) -> RouteTarget {
        match self.nat {
            Some(_) => RouteTarget::NatGateway(id.into()),
            None => RouteTarget::InternetGateway(id.into()),
        }
    }
}

fn to_observation(table: &str, detail: Detail) -> Observation<Detail> {
    let state = if detail.blackhole { "blackhole" } else { "active" };
    Observation::ready(format!("{table}:{ANYWHERE}"), state, detail).output("routeTable", table)
}

#[async_trait]
impl Resource for Route {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.table)
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
        vec![("destination", ANYWHERE.into()), ("target", self.target().to_string())]
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
        let Some(route) = table.routes.iter().find(|route| route.destination == ANYWHERE) else {
            return Ok(Presence::Absent);
        };
        let blackhole = route.state == Some(RouteState::Blackhole);
        Ok(Presence::Ours(to_observation(&table.id, Detail { target: route.target.clone(), blackhole })))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let (table, target) = (refs.id(&self.table.key())?, refs.id(&self.target())?);
        let request = cloud.aws.ec2.create_route().route_table_id(table).destination_cidr_block(ANYWHERE);
        let request = match self.nat {
            Some(_) => request.nat_gateway_id(target),
            None => request.gateway_id(target),
        };
        let answer = cloud.aws.call(Service::Ec2, "CreateRoute", table, request.send()).await;
        // RouteAlreadyExists: created by an attempt whose response was lost. The next observation checks its target.
        match answer.map(drop) {
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other?,
        }
        Ok(to_observation(table, Detail { target: self.wanted(target), blackhole: false }))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let (table, target) = (refs.id(&self.table.key())?, refs.id(&self.target())?);
        let request = cloud.aws.ec2.replace_route().route_table_id(table).destination_cidr_block(ANYWHERE);
        let request = match self.nat {
            Some(_) => request.nat_gateway_id(target),
            None => request.gateway_id(target),
        };
        cloud.aws.call(Service::Ec2, "ReplaceRoute", table, request.send()).await?;
        Ok(to_observation(table, Detail { target: self.wanted(target), blackhole: false }))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let table = observed.outputs.get("routeTable").cloned().unwrap_or_default();
        let request = cloud.aws.ec2.delete_route().route_table_id(&table).destination_cidr_block(ANYWHERE);
        cloud.aws.call(Service::Ec2, "DeleteRoute", &table, request.send()).await?;
        Ok(Presence::Absent)
    }
}
