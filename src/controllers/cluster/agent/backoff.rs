//! How often a cluster's agent is looked at. Pure.

use std::time::Duration;

/// While the agent is watched and all is well: for what no watch tells, such as a copy of a Secret that somebody edits.
const STEADY: Duration = Duration::from_secs(300);
/// Looks that are closer than this follow something that is under way.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// Between two passes, however much changes: at least, and at most.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// At least after one that changed something itself.
const AFTER_A_CHANGE: Duration = Duration::from_secs(1);
/// Passes that are closer than this are in a row.
pub const IN_A_ROW: Duration = Duration::from_secs(10);

/// When the next pass is due though nothing is told. `requeue_after`: where nobody watches.
pub fn pause(requeue_after: Duration, ready: bool, watched: bool) -> Duration {
    match ready {
        _ if !watched || requeue_after < UNDER_WAY => requeue_after,
        true => STEADY,
        false => requeue_after * 4,
    }
}

/// For how long changes wait after a pass that took so long and is the last of so many in a row: a commit is followed closely, and
/// of a cluster in which something changes all the time, an eighth of the time is spent on looking at it.
pub fn rest(took: Duration, changed: bool, in_a_row: u32) -> Duration {
    let (least, most) = REST;
    let least = if changed { AFTER_A_CHANGE } else { least };
    (took * in_a_row.saturating_add(1).min(7)).max(least).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn what_is_watched_is_asked_less_often_unless_something_is_under_way() {
        assert_eq!(pause(seconds(60), true, false), seconds(60));
        assert_eq!(pause(seconds(60), true, true), seconds(300));
        assert_eq!(pause(seconds(15), false, true), seconds(60));
        assert_eq!(pause(seconds(1), false, true), seconds(1));
        assert_eq!(pause(seconds(1), true, true), seconds(1));
    }

    #[test]
    fn a_cluster_that_never_rests_does_not_keep_the_operator_busy() {
        let short = Duration::from_millis(50);
        assert_eq!(rest(short, false, 0), Duration::from_millis(500));
        assert_eq!((rest(seconds(1), false, 0), rest(seconds(1), false, 100)), (seconds(1), seconds(7)));
        assert_eq!(rest(seconds(60), false, 0), seconds(30));
        assert_eq!((rest(short, true, 0), rest(short, true, 100)), (seconds(1), seconds(1)));
    }
}
