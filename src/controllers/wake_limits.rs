//! How often events of AWS may have one object looked at. Pure.
//!
//! Whoever may write to the queue, or only change tags in an account, could otherwise have the same object read without end. What is put
//! off is not lost: the resources are remembered, and looked at with the next reconcile, at the latest after the delay.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Looks at once, of an object that none was spent on.
const BURST: u32 = 20;
/// One more after each of these.
const REFILL: Duration = Duration::from_secs(10);
/// Objects that have their full burst are forgotten when more than these are remembered.
const MOST_REMEMBERED: usize = 1000;

/// When an object is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Now.
    Now,
    /// After this; call [`WakeLimits::waited`] then.
    After(Duration),
    /// It is waited for already.
    Pending,
}

/// Looks that were spent, by the UID of the object.
#[derive(Debug, Default)]
pub struct WakeLimits(HashMap<String, Spent>);

#[derive(Debug)]
struct Spent {
    looks: u32,
    /// Until when `looks` is counted.
    at: Instant,
    pending: bool,
}

impl Spent {
    fn refill(&mut self, now: Instant) {
        let whole = now.saturating_duration_since(self.at).as_secs() / REFILL.as_secs();
        let refilled = u32::try_from(whole).unwrap_or(u32::MAX).min(self.looks);
        self.looks -= refilled;
        self.at = if self.looks == 0 { now } else { self.at + REFILL * refilled };
    }
}

impl WakeLimits {
    /// Something of the object was changed.
    pub fn next(&mut self, uid: &str, now: Instant) -> Wake {
        if self.0.len() > MOST_REMEMBERED {
            self.0.retain(|_, spent| {
                spent.refill(now);
                spent.looks > 0 || spent.pending
            });
        }
        let spent = self.0.entry(uid.to_owned()).or_insert(Spent { looks: 0, at: now, pending: false });
        spent.refill(now);
        if spent.pending {
            return Wake::Pending;
        }
        if spent.looks < BURST {
            spent.looks += 1;
            return Wake::Now;
        }
        spent.pending = true;
        Wake::After((spent.at + REFILL).saturating_duration_since(now))
    }

    /// The object is looked at after a delay.
    pub fn waited(&mut self, uid: &str, now: Instant) {
        if let Some(spent) = self.0.get_mut(uid) {
            spent.pending = false;
            spent.refill(now);
            spent.looks += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_about_one_object_has_it_looked_at_a_few_times_and_once_each_ten_seconds() {
        let (mut limits, start) = (WakeLimits::default(), Instant::now());
        let looks = (0..1000).filter(|_| limits.next("u", start) == Wake::Now).count();
        assert_eq!(looks, 20);
        assert_eq!(limits.next("u", start), Wake::Pending, "one that was put off is waited for already");
        let mut later = start;
        for _ in 0..10 {
            later += REFILL;
            limits.waited("u", later);
            assert_eq!(limits.next("u", later), Wake::After(REFILL));
            assert_eq!(limits.next("u", later), Wake::Pending);
        }
    }

    #[test]
    fn one_object_does_not_spend_what_is_anothers() {
        let (mut limits, start) = (WakeLimits::default(), Instant::now());
        for _ in 0..100 {
            let _ = limits.next("u", start);
        }
        assert_eq!(limits.next("v", start), Wake::Now);
    }

    #[test]
    fn after_a_quiet_time_all_is_as_before_and_nothing_is_remembered() {
        let (mut limits, start) = (WakeLimits::default(), Instant::now());
        for number in 0..=MOST_REMEMBERED {
            assert_eq!(limits.next(&number.to_string(), start), Wake::Now);
        }
        assert_eq!(limits.next("u", start + 2 * REFILL), Wake::Now);
        assert_eq!(limits.0.len(), 1);
    }
}
