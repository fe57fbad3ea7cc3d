//! Watches clusters and node groups, for commands that show changes as they happen. I/O: the management cluster's API.

use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use super::approve::pending_plans::Target;
use super::connection;
use super::subject::{self, Subject};
use crate::api::{EksCluster, FleetRollout, NodeGroup};

/// The clusters and node groups of a namespace, kept current.
pub struct Watched {
    clusters: Store<EksCluster>,
    groups: Store<NodeGroup>,
    /// If they are watched, too.
    rollouts: Option<Store<FleetRollout>>,
    changes: mpsc::UnboundedReceiver<watcher::Result<()>>,
}

impl Watched {
    /// Starts to watch. `namespace`: all if `None`.
    pub fn start(client: &Client, namespace: Option<&str>) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let clusters = keep(connection::api::<EksCluster>(client, namespace), sender.clone());
        let groups = keep(connection::api::<NodeGroup>(client, namespace), sender);
        Self { clusters, groups, rollouts: None, changes }
    }

    /// Starts to watch the FleetRollouts and the clusters of all namespaces.
    pub fn start_fleet(client: &Client) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let clusters = keep(Api::<EksCluster>::all(client.clone()), sender.clone());
        let groups = keep(Api::<NodeGroup>::all(client.clone()), sender.clone());
        let rollouts = Some(keep(Api::<FleetRollout>::all(client.clone()), sender));
        Self { clusters, groups, rollouts, changes }
    }

    /// Waits until all objects are read. An API server that cannot be reached now is an error; later it is not.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        loop {
            let all = async {
                self.clusters.wait_until_ready().await?;
                self.groups.wait_until_ready().await?;
                match &self.rollouts {
                    Some(rollouts) => rollouts.wait_until_ready().await,
                    None => Ok(()),
                }
            };
            tokio::select! {
                all = all => return all.context("the watch ended"),
                change = self.changes.recv() => {
                    if let Some(Err(error)) = change {
                        return Err(cause(error));
                    }
                }
            }
        }
    }

    /// Waits for a change, and takes those that came with it.
    ///
    /// # Errors
    /// The watch cannot go on.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        let first = self.changes.recv().await.context("the watch ended")?;
        let more = std::iter::from_fn(|| self.changes.try_recv().ok());
        [first].into_iter().chain(more).filter_map(Result::err).try_for_each(check)
    }

    /// The FleetRollouts, if they are watched.
    pub fn rollouts(&self) -> Vec<FleetRollout> {
        self.rollouts.iter().flat_map(Store::state).map(|one| (*one).clone()).collect()
    }

    /// The clusters, and the node groups.
    pub fn objects(&self) -> (Vec<Arc<EksCluster>>, Vec<Arc<NodeGroup>>) {
        (self.clusters.state(), self.groups.state())
    }

    /// The objects, sorted; with a target only those that belong to it.
    pub fn subjects(&self, target: Option<&Target>) -> Vec<Subject> {
        let clusters: Vec<EksCluster> = self.clusters.state().iter().map(|one| (**one).clone()).collect();
        let groups: Vec<NodeGroup> = self.groups.state().iter().map(|one| (**one).clone()).collect();
        let mut all = subject::sorted(&clusters, &groups);
        all.retain(|one| target.is_none_or(|target| one.belongs_to(target)));
        all
    }
}

/// A store that a task keeps current; each change is announced.
fn keep<K>(api: Api<K>, sender: mpsc::UnboundedSender<watcher::Result<()>>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let mut stream = watcher(api, watcher::Config::default()).default_backoff().reflect(writer).boxed();
    tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            if sender.send(event.map(drop)).is_err() {
                break;
            }
        }
    });
    store
}

/// Whether a watch goes on after an error: it starts again by itself, but not if the user may not watch.
///
/// # Errors
/// Errors that the next attempt has too.
pub fn check(error: watcher::Error) -> anyhow::Result<()> {
    let error = cause(error);
    let is_permanent = match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => matches!(status.code, 401 | 403 | 404),
        Some(kube::Error::Auth(_) | kube::Error::SerdeError(_)) => true,
        _ => false,
    };
    if is_permanent { Err(error) } else { Ok(()) }
}

/// The error of the API server, or of the way to it.
pub fn cause(error: watcher::Error) -> anyhow::Error {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        watcher::Error::WatchError(status) => kube::Error::Api(status).into(),
        watcher::Error::NoResourceVersion => error.into(),
    }
}
