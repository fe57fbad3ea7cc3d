//! A subnet: private for nodes and Pods, public for load balancers and NAT gateways, or in a further range for Pods only.
//!
//! The tags tell load balancer controllers which subnets to use:
//! <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType};
use ipnet::{Ipv4Net, Ipv6Net};

use super::{vpc, vpc_cidr};
use crate::api::node_group::SubnetTier;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{
    Cloud, Intervals, ResourceContext, changed_tags, changes_field, max_staleness, tag_changes,
};
use crate::resources::deletion::blockers::{self, Part};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::karpenter::names::DISCOVERY;
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
    key: Key,
    /// `None`: for Pods only.
    tier: Option<SubnetTier>,
    zone: String,
    cidr: Ipv4Net,
    /// The range of the VPC that it is in, if not the first.
    range: Option<Key>,
    /// Which /64 of the VPC's IPv6 range it has, if any.
    ipv6: Option<usize>,
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
    ipv6_cidr: Option<String>,
    /// Whether interfaces get an IPv6 address.
    ipv6_addresses: bool,
    tags: Tags,
}

/// The tag by which the VPC CNI finds subnets for Pods.
/// <https://docs.aws.amazon.com/eks/latest/best-practices/subnets.html>
const CNI_ROLE: &str = "kubernetes.io/role/cni";
const PUBLIC_ADDRESSES: &str = "mapPublicIpOnLaunch";
const IPV6_ADDRESSES: &str = "assignIpv6AddressOnCreation";
/// EC2's size of a subnet's IPv6 range.
const IPV6_PREFIX: u8 = 64;
/// The IPv6 ranges of public subnets come after those of the private ones, and leave some free.
const FIRST_PUBLIC: usize = 16;

/// The key in the graph.
pub fn key(tier: SubnetTier, zone: &str) -> Key {
    KIND.named(format!("{}/{zone}", tier_name(tier)))
}

/// The key of a zone's subnet for Pods in a range.
pub fn pods_key(zone: &str, range: &str) -> Key {
    KIND.named(format!("{PODS}/{zone}/{range}"))
}

/// The range of a subnet for Pods, from its key.
pub fn pods_range_of(key: &Key) -> Option<&str> {
    let name = key.name().strip_prefix(PODS)?.strip_prefix('/')?;
    Some(KIND.is_of(key).then_some(name)?.split_once('/')?.1)
}

/// Whether a subnet is for Pods only, from its key.
pub fn is_for_pods(key: &Key) -> bool {
    pods_range_of(key).is_some()
}

const PODS: &str = "pods";

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
        Self {
            tier: Some(tier),
            zone: zone.into(),
            cidr,
            range: None,
            ipv6: None,
            tags: tags(context, &key(tier, zone), role),
            key: key(tier, zone),
            intervals: context.intervals,
        }
    }

    /// Sets whether Karpenter finds it as one of `cluster`. A tag that says so otherwise stays, unless an earlier spec asked for it.
    #[must_use]
    pub fn with_discovery(self, cluster: Option<&str>, was_asked_for: bool) -> Self {
        let tags = self.tags;
        let tags = match cluster {
            Some(cluster) => tags.with(DISCOVERY, cluster),
            None if was_asked_for => tags.without([DISCOVERY.to_owned()]),
            None => tags,
        };
        Self { tags, ..self }
    }

    /// The subnet of a zone for Pods in a further range of the VPC.
    pub fn for_pods(context: &ResourceContext<'_>, zone: &str, range: &str, cidr: Ipv4Net) -> Self {
        let key = pods_key(zone, range);
        Self {
            tier: None,
            zone: zone.into(),
            cidr,
            range: Some(vpc_cidr::key(range)),
            ipv6: None,
            tags: tags(context, &key, CNI_ROLE),
            key,
            intervals: context.intervals,
        }
    }

    /// The same with a range of the VPC's IPv6 addresses. `position`: of its zone.
    #[must_use]
    pub fn with_ipv6(self, position: usize) -> Self {
        let first = if self.tier == Some(SubnetTier::Public) { FIRST_PUBLIC } else { 0 };
        Self { ipv6: Some(first + position), ..self }
    }

    /// Its IPv6 range, once the VPC has one.
    fn wanted_ipv6(&self, refs: &Refs) -> Option<String> {
        let vpc: Ipv6Net = refs.output(&vpc::key(), vpc::IPV6_CIDR)?.parse().ok()?;
        Some(vpc.subnets(IPV6_PREFIX).ok()?.nth(self.ipv6?)?.to_string())
    }

    fn to_observation(&self, id: &str, state: &str, detail: Detail) -> Observation<Detail> {
        let tier = match self.tier {
            Some(SubnetTier::Private) => "Private",
            Some(SubnetTier::Public) => "Public",
            None => "Pods",
        };
        Observation::ready(id, state, detail.clone())
            .output("zone", detail.zone)
            .output("tier", tier)
            .output("cidr", detail.cidr)
    }

    fn wants_public_addresses(&self) -> bool {
        self.tier == Some(SubnetTier::Public)
    }
}

fn tags(context: &ResourceContext<'_>, key: &Key, role: &str) -> Tags {
    let cluster = format!("kubernetes.io/cluster/{}", context.cluster_name);
    context.tags(key).with(role, "1").with(cluster, "shared")
}

#[async_trait]
impl Resource for Subnet {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        self.key.clone()
    }

    fn after(&self) -> Vec<Key> {
        [vpc::key()].into_iter().chain(self.range.clone()).collect()
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

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let Detail { vpc: _, zone, cidr, public_addresses, ipv6_cidr, ipv6_addresses, tags } = &observed.detail;
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
            changes.push(Change::in_place(PUBLIC_ADDRESSES, public_addresses, self.wants_public_addresses()));
        }
        if let Some(wanted) = self.wanted_ipv6(refs) {
            if ipv6_cidr.as_ref() != Some(&wanted) {
                let why = "nodes and Pods use the subnet's IPv6 range: associate it with the subnet again";
                changes.push(Change::forbidden("ipv6Cidr", ipv6_cidr.as_deref().unwrap_or_default(), &wanted, why));
            } else if !ipv6_addresses {
                changes.push(Change::in_place(IPV6_ADDRESSES, false, true));
            }
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
            ipv6_cidr: subnet.ipv6_cidrs.first().cloned(),
            ipv6_addresses: subnet.assign_ipv6_address_on_creation,
            tags: subnet.tags.clone(),
        };
        let state = subnet.state.as_ref().map_or("available", |state| state.as_str());
        Ok(Presence::Ours(self.to_observation(&subnet.id, state, detail)))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let ipv6_cidr = self.wanted_ipv6(refs);
        if self.ipv6.is_some() && ipv6_cidr.is_none() {
            return Err(Failure::new(Class::Busy, "the VPC has no IPv6 range yet"));
        }
        let name = Resource::key(self).to_string();
        let request = cloud
            .aws
            .ec2
            .create_subnet()
            .vpc_id(refs.id(&vpc::key())?)
            .availability_zone(&self.zone)
            .cidr_block(self.cidr.to_string())
            .set_ipv6_cidr_block(ipv6_cidr.clone())
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::Subnet));
        let answer = cloud.aws.call(Service::Ec2, "CreateSubnet", &name, request.send()).await?;
        let id = answer.subnet.and_then(|subnet| subnet.subnet_id).unwrap_or_default();
        let detail = Detail {
            vpc: refs.id(&vpc::key())?.to_owned(),
            zone: self.zone.clone(),
            cidr: self.cidr.to_string(),
            public_addresses: false,
            ipv6_cidr,
            ipv6_addresses: false,
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
        // One attribute per call.
        if changes_field(changes, IPV6_ADDRESSES) {
            let value = AttributeBooleanValue::builder().value(true).build();
            let request =
                cloud.aws.ec2.modify_subnet_attribute().subnet_id(&observed.id).assign_ipv6_address_on_creation(value);
            cloud.aws.call(Service::Ec2, "ModifySubnetAttribute", &observed.id, request.send()).await?;
            detail.ipv6_addresses = true;
        }
        if changes_field(changes, PUBLIC_ADDRESSES) {
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
