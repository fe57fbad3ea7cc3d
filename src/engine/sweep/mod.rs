//! Sweeps: deletion of resources outside the graph. Pure.
//!
//! A sweeping kind lists targets, each with a proof that allows its deletion. [`check::SweepCheck::check`] verifies them
//! against the records. Delete calls take an [`AllowedTarget`], which only this folder can create: a target without
//! proof is never deleted.

pub mod check;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::failure::Failure;
use super::key::Key;

/// Scope of a sweep: defined by the spec alone, never by observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The resource that left them behind.
    pub subject: Key,
    /// Name of the subject in the cloud, as marks contain it.
    pub name: String,
    /// The owner, as its tags contain it.
    pub owner: String,
    /// The spec requests pruning of items that it does not list.
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
    /// Its key while it was in the graph; `None`: it never was. Resources of different kinds may have the same id, such as a name in
    /// the same cluster: in a sweep of several kinds, both identify one.
    pub key: Option<Key>,
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

    /// Its key while it was in the graph.
    pub fn key(&self) -> Option<&Key> {
        self.0.key.as_ref()
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
