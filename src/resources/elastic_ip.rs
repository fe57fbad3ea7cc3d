//! The public address of a NAT gateway.

use async_trait::async_trait;
use aws_sdk_ec2::types::{DomainType, ResourceType};

use super::cloud::{Cloud, Intervals, ResourceContext, changed_tags, fresh, tag_changes};
use super::proof::{Claim, PlacedAddress, find};
use super::{internet_gateway, vpc};
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};

/// An Elastic IP address.
pub struct ElasticIp {
    zone: String,
    tags: Tags,
    intervals: Intervals,
}

/// Only its tags can differ.
pub type Detail = Tags;

/// The key in the graph.
pub fn key(zone: &str) -> Key {
    Key::named("elasticIp", zone)
}

impl ElasticIp {
    /// The address of the NAT gateway in `zone`.
    pub fn new(making: &ResourceContext<'_>, zone: &str) -> Self {
        Self { zone: zone.into(), tags: making.tags(&key(zone)), intervals: making.intervals }
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

    /// An address used by a gateway in our VPC is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn records_intent(&self) -> bool {
        true
    }

    fn diff(&self, seen: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        tag_changes(&self.tags, &seen.detail)
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
            futures::try_join!(reads.addresses(fresh(options)), reads.nat_gateways(fresh(options)))?;
        let placed = PlacedAddress::all(&addresses, &gateways);
        let address = match find(cloud, &placed, &key(&self.zone), options, refs) {
            Claim::Ours(found) => &found.address,
            other => return Ok(other.not_ours()),
        };
        let state = if address.association_id.is_some() { "associated" } else { "allocated" };
        let seen = Observation::ready(&address.allocation_id, state, address.tags.clone());
        Ok(Presence::Ours(seen.output("publicIp", &address.public_ip)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let specification = self.tags.to_ec2_specification(ResourceType::ElasticIp);
        let request = cloud.aws.ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(specification);
        let name = key(&self.zone).to_string();
        let answer = cloud.aws.call(Service::Ec2, "AllocateAddress", &name, request.send()).await?;
        let seen = Observation::ready(answer.allocation_id.unwrap_or_default(), "allocated", self.tags.clone());
        Ok(seen.output("publicIp", answer.public_ip.unwrap_or_default()))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        seen: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut seen = seen.clone();
        cloud.tag_ec2(&seen.id, &mut seen.detail, changed_tags(changes)).await?;
        Ok(seen)
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.release_address().allocation_id(&seen.id);
        cloud.aws.call(Service::Ec2, "ReleaseAddress", &seen.id, request.send()).await?;
        Ok(Presence::Absent)
    }

    async fn release(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<(), Failure> {
        cloud.release_ec2(&seen.id).await
    }
}
