//! The way out for IPv6 from private subnets: it lets nothing in.
//!
//! See <https://docs.aws.amazon.com/vpc/latest/userguide/egress-only-internet-gateway.html>.

use async_trait::async_trait;
use aws_sdk_ec2::types as sdk;
use aws_sdk_ec2::types::ResourceType;

use super::vpc;
use crate::aws::snapshots::{self, OWNED_RESOURCES, Snapshots};
use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Service, Session};
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, Tagged, changed_tags, max_staleness, tag_changes};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::{Located, listed};
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("egressOnlyInternetGateway", "egress-only internet gateway", Area::Network)
    .in_ec2(|aws, age| listed(list(aws, age)))
    .serving_vpc()
    .with_actions(&[
        "ec2:CreateEgressOnlyInternetGateway",
        "ec2:CreateTags",
        "ec2:DeleteEgressOnlyInternetGateway",
        "ec2:DeleteTags",
        "ec2:DescribeEgressOnlyInternetGateways",
    ]);

/// The VPC's egress-only internet gateway.
pub struct EgressOnlyInternetGateway {
    tags: Tags,
    intervals: Intervals,
}

/// Only its tags can differ.
pub type Detail = Tags;

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl EgressOnlyInternetGateway {
    /// Creates the resource for the VPC's gateway.
    pub fn new(context: &ResourceContext<'_>) -> Self {
        Self { tags: context.tags(&key()), intervals: context.intervals }
    }
}

/// What Keelson stores of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gateway {
    id: String,
    vpc_id: Option<String>,
    tags: Tags,
}

impl From<&sdk::EgressOnlyInternetGateway> for Gateway {
    fn from(gateway: &sdk::EgressOnlyInternetGateway) -> Self {
        Self {
            id: gateway.egress_only_internet_gateway_id().unwrap_or_default().to_owned(),
            vpc_id: gateway.attachments().first().and_then(|one| one.vpc_id()).map(str::to_owned),
            tags: Tags::from_ec2(gateway.tags()),
        }
    }
}

impl Tagged for Gateway {
    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
}

impl Located for Gateway {
    fn vpc(&self) -> Option<&str> {
        self.vpc_id.as_deref()
    }
}

async fn read(reads: Snapshots) -> Result<Vec<Gateway>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    snapshots::pages(caller, Service::Ec2, "DescribeEgressOnlyInternetGateways", |token| async move {
        let request = ec2.describe_egress_only_internet_gateways().set_filters(Some(snapshots::owned()));
        let request = request.set_next_token(token).send();
        let page = caller.call(Service::Ec2, "DescribeEgressOnlyInternetGateways", OWNED_RESOURCES, request).await?;
        Ok((page.egress_only_internet_gateways().iter().map(Gateway::from).collect(), page.next_token))
    })
    .await
}

/// Those with an owner tag.
async fn list(aws: &Session, staleness: MaxStaleness) -> snapshots::List<Gateway> {
    aws.snapshots.list(staleness, read).await
}

fn to_observation(gateway: &Gateway) -> Observation<Detail> {
    Observation::ready(&gateway.id, "attached", gateway.tags.clone())
}

#[async_trait]
impl Resource for EgressOnlyInternetGateway {
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
        let gateways = list(&cloud.aws, max_staleness(options)).await?;
        Ok(match find(cloud, &gateways, &key(), options, refs) {
            SearchResult::Ours(gateway) => Presence::Ours(to_observation(gateway)),
            other => other.not_ours(),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let vpc = refs.id(&vpc::key())?;
        let specification = self.tags.to_ec2_specification(ResourceType::EgressOnlyInternetGateway);
        let request = cloud.aws.ec2.create_egress_only_internet_gateway().vpc_id(vpc);
        let request = request.tag_specifications(specification).send();
        let answer = cloud.aws.call(Service::Ec2, "CreateEgressOnlyInternetGateway", vpc, request).await?;
        let gateway = answer.egress_only_internet_gateway;
        let id = gateway.and_then(|gateway| gateway.egress_only_internet_gateway_id).unwrap_or_default();
        Ok(Observation::ready(id, "attached", self.tags.clone()))
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
        let request = cloud.aws.ec2.delete_egress_only_internet_gateway();
        let request = request.egress_only_internet_gateway_id(&observed.id).send();
        cloud.aws.call(Service::Ec2, "DeleteEgressOnlyInternetGateway", &observed.id, request).await?;
        Ok(Presence::Absent)
    }
}
