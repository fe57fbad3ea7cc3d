//! The plan of an object as bars in time: what is done, runs and waits, and when each step should end. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::badge::Badge;
use super::context::Context;
use crate::api::status_cluster::{PlanStatus, PlanStep, StepAction, StepState};
use crate::cli::plan::print::RELEASED;
use crate::cli::time::{between, format_between, format_duration};
use crate::controllers::status::progress::label;
use crate::engine::Key;
use crate::page::state::State;

/// Width of the picture, in its own units.
const WIDTH: f64 = 1000.0;
/// Narrowest bar that can be seen.
const MIN_WIDTH: f64 = 6.0;

/// The steps of a plan.
#[derive(Default)]
pub struct Schedule {
    pub steps: Vec<Bar>,
    /// Where now is; empty if no step has a time.
    pub now: String,
    /// What the picture covers, such as `about 12 min`.
    pub span: String,
    /// Steps that status does not list.
    pub omitted: i32,
    pub summary: String,
}

/// A step, and its bar.
pub struct Bar {
    /// `+`, `~` or `-`, as `keelson plan` prints it.
    pub sign: &'static str,
    pub action: &'static str,
    pub name: String,
    pub badge: Badge,
    pub detail: String,
    pub time: String,
    /// Left edge and width; empty: the step has no times.
    pub x: String,
    pub width: String,
    pub is_overdue: bool,
}

/// The plan, in the order in which its steps start.
pub fn schedule(plan: &PlanStatus, context: &Context<'_>) -> Schedule {
    let steps: BTreeMap<&str, &PlanStep> = plan.steps.iter().map(|step| (step.resource.as_str(), step)).collect();
    let slots: Vec<Option<(Timestamp, Timestamp)>> =
        plan.steps.iter().map(|step| slot(step, &steps, context.now, plan.steps.len())).collect();
    let start = slots.iter().flatten().map(|(start, _)| *start).min().unwrap_or(context.now).min(context.now);
    let end = slots.iter().flatten().map(|(_, end)| *end).max().unwrap_or(context.now).max(context.now);
    let whole = between(start, end).as_secs_f64();
    let place = |at: Timestamp| if whole > 0.0 { between(start, at).as_secs_f64() / whole * WIDTH } else { 0.0 };
    let mut all: Vec<_> = plan.steps.iter().zip(slots).collect();
    all.sort_by_key(|(step, slot)| {
        (step.state != StepState::Done, slot.map_or(context.now, |(start, _)| start), step.state == StepState::Pending)
    });
    let bars = all.into_iter().map(|(step, slot)| {
        let geometry = slot.filter(|_| whole > 0.0).map(|(start, end)| {
            let (left, right) = (place(start).min(WIDTH - MIN_WIDTH), place(end));
            (format!("{left:.1}"), format!("{:.1}", (right - left).max(MIN_WIDTH)))
        });
        let (x, width) = geometry.unwrap_or_default();
        let is_overdue = step.state == StepState::Running && expected_end(step).is_some_and(|end| end < context.now);
        Bar {
            sign: sign(step.action),
            action: action(step.action),
            name: label(&Key::parse(&step.resource)),
            badge: badge(step.state),
            detail: detail(step),
            time: joined([starts(step, slot, context), time(step, context)]),
            x,
            width,
            is_overdue,
        }
    });
    Schedule {
        steps: bars.collect(),
        now: if whole > 0.0 { format!("{:.1}", place(context.now)) } else { String::new() },
        span: if end > context.now { format!("about {}", format_between(context.now, end)) } else { String::new() },
        omitted: plan.omitted_steps.unwrap_or_default(),
        summary: summary(plan),
    }
}

/// The summary of a plan that has no step now.
const NOTHING: &str = "0 to create, 0 to update, 0 to delete";

/// The plan in one line. Steps that wait for a window or a wave are listed, but are not in the plan's own summary yet.
fn summary(plan: &PlanStatus) -> String {
    if plan.summary != NOTHING {
        return plan.summary.clone();
    }
    let left = |action: StepAction| {
        plan.steps.iter().filter(|step| step.action == action && step.state != StepState::Done).count()
    };
    format!(
        "{} to create, {} to update, {} to delete",
        left(StepAction::Create),
        left(StepAction::Update),
        left(StepAction::Delete)
    )
}

/// When a step starts and ends; `None`: it does not go on by itself, or its duration is unknown. `depth` limits a chain that is a
/// circle.
fn slot(
    step: &PlanStep,
    steps: &BTreeMap<&str, &PlanStep>,
    now: Timestamp,
    depth: usize,
) -> Option<(Timestamp, Timestamp)> {
    let takes = SignedDuration::from_secs(step.expected_seconds?);
    let start = match step.state {
        StepState::Running => step.since.as_ref()?.0,
        StepState::Pending => match step.after.as_deref().and_then(|after| steps.get(after)) {
            Some(before) if before.state != StepState::Done => slot(before, steps, now, depth.checked_sub(1)?)?.1,
            _ => now,
        },
        StepState::Blocked | StepState::Failed | StepState::Done => return None,
    };
    let end = start.saturating_add(takes).ok()?;
    // What takes longer than expected has not ended.
    Some((start, if step.state == StepState::Running { end.max(now) } else { end }))
}

pub(super) fn expected_end(step: &PlanStep) -> Option<Timestamp> {
    let takes = SignedDuration::from_secs(step.expected_seconds?);
    step.since.as_ref()?.0.saturating_add(takes).ok()
}

/// The sign of `keelson plan`.
const fn sign(action: StepAction) -> &'static str {
    match action {
        StepAction::Create => "+",
        StepAction::Update => "~",
        StepAction::Adopt => "@",
        StepAction::Delete => "-",
        StepAction::Release => "^",
    }
}

pub(super) const fn action(action: StepAction) -> &'static str {
    match action {
        StepAction::Create => "create",
        StepAction::Update => "update",
        StepAction::Adopt => "adopt",
        StepAction::Delete => "delete",
        StepAction::Release => "release",
    }
}

fn badge(state: StepState) -> Badge {
    match state {
        StepState::Pending => Badge::with_text(State::Unknown, "waits"),
        StepState::Running => Badge::with_text(State::Progressing, "runs"),
        StepState::Blocked => Badge::with_text(State::Blocked, "blocked"),
        StepState::Failed => Badge::with_text(State::Failing, "failed"),
        StepState::Done => Badge::with_text(State::Ready, "done"),
    }
}

pub(super) fn detail(step: &PlanStep) -> String {
    let kept = (step.action == StepAction::Release).then(|| RELEASED.to_owned());
    let after = step.after.as_deref().map(|after| format!("after {}", label(&Key::parse(after))));
    let parts = [kept, after, step.reason.clone(), step.detail.clone()];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The parts that are not empty.
fn joined(parts: [String; 2]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// When a step that waits for others starts, if they take their expected time; empty: it runs, or may start now.
fn starts(step: &PlanStep, slot: Option<(Timestamp, Timestamp)>, context: &Context<'_>) -> String {
    let start = slot.map(|(start, _)| start).filter(|start| step.state == StepState::Pending && *start > context.now);
    start.map(|start| format!("starts in about {}", format_between(context.now, start))).unwrap_or_default()
}

/// How long it runs and how long it still takes, or how long it will take.
pub(super) fn time(step: &PlanStep, context: &Context<'_>) -> String {
    let takes = step.expected_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let takes = takes.map(|seconds| format_duration(std::time::Duration::from_secs(seconds)));
    match (step.state, expected_end(step)) {
        (StepState::Running, Some(end)) if end > context.now => {
            format!("about {} left, until {}", format_between(context.now, end), context.time(end))
        }
        (StepState::Running, Some(end)) => format!("{} longer than usual", format_between(end, context.now)),
        (StepState::Running, None) => format!("for {}", context.elapsed(step.since.as_ref().map(|since| since.0))),
        (StepState::Pending, _) => takes.map(|takes| format!("takes about {takes}")).unwrap_or_default(),
        (StepState::Blocked | StepState::Failed | StepState::Done, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::page::fleet::Fleet;
    use crate::page::tests::now;
    use crate::page::viewer::Viewer;

    /// The picture of a plan with these steps, at midnight.
    fn of(steps: Value) -> Schedule {
        let plan: PlanStatus = serde_json::from_value(json!({"steps": steps})).unwrap();
        let (fleet, viewer) = (Fleet::default(), Viewer::of_everything());
        let context = Context { fleet: &fleet, viewer: &viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
        schedule(&plan, &context)
    }

    fn step(resource: &str, state: &str, more: Value) -> Value {
        let mut step = json!({"action": "Update", "resource": resource, "state": state});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    }

    /// Name, left edge and width of each bar.
    fn places(schedule: &Schedule) -> Vec<(&str, &str, &str)> {
        schedule.steps.iter().map(|bar| (bar.name.as_str(), bar.x.as_str(), bar.width.as_str())).collect()
    }

    #[test]
    fn bars_stand_where_their_steps_are_in_time() {
        let shown = of(json!([
            step("addon/kube-proxy", "Pending", json!({"expectedSeconds": 120, "after": "cluster"})),
            step("addon/coredns", "Pending", json!({"after": "addon/kube-proxy"})),
            step("cluster", "Running", json!({"since": "2026-11-30T23:56:00Z", "expectedSeconds": 600})),
            step("vpc", "Done", json!({"expectedSeconds": 5})),
            step("role/node", "Failed", json!({"expectedSeconds": 5})),
        ]));
        // From four minutes ago until in eight minutes.
        let expected = [
            ("VPC", "", ""),
            ("control plane", "0.0", "833.3"),
            ("IAM role node", "", ""),
            ("add-on coredns", "", ""),
            ("add-on kube-proxy", "833.3", "166.7"),
        ];
        assert_eq!(places(&shown), expected);
        assert_eq!((shown.now.as_str(), shown.span.as_str()), ("333.3", "about 8 min"));
        let of_name = |name: &str| shown.steps.iter().find(|bar| bar.name == name).unwrap();
        assert_eq!(of_name("add-on kube-proxy").time, "starts in about 6 min, takes about 2 min");
        assert_eq!(of_name("control plane").time, "about 6 min left, until 00:06:00");
        assert!(shown.steps.iter().all(|bar| !bar.is_overdue));
    }

    #[test]
    fn step_that_takes_too_long_reaches_until_now_and_what_follows_moves() {
        let shown = of(json!([
            step("cluster", "Running", json!({"since": "2026-11-30T23:45:00Z", "expectedSeconds": 300})),
            step("addon/coredns", "Pending", json!({"expectedSeconds": 60, "after": "cluster"})),
        ]));
        assert_eq!(places(&shown), [("control plane", "0.0", "937.5"), ("add-on coredns", "937.5", "62.5")]);
        assert_eq!(shown.steps.iter().map(|bar| bar.is_overdue).collect::<Vec<_>>(), [true, false]);
        assert_eq!((shown.steps[0].time.as_str(), shown.now.as_str()), ("10 min longer than usual", "937.5"));
        assert_eq!(shown.steps[1].time, "takes about 1 min", "it may start at any moment");
    }

    #[test]
    fn short_step_can_be_seen_and_a_circle_has_no_place() {
        let shown = of(json!([
            step("cluster", "Pending", json!({"expectedSeconds": 3600})),
            step("addon/coredns", "Pending", json!({"expectedSeconds": 1, "after": "cluster"})),
        ]));
        assert_eq!(places(&shown)[1], ("add-on coredns", "994.0", "6.0"));
        let circle = of(json!([
            step("x", "Pending", json!({"expectedSeconds": 60, "after": "y"})),
            step("y", "Pending", json!({"expectedSeconds": 60, "after": "x"})),
        ]));
        assert!(circle.steps.iter().all(|bar| bar.x.is_empty()) && circle.now.is_empty());
    }

    #[test]
    fn release_says_that_it_stays() {
        let mut release = step("vpc", "Pending", json!({"after": "cluster", "detail": "vpc-1"}));
        release["action"] = json!("Release");
        let shown = of(json!([release]));
        assert_eq!(shown.steps[0].sign, "^");
        assert_eq!(shown.steps[0].detail, "to be released: it stays in AWS; after control plane; vpc-1");
    }

    #[test]
    fn summary_counts_the_steps_that_wait() {
        let step = |state: &str| json!({"action": "Update", "resource": "cluster", "state": state});
        let plan = |summary: &str, states: &[&str]| PlanStatus {
            summary: summary.to_owned(),
            steps: states.iter().map(|state| serde_json::from_value(step(state)).unwrap()).collect(),
            ..PlanStatus::default()
        };
        assert_eq!(summary(&plan(NOTHING, &["Pending", "Pending", "Done"])), "0 to create, 2 to update, 0 to delete");
        assert_eq!(summary(&plan(NOTHING, &[])), NOTHING);
        let own = "1 to create, 0 to update, 0 to delete";
        assert_eq!(summary(&plan(own, &["Pending"])), own);
    }
}
