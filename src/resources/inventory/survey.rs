//! What Keelson must know about AWS before it expands a graph, and the last check before it removes the finalizer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account_lists::AccountLists;
use super::zones::RegionZones;
use crate::aws::tags::{self, Tags};
use crate::aws::{MaxStaleness, Service, Session};
use crate::engine::{Class, Failure, Key, Plan};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::removals;
use crate::resources::eks::lists;
use crate::resources::graph::kinds;
use crate::resources::graph::proof::{Owned, Records};
use crate::resources::iam::role;
use crate::resources::network::vpc;

/// How long zones are cached: they change once in years.
const ZONES_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// What exists already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The zones of the region.
    pub zones: RegionZones,
    /// Keys of all resources that carry the owner's tag and are proven to be the object's.
    pub owned: Vec<Key>,
    /// The same with ids, of everything found or recorded.
    pub owned_ids: Vec<Owned>,
    /// Endpoint services that `private` stands for and the region does not have, as far as they were asked for.
    pub missing_services: BTreeSet<String>,
}

/// Reads the available zones and what the object owns in EC2 and IAM.
pub async fn survey(cloud: &Cloud, max_age: Duration, records: &Records) -> Result<Survey, Failure> {
    let zones = RegionZones::of(&cloud.aws.snapshots.zones(MaxStaleness::within(ZONES_MAX_AGE)).await?);
    let Tagged { ours, .. } = list_tagged(cloud, MaxStaleness::within(max_age), records).await?;
    // A recorded resource may be newer than these lists or missing in them. It is observed before anything is done to
    // it.
    let recorded = records.ids().filter(|(key, _)| removals::is_removable(key) || kinds::is_kept(key));
    // Of a kind that no list has, one may exist whose creation is recorded without its result: its key is named after its id.
    let is_listed = |key: &Key| kinds::find(key.kind()).is_none_or(|kind| kind.tags_of.is_none());
    let is_inside = |key: &Key| removals::is_removable(key) && kinds::is_in_cluster(key);
    let intended = records.intents().filter(|key| !is_listed(key) || is_inside(key));
    let recorded = recorded.chain(intended.map(|key| (key.clone(), key.name().to_owned())));
    let recorded: Vec<Owned> = recorded.filter(|(key, _)| ours.iter().all(|(other, _)| other != key)).collect();
    let owned_ids: Vec<Owned> = ours.into_iter().chain(recorded).collect();
    let keys: BTreeSet<Key> = owned_ids.iter().map(|(key, _)| key.clone()).collect();
    Ok(Survey { zones, owned: keys.into_iter().collect(), owned_ids, missing_services: BTreeSet::new() })
}

/// Resources that carry the owner's tag, each as "key id".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Resources of the object.
    pub ours: Vec<String>,
    /// Unproven resources: neither recorded nor in a recorded resource.
    pub unproven: Vec<String>,
}

/// Everything that still carries the owner's tag, freshly read: what the lists of the account show, and of the kinds in the plan what is
/// found by its name. Services that the cluster never used are not asked: they may be out of reach, or not permitted.
pub async fn list_remaining(
    cloud: &Cloud,
    cluster_name: &str,
    plan: &Plan,
    records: &Records,
) -> Result<Remaining, Failure> {
    let Tagged { mut ours, mut unproven } = list_tagged(cloud, MaxStaleness::now(), records).await?;
    let planned = kinds::ALL.iter().filter(|kind| plan.items.iter().any(|item| kind.is_of(&item.key)));
    let by_name = planned.map(|kind| kind.find_named(&cloud.aws, cluster_name));
    for (id, _, tags) in futures::future::try_join_all(by_name).await?.into_iter().flatten() {
        let Some(key) = tags.resource().map(Key::parse).filter(|_| tags.is_owned_by(&cloud.owner.uid)) else {
            continue;
        };
        let to = if cloud.trusts_tags || records.proves(&key, &id) { &mut ours } else { &mut unproven };
        to.push((key, id));
    }
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

/// The VPC of the object `namespace/name`, from its tags: for callers without records.
pub async fn find_vpc(aws: &Session, cluster: &str) -> Result<Option<String>, Failure> {
    let vpcs = aws.snapshots.vpcs(MaxStaleness::any()).await?;
    let is_of_cluster = |tags: &Tags| tags.owner().is_some() && tags.get(tags::CLUSTER) == Some(cluster);
    Ok(vpcs.iter().find(|vpc| is_of_cluster(&vpc.tags)).map(|vpc| vpc.id.clone()))
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
