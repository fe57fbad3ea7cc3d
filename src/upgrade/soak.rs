//! The soak: the time a cluster has been healthy since its last control plane step. Only healthy time counts. Pure.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// How long a cluster has been healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Soak {
    /// Healthy seconds before it was last unhealthy.
    pub counted: u64,
    /// Start of the current healthy period; `None`: it is unhealthy.
    pub healthy_since: Option<Timestamp>,
}

impl Soak {
    /// Updates the soak with the current health. A control plane step starts a new one, with [`Soak::default`].
    #[must_use]
    pub fn advance(self, healthy: bool, now: Timestamp) -> Self {
        match (healthy, self.healthy_since) {
            (true, None) => Self { healthy_since: Some(whole_second(now)), ..self },
            (false, Some(_)) => Self { counted: self.healthy_for(now).as_secs(), healthy_since: None },
            (true, Some(_)) | (false, None) => self,
        }
    }

    /// Total healthy time. A clock that is set back does not reduce it.
    pub fn healthy_for(self, now: Timestamp) -> Duration {
        let running = self.healthy_since.map(|since| now.duration_since(since));
        let running = running.and_then(|running| Duration::try_from(running).ok()).unwrap_or_default();
        Duration::from_secs(self.counted).saturating_add(running)
    }

    /// The remaining part of the `wanted` healthy time.
    pub fn remaining(self, wanted: Duration, now: Timestamp) -> Duration {
        wanted.saturating_sub(self.healthy_for(now))
    }
}

/// The next full second: status stores times in seconds, and this must not shorten a soak.
fn whole_second(now: Timestamp) -> Timestamp {
    let up = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    now.round(up).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_healthy_time_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let wanted = Duration::from_secs(600);
        let mut soak = Soak::default();
        // Time of observation, health, remaining seconds.
        let table = [
            (0, false, 600),
            (100, true, 600),
            (300, true, 400),
            (400, false, 300),
            (9_000, false, 300),
            (9_100, true, 300),
            (9_050, true, 300),
            (9_399, true, 1),
            (9_400, true, 0),
            (20_000, false, 0),
        ];
        for (second, healthy, remains) in table {
            soak = soak.advance(healthy, at(second));
            assert_eq!(soak.remaining(wanted, at(second)).as_secs(), remains, "at {second}");
        }
    }

    #[test]
    fn storing_whole_seconds_does_not_shorten_the_soak() {
        let started: Timestamp = "2026-11-22T09:11:06.730Z".parse().unwrap();
        let soak = Soak::default().advance(true, started);
        assert_eq!(soak.healthy_since, Some("2026-11-22T09:11:07Z".parse().unwrap()));
        assert_eq!(soak.remaining(Duration::from_secs(6), started), Duration::from_secs(6));
        assert_eq!(soak.remaining(Duration::from_secs(6), "2026-11-22T09:11:12.9Z".parse().unwrap()).as_millis(), 100);
    }

    #[test]
    fn zero_soak_is_complete() {
        assert!(Soak::default().remaining(Duration::ZERO, Timestamp::UNIX_EPOCH).is_zero());
    }
}
