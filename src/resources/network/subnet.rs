//! A subnet: private for nodes and pods, public for load balancers and NAT gateways.
//!
//! The tags tell load balancer controllers which subnets to use:
//! <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType};
use ipnet::Ipv4Net;

use super::vpc;
use crate::api::node_group::SubnetTier;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
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
pub const KIND: Kind = Kind::new("subnet", "subnet", Area::Network)
    .in_ec2(|aws, age| listed(aws.snapshots.subnets(age)))
    .serving_vpc()
    .with_actions(&[
        "ec2:CreateSubnet",
        "ec2:CreateTags",
        "ec2:DeleteSubnet",
        "ec2:DeleteTags",
        "ec2:DescribeSubnets",
        "ec2:ModifySubnetAttribute",
    ]);

/// A subnet of the cluster's own VPC.
pub struct Subnet {
    tier: SubnetTier,
    zone: String,
    cidr: Ipv4Net,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    vpc: String,
    zone: String,
    cidr: String,
    public_addresses: bool,
    tags: Tags,
}

/// The key in the graph.
pub fn key(tier: SubnetTier, zone: &str) -> Key {
    KIND.named(format!("{}/{zone}", tier_name(tier)))
}

/// The tier's name in keys.
pub fn tier_name(tier: SubnetTier) -> &'static str {
    match tier {
        SubnetTier::Private => "private",
        SubnetTier::Public => "public",
    }
}

/// The tier and zone in a subnet's key.
pub fn zone_of(key: &Key) -> Option<(SubnetTier, &str)> {
    let (tier, zone) = key.name().split_once('/')?;
    match (key.kind(), tier) {
        ("subnet", "private") => Some((SubnetTier::Private, zone)),
        ("subnet", "public") => Some((SubnetTier::Public, zone)),
        _ => None,
    }
}

impl Subnet {
    /// A subnet of a zone.
    pub fn new(context: &ResourceContext<'_>, tier: SubnetTier, zone: &str, cidr: Ipv4Net) -> Self {
        let role = match tier {
            SubnetTier::Private => "kubernetes.io/role/internal-elb",
            SubnetTier::Public => "kubernetes.io/role/elb",
        };
        let cluster = format!("kubernetes.io/cluster/{}", context.cluster_name);
        let tags = context.tags(&key(tier, zone)).with(role, "1").with(cluster, "shared");
        Self { tier, zone: zone.into(), cidr, tags, intervals: context.intervals }
    }

    fn to_observation(&self, id: &str, state: &str, detail: Detail) -> Observation<Detail> {
        let tier = match self.tier {
            SubnetTier::Private => "Private",
            SubnetTier::Public => "Public",
        };
        Observation::ready(id, state, detail.clone())
            .output("zone", detail.zone)
            .output("tier", tier)
            .output("cidr", detail.cidr)
    }

    fn wants_public_addresses(&self) -> bool {
        self.tier == SubnetTier::Public
    }
}

#[async_trait]
impl Resource for Subnet {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(self.tier, &self.zone)
    }

    fn after(&self) -> Vec<Key> {
        vec![vpc::key()]
    }

    /// As with NAT gateways: the network stays until the cluster is deleted.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// A subnet in our VPC is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("cidr", self.cidr.to_string()), ("zone", self.zone.clone())]
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
        let Detail { vpc: _, zone, cidr, public_addresses, tags } = &observed.detail;
        let mut changes = tag_changes(&self.tags, tags);
        let why = "a subnet cannot be moved: create a new cluster in a new VPC";
        if cidr != &self.cidr.to_string() {
            changes.push(Change::forbidden("cidr", cidr, self.cidr, why));
        }
        if zone != &self.zone {
            changes.push(Change::forbidden("zone", zone, &self.zone, why));
        }
        // A private subnet that others switched to public addresses is corrected: private means without public
        // addresses.
        if *public_addresses != self.wants_public_addresses() {
            changes.push(Change::in_place("mapPublicIpOnLaunch", public_addresses, self.wants_public_addresses()));
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
        let subnets = cloud.aws.snapshots.subnets(max_staleness(options)).await?;
        let subnet = match find(cloud, &subnets, &Resource::key(self), options, refs) {
            SearchResult::Ours(subnet) => subnet,
            other => return Ok(other.not_ours()),
        };
        let detail = Detail {
            vpc: subnet.vpc_id.clone(),
            zone: subnet.zone.clone(),
            cidr: subnet.cidr.clone(),
            public_addresses: subnet.map_public_ip_on_launch,
            tags: subnet.tags.clone(),
        };
        let state = subnet.state.as_ref().map_or("available", |state| state.as_str());
        Ok(Presence::Ours(self.to_observation(&subnet.id, state, detail)))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let name = Resource::key(self).to_string();
        let request = cloud
            .aws
            .ec2
            .create_subnet()
            .vpc_id(refs.id(&vpc::key())?)
            .availability_zone(&self.zone)
            .cidr_block(self.cidr.to_string())
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::Subnet));
        let answer = cloud.aws.call(Service::Ec2, "CreateSubnet", &name, request.send()).await?;
        let id = answer.subnet.and_then(|subnet| subnet.subnet_id).unwrap_or_default();
        let detail = Detail {
            vpc: refs.id(&vpc::key())?.to_owned(),
            zone: self.zone.clone(),
            cidr: self.cidr.to_string(),
            public_addresses: false,
            tags: self.tags.clone(),
        };
        Ok(self.to_observation(&id, "available", detail))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        if changes_field(changes, "mapPublicIpOnLaunch") {
            let value = AttributeBooleanValue::builder().value(self.wants_public_addresses()).build();
            let request =
                cloud.aws.ec2.modify_subnet_attribute().subnet_id(&observed.id).map_public_ip_on_launch(value);
            cloud.aws.call(Service::Ec2, "ModifySubnetAttribute", &observed.id, request.send()).await?;
            detail.public_addresses = self.wants_public_addresses();
        }
        cloud.tag_ec2(&observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(self.to_observation(&observed.id, &observed.state, detail))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.delete_subnet().subnet_id(&observed.id);
        match cloud.aws.call(Service::Ec2, "DeleteSubnet", &observed.id, request.send()).await {
            Ok(_) => Ok(Presence::Absent),
            Err(error) => {
                Err(blockers::with_blockers(cloud, &observed.detail.vpc, Part::Subnet(&observed.id), error.into())
                    .await)
            }
        }
    }
}
