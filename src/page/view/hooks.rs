//! The hooks of a cluster: which run, which hold what follows, and what has run. Pure.

use jiff::{SignedDuration, Timestamp};

use super::badge::Badge;
use super::command::Command;
use super::context::Context;
use crate::api::EksCluster;
use crate::api::duration;
use crate::api::hook::{Hook, HookFailurePolicy, HookState, HookStatus};
use crate::cli::status::hook_advice::skip_command;
use crate::cli::time::format_between;
use crate::page::state::State;

/// Hooks of steps that are over, which are shown.
const MAX_PAST: usize = 10;

/// A hook at a point.
pub struct HookRow {
    pub name: String,
    /// `BeforeControlPlane`.
    pub point: String,
    /// The step before or after which it runs, such as `1.33->1.34`; empty: its point has not come.
    pub step: String,
    /// `try 2`; empty: it has not been tried.
    pub attempt: String,
    pub badge: Badge,
    /// Since when, and until when.
    pub time: String,
    pub message: String,
    /// The command that passes it.
    pub commands: Vec<Command>,
}

/// The hooks: those that hold something first, then those to come, then those that have run, newest first.
pub fn hooks(object: &EksCluster, context: &Context<'_>) -> Vec<HookRow> {
    let entries = object.status.as_ref().map(|status| status.hooks.as_slice()).unwrap_or_default();
    let hook_of = |entry: &HookStatus| object.spec.hooks.iter().find(|hook| hook.name == entry.name);
    let mut shown: Vec<&HookStatus> = entries.iter().filter(|entry| !entry.closed).collect();
    shown.sort_by_key(|entry| rank(entry, hook_of(entry)));
    let mut past: Vec<&HookStatus> = entries.iter().filter(|entry| entry.closed).collect();
    past.sort_by_key(|entry| std::cmp::Reverse(entry.finished_at.as_ref().map(|time| time.0)));
    past.truncate(MAX_PAST);
    let present = shown.into_iter().map(|entry| row(entry, hook_of(entry), object, context));
    let past = past.into_iter().map(|entry| row(entry, hook_of(entry), object, context));
    let is_known = |hook: &&Hook| entries.iter().any(|entry| entry.name == hook.name);
    let to_come = object.spec.hooks.iter().filter(|hook| !is_known(hook)).map(to_come);
    present.chain(to_come).chain(past).collect()
}

/// What needs attention first.
fn rank(entry: &HookStatus, hook: Option<&Hook>) -> u8 {
    match entry.state {
        HookState::Failed | HookState::Lost if !is_ignored(hook) => 0,
        HookState::Running | HookState::Intended => 1,
        HookState::Pending => 2,
        HookState::Failed | HookState::Lost | HookState::Succeeded | HookState::Skipped => 3,
    }
}

/// Whether its failure holds nothing.
fn is_ignored(hook: Option<&Hook>) -> bool {
    hook.is_none_or(|hook| hook.on_failure == HookFailurePolicy::Continue)
}

fn row(entry: &HookStatus, hook: Option<&Hook>, object: &EksCluster, context: &Context<'_>) -> HookRow {
    let is_failure = matches!(entry.state, HookState::Failed | HookState::Lost);
    let holds = match entry.state {
        HookState::Intended | HookState::Running => true,
        HookState::Failed | HookState::Lost => !is_ignored(hook),
        HookState::Pending | HookState::Succeeded | HookState::Skipped => false,
    };
    let (state, word) = match entry.state {
        HookState::Pending => (State::Unknown, "to come"),
        HookState::Intended => (State::Progressing, "starts"),
        HookState::Running => (State::Progressing, "runs"),
        HookState::Succeeded => (State::Ready, "succeeded"),
        HookState::Skipped => (State::Held, "skipped"),
        HookState::Failed | HookState::Lost if is_ignored(hook) || entry.closed => (State::Warning, "failed, ignored"),
        HookState::Failed => (State::Blocked, "failed"),
        HookState::Lost => (State::Blocked, "lost"),
    };
    let skip = || {
        let text = if is_failure { "Pass it without success" } else { "Do not wait for it" };
        Command::new(text, skip_command(entry, &object.metadata))
    };
    HookRow {
        name: entry.name.clone(),
        point: entry.at.to_string(),
        step: entry.step.clone(),
        attempt: if entry.attempt > 0 { format!("try {}", entry.attempt) } else { String::new() },
        badge: Badge::with_text(state, word),
        time: time(entry, hook, context),
        message: entry.message.clone().unwrap_or_default(),
        commands: if holds && !entry.closed { vec![skip()] } else { Vec::new() },
    }
}

/// A hook whose points have not come.
fn to_come(hook: &Hook) -> HookRow {
    let points: Vec<&str> = hook.at.iter().map(|point| point.as_str()).collect();
    HookRow {
        name: hook.name.clone(),
        point: points.join(", "),
        step: String::new(),
        attempt: String::new(),
        badge: Badge::with_text(State::Unknown, "to come"),
        time: String::new(),
        message: String::new(),
        commands: Vec::new(),
    }
}

/// `for 3 min, until 12:30:00 at the latest`, or `ended 5 min ago, took 40 s`.
fn time(entry: &HookStatus, hook: Option<&Hook>, context: &Context<'_>) -> String {
    let started = entry.started_at.as_ref().map(|time| time.0);
    if let Some(ended) = entry.finished_at.as_ref().map(|time| time.0) {
        let took = started.map(|started| format!(", took {}", format_between(started, ended)));
        return format!("ended {} ago{}", context.elapsed(Some(ended)), took.unwrap_or_default());
    }
    let Some(started) = started else { return String::new() };
    let until = hook.and_then(|hook| ends(started, &hook.timeout));
    let until = until.map(|until| format!(", until {} at the latest", context.time(until)));
    format!("for {}{}", context.elapsed(Some(started)), until.unwrap_or_default())
}

fn ends(started: Timestamp, timeout: &str) -> Option<Timestamp> {
    let timeout = SignedDuration::try_from(duration::parse(timeout)?).ok()?;
    started.saturating_add(timeout).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::page::fleet::Fleet;
    use crate::page::tests::now;
    use crate::page::viewer::Viewer;

    fn rows(policy: &str, entries: Value) -> Vec<HookRow> {
        let hook = |name: &str| json!({"name": name, "at": ["BeforeControlPlane"], "job": {"cronJob": {"name": name}}, "onFailure": policy});
        let object: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34", "hooks": [hook("backup"), hook("later")]},
            "status": {"hooks": entries},
        }))
        .unwrap();
        let (fleet, viewer) = (Fleet::default(), Viewer::of_everything());
        let context = Context { fleet: &fleet, viewer: &viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
        hooks(&object, &context)
    }

    fn entry(state: &str, more: Value) -> Value {
        let mut entry = json!({"name": "backup", "at": "BeforeControlPlane", "step": "1.33->1.34", "state": state, "attempt": 1,
            "job": "demo-backup-1"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    }

    #[test]
    fn each_state_has_its_shape_and_what_can_be_done() {
        let closed = json!({"closed": true});
        for (policy, state, more, shape, word, has_command) in [
            ("Stop", "Pending", json!({}), "unknown", "to come", false),
            ("Stop", "Intended", json!({}), "progressing", "starts", true),
            ("Stop", "Running", json!({}), "progressing", "runs", true),
            ("Stop", "Succeeded", json!({}), "ready", "succeeded", false),
            ("Stop", "Skipped", json!({}), "held", "skipped", false),
            ("Stop", "Failed", json!({}), "blocked", "failed", true),
            ("Stop", "Lost", json!({}), "blocked", "lost", true),
            ("Continue", "Failed", json!({}), "warning", "failed, ignored", false),
            ("Stop", "Failed", closed.clone(), "warning", "failed, ignored", false),
        ] {
            let rows = rows(policy, json!([entry(state, more)]));
            let row = rows.iter().find(|row| row.name == "backup").unwrap();
            assert_eq!((row.badge.shape, row.badge.text.as_str()), (shape, word), "{policy} {state}");
            assert_eq!(!row.commands.is_empty(), has_command, "{policy} {state}");
            let other = rows.iter().find(|row| row.name == "later").unwrap();
            assert_eq!((other.badge.text.as_str(), other.step.as_str()), ("to come", ""));
        }
    }

    #[test]
    fn time_is_that_of_the_present_or_of_the_past() {
        let started = json!({"startedAt": "2026-11-30T23:50:00Z"});
        let ended = json!({"startedAt": "2026-11-30T23:50:00Z", "finishedAt": "2026-11-30T23:51:00Z"});
        for (state, more, time) in [
            ("Pending", json!({}), ""),
            ("Running", started, "for 10 min, until 00:20:00 at the latest"),
            ("Failed", ended, "ended 9 min ago, took 1 min"),
        ] {
            assert_eq!(rows("Stop", json!([entry(state, more)]))[0].time, time, "{state}");
        }
    }

    #[test]
    fn hook_that_needs_a_person_is_first() {
        let of = |step: &str, state: &str, more: Value| {
            let mut entry = entry(state, more);
            entry["step"] = json!(step);
            entry
        };
        let entries = json!([
            of("past", "Succeeded", json!({"closed": true})),
            of("done", "Succeeded", json!({})),
            of("runs", "Running", json!({})),
            of("fails", "Failed", json!({})),
        ]);
        let steps: Vec<String> = rows("Stop", entries).into_iter().map(|row| row.step).collect();
        assert_eq!(steps, ["fails", "runs", "done", "", "past"]);
    }
}
