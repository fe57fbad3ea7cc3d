//! Durations and times as users read them. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// "9 min 20 s", "2 h 5 min", "3 d 4 h": the two largest units.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, name) = units[first];
    let text = format!("{} {name}", seconds / size);
    match units.get(first + 1).map(|(smaller, name)| (seconds % size / smaller, name)) {
        Some((rest, name)) if rest > 0 => format!("{text} {rest} {name}"),
        _ => text,
    }
}

/// The same, from one time to another; zero if that is not later.
pub fn format_between(from: Timestamp, to: Timestamp) -> String {
    format_duration(between(from, to))
}

/// The time from one to the other; zero if that is not later.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).max(jiff::SignedDuration::ZERO).unsigned_abs()
}

/// An age as `kubectl get` shows it: "45s", "12m", "3h5m", "5d".
pub fn format_age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return String::new() };
    let seconds = between(since, now).as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=599 if !seconds.is_multiple_of(60) => format!("{}m{}s", seconds / 60, seconds % 60),
        120..=10_799 => format!("{}m", seconds / 60),
        10_800..=28_799 if seconds % 3600 >= 60 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        10_800..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time of day, with the date unless that is today.
pub fn format_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn durations_have_two_units() {
        let table = [(0, "0 s"), (59, "59 s"), (560, "9 min 20 s"), (600, "10 min"), (7500, "2 h 5 min")];
        for (seconds, text) in table.into_iter().chain([(3605, "1 h"), (273_600, "3 d 4 h")]) {
            assert_eq!(format_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(format_between(at(10), at(5)), "0 s");
    }

    #[test]
    fn ages_are_those_of_kubectl() {
        let table = [(45, "45s"), (119, "119s"), (125, "2m5s"), (720, "12m"), (11_100, "3h5m"), (90_000, "25h")];
        for (seconds, text) in table.into_iter().chain([(172_800, "2d")]) {
            assert_eq!(format_age(Some(at(0)), at(seconds)), text);
        }
        assert_eq!(format_age(None, at(5)), "");
    }

    #[test]
    fn times_of_other_days_have_a_date() {
        assert_eq!(format_time(at(3661), at(7200), &TimeZone::UTC), "01:01:01");
        assert_eq!(format_time(at(3661), at(90_000), &TimeZone::UTC), "1970-01-01 01:01");
    }
}
