//! When each resource is observed again. Pure except for the clock.

use std::time::Duration;

use jiff::Timestamp;

use super::action::{Action, Goal};
use super::execute::Run;
use super::expect::requeue_after;
use super::failure::span;
use super::memory::Memory;
use super::plan::{Plan, Verdict, WaitingOn};

/// How often to poll for a change to become visible.
const VISIBILITY_POLL_INTERVAL: Duration = Duration::from_secs(1);

impl<C: Sync> Run<'_, C> {
    /// Sets when each resource is observed again, and returns the earliest time.
    pub(super) fn requeue_after(&self, memory: &mut Memory, plan: &Plan) -> Option<Timestamp> {
        let now = (self.clock)();
        let mut next: Option<Timestamp> = None;
        let mut requeue_at = |at: Timestamp| next = Some(next.map_or(at, |n| n.min(at)));
        for item in &plan.items {
            let Some(node) = self.graph.node(&item.key) else {
                continue;
            };
            let interval = node.poll_policy().interval;
            let external_change = memory.external_change_visible_by(&item.key);
            let entry = memory.entry(&item.key);
            let poll_at = entry.observed_at.unwrap_or(now).saturating_add(span(interval)).unwrap_or(now);
            let poll_at = match external_change {
                // It was not observed since.
                Some(_) if entry.changed_externally_at > entry.observed_at => now,
                // An observation right after an external change may still miss it.
                Some(shows) => poll_at.min(shows),
                None => poll_at,
            };
            match &item.verdict {
                Verdict::Waiting { action, since, operation, .. } => {
                    let estimate = self.expectations.of(node.as_ref(), *action, operation.as_ref());
                    // Counted from the last observation, not from now: reconciles for other reasons must not postpone
                    // it.
                    let observed = entry.observed_at.unwrap_or(now);
                    let elapsed = observed.duration_since(*since).max(jiff::SignedDuration::ZERO);
                    let pause = requeue_after(elapsed.unsigned_abs(), estimate);
                    let at = observed.saturating_add(span(pause)).unwrap_or(now);
                    entry.due = Some(at);
                    requeue_at(at.max(now));
                }
                Verdict::NotObserved(failed) => {
                    let at = failed.as_ref().map_or(now, |failed| failed.retry_at);
                    entry.due = Some(at);
                    requeue_at(at);
                }
                Verdict::Pending(step, waits) => {
                    for wait in waits {
                        match wait {
                            WaitingOn::Retry(failed) => requeue_at(failed.retry_at),
                            WaitingOn::ReadAfterWrite(until) => {
                                // A change is usually visible at once; only absence takes the whole window to confirm.
                                let applied_at = entry.applied.as_ref().map_or(now, |applied| applied.at);
                                let elapsed = now.duration_since(applied_at).unsigned_abs();
                                let soon =
                                    now.saturating_add(span(VISIBILITY_POLL_INTERVAL.max(elapsed / 4))).unwrap_or(now);
                                let at = if step.action == Action::Update { soon.min(*until) } else { *until };
                                entry.due = Some(at);
                                requeue_at(at);
                            }
                            WaitingOn::Resource(_) | WaitingOn::Gate(..) => {}
                        }
                    }
                    let retrying = waits.iter().any(|w| !matches!(w, WaitingOn::Resource(_) | WaitingOn::Gate(..)));
                    if !retrying {
                        entry.due = Some(poll_at);
                    }
                }
                Verdict::Step(_) => {
                    entry.due = None;
                    requeue_at(now.saturating_add(span(Duration::from_secs(1))).unwrap_or(now));
                }
                Verdict::DeletedWith(_) => entry.due = None,
                Verdict::Settled | Verdict::Blocked(_) | Verdict::Held(..) => {
                    if let (Verdict::Settled, Some(applied)) = (&item.verdict, &mut entry.applied) {
                        applied.times = 0;
                    }
                    entry.due = Some(poll_at);
                    if plan.goal == Goal::Present || matches!(item.verdict, Verdict::Held(..)) {
                        requeue_at(poll_at.max(now));
                    }
                }
            }
        }
        next
    }
}
