//! Resources that an earlier spec requested and the current one does not: NAT gateways with their addresses and routes,
//! VPC endpoints with their security group, the OIDC provider, roles of Pods, the identity provider, capabilities. They are deleted so that nothing loses what it still
//! uses.
//!
//! The survey provides them: they carry our tags, and are recorded or in our VPC. The checker compares each with the
//! record again ([`Proof::CreatedEarlier`]). The calls are in [`super::removal_calls`].

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::engine::failure::span;
use crate::engine::memory::Entry;
use crate::engine::{
    Action, Change, CheckedSweep, Class, Failure, Graph, Key, Memory, Observation, ObserveOptions, Phase, PollPolicy,
    Presence, Proof, Refs, Resource, Scope, Sweep, Target,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::eks::identity_provider;
use crate::resources::graph::kind::{Area, Kind, Removal};
use crate::resources::graph::kinds;
use crate::resources::graph::proof::Owned;
use crate::resources::iam::oidc_provider;
use crate::resources::network::route_table::Table;
use crate::resources::network::{nat_gateway, route, security_group, vpc, vpc_endpoint};

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("removals", "resources removed from the spec", Area::Cleanup).without_resource().with_actions(&[
        "ec2:DeleteNatGateway",
        "ec2:DeleteRoute",
        "ec2:DeleteSecurityGroup",
        "ec2:DescribeAddresses",
        "ec2:DescribeNatGateways",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeVpcEndpoints",
        "ec2:ReleaseAddress",
        "eks:DescribePodIdentityAssociation",
        "eks:ListPodIdentityAssociations",
        "iam:DeleteOpenIDConnectProvider",
        "iam:GetAccountAuthorizationDetails",
        "iam:ListOpenIDConnectProviders",
    ]);

/// The resources that the spec no longer requests.
pub struct Removals {
    pub(super) cluster: String,
    pub(crate) owner: String,
    /// Key and id of each.
    pub(crate) resources: Vec<Owned>,
    /// Routes of the current spec: they are moved, not removed.
    pub(crate) wanted_routes: BTreeSet<Key>,
    /// Replacements, which must exist first.
    after: Vec<Key>,
    /// Whether something waits for a removal.
    is_awaited: bool,
    pub(super) intervals: Intervals,
}

/// A resource to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its former key in the graph.
    pub key: Key,
    /// The id.
    pub id: String,
    /// The owner from the tag (for a route: from its table).
    pub owner: String,
    /// The owned resource that contains it.
    pub place: Option<(Key, String)>,
    /// Whether AWS is deleting it.
    pub deleting: bool,
    /// What still uses it and is removed first.
    pub used_by: Vec<String>,
    /// What uses it and is not ours to remove, as a message.
    pub blocked_by: Option<String>,
}

/// What Keelson observes of the resources to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// What still exists.
    pub found: Vec<Found>,
    /// What is already deleted.
    pub deleted: Vec<Key>,
    /// What is deleted later: Pods may hold its credentials.
    pub later: Vec<Key>,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

/// The field of the spec that requested it.
fn field(key: &Key) -> String {
    if vpc_endpoint::KIND.is_of(key) {
        return format!("network.vpc.endpoints[{}]", key.name());
    }
    if security_group::KIND.is_of(key) {
        return "network.vpc.endpoints[securityGroup]".to_owned();
    }
    if oidc_provider::KIND.is_of(key) {
        return "oidcProvider".to_owned();
    }
    match removal_of(key) {
        Some(removal) => format!("{}[{}]", removal.field, key.name()),
        None => format!("network.vpc.nat[{key}]"),
    }
}

impl Removals {
    /// The resources of `existing` that no resource of the graph (`nodes`) represents; `None` if there are none.
    pub fn new(context: &ResourceContext<'_>, existing: &[Owned], nodes: &BTreeSet<Key>) -> Option<Self> {
        let dropped = |(key, _): &&Owned| is_of_removable_kind(key) && !nodes.contains(key);
        let resources: Vec<Owned> = existing.iter().filter(dropped).cloned().collect();
        let replaces = |key: &Key| {
            let has_earlier = resources.iter().any(|(earlier, _)| earlier.kind() == key.kind());
            removal_of(key).is_some() && has_earlier && !must_wait_for_removal(key, &resources)
        };
        let before = [vpc::KIND, vpc_endpoint::KIND, nat_gateway::KIND, route::KIND];
        let is_replacement = |key: &&Key| before.iter().any(|kind| kind.is_of(key)) || replaces(key);
        let after = nodes.iter().filter(is_replacement).cloned().collect();
        (!resources.is_empty()).then(|| Self {
            cluster: context.cluster_name.into(),
            owner: context.owner.uid.clone(),
            after,
            is_awaited: nodes.iter().any(|key| must_wait_for_removal(key, &resources)),
            resources,
            wanted_routes: nodes.iter().filter(|key| route::KIND.is_of(key)).cloned().collect(),
            intervals: context.intervals,
        })
    }

    pub(crate) fn ids_of(&self, kind: &Kind) -> impl Iterator<Item = &Owned> {
        self.resources.iter().filter(|(key, _)| kind.is_of(key))
    }
}

/// Builds the observation; it is busy while a deletion is in progress, and incomplete while something waits for one.
fn to_observation(observed: Detail, is_awaited: bool) -> Observation<Detail> {
    let deleting: Vec<_> = observed.found.iter().filter(|found| found.deleting).map(|found| found.id.clone()).collect();
    let state = if observed.found.is_empty() { "none" } else { "found" };
    let is_awaited = is_awaited && observed.found.iter().any(|found| removal_of(&found.key).is_some());
    let all = Observation::ready("list", state, observed);
    if deleting.is_empty() {
        return if is_awaited { all.phase(Phase::Incomplete) } else { all };
    }
    all.phase(Phase::Busy { action: Action::Update, since: None, note: format!("deleting {}", deleting.join(", ")) })
}

/// What can be deleted now, what waits for others, and what blocks a deletion.
fn plan_sweep(found: &[Found]) -> Sweep {
    let mut sweep = Sweep::default();
    let deletable_now: BTreeSet<&str> =
        found.iter().filter(|one| one.used_by.is_empty() && !one.deleting).map(|one| one.id.as_str()).collect();
    let mut pending = Vec::new();
    for one in found.iter().filter(|one| !one.deleting) {
        // A route is deleted in the same sweep, before its gateway.
        let waits: Vec<_> = one
            .used_by
            .iter()
            .filter(|id| !(nat_gateway::KIND.is_of(&one.key) && deletable_now.contains(id.as_str())))
            .cloned()
            .collect();
        if let Some(blocker) = &one.blocked_by {
            let message = format!("{} {} is no longer requested and cannot be deleted: {blocker}", one.key, one.id);
            sweep.blocked.get_or_insert(Failure::new(Class::Conflict, message));
        } else if !waits.is_empty() {
            pending.push(format!("{} is used by {}", one.id, waits.join(", ")));
        } else {
            let proof = if kinds::is_in_cluster(&one.key) {
                Proof::Owned { part_of: crate::resources::eks::cluster::key(), owner: one.owner.clone() }
            } else {
                Proof::CreatedEarlier { key: one.key.clone(), owner: one.owner.clone(), container: one.place.clone() }
            };
            let (id, what) = (one.id.clone(), format!("{} {}", one.key, one.id));
            let (key, referred_to_by) = (Some(one.key.clone()), one.used_by.clone());
            sweep.targets.push(Target { id, key, what, proof, in_use: false, referred_to_by });
        }
    }
    sweep.pending = (!pending.is_empty()).then(|| pending.join("; "));
    sweep
}

/// How a resource is deleted that is deleted alone.
pub(super) fn removal_of(key: &Key) -> Option<&'static Removal> {
    kinds::find(key.kind())?.removal.as_ref()
}

/// Whether one of `existing` cannot exist at the same time as `key`: it is removed first.
pub fn must_wait_for_removal(key: &Key, existing: &[Owned]) -> bool {
    let others = || existing.iter().map(|(other, _)| other).filter(|other| other.kind() == key.kind() && *other != key);
    removal_of(key).is_some_and(|removal| others().any(|other| !(removal.can_coexist)(key, other)))
}

fn is_of_removable_kind(key: &Key) -> bool {
    kinds::find(key.kind()).is_some_and(|kind| kind.is_removable)
}

/// Whether resources of that kind are removed separately, not only with the cluster.
pub fn is_removable(key: &Key) -> bool {
    is_of_removable_kind(key) && !route::KIND.is_of(key)
}

/// Reduces entries that left the graph to their records: if requested again, they are observed by new reads. If more
/// resources left the graph since the last observation of removals, it is dropped.
pub fn invalidate_dropped(memory: &mut Memory, graph: &Graph<Cloud>, now: Timestamp) {
    let dropped = memory.iter().map(|(key, _)| key).filter(|key| is_of_removable_kind(key));
    let dropped: Vec<Key> = dropped.filter(|key| graph.node(key).is_none()).cloned().collect();
    let observed = memory.observed(&key()).and_then(|observed| observed.detail.downcast_ref::<Detail>()).cloned();
    let found = observed.unwrap_or_default().found;
    let mut is_new = false;
    for dropped in dropped {
        let recorded = memory.entry(&dropped).recorded.take();
        let has_id = recorded.as_ref().is_some_and(|recorded| recorded.id.is_some());
        is_new |= has_id && is_removable(&dropped) && found.iter().all(|one| one.key != dropped);
        *memory.entry(&dropped) = Entry { recorded, written_at: Some(now), ..Entry::default() };
    }
    if is_new || graph.node(&key()).is_none() {
        memory.forget(&key());
    }
}

/// Drops the records of deleted resources; for a recently created one, not before an observation that cannot have
/// missed it. A create with a lost response is found by its tags in a survey, which may be as old as `survey_age`.
pub fn forget_deleted(memory: &mut Memory, graph: &Graph<Cloud>, survey_age: Duration, now: Timestamp) {
    if graph.node(&key()).is_none() {
        memory.forget(&key());
    }
    let observed_at = memory.get(&key()).and_then(|entry| entry.observed_at);
    let observed = memory.observed(&key()).and_then(|observed| observed.detail.downcast_ref::<Detail>()).cloned();
    let observed = observed.unwrap_or_default();
    let (since, read_after_write_window) = (memory.since, memory.read_after_write_window);
    let is_obsolete = |key: &Key, entry: &Entry| {
        let Some(recorded) = &entry.recorded else { return true };
        let after = |pause: Duration| recorded.at.max(since).saturating_add(span(pause)).unwrap_or(Timestamp::MAX);
        let is_known = observed.found.iter().any(|found| found.key == *key);
        match &recorded.id {
            // A route is found in its table, with or without a record.
            _ if route::KIND.is_of(key) => !is_known,
            Some(_) => {
                observed.deleted.contains(key) && observed_at.is_some_and(|at| at >= after(read_after_write_window))
            }
            None => !is_known && now >= after(read_after_write_window + survey_age),
        }
    };
    let dropped = memory.iter().filter(|(key, _)| is_of_removable_kind(key) && graph.node(key).is_none());
    let obsolete: Vec<Key> =
        dropped.filter(|(key, entry)| is_obsolete(key, entry)).map(|(key, _)| key.clone()).collect();
    for key in obsolete {
        // If it is created again, lists from before its deletion must not count.
        *memory.entry(&key) = Entry { written_at: Some(now), ..Entry::default() };
    }
}

#[async_trait]
impl Resource for Removals {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        self.after.clone()
    }

    /// Not part of a deletion's graph: there, each resource has its own node.
    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    /// A NAT gateway takes about a minute to delete.
    fn expected(&self, _: Action) -> Duration {
        let disassociates = self.ids_of(&identity_provider::KIND).next().is_some();
        if disassociates { identity_provider::EXPECTED } else { Duration::from_secs(60) }
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let (name, owner) = (self.cluster.clone(), self.owner.clone());
        Some(Scope { subject: crate::resources::eks::cluster::key(), name, owner, prunes: false })
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let to_delete = observed.detail.found.iter().filter(|found| !found.deleting);
        to_delete.map(|found| Change::in_place(field(&found.key), &found.id, "")).collect()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        // A read from before the edit may miss what was created just before it.
        let staleness = if last.is_none() {
            crate::aws::MaxStaleness::now()
        } else {
            crate::resources::cloud::max_staleness(options)
        };
        let observed = self.find(cloud, staleness).await?;
        let exists = !observed.found.is_empty();
        let observed = to_observation(observed, self.is_awaited);
        Ok(if exists { Presence::Ours(observed) } else { Presence::External(observed) })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("removals are never created"))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("removals are deleted by a sweep"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid("removals are deleted by a sweep"))
    }

    /// The resources may have changed since the observation; what was not observed then was in no plan that could be
    /// approved.
    async fn list_sweep(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Sweep, Failure> {
        let mut found = self.find(cloud, crate::aws::MaxStaleness::now()).await?.found;
        found.retain(|one| observed.detail.found.iter().any(|planned| planned.id == one.id && planned.key == one.key));
        Ok(plan_sweep(&found))
    }

    async fn sweep(
        &self,
        cloud: &Cloud,
        observed: &Observation<Detail>,
        _: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Detail>, Failure> {
        if swept.allowed.is_empty() {
            let blocked = swept.blocked.clone();
            let pending = || swept.pending.clone().map(|note| Failure::new(Class::Busy, note));
            return match blocked.or_else(pending) {
                Some(failure) => Err(failure),
                None => Ok(Presence::Ours(observed.clone())),
            };
        }
        let left = self.remove(cloud, &observed.detail, &swept.allowed).await?;
        Ok(Presence::Ours(to_observation(left, self.is_awaited)))
    }
}

/// The key of the route in a table with that name; `None` if the name is not valid.
pub(crate) fn route_key(table: &str) -> Option<Key> {
    Some(route::key(&Table::parse(table)?))
}

#[cfg(test)]
#[path = "removals_tests.rs"]
mod tests;
