//! The status of a NodeGroup, conditions included, from its plan and what was seen. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::nodes::{NodesObservation, in_the_way, progress};
use super::own_image::{self, OtherVersion};
use crate::api::NodeGroupSpec;
use crate::api::Reason;
use crate::api::conditions::ConditionType;
use crate::api::node_group::{DesiredPolicy, Scaling};
use crate::api::status::{DriftStatus, HealthIssue, NodeGroupStatus, PlanStatus};
use crate::controllers::cluster::facts::{Facts, issues};
use crate::controllers::conditions::{ConditionValue, Conditions, Overall, in_sync, overall_of_plan};
use crate::controllers::journal::update_attempts;
use crate::engine::check::Violation;
use crate::engine::{Class, Goal, Key, Memory, Plan};
use crate::resources::node_group::{Held, Target, pending_release, waits_for_window};

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
    /// What differs and is left alone.
    pub drift: Vec<DriftStatus>,
    /// What AWS matched last.
    pub synced: Option<String>,
    /// What a person reads while the plan waits for approval.
    pub waits: &'a str,
    /// It was approved just now.
    pub approved: bool,
    /// Rules that it would break.
    pub violations: &'a [Violation],
    /// What was seen.
    pub memory: &'a Memory,
    /// What is asked for.
    pub spec: &'a NodeGroupSpec,
    /// What its nodes may become now.
    pub target: &'a Target,
    /// What the cluster's API says of its nodes.
    pub nodes: &'a NodesObservation,
    /// The time.
    pub now: Timestamp,
}

/// EKS's word for an update that replaces nodes.
const VERSION_UPDATE: &str = "VersionUpdate";

/// Health issues of EKS that say that AWS has no machines.
const NO_CAPACITY: [&str; 2] = ["InsufficientInstanceCapacity", "AsgInstanceLaunchFailures"];

/// The whole status, and where the node group stands.
pub fn status(input: &Input<'_>) -> (NodeGroupStatus, Overall) {
    let Input { previous, generation, key, plan, shown, violations, memory, nodes: seen, now, .. } = input;
    let facts = Facts(memory);
    let output = |name: &str| facts.output(key, name);
    let health_issues = issues(output("healthIssues"));
    let desired = output("desired").and_then(|n| n.parse().ok());
    let ready = match (&seen.count, desired) {
        (Some(count), _) => format!("{} of {} nodes ready", count.ready, desired.unwrap_or(count.total)),
        (None, Some(desired)) => format!("{desired} nodes"),
        (None, None) => "the node group is there".to_owned(),
    };
    let overall = healthy(overall_of_plan(plan, memory, violations, *now, &ready), &health_issues, plan.goal);
    let nodes = with_nodes(overall, input);
    let overall = match held(nodes.clone(), input) {
        _ if input.approved => {
            Overall::Reconciling(ConditionValue::false_(Reason::Updating, format!("plan {} is approved", shown.hash)))
        }
        Overall::Stalled(says) if says.reason == Reason::WaitingForApproval => {
            Overall::Stalled(ConditionValue { message: input.waits.to_owned(), ..says })
        }
        other => other,
    };
    let recorded = memory.get(key).and_then(|entry| entry.recorded.as_ref());
    let status = NodeGroupStatus {
        observed_generation: *generation,
        conditions: conditions(input, &nodes, &overall),
        waits: previous.waits.clone(),
        arn: output("arn"),
        version: output("version"),
        release_version: output("releaseVersion"),
        replicas: desired,
        ready_nodes: seen.count.as_ref().map(|count| count.ready),
        update_id: recorded.and_then(|recorded| recorded.operation.clone()),
        update_attempts: recorded.and_then(update_attempts),
        auto_scaling_groups: output("autoScalingGroups")
            .and_then(|list| serde_json::from_str(&list).ok())
            .unwrap_or_default(),
        health_issues,
        plan: Some(shown.clone()),
        drift: input.drift.clone(),
        synced: input.synced.clone(),
        tag_keys: previous.tag_keys.clone(),
        deletion: previous.deletion.clone(),
        recovery: previous.recovery.clone(),
        hand_over: previous.hand_over.clone(),
        upgrade: previous.upgrade.clone(),
    };
    (status, overall)
}

/// While nodes are replaced: how far that is. When pods are in the way: which.
fn with_nodes(overall: Overall, input: &Input<'_>) -> Overall {
    let Input { key, plan, memory, nodes, .. } = input;
    let more = |mut says: ConditionValue, more: String| {
        says.message = format!("{}; {more}", says.message);
        says
    };
    match overall {
        Overall::Reconciling(mut says) if replaces_nodes(memory, key) => {
            says.reason = Reason::Upgrading;
            let version = memory.get(key).and_then(|entry| entry.applied.as_ref()).and_then(|applied| {
                let version = applied.changes.iter().find(|change| change.field == "version");
                version.map(|change| change.to.as_str())
            });
            let told = nodes.count.as_ref().map(|count| progress(count, version));
            Overall::Reconciling(told.map_or(says.clone(), |told| more(says, told)))
        }
        Overall::Stalled(says) if plan.goal == Goal::Present && !nodes.guarded.is_empty() => {
            Overall::Stalled(more(says, format!("in the way: {}", in_the_way(&nodes.guarded))))
        }
        other => other,
    }
}

/// What runs another version because its AMI is the user's own.
fn other_version(input: &Input<'_>) -> Option<OtherVersion> {
    let output = |name: &str| Facts(input.memory).output(input.key, name);
    let (ami_type, version) = (output("amiType"), output("version"));
    let there = own_image::Facts { ami_type, version, nodes: input.nodes };
    own_image::other_version(input.spec, input.target.version.as_deref(), &there)
}

/// What is ready is not as asked as long as a version waits, or is one that only a person can bring about.
fn held(overall: Overall, input: &Input<'_>) -> Overall {
    if let (Overall::Ready(_), Some(other)) = (&overall, other_version(input).filter(|other| other.own)) {
        return Overall::Stalled(ConditionValue::false_(Reason::InvalidSpec, other.message));
    }
    let reason = match (&overall, &input.target.held) {
        (Overall::Ready(_), Some(Held::ControlPlane(_))) => Reason::WaitingForCluster,
        (Overall::Ready(_), Some(Held::Window(_))) => Reason::OutsideMaintenanceWindow,
        _ => return overall,
    };
    Overall::Reconciling(ConditionValue::false_(
        reason,
        input.target.held.as_ref().map(ToString::to_string).unwrap_or_default(),
    ))
}

/// The Upgrading condition: whether nodes are replaced, and by which update of EKS.
fn upgrading(input: &Input<'_>, nodes: &Overall) -> ConditionValue {
    let Input { key, memory, target, .. } = input;
    let operation = memory.observed(key).and_then(|seen| seen.operation.as_ref());
    match (nodes, operation) {
        (Overall::Reconciling(says), Some(operation)) if says.reason == Reason::Upgrading => {
            ConditionValue::true_(Reason::Upgrading, format!("{}; EKS update {}", says.message, operation.id))
        }
        (Overall::Stalled(says), _) if evictions_failed(memory, key) => says.clone(),
        _ => match &target.held {
            Some(Held::ControlPlane(why)) => ConditionValue::false_(Reason::WaitingForCluster, why),
            Some(Held::Window(why)) => ConditionValue::false_(Reason::OutsideMaintenanceWindow, why),
            None => ConditionValue::false_(Reason::Available, "no node is being replaced"),
        },
    }
}

/// True when EKS is replacing the nodes of the node group.
pub fn replaces_nodes(memory: &Memory, key: &Key) -> bool {
    let operation = memory.observed(key).and_then(|seen| seen.operation.as_ref());
    operation.is_some_and(|operation| operation.kind == VERSION_UPDATE)
}

/// True when EKS gave up on replacing nodes because their pods could not be evicted.
pub fn evictions_failed(memory: &Memory, key: &Key) -> bool {
    let failed = memory.observed(key).and_then(|seen| seen.failed_operation.as_ref());
    failed.is_some_and(|failed| failed.failure.class == Class::EvictionBlocked)
}

/// What a size in the spec does not do, when an autoscaler owns it.
fn scaled_in_vain(scaling: &Scaling, there: Option<i32>) -> Option<String> {
    let (wanted, there) = (scaling.desired?, there?);
    (scaling.desired_policy == DesiredPolicy::Initial && wanted != there).then(|| {
        format!(
            "scaling.desired {wanted} was the size to begin with only, and is now {there} in AWS (desiredPolicy: Initial leaves \
             it to an autoscaler; Enforce keeps it at desired)"
        )
    })
}

/// A node group that is there but unhealthy is not ready.
fn healthy(overall: Overall, issues: &[HealthIssue], goal: Goal) -> Overall {
    let (Some(issue), Overall::Ready(_), Goal::Present) = (issues.first(), &overall, goal) else {
        return match (overall, goal) {
            (Overall::Ready(_), Goal::Deleted | Goal::Retained) => {
                Overall::Reconciling(ConditionValue::false_(Reason::Deleting, "it is gone"))
            }
            (other, _) => other,
        };
    };
    let reason =
        if NO_CAPACITY.contains(&issue.code.as_str()) { Reason::InsufficientCapacity } else { Reason::Degraded };
    let message =
        issue.message.as_ref().map_or_else(|| issue.code.clone(), |message| format!("{}: {message}", issue.code));
    Overall::Reconciling(ConditionValue::false_(reason, message))
}

fn conditions(input: &Input<'_>, nodes: &Overall, overall: &Overall) -> Vec<Condition> {
    let Input { previous, generation, key, plan, memory, spec, target, now, .. } = input;
    let mut all = Conditions::from(&previous.conditions, *generation, now);
    all.set(ConditionType::Upgrading, &upgrading(input, nodes));
    let nodes = match nodes {
        Overall::Ready(says) | Overall::Reconciling(says) | Overall::Stalled(says) | Overall::Observed(says) => {
            says.clone()
        }
        Overall::Suspended(message) => ConditionValue::unknown(Reason::Suspended, message),
    };
    all.set(ConditionType::NodesReady, &nodes);
    let sync = match plan.goal {
        Goal::Present => {
            let mut sync = in_sync(plan, memory);
            let desired = Facts(memory).output(key, "desired").and_then(|desired| desired.parse().ok());
            if let (true, Some(other)) = (sync.is_true(), other_version(input)) {
                sync = ConditionValue::false_(Reason::Drifted, other.message);
            }
            let waits = memory.observed(key).and_then(|seen| waits_for_window(spec, target, seen));
            if let (true, Some(held)) = (sync.is_true(), &target.held) {
                sync = ConditionValue::false_(Reason::Upgrading, held.to_string());
            }
            let pending = memory.observed(key).and_then(pending_release);
            for note in waits.into_iter().chain(pending).chain(scaled_in_vain(&spec.scaling, desired)) {
                sync.message = format!("{}; {note}", sync.message);
            }
            sync
        }
        Goal::Deleted | Goal::Retained => ConditionValue::false_(Reason::Deleting, plan.summary()),
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
    let unknown = ConditionValue::unknown(Reason::Pending, "not looked at yet");
    all.set_default(ConditionType::NodesReady, &unknown);
    all.set_default(ConditionType::InSync, &unknown);
    all.overall(overall);
    NodeGroupStatus { observed_generation: generation, conditions: all.into_all(), ..previous.clone() }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
