//! Watches of the kinds: the store that reconciles read, and who is to be looked at when something changed. Changes of our
//! own status trigger nothing. I/O: the management cluster's API.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};

use super::apply::{Kind, told};

/// A number that differs when something differs.
pub fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What of an object asks for a reconcile of its own: not its status, which is ours.
pub fn own_digest<K: Kind>(object: &K) -> u64 {
    let meta = object.meta();
    let deleted = meta.deletion_timestamp.is_some();
    digest((&meta.uid, meta.generation, &meta.annotations, deleted))
}

/// What others need to know of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Differs when something differs that they see.
    pub digest: u64,
    /// The name of the object that it belongs to, if any.
    pub part_of: String,
}

/// What changed.
pub enum Change<'a, K: Kind> {
    /// Of the object, what asks for a reconcile of its own.
    Own(&'a K),
    /// Of the object, what others see.
    Shown(&'a K),
    /// It is gone.
    Gone {
        /// Which.
        object: &'a ObjectRef<K>,
        /// Its UID.
        uid: &'a str,
        /// As in [`Shown`].
        part_of: &'a str,
    },
}

/// What was noticed of an object last.
struct Noticed {
    uid: String,
    own: u64,
    shown: Shown,
}

/// A kind's store, and the watch that fills it and tells what changed.
pub fn watched<K: Kind>(
    api: Api<K>,
    shown: impl Fn(&K) -> Shown + Send + 'static,
    on_change: impl Fn(Change<'_, K>) + Send + 'static,
) -> (Store<K>, impl Future<Output = ()> + Send) {
    let (reader, mut writer) = store::<K>();
    let watching = async move {
        let mut noticed: HashMap<ObjectRef<K>, Noticed> = HashMap::new();
        let mut initial: Vec<K> = Vec::new();
        let mut failing = false;
        let events = watcher::watcher(api, watcher::Config::default()).default_backoff().modify(slim);
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    failing = true;
                    // Backed off by the stream: at most one line every half minute.
                    tracing::warn!(kind = K::NAME, error = %explained(&error), "the watch failed and is tried again");
                    continue;
                }
            };
            if failing {
                failing = false;
                tracing::info!(kind = K::NAME, "the watch works again");
            }
            writer.apply_watcher_event(&event);
            match event {
                Event::Init => initial.clear(),
                Event::InitApply(object) => initial.push(object),
                Event::InitDone => {
                    // Only now does the store show them; what is missing went while nobody watched.
                    let mut before = std::mem::take(&mut noticed);
                    for object in std::mem::take(&mut initial) {
                        let key = ObjectRef::from_obj(&object);
                        if let Some(known) = before.remove(&key) {
                            noticed.insert(key, known);
                        }
                        notice(&mut noticed, &object, &shown, &on_change);
                    }
                    for (object, Noticed { uid, shown, .. }) in before {
                        on_change(Change::Gone { object: &object, uid: &uid, part_of: &shown.part_of });
                    }
                }
                Event::Apply(object) => notice(&mut noticed, &object, &shown, &on_change),
                Event::Delete(object) => {
                    let key = ObjectRef::from_obj(&object);
                    noticed.remove(&key);
                    let uid = object.uid().unwrap_or_default();
                    on_change(Change::Gone { object: &key, uid: &uid, part_of: &shown(&object).part_of });
                }
            }
        }
    };
    (reader, watching)
}

fn notice<K: Kind>(
    noticed: &mut HashMap<ObjectRef<K>, Noticed>,
    object: &K,
    shown: &impl Fn(&K) -> Shown,
    on_change: &impl Fn(Change<'_, K>),
) {
    let key = ObjectRef::from_obj(object);
    let now = Noticed { uid: object.uid().unwrap_or_default(), own: own_digest(object), shown: shown(object) };
    let (own, others) = (now.own, now.shown.digest);
    let before = noticed.insert(key.clone(), now);
    if let Some(before) = &before
        && before.uid != noticed.get(&key).map(|n| n.uid.as_str()).unwrap_or_default()
    {
        // Deleted and made again under the same name while nobody watched.
        on_change(Change::Gone { object: &key, uid: &before.uid, part_of: &before.shown.part_of });
    }
    if before.as_ref().is_none_or(|before| before.own != own) {
        on_change(Change::Own(object));
    }
    if before.is_none_or(|before| before.shown.digest != others) {
        on_change(Change::Shown(object));
    }
}

/// Managed fields are larger than all else in an object, and nobody reads them here.
fn slim<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

fn explained(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(cause) | WatchStartFailed(cause) | WatchFailed(cause) => told(cause),
        other => other.to_string(),
    }
}
