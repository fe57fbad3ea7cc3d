//! A VPC endpoint: a way to an AWS service that does not pass the NAT gateway.
//!
//! S3 and DynamoDB have gateway endpoints, which cost nothing and stand in route tables; all others are interface
//! endpoints with addresses in the private subnets. See
//! <https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{ResourceType, UnsuccessfulItem, VpcEndpointType};

use super::cloud::{Cloud, Intervals, ResourceContext, changed_tags, changes_field, fresh, tag_changes};
use super::kind::{Area, Kind, as_placed};
use super::proof::{Claim, find};
use super::route_table::Table;
use super::{cluster, security_group, subnet, vpc};
use crate::api::node_group::SubnetTier;
use crate::aws::errors::class::classify;
use crate::aws::tags::Tags;
use crate::aws::tokens::client_token;
use crate::aws::{AwsError, Service, Session, snapshots};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource,
};

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("vpcEndpoint", "VPC endpoint", Area::Network).in_ec2(|lists| as_placed(&lists.vpc_endpoints)).removable();

/// How EC2 names an endpoint that is not there.
const GONE: &str = "InvalidVpcEndpointId.NotFound";
const OTHER: &str = "IdempotentParameterMismatch";
/// How often one endpoint may have been deleted by others and made again within the life of a token.
const MOST_ATTEMPTS: u64 = 20;

/// An endpoint of the VPC.
pub struct VpcEndpoint {
    service: String,
    zones: Vec<String>,
    tags: Tags,
    intervals: Intervals,
}

/// What is seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Route tables of a gateway endpoint, subnets of an interface endpoint.
    places: BTreeSet<String>,
    security_groups: BTreeSet<String>,
    /// Whether the service's usual name leads to it.
    private_dns: bool,
    tags: Tags,
}

const PLACES: &str = "places";
const SECURITY_GROUP: &str = "securityGroup";
const PRIVATE_DNS: &str = "privateDnsEnabled";

/// Its name in the graph.
pub fn key(service: &str) -> Key {
    KIND.named(service)
}

/// Whether a service has a gateway endpoint, and so needs neither addresses nor a security group.
pub fn is_gateway(service: &str) -> bool {
    matches!(service, "s3" | "dynamodb")
}

impl VpcEndpoint {
    /// An endpoint of a service, by its short name, e.g. `s3` or `ecr.api`.
    pub fn new(making: &ResourceContext<'_>, service: &str, zones: &[String]) -> Self {
        let tags = making.tags(&key(service));
        Self { service: service.into(), zones: zones.to_vec(), tags, intervals: making.intervals }
    }

    fn places(&self) -> Vec<Key> {
        let zones = self.zones.iter();
        if is_gateway(&self.service) {
            zones.map(|zone| Table::Private(zone.clone()).key()).collect()
        } else {
            zones.map(|zone| subnet::key(SubnetTier::Private, zone)).collect()
        }
    }
}

fn observed(endpoint: &snapshots::VpcEndpoint) -> Observation<Detail> {
    let state = endpoint.state.as_ref().map_or("pending", |state| state.as_str()).to_owned();
    let busy = |action| Phase::Busy { action, since: None, note: String::new() };
    // EC2 writes these states in both cases.
    let phase = match state.to_lowercase().as_str() {
        "available" => Phase::Ready,
        "deleting" => busy(Action::Delete),
        "failed" | "rejected" | "expired" | "partial" => Phase::Failed {
            reason: endpoint.failure.clone().unwrap_or_else(|| format!("AWS says {state}")),
            class: Class::Unknown,
            recreate: false,
        },
        _ => busy(Action::Create),
    };
    let detail = Detail {
        places: endpoint.route_table_ids.iter().chain(&endpoint.subnet_ids).cloned().collect(),
        security_groups: endpoint.security_group_ids.iter().cloned().collect(),
        private_dns: endpoint.private_dns,
        tags: endpoint.tags.clone(),
    };
    Observation::ready(&endpoint.id, state, detail).phase(phase)
}

/// Whether the token stands for another endpoint.
fn is_used_up(error: &AwsError) -> bool {
    [GONE, OTHER].map(Some).contains(&error.code.as_deref())
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
        self.places().into_iter().chain(group).chain([vpc::key()]).collect()
    }

    /// As with NAT gateways: the network stays until the cluster is gone.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// What lies in our VPC is ours by that.
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

    fn diff(&self, seen: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &seen.detail.tags);
        let wanted: Vec<_> = self.places().iter().filter_map(|place| refs.get(place).map(str::to_owned)).collect();
        let missing: Vec<_> = wanted.iter().filter(|id| !seen.detail.places.contains(*id)).cloned().collect();
        if !missing.is_empty() {
            changes.push(Change::in_place(PLACES, "", missing.join(" ")));
        }
        if is_gateway(&self.service) {
            return changes;
        }
        // Nodes call the service by its usual name, and their calls must be let in.
        if let Some(group) =
            refs.get(&security_group::key()).filter(|group| !seen.detail.security_groups.contains(*group))
        {
            changes.push(Change::in_place(SECURITY_GROUP, "", group));
        }
        if !seen.detail.private_dns {
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
        let endpoints = cloud.aws.snapshots.vpc_endpoints(fresh(options)).await?;
        Ok(match find(cloud, &endpoints, &key(&self.service), options, refs) {
            Claim::Ours(endpoint) => Presence::Ours(observed(endpoint)),
            other => other.not_ours(),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let name = key(&self.service).to_string();
        let places =
            self.places().iter().map(|place| refs.id(place).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        let request = cloud
            .aws
            .ec2
            .create_vpc_endpoint()
            .vpc_id(refs.id(&vpc::key())?)
            .service_name(format!("com.amazonaws.{}.{}", cloud.aws.region, self.service))
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::VpcEndpoint));
        let request = if is_gateway(&self.service) {
            request.vpc_endpoint_type(VpcEndpointType::Gateway).set_route_table_ids(Some(places))
        } else {
            request
                .vpc_endpoint_type(VpcEndpointType::Interface)
                .private_dns_enabled(true)
                .set_subnet_ids(Some(places))
                .security_group_ids(refs.id(&security_group::key())?)
        };
        let mut attempt = 0;
        let answer = loop {
            let request = request.clone().client_token(client_token(&cloud.owner.uid, attempt, &name));
            match cloud.aws.call(Service::Ec2, "CreateVpcEndpoint", &name, request.send()).await {
                // The token stands for one that was made and is gone, or that was made of other subnets and groups, as one that was
                // no longer asked for and was taken away: the next has a token of its own. One that is there was found by its tags.
                Err(error) if is_used_up(&error) && attempt < MOST_ATTEMPTS => attempt += 1,
                answer => break answer?,
            }
        };
        let endpoint = answer.vpc_endpoint.unwrap_or_else(|| aws_sdk_ec2::types::VpcEndpoint::builder().build());
        Ok(observed(&snapshots::VpcEndpoint::from(&endpoint)))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        seen: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = seen.detail.clone();
        let request = || cloud.aws.ec2.modify_vpc_endpoint().vpc_endpoint_id(&seen.id);
        if changes_field(changes, SECURITY_GROUP) {
            let group = refs.id(&security_group::key())?;
            let request = request().add_security_group_ids(group);
            cloud.aws.call(Service::Ec2, "ModifyVpcEndpoint", &seen.id, request.send()).await?;
            detail.security_groups.insert(group.to_owned());
        }
        if changes_field(changes, PRIVATE_DNS) {
            let request = request().private_dns_enabled(true);
            cloud.aws.call(Service::Ec2, "ModifyVpcEndpoint", &seen.id, request.send()).await?;
            detail.private_dns = true;
        }
        if changes_field(changes, PLACES) {
            let wanted =
                self.places().iter().map(|place| refs.id(place).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
            let missing: Vec<_> = wanted.into_iter().filter(|id| !detail.places.contains(id)).collect();
            let request = request();
            let request = if is_gateway(&self.service) {
                request.set_add_route_table_ids(Some(missing.clone()))
            } else {
                request.set_add_subnet_ids(Some(missing.clone()))
            };
            cloud.aws.call(Service::Ec2, "ModifyVpcEndpoint", &seen.id, request.send()).await?;
            detail.places.extend(missing);
        }
        cloud.tag_ec2(&seen.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(Observation { detail, ..seen.clone() })
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        delete_endpoint(&cloud.aws, &seen.id).await?;
        // Its addresses go some time after the answer.
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "deleting".into(), phase, ..seen.clone() }))
    }

    async fn release(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<(), Failure> {
        cloud.release_ec2(&seen.id).await
    }
}
/// Deletes one endpoint. EC2 answers 200 for a deletion that it refuses, and says so in the answer.
///
/// # Errors
/// EC2's, whichever way it reports it. An endpoint that no longer exists is no error.
pub(super) async fn delete_endpoint(aws: &Session, id: &str) -> Result<(), AwsError> {
    const ACTION: &str = "DeleteVpcEndpoints";
    let request = aws.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id);
    let answer = aws.call(Service::Ec2, ACTION, id, request.send()).await?;
    match refusal(answer.unsuccessful.unwrap_or_default()) {
        None | Some((Class::NotFound, _)) => Ok(()),
        Some((class, message)) => Err(aws.failure(Service::Ec2, ACTION, id, class, message)),
    }
}

/// What EC2 refused, from an answer whose status is 200.
fn refusal(unsuccessful: Vec<UnsuccessfulItem>) -> Option<(Class, String)> {
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
}
