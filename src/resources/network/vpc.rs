//! The VPC, with the DNS attributes that nodes and private endpoints need.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType};

use crate::aws::tags::Tags;
use crate::aws::{MaxStaleness, Service};
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, changed_tags, max_staleness, tag_changes};
use crate::resources::deletion::blockers::{self, Part};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("vpc", "VPC", Area::Network).in_ec2(|aws, age| listed(aws.snapshots.vpcs(age))).with_actions(&[
        "ec2:CreateTags",
        "ec2:CreateVpc",
        "ec2:DeleteTags",
        "ec2:DeleteVpc",
        "ec2:DescribeVpcAttribute",
        "ec2:DescribeVpcs",
        "ec2:ModifyVpcAttribute",
    ]);

/// The cluster's own VPC.
pub struct Vpc {
    cidr: String,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of the VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    cidr: String,
    tags: Tags,
    dns_support: bool,
    dns_hostnames: bool,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl Vpc {
    /// A VPC with one CIDR.
    pub fn new(context: &ResourceContext<'_>, cidr: &str) -> Self {
        Self { cidr: cidr.into(), tags: context.tags(&key()), intervals: context.intervals }
    }

    fn to_observation(&self, id: &str, state: &str, detail: Detail) -> Observation<Detail> {
        let dns = detail.dns_support && detail.dns_hostnames;
        let phase = if dns { Phase::Ready } else { Phase::Incomplete };
        Observation::ready(id, state, detail).phase(phase).output("cidr", &self.cidr)
    }
}

#[async_trait]
impl Resource for Vpc {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("cidr", self.cidr.clone())]
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
        let Detail { cidr, tags, dns_support, dns_hostnames } = &observed.detail;
        let mut changes = tag_changes(&self.tags, tags);
        if cidr != &self.cidr {
            let why = "a VPC's CIDR cannot change: create a new cluster in a new VPC";
            changes.push(Change::forbidden("network.vpc.cidr", cidr, &self.cidr, why));
        }
        for (field, on) in [("enableDnsSupport", dns_support), ("enableDnsHostnames", dns_hostnames)] {
            if !on {
                changes.push(Change::in_place(field, false, true));
            }
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let vpcs = cloud.aws.snapshots.vpcs(max_staleness(options)).await?;
        let vpc = match find(cloud, &vpcs, &key(), options, refs) {
            SearchResult::Ours(vpc) => vpc,
            other => return Ok(other.not_ours()),
        };
        let known = last.is_some_and(|last| last.id == vpc.id && last.phase == Phase::Ready);
        // The attributes cost extra calls per VPC: once correct, they are cached for a while.
        let dns_staleness = if known { MaxStaleness::within(self.intervals.rare()) } else { max_staleness(options) };
        let dns = cloud.aws.snapshots.vpc_dns(&vpc.id, dns_staleness).await?;
        let detail = Detail {
            cidr: vpc.cidr.clone(),
            tags: vpc.tags.clone(),
            dns_support: dns.support,
            dns_hostnames: dns.hostnames,
        };
        let state = vpc.state.as_ref().map_or("available", |state| state.as_str());
        Ok(Presence::Ours(self.to_observation(&vpc.id, state, detail)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let request = cloud
            .aws
            .ec2
            .create_vpc()
            .cidr_block(&self.cidr)
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::Vpc));
        let answer = cloud.aws.call(Service::Ec2, "CreateVpc", &cloud.owner.cluster, request.send()).await?;
        let id = answer.vpc.and_then(|vpc| vpc.vpc_id).unwrap_or_default();
        // EC2's defaults: a new VPC has DNS resolution, but no DNS hostnames.
        let detail =
            Detail { cidr: self.cidr.clone(), tags: self.tags.clone(), dns_support: true, dns_hostnames: false };
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
        let on = || AttributeBooleanValue::builder().value(true).build();
        // One attribute per call; hostnames need DNS support first.
        if !detail.dns_support {
            let request = cloud.aws.ec2.modify_vpc_attribute().vpc_id(&observed.id).enable_dns_support(on());
            cloud.aws.call(Service::Ec2, "ModifyVpcAttribute", &observed.id, request.send()).await?;
            detail.dns_support = true;
        }
        if !detail.dns_hostnames {
            let request = cloud.aws.ec2.modify_vpc_attribute().vpc_id(&observed.id).enable_dns_hostnames(on());
            cloud.aws.call(Service::Ec2, "ModifyVpcAttribute", &observed.id, request.send()).await?;
            detail.dns_hostnames = true;
        }
        cloud.tag_ec2(&observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(self.to_observation(&observed.id, &observed.state, detail))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.delete_vpc().vpc_id(&observed.id);
        match cloud.aws.call(Service::Ec2, "DeleteVpc", &observed.id, request.send()).await {
            Ok(_) => Ok(Presence::Absent),
            Err(error) => Err(blockers::with_blockers(cloud, &observed.id, Part::Vpc, error.into()).await),
        }
    }
}
