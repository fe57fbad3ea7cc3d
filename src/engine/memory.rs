//! State of an object's resources between reconciles: observations, failures, requeue times. Pure. Can be lost with the
//! process: all of it can be observed again.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;

use super::action::Action;
use super::change::Change;
use super::erased::AnyObservation;
use super::failure::{Class, Failure, RetryState, span};
use super::key::Key;
use super::refs::Refs;
use super::resource::{FailedOperation, Operation, Phase, Presence};

/// The presence of a resource of any kind.
pub type AnyPresence = Presence<Arc<dyn Any + Send + Sync>>;

/// A record of the inventory that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRecord {
    /// Id in the cloud; `None` for an intent: a create was about to be sent.
    pub id: Option<String>,
    /// The operation that was in progress or failed at the last observation.
    pub operation: Option<String>,
    /// Operations observed since the last success, including `operation`.
    pub operations: u32,
    /// When it was recorded.
    pub at: Timestamp,
}

/// An action that the cloud has not completed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAction {
    /// The action.
    pub action: Action,
    /// Start time.
    pub since: Timestamp,
    /// The last observation that found it in progress.
    pub busy_at: Timestamp,
    /// `since` is the actual start, not the time of the first observation.
    pub from_start: bool,
    /// The operation that carries it out, if it has an id.
    pub operation: Option<Operation>,
}

impl RunningAction {
    /// Whether `action` is still this one and no other operation has replaced it.
    pub fn is_continued_by(&self, action: Action, operation: Option<&Operation>) -> bool {
        let other = match (&self.operation, operation) {
            (Some(before), Some(now)) => before.id != now.id,
            _ => false,
        };
        self.action == action && !other
    }
}

/// Maximum number of doublings of the pause between ineffective changes: from ten seconds to ten minutes.
const MAX_DOUBLINGS: u32 = 6;

/// Changes that were applied and may not be visible yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedChanges {
    /// The changes.
    pub changes: Vec<Change>,
    /// When the cloud confirmed them.
    pub at: Timestamp,
    /// Consecutive attempts: the changes did not become visible, or were reverted immediately.
    pub times: u32,
}

/// State of one resource.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Last observation; `None`: not observed yet.
    pub presence: Option<AnyPresence>,
    /// When it was observed.
    pub observed_at: Option<Timestamp>,
    /// When this process last wrote to it: older reads do not count.
    pub written_at: Option<Timestamp>,
    /// When an external change was last reported: older reads do not count.
    pub changed_externally_at: Option<Timestamp>,
    /// When to observe again; `None`: now.
    pub due: Option<Timestamp>,
    /// The action in progress.
    pub running: Option<RunningAction>,
    /// The last failed step, until one succeeds.
    pub failed: Option<RetryState>,
    /// The failed operation that `failed` already counts.
    pub counted_operation: Option<String>,
    /// The last update that succeeded.
    pub applied: Option<AppliedChanges>,
    /// The last failed observation, until one succeeds: earlier observations are not acted upon.
    pub last_observe_error: Option<RetryState>,
    /// Its inventory record.
    pub recorded: Option<InventoryRecord>,
    /// The record stays while it is [`Presence::Unowned`]: the object owns it, and hands it over.
    pub stays_on_record: bool,
    /// A user asked to retry what has failed: [`Recreate::OnRequest`](super::resource::Recreate).
    pub retry_requested: bool,
}

impl Entry {
    /// Resets the count of failures: a user requested another attempt.
    fn restart_count(&mut self) {
        self.retry_requested = true;
        let Some(recorded) = &mut self.recorded else { return };
        recorded.operations = 0;
        if self.running.is_none() && recorded.operation.is_some() {
            // If it failed, an earlier process may have counted it.
            self.counted_operation.clone_from(&recorded.operation);
        }
    }
}

/// The entry of an unknown resource.
pub(super) static EMPTY_ENTRY: LazyLock<Entry> = LazyLock::new(Entry::default);

/// State of the resources of one object.
#[derive(Clone, Debug)]
pub struct Memory {
    entries: BTreeMap<Key, Entry>,
    /// Reads that started before this do not count: the process (or its leadership) started then.
    pub since: Timestamp,
    /// How long reads may miss a write.
    pub read_after_write_window: Duration,
}

impl Memory {
    /// Empty memory of a process that started at `since`, with the persisted inventory.
    pub fn new(
        since: Timestamp,
        read_after_write_window: Duration,
        inventory: impl IntoIterator<Item = (Key, InventoryRecord)>,
    ) -> Self {
        let entry = |recorded| Entry { recorded: Some(recorded), ..Entry::default() };
        let entries = inventory.into_iter().map(|(key, r)| (key, entry(r))).collect();
        Self { entries, since, read_after_write_window }
    }

    /// The state of a resource.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The state of a resource, mutable.
    pub fn entry(&mut self, key: &Key) -> &mut Entry {
        self.entries.entry(key.clone()).or_default()
    }

    /// Removes a resource.
    pub fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// The observation, if the resource is known and may be used.
    pub fn observed(&self, key: &Key) -> Option<&AnyObservation> {
        self.get(key)?.presence.as_ref()?.observed()
    }

    /// True when it was observed and does not exist.
    pub fn is_absent(&self, key: &Key) -> bool {
        matches!(self.get(key).and_then(|e| e.presence.as_ref()), Some(Presence::Absent))
    }

    /// Ids and outputs of all existing resources.
    pub fn refs(&self) -> Refs {
        let mut refs = Refs::default();
        for key in self.entries.keys() {
            if let Some(observed) = self.observed(key) {
                refs.insert(key.clone(), observed.id.clone(), observed.outputs.clone());
            }
        }
        refs
    }

    /// When reads of everything that this process wrote are current; `None`: it wrote nothing.
    pub fn writes_visible_at(&self) -> Option<Timestamp> {
        let last = self.entries.values().filter_map(|entry| entry.written_at).max()?;
        last.saturating_add(span(self.read_after_write_window)).ok()
    }

    /// Resets memory after an interrupted reconcile: retains ids, intents and counts. Everything else is observed
    /// again, by reads that start after `now`. What is not owned or not the object's has no record: it was seen, not created
    /// or adopted.
    pub fn restart(&mut self, now: Timestamp) {
        let mut entries = std::mem::take(&mut self.entries);
        let is_seen = |presence: &Option<_>| matches!(presence, Some(Presence::Unowned(_) | Presence::External(_)));
        entries.retain(|_, one| one.stays_on_record || !is_seen(&one.presence));
        let recorded = entries.into_iter().filter_map(|(key, entry)| Some((key, entry.recorded?)));
        *self = Self::new(now, self.read_after_write_window, recorded);
    }

    /// Keeps what is on record there until the next [`Memory::restart`], whatever its tags are meanwhile.
    pub fn keep_records(&mut self) {
        for entry in self.entries.values_mut() {
            entry.stays_on_record = entry.recorded.is_some();
        }
    }

    /// Requires new observations of everything and resets failures, at the request of a user.
    pub fn forget_observations(&mut self, now: Timestamp) {
        self.since = now;
        for entry in self.entries.values_mut() {
            entry.due = None;
            entry.presence = None;
            entry.failed = None;
            entry.restart_count();
            if let Some(last_observe_error) = &mut entry.last_observe_error {
                last_observe_error.retry_at = now;
            }
        }
    }

    /// Discards observations and records of resources that are not owned: the permission to adopt changed.
    pub fn forget_unowned(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| !matches!(entry.presence, Some(Presence::Unowned(_) | Presence::Foreign(_))));
        self.forget_observations(now);
    }

    /// Marks resources that were changed externally at `at`: they are due now, and earlier reads do not count.
    pub fn mark_changed_externally<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>, at: Timestamp) {
        for key in keys {
            // A resource without an entry was never observed, so no observation is stale.
            if let Some(entry) = self.entries.get_mut(key) {
                entry.changed_externally_at = Some(at);
                entry.due = None;
            }
        }
    }

    /// When an observation is certain to show an external change, unless the last one already came after that.
    pub(super) fn external_change_visible_by(&self, key: &Key) -> Option<Timestamp> {
        let entry = self.get(key)?;
        let by = entry.changed_externally_at?.saturating_add(span(self.read_after_write_window)).ok()?;
        entry.observed_at.is_none_or(|observed| observed < by).then_some(by)
    }

    /// Retries now what only a user could fix: the user has changed something.
    pub fn retry_failures(&mut self, now: Timestamp) {
        for entry in self.entries.values_mut() {
            // The spec references external resources: it may reference another one now.
            if matches!(entry.presence, Some(Presence::External(_))) {
                entry.due = None;
            }
            entry.restart_count();
            if entry.failed.as_ref().is_some_and(RetryState::exhausted) {
                entry.failed = None;
                entry.due = None;
            }
            if let Some(failed) = &mut entry.failed {
                failed.operations = 0;
            }
            for failed in [&mut entry.failed, &mut entry.last_observe_error].into_iter().flatten() {
                if failed.requires_intervention(now) {
                    failed.retry_at = now;
                    entry.due = None;
                }
            }
        }
    }

    /// Stores an observation of a resource.
    pub fn record_observation(&mut self, key: &Key, presence: AnyPresence, now: Timestamp) {
        let entry = self.entry(key);
        if let Some(observed) = presence.observed() {
            let known = entry.recorded.as_ref().is_some_and(|r| r.id.as_ref() == Some(&observed.id));
            if !known {
                entry.recorded =
                    Some(InventoryRecord { id: Some(observed.id.clone()), operation: None, operations: 0, at: now });
            }
            if let Some(recorded) = &mut entry.recorded {
                let failed = observed.failed_operation.as_ref().map(|failed| &failed.id);
                let operation = observed.operation.as_ref().map(|operation| &operation.id).or(failed);
                match operation {
                    None => recorded.operations = 0,
                    Some(_) if recorded.operation.as_ref() == operation => {}
                    Some(_) => recorded.operations = recorded.operations.saturating_add(1),
                }
                recorded.operation = operation.cloned();
            }
        }
        entry.retry_requested &= presence.has_failed();
        entry.presence = Some(presence);
        entry.observed_at = Some(now);
        entry.last_observe_error = None;
    }

    /// Stores a failed observation.
    pub fn observe_failed(&mut self, key: &Key, failure: Failure, now: Timestamp) {
        let entry = self.entry(key);
        let failed = RetryState::after(entry.last_observe_error.as_ref(), failure, now, seed(key));
        entry.due = Some(failed.retry_at);
        entry.last_observe_error = Some(failed);
    }

    /// Stores a failed step. It may still have taken effect, so the resource is due for observation.
    pub fn step_failed(&mut self, key: &Key, failure: Failure, now: Timestamp) {
        let entry = self.entry(key);
        entry.failed = Some(RetryState::after(entry.failed.as_ref(), failure, now, seed(key)));
        entry.written_at = Some(now);
        entry.due = None;
    }

    /// Counts a failed operation as a failed step: once, however often it is observed.
    pub fn operation_failed(&mut self, key: &Key, failed: &FailedOperation, now: Timestamp) {
        let entry = self.entry(key);
        if entry.counted_operation.as_ref() == Some(&failed.id) {
            return;
        }
        entry.counted_operation = Some(failed.id.clone());
        entry.applied = None;
        // The failed operation is the last recorded one: an earlier process may have counted the others.
        let on_record = entry.recorded.as_ref().filter(|recorded| recorded.operation.as_ref() == Some(&failed.id));
        let counted = on_record.map_or(0, |recorded| recorded.operations);
        let after = RetryState::after(entry.failed.as_ref(), failed.failure.clone(), now, seed(key));
        entry.failed = Some(after.with_operations(counted));
    }

    /// Records that a deletion ended although the resource still exists. Soon after the start, the observation may only
    /// be stale.
    pub(super) fn deletion_failed(
        &mut self,
        key: &Key,
        running: &RunningAction,
        observed: &AnyObservation,
        now: Timestamp,
    ) {
        let visible_by = running.since.saturating_add(span(self.read_after_write_window)).unwrap_or(running.since);
        let failure = if now < visible_by && !matches!(observed.phase, Phase::Failed { .. }) {
            Failure::new(Class::Busy, format!("the deletion of {} is not visible yet", observed.id))
        } else {
            let why = match &observed.phase {
                Phase::Failed { reason, .. } => format!("{}: {reason}", observed.state),
                _ => format!("it is {} again", observed.state),
            };
            let message = format!(
                "the deletion of {} was started and failed ({why}). It is retried with backoff; see which resource \
                 blocks it in AWS, and delete that",
                observed.id
            );
            Failure::new(Class::OperationFailed, message)
        };
        let entry = self.entry(key);
        entry.failed = Some(RetryState::after(entry.failed.as_ref(), failure, now, seed(key)));
    }

    /// Until when missing `changes` may be a stale read: they were applied recently.
    pub fn visible_by(&self, key: &Key, changes: &[Change], now: Timestamp) -> Option<Timestamp> {
        let applied = self.get(key)?.applied.as_ref()?;
        let same = changes.iter().all(|change| applied.changes.contains(change));
        // Changes that remain ineffective are repeated with backoff.
        let window =
            self.read_after_write_window.saturating_mul(1 << applied.times.saturating_sub(1).min(MAX_DOUBLINGS));
        let until = applied.at.saturating_add(span(window)).unwrap_or(applied.at);
        Some(until).filter(|until| same && now < *until)
    }

    /// Whether a recent change may not be visible yet.
    pub(super) fn has_recent_change(&self, key: &Key, now: Timestamp) -> bool {
        self.get(key).is_some_and(|entry| entry.applied.is_some()) && self.visible_by(key, &[], now).is_some()
    }

    /// Records that a create is about to be sent.
    pub fn record_intent(&mut self, key: &Key, now: Timestamp) {
        self.entry(key).recorded = Some(InventoryRecord { id: None, operation: None, operations: 0, at: now });
    }

    /// Until when an absent resource may be a stale read: it was created, or a create was sent, recently. Records of
    /// another process count from our start, because its clock may differ.
    pub fn open_window_end(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        self.window_end(key, now).filter(|until| now < *until)
    }

    /// Time since the read-after-write window ended. Earlier reads do not count: they may have missed the resource.
    pub fn time_since_window(&self, key: &Key, now: Timestamp) -> Option<Duration> {
        let until = self.window_end(key, now).filter(|until| now >= *until)?;
        Some(now.duration_since(until).unsigned_abs())
    }

    fn window_end(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        let recorded = self.get(key)?.recorded.as_ref()?;
        let at = recorded.at.min(now).max(self.since);
        Some(at.saturating_add(span(self.read_after_write_window)).unwrap_or(at))
    }
}

fn seed(key: &Key) -> u64 {
    key.to_string().bytes().fold(7, |h, b| h.wrapping_mul(31).wrapping_add(b.into()))
}
