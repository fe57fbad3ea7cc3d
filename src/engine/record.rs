//! Stores observations and step results in memory, and learns durations from them. Pure except for the clock.

use jiff::Timestamp;

use super::action::Action;
use super::erased::Node;
use super::execute::{FinishedStep, Run, is_absent};
use super::expect::duration_key;
use super::failure::{Class, Failure};
use super::key::Key;
use super::memory::{AnyPresence, AppliedChanges, Memory, RunningAction};
use super::report::{FinishedOperation, Outcome, StepResult};
use super::resource::{Operation, Phase, Presence};

/// Operation kind of a deletion.
pub const DELETION: &str = "Deletion";
/// Operation kind of a creation.
pub const CREATION: &str = "Creation";

/// Tolerated difference between our clock and the cloud's.
const CLOCK_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

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
        let busy_action = presence.observed().and_then(|observed| match &observed.phase {
            Phase::Busy { action, since, .. } => Some((*action, *since)),
            _ => None,
        });
        let operation = presence.observed().and_then(|observed| observed.operation.clone());
        let entry = memory.entry(&key);
        let (before, next) = match (busy_action, entry.running.take()) {
            (Some((action, _)), Some(running)) if running.is_continued_by(action, operation.as_ref()) => (
                None,
                Some(RunningAction { busy_at: now, operation: operation.or(running.operation.clone()), ..running }),
            ),
            (Some((action, since)), before) => {
                let from_start = since.is_some() || started;
                let since = since.unwrap_or(now);
                (before, Some(RunningAction { action, since, busy_at: now, from_start, operation }))
            }
            (None, before) => (before, None),
        };
        entry.running = next;
        let has_ended = before.is_some();
        // A sweep continues with what it finds next.
        let deleted =
            before.as_ref().filter(|running| running.action == Action::Delete && node.sweep_scope().is_none());
        let deleted = deleted.cloned();
        let id = entry.recorded.as_ref().and_then(|recorded| recorded.id.clone());
        let before = before.map(|running| match (&presence, &running.operation) {
            // A deletion has no operation id in the cloud: use the id of the resource.
            (Presence::Absent, None) if running.action == Action::Delete => {
                let (id, kind) = (id.unwrap_or_default(), DELETION.to_owned());
                RunningAction { operation: Some(Operation { id, kind, since: Some(running.since) }), ..running }
            }
            // The same for a creation with a known start: recovery from a degraded state is not a creation.
            (Presence::Ours(observed), None)
                if running.action == Action::Create && running.from_start && observed.phase == Phase::Ready =>
            {
                let (id, kind) = (observed.id.clone(), CREATION.to_owned());
                RunningAction { operation: Some(Operation { id, kind, since: Some(running.since) }), ..running }
            }
            // A creation or deletion that failed: the cloud has no operation for it either.
            (Presence::Ours(observed), None) if matches!(observed.phase, Phase::Failed { .. }) => {
                let kind = match running.action {
                    Action::Create => Some(CREATION),
                    Action::Delete => Some(DELETION),
                    Action::Update | Action::Adopt | Action::Release => None,
                };
                let operation = kind.map(|kind| (observed.id.clone(), kind.to_owned()));
                let operation = operation.map(|(id, kind)| Operation { id, kind, since: Some(running.since) });
                RunningAction { operation, ..running }
            }
            _ => running,
        });
        let applied = entry.applied.clone();
        let finished = before.and_then(|running| self.finish_action(&key, running, &presence, applied.as_ref(), now));
        if let Some(finished) = &finished
            && finished.result.is_ok()
        {
            entry.failed = None;
            entry.counted_operation = None;
            if let Some(applied) = &mut entry.applied {
                applied.at = now;
            }
        }
        if let Some(failed) = presence.observed().and_then(|observed| observed.failed_operation.as_ref()) {
            memory.operation_failed(&key, failed, now);
        }
        if let Some((running, observed)) = deleted.zip(presence.observed()) {
            memory.deletion_failed(&key, &running, observed, now);
        }
        let mut deleted_keys: Vec<Key> =
            matches!(presence, Presence::Absent).then(|| key.clone()).into_iter().collect();
        while let Some(host) = deleted_keys.pop() {
            for dependent in self.graph.nodes().iter().filter(|node| node.deleted_with().as_ref() == Some(&host)) {
                // External resources are not deleted along with it.
                if !matches!(
                    memory.get(&dependent.key()).and_then(|e| e.presence.as_ref()),
                    Some(Presence::External(_))
                ) {
                    memory.record_observation(&dependent.key(), Presence::Absent, now);
                }
                deleted_keys.push(dependent.key());
            }
        }
        memory.record_observation(&key, presence, now);
        if has_ended {
            memory.mark_changed_externally(&node.makes_stale(), now);
        }
        finished
    }

    /// Handles the end of an action: learns its duration, and returns its operation, if it had one.
    fn finish_action(
        &self,
        key: &Key,
        running: RunningAction,
        presence: &AnyPresence,
        applied: Option<&AppliedChanges>,
        now: Timestamp,
    ) -> Option<FinishedOperation> {
        let failed = presence.observed().and_then(|observed| observed.failed_operation.as_ref());
        let failed = failed.filter(|failed| running.operation.as_ref().is_some_and(|o| o.id == failed.id));
        // It ended between the last observation that found it in progress and this one.
        let half_interval = now.duration_since(running.busy_at) / 2;
        let took = (now.duration_since(running.since) - half_interval).max(jiff::SignedDuration::ZERO).unsigned_abs();
        let usable = presence.observed().is_none_or(|observed| observed.phase == Phase::Ready);
        if failed.is_none() && usable && running.from_start {
            let named = |operation: &&Operation| !is_lifecycle(&operation.kind);
            let operation = running.operation.as_ref().filter(named);
            self.expectations.learn(&duration_key(key.kind(), operation), running.action, took);
        }
        let failure = failed.map(|failed| failed.failure.clone()).or_else(|| failure_of_phase(&running, presence));
        let result = failure.map_or(Ok(took), Err);
        // Only for an update that this process started.
        let started_here = |applied: &&AppliedChanges| {
            running.action == Action::Update
                && applied.at.saturating_add(CLOCK_SKEW).is_ok_and(|at| at >= running.since)
        };
        let changes = applied.filter(started_here).map(|applied| applied.changes.clone()).unwrap_or_default();
        Some(FinishedOperation {
            key: key.clone(),
            operation: running.operation?,
            changes,
            since: running.since,
            result,
        })
    }

    /// Stores the result of a step in memory. Returns the operation that it shows as finished.
    pub(super) fn record_step(
        &self,
        memory: &mut Memory,
        done: FinishedStep,
        steps: &mut Vec<StepResult>,
    ) -> Option<FinishedOperation> {
        let mut finished = None;
        let FinishedStep { key, step, result, .. } = done;
        let now = (self.clock)();
        let result = match result {
            Err(failure) if is_absent(step.action, failure.class) => Ok(Presence::Absent),
            other => other,
        };
        let outcome = match result {
            Ok(presence) => {
                let before = memory.observed(&key).map(|observed| observed.id.clone());
                // If the same call was sent before, its operation may have failed by now.
                let has_operation = presence
                    .observed()
                    .is_some_and(|observed| observed.operation.is_some() || observed.failed_operation.is_some());
                let is_sweep = self.graph.node(&key).is_none_or(|node| node.sweep_scope().is_some());
                let in_progress = !is_sweep && is_in_progress(step.action, &presence);
                let entry = memory.entry(&key);
                // An accepted change can still fail: earlier attempts count until it succeeds.
                let deleting = step.action == Action::Delete && presence.observed().is_some();
                if !has_operation && !deleting {
                    entry.failed = None;
                }
                if step.action == Action::Update {
                    let repeated = entry.applied.take().filter(|applied| applied.changes == step.changes);
                    let times = repeated.map_or(1, |applied| applied.times.saturating_add(1));
                    entry.applied = Some(AppliedChanges { changes: step.changes.clone(), at: now, times });
                }
                entry.written_at = Some(now);
                entry.running = None;
                let deleted = step.action == Action::Delete && matches!(presence, Presence::Absent);
                if deleted || step.action == Action::Release {
                    entry.recorded = None;
                }
                let id = presence.observed().map(|observed| observed.id.clone()).or(before);
                if let Some(node) = self.graph.node(&key) {
                    finished = self.record_observation(memory, node.as_ref(), presence, true);
                }
                let id = id.unwrap_or_default();
                if deleting || in_progress { Outcome::InProgress(id) } else { Outcome::Done(id) }
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
        finished
    }
}

/// Why a creation or deletion that has no operation in the cloud failed, if it did.
fn failure_of_phase(running: &RunningAction, presence: &AnyPresence) -> Option<Failure> {
    let has_none = running.operation.as_ref().is_some_and(|operation| is_lifecycle(&operation.kind));
    let observed = presence.observed().filter(|_| has_none)?;
    let Phase::Failed { reason, class, .. } = &observed.phase else { return None };
    Some(Failure { code: observed.issue_code.clone(), ..Failure::new(*class, reason) })
}

/// Whether an operation is the creation or the deletion of a resource, for which the cloud has no operation of its own.
pub fn is_lifecycle(kind: &str) -> bool {
    [CREATION, DELETION].contains(&kind)
}

/// Whether the change is only accepted: its end is reported when it finishes.
fn is_in_progress(action: Action, presence: &AnyPresence) -> bool {
    let Some(observed) = presence.observed() else { return false };
    match action {
        Action::Create => matches!(observed.phase, Phase::Busy { .. }),
        Action::Update => observed.operation.is_some(),
        Action::Adopt | Action::Delete | Action::Release => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::engine::resource::Recreate;
    use crate::engine::toy_world::{Inventory, ToyWorld, toy_graph};
    use crate::engine::{ExecutionPolicy, Expectations, Goal, Observation};

    /// The operations that end when the cloud reports, twice, that `action` has failed.
    fn failed(action: Action) -> Vec<FinishedOperation> {
        let (graph, cloud, policy) = (toy_graph(1), ToyWorld::default(), ExecutionPolicy::default());
        let (expectations, journal) = (Expectations::default(), Inventory(Mutex::default(), cloud.clone()));
        let (may_adopt, clock) = (|| Ok(()), || Timestamp::from_second(100).unwrap());
        let (goal, cloud, policy) = (Goal::Present, &cloud, &policy);
        let (graph, expectations) = (&graph, &expectations);
        let run =
            Run { graph, goal, policy, cloud, may_adopt: &may_adopt, journal: &journal, expectations, clock: &clock };
        let since = Some(Timestamp::from_second(40).unwrap());
        let observed = Observation::ready("id-0", "there", 0);
        let busy = observed.clone().phase(Phase::Busy { action, since, note: String::new() });
        let (reason, class, recreate) = ("it gave up".to_owned(), Class::NotFound, Recreate::Never);
        let failed = Observation {
            issue_code: Some("Ec2SubnetNotFound".to_owned()),
            ..observed.phase(Phase::Failed { reason, class, recreate })
        };
        let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
        let mut observe = |observed: &Observation<u32>| {
            let presence = ToyWorld::any(Presence::Ours(observed.clone()));
            run.record_observation(&mut memory, graph.nodes()[0].as_ref(), presence, false)
        };
        [busy, failed.clone(), failed].iter().filter_map(&mut observe).collect()
    }

    #[test]
    fn creation_and_deletion_that_fail_are_finished_operations_with_the_code_of_the_cloud() {
        for (action, kind) in [(Action::Create, CREATION), (Action::Delete, DELETION)] {
            let ended = failed(action);
            assert_eq!(ended.len(), 1, "{ended:?}");
            assert_eq!((ended[0].operation.kind.as_str(), ended[0].since.as_second()), (kind, 40));
            let failure = ended[0].result.as_ref().unwrap_err();
            assert_eq!((failure.class, failure.message.as_str()), (Class::NotFound, "it gave up"));
            assert_eq!(failure.code.as_deref(), Some("Ec2SubnetNotFound"));
        }
        assert!(failed(Action::Update).is_empty(), "an update has an operation of its own");
    }
}
