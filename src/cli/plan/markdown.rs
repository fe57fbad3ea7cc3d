//! `keelson plan -o markdown`: the plan as a comment of a pull request. Pure.

use std::fmt::Write as _;

use super::plan_summary;
use super::planned::Planned;
use super::print::{self, Row};
use super::timeline::Timeline;
use crate::api::listing::counted;
use crate::cli::time::format_duration;
use crate::controllers::status::progress::label;

/// First line: by it a workflow finds the comment that it updates.
pub const MARKER: &str = "<!-- keelson plan -->";
/// GitHub cuts off a comment at 65,536 characters.
const MAX_LENGTH: usize = 60_000;
/// Longest details of a row.
const MAX_DETAILS: usize = 500;

/// The comment. `notes`: what was left out.
pub fn comment(clusters: &[Vec<Planned>], notes: &[String], errors: &[String], live: bool) -> String {
    let all = || clusters.iter().flatten();
    let problems: Vec<String> = all().flat_map(plan_summary::problems).chain(errors.iter().cloned()).collect();
    let title = match (problems.is_empty(), all().any(plan_summary::has_changes)) {
        (false, _) => "⚠️ Keelson plan: it cannot be applied as it is",
        (true, true) => "Keelson plan",
        (true, false) => "Keelson plan: no changes",
    };
    let mut out = format!("{MARKER}\n### {title}\n\n");
    for problem in &problems {
        let _ = writeln!(out, "- ❌ {}", escape(problem));
    }
    if !problems.is_empty() {
        out.push('\n');
    }
    let mut omitted = 0;
    for cluster in clusters {
        let timeline = Timeline::of(cluster);
        for planned in cluster.iter().filter(|planned| !planned.is_context) {
            let text = object(planned, &timeline, live);
            if out.len() + text.len() > MAX_LENGTH {
                omitted += 1;
            } else {
                out.push_str(&text);
            }
        }
        if !timeline.end().is_zero() && cluster.iter().any(plan_summary::has_changes) {
            let _ = writeln!(out, "About {} in all.\n", format_duration(timeline.end()));
        }
    }
    if omitted > 0 {
        let _ = writeln!(out, "The plans of {} do not fit: run `keelson plan`.\n", counted(omitted, "more object"));
    }
    for note in notes {
        let _ = writeln!(out, "> {}\n", escape(note));
    }
    out
}

fn object(planned: &Planned, timeline: &Timeline, live: bool) -> String {
    let about = if planned.about.is_empty() { String::new() } else { format!(" ({})", escape(&planned.about)) };
    let (rows, matching) = print::rows(planned, timeline, live);
    let summary = planned.plan.summary();
    let mut out = format!("<details><summary><b>{}</b>{about}: {summary}</summary>\n\n", escape(&planned.title));
    if !rows.is_empty() {
        out.push_str("| | resource | takes | details |\n|---|---|---|---|\n");
    }
    for Row { sign, key, takes, details, .. } in &rows {
        let takes = takes.map(format_duration).unwrap_or_default();
        let details = crate::api::conditions::bounded(details, MAX_DETAILS);
        let _ = writeln!(out, "| `{sign}` | {} | {takes} | {} |", escape(&label(key)), escape(&details));
    }
    if matching > 0 {
        let match_ = if matching == 1 { "matches" } else { "match" };
        let _ = writeln!(out, "\n{} {match_} the spec.", counted(matching, "resource"));
    }
    for notice in &planned.notices {
        let _ = writeln!(out, "\n> {}", escape(notice));
    }
    if !planned.upgrade.is_empty() {
        out.push_str("\nThe upgrade, one step after another:\n\n");
    }
    for (number, step) in planned.upgrade.iter().enumerate() {
        let _ = writeln!(out, "{}. {}", number + 1, escape(step));
    }
    out.push_str("\n</details>\n\n");
    out
}

/// Text of a manifest that somebody proposes: it must neither end the table, nor be a link, an image or a mention.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '&' | ':' | '<' | '>' | '@' | '|' | '`' | '[' | ']' | '!' | '*' | '_' | '~' | '#' | '\\' | '$' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // Without a scheme it would be a link, too.
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("&#46;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_manifest_is_only_text() {
        let text = escape("| [x](https://a) <img> @team\n`a`");
        assert_eq!(text, "&#124; &#91;x&#93;(https&#58;//a) &#60;img&#62; &#64;team &#96;a&#96;");
        assert_eq!(escape("www.a.org WWW.b"), "www&#46;a.org WWW&#46;b");
    }
}
