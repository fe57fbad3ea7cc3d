//! Edits that follow one another: the first is acted upon at once, what comes close behind it together. An object that is edited many
//! times a minute, by a loop or by two that disagree, is reconciled, and written to AWS, a few times. Pure.

use jiff::{SignedDuration, Timestamp};

/// The pause after an edit, doubled for as long as edits are overtaken by others.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// The longest pause.
const LONGEST: SignedDuration = SignedDuration::from_secs(10);
/// What was edited before that is no row.
const ROW: SignedDuration = SignedDuration::from_secs(30);

/// What is remembered of an object's edits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits {
    /// The generation acted upon last, and when that was.
    last: Option<(i64, Timestamp)>,
    /// Pauses in a row in which others came.
    row: u32,
}

impl Edits {
    /// When to act upon `generation`; `None`: now. What is acted upon is remembered.
    pub fn wait(&mut self, generation: i64, now: Timestamp) -> Option<Timestamp> {
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
        let overtaken = generation.saturating_sub(last) > 1 && now.duration_since(at) < ROW;
        self.row = if overtaken { self.row.saturating_add(1) } else { 0 };
        self.last = Some((generation, now));
        None
    }

    fn pause(self) -> SignedDuration {
        SHORTEST.saturating_mul(1 << self.row.min(8)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    /// When reconciles are let through, of edits at these times, in milliseconds.
    fn reconciles(edits: &[i64]) -> Vec<i64> {
        let mut state = Edits::default();
        let (mut acted, mut generation, mut acted_on, mut wake) = (Vec::new(), 1, 0, None);
        let end = edits.last().unwrap() + 60_000;
        let mut edits = edits.iter().peekable();
        for now in 0..end {
            let mut asked = wake == Some(now);
            while edits.next_if(|edit| **edit == now).is_some() {
                generation += 1;
                asked = true;
            }
            if asked && acted_on != generation {
                match state.wait(generation, at(now)) {
                    Some(until) => wake = Some(until.as_millisecond()),
                    None => {
                        acted.push(now);
                        acted_on = generation;
                    }
                }
            }
        }
        assert_eq!(acted_on, generation, "the last edit is carried out");
        acted
    }

    #[test]
    fn a_thousand_edits_in_a_minute_are_a_handful_of_reconciles() {
        let edits: Vec<i64> = (0..1000).map(|edit| edit * 60).collect();
        let acted = reconciles(&edits);
        assert!(acted.len() <= 12, "{acted:?}");
        assert_eq!(acted[..4], [0, 1000, 3000, 7000]);
        assert!(*acted.last().unwrap() <= 60_000 + 10_000);
    }

    #[test]
    fn an_edit_by_itself_is_acted_upon_at_once_and_the_next_a_second_later_at_most() {
        assert_eq!(reconciles(&[0, 300, 5000, 5900, 40_000]), [0, 1000, 5000, 6000, 40_000]);
    }

    #[test]
    fn a_storm_that_is_over_is_forgotten() {
        let mut edits: Vec<i64> = (0..500).map(|edit| edit * 60).collect();
        edits.extend([100_000, 100_500]);
        let acted = reconciles(&edits);
        assert_eq!(acted[acted.len() - 2..], [100_000, 101_000]);
    }

    #[test]
    fn the_same_generation_never_waits() {
        let mut state = Edits::default();
        assert_eq!((state.wait(1, at(0)), state.wait(1, at(1)), state.wait(1, at(2))), (None, None, None));
    }
}
