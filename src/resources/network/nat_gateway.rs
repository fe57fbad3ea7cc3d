//! A NAT gateway: internet access for private subnets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{NatGatewayState, ResourceType};
use jiff::Timestamp;

use super::{elastic_ip, internet_gateway, subnet, vpc};
use crate::api::node_group::SubnetTier;
use crate::aws::tags::{GIVEN_ADDRESS, OWNER, RESOURCE, Tags};
use crate::aws::tokens::client_token;
use crate::aws::{MaxStaleness, Service, Session, snapshots};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs,
    Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, changed_tags, max_staleness, tag_changes};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::listed;
use crate::resources::graph::proof::{SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("natGateway", "NAT gateway", Area::Network)
    .in_ec2(|aws, age| listed(existing(aws, age)))
    .removable()
    .serving_vpc()
    .with_actions(&[
        "ec2:CreateNatGateway",
        "ec2:CreateTags",
        "ec2:DeleteNatGateway",
        "ec2:DeleteTags",
        "ec2:DescribeNatGateways",
    ]);

/// Those with an owner tag, without deleted and failed ones.
pub(super) async fn existing(aws: &Session, staleness: MaxStaleness) -> snapshots::List<snapshots::NatGateway> {
    let has_ended = |state: &NatGatewayState| matches!(state, NatGatewayState::Deleted | NatGatewayState::Failed);
    let all = aws.snapshots.nat_gateways(staleness).await?;
    let existing = all.iter().filter(|gateway| !gateway.state.as_ref().is_some_and(has_ended));
    Ok(Arc::new(existing.cloned().collect()))
}

/// A public NAT gateway in a zone's public subnet.
pub struct NatGateway {
    zone: String,
    address: Address,
    tags: Tags,
    intervals: Intervals,
}

/// The address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// That is allocated for it.
    Own,
    /// Of others, by allocation id.
    Existing(String),
}

/// What Keelson observes of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Allocation ids of its addresses.
    addresses: Vec<String>,
    tags: Tags,
}

/// EC2's code for an address that something else uses: it creates the gateway, which then fails.
const ADDRESS_IN_USE: &str = "Resource.AlreadyAssociated";

/// The key in the graph.
pub fn key(zone: &str) -> Key {
    KIND.named(zone)
}

impl NatGateway {
    /// The NAT gateway in `zone`.
    pub fn new(context: &ResourceContext<'_>, zone: &str) -> Self {
        Self { zone: zone.into(), address: Address::Own, tags: context.tags(&key(zone)), intervals: context.intervals }
    }

    /// The same with an existing address. The gateway keeps in a tag that the address is not Keelson's: by the time of its
    /// deletion the spec may no longer name it.
    #[must_use]
    pub fn with_address(self, allocation_id: &str) -> Self {
        let tags = self.tags.with(GIVEN_ADDRESS, "true");
        Self { address: Address::Existing(allocation_id.to_owned()), tags, ..self }
    }

    /// The allocation id of its address, once that is known.
    fn address<'a>(&'a self, refs: &'a Refs) -> Option<&'a str> {
        match &self.address {
            Address::Own => refs.get(&elastic_ip::key(&self.zone)),
            Address::Existing(id) => Some(id),
        }
    }

    /// A gateway whose address others use fails again until they release it.
    fn observation_of(&self, gateway: &snapshots::NatGateway) -> Observation<Detail> {
        let observed = to_observation(gateway);
        let is_in_use = gateway.failure_code.as_deref() == Some(ADDRESS_IN_USE);
        match (&self.address, observed.phase.clone()) {
            (Address::Existing(id), Phase::Failed { reason, .. }) if is_in_use => observed.phase(Phase::Failed {
                reason: format!(
                    "{reason}: something else uses {id} of network.vpc.natAddresses: disassociate it there, or set nat: None, then \
                     list another address"
                ),
                class: Class::Conflict,
                recreate: Recreate::OnRequest,
            }),
            _ => observed,
        }
    }
}

fn to_observation(gateway: &snapshots::NatGateway) -> Observation<Detail> {
    let since = gateway.created.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let state = gateway.state.as_ref().map_or("pending", |state| state.as_str());
    let phase = match &gateway.state {
        Some(NatGatewayState::Available) => Phase::Ready,
        Some(NatGatewayState::Failed) => Phase::Failed {
            reason: format!(
                "{}: {}",
                gateway.failure_code.as_deref().unwrap_or("unknown"),
                gateway.failure_message.as_deref().unwrap_or("no message from AWS")
            ),
            class: Class::Unknown,
            recreate: Recreate::Now,
        },
        Some(NatGatewayState::Deleting) => Phase::Busy { action: Action::Delete, since: None, note: String::new() },
        _ => Phase::Busy { action: Action::Create, since, note: String::new() },
    };
    let detail = Detail { addresses: gateway.allocation_ids.clone(), tags: gateway.tags.clone() };
    let observed = Observation::ready(&gateway.id, state, detail).phase(phase);
    Observation { issue_code: gateway.failure_code.clone(), ..observed }
}

/// How many gateways with that name have existed. A failed or deleted one stays visible for an hour, and its client
/// token would return it: each attempt uses its own token.
async fn count_attempts(cloud: &Cloud, key: &Key, vpc: &str) -> Result<(u64, Option<snapshots::NatGateway>), Failure> {
    let filter = |name: String, value: &str| aws_sdk_ec2::types::Filter::builder().name(name).values(value).build();
    let request = cloud
        .aws
        .ec2
        .describe_nat_gateways()
        .filter(filter("vpc-id".to_owned(), vpc))
        .filter(filter(format!("tag:{OWNER}"), &cloud.owner.uid))
        .filter(filter(format!("tag:{RESOURCE}"), &key.to_string()));
    let name = key.to_string();
    let answer = cloud.aws.call(Service::Ec2, "DescribeNatGateways", &name, request.send()).await?;
    let (ended, live): (Vec<_>, Vec<_>) = answer.nat_gateways().iter().partition(|gateway| {
        matches!(gateway.state, Some(NatGatewayState::Failed | NatGatewayState::Deleted | NatGatewayState::Deleting))
    });
    Ok((ended.len() as u64, live.first().map(|gateway| snapshots::NatGateway::from(*gateway))))
}

#[async_trait]
impl Resource for NatGateway {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.zone)
    }

    fn after(&self) -> Vec<Key> {
        let address = (self.address == Address::Own).then(|| elastic_ip::key(&self.zone));
        let others = [subnet::key(SubnetTier::Public, &self.zone), internet_gateway::key()];
        address.into_iter().chain(others).collect()
    }

    fn excluded_ids(&self) -> Vec<String> {
        match &self.address {
            Address::Own => Vec::new(),
            Address::Existing(id) => vec![id.clone()],
        }
    }

    /// The cluster may need its network until it is deleted: a blocked deletion must not cause an outage.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// A gateway in our VPC is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let address = match &self.address {
            Address::Own => None,
            Address::Existing(id) => Some(("address", id.clone())),
        };
        [("zone", self.zone.clone())].into_iter().chain(address).collect()
    }

    /// 85 to 125 s according to published measurements.
    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(100)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_ec2(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let Detail { addresses, tags } = &observed.detail;
        let mut changes = tag_changes(&self.tags, tags);
        // A failed one is replaced.
        let exists = !matches!(observed.phase, Phase::Failed { .. }) && !addresses.is_empty();
        if let Some(wanted) = self.address(refs).filter(|id| exists && addresses.iter().all(|one| one != id)) {
            let why = "a NAT gateway keeps its address: put natAddresses back, or set nat: None, wait until the gateway is deleted, \
                       and set both again";
            changes.push(Change::forbidden("network.vpc.natAddresses", addresses.join(", "), wanted, why));
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
        let gateways = cloud.aws.snapshots.nat_gateways(max_staleness(options)).await?;
        Ok(match find(cloud, &gateways, &key(&self.zone), options, refs) {
            SearchResult::Ours(gateway) => Presence::Ours(self.observation_of(gateway)),
            other => other.not_ours(),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let key = key(&self.zone);
        let (attempt, live) = count_attempts(cloud, &key, refs.id(&vpc::key())?).await?;
        if let Some(live) = live {
            return Ok(self.observation_of(&live));
        }
        // A gateway that was removed with its address and is requested again has another address, and so another token.
        let address = match &self.address {
            Address::Own => refs.id(&elastic_ip::key(&self.zone))?,
            Address::Existing(id) => id,
        };
        let token = client_token(&cloud.owner.uid, attempt, &format!("{key} {address}"));
        let request = cloud
            .aws
            .ec2
            .create_nat_gateway()
            .subnet_id(refs.id(&subnet::key(SubnetTier::Public, &self.zone))?)
            .allocation_id(address)
            .client_token(token)
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::Natgateway));
        let name = key.to_string();
        let answer = cloud.aws.call(Service::Ec2, "CreateNatGateway", &name, request.send()).await?;
        let gateway = answer.nat_gateway.unwrap_or_else(|| aws_sdk_ec2::types::NatGateway::builder().build());
        Ok(to_observation(&snapshots::NatGateway::from(&gateway)))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut observed = observed.clone();
        cloud.tag_ec2(&observed.id, &mut observed.detail.tags, changed_tags(changes)).await?;
        Ok(observed)
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.delete_nat_gateway().nat_gateway_id(&observed.id);
        cloud.aws.call(Service::Ec2, "DeleteNatGateway", &observed.id, request.send()).await?;
        if matches!(observed.phase, Phase::Failed { .. }) {
            // A failed gateway is only a record and blocks nothing.
            return Ok(Presence::Absent);
        }
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "deleting".into(), phase, ..observed.clone() }))
    }
}
