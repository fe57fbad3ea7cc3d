//! Durations in Go's format (`30s`, `10m`, `1h30m`). No I/O.

use std::time::Duration;

/// Parses a duration, including zero; `None`: invalid.
pub fn parse(text: &str) -> Option<Duration> {
    text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
}

/// The error message for `text`.
pub fn refusal(text: &str) -> String {
    format!("{text:?} is not a duration such as 30s, 10m or 1h30m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_gos_format() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("4h", 14_400), ("1h30m", 5400), ("1.5h", 5400)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "-1m", "ten", "10", "4h!"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
