//! The status of a NodeGroup, conditions included, from its plan and what was seen. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::Reason;
use crate::api::conditions::ConditionType;
use crate::api::status::{HealthIssue, NodeGroupStatus, PlanStatus};
use crate::controllers::cluster::facts::{Facts, issues};
use crate::controllers::conditions::{Conditions, Overall, Says, in_sync, whole};
use crate::engine::check::Violation;
use crate::engine::{Goal, Key, Memory, Plan};

/// What status is made of.
pub struct Input<'a> {
    /// The status written last.
    pub previous: &'a NodeGroupStatus,
    /// Of the spec.
    pub generation: Option<i64>,
    /// The node group's key.
    pub key: &'a Key,
    /// What is left to do.
    pub plan: &'a Plan,
    /// The same, for status.
    pub shown: PlanStatus,
    /// Rules that it would break.
    pub violations: &'a [Violation],
    /// What was seen.
    pub memory: &'a Memory,
    /// The time.
    pub now: Timestamp,
}

/// Health issues of EKS that say that AWS has no machines.
const NO_CAPACITY: [&str; 2] = ["InsufficientInstanceCapacity", "AsgInstanceLaunchFailures"];

/// The whole status, and where the node group stands.
pub fn status(input: &Input<'_>) -> (NodeGroupStatus, Overall) {
    let Input { previous, generation, key, plan, shown, violations, memory, now } = input;
    let facts = Facts(memory);
    let output = |name: &str| facts.output(key, name);
    let health_issues = issues(output("healthIssues"));
    let desired = output("desired").and_then(|n| n.parse().ok());
    let ready = desired.map_or_else(|| "the node group is there".to_owned(), |n: i32| format!("{n} nodes"));
    let overall = healthy(whole(plan, memory, violations, *now, &ready), &health_issues, plan.goal);
    let status = NodeGroupStatus {
        observed_generation: *generation,
        conditions: conditions(input, &overall),
        arn: output("arn"),
        version: output("version"),
        release_version: output("releaseVersion"),
        replicas: desired,
        ready_nodes: previous.ready_nodes,
        update_id: memory
            .get(key)
            .and_then(|entry| entry.recorded.as_ref())
            .and_then(|recorded| recorded.operation.clone()),
        auto_scaling_groups: output("autoScalingGroups")
            .and_then(|list| serde_json::from_str(&list).ok())
            .unwrap_or_default(),
        health_issues,
        plan: Some(shown.clone()),
        upgrade: previous.upgrade.clone(),
    };
    (status, overall)
}

/// A node group that is there but unhealthy is not ready.
fn healthy(overall: Overall, issues: &[HealthIssue], goal: Goal) -> Overall {
    let (Some(issue), Overall::Ready(_), Goal::Present) = (issues.first(), &overall, goal) else {
        return match (overall, goal) {
            (Overall::Ready(_), Goal::Gone) => Overall::Reconciling(Says::no(Reason::Deleting, "it is gone")),
            (other, _) => other,
        };
    };
    let reason =
        if NO_CAPACITY.contains(&issue.code.as_str()) { Reason::InsufficientCapacity } else { Reason::Degraded };
    let message =
        issue.message.as_ref().map_or_else(|| issue.code.clone(), |message| format!("{}: {message}", issue.code));
    Overall::Reconciling(Says::no(reason, message))
}

fn conditions(input: &Input<'_>, overall: &Overall) -> Vec<Condition> {
    let Input { previous, generation, plan, memory, now, .. } = input;
    let mut all = Conditions::from(&previous.conditions, *generation, now);
    let nodes = match overall {
        Overall::Ready(says) | Overall::Reconciling(says) | Overall::Stalled(says) => says.clone(),
        Overall::Suspended(message) => Says::unknown(Reason::Suspended, message),
    };
    all.set(ConditionType::NodesReady, &nodes);
    let sync = match plan.goal {
        Goal::Present => in_sync(plan, memory),
        Goal::Gone => Says::no(Reason::Deleting, plan.summary()),
    };
    all.set(ConditionType::InSync, &sync);
    all.overall(overall);
    all.into_all()
}

/// The status of a node group that was not looked at: `overall` says why.
pub fn unseen(
    previous: &NodeGroupStatus,
    generation: Option<i64>,
    overall: &Overall,
    now: Timestamp,
) -> NodeGroupStatus {
    let mut all = Conditions::from(&previous.conditions, generation, &now);
    let unknown = Says::unknown(Reason::Pending, "not looked at yet");
    all.set_default(ConditionType::NodesReady, &unknown);
    all.set_default(ConditionType::InSync, &unknown);
    all.overall(overall);
    NodeGroupStatus { observed_generation: generation, conditions: all.into_all(), ..previous.clone() }
}
