//! An upgrade: its path, the checks before it, its history, and the end of AWS support. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::badge::Badge;
use super::context::Context;
use crate::api::status_cluster::{SupportStatus, UpgradeRecord, UpgradeStatus, Verdict};
use crate::cli::time::{between, format_between, format_duration};
use crate::page::state::State;

/// The upgrade of an object.
#[derive(Default)]
pub struct Upgrade {
    /// Whether there is anything to show.
    pub exists: bool,
    /// The versions of the path.
    pub path: Vec<VersionStep>,
    pub message: String,
    /// `step 2 of 5`.
    pub step: String,
    pub time: String,
    pub window: String,
    pub soak: String,
    pub checks: Vec<Check>,
    pub history: Vec<PastStep>,
}

/// A version of the path.
pub struct VersionStep {
    pub version: String,
    /// `done`, `current` or `next`.
    pub class: &'static str,
    /// Since when it is reached, as far as that is known, and how long it took.
    pub text: String,
}

/// A check before the upgrade.
pub struct Check {
    pub name: String,
    pub badge: Badge,
    pub message: String,
}

/// A step that has ended.
pub struct PastStep {
    pub version: String,
    pub started: String,
    pub took: String,
}

/// The upgrade in status. `present`: the version in EKS.
pub fn upgrade(status: &UpgradeStatus, present: Option<&str>, context: &Context<'_>) -> Upgrade {
    let UpgradeStatus {
        from,
        to,
        path,
        step,
        steps,
        message,
        since,
        expected_end,
        soak,
        preflight,
        next_window,
        history,
        ..
    } = status;
    let mut versions: Vec<&String> = from.iter().chain(path).collect();
    if path.is_empty() {
        versions.extend(to);
    }
    versions.dedup();
    let at = versions.iter().position(|version| Some(version.as_str()) == present).unwrap_or_default();
    let stop = |(number, version): (usize, &&String)| {
        let (class, text) = match number {
            number if number <= at => ("done", reached(version, history, context)),
            number if number == at + 1 && step.is_some() => ("current", "in progress".to_owned()),
            _ => ("next", "to come".to_owned()),
        };
        VersionStep { version: (*version).clone(), class, text }
    };
    let path: Vec<VersionStep> = versions.iter().enumerate().map(stop).filter(|_| versions.len() > 1).collect();
    let checks = preflight.iter().map(|check| Check {
        name: check.check.clone(),
        badge: badge(check.verdict),
        message: check.message.clone().unwrap_or_default(),
    });
    let history = history.iter().rev().map(|past| PastStep {
        version: past.version.clone(),
        started: context.time(past.started_at.0),
        took: format_duration(seconds(past.seconds)),
    });
    let (checks, history): (Vec<Check>, Vec<PastStep>) = (checks.collect(), history.collect());
    let soak = soak.as_ref().map(|soak| {
        let since = soak.healthy_since.as_ref().map(|since| between(since.0, context.now)).unwrap_or_default();
        format!("healthy for {}", format_duration(seconds(soak.seconds) + since))
    });
    let count = step.zip(*steps).map(|(step, steps)| format!("step {step} of {steps}"));
    let message = message.clone().unwrap_or_default();
    Upgrade {
        exists: !path.is_empty() || !message.is_empty() || !checks.is_empty() || !history.is_empty(),
        step: count.unwrap_or_default(),
        time: time(since.as_ref().map(|since| since.0), expected_end.as_ref().map(|end| end.0), context),
        window: next_window.clone().unwrap_or_default(),
        soak: soak.unwrap_or_default(),
        path,
        message,
        checks,
        history,
    }
}

/// `reached 12:30:00, took 9 min`.
fn reached(version: &str, history: &[UpgradeRecord], context: &Context<'_>) -> String {
    let Some(past) = history.iter().rev().find(|past| past.version == version) else { return "reached".to_owned() };
    let took = seconds(past.seconds);
    let at = past.started_at.0.checked_add(took).unwrap_or(past.started_at.0);
    format!("reached {}, took {}", context.time(at), format_duration(took))
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

fn time(since: Option<Timestamp>, end: Option<Timestamp>, context: &Context<'_>) -> String {
    let mut text = since.map(|since| format!("for {}", format_between(since, context.now))).unwrap_or_default();
    match end {
        Some(end) if end > context.now => {
            text += &format!(", about {} left, until {}", format_between(context.now, end), context.time(end));
        }
        Some(end) => text += &format!(", {} longer than usual", format_between(end, context.now)),
        None => {}
    }
    text
}

fn badge(verdict: Verdict) -> Badge {
    match verdict {
        Verdict::Passed => Badge::with_text(State::Ready, "passed"),
        Verdict::Warning => Badge::with_text(State::Warning, "warning"),
        Verdict::Failed => Badge::with_text(State::Blocked, "failed"),
        Verdict::Unknown => Badge::with_text(State::Unknown, "unknown"),
    }
}

/// The end of AWS support: how many days are left, and on which day it ends. Empty if unknown.
pub fn support(status: Option<&SupportStatus>, context: &Context<'_>) -> Vec<(State, String)> {
    let today = context.now.to_zoned(context.zone.clone()).date();
    let ends = status.map(|status| [("Standard", &status.standard_ends), ("Extended", &status.extended_ends)]);
    let describe = |(which, date): (&str, &Option<String>)| {
        let date: Date = date.as_deref()?.parse().ok()?;
        let days = today.until(date).ok()?.get_days();
        let (state, text) = match days {
            ..0 => (State::Blocked, format!("{which} support ended on {date}")),
            0 => (State::Blocked, format!("{which} support ends today")),
            1..=30 => (State::Failing, format!("{which} support ends in {days} days, on {date}")),
            31..=90 => (State::Warning, format!("{which} support ends in {days} days, on {date}")),
            _ => (State::Ready, format!("{which} support for {days} days, until {date}")),
        };
        Some((state, text))
    };
    ends.into_iter().flatten().filter_map(describe).collect()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;
    use crate::page::fleet::Fleet;
    use crate::page::tests::now;
    use crate::page::viewer::Viewer;

    #[test]
    fn path_says_what_was_reached_when_and_what_is_to_come() {
        let status: UpgradeStatus = serde_json::from_value(json!({
            "from": "1.33", "to": "1.36", "path": ["1.34", "1.35", "1.36"], "step": 2, "steps": 5,
            "history": [
                {"version": "1.34", "startedAt": "2026-08-01T10:00:00Z", "seconds": 60},
                {"version": "1.34", "startedAt": "2026-11-30T23:30:00Z", "seconds": 600},
            ],
        }))
        .unwrap();
        let (fleet, viewer) = (Fleet::default(), Viewer::of_everything());
        let context = Context { fleet: &fleet, viewer: &viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
        let shown = upgrade(&status, Some("1.34"), &context);
        let path: Vec<_> =
            shown.path.iter().map(|stop| (stop.version.as_str(), stop.class, stop.text.as_str())).collect();
        let expected = [
            ("1.33", "done", "reached"),
            ("1.34", "done", "reached 2026-11-30 23:40, took 10 min"),
            ("1.35", "current", "in progress"),
            ("1.36", "next", "to come"),
        ];
        assert_eq!(path, expected);
    }
}
