//! Keeps the fleet current: watches the kinds of Keelson and the events of their objects. I/O: reads of the management cluster's API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::Page;
use super::fleet::{Change, EVENTS, Fleet, PageKind, id_of};
use super::gate::Gate;
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};
use crate::cli::{connection, errors, events, watching};
use crate::controllers::runtime::decode::Decoded;

/// Seconds of a watch, after which another one goes on: a connection that has become silent is noticed soon after.
const WATCH_SECONDS: u32 = 30;
/// Objects of a page of a list, which is in memory as a whole: each may be as large as etcd allows.
const PAGE: u32 = 20;
/// The same of events, of which there are many, and whose texts their authors choose.
const PAGE_OF_EVENTS: u32 = 10;
/// Pause after an error; it doubles until a list is complete.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Starts to watch. `namespace`: all if `None`. What cannot be read is a warning on the page.
pub fn start(client: &Client, namespace: Option<&str>, page: &Arc<Page>) {
    tokio::spawn(follow::<EksCluster>(connection::api(client, namespace), Arc::clone(page)));
    tokio::spawn(follow::<NodeGroup>(connection::api(client, namespace), Arc::clone(page)));
    tokio::spawn(follow::<AwsAccount>(Api::all(client.clone()), Arc::clone(page)));
    tokio::spawn(follow::<FleetRollout>(Api::all(client.clone()), Arc::clone(page)));
    tokio::spawn(follow_events(connection::api(client, namespace), Arc::clone(page)));
}

/// Hands on each event, and lists again after an error. A watch that goes on after one has no event until something changes, so
/// nobody would know that it can be read again.
async fn watch<K>(api: Api<K>, config: watcher::Config, mut take: impl FnMut(watcher::Result<watcher::Event<K>>) + Send)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut pause = MIN_PAUSE;
    loop {
        let mut stream = watcher(api.clone(), config.clone()).boxed();
        while let Some(event) = stream.next().await {
            let has_failed = event.is_err();
            if matches!(event, Ok(watcher::Event::InitDone)) {
                pause = MIN_PAUSE;
            }
            take(event);
            if has_failed {
                break;
            }
        }
        drop(stream);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}

/// Watches a kind, except while an operator in this process passes on what it reads.
async fn follow<K: PageKind>(api: Api<Decoded<K>>, page: Arc<Page>) {
    let mut led = page.led(K::KIND).subscribe();
    // The page has the sender, so there is always another value.
    while led.wait_for(|is_led| !is_led).await.is_ok() {
        let rest = async { led.wait_for(|is_led| *is_led).await.is_ok() };
        tokio::select! {
            () = read(api.clone(), &page) => {}
            _ = rest => {}
        }
    }
}

async fn read<K: PageKind>(api: Api<Decoded<K>>, page: &Page) {
    let name = K::KIND.as_str();
    let mut listed = BTreeSet::new();
    watch(api, config(), |event| {
        let now = Timestamp::now();
        page.update(|fleet| match event {
            _ if *page.led(K::KIND).borrow() => Vec::new(),
            Ok(watcher::Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(id_of(K::KIND, object.meta()));
                store(fleet, object, now)
            }
            Ok(watcher::Event::InitDone) => fleet.finish_list::<K>(&std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(object)) => store(fleet, object, now),
            Ok(watcher::Event::Delete(object)) => fleet.delete::<K>(&id_of(K::KIND, object.meta())),
            Err(error) => fleet.failed(name, describe(error, name, &page.gate), now),
        });
    })
    .await;
}

fn store<K: PageKind>(fleet: &mut Fleet, object: Decoded<K>, now: Timestamp) -> Vec<Change> {
    match object {
        Decoded::Object(object) => fleet.apply(*object, now),
        Decoded::Unreadable(object) => fleet.isolate::<K>(&object),
    }
}

async fn follow_events(api: Api<Event>, page: Arc<Page>) {
    watch(api, config().page_size(PAGE_OF_EVENTS).fields(&events::of_keelson()), |event| {
        let now = Timestamp::now();
        page.update(|fleet| match event {
            Ok(watcher::Event::Init) => Vec::new(),
            Ok(watcher::Event::InitDone) => fleet.recovered(EVENTS),
            Ok(watcher::Event::InitApply(event) | watcher::Event::Apply(event)) => fleet.add_event(&event, now),
            // Events end after an hour; what happened is shown for longer.
            Ok(watcher::Event::Delete(_)) => Vec::new(),
            Err(error) => fleet.failed(EVENTS, describe(error, EVENTS, &page.gate), now),
        });
    })
    .await;
}

/// The error for who looks at the page: in a cluster they are others, and the server's own words are in the log.
fn describe(error: watcher::Error, name: &str, gate: &Gate) -> String {
    let text = errors::format_error(&watching::cause(error));
    match gate {
        Gate::Owner(_) => text,
        Gate::Cluster(_) => {
            tracing::warn!(kind = name, error = %text, "the page cannot read these objects; retrying");
            "the API server does not answer, or does not let the page read them; its log has the reason".to_owned()
        }
    }
}
