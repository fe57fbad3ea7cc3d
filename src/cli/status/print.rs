//! Prints the answer of `keelson status` on one screen. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::overview::{Activity, Overview};
use super::problems::{self, Problem};
use crate::api::certificate_authority::CertificateAuthorityStatus;
use crate::api::listing::counted;
use crate::api::status_cluster::{ChangeStatus, ChangeType};
use crate::cli::plan::style::{self, styled};
use crate::cli::table::Table;
use crate::cli::terminal::one_line;
use crate::cli::time::{format_age, format_between, format_time};

/// Problems and activities that are listed, so that all fits on a screen.
const MAX_LISTED: usize = 8;

/// The text.
pub fn text(of: &Overview, now: Timestamp, zone: &TimeZone) -> String {
    let mut out = format!("{}\n\n", styled(style::heading(), one_line(&headline(of))));
    section(&mut out, "State", &[state(of, now, zone)]);
    if let Some(change) = &of.change {
        section(&mut out, "Change", &[describe_change(change, now, zone)]);
    }
    let doing: Vec<String> = of.doing.iter().map(|activity| describe_activity(activity, now, zone)).collect();
    section(&mut out, "Doing", &listed(doing, "nothing"));
    let mut next = of.next.clone();
    if of.next_omitted > 0 {
        next.push(format!("and {}", counted(of.next_omitted, "more step")));
    }
    if !next.is_empty() {
        section(&mut out, "Next", &next);
    }
    let authorities = of.certificate_authorities.iter().map(|one| describe_authority(one, now, zone));
    section(&mut out, "Rotation", &authorities.collect::<Vec<_>>());
    let problems: Vec<String> = of.problems.iter().map(|problem| describe_problem(problem, now)).collect();
    section(&mut out, "In the way", &listed(problems, "nothing"));
    let wait = if of.ready { "nothing to do" } else { "nothing to do: it continues by itself" };
    let fallback = if of.problems.is_empty() { wait } else { "see the messages above" };
    section(&mut out, "You can", &listed(of.actions.clone(), fallback));
    if let Some(available) = of.available {
        let is_unusable = of.problems.iter().any(problems::is_about_api_server);
        let text = match (available, &of.unavailable_because) {
            (true, _) if is_unusable => "yes, as far as EKS says; Keelson could not use its API server".to_owned(),
            (true, _) => "yes, its API server can be used".to_owned(),
            (false, Some(why)) => format!("not yet: {why}"),
            (false, None) => "not yet".to_owned(),
        };
        section(&mut out, "Usable", &[text]);
    }
    if !of.node_groups.is_empty() {
        out.push('\n');
        out.push_str(&node_groups(of, now));
    }
    if !of.events.is_empty() {
        let mut table = Table::new(["EVENT", "REASON", "OBJECT", "MESSAGE"]);
        for event in &of.events {
            let sign = if event.warning { "~" } else { " " };
            let age = format!("{} ago", format_age(event.at, now));
            table.styled_row(style::of_sign(sign), [&age, &event.reason, &event.object, &event.message]);
        }
        out.push('\n');
        out.push_str(&table.format(""));
    }
    out
}

/// One line, for a pipe and for the end of `reconcile --wait`.
pub fn line(of: &Overview, now: Timestamp, zone: &TimeZone) -> String {
    let doing: Vec<String> = of.doing.iter().map(|activity| format!("{}: {}", activity.of, activity.what)).collect();
    let details = if doing.is_empty() { of.message.clone() } else { doing.join("; ") };
    let details = if details.is_empty() { String::new() } else { format!(": {details}") };
    let text =
        format!("{} {} {}/{} {}{details}", format_time(now, now, zone), of.kind, of.namespace, of.name, of.state);
    one_line(&text)
}

fn headline(of: &Overview) -> String {
    let mut parts = vec![of.aws_name.clone()];
    if let Some(region) = &of.region {
        parts[0] = format!("{} in {region}", of.aws_name);
    }
    parts.extend(of.account_id.as_ref().map(|account| format!("account {account}")));
    let target = of.target_version.as_ref().filter(|target| of.version.as_ref() != Some(*target));
    parts.extend(match (&of.version, target) {
        (Some(version), Some(target)) => Some(format!("Kubernetes {version} (target {target})")),
        (Some(version), None) => Some(format!("Kubernetes {version}")),
        (None, Some(target)) => Some(format!("Kubernetes {target} (not created yet)")),
        (None, None) => None,
    });
    format!("{} {}/{}: {}", of.kind, of.namespace, of.name, parts.join(", "))
}

fn state(of: &Overview, now: Timestamp, zone: &TimeZone) -> String {
    let ready = if of.ready { "Ready" } else { "not ready" };
    let mut text = format!("{ready} ({})", of.state);
    if let Some(since) = of.since {
        let _ = write!(text, ", for {} (since {})", format_between(since, now), format_time(since, now, zone));
    }
    match of.until {
        // Longer than usual: what is in progress says by how much.
        Some(until) if until.duration_since(now).as_secs() < 1 => text.push_str(", should end now"),
        Some(until) => {
            let (remaining, end) = (format_between(now, until), format_time(until, now, zone));
            let _ = write!(text, ", about {remaining} remaining (until {end})");
        }
        None => {}
    }
    // Otherwise that is what it does, or what is in the way.
    if of.doing.is_empty() && of.problems.is_empty() && !of.message.is_empty() {
        let _ = write!(text, ": {}", of.message);
    }
    text
}

/// `update (generation 3), took 47 min, ended 10 min ago`.
fn describe_change(of: &ChangeStatus, now: Timestamp, zone: &TimeZone) -> String {
    let ChangeStatus { change_type, generation, started_at, ended_at, waiting } = of;
    let mut text = change_type.as_str().to_lowercase();
    if *change_type != ChangeType::Delete {
        let _ = write!(text, " (generation {generation})");
    }
    match ended_at {
        Some(ended) => {
            let (took, age) = (format_between(started_at.0, ended.0), format_age(Some(ended.0), now));
            let _ = write!(text, ", took {took}, ended {age} ago");
        }
        None => {
            let (elapsed, start) = (format_between(started_at.0, now), format_time(started_at.0, now, zone));
            let _ = write!(text, ", in progress for {elapsed} (since {start})");
        }
    }
    if let Some(waiting) = waiting {
        let (elapsed, start) = (format_between(waiting.since.0, now), format_time(waiting.since.0, now, zone));
        let _ = write!(text, ", waiting for {elapsed} (since {start}): {}", waiting.reason);
    }
    text
}

fn describe_activity(of: &Activity, now: Timestamp, zone: &TimeZone) -> String {
    let mut text = format!("{}: {}", of.of, of.what);
    if let Some(since) = of.since {
        let _ = write!(text, ", for {}", format_between(since, now));
    }
    match of.until {
        Some(until) if until > now => {
            let _ = write!(text, ", about {} remaining", format_between(now, until));
        }
        Some(until) => {
            let _ = write!(text, ", {} longer than usual", format_between(until, now));
        }
        None => {}
    }
    if let Some(deadline) = of.deadline {
        let _ = write!(text, "; counts as stuck from {}", format_time(deadline, now, zone));
    }
    text
}

/// `certificate authority ca-2: Successor, for 5 min (since 14:01): the cluster trusts it, and ...`.
fn describe_authority(of: &CertificateAuthorityStatus, now: Timestamp, zone: &TimeZone) -> String {
    let CertificateAuthorityStatus { id, created_at: _, state, since, message } = of;
    let mut text = format!("certificate authority {id}: {}", state.as_str());
    if let Some(since) = since {
        let _ = write!(text, ", for {} (since {})", format_between(since.0, now), format_time(since.0, now, zone));
    }
    if let Some(message) = message {
        let _ = write!(text, ": {message}");
    }
    text
}

fn describe_problem(of: &Problem, now: Timestamp) -> String {
    let object = of.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let since = of.since.map(|since| format!(" (for {})", format_between(since, now))).unwrap_or_default();
    let message = if of.message.is_empty() { String::new() } else { format!(": {}", of.message) };
    format!("{object}{}{since}{message}", of.reason)
}

fn listed(mut lines: Vec<String>, none: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_LISTED);
    lines.truncate(MAX_LISTED);
    if more > 0 {
        lines.push(format!("and {more} more (-o json shows all)"));
    }
    if lines.is_empty() { vec![none.to_owned()] } else { lines }
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    const WIDTH: usize = 12;
    for (number, line) in lines.iter().enumerate() {
        let title = if number == 0 { format!("{title:<WIDTH$}") } else { " ".repeat(WIDTH) };
        let _ = writeln!(out, "{}{}", styled(style::heading(), title), one_line(line));
    }
}

fn node_groups(of: &Overview, now: Timestamp) -> String {
    let mut table = Table::new(["NODE GROUP", "READY", "STATUS", "VERSION", "NODES", "UNTIL"]);
    for group in &of.node_groups {
        let until = group.until.map(|until| format!("about {}", format_between(now, until))).unwrap_or_default();
        let ready = if group.ready { "True" } else { "False" };
        let version = group.version.clone().unwrap_or_default();
        table.row([group.name.clone(), ready.to_owned(), group.state.clone(), version, group.nodes.clone(), until]);
    }
    table.format("")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::EksCluster;
    use crate::cli::status::overview::overview;
    use crate::cli::subject::Subject;

    #[test]
    fn usable_does_not_contradict_an_api_server_that_cannot_be_reached() {
        let usable = |reason: &str, message: &str| {
            let at = "2026-11-28T14:00:00Z";
            let condition = |type_: &str, status: &str, reason: &str, message: &str| -> Value {
                json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at})
            };
            let object: EksCluster = serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
                "spec": {"region": "eu-west-1", "version": "1.34"},
                "status": {"conditions": [
                    condition("Ready", "False", reason, message), condition("Available", "True", "Available", ""),
                ]},
            }))
            .unwrap();
            let now: Timestamp = at.parse().unwrap();
            let text = text(&overview(&Subject::from(&object), &[], Vec::new(), now), now, &TimeZone::UTC);
            let text = anstream::adapter::strip_str(&text).to_string();
            let line = text.lines().find_map(|line| line.strip_prefix("Usable"));
            line.unwrap_or_default().trim().to_owned()
        };
        let outage = "hook smoke: failed to read Jobs in namespace shop of the workload cluster: it cannot be reached";
        let doubtful = "yes, as far as EKS says; Keelson could not use its API server";
        assert_eq!(usable("WaitingForHook", outage), doubtful);
        assert_eq!(usable("AgentUnreachable", "the API server cannot be reached"), doubtful);
        let running = "hook smoke: Job shop/x of the workload cluster runs since 14:00";
        assert_eq!(usable("WaitingForHook", running), "yes, its API server can be used");
    }
}
