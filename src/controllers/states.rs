//! The in-memory state of each object during this leadership term, by kind. What a kind remembers besides its
//! resources is a type of its controller. No I/O.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;

use super::reconcile_trigger::LastReconcile;
use super::recovery_requests::RecoveryRequest;
use super::runtime::apply::has_finalizer;
use super::runtime::edit_history::EditHistory;
use super::runtime::event_publisher::Failures;
use crate::api::status_cluster::ResourceStatus;
use crate::engine::failure::RetryState;
use crate::engine::{Failure, Memory};
use crate::resources::graph::adoption::Adoption;

/// In-memory state of one object.
pub struct State<S, R> {
    /// Observations of its resources.
    pub memory: Memory,
    /// The status that was written last.
    pub written: Option<S>,
    /// The inventory that was written last.
    pub inventory: Option<Vec<ResourceStatus>>,
    /// The last handled value of the reconcile-at annotation.
    pub reconcile_at: Option<String>,
    /// The current failure outside the engine, such as missing credentials.
    pub failed: Option<RetryState>,
    /// Failures already published as events.
    pub reported_failures: Failures,
    /// The last write of its status, by this process.
    pub last_write: LastWrite,
    /// Others changed what was written: it is written again.
    pub rewrite: bool,
    /// Consecutive failures of the status patch.
    pub failed_writes: u32,
    /// What adoption the last reconcile allowed.
    pub adoption: Option<Adoption>,
    /// Debounces edits of the object.
    pub edits: EditHistory,
    /// When Keelson's finalizer was added, until the store shows it.
    pub finalizer_added: Option<Instant>,
    /// Nothing was in progress at the last observation.
    pub steady: bool,
    /// The takeover that the memory of its resources belongs to.
    pub recovering: Option<RecoveryRequest>,
    /// Its last reconcile.
    pub last_reconcile: Option<LastReconcile>,
    /// Kind-specific state.
    pub kind: R,
}

/// How long a store may lag behind a write.
const MAX_LAG: Duration = Duration::from_secs(30);

/// The last write of an object's status, which tells a store that lags behind from a status that others changed.
#[derive(Clone, Debug, Default)]
pub struct LastWrite {
    version: Option<u64>,
    at: Option<Instant>,
}

impl LastWrite {
    /// Records a write that led to the resourceVersion `version`.
    pub fn record(&mut self, version: Option<String>) {
        *self = Self { version: version.and_then(|text| text.parse().ok()), at: Some(Instant::now()) };
    }

    /// The resourceVersion to expect of an object that the cache has at `version`: that of our last write, if the cache lags.
    pub fn newest(&self, version: Option<&str>) -> Option<String> {
        if self.is_in(version) {
            return version.map(str::to_owned);
        }
        self.version.map(|version| version.to_string())
    }

    /// Whether an object of the resourceVersion `version` has what was written, or something later. After the API server
    /// is restored from a backup, versions begin again at a lower number.
    pub fn is_in(&self, version: Option<&str>) -> bool {
        let version = version.and_then(|text| text.parse().ok());
        let is_later = self.version.zip(version).is_some_and(|(written, now): (u64, u64)| now >= written);
        is_later || self.at.is_none_or(|at| at.elapsed() >= MAX_LAG)
    }
}

/// In-memory state of the objects of one kind, by UID.
pub struct States<S, R = ()> {
    all: Mutex<HashMap<String, Shared<S, R>>>,
    /// UIDs of objects that became unreadable after their last reconcile.
    unreadable: Mutex<HashSet<String>>,
}

/// The state of one object; its reconcile holds the lock.
pub type Shared<S, R> = Arc<tokio::sync::Mutex<State<S, R>>>;

impl<S, R> Default for States<S, R> {
    fn default() -> Self {
        Self { all: Mutex::default(), unreadable: Mutex::default() }
    }
}

impl<S, R: Default> States<S, R> {
    /// The state of the object `uid`; a new one starts with `memory`.
    pub fn of(&self, uid: &str, memory: impl FnOnce() -> Memory) -> Shared<S, R> {
        let mut all = self.all.lock();
        if let Some(state) = all.get(uid) {
            return state.clone();
        }
        let mut memory = memory();
        if self.unreadable.lock().remove(uid) {
            // The memory of this process's last writes is lost, and earlier reads may not show them.
            memory.restart(Timestamp::now());
        }
        let state = State {
            memory,
            written: None,
            inventory: None,
            reconcile_at: None,
            failed: None,
            reported_failures: Failures::default(),
            last_write: LastWrite::default(),
            rewrite: false,
            failed_writes: 0,
            adoption: None,
            edits: EditHistory::default(),
            finalizer_added: None,
            steady: false,
            recovering: None,
            last_reconcile: None,
            kind: R::default(),
        };
        let state = Arc::new(tokio::sync::Mutex::new(state));
        all.insert(uid.to_owned(), state.clone());
        state
    }

    /// Whether the object has state in this term.
    pub fn contains(&self, uid: &str) -> bool {
        self.all.lock().contains_key(uid)
    }

    /// Resets the state after a panic in the object's reconcile; keeps only what prevents duplicate writes.
    pub async fn restart(&self, uid: &str, now: Timestamp) {
        let existing = self.all.lock().get(uid).cloned();
        if let Some(state) = existing {
            state.lock().await.restart(now);
        }
    }

    /// Removes the state of a deleted object.
    pub fn forget(&self, uid: &str) -> Option<Shared<S, R>> {
        self.unreadable.lock().remove(uid);
        self.all.lock().remove(uid)
    }

    /// Removes the state of an object that became unreadable. When it is readable again, earlier reads do not count.
    pub fn forget_unreadable(&self, uid: &str) -> Option<Shared<S, R>> {
        self.unreadable.lock().insert(uid.to_owned());
        self.all.lock().remove(uid)
    }
}

impl<S, R: Default> State<S, R> {
    /// Drops what the panicked reconcile may have left inconsistent. Reads may not show its last write yet, and the
    /// store may not show what it recorded: intents and ids stay, and reads from before `now` do not count.
    fn restart(&mut self, now: Timestamp) {
        self.memory.restart(now);
        (self.written, self.inventory, self.failed) = (None, None, None);
        (self.finalizer_added, self.steady, self.recovering) = (None, false, None);
        self.kind = R::default();
    }
}

impl<S, R> State<S, R> {
    /// Records a failure outside the engine and returns its history.
    pub fn record_failure(&mut self, failure: Failure, now: Timestamp, seed: u64) -> RetryState {
        let failed = RetryState::after(self.failed.as_ref(), failure, now, seed);
        self.failed = Some(failed.clone());
        failed
    }

    /// Retries failed resources after an edit of the spec. `observed`: the generation of the last status.
    pub fn retry_after_edit(&mut self, generation: Option<i64>, observed: Option<i64>, now: Timestamp) {
        if observed.is_some() && generation != observed {
            self.memory.retry_failures(now);
            self.failed = None;
        }
    }

    /// The time at which a recent edit is to be reconciled; `None`: now. Creations and deletions are never delayed.
    pub fn debounce_edit(&mut self, object: &impl ResourceExt, now: Timestamp) -> Option<Timestamp> {
        let urgent = object.meta().deletion_timestamp.is_some() || !has_finalizer(object);
        let until = self.edits.debounce(object.meta().generation.unwrap_or_default(), now);
        until.filter(|_| !urgent)
    }

    /// Discards observations made under a different adoption permission.
    pub fn note_adoption(&mut self, adoption: Adoption, now: Timestamp) {
        if self.adoption.replace(adoption).is_some_and(|previous| previous != adoption) {
            self.memory.forget_unowned(now);
        }
    }

    /// Whether the annotation requests a reconcile now.
    pub fn take_reconcile_request(&mut self, annotation: Option<&String>) -> bool {
        if self.reconcile_at.as_ref() == annotation {
            return false;
        }
        let first = self.reconcile_at.is_none() && self.written.is_none();
        self.reconcile_at = annotation.cloned();
        !first && annotation.is_some()
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
