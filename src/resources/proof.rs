//! By what something that carries our tags is ours indeed. Pure.
//!
//! Anybody who may tag can write our tags on anything, so tags alone prove nothing. Ours is what carries them *and* is on
//! record in `status.resources`, or lies in a VPC that is. While a create is on record whose answer is not known, its tags do.
//! What only claims to be ours is never changed or deleted.

use std::collections::{BTreeMap, BTreeSet};

use super::cloud::{Cloud, Owner, Tagged};
use super::recovery;
use crate::aws::snapshots;
use crate::aws::tags::OWNER;
use crate::engine::{Goal, Key, Memory, ObserveOptions, Presence, Refs};

/// What was found of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<'a, T> {
    /// Nothing carries its tags, or only what is not ours does while ours is on record.
    Nothing,
    /// It is ours.
    Ours(&'a T),
    /// Only something without proof carries its tags, and nothing is on record. Holds what a person does.
    Unproven(String),
}

/// The place of ours that something lies in.
pub trait Placed: Tagged {
    /// The VPC that it is in, if it is in one.
    fn vpc(&self) -> Option<&str>;
}

impl Tagged for &dyn Placed {
    fn id(&self) -> &str {
        (**self).id()
    }
    fn tags(&self) -> &crate::aws::tags::Tags {
        (**self).tags()
    }
}

impl Placed for &dyn Placed {
    fn vpc(&self) -> Option<&str> {
        (**self).vpc()
    }
}

macro_rules! placed {
    ($($kind:ident),* $(,)?) => {$(
        impl Placed for snapshots::$kind {
            fn vpc(&self) -> Option<&str> {
                Some(&self.vpc_id)
            }
        }
    )*};
}

placed!(Subnet, NatGateway, RouteTable, VpcEndpoint, SecurityGroup);

impl Placed for snapshots::Vpc {
    /// Nothing of ours holds it: its own id must be on record.
    fn vpc(&self) -> Option<&str> {
        None
    }
}

impl Placed for snapshots::InternetGateway {
    fn vpc(&self) -> Option<&str> {
        self.vpc_id.as_deref()
    }
}

/// An address, and the VPC of the NAT gateway that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedAddress {
    /// The address.
    pub address: snapshots::Address,
    /// Where it is used.
    pub vpc: Option<String>,
}

impl PlacedAddress {
    /// Addresses with the VPCs of the gateways that have them.
    pub fn all(addresses: &[snapshots::Address], gateways: &[snapshots::NatGateway]) -> Vec<Self> {
        let vpc = |address: &snapshots::Address| {
            let has = |gateway: &&snapshots::NatGateway| gateway.allocation_ids.contains(&address.allocation_id);
            gateways.iter().find(has).map(|gateway| gateway.vpc_id.clone())
        };
        addresses.iter().map(|address| Self { vpc: vpc(address), address: address.clone() }).collect()
    }
}

impl Tagged for PlacedAddress {
    fn id(&self) -> &str {
        self.address.id()
    }
    fn tags(&self) -> &crate::aws::tags::Tags {
        self.address.tags()
    }
}

impl Placed for PlacedAddress {
    fn vpc(&self) -> Option<&str> {
        self.vpc.as_deref()
    }
}

/// Finds the object's resource `key` among what carries its tags. Should there be two with proof, the one on record, else the
/// first by id.
pub fn find<'a, T: Placed>(
    cloud: &Cloud,
    all: &'a [T],
    key: &Key,
    options: &ObserveOptions,
    refs: &Refs,
) -> Claim<'a, T> {
    claim(&cloud.owner, cloud.trusts_tags, all, key, options, refs)
}

fn claim<'a, T: Placed>(
    owner: &Owner,
    trusts_tags: bool,
    all: &'a [T],
    key: &Key,
    options: &ObserveOptions,
    refs: &Refs,
) -> Claim<'a, T> {
    let name = key.to_string();
    let place = refs.get(&super::vpc::key());
    let tagged = |item: &&T| item.tags().is_owned_by(&owner.uid) && item.tags().resource() == Some(&name);
    let is_recorded = |item: &T| options.recorded_id.as_deref() == Some(item.id());
    let intended = options.recorded && options.recorded_id.is_none();
    let proven = |item: &&T| trusts_tags || is_recorded(item) || intended || place.is_some() && item.vpc() == place;
    let ours = all.iter().filter(tagged).filter(proven).min_by_key(|item| (!is_recorded(item), item.id().to_owned()));
    if let Some(ours) = ours {
        return Claim::Ours(ours);
    }
    let claims: Vec<_> = all.iter().filter(tagged).map(Tagged::id).collect();
    if claims.is_empty() || options.recorded || options.goal != Goal::Present {
        return Claim::Nothing;
    }
    Claim::Unproven(unproven(owner, &claims.join(", ")))
}

impl<T> Claim<'_, T> {
    /// What is there of the resource when none of it is ours: nothing to use or delete, or something in the way of a create that
    /// might make a second one.
    pub fn not_ours<S>(self) -> Presence<S> {
        match self {
            Claim::Unproven(why) => Presence::Foreign(why),
            Claim::Nothing | Claim::Ours(_) => Presence::Absent,
        }
    }
}

/// What a person does about something that only claims to be ours.
pub fn unproven(owner: &Owner, ids: &str) -> String {
    format!(
        "{ids} carries this object's UID in the tag {OWNER} but is not on record in status.resources as made by it. If somebody \
         else wrote the tag, remove it from {ids}. If the status was lost, as in a restore, put on record what carries the UID: {}",
        recovery::command(owner, &owner.uid)
    )
}

/// What is on record as ours, beside memory: for what is found by tags before there is a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    lines: BTreeMap<Key, Option<String>>,
}

impl Records {
    /// Of one object.
    pub fn of(memory: &Memory) -> Self {
        let line = |(key, entry): (&Key, &crate::engine::memory::Entry)| {
            Some((key.clone(), entry.recorded.as_ref()?.id.clone()))
        };
        Self { lines: memory.iter().filter_map(line).collect() }
    }

    /// Keys and ids of all that is on record.
    pub fn ids(&self) -> impl Iterator<Item = Owned> {
        self.lines.iter().filter_map(|(key, id)| Some((key.clone(), id.clone()?)))
    }

    /// Whether `id` is on record as `key`, or a create of `key` whose answer is not known.
    pub fn prove(&self, key: &Key, id: &str) -> bool {
        self.lines.get(key).is_some_and(|recorded| recorded.as_deref().is_none_or(|recorded| recorded == id))
    }

    /// Those of `all` that are proven, by key and id; and those that only claim to be the object's.
    pub fn sort<T: Placed>(&self, cloud: &Cloud, all: &[T], places: &BTreeSet<String>) -> (Vec<Owned>, Vec<Owned>) {
        self.split(&cloud.owner.uid, cloud.trusts_tags, all, places)
    }

    fn split<T: Placed>(
        &self,
        uid: &str,
        trusts_tags: bool,
        all: &[T],
        places: &BTreeSet<String>,
    ) -> (Vec<Owned>, Vec<Owned>) {
        let tagged = all.iter().filter(|item| item.tags().is_owned_by(uid));
        let owned = tagged.filter_map(|item| {
            let key = Key::parse(item.tags().resource()?);
            let placed = item.vpc().is_some_and(|vpc| places.contains(vpc));
            let proven = trusts_tags || placed || self.prove(&key, item.id());
            Some((proven, (key, item.id().to_owned())))
        });
        let (proven, claimed): (Vec<_>, Vec<_>) = owned.partition(|(proven, _)| *proven);
        let plain = |all: Vec<(bool, Owned)>| all.into_iter().map(|(_, owned)| owned).collect();
        (plain(proven), plain(claimed))
    }
}

/// A resource's key, and its id.
pub type Owned = (Key, String);

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
