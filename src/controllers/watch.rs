//! Watches of the kinds: the store that reconciles read, and who is to be looked at when something changed. Changes of our
//! own status trigger nothing. I/O: the management cluster's API.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};

use super::apply::{Kind, describe_error, has_finalizer};
use super::decode::{Decoded, Unreadable};

/// A number that differs when something differs.
pub fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What of an object asks for a reconcile of its own: not its status, which is ours. That our finalizer is taken off does, as it is
/// to be put back.
pub fn own_digest<K: Kind>(object: &K) -> u64 {
    let meta = object.meta();
    let (deleted, held) = (meta.deletion_timestamp.is_some(), has_finalizer(object));
    digest((&meta.uid, meta.generation, &meta.annotations, deleted, held))
}

/// What others need to know of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DependentView {
    /// Differs when something differs that they see.
    pub digest: u64,
    /// The name of the object that it belongs to, if any.
    pub part_of: String,
}

/// What changed.
pub enum Change<'a, K: Kind> {
    /// Of the object, what asks for a reconcile of its own.
    SpecChanged(&'a K),
    /// Of the object, what others see.
    DependentsAffected(&'a K),
    /// It is there and cannot be read, or no longer.
    Unreadable(&'a Unreadable),
    /// It is gone.
    Deleted {
        /// Which.
        object: &'a ObjectRef<K>,
        /// Its UID.
        uid: &'a str,
        /// As in [`DependentView`].
        part_of: &'a str,
    },
}

/// What was noticed of an object last.
struct Noticed {
    uid: String,
    own: u64,
    shown: DependentView,
}

/// Objects of a page: each may be as large as etcd lets it be, with all that is dropped once it is parsed.
const PAGE: u32 = 5;

/// A kind's store, and the watch that fills it and tells what changed. An object that cannot be read is told of and is not in the store.
pub fn watched<K: Kind>(
    api: Api<Decoded<K>>,
    shown: impl Fn(&K) -> DependentView + Send + 'static,
    on_change: impl Fn(Change<'_, K>) + Send + 'static,
) -> (Store<K>, impl Future<Output = ()> + Send) {
    let (reader, writer) = store::<K>();
    let mut tracker = Tracker::new(reader.clone(), writer, shown, on_change);
    let watching = async move {
        let mut failing = false;
        let events = watcher::watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if failing {
                        failing = false;
                        tracing::info!(kind = K::NAME, "the watch works again");
                    }
                    tracker.handle(event);
                }
                Err(error) => {
                    failing = true;
                    // Backed off by the stream: at most one line every half minute.
                    tracing::warn!(kind = K::NAME, error = %explained(&error), "the watch failed and is tried again");
                }
            }
        }
    };
    (reader, watching)
}

/// Fills a store from the events of a watch, and tells of changes.
struct Tracker<K: Kind, S, C> {
    reader: Store<K>,
    writer: Writer<K>,
    noticed: HashMap<ObjectRef<K>, Noticed>,
    /// Those that cannot be read: UID, and the name of the object they belong to.
    unreadable: HashMap<ObjectRef<K>, (String, String)>,
    /// Of a list under way.
    initial: (Vec<ObjectRef<K>>, Vec<Unreadable>),
    shown: S,
    on_change: C,
}

impl<K: Kind, S: Fn(&K) -> DependentView, C: Fn(Change<'_, K>)> Tracker<K, S, C> {
    fn new(reader: Store<K>, writer: Writer<K>, shown: S, on_change: C) -> Self {
        let (noticed, unreadable) = (HashMap::new(), HashMap::new());
        Self { reader, writer, noticed, unreadable, initial: (Vec::new(), Vec::new()), shown, on_change }
    }

    fn handle(&mut self, event: Event<Decoded<K>>) {
        match event {
            Event::Init => {
                self.initial = (Vec::new(), Vec::new());
                self.writer.apply_watcher_event(&Event::Init);
            }
            Event::InitApply(Decoded::Object(object)) => {
                self.initial.0.push(ObjectRef::from_obj(&*object));
                self.writer.apply_watcher_event(&Event::InitApply(*object));
            }
            Event::InitApply(Decoded::Unreadable(object)) => self.initial.1.push(*object),
            Event::InitDone => self.listed(),
            Event::Apply(Decoded::Object(object)) => {
                self.writer.apply_watcher_event(&Event::Apply((*object).clone()));
                self.notice(&object);
            }
            Event::Apply(Decoded::Unreadable(object)) => self.isolate(&object),
            Event::Delete(Decoded::Object(object)) => {
                let key = ObjectRef::from_obj(&*object);
                self.noticed.remove(&key);
                self.unreadable.remove(&key);
                let uid = object.uid().unwrap_or_default();
                let part_of = (self.shown)(&object).part_of;
                self.writer.apply_watcher_event(&Event::Delete(*object));
                (self.on_change)(Change::Deleted { object: &key, uid: &uid, part_of: &part_of });
            }
            Event::Delete(Decoded::Unreadable(object)) => {
                let key = reference(&object);
                self.forget(&key);
                self.unreadable.remove(&key);
                let (uid, part_of) = (object.meta.uid.unwrap_or_default(), object.cluster.unwrap_or_default());
                (self.on_change)(Change::Deleted { object: &key, uid: &uid, part_of: &part_of });
            }
        }
    }

    /// Only now does the store show them; what is missing went while nobody watched.
    fn listed(&mut self) {
        self.writer.apply_watcher_event(&Event::InitDone);
        let (objects, unreadable) = std::mem::take(&mut self.initial);
        let mut before = std::mem::take(&mut self.noticed);
        let mut unreadable_before = std::mem::take(&mut self.unreadable);
        for key in objects {
            if let Some(known) = before.remove(&key) {
                self.noticed.insert(key.clone(), known);
            }
            unreadable_before.remove(&key);
            if let Some(object) = self.reader.get(&key) {
                self.notice(&object);
            }
        }
        for object in unreadable {
            let key = reference(&object);
            before.remove(&key);
            unreadable_before.remove(&key);
            self.isolate(&object);
        }
        for (object, Noticed { uid, shown, .. }) in before {
            (self.on_change)(Change::Deleted { object: &object, uid: &uid, part_of: &shown.part_of });
        }
        for (object, (uid, part_of)) in unreadable_before {
            (self.on_change)(Change::Deleted { object: &object, uid: &uid, part_of: &part_of });
        }
    }

    /// Takes an object that cannot be read out of the store. What was noticed of it is forgotten, so that all of it is new once it can be.
    fn isolate(&mut self, object: &Unreadable) {
        let key = reference(object);
        self.forget(&key);
        let of = (object.meta.uid.clone().unwrap_or_default(), object.cluster.clone().unwrap_or_default());
        self.unreadable.insert(key, of);
        (self.on_change)(Change::Unreadable(object));
    }

    fn forget(&mut self, key: &ObjectRef<K>) {
        self.noticed.remove(key);
        if let Some(object) = self.reader.get(key) {
            self.writer.apply_watcher_event(&Event::Delete((*object).clone()));
        }
    }

    fn notice(&mut self, object: &K) {
        let Self { noticed, shown, on_change, .. } = self;
        let key = ObjectRef::from_obj(object);
        self.unreadable.remove(&key);
        let now = Noticed { uid: object.uid().unwrap_or_default(), own: own_digest(object), shown: shown(object) };
        let (own, others) = (now.own, now.shown.digest);
        let before = noticed.insert(key.clone(), now);
        if let Some(before) = &before
            && before.uid != noticed.get(&key).map(|n| n.uid.as_str()).unwrap_or_default()
        {
            // Deleted and made again under the same name while nobody watched.
            on_change(Change::Deleted { object: &key, uid: &before.uid, part_of: &before.shown.part_of });
        }
        if before.as_ref().is_none_or(|before| before.own != own) {
            on_change(Change::SpecChanged(object));
        }
        if before.is_none_or(|before| before.shown.digest != others) {
            on_change(Change::DependentsAffected(object));
        }
    }
}

fn reference<K: Kind>(object: &Unreadable) -> ObjectRef<K> {
    let reference = ObjectRef::new(object.meta.name.as_deref().unwrap_or_default());
    match object.meta.namespace.as_deref() {
        Some(namespace) => reference.within(namespace),
        None => reference,
    }
}

fn explained(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(cause) | WatchStartFailed(cause) | WatchFailed(cause) => describe_error(cause),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
