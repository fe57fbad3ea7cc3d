//! Which Secrets the clusters' agents need, and the watch that tells when one of them changes. Of Secrets nothing is kept, not
//! even which there are: only the names that were asked for, and who asked. I/O: the management cluster's API, metadata only.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::reflector::ObjectRef;

use super::context::{Context, locked};
use crate::api::EksCluster;
use crate::gitops::error::CallError;
use crate::gitops::watch::{Watch, WatchEvent, Watched};

/// While the watch cannot be opened: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Namespace and name.
type Name = (String, String);

/// Who needs which Secrets.
#[derive(Default)]
pub struct Secrets(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The clusters that read a Secret, by UID.
    readers: HashMap<Name, BTreeMap<String, ObjectRef<EksCluster>>>,
    /// How often something changed of what a cluster reads, by UID.
    changes: HashMap<String, u64>,
    /// Changes are told.
    watched: bool,
}

impl Secrets {
    /// A number that differs when a Secret changed that the cluster reads. To be asked for before reading.
    pub fn changes(&self, uid: &str) -> u64 {
        locked(&self.0).changes.get(uid).copied().unwrap_or_default()
    }

    /// The cluster is about to read that Secret.
    pub fn reads(&self, uid: &str, cluster: &ObjectRef<EksCluster>, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        locked(&self.0).readers.entry(name).or_default().insert(uid.to_owned(), cluster.clone());
    }

    /// A cluster is gone.
    pub fn gone(&self, uid: &str) {
        self.forget(uid);
        locked(&self.0).changes.remove(uid);
    }

    /// A cluster is about to read all that it needs anew.
    pub fn forget(&self, uid: &str) {
        locked(&self.0).readers.retain(|_, readers| {
            readers.remove(uid);
            !readers.is_empty()
        });
    }

    /// Whether changes are told; else they must be looked for.
    pub fn are_watched(&self) -> bool {
        locked(&self.0).watched
    }

    fn set_watched(&self, watched: bool) -> bool {
        std::mem::replace(&mut locked(&self.0).watched, watched)
    }

    /// Who is to look again. `None`: whatever they read.
    fn changed(&self, name: Option<&Name>) -> Vec<ObjectRef<EksCluster>> {
        let mut inner = locked(&self.0);
        let Inner { readers, changes, .. } = &mut *inner;
        let readers: BTreeMap<_, _> = match name {
            Some(name) => readers.get(name).into_iter().flatten().collect(),
            None => readers.values().flatten().collect(),
        };
        for uid in readers.keys() {
            *changes.entry((*uid).clone()).or_default() += 1;
        }
        readers.into_values().cloned().collect()
    }
}

/// Wakes the clusters whose Secrets change, for as long as this process leads.
pub async fn follow(ctx: Arc<Context>) {
    let mut watch = Watch::of(Watched { api_version: "v1", kind: "Secret", namespace: None });
    let mut pauses = pauses();
    let mut told = false;
    loop {
        let error = watch
            .follow(&ctx.client, |heard| {
                if heard != WatchEvent::Started {
                    // That it begins says nothing of whether it lasts.
                    pauses = self::pauses();
                }
                let of = match heard {
                    WatchEvent::Started => None,
                    WatchEvent::Changed { namespace, name } => Some((namespace, name)),
                    WatchEvent::Alive => return,
                };
                if !ctx.secrets.set_watched(true) && std::mem::take(&mut told) {
                    tracing::info!("Secrets are watched again");
                }
                for cluster in ctx.secrets.changed(of.as_ref()) {
                    ctx.queues.clusters.push(cluster);
                }
            })
            .await;
        ctx.secrets.set_watched(false);
        let denied = matches!(error, CallError::Denied { .. });
        if !std::mem::replace(&mut told, true) {
            let message = "Secrets are not watched: those that clusters name are read again every minute";
            if denied {
                // The right to watch them is the right to read them all: deploy/ gives it on request only.
                tracing::info!(reason = %explained(&error), "{message}");
            } else {
                tracing::warn!(error = %explained(&error), "{message}");
            }
        }
        // Longest where a person left it out on purpose.
        let pause = if denied { Some(RETRY.1) } else { pauses.next() };
        tokio::time::sleep(pause.unwrap_or(RETRY.1)).await;
    }
}

fn pauses() -> ExponentialBackoff {
    let doubling = ExponentialBuilder::default().with_min_delay(RETRY.0).with_max_delay(RETRY.1).with_factor(2.0);
    doubling.without_max_times().with_jitter().build()
}

fn explained(error: &CallError) -> String {
    match error {
        CallError::Denied { message, .. } => format!("{message}; deploy/secrets-cluster-wide allows it"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Secrets {
        let secrets = Secrets::default();
        for (uid, cluster, name) in [("1", "a", "deploy-key"), ("1", "a", "mirror"), ("2", "b", "mirror")] {
            secrets.reads(uid, &ObjectRef::new(cluster).within("shop"), "shop", name);
        }
        secrets
    }

    fn woken(secrets: &Secrets, name: Option<(&str, &str)>) -> Vec<String> {
        let name = name.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        secrets.changed(name.as_ref()).into_iter().map(|cluster| cluster.name).collect()
    }

    #[test]
    fn who_names_a_secret_is_woken_and_nobody_else() {
        let secrets = reading();
        assert_eq!(woken(&secrets, Some(("shop", "deploy-key"))), ["a"]);
        assert_eq!((secrets.changes("1"), secrets.changes("2")), (1, 0));
        assert_eq!(woken(&secrets, Some(("shop", "mirror"))), ["a", "b"]);
        assert!(woken(&secrets, Some(("other", "mirror"))).is_empty());
        assert!(woken(&secrets, Some(("shop", "of-nobody"))).is_empty());
    }

    #[test]
    fn after_an_interruption_everybody_looks_once() {
        let secrets = reading();
        assert_eq!(woken(&secrets, None), ["a", "b"]);
        assert_eq!((secrets.changes("1"), secrets.changes("2")), (1, 1));
    }

    #[test]
    fn who_is_gone_is_woken_no_more() {
        let secrets = reading();
        secrets.gone("1");
        assert!(woken(&secrets, Some(("shop", "deploy-key"))).is_empty());
        assert_eq!(woken(&secrets, Some(("shop", "mirror"))), ["b"]);
    }
}
