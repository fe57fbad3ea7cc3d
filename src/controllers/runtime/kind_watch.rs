//! Watches a kind: fills the store that reconciles read, and reports which objects to reconcile. Keelson's own status
//! changes trigger nothing; ids that disappear from status do. I/O: the management cluster's API.

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
use super::mirror::{Signal, WatchTap};

/// Hashes a value, to detect changes.
pub fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Digest of the parts of an object that trigger its own reconcile: not its status, which Keelson writes. Removal of
/// Keelson's finalizer triggers one, as it must be added again.
pub fn own_digest<K: Kind>(object: &K) -> u64 {
    let meta = object.meta();
    let (deleted, has_our_finalizer) = (meta.deletion_timestamp.is_some(), has_finalizer(object));
    digest((&meta.uid, meta.generation, &meta.annotations, deleted, has_our_finalizer))
}

/// The part of an object that dependents see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DependentView {
    /// Changes when that part changes.
    pub digest: u64,
    /// The name of the object that it belongs to, if any.
    pub part_of: String,
}

/// A change of an object.
pub enum Change<'a, K: Kind> {
    /// A part that triggers its own reconcile changed.
    SpecChanged(&'a K),
    /// The part that dependents see changed.
    DependentsAffected(&'a K),
    /// It exists and cannot be decoded.
    Unreadable(&'a Unreadable),
    /// It was deleted.
    Deleted {
        /// The object.
        object: &'a ObjectRef<K>,
        /// Its UID.
        uid: &'a str,
        /// As in [`DependentView`].
        part_of: &'a str,
    },
}

/// The last observed state of an object.
struct Tracked {
    uid: String,
    own: u64,
    view: DependentView,
}

/// Objects per page: each may be as large as etcd allows, including everything that is dropped after parsing.
const PAGE: u32 = 5;

/// Creates a kind's store, and the watch that fills it and reports changes. Unreadable objects are reported, and are
/// not in the store.
pub fn watch_kind<K: Kind>(
    api: Api<Decoded<K>>,
    view: impl Fn(&K) -> DependentView + Send + 'static,
    on_change: impl Fn(Change<'_, K>) + Send + 'static,
) -> (Store<K>, impl Future<Output = ()> + Send) {
    watch_mirrored_kind(api, view, on_change, None)
}

/// The same, and passes on what it reads.
pub fn watch_mirrored_kind<K: Kind>(
    api: Api<Decoded<K>>,
    view: impl Fn(&K) -> DependentView + Send + 'static,
    on_change: impl Fn(Change<'_, K>) + Send + 'static,
    mut tap: Option<WatchTap<K>>,
) -> (Store<K>, impl Future<Output = ()> + Send) {
    let (reader, writer) = store::<K>();
    let taken = reader.clone();
    let mut tracker = Tracker::new(reader.clone(), writer, view, on_change);
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
                    let signal = tap.as_ref().map(|_| Signal::of(&event));
                    tracker.handle(event);
                    if let (Some(tap), Some(signal)) = (&mut tap, signal) {
                        tap.take(signal, &taken);
                    }
                }
                Err(error) => {
                    failing = true;
                    if let Some(tap) = &mut tap {
                        tap.fail();
                    }
                    // The stream backs off: at most one line every half minute.
                    tracing::warn!(kind = K::NAME, error = %describe_watch_error(&error), "the watch failed; retrying");
                }
            }
        }
    };
    (reader, watching)
}

/// Fills a store from watch events, and reports changes.
struct Tracker<K: Kind, S, C> {
    reader: Store<K>,
    writer: Writer<K>,
    tracked: HashMap<ObjectRef<K>, Tracked>,
    /// Unreadable objects: UID, and the name of the object they belong to.
    unreadable: HashMap<ObjectRef<K>, (String, String)>,
    /// The objects of a list in progress.
    pending_list: (Vec<ObjectRef<K>>, Vec<Unreadable>),
    view: S,
    on_change: C,
}

impl<K: Kind, S: Fn(&K) -> DependentView, C: Fn(Change<'_, K>)> Tracker<K, S, C> {
    fn new(reader: Store<K>, writer: Writer<K>, view: S, on_change: C) -> Self {
        let (tracked, unreadable) = (HashMap::new(), HashMap::new());
        Self { reader, writer, tracked, unreadable, pending_list: (Vec::new(), Vec::new()), view, on_change }
    }

    fn handle(&mut self, event: Event<Decoded<K>>) {
        match event {
            Event::Init => {
                self.pending_list = (Vec::new(), Vec::new());
                self.writer.apply_watcher_event(&Event::Init);
            }
            Event::InitApply(Decoded::Object(object)) => {
                self.pending_list.0.push(ObjectRef::from_obj(&*object));
                self.writer.apply_watcher_event(&Event::InitApply(*object));
            }
            Event::InitApply(Decoded::Unreadable(object)) => self.pending_list.1.push(*object),
            Event::InitDone => self.finish_list(),
            Event::Apply(Decoded::Object(object)) => {
                let before = self.reader.get(&ObjectRef::from_obj(&*object));
                self.writer.apply_watcher_event(&Event::Apply((*object).clone()));
                self.track(&object, before.as_deref());
            }
            Event::Apply(Decoded::Unreadable(object)) => self.isolate(&object),
            Event::Delete(Decoded::Object(object)) => {
                let key = ObjectRef::from_obj(&*object);
                self.tracked.remove(&key);
                self.unreadable.remove(&key);
                let uid = object.uid().unwrap_or_default();
                let part_of = (self.view)(&object).part_of;
                self.writer.apply_watcher_event(&Event::Delete(*object));
                (self.on_change)(Change::Deleted { object: &key, uid: &uid, part_of: &part_of });
            }
            Event::Delete(Decoded::Unreadable(object)) => {
                let key = object.reference();
                self.forget(&key);
                self.unreadable.remove(&key);
                let (uid, part_of) = (object.meta.uid.unwrap_or_default(), object.cluster.unwrap_or_default());
                (self.on_change)(Change::Deleted { object: &key, uid: &uid, part_of: &part_of });
            }
        }
    }

    /// Completes a list. The store shows its objects only now; objects missing from it were deleted while the watch
    /// was interrupted.
    fn finish_list(&mut self) {
        let shown: HashMap<_, _> =
            self.reader.state().into_iter().map(|object| (ObjectRef::from_obj(&*object), object)).collect();
        self.writer.apply_watcher_event(&Event::InitDone);
        let (objects, unreadable) = std::mem::take(&mut self.pending_list);
        let mut before = std::mem::take(&mut self.tracked);
        let mut unreadable_before = std::mem::take(&mut self.unreadable);
        for key in objects {
            if let Some(known) = before.remove(&key) {
                self.tracked.insert(key.clone(), known);
            }
            unreadable_before.remove(&key);
            if let Some(object) = self.reader.get(&key) {
                self.track(&object, shown.get(&key).map(|object| &**object));
            }
        }
        for object in unreadable {
            let key = object.reference();
            before.remove(&key);
            unreadable_before.remove(&key);
            self.isolate(&object);
        }
        for (object, Tracked { uid, view, .. }) in before {
            (self.on_change)(Change::Deleted { object: &object, uid: &uid, part_of: &view.part_of });
        }
        for (object, (uid, part_of)) in unreadable_before {
            (self.on_change)(Change::Deleted { object: &object, uid: &uid, part_of: &part_of });
        }
    }

    /// Removes an unreadable object from the store. Its last observed state is forgotten, so that everything counts as
    /// changed once it is readable again.
    fn isolate(&mut self, object: &Unreadable) {
        let key = object.reference();
        self.forget(&key);
        let owner = (object.meta.uid.clone().unwrap_or_default(), object.cluster.clone().unwrap_or_default());
        self.unreadable.insert(key, owner);
        (self.on_change)(Change::Unreadable(object));
    }

    fn forget(&mut self, key: &ObjectRef<K>) {
        self.tracked.remove(key);
        if let Some(object) = self.reader.get(key) {
            self.writer.apply_watcher_event(&Event::Delete((*object).clone()));
        }
    }

    /// `shown`: the object as the store had it before.
    fn track(&mut self, object: &K, shown: Option<&K>) {
        let Self { tracked, view, on_change, .. } = self;
        let key = ObjectRef::from_obj(object);
        self.unreadable.remove(&key);
        let now = Tracked { uid: object.uid().unwrap_or_default(), own: own_digest(object), view: view(object) };
        let (own, others) = (now.own, now.view.digest);
        let before = tracked.insert(key.clone(), now);
        if let Some(before) = &before
            && before.uid != tracked.get(&key).map(|n| n.uid.as_str()).unwrap_or_default()
        {
            // Deleted and recreated under the same name while the watch was interrupted.
            on_change(Change::Deleted { object: &key, uid: &before.uid, part_of: &before.view.part_of });
        }
        // A deletion removes ids itself, and its reconciles follow one another closely.
        let has_lost_records = object.meta().deletion_timestamp.is_none()
            && shown.is_some_and(|shown| shown.uid() == object.uid() && object.has_lost_records(shown));
        if has_lost_records || before.as_ref().is_none_or(|before| before.own != own) {
            on_change(Change::SpecChanged(object));
        }
        if before.is_none_or(|before| before.view.digest != others) {
            on_change(Change::DependentsAffected(object));
        }
    }
}

fn describe_watch_error(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(cause) | WatchStartFailed(cause) | WatchFailed(cause) => describe_error(cause),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "kind_watch_tests.rs"]
mod tests;
