//! Formats plans for users. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::planned::Planned;
use super::style::{self, styled};
use super::timeline::{Slot, Timeline};
use crate::api::listing::counted;
use crate::api::status_cluster::{PlanStatus, StepAction, StepState};
use crate::cli::terminal::one_line;
use crate::cli::time::format_duration;
use crate::controllers::status::plan_status;
use crate::controllers::status::progress::{ResourceProgress, label, resource_progress};
use crate::engine::{Action, Goal, Item, Key, Succession, Verdict, WaitingOn};
use crate::resources::deletion::prune;
use crate::resources::iam::role;

/// Prints a cluster and its node groups. `live`: resources that need no step are only counted.
pub fn cluster(out: &mut String, all: &[Planned], live: bool) {
    let timeline = Timeline::of(all);
    for planned in all.iter().filter(|planned| !planned.is_context) {
        one(out, planned, &timeline, live);
    }
    let end = timeline.end();
    if !end.is_zero() {
        let path: Vec<String> = timeline
            .critical_path()
            .into_iter()
            .map(|(key, slot)| {
                let window = if slot.waits_for_window { ", once a maintenance window opens" } else { "" };
                format!("{} ({}{window})", label(key), format_duration(slot.takes))
            })
            .collect();
        let _ = writeln!(out, "About {} in all. The longest path: {}.", format_duration(end), path.join(", then "));
        let mut shown = all.iter().filter(|planned| !planned.is_context);
        if shown.any(|planned| !drains(planned, &timeline).is_empty()) {
            out.push_str(
                "The time of a drain is not included: it depends on the Pods and their PodDisruptionBudgets.\n",
            );
        }
    }
}

/// A line of a plan.
pub struct Row {
    pub sign: &'static str,
    /// What is done; `None`: nothing.
    pub action: Option<Action>,
    pub key: Key,
    /// When it starts, if everything takes its expected time.
    pub starts: Option<Duration>,
    pub takes: Option<Duration>,
    pub details: String,
}

/// The lines of a plan in the order of time, and how many resources match the spec and are left out (`live`).
pub fn rows(planned: &Planned, timeline: &Timeline, live: bool) -> (Vec<Row>, usize) {
    let Planned { graph, plan, .. } = planned;
    let (mut rows, mut settled) = (drains(planned, timeline), 0);
    let mut items: Vec<&Item> = plan
        .items
        .iter()
        .filter(|item| !prune::is_never_created(&item.key) || item.verdict != Verdict::Settled)
        .collect();
    items.sort_by_key(|item| timeline.slot(&item.key).map(|slot| slot.start));
    for item in items {
        if live && item.verdict == Verdict::Settled && item.forbidden.is_empty() && item.drift.is_empty() {
            settled += 1;
            continue;
        }
        let mut facts = graph.node(&item.key).map(|node| node.facts()).unwrap_or_default();
        // A role's name includes the object's UID, and there is no object yet.
        facts.retain(|(name, _)| live || !(*name == "name" && role::KIND.is_of(&item.key)));
        let slot = timeline.slot(&item.key);
        rows.push(Row {
            sign: sign(item),
            action: action(item),
            key: item.key.clone(),
            starts: slot.map(|slot| slot.start),
            takes: slot.map(|slot| slot.takes),
            details: details(planned, item, &facts),
        });
    }
    rows.sort_by_key(|row| row.starts);
    (rows, settled)
}

/// The drains of node groups that others replace: before they are deleted, once those that replace them are ready.
fn drains(planned: &Planned, timeline: &Timeline) -> Vec<Row> {
    let drain = |item: &Item| {
        // Only steps that wait: a drain that has ended is behind.
        let Verdict::Pending(step, _) = &item.verdict else { return None };
        let succession = planned.graph.node(&item.key)?.succession().filter(|_| step.action == Action::Delete)?;
        let gate = planned.graph.gate(&succession.unused).filter(|gate| !gate.open)?;
        let starts = timeline.slot(&succession.successor).map_or(Duration::ZERO, Slot::end);
        let (sign, details) = (style::sign(Action::Update), gate.why.clone());
        Some(Row { sign, action: None, key: succession.unused, starts: Some(starts), takes: None, details })
    };
    let mut rows: Vec<Row> = planned.plan.items.iter().filter_map(drain).collect();
    // A node group and its launch template wait for the same one.
    rows.dedup_by(|a, b| a.key == b.key);
    rows
}

fn one(out: &mut String, planned: &Planned, timeline: &Timeline, live: bool) {
    let Planned { title, about, plan, upgrade, notices, .. } = planned;
    let about = if about.is_empty() { String::new() } else { format!(": {about}") };
    let _ = writeln!(out, "{}{about}\n{}\n", styled(style::heading(), title), plan.summary());
    let (rows, settled) = rows(planned, timeline, live);
    let duration = |of: Option<Duration>| of.map(format_duration).unwrap_or_default();
    let cells =
        |row: Row| [row.sign.to_owned(), label(&row.key), duration(row.starts), duration(row.takes), row.details];
    let rows: Vec<[String; 5]> = std::iter::once(heading()).chain(rows.into_iter().map(cells)).collect();
    if rows.len() > 1 {
        table(out, &rows);
    }
    match settled {
        0 => {}
        1 => out.push_str("  one resource matches the spec\n"),
        many => {
            let _ = writeln!(out, "  {many} resources match the spec");
        }
    }
    for notice in notices {
        let _ = writeln!(out, "  note: {notice}");
    }
    if !upgrade.is_empty() {
        out.push_str("  the upgrade, one step after another:\n");
    }
    for (number, step) in upgrade.iter().enumerate() {
        let _ = writeln!(out, "  {}. {step}", number + 1);
    }
    out.push('\n');
}

/// What a release comes to.
pub const RELEASED: &str = "to be released: it stays in AWS";

/// Prints a plan as status shows it.
pub fn status(out: &mut String, title: &str, plan: &PlanStatus) {
    let _ = writeln!(out, "{}\n{}\n", styled(style::heading(), title), plan.summary);
    let mut rows = vec![heading()];
    for step in &plan.steps {
        let action = match step.action {
            StepAction::Create => Action::Create,
            StepAction::Update => Action::Update,
            StepAction::Adopt => Action::Adopt,
            StepAction::Delete => Action::Delete,
            StepAction::Release => Action::Release,
        };
        let state = match step.state {
            StepState::Pending | StepState::Done => None,
            StepState::Running => Some("in progress"),
            StepState::Blocked => Some("blocked"),
            StepState::Failed => Some("failed"),
        };
        let kept = (step.action == StepAction::Release).then_some(RELEASED);
        let details = [kept, state, step.detail.as_deref(), step.reason.as_deref()];
        let details: Vec<_> = details.into_iter().flatten().collect();
        let takes = step.expected_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        rows.push([
            style::sign(action).to_owned(),
            label(&Key::parse(&step.resource)),
            String::new(),
            takes.map_or_else(String::new, |seconds| format_duration(Duration::from_secs(seconds))),
            details.join("; "),
        ]);
    }
    table(out, &rows);
    if let Some(more) = plan.omitted_steps {
        let more = counted(usize::try_from(more).unwrap_or_default(), "more step");
        let _ = writeln!(out, "  and {more}, which the line above counts and the hash covers");
    }
    out.push('\n');
}

fn heading() -> [String; 5] {
    ["", "RESOURCE", "STARTS", "TAKES", ""].map(str::to_owned)
}

/// What is done with the resource of the item.
fn action(item: &Item) -> Option<Action> {
    match &item.verdict {
        Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _) => Some(step.action),
        Verdict::Waiting { action, .. } => Some(*action),
        Verdict::DeletedWith(_) => Some(Action::Delete),
        Verdict::Settled | Verdict::NotObserved(_) | Verdict::Blocked(_) => None,
    }
}

fn sign(item: &Item) -> &'static str {
    match &item.verdict {
        Verdict::Settled => "=",
        Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _) => style::sign(step.action),
        Verdict::Waiting { .. } => "…",
        Verdict::DeletedWith(_) => "-",
        Verdict::NotObserved(_) => "?",
        Verdict::Blocked(_) => "!",
    }
}

fn details(planned: &Planned, item: &Item, facts: &[(&'static str, String)]) -> String {
    let mut parts = Vec::new();
    if let Verdict::Step(step) | Verdict::Pending(step, _) = &item.verdict
        && let Some(window) = planned.window_of(step)
    {
        parts.push(format!("nodes are replaced in a maintenance window: {}", window.next));
    }
    match &item.verdict {
        Verdict::Settled => parts.push("existing".to_owned()),
        Verdict::Step(step) | Verdict::Pending(step, _) | Verdict::Held(step, _) if !step.changes.is_empty() => {
            parts.extend(plan_status::describe_step(step));
        }
        Verdict::Step(_) | Verdict::Pending(..) | Verdict::Held(..) => {
            parts.extend(
                facts.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}: {value}")),
            );
        }
        Verdict::Waiting { .. } | Verdict::DeletedWith(_) | Verdict::NotObserved(_) | Verdict::Blocked(_) => {
            if let ResourceProgress::Progressing { message, .. } | ResourceProgress::Stalled { message, .. } =
                resource_progress(item, Goal::Present, jiff::Timestamp::now())
            {
                parts.push(message);
            }
        }
    }
    if let Verdict::Pending(_, waits) = &item.verdict {
        let succession = planned.graph.node(&item.key).and_then(|node| node.succession());
        match succession {
            Some(succession) => parts.extend(after_what(planned, &item.key, waits, &succession)),
            None => parts.extend(waits.iter().filter_map(closed_gate)),
        }
    }
    if !item.forbidden.is_empty() {
        parts.push(format!("cannot be changed: {}", plan_status::format_changes(&item.forbidden)));
    }
    if !item.drift.is_empty() {
        parts.push(format!("differs: {}", plan_status::format_changes(&item.drift)));
    }
    parts.join("; ")
}

/// What comes right before the deletion of what another resource replaces.
fn after_what(planned: &Planned, key: &Key, waits: &[WaitingOn], succession: &Succession) -> Option<String> {
    let holders = planned.graph.held_by(key);
    let is_holder = |wait: &&WaitingOn| matches!(wait, WaitingOn::Resource(on) if holders.contains(on));
    let is_drain = |wait: &&WaitingOn| matches!(wait, WaitingOn::Gate(on, _) if *on == succession.unused);
    match (waits.iter().find(is_holder), waits.iter().any(|wait| is_drain(&wait))) {
        (Some(WaitingOn::Resource(holder)), _) => Some(format!("after {} is deleted", label(holder))),
        (_, true) => Some(format!("after the {}", label(&succession.unused))),
        _ => None,
    }
}

fn closed_gate(wait: &WaitingOn) -> Option<String> {
    match wait {
        WaitingOn::Gate(_, why) => Some(why.clone()),
        _ => None,
    }
}

/// Columns are as wide as their contents; empty ones are left out.
fn table(out: &mut String, rows: &[[String; 5]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let used = |column: usize| rows.iter().skip(1).any(|row| !row[column].is_empty());
    let [a, b, c, d] = [0, 1, 2, 3].map(width);
    for [sign, resource, start, takes, details] in rows {
        let mut line = format!("{sign:<a$} {resource:<b$}");
        if used(2) {
            let _ = write!(line, "  {start:>c$}");
        }
        if used(3) {
            let _ = write!(line, "  {takes:>d$}");
        }
        let line = one_line(&format!("{line}  {details}"));
        let _ = writeln!(out, "  {}", styled(style::of_sign(sign), line.trim_end()));
    }
}
