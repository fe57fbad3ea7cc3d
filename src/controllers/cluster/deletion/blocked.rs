//! How often a deletion that is blocked is checked again. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::engine::failure::span;

/// Since when a deletion is blocked by the same, which grows the interval of the reads.
#[derive(Debug, Default)]
pub struct Blocked(Option<(Timestamp, String)>);

impl Blocked {
    /// Interval of the first reads: whoever removes the cause waits for the deletion to start.
    const MIN: SignedDuration = SignedDuration::from_secs(15);

    /// When to read AWS again while `why` blocks the deletion. Objects that block it are watched. `max`: the longest
    /// interval.
    pub fn requeue_after(&mut self, why: &str, now: Timestamp, max: Duration) -> SignedDuration {
        let is_same = self.0.as_ref().is_some_and(|(_, before)| before == why);
        if !is_same {
            self.0 = Some((now, why.to_owned()));
        }
        let since = self.0.as_ref().map_or(now, |(since, _)| *since);
        let max = span(max).max(Self::MIN);
        (now.duration_since(since) * 2).clamp(Self::MIN, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_deletion_is_checked_less_and_less_often_until_its_cause_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (mut blocked, mut second, mut checks) = (Blocked::default(), 0, Vec::new());
        while second < 3600 {
            checks.push(second);
            second += blocked.requeue_after("node group x", at(second), Duration::from_secs(600)).as_secs();
        }
        assert_eq!(checks, [0, 15, 45, 135, 405, 1005, 1605, 2205, 2805, 3405]);
        assert_eq!(blocked.requeue_after("node group y", at(second), Duration::from_secs(600)).as_secs(), 15);
        assert_eq!(blocked.requeue_after("node group y", at(second + 60), Duration::from_secs(2)).as_secs(), 15);
    }
}
