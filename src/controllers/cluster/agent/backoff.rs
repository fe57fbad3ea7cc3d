//! How often a cluster's agent is observed. Pure.

use std::time::Duration;

/// While the agent is watched and healthy: covers what no watch reports, such as a manual edit of a copied Secret.
const STEADY: Duration = Duration::from_secs(300);
/// Passes at shorter intervals than this follow an operation in progress.
const IN_PROGRESS: Duration = Duration::from_secs(5);
/// Minimum and maximum pause between two passes, however many changes there are.
const PAUSE_LIMITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Minimum pause after a pass that itself made changes.
const AFTER_A_CHANGE: Duration = Duration::from_secs(1);
/// Passes closer together than this are consecutive.
pub const CONSECUTIVE: Duration = Duration::from_secs(10);

/// When the next pass is due if no watch event arrives. `requeue_after`: the interval without a watch.
pub fn pause(requeue_after: Duration, ready: bool, watched: bool) -> Duration {
    match ready {
        _ if !watched || requeue_after < IN_PROGRESS => requeue_after,
        true => STEADY,
        false => requeue_after * 4,
    }
}

/// How long changes wait after a pass that took `took` and is the last of `consecutive` consecutive ones. A commit is
/// followed closely; a cluster that changes all the time is observed for an eighth of the time.
pub fn min_pause(took: Duration, changed: bool, consecutive: u32) -> Duration {
    let (least, most) = PAUSE_LIMITS;
    let least = if changed { AFTER_A_CHANGE } else { least };
    (took * consecutive.saturating_add(1).min(7)).max(least).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn watched_agents_are_polled_less_often_when_idle() {
        assert_eq!(pause(seconds(60), true, false), seconds(60));
        assert_eq!(pause(seconds(60), true, true), seconds(300));
        assert_eq!(pause(seconds(15), false, true), seconds(60));
        assert_eq!(pause(seconds(1), false, true), seconds(1));
        assert_eq!(pause(seconds(1), true, true), seconds(1));
    }

    #[test]
    fn a_constantly_changing_cluster_does_not_keep_the_operator_busy() {
        let short = Duration::from_millis(50);
        assert_eq!(min_pause(short, false, 0), Duration::from_millis(500));
        assert_eq!((min_pause(seconds(1), false, 0), min_pause(seconds(1), false, 100)), (seconds(1), seconds(7)));
        assert_eq!(min_pause(seconds(60), false, 0), seconds(30));
        assert_eq!((min_pause(short, true, 0), min_pause(short, true, 100)), (seconds(1), seconds(1)));
    }
}
