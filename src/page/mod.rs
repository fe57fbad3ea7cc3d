//! The fleet page: what needs a person, the rollouts, all clusters, and each object by itself, as HTML that is rendered here and updated
//! by server-sent events. `keelson ui` serves it to the person who started it, or in a cluster to everybody whom its API server knows;
//! so does `keelson controller --ui-listen`.
//!
//! Data flow: `watch` keeps [`fleet`] current from the API server; `server` checks each request with the [`gate`], and answers with a
//! `view` of the fleet as a [`viewer`] may see it. Views are pure: a fleet, a viewer, a [`query`] and a time become HTML.
//!
//! Not allowed here: writes of any kind but reviews of tokens and rights, and AWS. I/O: `watch` (reads of the API server), `review`
//! (reviews), `server` (connections), `session` and `seal` (the system's random numbers).

mod answer;
mod failed_attempts;
pub mod fleet;
pub mod gate;
mod id;
mod in_cluster;
#[cfg(test)]
mod injection_tests;
mod kinds;
pub mod mirror;
mod object_events;
mod permissions;
mod query;
mod review;
#[cfg(test)]
mod reviews_tests;
mod row;
mod seal;
pub mod server;
pub mod session;
mod sign_in;
mod state;
mod stored;
mod stream;
#[cfg(test)]
mod tests;
mod view;
mod viewer;
pub mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, broadcast, watch as signal};

use fleet::{Change, Fleet};
use gate::{Cluster, Gate};
use id::{Id, Kind};
use session::Session;
use viewer::Viewer;

/// Changes that a connection may be behind.
const MAX_BEHIND: usize = 1024;
/// Views that are rendered at the same time: each reads the fleet, which cannot change meanwhile.
const MAX_RENDERS: usize = 2;

/// All that the page is made of.
pub struct Page {
    fleet: RwLock<Fleet>,
    changes: broadcast::Sender<Change>,
    /// How often something has changed, by kind and namespace.
    versions: Mutex<HashMap<(Kind, String), u64>>,
    /// Of each kind: whether an operator in this process passes on what it reads.
    led: [signal::Sender<bool>; Kind::ALL.len()],
    gate: Gate,
    /// Turns to render a view.
    renders: Arc<Semaphore>,
    zone: TimeZone,
    /// What the page is of, such as a context of the kubeconfig.
    management: String,
}

impl Page {
    /// A page without objects, for the owner of the session. `management` names the management cluster for people.
    pub fn new(session: Session, zone: TimeZone, management: String) -> Self {
        Self::with_gate(Gate::Owner(session), zone, management)
    }

    /// A page without objects, for everybody whom the API server knows.
    pub fn in_cluster(cluster: Cluster) -> Self {
        Self::with_gate(
            Gate::Cluster(Box::new(cluster)),
            TimeZone::UTC,
            "What you may list in this cluster, in UTC".to_owned(),
        )
    }

    fn with_gate(gate: Gate, zone: TimeZone, management: String) -> Self {
        let (changes, _) = broadcast::channel(MAX_BEHIND);
        let (fleet, versions) = (RwLock::default(), Mutex::default());
        let led = Kind::ALL.map(|_| signal::Sender::new(false));
        let renders = Arc::new(Semaphore::new(MAX_RENDERS));
        Self { fleet, changes, versions, led, gate, renders, zone, management }
    }

    /// Whether an operator in this process passes on what it reads of that kind.
    fn led(&self, kind: Kind) -> &signal::Sender<bool> {
        &self.led[kind as usize]
    }

    /// Changes the fleet, and tells everybody who looks at what changed.
    fn update(&self, change: impl FnOnce(&mut Fleet) -> Vec<Change>) {
        let changes = change(&mut self.fleet.write());
        for change in changes {
            if let Change::Object { id, .. } = &change {
                *self.versions.lock().entry((id.kind, id.namespace.clone())).or_default() += 1;
            }
            // An error means that nobody listens.
            let _ = self.changes.send(change);
        }
    }

    /// Changes whenever something changes that the viewer may see, and with nothing else.
    fn version(&self, viewer: &Viewer) -> u64 {
        let versions = self.versions.lock();
        let seen = versions.iter().filter(|((kind, namespace), _)| viewer.may_see(&Id::new(*kind, namespace, "")));
        seen.map(|(_, version)| version).sum()
    }
}
