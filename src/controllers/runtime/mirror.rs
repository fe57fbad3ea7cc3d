//! Passes on what the operator's watches read to somebody in the same process who shows it, such as the fleet page: it then needs neither
//! watches nor objects of its own. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;

use super::apply::Kind;
use super::decode::{Decoded, Unreadable};
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};

/// Somebody who shows what a leader reads. Called in the tasks of its watches: it must not block.
pub trait Mirror: Send + Sync {
    /// Of EksClusters.
    fn on_cluster(&self, reading: WatchUpdate<EksCluster>);
    /// Of NodeGroups.
    fn on_node_group(&self, reading: WatchUpdate<NodeGroup>);
    /// Of AwsAccounts.
    fn on_account(&self, reading: WatchUpdate<AwsAccount>);
    /// Of FleetRollouts.
    fn on_rollout(&self, reading: WatchUpdate<FleetRollout>);
    /// This replica leads no longer, and reads nothing.
    fn on_end(&self);
}

/// What a watch has read.
pub enum WatchUpdate<K> {
    /// All objects, and those that cannot be decoded.
    All(Vec<Arc<K>>, Vec<Unreadable>),
    /// An object that is new or has changed.
    Object(Arc<K>),
    /// An object that cannot be decoded.
    Unreadable(Box<Unreadable>),
    /// The namespace and the name of an object that was deleted.
    Deleted(Option<String>, String),
    /// Nothing can be read at present. Once it can, all objects follow.
    Failed,
}

/// Passes on the events of a watch.
pub struct WatchTap<K: Kind> {
    pass_on: Box<dyn Fn(WatchUpdate<K>) + Send>,
    unreadable: HashMap<ObjectRef<K>, Unreadable>,
    /// Of a list in progress.
    listed_unreadable: Vec<Unreadable>,
    has_failed: bool,
}

/// What is remembered of an event while the store takes it.
pub enum Signal<K: Kind> {
    ListStarted,
    Listed(Option<Box<Unreadable>>),
    ListDone,
    Object(ObjectRef<K>),
    Unreadable(Box<Unreadable>),
    Deleted(ObjectRef<K>),
}

impl<K: Kind> Signal<K> {
    /// The signal of an event.
    pub fn of(event: &Event<Decoded<K>>) -> Self {
        match event {
            Event::Init => Self::ListStarted,
            Event::InitApply(Decoded::Object(_)) => Self::Listed(None),
            Event::InitApply(Decoded::Unreadable(object)) => Self::Listed(Some(object.clone())),
            Event::InitDone => Self::ListDone,
            Event::Apply(Decoded::Object(object)) => Self::Object(ObjectRef::from_obj(&**object)),
            Event::Apply(Decoded::Unreadable(object)) => Self::Unreadable(object.clone()),
            Event::Delete(Decoded::Object(object)) => Self::Deleted(ObjectRef::from_obj(&**object)),
            Event::Delete(Decoded::Unreadable(object)) => Self::Deleted(object.reference()),
        }
    }
}

impl<K: Kind> WatchTap<K> {
    /// Passes on to that function.
    pub fn new(pass_on: impl Fn(WatchUpdate<K>) + Send + 'static) -> Self {
        let (unreadable, listed_unreadable) = (HashMap::new(), Vec::new());
        Self { pass_on: Box::new(pass_on), unreadable, listed_unreadable, has_failed: false }
    }

    /// Passes on an event that `store` has taken.
    pub fn take(&mut self, signal: Signal<K>, store: &Store<K>) {
        let reading = match signal {
            Signal::ListStarted => {
                self.listed_unreadable.clear();
                return;
            }
            Signal::Listed(object) => {
                self.listed_unreadable.extend(object.map(|object| *object));
                return;
            }
            Signal::ListDone => {
                let listed = std::mem::take(&mut self.listed_unreadable);
                self.unreadable = listed.into_iter().map(|object| (object.reference(), object)).collect();
                self.has_failed = true;
                None
            }
            Signal::Object(key) => {
                self.unreadable.remove(&key);
                store.get(&key).map(WatchUpdate::Object)
            }
            Signal::Unreadable(object) => {
                self.unreadable.insert(object.reference(), (*object).clone());
                Some(WatchUpdate::Unreadable(object))
            }
            Signal::Deleted(key) => {
                self.unreadable.remove(&key);
                Some(WatchUpdate::Deleted(key.namespace, key.name))
            }
        };
        if std::mem::take(&mut self.has_failed) {
            (self.pass_on)(WatchUpdate::All(store.state(), self.unreadable.values().cloned().collect()));
        } else if let Some(reading) = reading {
            (self.pass_on)(reading);
        }
    }

    /// The watch has failed, and is tried again.
    pub fn fail(&mut self) {
        self.has_failed = true;
        (self.pass_on)(WatchUpdate::Failed);
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use kube::runtime::reflector::store;
    use parking_lot::Mutex;
    use serde_json::{Value, json};

    use super::*;

    fn decoded(name: &str, region: Value) -> Decoded<EksCluster> {
        let object = json!({
            "metadata": {"name": name, "namespace": "team", "uid": name, "generation": 1},
            "spec": {"region": region, "version": "1.34"},
        });
        serde_json::from_value(object).unwrap()
    }

    fn readable(name: &str) -> Decoded<EksCluster> {
        decoded(name, json!("eu-west-1"))
    }

    fn unreadable(name: &str) -> Decoded<EksCluster> {
        decoded(name, json!(1))
    }

    #[test]
    fn readings_are_those_of_the_store() {
        let (reader, mut writer) = store::<EksCluster>();
        let readings = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&readings);
        let mut tap = WatchTap::new(move |reading: WatchUpdate<EksCluster>| {
            log.lock().push(match reading {
                WatchUpdate::All(objects, unreadable) => {
                    let mut names: Vec<_> = objects.iter().map(|object| object.name_any()).collect();
                    names.sort();
                    names.extend(unreadable.iter().map(|object| format!("unreadable {}", object.name())));
                    format!("all: {}", names.join(", "))
                }
                WatchUpdate::Object(object) => format!("object {}", object.name_any()),
                WatchUpdate::Unreadable(object) => format!("unreadable {}", object.name()),
                WatchUpdate::Deleted(namespace, name) => format!("deleted {}/{name}", namespace.unwrap_or_default()),
                WatchUpdate::Failed => "failed".to_owned(),
            });
        });
        let mut pass = |tap: &mut WatchTap<EksCluster>, event: Event<Decoded<EksCluster>>| {
            let signal = Signal::of(&event);
            match event {
                Event::Init => writer.apply_watcher_event(&Event::Init),
                Event::InitDone => writer.apply_watcher_event(&Event::InitDone),
                Event::InitApply(Decoded::Object(object)) => writer.apply_watcher_event(&Event::InitApply(*object)),
                Event::Apply(Decoded::Object(object)) => writer.apply_watcher_event(&Event::Apply(*object)),
                Event::Delete(Decoded::Object(object)) => writer.apply_watcher_event(&Event::Delete(*object)),
                _ => {}
            }
            tap.take(signal, &reader);
        };
        for event in [
            Event::Init,
            Event::InitApply(readable("a")),
            Event::InitApply(unreadable("bad")),
            Event::InitDone,
            Event::Apply(readable("b")),
            Event::Apply(unreadable("worse")),
            Event::Delete(readable("a")),
        ] {
            pass(&mut tap, event);
        }
        let taken = || std::mem::take(&mut *readings.lock());
        assert_eq!(taken(), ["all: a, unreadable bad", "object b", "unreadable worse", "deleted team/a"]);
        pass(&mut tap, Event::Delete(unreadable("bad")));
        tap.fail();
        pass(&mut tap, Event::Apply(readable("c")));
        pass(&mut tap, Event::Apply(readable("b")));
        assert_eq!(taken(), ["deleted team/bad", "failed", "all: b, c, unreadable worse", "object b"]);
    }
}
