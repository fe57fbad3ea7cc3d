//! A network that the user brings: nothing is made in it; its subnets are found and checked.
//!
//! What EKS asks of subnets: <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::cloud::{Cloud, Intervals, ResourceContext, fresh};
use super::cluster::{self, SUBNET_IDS};
use crate::api::network::{ExistingNetwork as Wanted, ExistingSubnets};
use crate::aws::snapshots::Subnet;
use crate::engine::{
    Change, Class, Failure, Goal, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource,
};

/// EKS takes no subnet with fewer free addresses.
const FREE_ADDRESSES: i32 = 5;

/// Subnets that exist.
pub struct ExistingNetwork {
    wanted: Wanted,
    intervals: Intervals,
}

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("existingNetwork")
}

impl ExistingNetwork {
    /// The subnets that `wanted` names or selects.
    pub fn new(making: &ResourceContext<'_>, wanted: &Wanted) -> Self {
        Self { wanted: wanted.clone(), intervals: making.intervals }
    }
}

/// Why the subnets will not do, if so. Free addresses matter before the cluster is made, not after: it has taken its own.
fn refusal(subnets: &[Subnet], asked: &[String], cluster_exists: bool) -> Option<String> {
    let found: BTreeSet<_> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    let missing: Vec<_> = asked.iter().filter(|id| !found.contains(id.as_str())).cloned().collect();
    if !missing.is_empty() {
        return Some(format!("there is no subnet {} in this account and region", missing.join(", ")));
    }
    if subnets.is_empty() {
        return Some("no subnet carries the tags of subnetSelector".into());
    }
    let vpcs: BTreeSet<_> = subnets.iter().map(|subnet| subnet.vpc_id.as_str()).collect();
    if vpcs.len() > 1 {
        let vpcs: Vec<_> = vpcs.into_iter().collect();
        return Some(format!("the subnets lie in several VPCs ({}): EKS takes one", vpcs.join(", ")));
    }
    let zones: BTreeSet<_> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    if zones.len() < 2 {
        let zones: Vec<_> = zones.into_iter().collect();
        return Some(format!(
            "the subnets lie in one availability zone ({}): EKS needs subnets in at least two",
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

fn observed(mut subnets: Vec<Subnet>) -> Observation<()> {
    subnets.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
    let ids: Vec<_> = subnets.iter().map(|subnet| subnet.id.clone()).collect();
    let listed: Vec<_> = subnets
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
        .output("subnets", serde_json::Value::from(listed).to_string())
}

#[async_trait]
impl Resource for ExistingNetwork {
    type Cloud = Cloud;
    type Detail = ();

    fn key(&self) -> Key {
        key()
    }

    /// Once the cluster is there its own addresses count as taken.
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
                vec![("subnets", format!("those of {vpc_id} with {}", tags.join(", ")))]
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
        // Whoever made it may have taken it away, or changed it: that keeps nobody from deleting a cluster.
        let goes = options.goal == Goal::Deleted;
        let (subnets, asked): (Vec<Subnet>, &[String]) = match kind {
            ExistingSubnets::Ids(ids) => {
                let answer = cloud.aws.snapshots.subnets_by_id(ids, fresh(options)).await;
                let all = match answer {
                    Err(error) if error.class() == Class::NotFound && goes => return Ok(Presence::Absent),
                    // EC2 refuses the whole question for one unknown id.
                    Err(error) if error.class() == Class::NotFound => {
                        return Err(Failure::invalid(format!("network.existing.subnetIds: {error}")));
                    }
                    other => other?,
                };
                (all.iter().filter(|subnet| ids.contains(&subnet.id)).cloned().collect(), ids)
            }
            ExistingSubnets::Tagged { vpc_id, tags } => {
                (cloud.aws.snapshots.subnets_by_tags(vpc_id, tags, fresh(options)).await?.to_vec(), &[])
            }
        };
        if goes && subnets.is_empty() {
            return Ok(Presence::Absent);
        }
        if !goes && let Some(why) = refusal(&subnets, asked, refs.get(&cluster::key()).is_some()) {
            return Err(Failure::invalid(format!("network.existing: {why}")));
        }
        Ok(Presence::External(observed(subnets)))
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("an existing network is never made"))
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
    fn what_will_not_do_is_refused_with_the_reason() {
        let (a, b) = (subnet("s-a", "v", "z1", 100), subnet("s-b", "v", "z2", 100));
        let asked = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(refusal(&[a.clone(), b.clone()], &asked(&["s-a", "s-b"]), false), None);
        for (subnets, ids, says) in [
            (vec![a.clone()], vec!["s-a", "s-x"], "no subnet s-x"),
            (vec![], vec![], "subnetSelector"),
            (vec![a.clone(), subnet("s-c", "w", "z2", 100)], vec![], "several VPCs (v, w)"),
            (vec![a.clone(), subnet("s-c", "v", "z1", 100)], vec![], "one availability zone (z1)"),
            (vec![a.clone(), subnet("s-c", "v", "z2", 3)], vec![], "s-c has 3"),
        ] {
            let why = refusal(&subnets, &asked(&ids), false).unwrap_or_default();
            assert!(why.contains(says), "{why}");
        }
        assert_eq!(refusal(&[a, subnet("s-c", "v", "z2", 3)], &[], true), None);
    }
}
