//! The status of a NodeGroup, conditions included, from its plan and what was observed. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::eks_update::{evictions_failed, replaces_nodes};
use super::nodes::{NodesObservation, describe_guarded, progress};
use super::own_image::{self, VersionMismatch};
use super::replacement::decide::Step;
use super::replacement::progress::DecidedReplacement;
use crate::api::NodeGroupSpec;
use crate::api::Reason;
use crate::api::conditions::{self, ConditionType};
use crate::api::listing::counted;
use crate::api::node_group::{DesiredPolicy, Scaling};
use crate::api::status_cluster::{DriftStatus, HealthIssue, LaunchTemplateStatus, NodeGroupStatus, PlanStatus};
use crate::aws::errors::health::{Subject, explain, failed_class};
use crate::controllers::cluster::status::control_plane_health::reported;
use crate::controllers::cluster::status::facts::{Facts, issues};
use crate::controllers::status::conditions::{ConditionValue, Conditions, Overall, in_sync, overall_of_plan};
use crate::controllers::status::held_deletion;
use crate::controllers::status::journal::update_attempts;
use crate::engine::check::Violation;
use crate::engine::{Action, Class, Goal, Item, Key, Memory, Plan, Verdict};
use crate::resources::eks::launch_template;
use crate::resources::eks::node_group::{Target, UpdateHold, pending_release, waits_for_window};

/// Input of the status.
pub struct Input<'a> {
    /// The status written last.
    pub previous: &'a NodeGroupStatus,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// The node group's key.
    pub key: &'a Key,
    /// The remaining plan.
    pub plan: &'a Plan,
    /// The same, for status.
    pub shown: PlanStatus,
    /// Drift that is left alone.
    pub drift: Vec<DriftStatus>,
    /// Digest of what AWS matched last.
    pub synced: Option<String>,
    /// Message while the plan waits for approval.
    pub waits: &'a str,
    /// It was approved just now.
    pub approved: bool,
    /// Rules that the plan would break.
    pub violations: &'a [Violation],
    /// The observed resources.
    pub memory: &'a Memory,
    /// The spec.
    pub spec: &'a NodeGroupSpec,
    /// The replacement of its node group; `None` while it is deleted.
    pub replacing: Option<&'a DecidedReplacement>,
    /// The versions that its nodes may change to now.
    pub target: &'a Target,
    /// Whether a hold keeps every step from starting.
    pub on_hold: bool,
    /// Its nodes in the cluster's API.
    pub nodes: &'a NodesObservation,
    /// The current time.
    pub now: Timestamp,
}

/// The whole status, and the overall state of the node group.
pub fn status(input: &Input<'_>) -> (NodeGroupStatus, Overall) {
    let Input { previous, generation, key, plan, shown, violations, memory, nodes: observed, now, .. } = input;
    let facts = Facts(memory);
    let output = |name: &str| facts.output(key, name);
    let health_issues = issues(output("healthIssues"));
    let desired = output("desired").and_then(|n| n.parse().ok());
    let ready = match (&observed.count, desired) {
        (Some(count), _) => format!("{} of {} ready", count.ready, counted(desired.unwrap_or(count.total), "node")),
        (None, Some(desired)) => counted(desired, "node"),
        (None, None) => "the node group exists".to_owned(),
    };
    let of_in_use = without_planned(input);
    let of_in_use = of_in_use.as_ref().unwrap_or(plan);
    let overall = healthy(overall_of_plan(of_in_use, memory, violations, *now, &ready), &health_issues, plan.goal);
    let nodes = until_replaced(with_nodes(overall, input), input);
    let overall = match with_held_version(nodes.clone(), input) {
        _ if input.approved => {
            Overall::Reconciling(ConditionValue::false_(Reason::Updating, format!("plan {} is approved", shown.hash)))
        }
        Overall::Stalled(condition) if condition.reason == Reason::WaitingForApproval => {
            Overall::Stalled(ConditionValue { message: input.waits.to_owned(), ..condition })
        }
        other => other,
    };
    let recorded = memory.get(key).and_then(|entry| entry.recorded.as_ref());
    let is_unknown = memory.get(key).is_none_or(|entry| entry.presence.is_none());
    let status = NodeGroupStatus {
        observed_generation: *generation,
        change: previous.change.clone(),
        last_handled_reconcile_at: previous.last_handled_reconcile_at.clone(),
        conditions: conditions(input, &nodes, &overall),
        waits: previous.waits.clone(),
        holds: previous.holds.clone(),
        // What could not be read is not gone.
        arn: output("arn").or_else(|| previous.arn.clone().filter(|_| is_unknown)),
        node_group_name: previous.node_group_name.clone(),
        immutable_digest: previous.immutable_digest.clone(),
        replacement: previous.replacement.clone(),
        version: output("version").or_else(|| previous.version.clone().filter(|_| is_unknown)),
        release_version: output("releaseVersion"),
        ami_type: output("amiType").or_else(|| previous.ami_type.clone().filter(|_| is_unknown)),
        launch_template: launch_template(input).or_else(|| previous.launch_template.clone().filter(|_| is_unknown)),
        replicas: desired,
        ready_nodes: observed.count.as_ref().map(|count| count.ready),
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
        auto_scaling_group_tag_keys: previous.auto_scaling_group_tag_keys.clone(),
        deletion: previous.deletion.clone(),
        recovery: previous.recovery.clone(),
        hand_over: previous.hand_over.clone(),
        upgrade: previous.upgrade.clone(),
    };
    (status, overall)
}

/// Whether part of the spec waits for a maintenance window, even if the node group is Ready.
pub fn is_held(status: &NodeGroupStatus) -> bool {
    let sync = conditions::get(&status.conditions, ConditionType::InSync).filter(|sync| sync.status == "False");
    sync.is_some_and(|sync| sync.reason == Reason::OutsideMaintenanceWindow.as_str())
}

/// The launch template that Keelson created.
fn launch_template(input: &Input<'_>) -> Option<LaunchTemplateStatus> {
    let found = input.memory.observed(&launch_template::key(input.key.name()))?;
    let version = Facts(input.memory).output(input.key, "launchTemplateVersion").filter(|version| !version.is_empty());
    Some(LaunchTemplateStatus { id: found.id.clone(), version })
}

/// Nothing is left to do with the node group in use, and the one that it replaced is not gone with its launch template.
fn until_replaced(overall: Overall, input: &Input<'_>) -> Overall {
    let is_ending = |replacing: &&DecidedReplacement| {
        let step = &replacing.decision.step;
        replacing.is_in_progress() && matches!(step, Step::Observe | Step::AwaitDeletion | Step::DeleteTemplate)
    };
    match (overall, input.replacing.filter(is_ending)) {
        (Overall::Ready(_), Some(replacing)) => {
            Overall::Reconciling(ConditionValue::false_(Reason::Upgrading, replacing.message()))
        }
        (overall, _) => overall,
    }
}

/// While nodes are replaced: the progress. When pods block it: which ones.
fn with_nodes(overall: Overall, input: &Input<'_>) -> Overall {
    let Input { key, plan, memory, nodes, .. } = input;
    let more = |mut condition: ConditionValue, more: String| {
        condition.message = format!("{}; {more}", condition.message);
        condition
    };
    match overall {
        Overall::Reconciling(mut condition) if replaces_nodes(memory, key) => {
            condition.reason = Reason::Upgrading;
            let version = memory.get(key).and_then(|entry| entry.applied.as_ref()).and_then(|applied| {
                let version = applied.changes.iter().find(|change| change.field == "version");
                version.map(|change| change.to.as_str())
            });
            let text = nodes.count.as_ref().map(|count| progress(count, version));
            Overall::Reconciling(text.map_or(condition.clone(), |text| more(condition, text)))
        }
        Overall::Stalled(condition) if plan.goal == Goal::Present && !nodes.guarded.is_empty() => {
            Overall::Stalled(more(condition, format!("blocked by: {}", describe_guarded(&nodes.guarded))))
        }
        other => other,
    }
}

/// Why the replacement of the node group has not begun, if one is to.
fn planned_replacement(input: &Input<'_>) -> Option<String> {
    let replacing = input.replacing.filter(|replacing| matches!(replacing.decision.step, Step::Create(Some(_))))?;
    Some(replacing.message())
}

/// The plan of the node group in use, while its replacement has not begun and needs no approval.
fn without_planned(input: &Input<'_>) -> Option<Plan> {
    planned_replacement(input)?;
    let is_planned = |item: &Item| {
        item.key != *input.key && matches!(&item.verdict, Verdict::Pending(step, _) if step.action == Action::Create)
    };
    let items: Vec<_> = input.plan.items.iter().filter(|item| !is_planned(item)).cloned().collect();
    Some(Plan { goal: input.plan.goal, items })
}

/// The version that differs because the AMI is custom.
fn version_mismatch(input: &Input<'_>) -> Option<VersionMismatch> {
    let output = |name: &str| Facts(input.memory).output(input.key, name);
    let (ami_type, version) = (output("amiType"), output("version"));
    let there = own_image::Facts { ami_type, version, nodes: input.nodes };
    own_image::version_mismatch(input.spec, input.target.version.as_deref(), &there)
}

/// A ready node group does not match the spec while a version waits, or while only the user can change it.
fn with_held_version(overall: Overall, input: &Input<'_>) -> Overall {
    if let (Overall::Ready(_), Some(other)) = (&overall, version_mismatch(input).filter(|other| other.own)) {
        return Overall::Stalled(ConditionValue::false_(Reason::InvalidSpec, other.message));
    }
    if let (Overall::Ready(_), Some(why)) = (&overall, planned_replacement(input)) {
        if input.on_hold {
            return Overall::Stalled(ConditionValue::false_(Reason::OnHold, why));
        }
        return Overall::Reconciling(ConditionValue::false_(Reason::OutsideMaintenanceWindow, why));
    }
    let reason = match (&overall, &input.target.on_hold) {
        (Overall::Ready(_), Some(UpdateHold::ControlPlane(_))) => Reason::WaitingForCluster,
        (Overall::Ready(_), Some(UpdateHold::Window(_))) => Reason::OutsideMaintenanceWindow,
        _ => return overall,
    };
    Overall::Reconciling(ConditionValue::false_(
        reason,
        input.target.on_hold.as_ref().map(ToString::to_string).unwrap_or_default(),
    ))
}

/// The Upgrading condition: whether nodes are replaced, and by which EKS update.
fn upgrading(input: &Input<'_>, nodes: &Overall) -> ConditionValue {
    let Input { key, memory, target, .. } = input;
    let operation = memory.observed(key).and_then(|observed| observed.operation.as_ref());
    match (nodes, operation) {
        (Overall::Reconciling(condition), Some(operation)) if condition.reason == Reason::Upgrading => {
            ConditionValue::true_(Reason::Upgrading, format!("{}; EKS update {}", condition.message, operation.id))
        }
        (Overall::Stalled(condition), _) if evictions_failed(memory, key) => condition.clone(),
        _ => match &target.on_hold {
            Some(UpdateHold::ControlPlane(why)) => ConditionValue::false_(Reason::WaitingForCluster, why),
            Some(UpdateHold::Window(why)) => ConditionValue::false_(Reason::OutsideMaintenanceWindow, why),
            None => ConditionValue::false_(Reason::Available, "no node is being replaced"),
        },
    }
}

/// Which size in the spec has no effect, because an autoscaler owns it.
fn ignored_size(scaling: &Scaling, there: Option<i32>) -> Option<String> {
    let (wanted, there) = (scaling.desired?, there?);
    (scaling.desired_policy == DesiredPolicy::Initial && wanted != there).then(|| {
        format!(
            "scaling.desired {wanted} was only the initial size, and is now {there} in AWS (desiredPolicy: Initial \
             leaves it to an autoscaler; Enforce keeps it at desired)"
        )
    })
}

/// A node group that exists but is unhealthy is not ready.
fn healthy(overall: Overall, issues: &[HealthIssue], goal: Goal) -> Overall {
    match (overall, goal) {
        (Overall::Ready(_), Goal::Deleted | Goal::Retained) => {
            Overall::Reconciling(ConditionValue::false_(Reason::Deleting, "deleted"))
        }
        (Overall::Ready(_), Goal::Present) if !issues.is_empty() => {
            let issues = reported(issues);
            let reason = match failed_class(Subject::NodeGroup, &issues) {
                Class::Capacity => Reason::InsufficientCapacity,
                Class::Quota => Reason::QuotaExceeded,
                _ => Reason::Degraded,
            };
            Overall::Reconciling(ConditionValue::false_(reason, explain(Subject::NodeGroup, &issues)))
        }
        (other, _) => other,
    }
}

fn conditions(input: &Input<'_>, nodes: &Overall, overall: &Overall) -> Vec<Condition> {
    let Input { previous, generation, key, plan, memory, spec, target, now, .. } = input;
    let mut all = Conditions::from(&previous.conditions, *generation, now);
    all.set(ConditionType::Upgrading, &upgrading(input, nodes));
    let nodes = match nodes {
        Overall::Ready(condition)
        | Overall::Reconciling(condition)
        | Overall::Stalled(condition)
        | Overall::Observed(condition) => condition.clone(),
        Overall::Suspended(message) => ConditionValue::unknown(Reason::Suspended, message),
    };
    all.set(ConditionType::NodesReady, &nodes);
    let sync = match plan.goal {
        Goal::Present => {
            let mut sync = in_sync(plan, memory);
            let desired = Facts(memory).output(key, "desired").and_then(|desired| desired.parse().ok());
            if let (true, Some(other)) = (sync.is_true(), version_mismatch(input)) {
                sync = ConditionValue::false_(Reason::Drifted, other.message);
            }
            let waits = memory.observed(key).and_then(|observed| waits_for_window(spec, target, observed));
            if let Some(replacing) = input.replacing.filter(|replacing| sync.is_true() && replacing.is_in_progress()) {
                sync = ConditionValue::false_(Reason::Upgrading, replacing.message());
            }
            if let (true, Some(held)) = (sync.is_true(), &target.on_hold) {
                sync = ConditionValue::false_(Reason::Upgrading, held.to_string());
            }
            let pending = memory.observed(key).and_then(pending_release);
            if let (true, Some(waits)) = (sync.is_true(), &waits) {
                sync = ConditionValue::false_(Reason::OutsideMaintenanceWindow, waits);
            } else if let Some(waits) = &waits {
                sync.message = format!("{}; {waits}", sync.message);
            }
            for note in pending.into_iter().chain(ignored_size(&spec.scaling, desired)) {
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

/// The conditions while a deletion waits to start: nothing is touched, and what exists is compared with nothing.
pub fn while_held(
    previous: &[Condition],
    generation: Option<i64>,
    (exists, issues): (&ConditionValue, &[HealthIssue]),
    overall: &Overall,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = Conditions::from(previous, generation, &now);
    let nodes = match healthy(Overall::Ready(exists.clone()), issues, Goal::Present) {
        Overall::Reconciling(unhealthy) if exists.is_true() => unhealthy,
        _ => exists.clone(),
    };
    all.set(ConditionType::NodesReady, &nodes);
    for kind in [ConditionType::InSync, ConditionType::Upgrading] {
        held_deletion::mark_unobserved(&mut all, previous, kind, overall);
    }
    all.overall(overall);
    all.into_all()
}

/// The status of a node group that was not observed: `overall` has the reason.
pub fn unobserved(
    previous: &NodeGroupStatus,
    generation: Option<i64>,
    overall: &Overall,
    now: Timestamp,
) -> NodeGroupStatus {
    let mut all = Conditions::from(&previous.conditions, generation, &now);
    let unknown = ConditionValue::unknown(Reason::Pending, "not observed yet");
    all.set_default(ConditionType::NodesReady, &unknown);
    all.set_default(ConditionType::InSync, &unknown);
    all.overall(overall);
    let plan = previous.plan.clone().map(|plan| plan.of_generation(generation));
    NodeGroupStatus { observed_generation: generation, conditions: all.into_all(), plan, ..previous.clone() }
}

#[cfg(test)]
#[path = "node_group_status_tests.rs"]
mod tests;
