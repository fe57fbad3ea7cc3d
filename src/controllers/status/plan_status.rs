//! Builds `status.plan`: what will be done next. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::bounded;
use crate::api::status_cluster::{MAX_STEPS, PlanStatus, PlanStep, StepAction, StepState};
use crate::api::stored_time::whole_seconds;
use crate::controllers::approvals::execution_policy::PlanApprovalState;
use crate::engine::execution_policy::Facts;
use crate::engine::{Action, Change, Correction, HoldReason, Item, Key, Memory, Plan, Step, Verdict, WaitingOn};
use crate::resources::graph::kinds;

/// The inputs of [`plan_status`].
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Expected duration of each step.
    pub expected: &'a BTreeMap<Key, Duration>,
    /// The observations.
    pub memory: &'a Memory,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// Steps that follow the plan.
    pub ahead: &'a LaterSteps,
    /// AWS matched the current target before, so differences were made outside Keelson.
    pub changed_outside: bool,
    /// Attributes of resources to create or delete.
    pub facts: &'a Facts,
}

/// The plan as shown in status.
pub fn plan_status(input: Input<'_>, agreed: PlanApprovalState) -> PlanStatus {
    let PlanApprovalState { hash, approved, approval, approval_uid, approved_hash, is_new: _ } = agreed;
    let Input { plan, generation, ahead, .. } = input;
    let mut steps: Vec<_> = plan.items.iter().filter_map(|item| step(item, input)).chain(ahead.plan_steps()).collect();
    let omitted = steps.len().saturating_sub(MAX_STEPS);
    steps.truncate(MAX_STEPS);
    PlanStatus {
        hash,
        generation,
        summary: summary(plan, ahead),
        steps,
        omitted_steps: i32::try_from(omitted).ok().filter(|count| *count > 0),
        approved_hash,
        approval,
        approval_uid,
        approved,
    }
}

/// The plan in one line, including resources deleted along with others.
pub fn summary(plan: &Plan, ahead: &LaterSteps) -> String {
    let deleted = |(_, step): &&(Key, Step)| step.action == Action::Delete;
    let dependents = plan.items.iter().filter(|item| matches!(item.verdict, Verdict::DeletedWith(_))).count();
    let more = dependents + ahead.steps.iter().filter(deleted).count();
    if more == 0 {
        return plan.summary();
    }
    format!("{}, and {more} more deleted with them", plan.summary())
}

/// Steps that follow the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaterSteps {
    /// The steps.
    pub steps: Vec<(Key, Step)>,
    /// Whether they are blocked until a person changes something.
    pub blocked: bool,
}

impl LaterSteps {
    fn plan_steps(&self) -> impl Iterator<Item = PlanStep> {
        let state = if self.blocked { StepState::Blocked } else { StepState::Pending };
        self.steps.iter().map(move |(key, step)| PlanStep {
            action: step_action(step.action),
            resource: key.to_string(),
            detail: describe_step(step),
            reason: step.reason.as_ref().map(|why| bounded(why, 256)),
            state,
            since: None,
            expected_seconds: None,
            after: None,
        })
    }
}

fn step(item: &Item, input: Input<'_>) -> Option<PlanStep> {
    let Input { memory, expected, facts, .. } = input;
    let new_step = |action, state| PlanStep {
        action: step_action(action),
        resource: item.key.to_string(),
        detail: None,
        reason: None,
        state,
        since: None,
        expected_seconds: None,
        after: None,
    };
    let planned = |step: &Step, state| PlanStep {
        detail: describe_step(step).or_else(|| values(facts.get(&item.key), existing_id(item, step, memory))),
        reason: step_reason(item, step, input).map(|text| bounded(&text, 256)),
        expected_seconds: seconds(item, step, expected),
        ..new_step(step.action, state)
    };
    Some(match &item.verdict {
        Verdict::Settled | Verdict::NotObserved(_) | Verdict::Blocked(_) => return None,
        Verdict::DeletedWith(host) => PlanStep {
            detail: values(facts.get(&item.key), None),
            reason: Some(bounded(&format!("deleted with {host}"), 256)),
            after: Some(host.to_string()),
            ..new_step(Action::Delete, StepState::Pending)
        },
        // Reported as drift; nothing is planned.
        Verdict::Held(_, HoldReason::Drift) => return None,
        Verdict::Step(step) | Verdict::Held(step, _) => planned(step, StepState::Pending),
        Verdict::Pending(step, waits) => {
            let failed = waits.iter().find_map(|wait| match wait {
                WaitingOn::Retry(failed) => Some(failed),
                _ => None,
            });
            let after = waits.iter().find_map(|wait| match wait {
                // A step that waits for time, not for another resource, says so in its reason.
                WaitingOn::Gate(key, why) if *key == item.key || why.is_empty() => None,
                WaitingOn::Resource(key) | WaitingOn::Gate(key, _) => Some(key.to_string()),
                _ => None,
            });
            match failed {
                Some(failed) => PlanStep {
                    detail: Some(bounded(&failed.failure.message, 1024)),
                    since: Some(Time(failed.first)),
                    after,
                    ..new_step(step.action, StepState::Failed)
                },
                None => PlanStep { after, ..planned(step, StepState::Pending) },
            }
        }
        Verdict::Waiting { action, since, until, note, .. } => PlanStep {
            detail: (!note.is_empty()).then(|| bounded(note, 1024)),
            since: Some(whole_seconds(start_time(item, memory, *since))),
            expected_seconds: Some(until.duration_since(*since).as_secs()),
            ..new_step(*action, StepState::Running)
        },
    })
}

/// Tag updates are immediate; the expected duration of a kind's update is its longest.
fn seconds(item: &Item, step: &Step, expected: &BTreeMap<Key, Duration>) -> Option<i64> {
    let only_tags = !step.changes.is_empty() && step.changes.iter().all(|change| change.field.starts_with("tags"));
    let takes = if only_tags { Duration::from_secs(1) } else { *expected.get(&item.key)? };
    i64::try_from(takes.as_secs().max(1)).ok()
}

fn step_reason(item: &Item, step: &Step, input: Input<'_>) -> Option<String> {
    let previous_id = || {
        let entry = input.memory.get(&item.key)?;
        entry.recorded.as_ref()?.id.clone()
    };
    match step.action {
        _ if step.reason.is_some() => step.reason.clone(),
        Action::Create => previous_id().map(|id| format!("{id} no longer exists")),
        Action::Update if input.changed_outside && kinds::find(item.key.kind()).is_some() => {
            Some("changed outside Keelson".to_owned())
        }
        Action::Adopt => Some("exists, has no owner, matches the spec".to_owned()),
        _ => None,
    }
}

/// When the step began: this process's own record, if it has one, otherwise the observation's.
fn start_time(item: &Item, memory: &Memory, since: Timestamp) -> Timestamp {
    memory.get(&item.key).and_then(|entry| entry.running.as_ref()).map_or(since, |running| running.since)
}

fn step_action(action: Action) -> StepAction {
    match action {
        Action::Create => StepAction::Create,
        Action::Update => StepAction::Update,
        Action::Adopt => StepAction::Adopt,
        Action::Delete => StepAction::Delete,
        Action::Release => StepAction::Release,
    }
}

/// The changed fields of an update, after what it disrupts; or the values of a create.
pub fn describe_step(step: &Step) -> Option<String> {
    let Step { action, changes, .. } = step;
    if changes.is_empty() {
        return None;
    }
    if *action == Action::Create {
        let values: Vec<_> = changes.iter().map(|change| format!("{}: {}", change.field, change.to)).collect();
        return Some(truncate(&values.join("; ")));
    }
    let changed = format_changes(changes);
    Some(truncate(&disruption(step).map_or(changed.clone(), |disruption| format!("{disruption}: {changed}"))))
}

/// What the step does to what runs on the resource; `None`: nothing.
pub fn disruption(step: &Step) -> Option<&str> {
    step.changes.iter().find_map(|change| change.disruption.as_deref())
}

/// Maximum length of a step's `detail`.
const MAX_DETAIL: usize = 1024;

/// Truncates the text and appends the number of omitted characters.
fn truncate(text: &str) -> String {
    /// Room for the suffix.
    const SUFFIX: usize = 32;
    let length = text.chars().count();
    if length <= MAX_DETAIL {
        return text.to_owned();
    }
    let kept_length = MAX_DETAIL - SUFFIX;
    let start: String = text.chars().take(kept_length).collect();
    format!("{start}… ({} more characters)", length - kept_length)
}

/// Formats id and attributes: "vpc-1; cidr: 10.0.0.0/16".
fn values(facts: Option<&Vec<(&'static str, String)>>, id: Option<&str>) -> Option<String> {
    let facts = facts.into_iter().flatten().filter(|(_, value)| !value.is_empty());
    let facts = facts.map(|(name, value)| format!("{name}: {value}"));
    let parts: Vec<_> = id.map(str::to_owned).into_iter().chain(facts).collect();
    (!parts.is_empty()).then(|| truncate(&parts.join("; ")))
}

/// The AWS id of a resource that the step deletes or releases.
fn existing_id<'m>(item: &Item, step: &Step, memory: &'m Memory) -> Option<&'m str> {
    let exists = matches!(step.action, Action::Delete | Action::Release);
    memory.observed(&item.key).filter(|_| exists).map(|observation| observation.id.as_str())
}

/// Formats changes: "logging [] -> [api], version 1.33 -> 1.34".
pub fn format_changes(changes: &[Change]) -> String {
    let change = |Change { field, from, to, how, .. }: &Change| {
        let from = if from.is_empty() { "(none)" } else { from };
        let to = if to.is_empty() { "(none)" } else { to };
        match how {
            Correction::InPlace => format!("{field} {from} -> {to}"),
            Correction::Forbidden(why) | Correction::Reported(why) => format!("{field} {from} -> {to} ({why})"),
        }
    };
    changes.iter().map(change).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::RetryState;
    use crate::engine::{Class, Failure, Goal};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn item(key: &str, verdict: Verdict) -> Item {
        Item { key: Key::parse(key), verdict, forbidden: Vec::new(), drift: Vec::new() }
    }

    fn plan() -> Plan {
        let create = || Step { action: Action::Create, changes: Vec::new(), reason: None };
        let update = || Step {
            action: Action::Update,
            changes: vec![Change::in_place("version", "1.33", "1.34")],
            reason: None,
        };
        let failed = RetryState::after(None, Failure::new(Class::Denied, "CreateRole x: denied"), at(90), 0);
        let items = vec![
            item("vpc", Verdict::Settled),
            item("role/node", Verdict::Pending(create(), vec![WaitingOn::Retry(failed)])),
            item(
                "natGateway/eu-west-1a",
                Verdict::Waiting {
                    action: Action::Create,
                    since: at(60),
                    until: at(165),
                    note: String::new(),
                    operation: None,
                },
            ),
            item("cluster", Verdict::Pending(update(), vec![WaitingOn::Resource(Key::named("role", "cluster"))])),
            item("addon/coredns", Verdict::Pending(create(), vec![WaitingOn::Resource(Key::single("cluster"))])),
        ];
        Plan { goal: Goal::Present, items }
    }

    #[test]
    fn step_says_first_what_it_disrupts() {
        let label = Change::in_place("labels.team", "a", "b");
        let version = Change::in_place("version", "1.33", "1.34").disrupts("replaces its nodes, at most 1 at a time");
        let describe = |changes| describe_step(&Step { action: Action::Update, changes, reason: None }).unwrap();
        assert_eq!(
            describe(vec![label.clone(), version]),
            "replaces its nodes, at most 1 at a time: labels.team a -> b, version 1.33 -> 1.34"
        );
        assert_eq!(describe(vec![label]), "labels.team a -> b");
    }

    #[test]
    fn the_plan_in_status() {
        let memory = Memory::new(at(0), Duration::ZERO, []);
        let plan = plan();
        let expected = plan.steps().map(|(key, _)| (key.clone(), Duration::from_secs(60))).collect();
        let ahead = LaterSteps::default();
        let generation = Some(7);
        let input = Input {
            plan: &plan,
            expected: &expected,
            memory: &memory,
            generation,
            ahead: &ahead,
            changed_outside: true,
            facts: &Facts::from([(
                Key::named("role", "node"),
                vec![("name", "demo-node".to_owned()), ("policies", String::new())],
            )]),
        };
        insta::assert_yaml_snapshot!(plan_status(input, PlanApprovalState::default()));
    }
}
