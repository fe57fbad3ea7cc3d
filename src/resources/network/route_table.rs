//! A route table: one for all public subnets, one for the private subnet of each zone. Its routes and associations are
//! separate resources, deleted with the table and with the subnets.

use async_trait::async_trait;
use aws_sdk_ec2::types::ResourceType;

use super::vpc;
use crate::api::node_group::SubnetTier;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, changed_tags, max_staleness, tag_changes};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("routeTable", "route table", Area::Network)
    .in_ec2(|aws, age| listed(aws.snapshots.route_tables(age)))
    .with_actions(&[
        "ec2:CreateRouteTable",
        "ec2:CreateTags",
        "ec2:DeleteRouteTable",
        "ec2:DeleteTags",
        "ec2:DescribeRouteTables",
    ]);

/// Which route table: all public subnets share one, each private subnet has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// For the public subnets.
    Public,
    /// For the private subnet of a zone.
    Private(String),
}

impl Table {
    /// The table for a subnet.
    pub fn of(tier: SubnetTier, zone: &str) -> Self {
        match tier {
            SubnetTier::Public => Table::Public,
            SubnetTier::Private => Table::Private(zone.into()),
        }
    }

    /// The name part of keys.
    pub fn name(&self) -> String {
        match self {
            Table::Public => "public".into(),
            Table::Private(zone) => format!("private/{zone}"),
        }
    }

    /// The key in the graph.
    pub fn key(&self) -> Key {
        KIND.named(self.name())
    }

    /// Parses the name part of a key of a table, route or association.
    pub fn parse(name: &str) -> Option<Self> {
        match name.split_once('/') {
            None if name == "public" => Some(Table::Public),
            Some(("private", zone)) => Some(Table::Private(zone.into())),
            _ => None,
        }
    }
}

/// A route table of the VPC.
pub struct RouteTable {
    table: Table,
    tags: Tags,
    intervals: Intervals,
}

/// Only its tags can differ.
pub type Detail = Tags;

impl RouteTable {
    /// Creates the resource for a route table.
    pub fn new(context: &ResourceContext<'_>, table: Table) -> Self {
        Self { tags: context.tags(&table.key()), table, intervals: context.intervals }
    }
}

#[async_trait]
impl Resource for RouteTable {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        self.table.key()
    }

    fn after(&self) -> Vec<Key> {
        vec![vpc::key()]
    }

    /// A table in our VPC is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn records_intent(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_ec2(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        tag_changes(&self.tags, &observed.detail)
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let tables = cloud.aws.snapshots.route_tables(max_staleness(options)).await?;
        Ok(match find(cloud, &tables, &self.table.key(), options, refs) {
            SearchResult::Ours(table) => Presence::Ours(Observation::ready(&table.id, "available", table.tags.clone())),
            other => other.not_ours(),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let request = cloud
            .aws
            .ec2
            .create_route_table()
            .vpc_id(refs.id(&vpc::key())?)
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::RouteTable));
        let name = self.table.key().to_string();
        let answer = cloud.aws.call(Service::Ec2, "CreateRouteTable", &name, request.send()).await?;
        let id = answer.route_table.and_then(|table| table.route_table_id).unwrap_or_default();
        Ok(Observation::ready(id, "available", self.tags.clone()))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut observed = observed.clone();
        cloud.tag_ec2(&observed.id, &mut observed.detail, changed_tags(changes)).await?;
        Ok(observed)
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.delete_route_table().route_table_id(&observed.id);
        cloud.aws.call(Service::Ec2, "DeleteRouteTable", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}
