//! Derives what an object waits for, from its plan, or from its conditions if there is no plan. Each wait has an
//! owner: AWS, a retried call, or an external gate. Pure; how long each may take is in [`super::waits`].

use jiff::Timestamp;

use super::conditions::{ConditionValue, Overall};
use super::progress::{doing, label};
use super::reasons;
use super::waits::{self, EvaluatedWaits, Kind, Wait};
use crate::api::Reason;
use crate::api::status_cluster::{MAX_WAITS, WaitStatus};
use crate::engine::failure::RetryState;
use crate::engine::{Action, Goal, Item, Key, Memory, Plan, Verdict, WaitingOn};
use crate::resources::eks::{addon, fargate_profile, node_group};

/// The waits of a plan's resources.
pub fn waits_of_plan(plan: &Plan, memory: &Memory, now: Timestamp) -> Vec<Wait> {
    plan.items
        .iter()
        .filter(|item| item.forbidden.is_empty())
        .filter_map(|item| wait_of_item(item, plan.goal, memory, now))
        .collect()
}

fn wait_of_item(item: &Item, goal: Goal, memory: &Memory, now: Timestamp) -> Option<Wait> {
    let name = label(&item.key);
    match &item.verdict {
        Verdict::Waiting { action, since, until, note, operation } => {
            let update = operation.as_ref().map(|operation| format!(", update {}", operation.id)).unwrap_or_default();
            let state = memory.observed(&item.key).map(|observation| observation.state.clone()).unwrap_or_default();
            let details: Vec<_> = [state, note.clone()].into_iter().filter(|text| !text.is_empty()).collect();
            Some(Wait {
                on: format!("{name}: {}{update}", doing(*action)),
                kind: Kind::Aws(until.duration_since(*since).max(jiff::SignedDuration::ZERO).unsigned_abs()),
                since: Some(*since),
                reason: reasons::of_action(*action),
                details: details.join("; "),
                advice: advice_for_aws(&item.key, *action).to_owned(),
            })
        }
        Verdict::Pending(step, waits) => waits.iter().find_map(|wait| match wait {
            WaitingOn::Retry(failed) => wait_of_failure(&name, failed, step.action, goal, now),
            // Not evaluated yet: the other waits come first.
            WaitingOn::Gate(_, why) if why.is_empty() => None,
            WaitingOn::Gate(key, why) if key.kind() == "replacementWindow" => {
                Some(Wait::planned(format!("{name}: {why}")))
            }
            WaitingOn::Gate(key, why) if key.kind() == "drain" => Some(Wait {
                on: format!("{name}: {why}"),
                kind: Kind::Replacing,
                since: None,
                reason: Reason::Upgrading,
                details: String::new(),
                advice: "check its nodes and their Pods (kubectl get pods -A --field-selector spec.nodeName=NODE)"
                    .to_owned(),
            }),
            WaitingOn::Gate(key, why) => {
                let (kind, reason) = match key.kind() {
                    "nodes" => (Kind::Nodes, Reason::WaitingForNodes),
                    "nodeGroups" => (Kind::NodeGroups, Reason::Deleting),
                    _ => (Kind::Cluster, Reason::WaitingForCluster),
                };
                let advice = match kind {
                    Kind::Nodes => "check the NodeGroups of this cluster, or create one",
                    Kind::NodeGroups => "check the status of the NodeGroups",
                    _ => "check its EksCluster",
                };
                let on = format!("{name}: waiting for {}", label(key));
                Some(Wait { on, kind, since: None, reason, details: why.clone(), advice: advice.to_owned() })
            }
            WaitingOn::ReadAfterWrite(_) => Some(Wait {
                on: format!("{name}: {}", doing(step.action)),
                kind: Kind::Change,
                since: None,
                reason: reasons::of_action(step.action),
                details: "AWS accepted the change, but does not show it".to_owned(),
                advice:
                    "check whether another tool or an account policy reverts it; Keelson retries with increasing delays"
                        .to_owned(),
            }),
            // Owned by that resource, which is in the plan itself.
            WaitingOn::Resource(_) => None,
        }),
        Verdict::NotObserved(Some(failed)) => {
            wait_of_failure(&format!("{name}: reading"), failed, Action::Update, goal, now)
        }
        // Complete, about to run, reported elsewhere, or owned by the resource it is deleted with.
        Verdict::Settled | Verdict::Step(_) | Verdict::Held(..) | Verdict::Blocked(_) => None,
        Verdict::DeletedWith(_) | Verdict::NotObserved(None) => None,
    }
}

fn wait_of_failure(name: &str, failed: &RetryState, action: Action, goal: Goal, now: Timestamp) -> Option<Wait> {
    if failed.requires_intervention(now) {
        return None;
    }
    Some(Wait {
        on: format!("{name}: failing call"),
        kind: Kind::Call,
        since: Some(failed.first),
        reason: reasons::reason_of_step(failed, action, goal, now),
        details: failed.failure.message.clone(),
        advice: "fix what the message names, or ask AWS Support; Keelson retries with increasing delays".to_owned(),
    })
}

/// Advice for when AWS takes too long.
fn advice_for_aws(key: &Key, action: Action) -> &'static str {
    match action {
        Action::Create | Action::Update if addon::KIND.is_of(key) => {
            "check whether its pods can be scheduled (kubectl get pods -n kube-system), and correct its entry in spec.addons"
        }
        Action::Create if node_group::KIND.is_of(key) => {
            "check status.healthIssues, and whether its instances can reach the control plane: subnets, routes, role, launch template"
        }
        Action::Update if node_group::KIND.is_of(key) => {
            "check which nodes are not replaced and why (kubectl get nodes, PodDisruptionBudgets); EKS ends the update by itself if \
             pods cannot be evicted"
        }
        Action::Delete if node_group::KIND.is_of(key) => {
            "check the activity of its Auto Scaling group: a protected instance or a lifecycle hook blocks the deletion"
        }
        Action::Delete if fargate_profile::KIND.is_of(key) => "check whether its pods terminate",
        _ => {
            "check its state in AWS, and ask AWS Support if it does not progress; Keelson checks it every five minutes"
        }
    }
}

/// The wait of an object without a plan, from its conditions.
pub fn wait_of_overall(overall: &Overall) -> Option<Wait> {
    let Overall::Reconciling(ConditionValue { reason, message, .. }) = overall else { return None };
    let (on, kind, advice) = match reason {
        Reason::Pending => ("the management cluster", Kind::Management, "check the operator's log"),
        Reason::WaitingForCluster => ("its EksCluster", Kind::Cluster, "check the EksCluster's status"),
        Reason::WaitingForNodes => ("nodes", Kind::Nodes, "check the status of the NodeGroups"),
        Reason::WaitingForSync => {
            ("the GitOps agent's sync", Kind::Agent, "check its Deployments and logs in the cluster")
        }
        Reason::SyncFailed => ("the GitOps agent's sync", Kind::Agent, "fix in Git what the message names"),
        Reason::AgentUnreachable => (
            "the cluster's API server",
            Kind::Unreachable,
            "let the operator reach it: endpoint access, network, --workload-proxy",
        ),
        Reason::OutsideMaintenanceWindow
        | Reason::WaitingForWave
        | Reason::WaveHalted
        | Reason::WaitingForHook
        | Reason::HookFailed
        | Reason::Suspended
        | Reason::Observed => ("a plan", Kind::Planned, ""),
        Reason::Degraded | Reason::InsufficientCapacity | Reason::QuotaExceeded => {
            ("its health", Kind::Health, "fix what AWS reports")
        }
        Reason::AwsError | Reason::Throttled | Reason::CredentialsUnavailable | Reason::AccessDenied => {
            ("AWS", Kind::Call, "fix what the message names; Keelson retries with increasing delays")
        }
        Reason::DeletionBlocked => ("its deletion", Kind::Call, "remove what the message names, and what blocks it"),
        Reason::Deleting => ("its deletion", Kind::Other, "check what remains in AWS"),
        Reason::Upgrading => ("its upgrade", Kind::Upgrade, "check status.upgrade and the NodeGroups"),
        _ => ("AWS", Kind::Other, "check status.plan, and the state in AWS"),
    };
    Some(Wait {
        on: format!("waiting for {on}"),
        kind,
        since: None,
        reason: *reason,
        details: message.clone(),
        advice: advice.to_owned(),
    })
}

/// Evaluates the waits of an object. `waits`: `None` if nothing was observed; the previous waits then continue.
pub fn evaluate_waits(
    previous: &[WaitStatus],
    waits: Option<Vec<Wait>>,
    overall: Overall,
    scale: f64,
    now: Timestamp,
) -> EvaluatedWaits {
    let is_observed = waits.is_some();
    let mut waits = waits.unwrap_or_default();
    if waits.is_empty() {
        waits.extend(wait_of_overall(&overall));
    }
    let suspended = matches!(overall, Overall::Suspended(_));
    let mut evaluated = waits::evaluate_waits(previous, &waits, overall, scale, now);
    if !is_observed && !suspended {
        let known = |one: &&WaitStatus| !evaluated.waits.iter().any(|wait| wait.on == one.on);
        let continued: Vec<_> = previous.iter().filter(known).cloned().collect();
        evaluated.waits.extend(continued);
        evaluated.waits.truncate(MAX_WAITS);
    }
    evaluated
}

/// The agent's wait, considered when nothing else is waited for.
pub fn wait_of_agent(condition: &ConditionValue) -> Option<Wait> {
    if condition.is_true() {
        return None;
    }
    let wait = match condition.reason {
        Reason::WaitingForApproval | Reason::OnHold | Reason::Observed | Reason::Suspended => {
            return Some(Wait::planned("the GitOps agent"));
        }
        Reason::Creating | Reason::Pending => Wait {
            on: "waiting for the GitOps agent".to_owned(),
            kind: Kind::Agent,
            since: None,
            reason: condition.reason,
            details: condition.message.clone(),
            advice: "check its Deployments in the cluster, and status.gitops".to_owned(),
        },
        _ => wait_of_overall(&Overall::Reconciling(condition.clone()))?,
    };
    Some(wait)
}

#[cfg(test)]
#[path = "waiting_on_tests.rs"]
mod tests;
