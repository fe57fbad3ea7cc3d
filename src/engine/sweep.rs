//! Sweeps: deletion of resources outside the graph. Pure.
//!
//! A sweeping kind lists targets, each with a proof that allows its deletion. [`SweepCheck::check`] verifies them
//! against the records. Delete calls take an [`AllowedTarget`], which only this file can create: a target without proof
//! is never deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::failure::{Class, Failure};
use super::graph::Graph;
use super::key::Key;
use super::memory::Memory;
use super::resource::Presence;

/// Scope of a sweep: defined by the spec alone, never by observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The resource that left them behind.
    pub subject: Key,
    /// Name of the subject in the cloud, as marks contain it.
    pub name: String,
    /// The owner, as its tags contain it.
    pub owner: String,
    /// The spec requests pruning of unlisted items.
    pub prunes: bool,
}

/// A mark that assigns a resource to the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who sets it: a cloud service or a controller.
    pub by: &'static str,
    /// The name it contains; `None`: no name.
    pub name: Option<String>,
    /// The cloud reserves this mark: nobody else can set it.
    pub reserved: bool,
}

/// Why a resource outside the graph may be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is in a recorded, owned container and carries a mark of the subject.
    InOwnedContainer {
        /// The container, and its id as the target reports it.
        container: (Key, String),
        /// The mark.
        mark: Mark,
    },
    /// It is in a container that is not owned, carries a mark of the subject, and did not exist before the subject.
    AppearedLater {
        /// The mark.
        mark: Mark,
        /// Creation time, if known.
        at: Option<Timestamp>,
    },
    /// It is part of an owned resource and carries our owner tag.
    Owned {
        /// The resource that contains it.
        part_of: Key,
        /// The owner in its tag.
        owner: String,
    },
    /// It is part of an owned resource, has no owner, and the spec requests pruning.
    Pruned {
        /// The resource that contains it.
        part_of: Key,
    },
    /// It was created for an earlier spec and the current one does not include it: it carries our owner tag, and it is
    /// recorded under its key or is in an owned container.
    CreatedEarlier {
        /// Its key while it was in the graph.
        key: Key,
        /// The owner in its tag.
        owner: String,
        /// The container, and its id as the target reports it.
        container: Option<(Key, String)>,
    },
}

/// A resource to sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Id in the cloud.
    pub id: String,
    /// Description for users.
    pub what: String,
    /// Why it may be deleted.
    pub proof: Proof,
    /// It is in use.
    pub in_use: bool,
    /// Ids of resources that refer to it and so must be deleted with it.
    pub referred_to_by: Vec<String>,
}

/// The result of listing a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// To delete.
    pub targets: Vec<Target>,
    /// To delete later.
    pub pending: Option<String>,
    /// Why the sweep cannot finish.
    pub blocked: Option<Failure>,
    /// Resources that carry the subject's name and are not deleted, described for users.
    pub skipped: Vec<String>,
}

/// A target that passed the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedTarget(Target);

impl AllowedTarget {
    /// Id in the cloud.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

/// What a sweep may delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedSweep {
    /// The targets.
    pub allowed: Vec<AllowedTarget>,
    /// As in [`Sweep`].
    pub pending: Option<String>,
    /// As in [`Sweep`].
    pub blocked: Option<Failure>,
}

/// Resources that existed before the subject of a sweep: these are never swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// When it was recorded.
    pub since: Timestamp,
    /// Ids of resources that carried the subject's name then; `None`: too many, or not recorded.
    pub before: Option<BTreeSet<String>>,
}

/// A longer record does not fit into status.
const MAX_BASELINE_IDS: usize = 60;

impl Baseline {
    /// A baseline of what existed at `since`.
    pub fn new(since: Timestamp, before: impl IntoIterator<Item = String>) -> Self {
        let before: BTreeSet<_> = before.into_iter().collect();
        Self { since, before: Some(before).filter(|ids| ids.len() <= MAX_BASELINE_IDS) }
    }

    /// A baseline that was not recorded in time: anything may have existed before.
    pub fn unknown(since: Timestamp) -> Self {
        Self { since, before: None }
    }

    /// Parses an inventory record.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let since = words.next()?.parse().ok()?;
        let ids: BTreeSet<_> = words.map(str::to_owned).collect();
        Some(Self { since, before: Some(ids).filter(|ids| !ids.contains("*")) })
    }

    fn excludes(&self, id: &str) -> bool {
        self.before.as_ref().is_none_or(|before| before.contains(id))
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = Timestamp::from_second(self.since.as_second()).unwrap_or(self.since);
        write!(f, "{second}")?;
        match &self.before {
            Some(before) => before.iter().try_for_each(|id| write!(f, " {id}")),
            None => f.write_str(" *"),
        }
    }
}

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
#[path = "sweep_tests.rs"]
mod tests;
