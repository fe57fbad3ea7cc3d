//! The conditions of an EksCluster, from its plan and its agent's report. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::control_plane_health;
use super::notices::notices;
use crate::api::Reason;
use crate::api::conditions::{ConditionStatus, ConditionType};
use crate::controllers::cluster::upgrade::upgrade_status;
use crate::controllers::status::conditions::{
    ConditionValue, Conditions, Overall, condition_of_part, in_sync, overall_of_part, overall_of_plan,
};
use crate::controllers::status::held_deletion;
use crate::engine::check::Violation;
use crate::engine::{Goal, Item, Memory, Plan};
use crate::resources::graph::kind::Area;
use crate::resources::graph::kinds;
use crate::upgrade::Decision;

const PARTS: [ConditionType; 3] =
    [ConditionType::NetworkReady, ConditionType::ControlPlaneReady, ConditionType::AddonsReady];

/// The condition that covers a kind of resource.
fn part_of(kind: &str) -> ConditionType {
    match kinds::find(kind).map(|kind| kind.area) {
        Some(Area::Network) => ConditionType::NetworkReady,
        Some(Area::Addons) => ConditionType::AddonsReady,
        // Nothing waits for it.
        Some(Area::Cleanup) => ConditionType::GitOpsReady,
        Some(Area::ControlPlane) => ConditionType::ControlPlaneReady,
        // Of the plan, and no resource in AWS. A test holds every resource against the table.
        None if matches!(kind, "gitOpsAgent" | "changePolicy") => ConditionType::GitOpsReady,
        None => ConditionType::ControlPlaneReady,
    }
}

/// Input of the conditions.
pub struct Input<'a> {
    /// The conditions of the last status.
    pub previous: &'a [Condition],
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// The remaining plan.
    pub plan: &'a Plan,
    /// Rules that the plan would break.
    pub violations: &'a [Violation],
    /// The observed resources.
    pub memory: &'a Memory,
    /// Value of the GitOpsReady condition; true when no agent is requested.
    pub gitops: &'a ConditionValue,
    /// Whether the agent's failure requires intervention.
    pub gitops_stalled: bool,
    /// Message of Ready when everything is ready.
    pub ready: &'a str,
    /// The upgrade, if the control plane exists.
    pub upgrade: Option<Upgrade<'a>>,
    /// The current time.
    pub now: Timestamp,
}

/// The decision about an upgrade.
#[derive(Clone, Copy)]
pub struct Upgrade<'a> {
    /// The decision.
    pub decision: &'a Decision,
    /// Its message for the user.
    pub message: Option<&'a str>,
}

/// The conditions, and the overall state of the cluster.
pub fn conditions(input: &Input<'_>) -> (Vec<Condition>, Overall) {
    let Input { previous, generation, plan, violations, memory, gitops, gitops_stalled, ready, upgrade, now } = *input;
    let mut all = Conditions::from(previous, generation, &now);
    let deleting = plan.goal != Goal::Present;
    let health = control_plane_health::overall(memory).filter(|_| !deleting);
    for kind in PARTS {
        let mut part = part_condition(plan, memory, kind, now);
        if let (ConditionType::ControlPlaneReady, true, Some(health)) = (kind, part.is_true(), &health) {
            part = condition_of_part(health.clone());
        }
        all.set(kind, &part);
    }
    if deleting {
        all.set(ConditionType::GitOpsReady, &ConditionValue::false_(Reason::Deleting, "deleted with the cluster"));
        all.set(ConditionType::InSync, &ConditionValue::false_(Reason::Deleting, plan.summary()));
    } else {
        all.set(ConditionType::GitOpsReady, gitops);
        let sync = in_sync(plan, memory);
        all.set(
            ConditionType::InSync,
            &upgrade.map_or(sync.clone(), |upgrade| upgrade_status::in_sync(sync, upgrade.decision)),
        );
        if let Some(Upgrade { decision, message }) = upgrade {
            all.set(ConditionType::Upgrading, &upgrade_status::upgrading(decision, message));
        }
    }
    let overall = match overall_of_plan(plan, memory, violations, now, ready) {
        Overall::Ready(_) if deleting => Overall::Reconciling(ConditionValue::false_(
            Reason::Deleting,
            "everything is deleted; checking once more for leftovers",
        )),
        // The cause of what the agent may report as well.
        Overall::Ready(condition) => match health {
            Some(health) => health,
            None => with_agent(condition, gitops, gitops_stalled),
        },
        other => other,
    };
    let overall = match upgrade {
        Some(Upgrade { decision, message }) if !deleting => upgrade_status::overall(overall, decision, message),
        _ => overall,
    };
    all.overall(&overall);
    (all.into_all(), overall)
}

/// The overall state of a cluster that is ready in AWS.
fn with_agent(ready: ConditionValue, gitops: &ConditionValue, gitops_stalled: bool) -> Overall {
    // Deliberately not touched.
    let is_untouched =
        gitops.status == ConditionStatus::Unknown && matches!(gitops.reason, Reason::Observed | Reason::OnHold);
    if gitops.is_true() || is_untouched {
        Overall::Ready(ready)
    } else if gitops_stalled {
        Overall::Stalled(gitops.clone())
    } else {
        Overall::Reconciling(gitops.clone())
    }
}

fn part_condition(plan: &Plan, memory: &Memory, kind: ConditionType, now: Timestamp) -> ConditionValue {
    let deleting = plan.goal != Goal::Present;
    let of = |item: &Item| part_of(item.key.kind()) == kind;
    let (overall, count) = overall_of_part(plan, memory, of, now, "matches the spec");
    match condition_of_part(overall) {
        condition if condition.is_true() && deleting => ConditionValue::false_(Reason::Deleting, "deleted"),
        condition if condition.is_true() && count == 0 => {
            ConditionValue::true_(Reason::NotRequested, "the spec requests none")
        }
        condition if condition.is_true() => {
            let message = std::iter::once(condition.message.clone()).chain(notices(memory, kind));
            ConditionValue { message: message.collect::<Vec<_>>().join("; "), ..condition }
        }
        condition => condition,
    }
}

/// The conditions while a deletion waits to start: nothing is touched, and what exists is compared with nothing.
pub fn while_held(
    previous: &[Condition],
    generation: Option<i64>,
    (plan, memory): (&Plan, &Memory),
    overall: &Overall,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = Conditions::from(&unobserved(previous, generation, overall, now), generation, &now);
    for kind in PARTS {
        let of = |item: &Item| part_of(item.key.kind()) == kind;
        all.set(kind, &held_deletion::part_condition(plan, memory, of));
    }
    for kind in [ConditionType::GitOpsReady, ConditionType::InSync, ConditionType::Upgrading] {
        held_deletion::mark_unobserved(&mut all, previous, kind, overall);
    }
    all.into_all()
}

/// The same conditions, with another overall state.
pub fn with_overall(all: Vec<Condition>, generation: Option<i64>, overall: &Overall, now: Timestamp) -> Vec<Condition> {
    let mut all = Conditions::from(&all, generation, &now);
    all.overall(overall);
    all.into_all()
}

/// Replaces one of the conditions.
pub fn set(
    all: &mut Vec<Condition>,
    kind: ConditionType,
    generation: Option<i64>,
    condition: &ConditionValue,
    now: Timestamp,
) {
    let mut changed = Conditions::from(all, generation, &now);
    changed.set(kind, condition);
    *all = changed.into_all();
}

/// The conditions of a cluster that was not observed: `overall` has the reason.
pub fn unobserved(
    previous: &[Condition],
    generation: Option<i64>,
    overall: &Overall,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = Conditions::from(previous, generation, &now);
    let unknown = ConditionValue::unknown(Reason::Pending, "not observed yet");
    let others = [ConditionType::GitOpsReady, ConditionType::InSync, ConditionType::Available];
    for kind in PARTS.into_iter().chain(others) {
        all.set_default(kind, &unknown);
    }
    all.overall(overall);
    all.into_all()
}

#[cfg(test)]
#[path = "cluster_conditions_tests.rs"]
mod tests;
