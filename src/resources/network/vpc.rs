//! The VPC, with the DNS attributes that nodes and private endpoints need.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType};

use crate::aws::tags::Tags;
use crate::aws::{MaxStaleness, Service, snapshots};
use crate::engine::{
    Action, Change, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource,
};
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
    /// Whether it has a range of Amazon's IPv6 addresses too.
    ipv6: bool,
    /// What is worth knowing of the endpoints in it.
    notices: Vec<String>,
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
    /// The IPv6 range that subnets can be in.
    ipv6_cidr: Option<String>,
}

/// The output with the IPv6 range.
pub const IPV6_CIDR: &str = "ipv6Cidr";

/// The output with a list of what is worth knowing.
pub const NOTICES: &str = "notices";

/// The IPv6 range, once it is associated.
fn ipv6_cidr(vpc: &snapshots::Vpc) -> Option<String> {
    vpc.ipv6_cidrs.iter().find(|one| one.is_kept() && one.is_usable()).map(|one| one.cidr.clone())
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl Vpc {
    /// A VPC with one CIDR.
    pub fn new(context: &ResourceContext<'_>, cidr: &str) -> Self {
        Self {
            cidr: cidr.into(),
            ipv6: false,
            notices: Vec::new(),
            tags: context.tags(&key()),
            intervals: context.intervals,
        }
    }

    /// The same with a range of Amazon's IPv6 addresses, a /56.
    #[must_use]
    pub fn with_ipv6(self, ipv6: bool) -> Self {
        Self { ipv6, ..self }
    }

    /// The same with what is worth knowing of its endpoints.
    #[must_use]
    pub fn with_notices(self, notices: Vec<String>) -> Self {
        Self { notices, ..self }
    }

    fn to_observation(&self, id: &str, state: &str, detail: Detail) -> Observation<Detail> {
        let dns = detail.dns_support && detail.dns_hostnames;
        let phase = match &detail.ipv6_cidr {
            None if self.ipv6 => {
                let note = "waiting for its IPv6 range".to_owned();
                Phase::Busy { action: Action::Create, since: None, note }
            }
            _ if dns => Phase::Ready,
            _ => Phase::Incomplete,
        };
        let ipv6 = detail.ipv6_cidr.clone();
        let mut observed = Observation::ready(id, state, detail).phase(phase).output("cidr", &self.cidr);
        if let Some(range) = ipv6 {
            observed = observed.output(IPV6_CIDR, range);
        }
        if !self.notices.is_empty() {
            observed = observed.output(NOTICES, serde_json::Value::from(self.notices.clone()).to_string());
        }
        observed
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
        let ipv6 = self.ipv6.then(|| (IPV6_CIDR, "Amazon's".to_owned()));
        let notices = (!self.notices.is_empty()).then(|| ("endpoints", self.notices.join("; ")));
        [("cidr", self.cidr.clone())].into_iter().chain(ipv6).chain(notices).collect()
    }

    /// EC2 associates an IPv6 range within seconds.
    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(if self.ipv6 { 5 } else { 1 })
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
        let Detail { cidr, tags, dns_support, dns_hostnames, ipv6_cidr: _ } = &observed.detail;
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
            ipv6_cidr: ipv6_cidr(vpc),
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
            .set_amazon_provided_ipv6_cidr_block(self.ipv6.then_some(true))
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::Vpc));
        let answer = cloud.aws.call(Service::Ec2, "CreateVpc", &cloud.owner.cluster, request.send()).await?;
        let id = answer.vpc.and_then(|vpc| vpc.vpc_id).unwrap_or_default();
        // EC2's defaults: a new VPC has DNS resolution, but no DNS hostnames.
        let detail = Detail {
            cidr: self.cidr.clone(),
            tags: self.tags.clone(),
            dns_support: true,
            dns_hostnames: false,
            ipv6_cidr: None,
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
