//! The security group of interface endpoints: HTTPS from the VPC. (EKS creates the cluster's own security group.)

use async_trait::async_trait;
use aws_sdk_ec2::types::{IpPermission, IpRange, ResourceType};

use super::vpc;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{
    Cloud, Intervals, ResourceContext, changed_tags, changes_field, max_staleness, tag_changes,
};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("securityGroup", "security group", Area::Network)
    .in_ec2(|aws, age| listed(aws.snapshots.security_groups(age)))
    .removable()
    .with_actions(&[
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateSecurityGroup",
        "ec2:CreateTags",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteTags",
        "ec2:DescribeSecurityGroups",
    ]);

const HTTPS: i32 = 443;

/// The security group of the interface endpoints.
pub struct SecurityGroup {
    name: String,
    /// Those of the VPC.
    cidrs: Vec<String>,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The ranges that have no access.
    missing: Vec<String>,
    tags: Tags,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.named("endpoints")
}

impl SecurityGroup {
    /// A group that allows HTTPS from the VPC, which has these ranges.
    pub fn new(context: &ResourceContext<'_>, cidrs: Vec<String>) -> Self {
        let name = format!("keelson-{}-endpoints", context.cluster_name);
        Self { name, cidrs, tags: context.tags(&key()), intervals: context.intervals }
    }
}

fn to_observation(id: &str, detail: Detail) -> Observation<Detail> {
    let phase = if detail.missing.is_empty() { Phase::Ready } else { Phase::Incomplete };
    Observation::ready(id, "available", detail).phase(phase)
}

#[async_trait]
impl Resource for SecurityGroup {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        vec![vpc::key()]
    }

    /// A group in our VPC is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("ingress", format!("{HTTPS}/tcp from {}", self.cidrs.join(", ")))]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    /// Its name is unique in a VPC, but the error on a duplicate does not contain the id.
    fn records_intent(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_ec2(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        let missing = &observed.detail.missing;
        if !missing.is_empty() {
            changes.push(Change::in_place("ingress", "", format!("{HTTPS}/tcp from {}", missing.join(", "))));
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
        let groups = cloud.aws.snapshots.security_groups(max_staleness(options)).await?;
        let group = match find(cloud, &groups, &key(), options, refs) {
            SearchResult::Ours(group) => group,
            other => return Ok(other.not_ours()),
        };
        let https = group.ingress.iter().filter(|rule| rule.protocol == "tcp" && rule.from_port == Some(HTTPS));
        let allowed: Vec<_> = https.flat_map(|rule| &rule.cidrs).collect();
        let missing = self.cidrs.iter().filter(|cidr| !allowed.contains(cidr)).cloned().collect();
        Ok(Presence::Ours(to_observation(&group.id, Detail { missing, tags: group.tags.clone() })))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let request = cloud
            .aws
            .ec2
            .create_security_group()
            .group_name(&self.name)
            .description("HTTPS from the VPC to its interface endpoints")
            .vpc_id(refs.id(&vpc::key())?)
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::SecurityGroup));
        let answer = cloud.aws.call(Service::Ec2, "CreateSecurityGroup", &self.name, request.send()).await?;
        let id = answer.group_id.unwrap_or_default();
        Ok(to_observation(&id, Detail { missing: self.cidrs.clone(), tags: self.tags.clone() }))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        if changes_field(changes, "ingress") {
            let ranges = detail.missing.iter();
            let ranges = ranges.map(|cidr| IpRange::builder().cidr_ip(cidr).description("the VPC").build());
            let rule = IpPermission::builder().ip_protocol("tcp").from_port(HTTPS).to_port(HTTPS);
            let rule = rule.set_ip_ranges(Some(ranges.collect()));
            let request =
                cloud.aws.ec2.authorize_security_group_ingress().group_id(&observed.id).ip_permissions(rule.build());
            cloud.aws.call(Service::Ec2, "AuthorizeSecurityGroupIngress", &observed.id, request.send()).await?;
            detail.missing.clear();
        }
        cloud.tag_ec2(&observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(to_observation(&observed.id, detail))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.delete_security_group().group_id(&observed.id);
        cloud.aws.call(Service::Ec2, "DeleteSecurityGroup", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}
