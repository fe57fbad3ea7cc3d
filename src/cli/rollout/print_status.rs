//! Prints the answer of `keelson rollout status` as a picture of lines. Pure.

use std::fmt::Write as _;

use anstyle::Style;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::overview::{ClusterOverview, ClusterState, Overview, ReleaseOverview, WaveMembers, WaveOverview};
use crate::api::fleet_rollout::Share;
use crate::api::fleet_rollout_check::CheckState;
use crate::api::fleet_rollout_status::{ReleaseState, WaveState};
use crate::api::listing::{counted, first_few};
use crate::cli::plan::style::{self, styled};
use crate::cli::table::Table;
use crate::cli::terminal::one_line;
use crate::cli::time::{format_age, format_between, format_time};

/// Clusters that are listed of a wave.
const MAX_CLUSTERS: usize = 8;
/// Clusters in no wave that are named.
const MAX_OUTSIDE: usize = 5;

/// When it is read, and where.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
}

/// The text of all.
pub fn text(all: &[Overview], at: Reading<'_>) -> String {
    if all.is_empty() {
        return "there is no FleetRollout\n".to_owned();
    }
    all.iter().map(|one| rollout(one, at)).collect::<Vec<_>>().join("\n")
}

/// One line, for a pipe, without the time.
pub fn line(of: &Overview) -> String {
    let message = if of.message.is_empty() { String::new() } else { format!(": {}", of.message) };
    one_line(&format!("FleetRollout {} {}{message}", of.name, of.state))
}

fn rollout(of: &Overview, at: Reading<'_>) -> String {
    let mut out = format!("{}\n", styled(style::heading(), one_line(&headline(of, at))));
    if !of.observed {
        out.push_str("  (of the spec before the last edit, which is not observed yet)\n");
    }
    // The releases say it in detail.
    if of.releases.iter().all(|release| release.state == ReleaseState::Completed) && !of.message.is_empty() {
        let _ = writeln!(out, "  {}", one_line(&of.message));
    }
    if of.releases.is_empty() && !of.waves.is_empty() {
        out.push('\n');
        out.push_str(&idle_waves(&of.waves));
    }
    for release in &of.releases {
        out.push('\n');
        out.push_str(&self::release(release, at));
    }
    for (clusters, what) in [(&of.unmatched, "in no wave, and blocked"), (&of.ungated, "in no wave, and free to begin")]
    {
        if !clusters.is_empty() {
            let _ = writeln!(out, "\n{what}: {}", one_line(&first_few(clusters, MAX_OUTSIDE)));
        }
    }
    if !of.actions.is_empty() {
        out.push('\n');
    }
    for (number, action) in of.actions.iter().enumerate() {
        let title = if number == 0 { "You can     " } else { "            " };
        let _ = writeln!(out, "{}{}", styled(style::heading(), title), one_line(action));
    }
    out
}

/// The waves while nothing is rolled out: how many clusters have which version.
fn idle_waves(all: &[WaveMembers]) -> String {
    let mut table = Table::default();
    for (number, wave) in all.iter().enumerate() {
        let branch = if number + 1 == all.len() { "└─" } else { "├─" };
        let versions = wave.versions.iter().map(|(version, clusters)| format!("{clusters} with {version}"));
        let versions = versions.collect::<Vec<_>>().join(", ");
        table.row([format!("{branch} {}", wave.name), counted(wave.clusters, "cluster"), versions]);
    }
    table.format("")
}

fn headline(of: &Overview, at: Reading<'_>) -> String {
    let ready = if of.ready { "Ready" } else { "not ready" };
    let members = counted(usize::try_from(of.members).unwrap_or_default(), "cluster");
    let mut text = format!("FleetRollout {}: {members}, {ready} ({})", of.name, of.state);
    if of.suspended {
        text.push_str(", suspended");
    }
    if let Some(since) = of.since {
        let _ = write!(text, ", for {}", format_between(since, at.now));
    }
    text
}

fn release(of: &ReleaseOverview, at: Reading<'_>) -> String {
    let sign = match of.state {
        ReleaseState::Halted => "!",
        ReleaseState::WaitingForApproval | ReleaseState::Blocked | ReleaseState::Suspended => "~",
        ReleaseState::Soaking => "@",
        ReleaseState::Completed => "+",
        ReleaseState::Progressing => "=",
    };
    let (state, since) = (of.state.as_str(), format_time(of.since, at.now, at.zone));
    let title = format!("{} to {}", of.what, of.target);
    let mut out = format!(
        "{}  {}  {}, since {since}\n",
        styled(style::heading(), one_line(&title)),
        styled(style::of_sign(sign), state),
        one_line(&of.progress)
    );
    if let Some(message) = &of.message {
        let _ = writeln!(out, "│  {}", one_line(message));
    }
    let mut table = Table::default();
    let mut below: Vec<String> = Vec::new();
    for (number, wave) in of.waves.iter().enumerate() {
        let is_last = number + 1 == of.waves.len();
        let (branch, trunk) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
        let (mark, style) = mark(wave.status.state);
        let arrived = format!("{}/{}", wave.status.at_target, wave.status.members);
        let cells =
            [format!("{branch} {mark} {}", wave.status.name), state_of(wave).to_owned(), arrived, details(wave, at)];
        table.styled_row(style, cells);
        below.push(clusters(wave, trunk, at) + &checks(wave, trunk, at));
    }
    // Each line of the table, followed by the clusters of its wave.
    let lines = table.format("");
    out.extend(lines.lines().zip(&below).flat_map(|(line, below)| [line, "\n", below]));
    out
}

/// The mark and the colour of a wave.
fn mark(state: WaveState) -> (char, Style) {
    let (mark, sign) = match state {
        WaveState::Pending => ('○', ""),
        WaveState::WaitingForApproval => ('?', "~"),
        WaveState::Progressing => ('●', "~"),
        WaveState::Soaking => ('◐', "@"),
        WaveState::Failed => ('✗', "!"),
        WaveState::Passed => ('✓', "+"),
    };
    (mark, style::of_sign(sign))
}

fn state_of(wave: &WaveOverview) -> &'static str {
    match wave.status.state {
        WaveState::Pending => "Pending",
        WaveState::WaitingForApproval => "WaitingForApproval",
        WaveState::Progressing => "Progressing",
        WaveState::Soaking => "Soaking",
        WaveState::Failed => "Failed",
        WaveState::Passed => "Passed",
    }
}

fn details(wave: &WaveOverview, at: Reading<'_>) -> String {
    let status = &wave.status;
    let mut parts = Vec::new();
    if status.in_progress > 0 {
        let most = wave.policy.as_ref().map(|policy| match &policy.max_concurrent {
            Share::Number(number) => format!(" of at most {number}"),
            Share::Percentage(share) => format!(" of at most {share}"),
        });
        parts.push(format!("{}{} in progress", status.in_progress, most.unwrap_or_default()));
    }
    if status.failed > 0 {
        let tolerated = wave.policy.as_ref().map(|policy| format!(" (maxFailed {})", policy.max_failed));
        parts.push(format!("{} failed{}", status.failed, tolerated.unwrap_or_default()));
    }
    if let Some(hash) = &status.approval_hash {
        parts.push(format!("hash {hash}"));
    }
    if let Some(until) = wave.soaks_until {
        let end = format_time(until, at.now, at.zone);
        parts.push(format!("soaks until {end}, {} remaining", format_between(at.now, until)));
    }
    match (&status.promoted_at, &status.passed_at) {
        (Some(promoted), _) => {
            let by = status.promoted_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            parts.push(format!("promoted {} ago{by}", format_age(Some(promoted.0), at.now)));
        }
        (None, Some(passed)) if status.state == WaveState::Passed => {
            parts.push(format!("passed {} ago", format_age(Some(passed.0), at.now)));
        }
        (None, _) => {}
    }
    parts.join(", ")
}

/// The clusters of a wave that somebody wants to see: of one that has passed, or is not open, only those that are not as
/// they should be.
fn clusters(wave: &WaveOverview, trunk: &str, at: Reading<'_>) -> String {
    let Some(all) = &wave.clusters else { return String::new() };
    let is_quiet = matches!(wave.status.state, WaveState::Passed | WaveState::Pending);
    let is_shown = |one: &&ClusterOverview| !is_quiet || one.doing <= ClusterState::Unhealthy;
    let shown: Vec<&ClusterOverview> = all.iter().filter(is_shown).collect();
    let mut table = Table::default();
    for one in shown.iter().take(MAX_CLUSTERS) {
        let sign = match one.doing {
            ClusterState::Failed => "!",
            ClusterState::Blocked | ClusterState::Unhealthy => "-",
            ClusterState::InProgress => "~",
            ClusterState::Arrived => "+",
            ClusterState::WaitingForApproval
            | ClusterState::NotAsked
            | ClusterState::WaitingForTurn
            | ClusterState::Waiting => "",
        };
        let version = one.version.clone().unwrap_or_default();
        table.styled_row(style::of_sign(sign), [one.cluster.clone(), version, describe(one, at)]);
    }
    let mut out = table.format(&format!("{trunk}   "));
    let more = shown.len().saturating_sub(MAX_CLUSTERS);
    if more > 0 {
        let _ = writeln!(out, "{trunk}   and {more} more (-o json shows all)");
    }
    out
}

/// The checks of a wave that is not pending: the last result of each.
fn checks(wave: &WaveOverview, trunk: &str, at: Reading<'_>) -> String {
    let mut table = Table::default();
    for one in wave.status.checks.iter().filter(|_| wave.status.state != WaveState::Pending) {
        let (state, sign) = match one.state {
            CheckState::Passed => ("passed", "+"),
            CheckState::Failed => ("failed", "!"),
            CheckState::Error => ("has an error", "-"),
            CheckState::Pending => ("has no result yet", ""),
        };
        let cluster = one.cluster.as_ref().map(|cluster| format!("{cluster}: "));
        let found = one.message.as_ref().or(one.value.as_ref());
        let found = found.map(|found| format!(": {}{found}", cluster.unwrap_or_default())).unwrap_or_default();
        let age = one.last_run_at.as_ref().map(|run| format!(" {} ago", format_age(Some(run.0), at.now)));
        let what = format!("{state}{}{found}", age.unwrap_or_default());
        table.styled_row(style::of_sign(sign), [format!("check {}", one.name), one_line(&what)]);
    }
    table.format(&format!("{trunk}   "))
}

fn describe(one: &ClusterOverview, at: Reading<'_>) -> String {
    let since = one.since.map(|since| format!(" for {}", format_between(since, at.now))).unwrap_or_default();
    let what = match one.doing {
        ClusterState::Failed => "failed",
        ClusterState::Blocked => "blocked",
        ClusterState::InProgress => "in progress",
        ClusterState::Unhealthy => "not healthy",
        ClusterState::WaitingForApproval => "waits for an approval",
        ClusterState::NotAsked => "does not ask for it",
        ClusterState::WaitingForTurn => "waits for its turn",
        ClusterState::Waiting => "waits",
        ClusterState::Arrived => "healthy",
    };
    let message = one.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{what}{since}{message}")
}
