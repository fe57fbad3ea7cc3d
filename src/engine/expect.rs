//! Durations learned from observations, and the polling interval derived from them. The decision is pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::erased::Node;
use super::resource::Operation;
use parking_lot::Mutex;

/// An expected duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The typical duration.
    pub typical: Duration,
    /// True when it was measured; false for the default of the kind.
    pub learned: bool,
}

/// Learned durations per kind of resource and action. One set per account and region.
#[derive(Debug, Default)]
pub struct Expectations {
    learned: Mutex<BTreeMap<(String, Action), Duration>>,
    /// Durations learned in all accounts and regions: they take about as long everywhere.
    shared: Option<Arc<Expectations>>,
}

impl Expectations {
    /// The durations of one account and region. Missing ones are taken from `shared`.
    pub fn with_shared(shared: Arc<Expectations>) -> Self {
        Self { learned: Mutex::default(), shared: Some(shared) }
    }

    /// The expected duration.
    pub fn estimate(&self, kind: &str, action: Action, default: Duration) -> Estimate {
        let learned = self.learned.lock();
        match (learned.get(&(kind.to_owned(), action)), &self.shared) {
            (Some(typical), _) => Estimate { typical: *typical, learned: true },
            (None, Some(shared)) => shared.estimate(kind, action, default),
            (None, None) => Estimate { typical: default, learned: false },
        }
    }

    /// The expected duration of an action on `node`, or of the operation that carries it out.
    pub fn of<C>(&self, node: &dyn Node<C>, action: Action, operation: Option<&Operation>) -> Estimate {
        let default = match operation {
            Some(operation) => node.expected_operation(&operation.kind),
            None => node.expected(action),
        };
        self.estimate(&duration_key(node.key().kind(), operation), action, default)
    }

    /// Records a duration. The newest counts as much as all before it, so changes take effect quickly.
    pub fn learn(&self, kind: &str, action: Action, took: Duration) {
        if let Some(shared) = &self.shared {
            shared.learn(kind, action, took);
        }
        let mut learned = self.learned.lock();
        learned.entry((kind.to_owned(), action)).and_modify(|typical| *typical = (*typical + took) / 2).or_insert(took);
    }

    /// All learned durations, in a fixed order.
    pub fn learned_durations(&self) -> Vec<(String, Action, Duration)> {
        let learned = self.learned.lock();
        learned.iter().map(|((kind, action), typical)| (kind.clone(), *action, *typical)).collect()
    }

    /// Restores durations that an earlier process learned. Newer measurements of this process remain.
    pub fn restore(&self, kind: &str, action: Action, took: Duration) {
        if let Some(shared) = &self.shared {
            shared.restore(kind, action, took);
        }
        let mut learned = self.learned.lock();
        learned.entry((kind.to_owned(), action)).or_insert(took);
    }
}

/// The key under which durations are learned: a kind of resource, or a kind of operation on it.
pub fn duration_key(kind: &str, operation: Option<&Operation>) -> String {
    operation.map_or_else(|| kind.to_owned(), |operation| format!("{kind}/{}", operation.kind))
}

const MIN_INTERVAL: Duration = Duration::from_millis(900);
const MIN_INTERVAL_NOT_LEARNED: Duration = Duration::from_millis(1700);
const MAX_INTERVAL: Duration = Duration::from_secs(25);
/// Polling interval for actions that stay in progress for hours (a degraded add-on).
const MAX_OVERDUE_INTERVAL: Duration = Duration::from_secs(300);

/// The delay until the next observation of an action that has been in progress for `elapsed`.
///
/// If the duration was learned: wait until shortly before it, poll about every second, then back off. If it is only a
/// default: delays grow with the elapsed time, so that an action ten times faster than usual is noticed early, and a
/// slow one is not polled constantly.
pub fn requeue_after(elapsed: Duration, estimate: Estimate) -> Duration {
    let typical = estimate.typical;
    if estimate.learned {
        let almost = typical.mul_f64(0.97);
        if elapsed < almost {
            // Not in one wait: it may finish or fail early.
            return (almost - elapsed).min(typical.mul_f64(0.4)).max(MIN_INTERVAL);
        }
        let late = elapsed.saturating_sub(typical);
        return (typical / 60).clamp(MIN_INTERVAL, MAX_INTERVAL / 4).max(late / 10).min(MAX_OVERDUE_INTERVAL);
    }
    let near = elapsed >= typical.mul_f64(0.85) && elapsed < typical.mul_f64(1.3);
    let longest = if near { MAX_INTERVAL / 4 } else { MAX_INTERVAL };
    // A poll costs a call: without a learned duration, an action that takes minutes is not polled every second.
    let shortest = (typical / 24).clamp(MIN_INTERVAL_NOT_LEARNED, Duration::from_millis(4500));
    // What takes many minutes (a control plane) does not end in its first seconds.
    let shortest = shortest.max((typical / 65).min(Duration::from_secs(8))).min(longest);
    // A long pause ends where the frequent polls begin.
    let until_near = typical.mul_f64(0.85).checked_sub(elapsed).filter(|left| !left.is_zero());
    let longest = until_near.map_or(longest, |left| left.clamp(shortest, longest));
    let overdue = elapsed.saturating_sub(typical.mul_f64(1.3)) / 10;
    elapsed.mul_f64(0.25).clamp(shortest, longest).max(overdue).min(MAX_OVERDUE_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_until(took: Duration, estimate: Estimate) -> (usize, Duration) {
        let mut elapsed = Duration::ZERO;
        let mut count = 0;
        while elapsed < took {
            elapsed += requeue_after(elapsed, estimate);
            count += 1;
        }
        (count, elapsed - took)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn long_creation_is_not_polled_constantly() {
        for learned in [false, true] {
            let (count, _) = poll_until(7 * MINUTE, Estimate { typical: 9 * MINUTE, learned });
            assert!(count < 40, "{count}");
        }
    }

    #[test]
    fn near_the_expected_end_polls_are_frequent() {
        for learned in [false, true] {
            let estimate = Estimate { typical: 9 * MINUTE, learned };
            assert!(requeue_after(9 * MINUTE, estimate) <= Duration::from_secs(9));
        }
    }

    #[test]
    fn unknown_duration_is_noticed_within_a_quarter_and_near_its_default_within_seconds() {
        for typical in [30, 100, 130, 560] {
            for took in 1..2 * typical {
                let estimate = Estimate { typical: Duration::from_secs(typical), learned: false };
                let (count, late) = poll_until(Duration::from_secs(took), estimate);
                let is_near = took * 100 > typical * 85 && took * 100 < typical * 130;
                let bound = if is_near { Duration::ZERO } else { Duration::from_secs(took) / 4 };
                assert!(late <= bound.max(Duration::from_millis(8100)), "{late:?} late for {took} s of {typical}");
                assert!(count <= 90, "{count} polls for {took} s of {typical}");
            }
        }
        let (count, _) = poll_until(MINUTE, Estimate { typical: Duration::from_secs(560), learned: false });
        assert!(count <= 8, "{count} polls in the first minute of a control plane");
    }

    #[test]
    fn learned_duration_needs_few_polls_and_is_noticed_at_once() {
        for seconds in [5, 12, 60, 600] {
            let typical = Duration::from_secs(seconds);
            let (count, late) = poll_until(typical, Estimate { typical, learned: true });
            assert!(count <= 8, "{count} polls for {seconds} s");
            assert!(late <= Duration::from_secs(1).max(typical / 60), "{late:?} late for {seconds} s");
        }
    }

    #[test]
    fn stuck_operation_is_polled_with_backoff_forever() {
        let estimate = Estimate { typical: MINUTE, learned: true };
        assert_eq!(requeue_after(30 * MINUTE, estimate), Duration::from_secs(174));
        assert_eq!(requeue_after(300 * MINUTE, estimate), MAX_OVERDUE_INTERVAL);
    }

    #[test]
    fn measured_duration_replaces_the_default() {
        let expectations = Expectations::default();
        let default = Duration::from_secs(540);
        assert!(!expectations.estimate("cluster", Action::Create, default).learned);
        expectations.learn("cluster", Action::Create, Duration::from_secs(60));
        let estimate = expectations.estimate("cluster", Action::Create, default);
        assert_eq!(estimate, Estimate { typical: Duration::from_secs(60), learned: true });
    }

    #[test]
    fn duration_measured_in_one_region_is_used_in_others_but_not_stored_there() {
        let shared = Arc::<Expectations>::default();
        let (here, there) = (Expectations::with_shared(shared.clone()), Expectations::with_shared(shared));
        let estimate = |place: &Expectations| place.estimate("cluster", Action::Create, 9 * MINUTE);
        assert!(!estimate(&there).learned);
        here.learn("cluster", Action::Create, MINUTE);
        assert_eq!(estimate(&there), Estimate { typical: MINUTE, learned: true });
        assert!(there.learned_durations().is_empty());
        there.learn("cluster", Action::Create, 5 * MINUTE);
        assert_eq!((estimate(&here).typical, estimate(&there).typical), (MINUTE, 5 * MINUTE));
    }

    #[test]
    fn restored_durations_apply_until_measured_again() {
        let expectations = Expectations::default();
        expectations.learn("cluster", Action::Create, Duration::from_secs(60));
        expectations.restore("cluster", Action::Create, Duration::from_secs(500));
        expectations.restore("cluster", Action::Delete, Duration::from_secs(90));
        let learned = expectations.learned_durations();
        let durations: Vec<_> =
            learned.iter().map(|(kind, action, took)| (kind.as_str(), *action, took.as_secs())).collect();
        assert_eq!(durations, [("cluster", Action::Create, 60), ("cluster", Action::Delete, 90)]);
        assert!(expectations.estimate("cluster", Action::Delete, MINUTE).learned);
    }
}
