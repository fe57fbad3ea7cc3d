//! A further IPv4 range of the VPC, for Pods. It has no tags: what is in our VPC is ours, and goes with the VPC.
//!
//! See <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateVpcCidrBlock.html>.

use std::time::Duration;

use async_trait::async_trait;

use super::vpc;
use crate::aws::snapshots::VpcCidrState;
use crate::aws::{MaxStaleness, Service, snapshots};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs,
    Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("vpcCidr", "range of the VPC", Area::Network)
    .with_parent()
    .with_actions(&["ec2:AssociateVpcCidrBlock", "ec2:DescribeVpcs"]);

/// A range of the VPC besides its first.
pub struct VpcCidr {
    cidr: String,
    intervals: Intervals,
}

/// Nothing of it can differ.
pub type Detail = ();

/// The key in the graph.
pub fn key(cidr: &str) -> Key {
    KIND.named(cidr)
}

impl VpcCidr {
    /// A range.
    pub fn new(context: &ResourceContext<'_>, cidr: &str) -> Self {
        Self { cidr: cidr.into(), intervals: context.intervals }
    }

    /// The association with the VPC. One that EC2 ended stays visible for a while.
    async fn find(
        &self,
        cloud: &Cloud,
        vpc: &str,
        staleness: MaxStaleness,
    ) -> Result<Option<Observation<Detail>>, Failure> {
        let vpcs = cloud.aws.snapshots.vpcs(staleness).await?;
        let of_range = vpcs.iter().filter(|one| one.id == vpc).flat_map(|vpc| &vpc.cidrs);
        let of_range: Vec<_> = of_range.filter(|one| one.cidr == self.cidr).collect();
        let failed = || of_range.iter().find(|one| one.state == Some(VpcCidrState::Failed));
        let found = of_range.iter().find(|one| one.is_kept()).or_else(failed);
        Ok(found.map(|one| to_observation(one)))
    }
}

fn to_observation(of: &snapshots::VpcCidr) -> Observation<Detail> {
    let state = of.state.as_ref().map_or("associating", |state| state.as_str());
    let phase = match &of.state {
        Some(VpcCidrState::Associated) => Phase::Ready,
        Some(VpcCidrState::Failed) => Phase::Failed {
            reason: of.message.clone().unwrap_or_else(|| "EC2 gives no reason".to_owned()),
            class: Class::Unknown,
            recreate: Recreate::OnRequest,
        },
        _ => Phase::Busy { action: Action::Create, since: None, note: String::new() },
    };
    Observation::ready(&of.id, state, ()).phase(phase)
}

#[async_trait]
impl Resource for VpcCidr {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.cidr)
    }

    fn after(&self) -> Vec<Key> {
        vec![vpc::key()]
    }

    fn inside(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("cidr", self.cidr.clone())]
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(5)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn diff(&self, _: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let Some(vpc) = refs.get(&vpc::key()) else { return Ok(Presence::Absent) };
        let found = self.find(cloud, vpc, max_staleness(options)).await?;
        Ok(found.map_or(Presence::Absent, Presence::Ours))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let vpc = refs.id(&vpc::key())?;
        let request = cloud.aws.ec2.associate_vpc_cidr_block().vpc_id(vpc).cidr_block(&self.cidr);
        match cloud.aws.call(Service::Ec2, "AssociateVpcCidrBlock", vpc, request.send()).await {
            Ok(answer) => {
                let association = answer.cidr_block_association.as_ref().map(snapshots::VpcCidr::from);
                association.as_ref().map(to_observation).ok_or_else(|| Failure::invalid("EC2 answered without a range"))
            }
            // Associated by an attempt whose response was lost.
            Err(error) => match self.find(cloud, vpc, MaxStaleness::now()).await? {
                Some(found) if !matches!(found.phase, Phase::Failed { .. }) => Ok(found),
                _ => Err(error.into()),
            },
        }
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Ok(observed.clone())
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid("the range goes with its VPC"))
    }
}
