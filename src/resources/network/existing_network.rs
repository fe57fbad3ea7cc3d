//! A network that the user provides: Keelson creates nothing in it, but finds and checks its subnets.
//!
//! [`existing_subnets`](super::existing_subnets) judges them, [`existing_placement`](super::existing_placement) decides which
//! of them a control plane has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use super::existing_placement::{ClusterSubnet, Placement, place};
use super::existing_subnets::{Network, Routing};
use crate::api::network::{ExistingNetwork as DesiredNetwork, ExistingSubnets, SubnetReference};
use crate::aws::snapshots::Subnet;
use crate::aws::{AwsError, MaxStaleness};
use crate::engine::{
    Change, Class, Failure, Goal, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::eks::cluster::{self, SUBNET_IDS};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("existingNetwork", "existing network", Area::Network).without_resource().with_actions(&[
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcAttribute",
        "ec2:DescribeVpcEndpoints",
    ]);

/// How long the zones of a region are cached.
const ZONES_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// The output with what is worth knowing, as a JSON list.
pub const NOTICES: &str = "notices";

/// The existing subnets of a cluster.
pub struct ExistingNetwork {
    wanted: DesiredNetwork,
    /// Whether the Kubernetes API has an address in the VPC.
    private_access: bool,
    intervals: Intervals,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl ExistingNetwork {
    /// The subnets that `wanted` lists or selects. `private_access`: nodes reach the Kubernetes API inside the VPC.
    pub fn new(context: &ResourceContext<'_>, wanted: &DesiredNetwork, private_access: bool) -> Self {
        Self { wanted: wanted.clone(), private_access, intervals: context.intervals }
    }
}

/// What is remembered between observations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The zones of subnets seen so far, by id: of one that is gone, EC2 says nothing.
    zones: BTreeMap<String, String>,
    /// What differs and cannot be corrected.
    reported: Vec<Change>,
}

/// A value that the operator may not be allowed to read: nothing is concluded then.
fn if_readable<T>(read: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match read {
        Err(error) if error.class() == Class::Denied => {
            tracing::debug!(%error, "existing network: not judged by what may not be read");
            Ok(None)
        }
        other => other.map(Some),
    }
}

impl ExistingNetwork {
    /// The subnets that the spec lists or selects, and the ids that it lists.
    async fn wanted(&self, cloud: &Cloud, refs: &Refs, age: MaxStaleness) -> Result<Network, Failure> {
        let snapshots = &cloud.aws.snapshots;
        Ok(match self.wanted.subnets().map_err(|error| Failure::of(Class::Invalid, error))? {
            ExistingSubnets::Ids(ids) => {
                let subnets = find_by_id(cloud, ids, age).await?;
                Network { subnets, requested: ids.to_vec(), ..Network::default() }
            }
            ExistingSubnets::Tagged { vpc_id, tags } => {
                let subnets = snapshots.subnets_by_tags(vpc_id, tags, age).await?.to_vec();
                Network { subnets, ..Network::default() }
            }
            ExistingSubnets::Listed { vpc_id, subnets } => {
                let all = snapshots.subnets_by_tags(vpc_id, &BTreeMap::new(), age).await?;
                let have = refs.output(&cluster::key(), SUBNET_IDS).unwrap_or_default();
                Network::of_list(vpc_id, &all, subnets, &have.split(',').filter(|id| !id.is_empty()).collect())
            }
        })
    }

    /// Reads what the subnets are judged by. Routes change rarely: they are read again when the subnets differ.
    async fn read(
        &self,
        cloud: &Cloud,
        wanted: Network,
        options: &ObserveOptions,
        last: Option<&Detail>,
        is_new: bool,
    ) -> Result<Network, Failure> {
        let reads = &cloud.aws.snapshots;
        let is_known = last.is_some_and(|last| wanted.subnets.iter().all(|subnet| last.zones.contains_key(&subnet.id)));
        let age = match is_known && !is_new {
            true => MaxStaleness::within(options.max_age.max(self.intervals.slow().interval)),
            false => max_staleness(options),
        };
        let zones = if_readable(reads.zones(MaxStaleness::within(ZONES_MAX_AGE)).await)?;
        let zones = zones.iter().flat_map(|zones| zones.iter()).map(|zone| (zone.name.clone(), zone.clone())).collect();
        let mut network = Network { zones, private_access: self.private_access, ..wanted };
        let vpcs: BTreeSet<_> = network.subnets.iter().map(|subnet| subnet.vpc_id.clone()).collect();
        for vpc in vpcs {
            let tables = if_readable(reads.route_tables_of_vpc(&vpc, age).await)?;
            if let Some(tables) = tables {
                network.tables.get_or_insert_default().extend(tables.iter().cloned());
            }
            if is_new {
                network.dns = if_readable(reads.vpc_dns(&vpc, age).await)?.map(|dns| *dns);
            }
            if network.subnets.iter().any(|subnet| network.routing(subnet) == Routing::Isolated) {
                let endpoints = if_readable(reads.endpoints_of_vpc(&vpc, age).await)?;
                network.endpoints = endpoints.map(|endpoints| endpoints.to_vec()).or(network.endpoints);
            }
        }
        Ok(network)
    }

    /// The subnets that the cluster has; empty: it does not exist yet.
    async fn placed(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        wanted: &[Subnet],
        age: MaxStaleness,
        last: Option<&Detail>,
    ) -> Result<BTreeMap<String, ClusterSubnet>, Failure> {
        let ids = refs.output(&cluster::key(), SUBNET_IDS).unwrap_or_default();
        let ids: Vec<String> = ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
        let others: Vec<_> = ids.iter().filter(|id| wanted.iter().all(|subnet| subnet.id != **id)).cloned().collect();
        let others = if others.is_empty() { Vec::new() } else { find_by_id(cloud, &others, age).await? };
        let placed = |id: String| {
            let found = wanted.iter().chain(&others).find(|subnet| subnet.id == id);
            let zone = found.map(|subnet| &subnet.zone).or_else(|| last?.zones.get(&id)).cloned();
            (id, ClusterSubnet { zone, exists: found.is_some() })
        };
        Ok(ids.into_iter().map(placed).collect())
    }
}

/// The subnets with these ids that exist.
async fn find_by_id(cloud: &Cloud, ids: &[String], age: MaxStaleness) -> Result<Vec<Subnet>, Failure> {
    let all = cloud.aws.snapshots.subnets_by_id(ids, age).await?;
    Ok(all.iter().filter(|subnet| ids.contains(&subnet.id)).cloned().collect())
}

/// What a deletion observes. `vpc`: that of the spec, which is searched for leftovers even if no subnet is found in it, as
/// an entry may mean several by now, and tags may have changed.
fn to_presence_at_deletion(network: &Network, vpc: &str) -> Presence<Detail> {
    if network.subnets.is_empty() && vpc.is_empty() {
        return Presence::Absent;
    }
    let ids = network.subnets.iter().map(|one| one.id.clone()).collect();
    let placement = Placement { ids, reported: Vec::new() };
    Presence::External(to_observation(network, placement, BTreeMap::new(), vpc))
}

fn to_observation(
    network: &Network,
    placement: Placement,
    cluster: BTreeMap<String, ClusterSubnet>,
    vpc: &str,
) -> Observation<Detail> {
    let mut subnets = network.suitable();
    subnets.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
    let subnets_json: Vec<_> = subnets
        .iter()
        .map(|subnet| {
            let tier = if network.is_public(subnet) { "Public" } else { "Private" };
            serde_json::json!({"id": subnet.id, "zone": subnet.zone, "tier": tier, "cidr": subnet.cidr})
        })
        .collect();
    let vpc = network.subnets.first().map_or(vpc, |subnet| subnet.vpc_id.as_str());
    let zones = cluster.into_iter().filter_map(|(id, placed)| Some((id, placed.zone?)));
    let zones = zones.chain(network.subnets.iter().map(|subnet| (subnet.id.clone(), subnet.zone.clone())));
    let detail = Detail { zones: zones.collect(), reported: placement.reported };
    Observation::ready(vpc, "given", detail)
        .output("vpcId", vpc)
        .output(SUBNET_IDS, placement.ids.join(","))
        .output("subnets", serde_json::Value::from(subnets_json).to_string())
        .output(NOTICES, serde_json::Value::from(network.notices()).to_string())
}

#[async_trait]
impl Resource for ExistingNetwork {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    /// Once the cluster exists, its own addresses count as used.
    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn excluded_ids(&self) -> Vec<String> {
        self.wanted.security_group_ids.clone().unwrap_or_default()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        match self.wanted.subnets() {
            Ok(ExistingSubnets::Ids(ids)) => vec![("subnets", ids.join(", "))],
            Ok(ExistingSubnets::Tagged { vpc_id, tags }) => {
                let tags: Vec<_> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
                vec![("subnets", format!("subnets of {vpc_id} with {}", tags.join(", ")))]
            }
            Ok(ExistingSubnets::Listed { vpc_id, subnets }) => {
                let name =
                    |one: &SubnetReference| [&one.id, &one.cidr, &one.zone].into_iter().flatten().next().cloned();
                let names: Vec<_> = subnets.iter().filter_map(name).collect();
                vec![("subnets", format!("of {vpc_id}: {}", names.join(", ")))]
            }
            Err(_) => Vec::new(),
        }
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        observed.detail.reported.clone()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let (age, last) = (max_staleness(options), last.map(|last| &last.detail));
        let wanted = self.wanted(cloud, refs, age).await?;
        // The network's owner may have deleted or changed it: that must not block the deletion of a cluster.
        if options.goal == Goal::Deleted {
            return Ok(to_presence_at_deletion(&wanted, self.wanted.vpc_id.as_deref().unwrap_or_default()));
        }
        let cluster = self.placed(cloud, refs, &wanted.subnets, age, last).await?;
        let network = self.read(cloud, wanted, options, last, cluster.is_empty()).await?;
        // Later, the network may change without an edit: that stops no cluster that works.
        if cluster.is_empty()
            && refs.get(&cluster::key()).is_none()
            && let Some(why) = network.find_problem()
        {
            return Err(Failure::invalid(format!("network.existing.{why}")));
        }
        let vpc = refs.output(&cluster::key(), "vpcId").unwrap_or_default();
        Ok(Presence::External(to_observation(&network, place(&network, &cluster), cluster, vpc)))
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("an existing network is never created"))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("an existing network is never changed"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid("an existing network is never deleted"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::existing_subnets::tests::subnet;
    use super::*;

    #[test]
    fn deletion_searches_the_vpc_of_the_spec_even_if_no_subnet_is_found() {
        let vpc_of = |network: &Network, vpc: &str| match to_presence_at_deletion(network, vpc) {
            Presence::External(observed) => observed.outputs.get("vpcId").cloned(),
            _ => None,
        };
        let ambiguous = Network { is_listed: true, unresolved: vec!["several".into()], ..Network::default() };
        assert_eq!(vpc_of(&ambiguous, "vpc-1").as_deref(), Some("vpc-1"));
        assert_eq!(vpc_of(&ambiguous, ""), None, "nothing is known of it");
        let found = Network { subnets: vec![subnet("s-a", "vpc-2", "z1", 9)], ..Network::default() };
        assert_eq!(vpc_of(&found, "").as_deref(), Some("vpc-2"));
    }
}
