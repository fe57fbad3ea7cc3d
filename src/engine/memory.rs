//! What is remembered of an object's resources between two reconciles: what was seen, what failed, when to look again.
//! Pure. Lost with the process without harm: all of it can be seen again.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::erased::AnyObservation;
use super::failure::{Class, Failed, Failure, span};
use super::key::Key;
use super::plan::Action;
use super::resource::{Change, FailedOperation, Operation, Phase, Presence, Refs};

/// A presence of any kind.
pub type AnyPresence = Presence<Arc<dyn Any + Send + Sync>>;

/// A line of the inventory that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The cloud's id; `None` for an intent: a create was about to be sent.
    pub id: Option<String>,
    /// The operation that was under way, or failed, when it was last seen.
    pub operation: Option<String>,
    /// Operations seen since the last that succeeded, `operation` among them.
    pub operations: u32,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A step whose end the cloud has not reported yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What was begun.
    pub action: Action,
    /// When.
    pub since: Timestamp,
    /// The last look that found it still under way.
    pub busy_at: Timestamp,
    /// `since` is the true beginning, not just when it was noticed.
    pub from_start: bool,
    /// The operation that carries it out, where it has an id of its own.
    pub operation: Option<Operation>,
}

impl Running {
    /// Whether `action` is still this one: not when another operation has taken its place.
    pub fn goes_on(&self, action: Action, operation: Option<&Operation>) -> bool {
        let other = match (&self.operation, operation) {
            (Some(before), Some(now)) => before.id != now.id,
            _ => false,
        };
        self.action == action && !other
    }
}

/// The pause between changes that come to nothing is doubled so often: from ten seconds to ten minutes.
const MOST_DOUBLINGS: u32 = 6;

/// Changes that were made, and may not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub changes: Vec<Change>,
    /// When the cloud said that it had made them.
    pub at: Timestamp,
    /// How often in a row: they did not show, or somebody undid them at once.
    pub times: u32,
}

/// What is known of one resource.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// As last seen; `None`: not looked at yet.
    pub presence: Option<AnyPresence>,
    /// When that was.
    pub observed_at: Option<Timestamp>,
    /// When this process last wrote to it: older reads do not count.
    pub written_at: Option<Timestamp>,
    /// When others were last heard to have changed it: older reads do not count.
    pub changed_externally_at: Option<Timestamp>,
    /// When to look again; `None`: now.
    pub due: Option<Timestamp>,
    /// What is under way.
    pub running: Option<Running>,
    /// The step that failed last, until one succeeds.
    pub failed: Option<Failed>,
    /// The failed operation that `failed` has counted.
    pub counted_operation: Option<String>,
    /// The last update that succeeded.
    pub applied: Option<Applied>,
    /// The look that failed last, until one succeeds: what was seen before is not acted upon.
    pub last_observe_error: Option<Failed>,
    /// Its line in the inventory.
    pub recorded: Option<Recorded>,
}

impl Entry {
    /// A person asks for another try: what failed before does not count.
    fn restart_count(&mut self) {
        let Some(recorded) = &mut self.recorded else { return };
        recorded.operations = 0;
        if self.running.is_none() && recorded.operation.is_some() {
            // Should it have failed, that was before: an earlier process may have seen it.
            self.counted_operation.clone_from(&recorded.operation);
        }
    }
}

/// Of a resource that was never met.
pub(super) static NOTHING_KNOWN: Entry = Entry {
    presence: None,
    observed_at: None,
    written_at: None,
    changed_externally_at: None,
    due: None,
    running: None,
    failed: None,
    counted_operation: None,
    applied: None,
    last_observe_error: None,
    recorded: None,
};

/// What is known of the resources of one object.
#[derive(Clone, Debug)]
pub struct Memory {
    entries: BTreeMap<Key, Entry>,
    /// No read that began before this counts: the process (or its leadership) began then.
    pub since: Timestamp,
    /// How long after a write a read may still miss it.
    pub read_after_write_window: Duration,
}

impl Memory {
    /// An empty memory of a process that began at `since`, with the inventory that outlived the last one.
    pub fn new(
        since: Timestamp,
        read_after_write_window: Duration,
        inventory: impl IntoIterator<Item = (Key, Recorded)>,
    ) -> Self {
        let entry = |recorded| Entry { recorded: Some(recorded), ..Entry::default() };
        let entries = inventory.into_iter().map(|(key, r)| (key, entry(r))).collect();
        Self { entries, since, read_after_write_window }
    }

    /// What is known of a resource.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// What is known of a resource, to be changed.
    pub fn entry(&mut self, key: &Key) -> &mut Entry {
        self.entries.entry(key.clone()).or_default()
    }

    /// Forgets a resource altogether.
    pub fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// The resource, when it was seen and may be used.
    pub fn observed(&self, key: &Key) -> Option<&AnyObservation> {
        self.get(key)?.presence.as_ref()?.observed()
    }

    /// True when it was looked at and is not there.
    pub fn absent(&self, key: &Key) -> bool {
        matches!(self.get(key).and_then(|e| e.presence.as_ref()), Some(Presence::Absent))
    }

    /// Ids and outputs of all that is there.
    pub fn refs(&self) -> Refs {
        let mut refs = Refs::default();
        for key in self.entries.keys() {
            if let Some(seen) = self.observed(key) {
                refs.insert(key.clone(), seen.id.clone(), seen.outputs.clone());
            }
        }
        refs
    }

    /// When reads of everything that this process wrote are current; `None`: it wrote nothing.
    pub fn writes_visible_at(&self) -> Option<Timestamp> {
        let last = self.entries.values().filter_map(|entry| entry.written_at).max()?;
        last.saturating_add(span(self.read_after_write_window)).ok()
    }

    /// What is left when a reconcile ended in the middle of something: ids, intents and counts. All else is observed anew, by
    /// reads that begin after `now`.
    pub fn restart(&mut self, now: Timestamp) {
        let entries = std::mem::take(&mut self.entries);
        let recorded = entries.into_iter().filter_map(|(key, entry)| Some((key, entry.recorded?)));
        *self = Self::new(now, self.read_after_write_window, recorded);
    }

    /// Everything is to be looked at anew, and what failed is tried as if for the first time: a person asks for it.
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

    /// What may be adopted changed: what was seen of what is not ours does not count any more, and is not remembered.
    pub fn forget_unowned(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| !matches!(entry.presence, Some(Presence::Unowned(_) | Presence::Foreign(_))));
        self.forget_observations(now);
    }

    /// Others were heard at `at` to have changed these: they are looked at now, and what was read before does not count.
    pub fn mark_changed_externally<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>, at: Timestamp) {
        for key in keys {
            // What is not known was never looked at, so nothing hides it.
            if let Some(entry) = self.entries.get_mut(key) {
                entry.changed_externally_at = Some(at);
                entry.due = None;
            }
        }
    }

    /// When a look shows for certain what others were heard to have changed, unless the last look came after that.
    pub(super) fn external_change_visible_by(&self, key: &Key) -> Option<Timestamp> {
        let entry = self.get(key)?;
        let by = entry.changed_externally_at?.saturating_add(span(self.read_after_write_window)).ok()?;
        entry.observed_at.is_none_or(|seen| seen < by).then_some(by)
    }

    /// What only a person could mend is tried again now: one has changed something.
    pub fn try_again(&mut self, now: Timestamp) {
        for entry in self.entries.values_mut() {
            // What is lent is named by whoever asked: it may be another now.
            if matches!(entry.presence, Some(Presence::External(_))) {
                entry.due = None;
            }
            entry.restart_count();
            if entry.failed.as_ref().is_some_and(Failed::exhausted) {
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

    /// Notes what was seen of a resource.
    pub fn record_observation(&mut self, key: &Key, presence: AnyPresence, now: Timestamp) {
        let entry = self.entry(key);
        if let Some(seen) = presence.observed() {
            let known = entry.recorded.as_ref().is_some_and(|r| r.id.as_ref() == Some(&seen.id));
            if !known {
                entry.recorded = Some(Recorded { id: Some(seen.id.clone()), operation: None, operations: 0, at: now });
            }
            if let Some(recorded) = &mut entry.recorded {
                let failed = seen.failed_operation.as_ref().map(|failed| &failed.id);
                let operation = seen.operation.as_ref().map(|operation| &operation.id).or(failed);
                match operation {
                    None => recorded.operations = 0,
                    Some(_) if recorded.operation.as_ref() == operation => {}
                    Some(_) => recorded.operations = recorded.operations.saturating_add(1),
                }
                recorded.operation = operation.cloned();
            }
        }
        entry.presence = Some(presence);
        entry.observed_at = Some(now);
        entry.last_observe_error = None;
    }

    /// Notes that a look failed.
    pub fn observe_failed(&mut self, key: &Key, failure: Failure, now: Timestamp) {
        let entry = self.entry(key);
        let failed = Failed::after(entry.last_observe_error.as_ref(), failure, now, seed(key));
        entry.due = Some(failed.retry_at);
        entry.last_observe_error = Some(failed);
    }

    /// Notes that a step failed. It may have been done all the same: the next thing is a look.
    pub fn step_failed(&mut self, key: &Key, failure: Failure, now: Timestamp) {
        let entry = self.entry(key);
        entry.failed = Some(Failed::after(entry.failed.as_ref(), failure, now, seed(key)));
        entry.written_at = Some(now);
        entry.due = None;
    }

    /// Counts an operation that came to nothing as a step that failed: once, however often it is seen.
    pub fn operation_failed(&mut self, key: &Key, failed: &FailedOperation, now: Timestamp) {
        let entry = self.entry(key);
        if entry.counted_operation.as_ref() == Some(&failed.id) {
            return;
        }
        entry.counted_operation = Some(failed.id.clone());
        entry.applied = None;
        // Of those on record, the one that failed is the last: an earlier process may have counted the others.
        let on_record = entry.recorded.as_ref().filter(|recorded| recorded.operation.as_ref() == Some(&failed.id));
        let counted = on_record.map_or(0, |recorded| recorded.operations);
        let after = Failed::after(entry.failed.as_ref(), failed.failure.clone(), now, seed(key));
        entry.failed = Some(after.with_operations(counted));
    }

    /// Notes that a deletion was begun and is not under way any more, though the thing is there. What is seen a moment after it was
    /// begun may only be old.
    pub(super) fn deletion_failed(&mut self, key: &Key, running: &Running, seen: &AnyObservation, now: Timestamp) {
        let shows_by = running.since.saturating_add(span(self.read_after_write_window)).unwrap_or(running.since);
        let failure = if now < shows_by && !matches!(seen.phase, Phase::Failed { .. }) {
            Failure::new(Class::Busy, format!("the deletion of {} does not show yet", seen.id))
        } else {
            let why = match &seen.phase {
                Phase::Failed { reason, .. } => format!("{}: {reason}", seen.state),
                _ => format!("it is {} again", seen.state),
            };
            let message = format!(
                "the deletion of {} was begun and came to nothing ({why}). It is tried again ever more rarely; see what AWS says \
                 holds it, and delete that",
                seen.id
            );
            Failure::new(Class::OperationFailed, message)
        };
        let entry = self.entry(key);
        entry.failed = Some(Failed::after(entry.failed.as_ref(), failure, now, seed(key)));
    }

    /// Until when not seeing `changes` does not mean that they were undone: they were made a moment ago.
    pub fn shows_by(&self, key: &Key, changes: &[Change], now: Timestamp) -> Option<Timestamp> {
        let applied = self.get(key)?.applied.as_ref()?;
        let same = changes.iter().all(|change| applied.changes.contains(change));
        // What comes to nothing time and again is done ever more rarely.
        let window =
            self.read_after_write_window.saturating_mul(1 << applied.times.saturating_sub(1).min(MOST_DOUBLINGS));
        let until = applied.at.saturating_add(span(window)).unwrap_or(applied.at);
        Some(until).filter(|until| same && now < *until)
    }

    /// Whether something was changed so lately that it may not show yet.
    pub(super) fn shows_soon(&self, key: &Key, now: Timestamp) -> bool {
        self.get(key).is_some_and(|entry| entry.applied.is_some()) && self.shows_by(key, &[], now).is_some()
    }

    /// Notes that a create is about to be sent.
    pub fn intend(&mut self, key: &Key, now: Timestamp) {
        self.entry(key).recorded = Some(Recorded { id: None, operation: None, operations: 0, at: now });
    }

    /// Until when not seeing the thing does not mean that it is not there: it was made, or a create for it was sent,
    /// a moment ago. What another process recorded counts from our own start: its clock may not be ours.
    pub fn unsettled(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        self.settles(key, now).filter(|until| now < *until)
    }

    /// How long it is settled. What a read from before shows does not count: it may have missed the thing.
    pub fn settled_for(&self, key: &Key, now: Timestamp) -> Option<Duration> {
        let until = self.settles(key, now).filter(|until| now >= *until)?;
        Some(now.duration_since(until).unsigned_abs())
    }

    fn settles(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        let recorded = self.get(key)?.recorded.as_ref()?;
        let at = recorded.at.min(now).max(self.since);
        Some(at.saturating_add(span(self.read_after_write_window)).unwrap_or(at))
    }
}

fn seed(key: &Key) -> u64 {
    key.to_string().bytes().fold(7, |h, b| h.wrapping_mul(31).wrapping_add(b.into()))
}
