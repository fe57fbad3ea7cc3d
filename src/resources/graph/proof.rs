//! Proof that a resource with our tags is ours. Pure.
//!
//! Anybody with tagging permissions can write our tags to any resource, so tags alone prove nothing. A resource is ours
//! if it carries the tags *and* is recorded in `status.resources`, or is in a recorded VPC. While a create is recorded
//! whose result is unknown, the tags are sufficient. A resource without proof is never changed or deleted.

use std::collections::{BTreeMap, BTreeSet};

use super::located::Located;
use crate::aws::tags::OWNER;
use crate::engine::{Goal, Key, Memory, ObserveOptions, Presence, Refs};
use crate::resources::cloud::{Cloud, Owner, Tagged};
use crate::resources::recovery::instructions;

/// The result of a search for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchResult<'a, T> {
    /// Nothing carries its tags, or only unproven resources do while ours is recorded.
    Nothing,
    /// The resource is ours.
    Ours(&'a T),
    /// Only an unproven resource carries its tags, and nothing is recorded. Contains what to do.
    Unproven(String),
}

/// Finds the object's resource `key` among the resources with its tags. If two have proof, the recorded one wins,
/// otherwise the first by id.
pub fn find<'a, T: Located>(
    cloud: &Cloud,
    all: &'a [T],
    key: &Key,
    options: &ObserveOptions,
    refs: &Refs,
) -> SearchResult<'a, T> {
    search(&cloud.owner, cloud.trusts_tags, all, key, options, refs)
}

fn search<'a, T: Located>(
    owner: &Owner,
    trusts_tags: bool,
    all: &'a [T],
    key: &Key,
    options: &ObserveOptions,
    refs: &Refs,
) -> SearchResult<'a, T> {
    let name = key.to_string();
    let vpc = refs.get(&crate::resources::network::vpc::key());
    let tagged = |item: &&T| item.tags().is_owned_by(&owner.uid) && item.tags().resource() == Some(&name);
    let is_recorded = |item: &T| options.recorded_id.as_deref() == Some(item.id());
    let create_pending = options.recorded && options.recorded_id.is_none();
    let proven =
        |item: &&T| trusts_tags || is_recorded(item) || create_pending || vpc.is_some() && item.proving_vpc() == vpc;
    let ours = all.iter().filter(tagged).filter(proven).min_by_key(|item| (!is_recorded(item), item.id().to_owned()));
    if let Some(ours) = ours {
        return SearchResult::Ours(ours);
    }
    let candidates: Vec<_> = all.iter().filter(tagged).map(Tagged::id).collect();
    if candidates.is_empty() || options.recorded || options.goal != Goal::Present {
        return SearchResult::Nothing;
    }
    SearchResult::Unproven(describe_unproven(owner, &candidates.join(", ")))
}

impl<T> SearchResult<'_, T> {
    /// The presence if none of the resources is ours: nothing to use or delete, or a conflict that blocks a create,
    /// which might make a duplicate.
    pub fn not_ours<S>(self) -> Presence<S> {
        match self {
            SearchResult::Unproven(why) => Presence::Foreign(why),
            SearchResult::Nothing | SearchResult::Ours(_) => Presence::Absent,
        }
    }
}

/// What to do about an unproven resource.
pub fn describe_unproven(owner: &Owner, ids: &str) -> String {
    format!(
        "{ids} carries this object's UID in the tag {OWNER}, but is not recorded in status.resources. If somebody \
         else wrote the tag, remove it from {ids}. If the status was lost, as after a restore, record the resources \
         with this UID: {}",
        instructions::command(owner, &owner.uid)
    )
}

/// What is recorded as ours, separate from memory: for searches by tag before a graph exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    entries: BTreeMap<Key, Option<String>>,
}

impl Records {
    /// The records of one object.
    pub fn of(memory: &Memory) -> Self {
        let entry_of = |(key, entry): (&Key, &crate::engine::memory::Entry)| {
            Some((key.clone(), entry.recorded.as_ref()?.id.clone()))
        };
        Self { entries: memory.iter().filter_map(entry_of).collect() }
    }

    /// The records of these keys and ids.
    #[cfg(test)]
    pub fn from_ids(ids: impl IntoIterator<Item = Owned>) -> Self {
        Self { entries: ids.into_iter().map(|(key, id)| (key, Some(id))).collect() }
    }

    /// Keys and ids of all recorded resources.
    pub fn ids(&self) -> impl Iterator<Item = Owned> {
        self.entries.iter().filter_map(|(key, id)| Some((key.clone(), id.clone()?)))
    }

    /// Keys of the creates that are recorded and whose result is unknown.
    pub fn intents(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().filter(|(_, id)| id.is_none()).map(|(key, _)| key)
    }

    /// Whether `id` is recorded as `key`, or a create of `key` is recorded whose result is unknown.
    pub fn proves(&self, key: &Key, id: &str) -> bool {
        self.entries.get(key).is_some_and(|recorded| recorded.as_deref().is_none_or(|recorded| recorded == id))
    }

    /// The proven resources of `all`, by key and id, and the unproven ones.
    pub fn classify<T: Located>(
        &self,
        cloud: &Cloud,
        all: &[T],
        owned_vpcs: &BTreeSet<String>,
    ) -> (Vec<Owned>, Vec<Owned>) {
        self.split(&cloud.owner.uid, cloud.trusts_tags, all, owned_vpcs)
    }

    fn split<T: Located>(
        &self,
        uid: &str,
        trusts_tags: bool,
        all: &[T],
        owned_vpcs: &BTreeSet<String>,
    ) -> (Vec<Owned>, Vec<Owned>) {
        let tagged = all.iter().filter(|item| item.tags().is_owned_by(uid));
        let owned = tagged.filter_map(|item| {
            let key = Key::parse(item.tags().resource()?);
            let located = item.proving_vpc().is_some_and(|vpc| owned_vpcs.contains(vpc));
            let proven = trusts_tags || located || self.proves(&key, item.id());
            Some((proven, (key, item.id().to_owned())))
        });
        let (proven, unproven): (Vec<_>, Vec<_>) = owned.partition(|(proven, _)| *proven);
        let without_flag = |all: Vec<(bool, Owned)>| all.into_iter().map(|(_, owned)| owned).collect();
        (without_flag(proven), without_flag(unproven))
    }
}

/// A resource's key and id.
pub type Owned = (Key, String);

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
