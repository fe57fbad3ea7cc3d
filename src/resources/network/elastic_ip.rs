//! The public address of a NAT gateway.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ec2::types::{DomainType, ResourceType};

use super::{internet_gateway, nat_gateway, vpc};
use crate::aws::snapshots::List;
use crate::aws::tags::Tags;
use crate::aws::{MaxStaleness, Service, Session};
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, changed_tags, max_staleness, tag_changes};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::LocatedAddress;
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("elasticIp", "elastic IP", Area::Network)
    .in_ec2(|aws, age| listed(located(aws, age)))
    .removable()
    .with_actions(&[
        "ec2:AllocateAddress",
        "ec2:CreateTags",
        "ec2:DeleteTags",
        "ec2:DescribeAddresses",
        "ec2:DescribeNatGateways",
        "ec2:ReleaseAddress",
    ]);

/// Those with an owner tag, each with the VPC of the gateway that uses it.
async fn located(aws: &Session, staleness: MaxStaleness) -> List<LocatedAddress> {
    let (addresses, gateways) =
        futures::try_join!(aws.snapshots.addresses(staleness), nat_gateway::existing(aws, staleness))?;
    Ok(Arc::new(LocatedAddress::all(&addresses, &gateways)))
}

/// An Elastic IP address.
pub struct ElasticIp {
    zone: String,
    /// Allocation ids of others' addresses, whatever their tags say.
    foreign: Vec<String>,
    tags: Tags,
    intervals: Intervals,
}

/// Only its tags can differ.
pub type Detail = Tags;

/// The key in the graph.
pub fn key(zone: &str) -> Key {
    KIND.named(zone)
}

impl ElasticIp {
    /// The address of the NAT gateway in `zone`.
    pub fn new(context: &ResourceContext<'_>, zone: &str) -> Self {
        Self { zone: zone.into(), foreign: Vec::new(), tags: context.tags(&key(zone)), intervals: context.intervals }
    }

    /// The same, which is none of these addresses.
    #[must_use]
    pub fn except(self, foreign: &[String]) -> Self {
        Self { foreign: foreign.to_vec(), ..self }
    }
}

#[async_trait]
impl Resource for ElasticIp {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.zone)
    }

    /// Creation does not need it, but EC2 cannot detach the gateway while an address is mapped.
    fn holds(&self) -> Vec<Key> {
        vec![internet_gateway::key()]
    }

    /// An address that a gateway in our VPC uses is ours, unless the gateway got it from others.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn excluded_ids(&self) -> Vec<String> {
        self.foreign.clone()
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
        let reads = &cloud.aws.snapshots;
        let (addresses, gateways) =
            futures::try_join!(reads.addresses(max_staleness(options)), reads.nat_gateways(max_staleness(options)))?;
        let mut located = LocatedAddress::all(&addresses, &gateways);
        located.retain(|one| !self.foreign.contains(&one.address.allocation_id));
        let address = match find(cloud, &located, &key(&self.zone), options, refs) {
            SearchResult::Ours(found) => &found.address,
            other => return Ok(other.not_ours()),
        };
        let state = if address.association_id.is_some() { "associated" } else { "allocated" };
        let observed = Observation::ready(&address.allocation_id, state, address.tags.clone());
        Ok(Presence::Ours(observed.output("publicIp", &address.public_ip)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let specification = self.tags.to_ec2_specification(ResourceType::ElasticIp);
        let request = cloud.aws.ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(specification);
        let name = key(&self.zone).to_string();
        let answer = cloud.aws.call(Service::Ec2, "AllocateAddress", &name, request.send()).await?;
        let observed = Observation::ready(answer.allocation_id.unwrap_or_default(), "allocated", self.tags.clone());
        Ok(observed.output("publicIp", answer.public_ip.unwrap_or_default()))
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
        let request = cloud.aws.ec2.release_address().allocation_id(&observed.id);
        cloud.aws.call(Service::Ec2, "ReleaseAddress", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}
