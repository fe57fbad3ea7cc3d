//! What Keelson must know about AWS before it expands a graph, and the last check before it removes the finalizer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account_lists::AccountLists;
use crate::api::SpecError;
use crate::api::network::{Vpc, Zones};
use crate::aws::snapshots::catalogue::AvailabilityZoneState;
use crate::aws::tags::{self, Tags};
use crate::aws::{MaxStaleness, Service, Session};
use crate::engine::{Class, Failure, Key};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::removals;
use crate::resources::eks::lists;
use crate::resources::graph::proof::{Owned, Records};
use crate::resources::graph::{kinds, layout};
use crate::resources::iam::role;
use crate::resources::network::{subnet, vpc};

/// How long zones are cached: they change once in years.
const ZONES_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// What exists already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Available zones of the region, sorted by name.
    pub available_zones: Vec<String>,
    /// Keys of all resources that carry the owner's tag and are proven to be the object's.
    pub owned: Vec<Key>,
    /// The same with ids, of everything found or recorded.
    pub owned_ids: Vec<Owned>,
}

/// Reads the available zones and what the object owns in EC2 and IAM.
pub async fn survey(cloud: &Cloud, max_age: Duration, records: &Records) -> Result<Survey, Failure> {
    let zones = cloud.aws.snapshots.zones(MaxStaleness::within(ZONES_MAX_AGE)).await?;
    let usable = zones.iter().filter(|zone| zone.state == Some(AvailabilityZoneState::Available));
    let mut available_zones: Vec<_> = usable.map(|zone| zone.name.clone()).collect();
    available_zones.sort();
    let Tagged { ours, .. } = list_tagged(cloud, MaxStaleness::within(max_age), records).await?;
    // A recorded resource may be newer than these lists or missing in them. It is observed before anything is done to
    // it.
    let recorded = records.ids().filter(|(key, _)| removals::is_removable(key));
    let recorded: Vec<Owned> = recorded.filter(|(key, _)| ours.iter().all(|(other, _)| other != key)).collect();
    let owned_ids: Vec<Owned> = ours.into_iter().chain(recorded).collect();
    let keys: BTreeSet<Key> = owned_ids.iter().map(|(key, _)| key.clone()).collect();
    Ok(Survey { available_zones, owned: keys.into_iter().collect(), owned_ids })
}

/// Resources that carry the owner's tag, each as "key id".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Resources of the object.
    pub ours: Vec<String>,
    /// Unproven resources: neither recorded nor in a recorded resource.
    pub unproven: Vec<String>,
}

/// Everything that still carries the owner's tag, freshly read.
pub async fn list_remaining(cloud: &Cloud, records: &Records) -> Result<Remaining, Failure> {
    let Tagged { ours, unproven } = list_tagged(cloud, MaxStaleness::now(), records).await?;
    let describe_all = |all: Vec<Owned>| all.into_iter().map(|(key, id)| format!("{key} {id}")).collect();
    Ok(Remaining { ours: describe_all(ours), unproven: describe_all(unproven) })
}

struct Tagged {
    ours: Vec<Owned>,
    unproven: Vec<Owned>,
}

async fn list_tagged(cloud: &Cloud, staleness: MaxStaleness, records: &Records) -> Result<Tagged, Failure> {
    let lists = AccountLists::read(&cloud.aws, staleness).await?;
    let of_vpcs = records.classify(cloud, &lists.of(&vpc::KIND), &BTreeSet::new());
    let owned_vpcs: BTreeSet<String> = of_vpcs.0.iter().map(|(_, id)| id.clone()).collect();
    let others = kinds::ALL.iter().filter(|kind| kind.name != vpc::KIND.name);
    let others = others.map(|kind| records.classify(cloud, &lists.of(kind), &owned_vpcs));
    let (ours, unproven): (Vec<_>, Vec<_>) = std::iter::once(of_vpcs).chain(others).unzip();
    let (mut ours, mut unproven) = (ours.concat(), unproven.concat());
    for role in lists.roles.iter().filter(|role| role.tags.is_owned_by(&cloud.owner.uid)) {
        let Some(key) = role.tags.resource().map(Key::parse) else { continue };
        // Its name contains a hash of the UID.
        let proven = cloud.trusts_tags || role::is_named_for(&role.name, &cloud.owner.uid);
        let recorded = records.proves(&key, &role.name) || records.proves(&key, &role.arn);
        let to = if proven || recorded { &mut ours } else { &mut unproven };
        to.push((key, role.name.clone()));
    }
    Ok(Tagged { ours, unproven })
}

/// The UID of the object `namespace/name` with the cluster `cluster_name`, from the tags of its resources: for callers
/// without the object.
pub async fn find_owner(aws: &Session, cluster: &str, cluster_name: &str) -> Result<Option<String>, Failure> {
    let (vpcs, roles) =
        futures::try_join!(aws.snapshots.vpcs(MaxStaleness::any()), aws.snapshots.roles(MaxStaleness::any()))?;
    // Retained resources carry the cluster's name, too, but no owner.
    let of_cluster = |tags: &Tags| tags.owner().filter(|_| tags.get(tags::CLUSTER) == Some(cluster)).map(str::to_owned);
    let vpc = vpcs.iter().find_map(|vpc| of_cluster(&vpc.tags));
    if let Some(found) = vpc.or_else(|| roles.iter().find_map(|role| of_cluster(&role.tags))) {
        return Ok(Some(found));
    }
    // An adopted cluster has an external network and role.
    let request = aws.eks.describe_cluster().name(cluster_name);
    match aws.call(Service::Eks, "DescribeCluster", cluster_name, request.send()).await {
        Err(error) if error.class() == Class::NotFound => Ok(None),
        other => Ok(of_cluster(&Tags::from_eks(other?.cluster.as_ref().and_then(|cluster| cluster.tags())))),
    }
}

/// The names of the roles that carry the UID, by key: for callers without records.
pub async fn find_roles(aws: &Session, uid: &str) -> Result<BTreeMap<Key, String>, Failure> {
    let roles = aws.snapshots.roles(MaxStaleness::any()).await?;
    let ours = roles.iter().filter(|role| role.tags.is_owned_by(uid));
    Ok(ours.filter_map(|role| Some((Key::parse(role.tags.resource()?), role.name.clone()))).collect())
}

/// The UID of the NodeGroup of cluster object `namespace/name` that owns a node group, from its tags.
pub async fn find_node_group_owner(
    aws: &Session,
    cluster_name: &str,
    name: &str,
    cluster: &str,
) -> Result<Option<String>, Failure> {
    let group = lists::node_group(aws, cluster_name, name).await?;
    let tags = Tags::from_eks(group.as_ref().and_then(|group| group.tags()));
    Ok(tags.owner().filter(|_| tags.get(tags::CLUSTER) == Some(cluster)).map(str::to_owned))
}

/// The zones of a VPC's subnets. Zones with subnets stay; otherwise those of the spec, or the first by name.
pub fn choose_zones(vpc: &Vpc, survey: &Survey) -> Result<Vec<String>, SpecError> {
    let owned_ids: BTreeSet<&str> =
        survey.owned.iter().filter_map(|key| subnet::zone_of(key).map(|(_, zone)| zone)).collect();
    let available = &survey.available_zones;
    match vpc.zones() {
        Zones::Named(names) => {
            let unknown: Vec<_> = names.iter().filter(|name| !available.contains(name)).cloned().collect();
            if !unknown.is_empty() {
                return Err(SpecError::new(
                    "spec.network.vpc.zones",
                    format!("{} cannot be used here; available: {}", unknown.join(", "), available.join(", ")),
                ));
            }
            // Sorted, so that the order in the spec does not move a subnet.
            let mut names = names.to_vec();
            names.sort();
            Ok(names)
        }
        Zones::Count(count) => {
            let count = usize::from(count);
            // Sorted by name, so that a zone's blocks in the layout never change.
            let more = available.iter().map(String::as_str).filter(|zone| !owned_ids.contains(zone));
            let mut chosen: Vec<String> =
                owned_ids.iter().copied().chain(more).take(count.max(owned_ids.len())).map(str::to_owned).collect();
            if chosen.len() < count.min(layout::MAX_ZONES) {
                return Err(SpecError::new(
                    "spec.network.vpc.zoneCount",
                    format!(
                        "{count} zones requested, but the region has {}: {}",
                        available.len(),
                        available.join(", ")
                    ),
                ));
            }
            chosen.sort();
            Ok(chosen)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::node_group::SubnetTier;

    fn survey(available: &[&str], owned_ids: &[&str]) -> Survey {
        Survey {
            available_zones: available.iter().map(|zone| (*zone).to_owned()).collect(),
            owned: owned_ids.iter().map(|zone| subnet::key(SubnetTier::Private, zone)).collect(),
            owned_ids: Vec::new(),
        }
    }

    fn with_count(count: u8) -> Vpc {
        Vpc { zone_count: count, ..Vpc::default() }
    }

    #[test]
    fn first_zones_are_used_and_zones_with_subnets_stay() {
        let zones = ["r-a", "r-b", "r-c", "r-d"];
        assert_eq!(choose_zones(&with_count(3), &survey(&zones, &[])).unwrap(), ["r-a", "r-b", "r-c"]);
        assert_eq!(choose_zones(&with_count(2), &survey(&zones, &["r-c", "r-d"])).unwrap(), ["r-c", "r-d"]);
    }

    #[test]
    fn too_many_and_unknown_zones_are_rejected() {
        let error = choose_zones(&with_count(3), &survey(&["r-a", "r-b"], &[])).unwrap_err();
        assert!(error.to_string().contains("the region has 2"), "{error}");
        let named = Vpc { zones: Some(vec!["r-a".into(), "x-a".into()]), ..Vpc::default() };
        let error = choose_zones(&named, &survey(&["r-a", "r-b"], &[])).unwrap_err();
        assert!(error.to_string().contains("x-a cannot be used"), "{error}");
    }
}
