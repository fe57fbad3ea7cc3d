//! Tracks which Secrets the clusters' agents read, and watches for changes. Secrets themselves are not stored, nor
//! even listed: only the requested names and their readers. I/O: the management cluster's API, metadata only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::reconcile_queue::{Queue, Trigger};
use crate::api::EksCluster;
use crate::workload::error::CallError;
use crate::workload::watch::{Watch, WatchEvent, Watched};

/// First and longest retry delay while the watch cannot be opened.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Namespace and name.
type Name = (String, String);

/// Which clusters read which Secrets. Clones share it.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The clusters that read a Secret, by UID.
    readers: HashMap<Name, BTreeMap<String, ObjectRef<EksCluster>>>,
    /// The number of changes to Secrets that a cluster reads, by UID.
    change_count: HashMap<String, u64>,
    /// Whether the watch is open.
    watched: bool,
}

impl Secrets {
    /// A number that differs after a Secret that the cluster reads has changed. Get it before reading.
    pub fn change_count(&self, uid: &str) -> u64 {
        self.0.lock().change_count.get(uid).copied().unwrap_or_default()
    }

    /// Records that the cluster is about to read the Secret.
    pub fn record_reader(&self, uid: &str, cluster: &ObjectRef<EksCluster>, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        self.0.lock().readers.entry(name).or_default().insert(uid.to_owned(), cluster.clone());
    }

    /// Removes a deleted cluster.
    pub fn remove_cluster(&self, uid: &str) {
        self.forget(uid);
        self.0.lock().change_count.remove(uid);
    }

    /// Forgets what a cluster reads, as it is about to read everything again.
    pub fn forget(&self, uid: &str) {
        self.0.lock().readers.retain(|_, readers| {
            readers.remove(uid);
            !readers.is_empty()
        });
    }

    /// Whether changes are watched; otherwise they must be polled.
    pub fn are_watched(&self) -> bool {
        self.0.lock().watched
    }

    fn set_watched(&self, watched: bool) -> bool {
        std::mem::replace(&mut self.0.lock().watched, watched)
    }

    /// Marks a change, and returns the clusters to reconcile. `None`: all that read any Secret.
    fn mark_changed(&self, name: Option<&Name>) -> Vec<ObjectRef<EksCluster>> {
        let mut inner = self.0.lock();
        let Inner { readers, change_count, .. } = &mut *inner;
        let readers: BTreeMap<_, _> = match name {
            Some(name) => readers.get(name).into_iter().flatten().collect(),
            None => readers.values().flatten().collect(),
        };
        for uid in readers.keys() {
            *change_count.entry((*uid).clone()).or_default() += 1;
        }
        readers.into_values().cloned().collect()
    }
}

/// Watches Secrets and requests reconciles of their readers in `clusters`, while this process leads.
pub async fn watch_secrets(client: Client, secrets: Secrets, clusters: Queue<EksCluster>) {
    let mut watch = Watch::of(Watched { api_version: "v1", kind: "Secret", namespace: None });
    let mut backoff = new_backoff();
    let mut logged = false;
    loop {
        let error = watch
            .follow(&client, |event| {
                if event != WatchEvent::Started {
                    // A watch that starts may still fail at once.
                    backoff = new_backoff();
                }
                let secret = match event {
                    WatchEvent::Started => None,
                    WatchEvent::Changed { namespace, name } => Some((namespace, name)),
                    WatchEvent::Alive => return,
                };
                if !secrets.set_watched(true) && std::mem::take(&mut logged) {
                    tracing::info!("Secrets are watched again");
                }
                for cluster in secrets.mark_changed(secret.as_ref()) {
                    clusters.push(cluster, Trigger::Dependency);
                }
            })
            .await;
        secrets.set_watched(false);
        let denied = matches!(error, CallError::Denied { .. });
        if !std::mem::replace(&mut logged, true) {
            let message = "Secrets are not watched: those that clusters refer to are read again every minute";
            if denied {
                // Permission to watch Secrets is permission to read them all: deploy/ grants it only on request.
                tracing::info!(reason = %describe_error(&error), "{message}");
            } else {
                tracing::warn!(error = %describe_error(&error), "{message}");
            }
        }
        // The longest delay if the permission is withheld on purpose.
        let pause = if denied { Some(RETRY.1) } else { backoff.next() };
        tokio::time::sleep(pause.unwrap_or(RETRY.1)).await;
    }
}

fn new_backoff() -> ExponentialBackoff {
    let doubling = ExponentialBuilder::default().with_min_delay(RETRY.0).with_max_delay(RETRY.1).with_factor(2.0);
    doubling.without_max_times().with_jitter().build()
}

fn describe_error(error: &CallError) -> String {
    match error {
        CallError::Denied { message, .. } => format!("{message}; deploy/secrets-cluster-wide grants it"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets_with_readers() -> Secrets {
        let secrets = Secrets::default();
        for (uid, cluster, name) in [("1", "a", "deploy-key"), ("1", "a", "mirror"), ("2", "b", "mirror")] {
            secrets.record_reader(uid, &ObjectRef::new(cluster).within("shop"), "shop", name);
        }
        secrets
    }

    fn woken_clusters(secrets: &Secrets, name: Option<(&str, &str)>) -> Vec<String> {
        let name = name.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        secrets.mark_changed(name.as_ref()).into_iter().map(|cluster| cluster.name).collect()
    }

    #[test]
    fn only_readers_of_a_changed_secret_are_reconciled() {
        let secrets = secrets_with_readers();
        assert_eq!(woken_clusters(&secrets, Some(("shop", "deploy-key"))), ["a"]);
        assert_eq!((secrets.change_count("1"), secrets.change_count("2")), (1, 0));
        assert_eq!(woken_clusters(&secrets, Some(("shop", "mirror"))), ["a", "b"]);
        assert!(woken_clusters(&secrets, Some(("other", "mirror"))).is_empty());
        assert!(woken_clusters(&secrets, Some(("shop", "unread"))).is_empty());
    }

    #[test]
    fn all_readers_are_reconciled_after_an_interrupted_watch() {
        let secrets = secrets_with_readers();
        assert_eq!(woken_clusters(&secrets, None), ["a", "b"]);
        assert_eq!((secrets.change_count("1"), secrets.change_count("2")), (1, 1));
    }

    #[test]
    fn deleted_cluster_is_not_reconciled() {
        let secrets = secrets_with_readers();
        secrets.remove_cluster("1");
        assert!(woken_clusters(&secrets, Some(("shop", "deploy-key"))).is_empty());
        assert_eq!(woken_clusters(&secrets, Some(("shop", "mirror"))), ["b"]);
    }
}
