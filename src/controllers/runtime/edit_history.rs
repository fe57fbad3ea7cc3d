//! Debounces edits: the first is reconciled at once, edits in quick succession together. An object that is edited many
//! times a minute, by a loop or by two competing writers, is reconciled, and written to AWS, a few times. Pure.

use jiff::{SignedDuration, Timestamp};

/// The pause after an edit; doubled while further edits arrive during pauses.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// The longest pause.
const LONGEST: SignedDuration = SignedDuration::from_secs(10);
/// Edits further apart than this do not extend the pause.
const STREAK_WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// The edit history of an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct EditHistory {
    /// The generation reconciled last, and when.
    last: Option<(i64, Timestamp)>,
    /// Consecutive pauses in which further edits arrived.
    streak: u32,
}

impl EditHistory {
    /// When to reconcile `generation`; `None`: now, and the generation is recorded.
    pub fn debounce(&mut self, generation: i64, now: Timestamp) -> Option<Timestamp> {
        let Some((last, at)) = self.last else {
            self.last = Some((generation, now));
            return None;
        };
        if generation == last {
            return None;
        }
        let until = at.saturating_add(self.pause()).unwrap_or(now);
        if now < until {
            return Some(until);
        }
        let followed_closely = generation.saturating_sub(last) > 1 && now.duration_since(at) < STREAK_WINDOW;
        self.streak = if followed_closely { self.streak.saturating_add(1) } else { 0 };
        self.last = Some((generation, now));
        None
    }

    fn pause(self) -> SignedDuration {
        SHORTEST.saturating_mul(1 << self.streak.min(8)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    /// The times of reconciles for edits at these times, in milliseconds.
    fn reconciles(edits: &[i64]) -> Vec<i64> {
        let mut state = EditHistory::default();
        let (mut reconciled, mut generation, mut reconciled_generation, mut wake) = (Vec::new(), 1, 0, None);
        let end = edits.last().unwrap() + 60_000;
        let mut edits = edits.iter().peekable();
        for now in 0..end {
            let mut due = wake == Some(now);
            while edits.next_if(|edit| **edit == now).is_some() {
                generation += 1;
                due = true;
            }
            if due && reconciled_generation != generation {
                match state.debounce(generation, at(now)) {
                    Some(until) => wake = Some(until.as_millisecond()),
                    None => {
                        reconciled.push(now);
                        reconciled_generation = generation;
                    }
                }
            }
        }
        assert_eq!(reconciled_generation, generation, "the last edit is reconciled");
        reconciled
    }

    #[test]
    fn thousand_edits_in_a_minute_cause_few_reconciles() {
        let edits: Vec<i64> = (0..1000).map(|edit| edit * 60).collect();
        let reconciled = reconciles(&edits);
        assert!(reconciled.len() <= 12, "{reconciled:?}");
        assert_eq!(reconciled[..4], [0, 1000, 3000, 7000]);
        assert!(*reconciled.last().unwrap() <= 60_000 + 10_000);
    }

    #[test]
    fn single_edit_is_reconciled_at_once_and_the_next_within_a_second() {
        assert_eq!(reconciles(&[0, 300, 5000, 5900, 40_000]), [0, 1000, 5000, 6000, 40_000]);
    }

    #[test]
    fn pause_resets_after_a_burst_of_edits() {
        let mut edits: Vec<i64> = (0..500).map(|edit| edit * 60).collect();
        edits.extend([100_000, 100_500]);
        let reconciled = reconciles(&edits);
        assert_eq!(reconciled[reconciled.len() - 2..], [100_000, 101_000]);
    }

    #[test]
    fn unchanged_generation_is_never_delayed() {
        let mut state = EditHistory::default();
        assert_eq!((state.debounce(1, at(0)), state.debounce(1, at(1)), state.debounce(1, at(2))), (None, None, None));
    }
}
