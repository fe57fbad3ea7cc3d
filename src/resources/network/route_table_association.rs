//! The route table that a subnet uses.

use async_trait::async_trait;

use super::route_table::Table;
use super::subnet;
use crate::api::node_group::SubnetTier;
use crate::aws::Service;
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("routeTableAssociation", "route table association", Area::Network).with_parent().with_actions(&[
        "ec2:AssociateRouteTable",
        "ec2:DescribeRouteTables",
        "ec2:DisassociateRouteTable",
        "ec2:ReplaceRouteTableAssociation",
    ]);

/// A subnet's association with its route table.
pub struct RouteTableAssociation {
    subnet: Key,
    table: Table,
    intervals: Intervals,
}

/// The id of the table.
pub type Detail = String;

impl RouteTableAssociation {
    /// The association of a zone's subnet.
    pub fn new(context: &ResourceContext<'_>, tier: SubnetTier, zone: &str) -> Self {
        let (subnet, table) = (subnet::key(tier, zone), Table::of(tier, zone));
        Self { subnet, table, intervals: context.intervals }
    }

    /// The association of a zone's subnet for Pods: with the table of its private subnet.
    pub fn of_pods(context: &ResourceContext<'_>, zone: &str, range: &str) -> Self {
        let (subnet, table) = (subnet::pods_key(zone, range), Table::Private(zone.to_owned()));
        Self { subnet, table, intervals: context.intervals }
    }

    fn table(&self) -> Key {
        self.table.key()
    }

    fn subnet(&self) -> Key {
        self.subnet.clone()
    }
}

fn to_observation(id: &str, table: &str) -> Observation<Detail> {
    Observation::ready(id, "associated", table.to_owned())
}

#[async_trait]
impl Resource for RouteTableAssociation {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        KIND.named(self.subnet.name())
    }

    fn after(&self) -> Vec<Key> {
        vec![self.table(), self.subnet()]
    }

    fn inside(&self) -> Option<Key> {
        Some(self.subnet())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(self.subnet())
    }

    /// EC2 does not delete a table that a subnet uses.
    fn holds(&self) -> Vec<Key> {
        vec![self.table()]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("routeTable", self.table().to_string())]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        match refs.get(&self.table()) {
            Some(table) if table != observed.detail => vec![Change::in_place("routeTable", &observed.detail, table)],
            _ => Vec::new(),
        }
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let tables = cloud.aws.snapshots.route_tables(max_staleness(options)).await?;
        let Some(subnet) = refs.get(&self.subnet()) else { return Ok(Presence::Absent) };
        let ours = tables.iter().filter(|table| table.tags.is_owned_by(&cloud.owner.uid));
        let mut all = ours.flat_map(|table| table.associations.iter().map(move |one| (&table.id, one)));
        let found = all.find(|(_, association)| association.subnet_id.as_deref() == Some(subnet));
        Ok(found
            .map_or(Presence::Absent, |(table, association)| Presence::Ours(to_observation(&association.id, table))))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let (subnet, table) = (refs.id(&self.subnet())?, refs.id(&self.table())?);
        let request = cloud.aws.ec2.associate_route_table().subnet_id(subnet).route_table_id(table);
        let answer = cloud.aws.call(Service::Ec2, "AssociateRouteTable", subnet, request.send()).await?;
        Ok(to_observation(&answer.association_id.unwrap_or_default(), table))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let table = refs.id(&self.table())?;
        let request =
            cloud.aws.ec2.replace_route_table_association().association_id(&observed.id).route_table_id(table);
        let answer = cloud.aws.call(Service::Ec2, "ReplaceRouteTableAssociation", &observed.id, request.send()).await?;
        Ok(to_observation(&answer.new_association_id.unwrap_or_default(), table))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.disassociate_route_table().association_id(&observed.id);
        cloud.aws.call(Service::Ec2, "DisassociateRouteTable", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}
