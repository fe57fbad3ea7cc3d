//! Stores observations and step results in memory, and learns durations from them. Pure except for the clock.

use jiff::Timestamp;

use super::erased::Node;
use super::execute::{Done, Run};
use super::expect::pace;
use super::failure::Class;
use super::key::Key;
use super::memory::{AnyPresence, Applied, Memory, Running};
use super::plan::Action;
use super::report::{FinishedOperation, Outcome, StepResult};
use super::resource::{Operation, Phase, Presence};

/// Operation kind of a deletion.
pub const DELETION: &str = "Deletion";
/// Operation kind of a creation.
pub const CREATION: &str = "Creation";

/// Tolerated difference between our clock and the cloud's.
const LATELY: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

impl<C: Sync> Run<'_, C> {
    /// Stores an observation in memory. Returns the operation that it shows as finished. `started`: by a step that just
    /// ran.
    pub(super) fn record_observation(
        &self,
        memory: &mut Memory,
        node: &dyn Node<C>,
        presence: AnyPresence,
        started: bool,
    ) -> Option<FinishedOperation> {
        let now = (self.clock)();
        let key = node.key();
        let busy_with = presence.observed().and_then(|seen| match &seen.phase {
            Phase::Busy { action, since, .. } => Some((*action, *since)),
            _ => None,
        });
        let operation = presence.observed().and_then(|seen| seen.operation.clone());
        let entry = memory.entry(&key);
        let (before, next) = match (busy_with, entry.running.take()) {
            (Some((action, _)), Some(running)) if running.goes_on(action, operation.as_ref()) => {
                (None, Some(Running { busy_at: now, operation: operation.or(running.operation.clone()), ..running }))
            }
            (Some((action, since)), before) => {
                let from_start = since.is_some() || started;
                let since = since.unwrap_or(now);
                (before, Some(Running { action, since, busy_at: now, from_start, operation }))
            }
            (None, before) => (before, None),
        };
        entry.running = next;
        // A sweep continues with what it finds next.
        let deleted = before.as_ref().filter(|running| running.action == Action::Delete && node.sweeps().is_none());
        let deleted = deleted.cloned();
        let id = entry.recorded.as_ref().and_then(|recorded| recorded.id.clone());
        let before = before.map(|running| match (&presence, &running.operation) {
            // A deletion has no operation id in the cloud: use the id of the resource.
            (Presence::Absent, None) if running.action == Action::Delete => {
                let (id, kind) = (id.unwrap_or_default(), DELETION.to_owned());
                Running { operation: Some(Operation { id, kind, since: Some(running.since) }), ..running }
            }
            // The same for a creation with a known start: recovery from a degraded state is not a creation.
            (Presence::Ours(seen), None)
                if running.action == Action::Create && running.from_start && seen.phase == Phase::Ready =>
            {
                let (id, kind) = (seen.id.clone(), CREATION.to_owned());
                Running { operation: Some(Operation { id, kind, since: Some(running.since) }), ..running }
            }
            _ => running,
        });
        let applied = entry.applied.clone();
        let ended = before.and_then(|running| self.ended(&key, running, &presence, applied.as_ref(), now));
        if let Some(ended) = &ended
            && ended.result.is_ok()
        {
            entry.failed = None;
            entry.counted_operation = None;
            if let Some(applied) = &mut entry.applied {
                applied.at = now;
            }
        }
        if let Some(failed) = presence.observed().and_then(|seen| seen.failed_operation.as_ref()) {
            memory.operation_failed(&key, failed, now);
        }
        if let Some((running, seen)) = deleted.zip(presence.observed()) {
            memory.deletion_failed(&key, &running, seen, now);
        }
        let mut gone: Vec<Key> = matches!(presence, Presence::Absent).then(|| key.clone()).into_iter().collect();
        while let Some(host) = gone.pop() {
            for along in self.graph.nodes().iter().filter(|node| node.deleted_with().as_ref() == Some(&host)) {
                // External resources are not deleted along with it.
                if !matches!(memory.get(&along.key()).and_then(|e| e.presence.as_ref()), Some(Presence::External(_))) {
                    memory.record_observation(&along.key(), Presence::Absent, now);
                }
                gone.push(along.key());
            }
        }
        memory.record_observation(&key, presence, now);
        ended
    }

    /// Handles the end of an action: learns its duration, and returns its operation, if it had one.
    fn ended(
        &self,
        key: &Key,
        running: Running,
        presence: &AnyPresence,
        applied: Option<&Applied>,
        now: Timestamp,
    ) -> Option<FinishedOperation> {
        let failed = presence.observed().and_then(|seen| seen.failed_operation.as_ref());
        let failed = failed.filter(|failed| running.operation.as_ref().is_some_and(|o| o.id == failed.id));
        // It ended between the last observation that found it in progress and this one.
        let late = now.duration_since(running.busy_at) / 2;
        let took = (now.duration_since(running.since) - late).max(jiff::SignedDuration::ZERO).unsigned_abs();
        let usable = presence.observed().is_none_or(|seen| seen.phase == Phase::Ready);
        if failed.is_none() && usable && running.from_start {
            let named = |operation: &&Operation| ![CREATION, DELETION].contains(&operation.kind.as_str());
            let operation = running.operation.as_ref().filter(named);
            self.expectations.learn(&pace(key.kind(), operation), running.action, took);
        }
        let result = failed.map_or(Ok(took), |failed| Err(failed.failure.clone()));
        // Only for an update that this process started.
        let began = |applied: &&Applied| {
            running.action == Action::Update && applied.at.saturating_add(LATELY).is_ok_and(|at| at >= running.since)
        };
        let changes = applied.filter(began).map(|applied| applied.changes.clone()).unwrap_or_default();
        Some(FinishedOperation {
            key: key.clone(),
            operation: running.operation?,
            changes,
            since: running.since,
            result,
        })
    }

    /// Stores the result of a step in memory. Returns the operation that it shows as finished.
    pub(super) fn note(
        &self,
        memory: &mut Memory,
        done: Done,
        steps: &mut Vec<StepResult>,
    ) -> Option<FinishedOperation> {
        let mut ended = None;
        let Done { key, step, result, .. } = done;
        let now = (self.clock)();
        let result = match result {
            Err(failure)
                if failure.class == Class::NotFound && matches!(step.action, Action::Delete | Action::Release) =>
            {
                Ok(Presence::Absent)
            }
            other => other,
        };
        let outcome = match result {
            Ok(presence) => {
                let before = memory.observed(&key).map(|seen| seen.id.clone());
                // If the same call was sent before, its operation may have failed by now.
                let began =
                    presence.observed().is_some_and(|seen| seen.operation.is_some() || seen.failed_operation.is_some());
                let is_sweep = self.graph.node(&key).is_none_or(|node| node.sweeps().is_some());
                let goes_on = !is_sweep && is_under_way(step.action, &presence);
                let entry = memory.entry(&key);
                // An accepted change can still fail: earlier attempts count until it succeeds.
                let deleting = step.action == Action::Delete && presence.observed().is_some();
                if !began && !deleting {
                    entry.failed = None;
                }
                if step.action == Action::Update {
                    let again = entry.applied.take().filter(|applied| applied.changes == step.changes);
                    let times = again.map_or(1, |applied| applied.times.saturating_add(1));
                    entry.applied = Some(Applied { changes: step.changes.clone(), at: now, times });
                }
                entry.written_at = Some(now);
                entry.running = None;
                let deleted = step.action == Action::Delete && matches!(presence, Presence::Absent);
                if deleted || step.action == Action::Release {
                    entry.recorded = None;
                }
                let id = presence.observed().map(|seen| seen.id.clone()).or(before);
                if let Some(node) = self.graph.node(&key) {
                    ended = self.record_observation(memory, node.as_ref(), presence, true);
                }
                let id = id.unwrap_or_default();
                if deleting || goes_on { Outcome::Begun(id) } else { Outcome::Done(id) }
            }
            Err(failure) => {
                memory.step_failed(&key, failure.clone(), now);
                if failure.class == Class::NoChange {
                    return None;
                }
                Outcome::Failed(failure)
            }
        };
        steps.push(StepResult { key, action: step.action, changes: step.changes, outcome });
        ended
    }
}

/// Whether the change is only accepted: its end is reported when it finishes.
fn is_under_way(action: Action, presence: &AnyPresence) -> bool {
    let Some(seen) = presence.observed() else { return false };
    match action {
        Action::Create => matches!(seen.phase, Phase::Busy { .. }),
        Action::Update => seen.operation.is_some(),
        Action::Adopt | Action::Delete | Action::Release => false,
    }
}
