//! What an earlier spec asked for, and this one does not any more: NAT gateways with their addresses and routes, VPC endpoints
//! with their security group, the OIDC provider. It is taken away, in the order in which nothing loses what it still uses.
//!
//! What it is about stands in the survey: it carries our tags, and is on record or lies in our VPC. The checker holds each against
//! the record once more ([`Proof::CreatedEarlier`]). The calls are in [`super::removal_calls`].

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::cloud::{Cloud, Intervals, ResourceContext};
use super::proof::Owned;
use super::route;
use super::route_table::Table;
use crate::engine::failure::span;
use crate::engine::memory::Entry;
use crate::engine::{
    Action, Change, CheckedSweep, Class, Failure, Graph, Key, Memory, Observation, ObserveOptions, Phase, PollPolicy,
    Presence, Proof, Refs, Resource, Scope, Sweep, Target,
};

/// Kinds of which a spec may ask for fewer than before.
const KINDS: [&str; 6] = ["natGateway", "elasticIp", "route", "vpcEndpoint", "securityGroup", "oidcProvider"];

/// What is asked for no more.
pub struct Removals {
    cluster: String,
    pub(super) owner: String,
    /// Key and id of each.
    pub(super) things: Vec<Owned>,
    /// Routes that the spec asks for: they are moved, not taken away.
    pub(super) wanted_routes: BTreeSet<Key>,
    /// What comes instead, and must be there first.
    after: Vec<Key>,
    intervals: Intervals,
}

/// One that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in the graph, when it was in it.
    pub key: Key,
    /// Its id.
    pub id: String,
    /// Its owner, as its tag (of a route: that of its table) has it.
    pub owner: String,
    /// The place of ours that it lies in.
    pub place: Option<(Key, String)>,
    /// AWS is deleting it.
    pub deleting: bool,
    /// What still uses it, and goes first.
    pub used_by: Vec<String>,
    /// What uses it and is not ours to take away, for people.
    pub held_by: Option<String>,
}

/// What is seen of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// What is still there.
    pub found: Vec<Found>,
    /// What was to go and is gone.
    pub gone: Vec<Key>,
}

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("removals")
}

/// The field that asked for it.
fn field(key: &Key) -> String {
    match key.kind() {
        "vpcEndpoint" => format!("network.vpc.endpoints[{}]", key.name()),
        "securityGroup" => "network.vpc.endpoints[securityGroup]".to_owned(),
        "oidcProvider" => "oidcProvider".to_owned(),
        _ => format!("network.vpc.nat[{key}]"),
    }
}

impl Removals {
    /// Of `made`, what none of `nodes` (keys of the graph) stands for; `None` when that is nothing.
    pub fn new(making: &ResourceContext<'_>, made: &[Owned], nodes: &BTreeSet<Key>) -> Option<Self> {
        let dropped = |(key, _): &&Owned| KINDS.contains(&key.kind()) && !nodes.contains(key);
        let things: Vec<Owned> = made.iter().filter(dropped).cloned().collect();
        let instead = |key: &&Key| matches!(key.kind(), "vpc" | "vpcEndpoint" | "natGateway" | "route");
        (!things.is_empty()).then(|| Self {
            cluster: making.cluster_name.into(),
            owner: making.owner.uid.clone(),
            things,
            wanted_routes: nodes.iter().filter(|key| key.kind() == "route").cloned().collect(),
            after: nodes.iter().filter(instead).cloned().collect(),
            intervals: making.intervals,
        })
    }

    pub(super) fn ids_of(&self, kind: &str) -> impl Iterator<Item = &Owned> {
        self.things.iter().filter(move |(key, _)| key.kind() == kind)
    }
}

/// Where they stand: nothing more is begun while one is going.
fn observed(seen: Detail) -> Observation<Detail> {
    let going: Vec<_> = seen.found.iter().filter(|found| found.deleting).map(|found| found.id.clone()).collect();
    let state = if seen.found.is_empty() { "none" } else { "found" };
    let all = Observation::ready("list", state, seen);
    if going.is_empty() {
        return all;
    }
    all.phase(Phase::Busy { action: Action::Update, since: None, note: format!("deleting {}", going.join(", ")) })
}

/// Those that can go now, those that wait for others of them, and what keeps one from going at all.
fn list(found: &[Found]) -> Sweep {
    let mut sweep = Sweep::default();
    let going_now: BTreeSet<&str> =
        found.iter().filter(|one| one.used_by.is_empty() && !one.deleting).map(|one| one.id.as_str()).collect();
    let mut pending = Vec::new();
    for one in found.iter().filter(|one| !one.deleting) {
        // A route goes in the same sweep, before its gateway.
        let waits: Vec<_> = one
            .used_by
            .iter()
            .filter(|id| !(one.key.kind() == "natGateway" && going_now.contains(id.as_str())))
            .cloned()
            .collect();
        if let Some(holder) = &one.held_by {
            let message = format!("{} {} is no longer asked for and cannot go: {holder}", one.key, one.id);
            sweep.blocked.get_or_insert(Failure::new(Class::Conflict, message));
        } else if !waits.is_empty() {
            pending.push(format!("{} is used by {}", one.id, waits.join(", ")));
        } else {
            let proof =
                Proof::CreatedEarlier { key: one.key.clone(), owner: one.owner.clone(), container: one.place.clone() };
            let (id, what) = (one.id.clone(), format!("{} {}", one.key, one.id));
            sweep.targets.push(Target { id, what, proof, in_use: false, referred_to_by: one.used_by.clone() });
        }
    }
    sweep.pending = (!pending.is_empty()).then(|| pending.join("; "));
    sweep
}

/// Whether something of that kind is taken away by itself, and not only with the cluster.
pub fn is_removable(key: &Key) -> bool {
    KINDS.contains(&key.kind()) && key.kind() != "route"
}

/// What is in the graph no more is known by its record only: should it be asked for again, it is looked at by reads that begin then.
/// What was looked for last is looked for anew when there is more of it.
pub fn notice(memory: &mut Memory, graph: &Graph<Cloud>, now: Timestamp) {
    let dropped = memory.iter().map(|(key, _)| key).filter(|key| KINDS.contains(&key.kind()));
    let dropped: Vec<Key> = dropped.filter(|key| graph.node(key).is_none()).cloned().collect();
    let seen = memory.observed(&key()).and_then(|seen| seen.detail.downcast_ref::<Detail>()).cloned();
    let found = seen.unwrap_or_default().found;
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

/// Lines of what went are dropped; of what was made a moment ago not before a look that cannot have missed it. A create whose
/// answer was lost is found by its tags in a survey, which may be as old as `survey_age`.
pub fn forget_gone(memory: &mut Memory, graph: &Graph<Cloud>, survey_age: Duration, now: Timestamp) {
    if graph.node(&key()).is_none() {
        memory.forget(&key());
    }
    let looked_at = memory.get(&key()).and_then(|entry| entry.observed_at);
    let seen = memory.observed(&key()).and_then(|seen| seen.detail.downcast_ref::<Detail>()).cloned();
    let seen = seen.unwrap_or_default();
    let (since, read_after_write_window) = (memory.since, memory.read_after_write_window);
    let is_over = |key: &Key, entry: &Entry| {
        let Some(recorded) = &entry.recorded else { return true };
        let after = |pause: Duration| recorded.at.max(since).saturating_add(span(pause)).unwrap_or(Timestamp::MAX);
        let is_known = seen.found.iter().any(|found| found.key == *key);
        match (key.kind(), &recorded.id) {
            // It is found in its table, with or without a record.
            ("route", _) => !is_known,
            (_, Some(_)) => seen.gone.contains(key) && looked_at.is_some_and(|at| at >= after(read_after_write_window)),
            (_, None) => !is_known && now >= after(read_after_write_window + survey_age),
        }
    };
    let dropped = memory.iter().filter(|(key, _)| KINDS.contains(&key.kind()) && graph.node(key).is_none());
    let over: Vec<Key> = dropped.filter(|(key, entry)| is_over(key, entry)).map(|(key, _)| key.clone()).collect();
    for key in over {
        // Lists that were read before it went do not count should it be made again.
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

    /// It is in no graph of a deletion: there, each of them is a node of its own.
    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// A NAT gateway takes about a minute to go.
    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(60)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let (name, owner) = (self.cluster.clone(), self.owner.clone());
        Some(Scope { subject: super::cluster::key(), name, owner, prunes: false })
    }

    fn diff(&self, seen: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let to_go = seen.detail.found.iter().filter(|found| !found.deleting);
        to_go.map(|found| Change::in_place(field(&found.key), &found.id, "")).collect()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        // What others read before the edit may not show what was made just before it.
        let fresh = if last.is_none() { crate::aws::MaxStaleness::now() } else { super::cloud::fresh(options) };
        let seen = self.find(cloud, fresh).await?;
        let is_there = !seen.found.is_empty();
        Ok(if is_there { Presence::Ours(observed(seen)) } else { Presence::External(observed(seen)) })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("removals are never made"))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("removals are swept"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid("removals are swept"))
    }

    /// What is there may have changed since it was seen; what was not seen then stood in no plan that anybody could approve.
    async fn list_sweep(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<Sweep, Failure> {
        let mut found = self.find(cloud, crate::aws::MaxStaleness::now()).await?.found;
        found.retain(|one| seen.detail.found.iter().any(|shown| shown.id == one.id && shown.key == one.key));
        Ok(list(&found))
    }

    async fn sweep(
        &self,
        cloud: &Cloud,
        seen: &Observation<Detail>,
        _: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Detail>, Failure> {
        if swept.allowed.is_empty() {
            let blocked = swept.blocked.clone();
            let pending = || swept.pending.clone().map(|note| Failure::new(Class::Busy, note));
            return match blocked.or_else(pending) {
                Some(failure) => Err(failure),
                None => Ok(Presence::Ours(seen.clone())),
            };
        }
        let left = self.remove(cloud, &seen.detail, &swept.allowed).await?;
        Ok(Presence::Ours(observed(left)))
    }
}

/// The key of a thing by its kind and name; `None`: of a kind that is not taken away.
pub(super) fn route_key(table: &str) -> Option<Key> {
    Some(route::key(&Table::named(table)?))
}

#[cfg(test)]
#[path = "removals_tests.rs"]
mod tests;
