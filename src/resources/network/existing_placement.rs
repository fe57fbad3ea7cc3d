//! The subnets of an existing network that a control plane is to have, and what of the network's later changes EKS would
//! refuse. Pure.
//!
//! EKS takes other subnets for a cluster only in the zones that it was created in, and at least one in each:
//! <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#network-requirements-vpc>. What it would refuse is
//! not sent: it is reported, as a network of others changes without an edit of the spec.

use std::collections::{BTreeMap, BTreeSet};

use super::existing_subnets::Network;
use crate::aws::snapshots::Subnet;
use crate::engine::Change;

/// EKS needs up to this many free addresses in a subnet to update a cluster.
const UPDATE_ADDRESSES: i32 = 5;
const FIELD: &str = "network.existing";

/// A subnet of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSubnet {
    /// Its zone, if it is known.
    pub zone: Option<String>,
    /// Whether it still exists.
    pub exists: bool,
}

/// The subnets to use, and what is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Ids, sorted by zone.
    pub ids: Vec<String>,
    /// Differences that no call can correct.
    pub reported: Vec<Change>,
}

/// The placement of a cluster that has the subnets `cluster`; empty: it does not exist yet.
pub fn place(network: &Network, cluster: &BTreeMap<String, ClusterSubnet>) -> Placement {
    let mut placement = Placement::default();
    if cluster.is_empty() {
        placement.ids = sorted(network.suitable());
        return placement;
    }
    let report = |from: &str, to: &str, why: String| Change::reported(FIELD, from, to, why);
    for id in network.missing() {
        placement.reported.push(report("", &id, format!("{id} does not exist any more: list another subnet instead")));
    }
    for why in &network.unresolved {
        placement.reported.push(report("", "one subnet", why.clone()));
    }
    let zones: BTreeSet<&String> = cluster.values().filter_map(|placed| placed.zone.as_ref()).collect();
    let vpc = network.subnets.iter().find(|one| cluster.contains_key(&one.id)).map(|one| &one.vpc_id);
    let mut kept: Vec<&Subnet> = Vec::new();
    for subnet in &network.subnets {
        match why_not_added(network, subnet, cluster, &zones, vpc) {
            None => kept.push(subnet),
            Some(why) => placement.reported.push(report("", &subnet.id, why)),
        }
    }
    let mut ids = sorted(kept.clone());
    let covered: BTreeSet<&String> = kept.iter().map(|subnet| &subnet.zone).collect();
    let mut is_complete = true;
    // One of the cluster's subnets may be what an entry means.
    let is_open = !network.unresolved.is_empty();
    for (id, placed) in cluster {
        let listed = network.subnets.iter().any(|subnet| subnet.id == *id);
        let needed = placed.zone.as_ref().is_none_or(|zone| !covered.contains(zone));
        if !placed.exists {
            let why = format!("{id}, where the cluster is placed, does not exist any more");
            placement.reported.push(report(id, "", why));
            is_complete &= !needed;
        } else if (needed || is_open) && !listed {
            let zone = placed.zone.as_deref().unwrap_or_default();
            let why = match needed {
                true => {
                    format!("EKS keeps a cluster in all its zones: {id} stays until there is another subnet in {zone}")
                }
                false => format!("{id} stays until each entry of subnets is one subnet: it may be one of them"),
            };
            placement.reported.push(report(id, "", why));
            ids.push(id.clone());
        }
    }
    // A list without one of its zones would be refused.
    placement.ids = if is_complete { ids } else { cluster.keys().cloned().collect() };
    placement
}

fn why_not_added(
    network: &Network,
    subnet: &Subnet,
    cluster: &BTreeMap<String, ClusterSubnet>,
    zones: &BTreeSet<&String>,
    vpc: Option<&String>,
) -> Option<String> {
    if cluster.contains_key(&subnet.id) {
        return None;
    }
    let (id, zone) = (&subnet.id, &subnet.zone);
    if let Some(why) = network.why_unsuitable(subnet) {
        return Some(format!("{why}: it is left out"));
    }
    if let Some(vpc) = vpc.filter(|vpc| **vpc != subnet.vpc_id) {
        return Some(format!("{id} is in {}, and the cluster in {vpc}: it is left out", subnet.vpc_id));
    }
    if !zones.contains(zone) {
        return Some(format!("{id} is in {zone}, and EKS adds no zone to a cluster: it is left out"));
    }
    (subnet.free_addresses < UPDATE_ADDRESSES).then(|| {
        format!("{id} has {} free addresses, and EKS needs {UPDATE_ADDRESSES}: it is left out", subnet.free_addresses)
    })
}

fn sorted(mut subnets: Vec<&Subnet>) -> Vec<String> {
    subnets.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
    subnets.into_iter().map(|subnet| subnet.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::existing_subnets::tests::subnet;
    use super::*;

    fn network(subnets: &[Subnet]) -> Network {
        Network { subnets: subnets.to_vec(), ..Network::default() }
    }

    fn cluster(subnets: &[(&str, Option<&str>, bool)]) -> BTreeMap<String, ClusterSubnet> {
        let placed = |zone: Option<&str>, exists| ClusterSubnet { zone: zone.map(str::to_owned), exists };
        subnets.iter().map(|(id, zone, exists)| ((*id).to_owned(), placed(*zone, *exists))).collect()
    }

    fn whys(placement: &Placement) -> Vec<String> {
        let why = |change: &Change| match &change.how {
            crate::engine::Correction::Reported(why) => why.clone(),
            other => format!("{other:?}"),
        };
        placement.reported.iter().map(why).collect()
    }

    #[test]
    fn new_cluster_uses_all_suitable_subnets() {
        let all = [subnet("s-b", "v", "z2", 99), subnet("s-a", "v", "z1", 99)];
        assert_eq!(place(&network(&all), &BTreeMap::new()).ids, ["s-a", "s-b"]);
    }

    #[test]
    fn changes_that_eks_refuses_are_reported_and_not_sent() {
        let (a, b) = (subnet("s-a", "v", "z1", 99), subnet("s-b", "v", "z2", 99));
        let both = cluster(&[("s-a", Some("z1"), true), ("s-b", Some("z2"), true)]);
        let check = |subnets: &[Subnet], cluster: &BTreeMap<String, ClusterSubnet>, ids: &[&str], why: &[&str]| {
            let placement = place(&network(subnets), cluster);
            assert_eq!(placement.ids, ids, "{placement:?}");
            let found = whys(&placement);
            assert!(found.len() == why.len() && found.iter().zip(why).all(|(a, b)| a.contains(b)), "{found:?}");
        };
        check(&[a.clone(), b.clone()], &both, &["s-a", "s-b"], &[]);
        let unresolved = Network { unresolved: vec!["v has no subnet".into()], ..network(&[a.clone(), b.clone()]) };
        assert_eq!(whys(&place(&unresolved, &both)), ["v has no subnet"]);
        let more = [a.clone(), b.clone(), subnet("s-c", "v", "z3", 99)];
        check(&more, &both, &["s-a", "s-b"], &["s-c is in z3, and EKS adds no zone"]);
        let full = [a.clone(), b.clone(), subnet("s-c", "v", "z1", 4)];
        check(&full, &both, &["s-a", "s-b"], &["s-c has 4 free addresses"]);
        let same_zone = [a.clone(), b.clone(), subnet("s-c", "v", "z1", 99)];
        check(&same_zone, &both, &["s-a", "s-c", "s-b"], &[]);
        check(std::slice::from_ref(&a), &both, &["s-a", "s-b"], &["s-b stays until there is another subnet in z2"]);
        // Its own subnet is full: that is no reason to leave it out.
        check(&[subnet("s-a", "v", "z1", 0), b.clone()], &both, &["s-a", "s-b"], &[]);
        let gone = cluster(&[("s-a", Some("z1"), true), ("s-b", Some("z2"), false)]);
        check(std::slice::from_ref(&a), &gone, &["s-a", "s-b"], &["s-b, where the cluster is placed, does not exist"]);
        check(&[a.clone(), subnet("s-d", "v", "z2", 99)], &gone, &["s-a", "s-d"], &["does not exist any more"]);
        let three = cluster(&[("s-a", Some("z1"), true), ("s-b", Some("z2"), true), ("s-e", Some("z1"), true)]);
        check(&[a.clone(), b.clone()], &three, &["s-a", "s-b"], &[]);
        let placement = place(&unresolved, &three);
        assert_eq!(placement.ids, ["s-a", "s-b", "s-e"], "nothing is taken away while it is unclear what is meant");
        assert!(whys(&placement)[1].starts_with("s-e stays until each entry"), "{placement:?}");
        let unknown = cluster(&[("s-a", Some("z1"), true), ("s-b", None, false)]);
        let replaced = [a, subnet("s-d", "v", "z2", 99)];
        check(&replaced, &unknown, &["s-a", "s-b"], &["s-d is in z2", "does not exist any more"]);
    }
}
