//! The fleet page: what needs a person, the rollouts, all clusters, and each object by itself, as HTML that is rendered here and updated
//! by server-sent events. `keelson ui` serves it.
//!
//! Data flow: `watch` keeps [`fleet`] current from the API server; `server` checks each request with `session`, and answers with a
//! `view` of the fleet as a [`viewer`] may see it. Views are pure: a fleet, a viewer, a [`query`] and a time become HTML.
//!
//! Not allowed here: writes of any kind, and AWS. I/O: `watch` (reads of the API server), `server` (connections), `session` (the
//! system's random numbers).

pub mod fleet;
mod id;
mod query;
mod row;
pub mod server;
pub mod session;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod viewer;
pub mod watch;

use jiff::tz::TimeZone;
use parking_lot::RwLock;
use tokio::sync::broadcast;

use fleet::{Change, Fleet};
use session::Session;

/// Changes that a connection may be behind; with more, all counts as changed.
const MAX_BEHIND: usize = 1024;

/// All that the page is made of.
pub struct Page {
    fleet: RwLock<Fleet>,
    changes: broadcast::Sender<Change>,
    session: Session,
    zone: TimeZone,
    /// What the page is of, such as a context of the kubeconfig.
    management: String,
}

impl Page {
    /// A page without objects. `management` names the management cluster for people.
    pub fn new(session: Session, zone: TimeZone, management: String) -> Self {
        let (changes, _) = broadcast::channel(MAX_BEHIND);
        Self { fleet: RwLock::default(), changes, session, zone, management }
    }

    /// Changes the fleet, and tells everybody who looks at what changed.
    fn update(&self, change: impl FnOnce(&mut Fleet) -> Vec<Change>) {
        let changes = change(&mut self.fleet.write());
        for change in changes {
            // An error means that nobody listens.
            let _ = self.changes.send(change);
        }
    }
}
