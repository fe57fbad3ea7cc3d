//! When the steps of a plan in status should end. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::status_cluster::{PlanStatus, PlanStep, StepState};

/// The expected end of all steps; `None`: there are none, or one of them does not go on by itself.
pub fn end(plan: &PlanStatus, now: Timestamp) -> Option<Timestamp> {
    let is_stopped = |step: &PlanStep| matches!(step.state, StepState::Blocked | StepState::Failed);
    if plan.steps.iter().any(is_stopped) || plan.omitted_steps.is_some() {
        return None;
    }
    let steps: BTreeMap<&str, &PlanStep> = plan.steps.iter().map(|step| (step.resource.as_str(), step)).collect();
    let open = plan.steps.iter().filter(|step| step.state != StepState::Done);
    open.map(|step| end_of(step, &steps, now, plan.steps.len())).max()
}

/// A step that waits starts when the one before it ends. `depth` limits a chain that is a circle.
fn end_of(step: &PlanStep, steps: &BTreeMap<&str, &PlanStep>, now: Timestamp, depth: usize) -> Timestamp {
    let takes = SignedDuration::from_secs(step.expected_seconds.unwrap_or_default());
    let before = step.after.as_deref().and_then(|after| steps.get(after)).filter(|_| depth > 0);
    let start = match (step.state, before) {
        (StepState::Done, _) => return now,
        (StepState::Running, _) => step.since.as_ref().map_or(now, |since| since.0),
        (_, Some(before)) => end_of(before, steps, now, depth - 1),
        (_, None) => now,
    };
    start.saturating_add(takes).unwrap_or(start).max(now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn end_after(steps: Value) -> Option<i64> {
        let plan: PlanStatus = serde_json::from_value(json!({"steps": steps})).unwrap();
        end(&plan, Timestamp::from_second(1000).unwrap()).map(|at| at.as_second() - 1000)
    }

    fn step(resource: &str, state: &str, more: Value) -> Value {
        let mut step = json!({"action": "Create", "resource": resource, "state": state});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    }

    #[test]
    fn chain_of_steps_ends_when_its_last_one_does() {
        let since = "1970-01-01T00:15:00Z"; // 100 s ago
        let running = step("cluster", "Running", json!({"since": since, "expectedSeconds": 540}));
        let addon = step("addon/coredns", "Pending", json!({"after": "cluster", "expectedSeconds": 60}));
        let other = step("vpc", "Pending", json!({"expectedSeconds": 5}));
        assert_eq!(end_after(json!([running, addon, other])), Some(500));
        let overdue = step("cluster", "Running", json!({"since": since, "expectedSeconds": 50}));
        assert_eq!(end_after(json!([overdue, addon])), Some(60));
        assert_eq!(end_after(json!([])), None);
    }

    #[test]
    fn blocked_step_has_no_end_and_a_circle_ends() {
        assert_eq!(end_after(json!([step("vpc", "Blocked", json!({"expectedSeconds": 5}))])), None);
        let (a, b) = (step("a", "Pending", json!({"after": "b"})), step("b", "Pending", json!({"after": "a"})));
        assert_eq!(end_after(json!([a, b])), Some(0));
    }
}
