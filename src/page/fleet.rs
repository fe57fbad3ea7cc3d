//! The objects that the page shows, as they were read last, with what lists show of them. Bounded per object. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::id::{Id, Kind, NamespacedName};
use super::kinds::PageKind;
use super::object_events::{ObjectEvents, object_of};
use super::row::Row;
use super::stored::Stored;
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};
use crate::cli::events::EventLine;
use crate::controllers::runtime::decode::Unreadable;

/// The source of events; those of objects are named as their kinds.
pub const EVENTS: &str = "events";

/// The objects of a kind.
pub type Objects<K> = BTreeMap<NamespacedName, FleetObject<K>>;

/// An object, and what lists show of it.
pub struct FleetObject<K> {
    stored: Stored<K>,
    pub row: Arc<Row>,
}

/// The same, for the page of the object.
pub struct Opened<'a, K> {
    pub object: Arc<K>,
    pub row: &'a Arc<Row>,
}

impl<K: PageKind> FleetObject<K> {
    /// Decodes the object: for pages of single objects, not for lists. `None`: it cannot be decoded.
    pub fn open(&self) -> Option<Opened<'_, K>> {
        Some(Opened { object: self.stored.object()?, row: &self.row })
    }
}

/// All objects.
#[derive(Default)]
pub struct Fleet {
    pub clusters: Objects<EksCluster>,
    pub groups: Objects<NodeGroup>,
    pub accounts: Objects<AwsAccount>,
    pub rollouts: Objects<FleetRollout>,
    /// Names of the node groups of each cluster.
    groups_of: HashMap<NamespacedName, BTreeSet<String>>,
    /// Objects that cannot be decoded.
    unreadable: BTreeMap<Id, Arc<Row>>,
    events: ObjectEvents,
    sources: BTreeMap<&'static str, Source>,
}

/// Where objects are read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Whether all objects were read.
    pub is_listed: bool,
    /// Why they cannot be read at present, and since when.
    pub failure: Option<(String, Timestamp)>,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An object, an event of it, or its deletion. `cluster`: that of a node group.
    Object { id: Id, cluster: Option<Id> },
    /// Whether the objects can be read.
    Source,
}

impl Fleet {
    /// Stores an object.
    pub fn apply<K: PageKind>(&mut self, mut object: K, now: Timestamp) -> Vec<Change> {
        object.trim();
        let row = object.row(self, now);
        self.keep(row, object.stored(), now)
    }

    /// Stores an object that somebody else holds anyway: as it is.
    pub fn apply_shared<K: PageKind>(&mut self, object: Arc<K>, now: Timestamp) -> Vec<Change> {
        let row = object.row(self, now);
        self.keep(row, Stored::shared(object), now)
    }

    fn keep<K: PageKind>(&mut self, row: Row, stored: Stored<K>, now: Timestamp) -> Vec<Change> {
        let id = row.id.clone();
        self.unreadable.remove(&id);
        let mut changes = self.forget_cluster(&row);
        let cluster = self.remember_cluster(&row);
        let drift_policy = row.drift_policy;
        let former = K::all_mut(self).insert(id.place(), FleetObject { stored, row: Arc::new(row) });
        if K::KIND == Kind::EksCluster && former.is_none_or(|former| former.row.drift_policy != drift_policy) {
            self.update_groups_of(&id.place(), now);
        }
        changes.push(Change::Object { id, cluster });
        changes
    }

    /// Stores that an object cannot be decoded, instead of what was known of it.
    pub fn isolate<K: PageKind>(&mut self, object: &Unreadable) -> Vec<Change> {
        let id = id_of(K::KIND, &object.meta);
        let changes = self.delete::<K>(&id);
        self.unreadable.insert(id, Arc::new(Row::of_unreadable(K::KIND, object)));
        changes
    }

    /// The objects that cannot be decoded.
    pub fn unreadable(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.unreadable.values()
    }

    /// Removes an object.
    pub fn delete<K: PageKind>(&mut self, id: &Id) -> Vec<Change> {
        self.events.remove(id);
        self.unreadable.remove(id);
        let group = self.groups.get(&id.place()).filter(|_| K::KIND == Kind::NodeGroup);
        let cluster = group.and_then(|group| group.row.cluster());
        if let Some(cluster) = &cluster {
            self.forget_group(&cluster.place(), &id.name);
        }
        K::all_mut(self).remove(&id.place());
        vec![Change::Object { id: id.clone(), cluster }]
    }

    /// Completes a list: what it does not contain was deleted while nothing was read.
    pub fn finish_list<K: PageKind>(&mut self, listed: &BTreeSet<Id>) -> Vec<Change> {
        let ids = K::all(self).values().map(|kept| kept.row.id.clone());
        let ids = ids.chain(self.unreadable.keys().filter(|id| id.kind == K::KIND).cloned());
        let gone: Vec<Id> = ids.filter(|id| !listed.contains(id)).collect();
        let mut changes: Vec<Change> = gone.iter().flat_map(|id| self.delete::<K>(id)).collect();
        let source = self.sources.entry(K::KIND.as_str()).or_default();
        if !source.is_listed || source.failure.is_some() {
            changes.push(Change::Source);
        }
        (source.is_listed, source.failure) = (true, None);
        changes
    }

    /// The source can be read again.
    pub fn recovered(&mut self, name: &'static str) -> Vec<Change> {
        let source = self.sources.entry(name).or_default();
        if source.failure.take().is_some() { vec![Change::Source] } else { Vec::new() }
    }

    /// The source cannot be read.
    pub fn failed(&mut self, name: &'static str, message: String, now: Timestamp) -> Vec<Change> {
        let source = self.sources.entry(name).or_default();
        let since = source.failure.as_ref().map_or(now, |(_, since)| *since);
        let failure = Some((message, since));
        let is_new = source.failure != failure;
        source.failure = failure;
        if is_new { vec![Change::Source] } else { Vec::new() }
    }

    /// The namespaces in which there are objects.
    pub fn namespaces(&self) -> BTreeSet<String> {
        let unreadable =
            self.unreadable.keys().map(|id| id.namespace.clone()).filter(|namespace| !namespace.is_empty());
        let mut found: BTreeSet<String> = unreadable.collect();
        add_namespaces(&self.clusters, &mut found);
        add_namespaces(&self.groups, &mut found);
        found
    }

    /// The state of a source.
    pub fn source(&self, name: &str) -> Source {
        self.sources.get(name).cloned().unwrap_or_default()
    }

    /// The sources that cannot be read.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str, Timestamp)> {
        self.sources.iter().filter_map(|(name, source)| {
            let (message, since) = source.failure.as_ref()?;
            Some((*name, message.as_str(), *since))
        })
    }

    /// Stores an event of an object, if it is where only those of its namespace can write it.
    pub fn add_event(&mut self, event: &Event, now: Timestamp) -> Vec<Change> {
        let Some(id) = object_of(event) else { return Vec::new() };
        let is_known = self.row(&id).is_some();
        self.events.add(&id, event, is_known, now);
        let objects = self.clusters.len() + self.groups.len() + self.accounts.len() + self.rollouts.len();
        if self.events.are_too_many(objects) {
            let mut events = std::mem::take(&mut self.events);
            events.retain(|id| self.row(id).is_some());
            self.events = events;
        }
        let group = self.groups.get(&id.place()).filter(|_| id.kind == Kind::NodeGroup);
        let cluster = group.and_then(|group| group.row.cluster());
        vec![Change::Object { id, cluster }]
    }

    /// The events of an object, newest first.
    pub fn events(&self, id: &Id) -> impl Iterator<Item = &EventLine> {
        self.events.of(id)
    }

    /// What lists show of an object; `None`: it does not exist.
    pub fn row(&self, id: &Id) -> Option<&Arc<Row>> {
        let place = id.place();
        let row = match id.kind {
            Kind::EksCluster => self.clusters.get(&place).map(|kept| &kept.row),
            Kind::NodeGroup => self.groups.get(&place).map(|kept| &kept.row),
            Kind::AwsAccount => self.accounts.get(&place).map(|kept| &kept.row),
            Kind::FleetRollout => self.rollouts.get(&place).map(|kept| &kept.row),
        };
        row.or_else(|| self.unreadable.get(id))
    }

    /// The node groups of a cluster, by name.
    pub fn groups_of(&self, cluster: &NamespacedName) -> impl Iterator<Item = &FleetObject<NodeGroup>> {
        let names = self.groups_of.get(cluster).into_iter().flatten();
        let namespace = cluster.0.clone();
        names.filter_map(move |name| self.groups.get(&(namespace.clone(), name.clone())))
    }

    /// A node group that was deleted and created again, which only a later list shows, may be of another cluster.
    fn forget_cluster(&mut self, row: &Row) -> Vec<Change> {
        let Some(cluster) = row.cluster() else { return Vec::new() };
        let former = self.groups.get(&row.id.place()).and_then(|kept| kept.row.cluster());
        let Some(former) = former.filter(|former| *former != cluster) else { return Vec::new() };
        self.forget_group(&former.place(), &row.id.name);
        vec![Change::Object { id: row.id.clone(), cluster: Some(former) }]
    }

    fn forget_group(&mut self, cluster: &NamespacedName, name: &str) {
        if let Some(names) = self.groups_of.get_mut(cluster) {
            names.remove(name);
            if names.is_empty() {
                self.groups_of.remove(cluster);
            }
        }
    }

    fn remember_cluster(&mut self, row: &Row) -> Option<Id> {
        let cluster = row.cluster()?;
        self.groups_of.entry(cluster.place()).or_default().insert(row.id.name.clone());
        Some(cluster)
    }

    /// Rows of node groups show what a person can do by their cluster's policy.
    fn update_groups_of(&mut self, cluster: &NamespacedName, now: Timestamp) {
        let groups: Vec<_> = self.groups_of(cluster).filter_map(FleetObject::open).map(|group| group.object).collect();
        for group in groups {
            let row = Arc::new(group.row(self, now));
            if let Some(kept) = self.groups.get_mut(&row.id.place()) {
                kept.row = row;
            }
        }
    }
}

/// Adds the namespaces of the objects, without a look at each of them.
fn add_namespaces<K>(objects: &Objects<K>, found: &mut BTreeSet<String>) {
    let mut next = objects.keys().next();
    while let Some((namespace, _)) = next {
        found.insert(namespace.clone());
        // Greater than every name.
        let end = (namespace.clone(), char::MAX.to_string());
        next = objects.range((Bound::Excluded(end), Bound::Unbounded)).next().map(|(place, _)| place);
    }
}

/// How an object is named.
pub fn id_of(kind: Kind, meta: &ObjectMeta) -> Id {
    Id::new(kind, meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_kept_of_clusters_whose_node_groups_are_gone() {
        let group = |cluster: &str| -> NodeGroup {
            let spec = json!({"clusterRef": {"name": cluster}, "instanceTypes": ["m7i.large"], "scaling": {"min": 1, "max": 3}});
            let metadata = json!({"name": "web", "namespace": "team-a", "generation": 1});
            serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
        };
        let (mut fleet, now) = (Fleet::default(), Timestamp::UNIX_EPOCH);
        fleet.apply(group("old"), now);
        fleet.apply(group("new"), now);
        assert_eq!(fleet.groups_of.len(), 1, "of another cluster");
        fleet.delete::<NodeGroup>(&Id::new(Kind::NodeGroup, "team-a", "web"));
        assert!(fleet.groups_of.is_empty());
    }
}
