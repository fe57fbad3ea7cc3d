//! Limits how often AWS events may trigger a reconcile of one object. Pure.
//!
//! Otherwise anyone who may write to the queue, or change tags in an account, could trigger endless reads of an
//! object. Delayed changes are not lost: the resources are remembered, and observed by the next reconcile, at the
//! latest after the delay.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Immediate reconciles of an object with a full burst.
const BURST: u32 = 20;
/// Time to refill one.
const REFILL: Duration = Duration::from_secs(10);
/// Beyond this number of objects, those with a full burst are forgotten.
const MAX_TRACKED: usize = 1000;

/// When to reconcile an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Now.
    Now,
    /// After this delay; then call [`WakeLimits::delay_elapsed`].
    After(Duration),
    /// A delayed reconcile is already scheduled.
    Pending,
}

/// Reconciles triggered, by object UID.
#[derive(Debug, Default)]
pub struct WakeLimits(HashMap<String, Usage>);

#[derive(Debug)]
struct Usage {
    reconciles: u32,
    /// The time up to which `reconciles` is refilled.
    at: Instant,
    pending: bool,
}

impl Usage {
    fn refill(&mut self, now: Instant) {
        let whole = now.saturating_duration_since(self.at).as_secs() / REFILL.as_secs();
        let refilled = u32::try_from(whole).unwrap_or(u32::MAX).min(self.reconciles);
        self.reconciles -= refilled;
        self.at = if self.reconciles == 0 { now } else { self.at + REFILL * refilled };
    }
}

impl WakeLimits {
    /// Decides when to reconcile an object that has changed.
    pub fn next(&mut self, uid: &str, now: Instant) -> Wake {
        if self.0.len() > MAX_TRACKED {
            self.0.retain(|_, usage| {
                usage.refill(now);
                usage.reconciles > 0 || usage.pending
            });
        }
        let usage = self.0.entry(uid.to_owned()).or_insert(Usage { reconciles: 0, at: now, pending: false });
        usage.refill(now);
        if usage.pending {
            return Wake::Pending;
        }
        if usage.reconciles < BURST {
            usage.reconciles += 1;
            return Wake::Now;
        }
        usage.pending = true;
        Wake::After((usage.at + REFILL).saturating_duration_since(now))
    }

    /// Records that a delayed reconcile starts.
    pub fn delay_elapsed(&mut self, uid: &str, now: Instant) {
        if let Some(usage) = self.0.get_mut(uid) {
            usage.pending = false;
            usage.refill(now);
            usage.reconciles += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_events_triggers_a_burst_and_then_one_reconcile_each_ten_seconds() {
        let (mut limits, start) = (WakeLimits::default(), Instant::now());
        let reconciles = (0..1000).filter(|_| limits.next("u", start) == Wake::Now).count();
        assert_eq!(reconciles, 20);
        assert_eq!(limits.next("u", start), Wake::Pending, "a delayed reconcile is already scheduled");
        let mut later = start;
        for _ in 0..10 {
            later += REFILL;
            limits.delay_elapsed("u", later);
            assert_eq!(limits.next("u", later), Wake::After(REFILL));
            assert_eq!(limits.next("u", later), Wake::Pending);
        }
    }

    #[test]
    fn limits_are_per_object() {
        let (mut limits, start) = (WakeLimits::default(), Instant::now());
        for _ in 0..100 {
            let _ = limits.next("u", start);
        }
        assert_eq!(limits.next("v", start), Wake::Now);
    }

    #[test]
    fn limits_refill_and_idle_objects_are_forgotten() {
        let (mut limits, start) = (WakeLimits::default(), Instant::now());
        for number in 0..=MAX_TRACKED {
            assert_eq!(limits.next(&number.to_string(), start), Wake::Now);
        }
        assert_eq!(limits.next("u", start + 2 * REFILL), Wake::Now);
        assert_eq!(limits.0.len(), 1);
    }
}
