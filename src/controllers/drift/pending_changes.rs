//! Changes that others made to the resources of an object, until its next reconcile takes them. No I/O.

use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use jiff::Timestamp;

use super::wake_limits::{Wake, WakeLimits};
use crate::engine::Key;

/// A change to an object's resources that is not observed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalChange {
    /// When the message was received: reads from before do not count.
    pub at: Timestamp,
    /// The affected resources.
    pub keys: BTreeSet<Key>,
}

/// Pending changes by object UID; the object's next reconcile takes them.
#[derive(Debug, Default)]
pub struct PendingChanges {
    changes: Mutex<HashMap<String, ExternalChange>>,
    limits: Mutex<WakeLimits>,
}

impl PendingChanges {
    /// Adds a change of an object.
    pub(super) fn add(&self, uid: String, keys: BTreeSet<Key>, at: Timestamp) {
        let mut all = self.changes.lock();
        let changes = all.entry(uid).or_insert_with(|| ExternalChange { at, keys: BTreeSet::new() });
        changes.at = changes.at.max(at);
        changes.keys.extend(keys);
    }

    /// Removes and returns the pending change of an object.
    pub fn take(&self, uid: &str) -> Option<ExternalChange> {
        self.changes.lock().remove(uid)
    }

    /// Whether an event may wake an object now.
    pub(super) fn next_wake(&self, uid: &str) -> Wake {
        self.limits.lock().next(uid, Instant::now())
    }

    /// Records that the delay of [`Wake::After`] is over.
    pub(super) fn delay_elapsed(&self, uid: &str) {
        self.limits.lock().delay_elapsed(uid, Instant::now());
    }
}
