//! The internet gateway, attached to the VPC.

use async_trait::async_trait;
use aws_sdk_ec2::types::ResourceType;

use super::vpc;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{
    Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{
    Cloud, Intervals, ResourceContext, changed_tags, changes_field, max_staleness, tag_changes,
};
use crate::resources::deletion::blockers::{self, Part};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("internetGateway", "internet gateway", Area::Network)
    .in_ec2(|aws, age| listed(aws.snapshots.internet_gateways(age)))
    .serving_vpc()
    .with_actions(&[
        "ec2:AttachInternetGateway",
        "ec2:CreateInternetGateway",
        "ec2:CreateTags",
        "ec2:DeleteInternetGateway",
        "ec2:DeleteTags",
        "ec2:DescribeInternetGateways",
        "ec2:DetachInternetGateway",
    ]);

/// The VPC's connection to the internet.
pub struct InternetGateway {
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    attached_to: Option<String>,
    tags: Tags,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl InternetGateway {
    /// Creates the resource for the VPC's internet gateway.
    pub fn new(context: &ResourceContext<'_>) -> Self {
        Self { tags: context.tags(&key()), intervals: context.intervals }
    }
}

fn to_observation(id: &str, detail: Detail) -> Observation<Detail> {
    let (state, phase) = match detail.attached_to {
        Some(_) => ("attached", Phase::Ready),
        None => ("detached", Phase::Incomplete),
    };
    Observation::ready(id, state, detail).phase(phase)
}

#[async_trait]
impl Resource for InternetGateway {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        vec![vpc::key()]
    }

    /// As with NAT gateways: the network stays until the cluster is deleted.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// A gateway in our VPC is ours.
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

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        match (&observed.detail.attached_to, refs.get(&vpc::key())) {
            (None, vpc) => changes.push(Change::in_place("attachment", "", vpc.unwrap_or("the VPC"))),
            (Some(current), Some(vpc)) if current != vpc => {
                changes.push(Change::forbidden("attachment", current, vpc, "detach it by hand"));
            }
            _ => {}
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let gateways = cloud.aws.snapshots.internet_gateways(max_staleness(options)).await?;
        let gateway = match find(cloud, &gateways, &key(), options, refs) {
            SearchResult::Ours(gateway) => gateway,
            other => return Ok(other.not_ours()),
        };
        let detail = Detail { attached_to: gateway.vpc_id.clone(), tags: gateway.tags.clone() };
        Ok(Presence::Ours(to_observation(&gateway.id, detail)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let specification = self.tags.to_ec2_specification(ResourceType::InternetGateway);
        let request = cloud.aws.ec2.create_internet_gateway().tag_specifications(specification);
        let answer =
            cloud.aws.call(Service::Ec2, "CreateInternetGateway", &cloud.owner.cluster, request.send()).await?;
        let id = answer.internet_gateway.and_then(|gateway| gateway.internet_gateway_id).unwrap_or_default();
        Ok(to_observation(&id, Detail { attached_to: None, tags: self.tags.clone() }))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        if changes_field(changes, "attachment") {
            let vpc = refs.id(&vpc::key())?;
            let request = cloud.aws.ec2.attach_internet_gateway().internet_gateway_id(&observed.id).vpc_id(vpc);
            cloud.aws.call(Service::Ec2, "AttachInternetGateway", &observed.id, request.send()).await?;
            detail.attached_to = Some(vpc.to_owned());
        }
        cloud.tag_ec2(&observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(to_observation(&observed.id, detail))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        if let Some(vpc) = &observed.detail.attached_to {
            let request = cloud.aws.ec2.detach_internet_gateway().internet_gateway_id(&observed.id).vpc_id(vpc);
            let answer = cloud.aws.call(Service::Ec2, "DetachInternetGateway", &observed.id, request.send()).await;
            // Detached by an earlier attempt whose response was lost.
            if let Err(error) = answer.map(drop)
                && error.class() != Class::NotFound
            {
                return Err(blockers::with_blockers(cloud, vpc, Part::InternetGateway, error.into()).await);
            }
        }
        let request = cloud.aws.ec2.delete_internet_gateway().internet_gateway_id(&observed.id);
        cloud.aws.call(Service::Ec2, "DeleteInternetGateway", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}
