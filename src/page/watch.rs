//! Keeps the fleet current: watches the kinds of Keelson and the events of their objects. I/O: reads of the management cluster's API.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _};

use super::Page;
use super::fleet::{Change, EVENTS, Fleet, Shown, id_of};
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};
use crate::cli::{connection, errors, events, watching};
use crate::controllers::runtime::decode::Decoded;

/// Starts to watch. `namespace`: all if `None`. What cannot be read is a warning on the page.
pub fn start(client: &Client, namespace: Option<&str>, page: &Arc<Page>) {
    tokio::spawn(follow::<EksCluster>(connection::api(client, namespace), Arc::clone(page)));
    tokio::spawn(follow::<NodeGroup>(connection::api(client, namespace), Arc::clone(page)));
    tokio::spawn(follow::<AwsAccount>(Api::all(client.clone()), Arc::clone(page)));
    tokio::spawn(follow::<FleetRollout>(Api::all(client.clone()), Arc::clone(page)));
    tokio::spawn(follow_events(connection::api(client, namespace), Arc::clone(page)));
}

async fn follow<K: Shown>(api: Api<Decoded<K>>, page: Arc<Page>) {
    let name = K::KIND.as_str();
    let mut stream = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        let now = Timestamp::now();
        page.update(|fleet| match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(id_of(K::KIND, object.meta()));
                store(fleet, object, now)
            }
            Ok(watcher::Event::InitDone) => fleet.finish_list::<K>(&std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(object)) => {
                let mut changes = fleet.recovered(name);
                changes.extend(store(fleet, object, now));
                changes
            }
            Ok(watcher::Event::Delete(object)) => fleet.delete::<K>(&id_of(K::KIND, object.meta())),
            Err(error) => fleet.failed(name, describe(error), now),
        });
    }
}

fn store<K: Shown>(fleet: &mut Fleet, object: Decoded<K>, now: Timestamp) -> Vec<Change> {
    match object {
        Decoded::Object(object) => fleet.apply(*object, now),
        Decoded::Unreadable(object) => fleet.isolate::<K>(&object),
    }
}

async fn follow_events(api: Api<Event>, page: Arc<Page>) {
    let config = watcher::Config::default().fields(&events::of_keelson());
    let mut stream = watcher(api, config).default_backoff().boxed();
    while let Some(event) = stream.next().await {
        let now = Timestamp::now();
        page.update(|fleet| match event {
            Ok(watcher::Event::Init) => Vec::new(),
            Ok(watcher::Event::InitDone) => fleet.recovered(EVENTS),
            Ok(watcher::Event::InitApply(event) | watcher::Event::Apply(event)) => fleet.add_event(&event),
            // Events end after an hour; what happened is shown for longer.
            Ok(watcher::Event::Delete(_)) => Vec::new(),
            Err(error) => fleet.failed(EVENTS, describe(error), now),
        });
    }
}

fn describe(error: watcher::Error) -> String {
    errors::format_error(&watching::cause(error))
}
