//! The conditions of an EksCluster, from its plan and what its agent says. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::upgrade::status as told;
use crate::api::Reason;
use crate::api::conditions::{ConditionStatus, ConditionType};
use crate::controllers::conditions::{
    ConditionValue, Conditions, Overall, condition_of_part, in_sync, overall_of_part, overall_of_plan,
};
use crate::engine::check::Violation;
use crate::engine::{Goal, Item, Memory, Plan};
use crate::upgrade::Decision;

const PARTS: [ConditionType; 3] =
    [ConditionType::NetworkReady, ConditionType::ControlPlaneReady, ConditionType::AddonsReady];

/// The part that a kind of resource belongs to.
fn part_of(kind: &str) -> ConditionType {
    match kind {
        "vpc" | "subnet" | "internetGateway" | "elasticIp" | "natGateway" | "routeTable" | "route" => {
            ConditionType::NetworkReady
        }
        "routeTableAssociation" | "vpcEndpoint" | "securityGroup" | "existingNetwork" | "leftovers" => {
            ConditionType::NetworkReady
        }
        "addon" | "addonPruning" => ConditionType::AddonsReady,
        // Parts of the plan that are nothing in AWS; and what nothing waits for.
        "gitOpsAgent" | "changePolicy" | "removals" => ConditionType::GitOpsReady,
        _ => ConditionType::ControlPlaneReady,
    }
}

/// What the conditions are made of.
pub struct Input<'a> {
    /// Those of the last status.
    pub previous: &'a [Condition],
    /// Of the spec.
    pub generation: Option<i64>,
    /// What is left to do.
    pub plan: &'a Plan,
    /// Rules that it would break.
    pub violations: &'a [Violation],
    /// What was seen.
    pub memory: &'a Memory,
    /// What the GitOpsReady condition says; true when no agent is asked for.
    pub gitops: &'a ConditionValue,
    /// Whether what is wrong with the agent needs a person.
    pub gitops_stalled: bool,
    /// What Ready says when all is well.
    pub ready: &'a str,
    /// The upgrade, where there is a control plane.
    pub upgrade: Option<Upgrade<'a>>,
    /// The time.
    pub now: Timestamp,
}

/// What was decided of an upgrade.
#[derive(Clone, Copy)]
pub struct Upgrade<'a> {
    /// The decision.
    pub decision: &'a Decision,
    /// The same for people.
    pub message: Option<&'a str>,
}

/// The conditions, and where the cluster stands as a whole.
pub fn conditions(input: &Input<'_>) -> (Vec<Condition>, Overall) {
    let Input { previous, generation, plan, violations, memory, gitops, gitops_stalled, ready, upgrade, now } = *input;
    let mut all = Conditions::from(previous, generation, &now);
    let deleting = plan.goal != Goal::Present;
    for kind in PARTS {
        all.set(kind, &part_condition(plan, memory, kind, now));
    }
    if deleting {
        all.set(ConditionType::GitOpsReady, &ConditionValue::false_(Reason::Deleting, "goes with the cluster"));
        all.set(ConditionType::InSync, &ConditionValue::false_(Reason::Deleting, plan.summary()));
    } else {
        all.set(ConditionType::GitOpsReady, gitops);
        let sync = in_sync(plan, memory);
        all.set(ConditionType::InSync, &upgrade.map_or(sync.clone(), |upgrade| told::in_sync(sync, upgrade.decision)));
        if let Some(Upgrade { decision, message }) = upgrade {
            all.set(ConditionType::Upgrading, &told::upgrading(decision, message));
        }
    }
    let overall = match overall_of_plan(plan, memory, violations, now, ready) {
        Overall::Ready(_) if deleting => {
            Overall::Reconciling(ConditionValue::false_(Reason::Deleting, "everything is deleted; looking once more"))
        }
        // Left alone on purpose.
        Overall::Ready(says) if gitops.status == ConditionStatus::Unknown && gitops.reason == Reason::Observed => {
            Overall::Ready(says)
        }
        Overall::Ready(_) if !gitops.is_true() && gitops_stalled => Overall::Stalled(gitops.clone()),
        Overall::Ready(_) if !gitops.is_true() => Overall::Reconciling(gitops.clone()),
        other => other,
    };
    let overall = match upgrade {
        Some(Upgrade { decision, message }) if !deleting => told::overall(overall, decision, message),
        _ => overall,
    };
    all.overall(&overall);
    (all.into_all(), overall)
}

fn part_condition(plan: &Plan, memory: &Memory, kind: ConditionType, now: Timestamp) -> ConditionValue {
    let deleting = plan.goal != Goal::Present;
    let of = |item: &Item| part_of(item.key.kind()) == kind;
    let (overall, count) = overall_of_part(plan, memory, of, now, "as asked");
    match condition_of_part(overall) {
        says if says.is_true() && deleting => ConditionValue::false_(Reason::Deleting, "gone"),
        says if says.is_true() && count == 0 => ConditionValue::true_(Reason::NotRequested, "the spec asks for none"),
        says => says,
    }
}

/// The same conditions, where the cluster stands otherwise as a whole.
pub fn with_overall(all: Vec<Condition>, generation: Option<i64>, overall: &Overall, now: Timestamp) -> Vec<Condition> {
    let mut all = Conditions::from(&all, generation, &now);
    all.overall(overall);
    all.into_all()
}

/// The same conditions, where one of them says otherwise.
pub fn set(
    all: &mut Vec<Condition>,
    kind: ConditionType,
    generation: Option<i64>,
    says: &ConditionValue,
    now: Timestamp,
) {
    let mut changed = Conditions::from(all, generation, &now);
    changed.set(kind, says);
    *all = changed.into_all();
}

/// The conditions of a cluster that was not looked at: `overall` says why.
pub fn unseen(previous: &[Condition], generation: Option<i64>, overall: &Overall, now: Timestamp) -> Vec<Condition> {
    let mut all = Conditions::from(previous, generation, &now);
    let unknown = ConditionValue::unknown(Reason::Pending, "not looked at yet");
    let others = [ConditionType::GitOpsReady, ConditionType::InSync, ConditionType::Available];
    for kind in PARTS.into_iter().chain(others) {
        all.set_default(kind, &unknown);
    }
    all.overall(overall);
    all.into_all()
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
