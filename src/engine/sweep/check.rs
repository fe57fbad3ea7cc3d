//! Verifies the targets of a sweep against the records, the spec and the graph: all are allowed, or none. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{AllowedTarget, Baseline, CheckedSweep, Proof, Scope, Sweep, Target};
use crate::engine::failure::{Class, Failure};
use crate::engine::graph::Graph;
use crate::engine::key::Key;
use crate::engine::memory::Memory;
use crate::engine::resource::Presence;

/// What targets are verified against: the records, the spec, and the graph.
#[derive(Clone, Debug)]
pub struct SweepCheck {
    scope: Scope,
    /// The subject was observed as absent.
    subject_is_absent: bool,
    /// The recorded name of the subject, if any.
    recorded_name: Option<String>,
    /// Ids of owned and recorded resources.
    owned: BTreeMap<Key, String>,
    baseline: Option<Baseline>,
    /// Recorded ids; `None` for creates without a response.
    records: BTreeMap<Key, Option<String>>,
    /// Resources in the spec.
    wanted: BTreeSet<Key>,
    /// Ids that are never swept: resources of the graph, and references in the spec.
    excluded: BTreeSet<String>,
}

impl SweepCheck {
    /// The grounds for the sweep `key`.
    pub fn of<C>(graph: &Graph<C>, memory: &Memory, key: &Key, scope: Scope) -> Self {
        let recorded = |key: &Key| memory.get(key).and_then(|entry| entry.recorded.as_ref()?.id.clone());
        let (mut owned, mut excluded) = (BTreeMap::new(), BTreeSet::new());
        for node in graph.nodes() {
            excluded.extend(node.excluded_ids());
            if node.key() == *key {
                continue;
            }
            excluded.extend(recorded(&node.key()));
            if let Some(Presence::Ours(observed)) = memory.get(&node.key()).and_then(|entry| entry.presence.as_ref()) {
                excluded.insert(observed.id.clone());
                if recorded(&node.key()).as_ref() == Some(&observed.id) {
                    owned.insert(node.key(), observed.id.clone());
                }
            }
        }
        Self {
            subject_is_absent: memory.is_absent(&scope.subject),
            recorded_name: recorded(&scope.subject),
            owned,
            baseline: recorded(key).as_deref().and_then(Baseline::parse),
            records: memory
                .iter()
                .filter_map(|(key, entry)| Some((key.clone(), entry.recorded.as_ref()?.id.clone())))
                .collect(),
            wanted: graph.nodes().iter().map(|node| node.key()).collect(),
            excluded,
            scope,
        }
    }

    /// Allows all targets, or none.
    ///
    /// # Errors
    /// The first target without a valid proof: a bug in Keelson, not a user error.
    pub fn check(&self, sweep: Sweep) -> Result<CheckedSweep, Failure> {
        let Sweep { targets, pending, blocked, .. } = sweep;
        let target_ids: BTreeSet<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        for target in &targets {
            if let Some(why) = self.refusal(target, &target_ids) {
                let what = &target.what;
                let message =
                    format!("refused to delete {what}: {why} (this is an error in Keelson, please report it)");
                return Err(Failure::new(Class::Invalid, message));
            }
        }
        Ok(CheckedSweep { allowed: targets.into_iter().map(AllowedTarget).collect(), pending, blocked })
    }

    fn refusal(&self, target: &Target, target_ids: &BTreeSet<&str>) -> Option<&'static str> {
        // Parts of an owned resource have their own names, which may equal ids of other resources.
        let is_part = matches!(target.proof, Proof::Owned { .. } | Proof::Pruned { .. });
        if target.id.is_empty() || !is_part && self.excluded.contains(&target.id) {
            return Some("the spec references it, or it is a resource of the graph");
        }
        if target.in_use {
            return Some("it is in use");
        }
        if !target.referred_to_by.iter().all(|id| target_ids.contains(id.as_str())) {
            return Some("a resource that is not deleted refers to it");
        }
        match &target.proof {
            Proof::InOwnedContainer { container: (key, id), mark } => {
                if self.owned.get(key) != Some(id) {
                    return Some("it is not in a recorded container that this object owns");
                }
                let names = mark.name.as_ref().is_none_or(|name| *name == self.scope.name);
                (!names).then_some("its mark names another cluster").or_else(|| self.subject_refusal())
            }
            Proof::AppearedLater { mark, at } => {
                if mark.name.as_ref() != Some(&self.scope.name) {
                    return Some("no mark assigns it to the cluster");
                }
                let Some(baseline) = &self.baseline else { return Some("the baseline is not recorded") };
                let appeared = match at {
                    _ if mark.reserved => true,
                    Some(at) => *at >= baseline.since,
                    None => !baseline.excludes(&target.id),
                };
                (!appeared).then_some("it existed before the cluster").or_else(|| self.subject_refusal())
            }
            Proof::Owned { part_of, owner } => {
                let owned = self.owned.contains_key(part_of) && *owner == self.scope.owner;
                (!owned).then_some("it is not owned, or not part of an owned resource")
            }
            Proof::CreatedEarlier { key, owner, .. } if self.wanted.contains(key) || *owner != self.scope.owner => {
                Some("the spec contains it, or it is not owned")
            }
            Proof::CreatedEarlier { key, container, .. } => {
                let recorded = self.records.get(key);
                let recorded = recorded.is_some_and(|id| id.as_ref().is_none_or(|id| *id == target.id));
                let placed = container.as_ref().is_some_and(|(container, id)| self.owned.get(container) == Some(id));
                (!recorded && !placed).then_some("it is neither recorded nor in an owned container")
            }
            Proof::Pruned { part_of } => {
                let is_requested = self.owned.contains_key(part_of) && self.scope.prunes;
                (!is_requested).then_some("the spec does not request pruning")
            }
        }
    }

    /// Leftovers exist only after the subject, which was owned, is gone.
    fn subject_refusal(&self) -> Option<&'static str> {
        let same = self.recorded_name.as_ref().is_none_or(|name| *name == self.scope.name);
        (!self.subject_is_absent || !same).then_some("the cluster that it belongs to still exists")
    }
}

#[cfg(test)]
#[path = "../sweep_tests.rs"]
mod tests;
