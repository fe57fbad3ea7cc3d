//! Sweeps: what is deleted although it is no resource of a graph. Pure.
//!
//! A kind that sweeps lists targets, each with the proof by which it may go. [`Grounds::judge`] holds them against what is on
//! record, and calls take an [`Allowed`], which only this file can make: a target without proof reaches no call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::failure::{Class, Failure};
use super::graph::Graph;
use super::key::Key;
use super::memory::Memory;
use super::resource::Presence;

/// What a kind sweeps for, by the spec alone: never by what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whose leftovers they are.
    pub subject: Key,
    /// Name of the subject in the cloud, as marks have it.
    pub name: String,
    /// The owner, as its tags have it.
    pub owner: String,
    /// The spec asks that what it does not list is deleted.
    pub prunes: bool,
}

/// What says that something is the subject's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who set it: a service of the cloud, or a controller.
    pub by: &'static str,
    /// The name it holds; `None`: it names nobody.
    pub name: Option<String>,
    /// The cloud keeps this mark for itself: nobody else can set it.
    pub reserved: bool,
}

/// By what something may be deleted that is in no graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It lies in a place of ours that is on record, and carries a mark of the subject.
    InOurPlace {
        /// The place, and its id as the target has it.
        place: (Key, String),
        /// The mark.
        mark: Mark,
    },
    /// It lies in somebody else's place, carries a mark of the subject, and was not there before the subject.
    Appeared {
        /// The mark.
        mark: Mark,
        /// When it was made, where that is known.
        at: Option<Timestamp>,
    },
    /// It is part of something of ours, and carries our owner tag.
    Owned {
        /// What it is part of.
        part_of: Key,
        /// The owner that its tag names.
        owner: String,
    },
    /// It is part of something of ours, nobody owns it, and the spec asks that what it does not list is deleted.
    Pruned {
        /// What it is part of.
        part_of: Key,
    },
    /// We made it for an earlier spec, and this one asks for it no more: it carries our owner tag, and is on record under its key or
    /// lies in a place of ours.
    Made {
        /// Its key, when it was in the graph.
        key: Key,
        /// The owner that its tag names.
        owner: String,
        /// The place, and its id as the target has it.
        place: Option<(Key, String)>,
    },
}

/// Something that is to be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The cloud's id of it.
    pub id: String,
    /// As people call it.
    pub what: String,
    /// By what it may go.
    pub proof: Proof,
    /// Something uses it.
    pub in_use: bool,
    /// Ids of what refers to it, and so must go with it.
    pub referred_to_by: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// What is to go.
    pub targets: Vec<Target>,
    /// What will have to go, and cannot yet.
    pub pending: Option<String>,
    /// What keeps the sweep from ending.
    pub blocked: Option<Failure>,
    /// What carries the subject's name and is left alone, described for people.
    pub left: Vec<String>,
}

/// A target that was held against the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Target);

impl Allowed {
    /// The target.
    pub fn target(&self) -> &Target {
        &self.0
    }

    /// The cloud's id of it.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

/// What may be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The targets.
    pub allowed: Vec<Allowed>,
    /// As in [`Sweep`].
    pub pending: Option<String>,
    /// As in [`Sweep`].
    pub blocked: Option<Failure>,
}

/// What was there before the subject of a sweep: nothing of it is ever swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// When it was taken.
    pub since: Timestamp,
    /// Ids of what carried the subject's name then; `None`: too many, or nobody looked.
    pub before: Option<BTreeSet<String>>,
}

/// A longer line does not fit into status.
const MOST_BEFORE: usize = 60;

impl Baseline {
    /// Of what was there at `since`.
    pub fn new(since: Timestamp, before: impl IntoIterator<Item = String>) -> Self {
        let before: BTreeSet<_> = before.into_iter().collect();
        Self { since, before: Some(before).filter(|ids| ids.len() <= MOST_BEFORE) }
    }

    /// When nobody looked in time: everything may have been there.
    pub fn unknown(since: Timestamp) -> Self {
        Self { since, before: None }
    }

    /// Reads a line of the inventory.
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

/// What targets are held against: what is on record, what the spec names, and what the graph holds.
#[derive(Clone, Debug)]
pub struct Grounds {
    scope: Scope,
    /// The subject was looked at and is not there.
    subject_is_gone: bool,
    /// The subject's name on record, if any.
    recorded_name: Option<String>,
    /// Ids of what is ours, and on record as that.
    ours: BTreeMap<Key, String>,
    baseline: Option<Baseline>,
    /// What is on record: ids, or creates whose answer is not known.
    records: BTreeMap<Key, Option<String>>,
    /// What the spec asks for.
    wanted: BTreeSet<Key>,
    /// Ids that are never swept: resources of the graph, and what the spec names.
    never: BTreeSet<String>,
}

impl Grounds {
    /// What the targets of the sweep `key` are held against.
    pub fn of<C>(graph: &Graph<C>, memory: &Memory, key: &Key, scope: Scope) -> Self {
        let recorded = |key: &Key| memory.get(key).and_then(|entry| entry.recorded.as_ref()?.id.clone());
        let (mut ours, mut never) = (BTreeMap::new(), BTreeSet::new());
        for node in graph.nodes() {
            never.extend(node.spares());
            if node.key() == *key {
                continue;
            }
            never.extend(recorded(&node.key()));
            if let Some(Presence::Ours(seen)) = memory.get(&node.key()).and_then(|entry| entry.presence.as_ref()) {
                never.insert(seen.id.clone());
                if recorded(&node.key()).as_ref() == Some(&seen.id) {
                    ours.insert(node.key(), seen.id.clone());
                }
            }
        }
        Self {
            subject_is_gone: memory.absent(&scope.subject),
            recorded_name: recorded(&scope.subject),
            ours,
            baseline: recorded(key).as_deref().and_then(Baseline::parse),
            records: memory
                .iter()
                .filter_map(|(key, entry)| Some((key.clone(), entry.recorded.as_ref()?.id.clone())))
                .collect(),
            wanted: graph.nodes().iter().map(|node| node.key()).collect(),
            never,
            scope,
        }
    }

    /// Lets pass what has proof, all or nothing.
    ///
    /// # Errors
    /// The first target without: an error of ours, never of a person.
    pub fn judge(&self, sweep: Sweep) -> Result<Swept, Failure> {
        let Sweep { targets, pending, blocked, .. } = sweep;
        let going: BTreeSet<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        for target in &targets {
            if let Some(why) = self.refusal(target, &going) {
                let what = &target.what;
                let message =
                    format!("refused to delete {what}: {why} (this is an error in Keelson, please report it)");
                return Err(Failure::new(Class::Invalid, message));
            }
        }
        Ok(Swept { allowed: targets.into_iter().map(Allowed).collect(), pending, blocked })
    }

    fn refusal(&self, target: &Target, going: &BTreeSet<&str>) -> Option<&'static str> {
        // Parts of something of ours have names of their own, which ids of other things may equal.
        let is_part = matches!(target.proof, Proof::Owned { .. } | Proof::Pruned { .. });
        if target.id.is_empty() || !is_part && self.never.contains(&target.id) {
            return Some("the spec names it, or it is a resource of its own");
        }
        if target.in_use {
            return Some("something uses it");
        }
        if !target.referred_to_by.iter().all(|id| going.contains(id.as_str())) {
            return Some("something that stays refers to it");
        }
        match &target.proof {
            Proof::InOurPlace { place: (key, id), mark } => {
                if self.ours.get(key) != Some(id) {
                    return Some("it is not in a place that is on record as ours");
                }
                let names = mark.name.as_ref().is_none_or(|name| *name == self.scope.name);
                (!names).then_some("it is marked as another's").or_else(|| self.subject_refusal())
            }
            Proof::Appeared { mark, at } => {
                if mark.name.as_ref() != Some(&self.scope.name) {
                    return Some("nothing marks it as the cluster's");
                }
                let Some(baseline) = &self.baseline else { return Some("what was there before is not on record") };
                let appeared = match at {
                    _ if mark.reserved => true,
                    Some(at) => *at >= baseline.since,
                    None => !baseline.excludes(&target.id),
                };
                (!appeared).then_some("it was there before the cluster").or_else(|| self.subject_refusal())
            }
            Proof::Owned { part_of, owner } => {
                let ours = self.ours.contains_key(part_of) && *owner == self.scope.owner;
                (!ours).then_some("it is not ours, or not in something of ours")
            }
            Proof::Made { key, owner, .. } if self.wanted.contains(key) || *owner != self.scope.owner => {
                Some("the spec asks for it, or it is not ours")
            }
            Proof::Made { key, place, .. } => {
                let recorded = self.records.get(key);
                let recorded = recorded.is_some_and(|id| id.as_ref().is_none_or(|id| *id == target.id));
                let placed = place.as_ref().is_some_and(|(place, id)| self.ours.get(place) == Some(id));
                (!recorded && !placed).then_some("it is neither on record as ours, nor in a place that is")
            }
            Proof::Pruned { part_of } => {
                let asked = self.ours.contains_key(part_of) && self.scope.prunes;
                (!asked).then_some("the spec does not ask for it")
            }
        }
    }

    /// Leftovers are what is left when the subject, which was ours, is gone.
    fn subject_refusal(&self) -> Option<&'static str> {
        let same = self.recorded_name.as_ref().is_none_or(|name| *name == self.scope.name);
        (!self.subject_is_gone || !same).then_some("what it belongs to is still there")
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
