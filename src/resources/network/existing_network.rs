//! A network that the user provides: Keelson creates nothing in it, but finds and checks its subnets.
//!
//! Requirements of EKS: <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::api::network::{ExistingNetwork as Wanted, ExistingSubnets};
use crate::aws::snapshots::Subnet;
use crate::engine::{
    Change, Class, Failure, Goal, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::eks::cluster::{self, SUBNET_IDS};
use crate::resources::graph::kind::{Area, Kind};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("existingNetwork", "existing network", Area::Network)
    .without_resource()
    .with_actions(&["ec2:DescribeSubnets"]);

/// EKS rejects a subnet with fewer free addresses.
const FREE_ADDRESSES: i32 = 5;

/// The existing subnets of a cluster.
pub struct ExistingNetwork {
    wanted: Wanted,
    intervals: Intervals,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl ExistingNetwork {
    /// The subnets that `wanted` lists or selects.
    pub fn new(context: &ResourceContext<'_>, wanted: &Wanted) -> Self {
        Self { wanted: wanted.clone(), intervals: context.intervals }
    }
}

/// Why the subnets cannot be used, if so. Free addresses matter only before the cluster exists: afterwards it has taken
/// its own.
fn find_problem(subnets: &[Subnet], requested: &[String], cluster_exists: bool) -> Option<String> {
    let found: BTreeSet<_> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    let missing: Vec<_> = requested.iter().filter(|id| !found.contains(id.as_str())).cloned().collect();
    if !missing.is_empty() {
        return Some(format!("subnet {} does not exist in this account and region", missing.join(", ")));
    }
    if subnets.is_empty() {
        return Some("no subnet matches the tags of subnetSelector".into());
    }
    let vpcs: BTreeSet<_> = subnets.iter().map(|subnet| subnet.vpc_id.as_str()).collect();
    if vpcs.len() > 1 {
        let vpcs: Vec<_> = vpcs.into_iter().collect();
        return Some(format!("the subnets are in several VPCs ({}): EKS needs a single VPC", vpcs.join(", ")));
    }
    let zones: BTreeSet<_> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    if zones.len() < 2 {
        let zones: Vec<_> = zones.into_iter().collect();
        return Some(format!(
            "the subnets are in one availability zone ({}): EKS needs subnets in at least two",
            zones.join(", ")
        ));
    }
    let full: Vec<_> = subnets
        .iter()
        .filter(|subnet| !cluster_exists && subnet.free_addresses < FREE_ADDRESSES)
        .map(|subnet| format!("{} has {}", subnet.id, subnet.free_addresses))
        .collect();
    if !full.is_empty() {
        return Some(format!("too few free addresses: {}; EKS needs {FREE_ADDRESSES} in each", full.join(", ")));
    }
    None
}

fn to_observation(mut subnets: Vec<Subnet>) -> Observation<()> {
    subnets.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
    let ids: Vec<_> = subnets.iter().map(|subnet| subnet.id.clone()).collect();
    let subnets_json: Vec<_> = subnets
        .iter()
        .map(|subnet| {
            let tier = if subnet.map_public_ip_on_launch { "Public" } else { "Private" };
            serde_json::json!({"id": subnet.id, "zone": subnet.zone, "tier": tier, "cidr": subnet.cidr})
        })
        .collect();
    let vpc = subnets.first().map(|subnet| subnet.vpc_id.clone()).unwrap_or_default();
    Observation::ready(&vpc, "given", ())
        .output("vpcId", vpc)
        .output(SUBNET_IDS, ids.join(","))
        .output("subnets", serde_json::Value::from(subnets_json).to_string())
}

#[async_trait]
impl Resource for ExistingNetwork {
    type Cloud = Cloud;
    type Detail = ();

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
            Err(_) => Vec::new(),
        }
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn diff(&self, _: &Observation<()>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<()>>,
    ) -> Result<Presence<()>, Failure> {
        let kind = self.wanted.subnets().map_err(|error| Failure::invalid(error.to_string()))?;
        // The network's owner may have deleted or changed it: that must not block the deletion of a cluster.
        let deleting = options.goal == Goal::Deleted;
        let (subnets, requested): (Vec<Subnet>, &[String]) = match kind {
            ExistingSubnets::Ids(ids) => {
                let answer = cloud.aws.snapshots.subnets_by_id(ids, max_staleness(options)).await;
                let all = match answer {
                    Err(error) if error.class() == Class::NotFound && deleting => return Ok(Presence::Absent),
                    // EC2 rejects the whole request for one unknown id.
                    Err(error) if error.class() == Class::NotFound => {
                        return Err(Failure::invalid(format!("network.existing.subnetIds: {error}")));
                    }
                    other => other?,
                };
                (all.iter().filter(|subnet| ids.contains(&subnet.id)).cloned().collect(), ids)
            }
            ExistingSubnets::Tagged { vpc_id, tags } => {
                (cloud.aws.snapshots.subnets_by_tags(vpc_id, tags, max_staleness(options)).await?.to_vec(), &[])
            }
        };
        if deleting && subnets.is_empty() {
            return Ok(Presence::Absent);
        }
        if !deleting && let Some(why) = find_problem(&subnets, requested, refs.get(&cluster::key()).is_some()) {
            return Err(Failure::invalid(format!("network.existing: {why}")));
        }
        Ok(Presence::External(to_observation(subnets)))
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("an existing network is never created"))
    }

    async fn update(&self, _: &Cloud, _: &Refs, _: &Observation<()>, _: &[Change]) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("an existing network is never changed"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<()>) -> Result<Presence<()>, Failure> {
        Err(Failure::invalid("an existing network is never deleted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tags::Tags;

    fn subnet(id: &str, vpc: &str, zone: &str, free: i32) -> Subnet {
        Subnet {
            id: id.into(),
            vpc_id: vpc.into(),
            state: None,
            zone: zone.into(),
            zone_id: String::new(),
            cidr: "10.0.0.0/24".into(),
            ipv6_cidrs: Vec::new(),
            free_addresses: free,
            map_public_ip_on_launch: false,
            tags: Tags::new(),
        }
    }

    #[test]
    fn unsuitable_subnets_are_rejected_with_the_reason() {
        let (a, b) = (subnet("s-a", "v", "z1", 100), subnet("s-b", "v", "z2", 100));
        let requested = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(find_problem(&[a.clone(), b.clone()], &requested(&["s-a", "s-b"]), false), None);
        for (subnets, ids, expected) in [
            (vec![a.clone()], vec!["s-a", "s-x"], "subnet s-x does not exist"),
            (vec![], vec![], "subnetSelector"),
            (vec![a.clone(), subnet("s-c", "w", "z2", 100)], vec![], "several VPCs (v, w)"),
            (vec![a.clone(), subnet("s-c", "v", "z1", 100)], vec![], "one availability zone (z1)"),
            (vec![a.clone(), subnet("s-c", "v", "z2", 3)], vec![], "s-c has 3"),
        ] {
            let why = find_problem(&subnets, &requested(&ids), false).unwrap_or_default();
            assert!(why.contains(expected), "{why}");
        }
        assert_eq!(find_problem(&[a, subnet("s-c", "v", "z2", 3)], &[], true), None);
    }
}
