//! The checker: verifies a plan against the rules before any step runs. Pure, and independent of the planner, so that a
//! bug there does not pass here. Only a [`CheckedPlan`] plan can be executed.

use super::action::{Action, Goal};
use super::change::Correction;
use super::execution_policy::ExecutionPolicy;
use super::graph::Graph;
use super::key::Key;
use super::memory::Memory;
use super::plan::{Plan, Step, Verdict};
use super::resource::{Phase, Presence, Succession};

/// A plan that satisfies the rules.
#[derive(Clone, Debug)]
#[must_use]
pub struct CheckedPlan(Plan);

impl CheckedPlan {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0
    }

    /// Returns the plan.
    pub fn into_plan(self) -> Plan {
        self.0
    }
}

/// A rule that a plan would break: a bug in Keelson, not a user error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused to {action} {key}: {why} (this is an error in Keelson, please report it)")]
pub struct Violation {
    /// The resource.
    pub key: Key,
    /// The planned action.
    pub action: &'static str,
    /// The rule.
    pub why: &'static str,
}

/// Verifies every step of `plan` that would run now.
pub fn check<C>(
    plan: Plan,
    graph: &Graph<C>,
    memory: &Memory,
    policy: &ExecutionPolicy,
) -> Result<CheckedPlan, Vec<Violation>> {
    let violations: Vec<_> = plan
        .items
        .iter()
        .filter_map(|item| match &item.verdict {
            Verdict::Step(step) => violated_rule(plan.goal, &item.key, step, graph, memory, policy)
                .map(|why| Violation { key: item.key.clone(), action: step.action.as_str(), why }),
            _ => None,
        })
        .collect();
    if violations.is_empty() { Ok(CheckedPlan(plan)) } else { Err(violations) }
}

fn violated_rule<C>(
    goal: Goal,
    key: &Key,
    step: &Step,
    graph: &Graph<C>,
    memory: &Memory,
    policy: &ExecutionPolicy,
) -> Option<&'static str> {
    if policy.holds(key, step).is_some() || step.changes.iter().any(|change| policy.ignores_drift(key, change)) {
        return Some("it is not approved");
    }
    let Some(node) = graph.node(key) else {
        return Some("it is not in the graph");
    };
    let Some(entry) = memory.get(key) else {
        return Some("it was not observed");
    };
    if entry.last_observe_error.is_some() {
        return Some("its last observation failed");
    }
    let Some(presence) = &entry.presence else {
        return Some("it was not observed");
    };
    match (step.action, presence) {
        (Action::Create | Action::Update | Action::Adopt, _) if goal != Goal::Present => {
            Some("the resources are to be deleted")
        }
        (Action::Delete, _) if goal == Goal::Retained => Some("the resources are to be retained"),
        (Action::Delete, _) if goal == Goal::Deleted && node.is_retained() => Some("it is to be retained"),
        (Action::Release, _) if goal == Goal::Present || goal == Goal::Deleted && !node.is_retained() => {
            Some("the resources are not to be released")
        }
        (Action::Create, Presence::Absent) => {
            let existed_before = entry.recorded.as_ref().is_some_and(|r| r.id.is_some());
            if existed_before && node.irreplaceable().is_some() {
                return Some("it existed before and is not recreated automatically");
            }
            has_unready(&node.after(), graph, memory).then_some("a dependency is not ready")
        }
        (Action::Create, _) => Some("it exists"),
        (_, Presence::Absent) => Some("it does not exist"),
        (_, Presence::Foreign(_)) => Some("it is not owned by this object"),
        (_, Presence::External(_)) => Some("it is an external resource"),
        (Action::Delete | Action::Release, Presence::Unowned(_)) => Some("it is not owned by this object"),
        (Action::Adopt, Presence::Ours(_)) => Some("it is already owned by this object"),
        (Action::Adopt, Presence::Unowned(observed)) => {
            if !node.diff(observed, &memory.refs()).is_empty() {
                return Some("it does not match the spec yet");
            }
            has_unready(&node.adopted_after(), graph, memory).then_some("its container is not owned yet")
        }
        (Action::Release, Presence::Ours(_)) => None,
        (Action::Update, Presence::Ours(observed) | Presence::Unowned(observed)) if observed.operation.is_some() => {
            Some("an operation on it is in progress")
        }
        (Action::Update, Presence::Ours(_) | Presence::Unowned(_)) => {
            let only_in_place = step.changes.iter().all(|change| change.how == Correction::InPlace);
            (!only_in_place).then_some("a field in it cannot be changed in place")
        }
        (Action::Delete, Presence::Ours(observed)) if goal == Goal::Present => {
            if let Some(succession) = node.succession() {
                return violated_by_succession(key, &succession, graph, memory);
            }
            let requested = entry.retry_requested;
            let is_remedy = matches!(observed.phase, Phase::Failed { recreate, .. } if recreate.applies(requested));
            (!is_remedy).then_some("no resource is replaced to apply a change")
        }
        (Action::Delete, Presence::Ours(_)) if node.sweep_scope().is_none() && is_used_by_others(graph, memory) => {
            Some("a resource of another owner uses what would be deleted")
        }
        (Action::Delete, Presence::Ours(_)) => is_held(key, graph, memory).then_some(STILL_HELD),
    }
}

const STILL_HELD: &str = "a resource that must be deleted first still exists";

/// Whether something that cannot be without the resource still exists.
fn is_held<C>(key: &Key, graph: &Graph<C>, memory: &Memory) -> bool {
    graph.held_by(key).iter().any(|holder| match graph.gate(holder) {
        Some(gate) => !gate.open,
        None => memory.get(holder).is_none_or(|entry| {
            entry.last_observe_error.is_some() || matches!(entry.presence, None | Some(Presence::Ours(_)))
        }),
    })
}

/// Why a resource may not be deleted although another one replaces it: there is no proof that the other one took its place. The
/// proof is the observation of a successor that is owned, ready and not to be deleted itself, and an open gate: nothing uses the
/// resource any more.
fn violated_by_succession<C>(
    key: &Key,
    succession: &Succession,
    graph: &Graph<C>,
    memory: &Memory,
) -> Option<&'static str> {
    let Some(successor) = graph.node(&succession.successor).filter(|successor| successor.key() != *key) else {
        return Some("what replaces it is not in the graph");
    };
    if successor.succession().is_some() {
        return Some("what replaces it is to be deleted itself");
    }
    let is_ready = memory.get(&succession.successor).is_some_and(|entry| {
        let is_ours = matches!(&entry.presence, Some(Presence::Ours(observed)) if observed.phase == Phase::Ready);
        entry.last_observe_error.is_none() && is_ours
    });
    if !is_ready {
        return Some("what replaces it is not ready");
    }
    if !graph.gate(&succession.unused).is_some_and(|gate| gate.open) {
        return Some("it may still be in use");
    }
    is_held(key, graph, memory).then_some(STILL_HELD)
}

/// Whether a resource that holds or contains others exists and is not owned: whatever is deleted may be needed by it.
fn is_used_by_others<C>(graph: &Graph<C>, memory: &Memory) -> bool {
    let hosts: Vec<Key> = graph.nodes().iter().filter_map(|node| node.deleted_with()).collect();
    memory.iter().any(|(key, entry)| {
        let is_user = graph.node(key).is_some_and(|node| !node.holds().is_empty()) || hosts.contains(key);
        is_user && matches!(entry.presence, Some(Presence::Unowned(_) | Presence::Foreign(_)))
    })
}

/// Whether a dependency in `needs` does not exist, is not ready, or is not owned yet.
fn has_unready<C>(needs: &[Key], graph: &Graph<C>, memory: &Memory) -> bool {
    needs.iter().any(|need| match graph.gate(need) {
        Some(gate) => !gate.open,
        None => match memory.get(need).and_then(|entry| entry.presence.as_ref()) {
            Some(Presence::Ours(observed) | Presence::External(observed)) => observed.phase != Phase::Ready,
            Some(Presence::Unowned(_) | Presence::Foreign(_) | Presence::Absent) | None => true,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::toy_world::{ToyWorld, toy_graph};
    use super::*;
    use crate::engine::change::Change;
    use crate::engine::{Item, Observation};
    use jiff::Timestamp;
    use std::time::Duration;

    fn check_step(goal: Goal, step: Step, presence: Presence<u32>) -> Result<CheckedPlan, Vec<Violation>> {
        let graph = toy_graph(1);
        let key = graph.nodes()[0].key();
        let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
        memory.record_observation(&key, ToyWorld::any(presence), Timestamp::UNIX_EPOCH);
        let items = vec![Item { key, verdict: Verdict::Step(step), forbidden: Vec::new(), drift: Vec::new() }];
        check(Plan { goal, items }, &graph, &memory, &ExecutionPolicy::default())
    }

    fn step(action: Action, changes: Vec<Change>) -> Step {
        Step { action, changes, reason: None }
    }

    #[test]
    fn checker_rejects_every_violation() {
        let existing = || Observation::ready("id", "available", 1);
        let replace = Change::forbidden("cidr", "a", "b", "never");
        let cases = [
            (Goal::Present, step(Action::Create, vec![]), Presence::Ours(existing())),
            (Goal::Present, step(Action::Create, vec![]), Presence::Foreign("x".into())),
            (Goal::Deleted, step(Action::Create, vec![]), Presence::Absent),
            (Goal::Present, step(Action::Update, vec![]), Presence::Foreign("x".into())),
            (Goal::Present, step(Action::Update, vec![]), Presence::External(existing())),
            (Goal::Present, step(Action::Update, vec![replace]), Presence::Ours(existing())),
            (Goal::Present, step(Action::Delete, vec![]), Presence::Ours(existing())),
            (Goal::Deleted, step(Action::Delete, vec![]), Presence::Foreign("x".into())),
            (Goal::Deleted, step(Action::Delete, vec![]), Presence::External(existing())),
            (Goal::Deleted, step(Action::Delete, vec![]), Presence::Unowned(existing())),
            (Goal::Retained, step(Action::Delete, vec![]), Presence::Ours(existing())),
            (Goal::Deleted, step(Action::Release, vec![]), Presence::Ours(existing())),
            (Goal::Retained, step(Action::Release, vec![]), Presence::Unowned(existing())),
            (Goal::Present, step(Action::Adopt, vec![]), Presence::Ours(existing())),
            (Goal::Present, step(Action::Adopt, vec![]), Presence::Foreign("x".into())),
            (Goal::Deleted, step(Action::Adopt, vec![]), Presence::Unowned(existing())),
            // It differs from the desired state.
            (Goal::Present, step(Action::Adopt, vec![]), Presence::Unowned(Observation::ready("id", "there", 7))),
        ];
        for (goal, step, presence) in cases {
            let text = format!("{goal:?} {step:?} {presence:?}");
            assert!(check_step(goal, step, presence).is_err(), "{text}");
        }
        assert!(check_step(Goal::Deleted, step(Action::Delete, vec![]), Presence::Ours(existing())).is_ok());
    }
}
