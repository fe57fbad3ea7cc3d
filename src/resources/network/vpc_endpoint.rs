//! A VPC endpoint: access to an AWS service without the NAT gateway.
//!
//! S3 and DynamoDB have gateway endpoints, which are free and use route tables; all others are interface endpoints with
//! addresses in the private subnets. See <https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{ResourceType, UnsuccessfulItem, VpcEndpointType};

use super::route_table::Table;
use super::{security_group, subnet, vpc};
use crate::api::node_group::SubnetTier;
use crate::aws::errors::class::classify;
use crate::aws::partitions;
use crate::aws::tags::Tags;
use crate::aws::tokens::client_token;
use crate::aws::{AwsError, Service, Session, snapshots};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs,
    Resource,
};
use crate::resources::cloud::{
    Cloud, Intervals, ResourceContext, changed_tags, changes_field, max_staleness, tag_changes,
};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("vpcEndpoint", "VPC endpoint", Area::Network)
    .in_ec2(|aws, age| listed(aws.snapshots.vpc_endpoints(age)))
    .removable()
    .serving_vpc()
    .with_actions(&[
        "ec2:CreateTags",
        "ec2:CreateVpcEndpoint",
        "ec2:DeleteTags",
        "ec2:DeleteVpcEndpoints",
        "ec2:DescribeVpcEndpointServices",
        "ec2:DescribeVpcEndpoints",
        "ec2:ModifyVpcEndpoint",
    ]);

/// EC2's error code for a missing endpoint.
const NOT_FOUND_CODE: &str = "InvalidVpcEndpointId.NotFound";
/// EC2's error code for a service that does not exist.
const UNKNOWN_SERVICE_CODE: &str = "InvalidServiceName";
const MISMATCH_CODE: &str = "IdempotentParameterMismatch";
/// How often an endpoint may be deleted by others and recreated within the lifetime of a token.
const MAX_ATTEMPTS: u64 = 20;

/// An endpoint of the VPC.
pub struct VpcEndpoint {
    service: String,
    zones: Vec<String>,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Route tables of a gateway endpoint, subnets of an interface endpoint.
    attachments: BTreeSet<String>,
    security_groups: BTreeSet<String>,
    /// Whether the service's default DNS name resolves to it.
    private_dns: bool,
    tags: Tags,
}

const ATTACHMENTS: &str = "places";
const SECURITY_GROUP: &str = "securityGroup";
const PRIVATE_DNS: &str = "privateDnsEnabled";

/// The key in the graph.
pub fn key(service: &str) -> Key {
    KIND.named(service)
}

/// Whether a service has a gateway endpoint, which needs neither addresses nor a security group.
pub fn is_gateway(service: &str) -> bool {
    matches!(service, "s3" | "dynamodb")
}

impl VpcEndpoint {
    /// An endpoint of a service, by its short name, e.g. `s3` or `ecr.api`.
    pub fn new(context: &ResourceContext<'_>, service: &str, zones: &[String]) -> Self {
        let tags = context.tags(&key(service));
        Self { service: service.into(), zones: zones.to_vec(), tags, intervals: context.intervals }
    }

    fn attachments(&self) -> Vec<Key> {
        let zones = self.zones.iter();
        if is_gateway(&self.service) {
            zones.map(|zone| Table::Private(zone.clone()).key()).collect()
        } else {
            zones.map(|zone| subnet::key(SubnetTier::Private, zone)).collect()
        }
    }
}

fn to_observation(endpoint: &snapshots::VpcEndpoint) -> Observation<Detail> {
    let state = endpoint.state.as_ref().map_or("pending", |state| state.as_str()).to_owned();
    let busy = |action| Phase::Busy { action, since: None, note: String::new() };
    // EC2 returns these states in upper or lower case.
    let phase = match state.to_lowercase().as_str() {
        "available" => Phase::Ready,
        "deleting" => busy(Action::Delete),
        // One that is partial carries traffic.
        name @ ("failed" | "rejected" | "expired" | "partial") => Phase::Failed {
            reason: endpoint.failure.clone().unwrap_or_else(|| format!("state {state}")),
            class: Class::Unknown,
            recreate: if name == "partial" { Recreate::Never } else { Recreate::OnRequest },
        },
        _ => busy(Action::Create),
    };
    let detail = Detail {
        attachments: endpoint.route_table_ids.iter().chain(&endpoint.subnet_ids).cloned().collect(),
        security_groups: endpoint.security_group_ids.iter().cloned().collect(),
        private_dns: endpoint.private_dns,
        tags: endpoint.tags.clone(),
    };
    Observation::ready(&endpoint.id, state, detail).phase(phase)
}

/// The names that the service may have, in the order to try them. Gateways have the same prefix everywhere; the prefix of an
/// interface depends on partition, region and service.
pub(super) fn service_names(region: &str, service: &str) -> impl Iterator<Item = String> {
    let mut prefixes = partitions::of_region(region).endpoint_prefixes.to_vec();
    if is_gateway(service) {
        prefixes.reverse();
    }
    let suffix = format!("{region}.{service}");
    prefixes.into_iter().map(move |prefix| format!("{prefix}.{suffix}"))
}

/// Whether the token belongs to another endpoint.
fn is_token_used(error: &AwsError) -> bool {
    [NOT_FOUND_CODE, MISMATCH_CODE].map(Some).contains(&error.code.as_deref())
}

#[async_trait]
impl Resource for VpcEndpoint {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.service)
    }

    fn after(&self) -> Vec<Key> {
        let group = (!is_gateway(&self.service)).then(security_group::key);
        self.attachments().into_iter().chain(group).chain([vpc::key()]).collect()
    }

    /// As with NAT gateways: the network stays until the cluster is deleted.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// An endpoint in our VPC is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let kind = if is_gateway(&self.service) { "Gateway" } else { "Interface" };
        vec![("service", self.service.clone()), ("type", kind.into())]
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(if is_gateway(&self.service) { 5 } else { 60 })
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_ec2(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        let wanted: Vec<_> = self.attachments().iter().filter_map(|key| refs.get(key).map(str::to_owned)).collect();
        let missing: Vec<_> = wanted.iter().filter(|id| !observed.detail.attachments.contains(*id)).cloned().collect();
        if !missing.is_empty() {
            changes.push(Change::in_place(ATTACHMENTS, "", missing.join(" ")));
        }
        if is_gateway(&self.service) {
            return changes;
        }
        // Nodes call the service by its default name, and the group must allow their calls.
        if let Some(group) =
            refs.get(&security_group::key()).filter(|group| !observed.detail.security_groups.contains(*group))
        {
            changes.push(Change::in_place(SECURITY_GROUP, "", group));
        }
        if !observed.detail.private_dns {
            changes.push(Change::in_place(PRIVATE_DNS, false, true));
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
        let endpoints = cloud.aws.snapshots.vpc_endpoints(max_staleness(options)).await?;
        Ok(match find(cloud, &endpoints, &key(&self.service), options, refs) {
            SearchResult::Ours(endpoint) => Presence::Ours(to_observation(endpoint)),
            other => other.not_ours(),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let name = key(&self.service).to_string();
        let attachments =
            self.attachments().iter().map(|key| refs.id(key).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        let request = cloud
            .aws
            .ec2
            .create_vpc_endpoint()
            .vpc_id(refs.id(&vpc::key())?)
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::VpcEndpoint));
        let request = if is_gateway(&self.service) {
            request.vpc_endpoint_type(VpcEndpointType::Gateway).set_route_table_ids(Some(attachments))
        } else {
            request
                .vpc_endpoint_type(VpcEndpointType::Interface)
                .private_dns_enabled(true)
                .set_subnet_ids(Some(attachments))
                .security_group_ids(refs.id(&security_group::key())?)
        };
        let mut names = service_names(&cloud.aws.region, &self.service);
        let mut service_name = names.next().unwrap_or_default();
        let mut attempt = 0;
        let answer = loop {
            let token = client_token(&cloud.owner.uid, attempt, &name);
            let request = request.clone().service_name(&service_name).client_token(token);
            match cloud.aws.call(Service::Ec2, "CreateVpcEndpoint", &name, request.send()).await {
                // The token belongs to an endpoint that was deleted, or that had other subnets and groups and was
                // removed when the spec no longer requested it: the next attempt has its own token. An existing
                // endpoint would have been found by its tags.
                Err(error) if is_token_used(&error) && attempt < MAX_ATTEMPTS => attempt += 1,
                Err(error) if error.code.as_deref() == Some(UNKNOWN_SERVICE_CODE) => match names.next() {
                    Some(other) => service_name = other,
                    None => return Err(error.into()),
                },
                answer => break answer?,
            }
        };
        let endpoint = answer.vpc_endpoint.unwrap_or_else(|| aws_sdk_ec2::types::VpcEndpoint::builder().build());
        Ok(to_observation(&snapshots::VpcEndpoint::from(&endpoint)))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        let request = || cloud.aws.ec2.modify_vpc_endpoint().vpc_endpoint_id(&observed.id);
        if changes_field(changes, SECURITY_GROUP) {
            let group = refs.id(&security_group::key())?;
            let request = request().add_security_group_ids(group);
            cloud.aws.call(Service::Ec2, "ModifyVpcEndpoint", &observed.id, request.send()).await?;
            detail.security_groups.insert(group.to_owned());
        }
        if changes_field(changes, PRIVATE_DNS) {
            let request = request().private_dns_enabled(true);
            cloud.aws.call(Service::Ec2, "ModifyVpcEndpoint", &observed.id, request.send()).await?;
            detail.private_dns = true;
        }
        if changes_field(changes, ATTACHMENTS) {
            let wanted =
                self.attachments().iter().map(|key| refs.id(key).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
            let missing: Vec<_> = wanted.into_iter().filter(|id| !detail.attachments.contains(id)).collect();
            let request = request();
            let request = if is_gateway(&self.service) {
                request.set_add_route_table_ids(Some(missing.clone()))
            } else {
                request.set_add_subnet_ids(Some(missing.clone()))
            };
            cloud.aws.call(Service::Ec2, "ModifyVpcEndpoint", &observed.id, request.send()).await?;
            detail.attachments.extend(missing);
        }
        cloud.tag_ec2(&observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(Observation { detail, ..observed.clone() })
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        delete_endpoint(&cloud.aws, &observed.id).await?;
        // Its addresses are released some time after the response.
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "deleting".into(), phase, ..observed.clone() }))
    }
}
/// Deletes one endpoint. EC2 answers 200 for a deletion that it refuses, and says so in the answer.
///
/// # Errors
/// EC2's, whichever way it reports it. An endpoint that no longer exists is no error.
pub(crate) async fn delete_endpoint(aws: &Session, id: &str) -> Result<(), AwsError> {
    let request = aws.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id);
    let answer = aws.call(Service::Ec2, "DeleteVpcEndpoints", id, request.send()).await?;
    match refusal(answer.unsuccessful.unwrap_or_default()) {
        None | Some((Class::NotFound, _)) => Ok(()),
        Some((class, message)) => Err(aws.failure(Service::Ec2, "DeleteVpcEndpoints", id, class, message)),
    }
}

/// What EC2 refused, from an answer whose status is 200.
pub(super) fn refusal(unsuccessful: Vec<UnsuccessfulItem>) -> Option<(Class, String)> {
    let error = unsuccessful.into_iter().find_map(|item| item.error)?;
    let (code, message) = (error.code.unwrap_or_default(), error.message.unwrap_or_default());
    Some((classify(Service::Ec2, Some(&code), &message, None), format!("{code}: {message}")))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::UnsuccessfulItemError;

    use super::*;

    #[test]
    fn refused_deletion_with_status_200_is_an_error_of_its_class() {
        let item = |code: &str, message: &str| {
            let error = UnsuccessfulItemError::builder().code(code).message(message).build();
            UnsuccessfulItem::builder().resource_id("vpce-1").error(error).build()
        };
        assert_eq!(refusal(Vec::new()), None);
        assert_eq!(refusal(vec![UnsuccessfulItem::builder().build()]), None);
        let (class, message) = refusal(vec![item("InvalidVpcEndpointId.NotFound", "vpce-1 does not exist")]).unwrap();
        assert_eq!(
            (class, message.as_str()),
            (Class::NotFound, "InvalidVpcEndpointId.NotFound: vpce-1 does not exist")
        );
        let (class, _) = refusal(vec![item("UnauthorizedOperation", "You are not authorized")]).unwrap();
        assert_eq!(class, Class::Denied);
        let (class, _) = refusal(vec![item("DependencyViolation", "in use")]).unwrap();
        assert_eq!(class, Class::Busy);
    }

    #[test]
    fn names_of_services_depend_on_the_partition() {
        let of = |region, service| service_names(region, service).collect::<Vec<_>>();
        assert_eq!(of("eu-west-1", "ecr.api"), ["com.amazonaws.eu-west-1.ecr.api"]);
        assert_eq!(of("us-gov-west-1", "sts"), ["com.amazonaws.us-gov-west-1.sts"]);
        assert_eq!(of("eusc-de-east-1", "s3"), ["com.amazonaws.eusc-de-east-1.s3"]);
        let china = ["cn.com.amazonaws.cn-north-1.sts", "com.amazonaws.cn-north-1.sts"];
        assert_eq!(of("cn-north-1", "sts"), china, "by service, one or the other");
        assert_eq!(of("cn-north-1", "s3")[0], "com.amazonaws.cn-north-1.s3", "the gateway");
    }
}
