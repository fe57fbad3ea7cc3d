//! What an object waits for, out of its plan, or out of what its conditions say where there is no plan. Each has an owner: AWS at
//! work, a call that is repeated, a gate that others open. Pure; how long each may take is in [`super::waits`].

use jiff::Timestamp;

use super::conditions::{ConditionValue, Overall};
use super::progress::{doing, label};
use super::reasons;
use super::waits::{self, Judged, Kind, Wait};
use crate::api::Reason;
use crate::api::status::{MAX_WAITS, WaitStatus};
use crate::engine::failure::RetryState;
use crate::engine::{Action, Goal, Item, Memory, Plan, Verdict, WaitingOn};

/// What the resources of a plan wait for.
pub fn of_plan(plan: &Plan, memory: &Memory, now: Timestamp) -> Vec<Wait> {
    plan.items
        .iter()
        .filter(|item| item.forbidden.is_empty())
        .filter_map(|item| of_item(item, plan.goal, memory, now))
        .collect()
}

fn of_item(item: &Item, goal: Goal, memory: &Memory, now: Timestamp) -> Option<Wait> {
    let name = label(&item.key);
    match &item.verdict {
        Verdict::Waiting { action, since, until, note, operation } => {
            let update = operation.as_ref().map(|operation| format!(", update {}", operation.id)).unwrap_or_default();
            let state = memory.observed(&item.key).map(|seen| seen.state.clone()).unwrap_or_default();
            let says: Vec<_> = [state, note.clone()].into_iter().filter(|text| !text.is_empty()).collect();
            Some(Wait {
                on: format!("{name}: {}{update}", doing(*action)),
                kind: Kind::Aws(until.duration_since(*since).max(jiff::SignedDuration::ZERO).unsigned_abs()),
                since: Some(*since),
                reason: reasons::of_action(*action),
                says: says.join("; "),
                advice: of_aws(item.key.kind(), *action).to_owned(),
            })
        }
        Verdict::Pending(step, waits) => waits.iter().find_map(|wait| match wait {
            WaitingOn::Retry(failed) => of_failed(&name, failed, step.action, goal, now),
            WaitingOn::Gate(key, why) => {
                let (kind, reason) = match key.kind() {
                    "nodes" => (Kind::Nodes, Reason::WaitingForNodes),
                    "nodeGroups" => (Kind::NodeGroups, Reason::Deleting),
                    _ => (Kind::Cluster, Reason::WaitingForCluster),
                };
                let advice = match kind {
                    Kind::Nodes => "see the NodeGroups of this cluster, or make one",
                    Kind::NodeGroups => "see what the NodeGroups say of their deletion",
                    _ => "see its EksCluster",
                };
                let on = format!("{name}: waiting for {}", label(key));
                Some(Wait { on, kind, since: None, reason, says: why.clone(), advice: advice.to_owned() })
            }
            WaitingOn::ReadAfterWrite(_) => Some(Wait {
                on: format!("{name}: {}", doing(step.action)),
                kind: Kind::Change,
                since: None,
                reason: reasons::of_action(step.action),
                says: "AWS took it, and does not show it".to_owned(),
                advice: "see who changes it back, another tool or a policy of the account; it is done again ever more rarely"
                    .to_owned(),
            }),
            // Owned by that resource, which is in the plan itself.
            WaitingOn::Resource(_) => None,
        }),
        Verdict::NotObserved(Some(failed)) => of_failed(&format!("{name}: reading it"), failed, Action::Update, goal, now),
        // Done, to be done now, told as it is, or owned by what it goes with.
        Verdict::Settled | Verdict::Step(_) | Verdict::Held(..) | Verdict::Blocked(_) => None,
        Verdict::DeletedWith(_) | Verdict::NotObserved(None) => None,
    }
}

fn of_failed(name: &str, failed: &RetryState, action: Action, goal: Goal, now: Timestamp) -> Option<Wait> {
    if failed.requires_intervention(now) {
        return None;
    }
    Some(Wait {
        on: format!("{name}: a call that fails"),
        kind: Kind::Call,
        since: Some(failed.first),
        reason: reasons::reason_of_step(failed, action, goal, now),
        says: failed.failure.message.clone(),
        advice: "it is tried again ever more rarely; put right what the message names, or ask AWS Support".to_owned(),
    })
}

/// What to do when AWS takes too long.
fn of_aws(kind: &str, action: Action) -> &'static str {
    match (kind, action) {
        ("addon", Action::Create | Action::Update) => {
            "see whether its pods find nodes that they fit on (kubectl get pods -n kube-system), and put right its entry in spec.addons"
        }
        ("nodeGroup", Action::Create) => {
            "see status.healthIssues, and whether its instances reach the control plane: subnets, routes, role, launch template"
        }
        ("nodeGroup", Action::Update) => {
            "see which nodes are not replaced and why (kubectl get nodes, PodDisruptionBudgets); EKS ends the update by itself when \
             pods cannot be evicted"
        }
        ("nodeGroup", Action::Delete) => {
            "see the activity of its Auto Scaling group: an instance that is protected or that a lifecycle hook holds keeps it"
        }
        ("fargateProfile", Action::Delete) => "see whether its pods end",
        _ => {
            "see what AWS says of it, and ask AWS Support if it does not move; it is looked at again every five minutes"
        }
    }
}

/// What an object waits for of which there is no plan: its conditions say it.
pub fn of_overall(overall: &Overall) -> Option<Wait> {
    let Overall::Reconciling(ConditionValue { reason, message, .. }) = overall else { return None };
    let (on, kind, advice) = match reason {
        Reason::Pending => ("the management cluster", Kind::Management, "see the operator's log"),
        Reason::WaitingForCluster => ("its EksCluster", Kind::Cluster, "see what the EksCluster says"),
        Reason::WaitingForNodes => ("nodes", Kind::Nodes, "see what the NodeGroups say"),
        Reason::WaitingForSync => {
            ("the GitOps agent's sync", Kind::Agent, "see its Deployments and logs in the cluster")
        }
        Reason::SyncFailed => ("the GitOps agent's sync", Kind::Agent, "put right in Git what the message names"),
        Reason::AgentUnreachable => (
            "the cluster's API server",
            Kind::Unreachable,
            "let the operator reach it: endpoint access, network, --workload-proxy",
        ),
        Reason::OutsideMaintenanceWindow | Reason::Suspended | Reason::Observed => ("a plan", Kind::Planned, ""),
        Reason::Degraded | Reason::InsufficientCapacity => ("its health", Kind::Health, "put right what AWS names"),
        Reason::AwsError | Reason::Throttled | Reason::CredentialsUnavailable | Reason::AccessDenied => {
            ("AWS", Kind::Call, "it is tried again ever more rarely; put right what the message names")
        }
        Reason::DeletionBlocked => ("its deletion", Kind::Call, "remove what is named, and what holds it"),
        Reason::Deleting => ("its deletion", Kind::Other, "see what is left in AWS"),
        Reason::Upgrading => ("its upgrade", Kind::Upgrade, "see status.upgrade and the NodeGroups"),
        _ => ("AWS", Kind::Other, "see status.plan, and what AWS says"),
    };
    Some(Wait {
        on: format!("waiting for {on}"),
        kind,
        since: None,
        reason: *reason,
        says: message.clone(),
        advice: advice.to_owned(),
    })
}

/// Judges where an object stands by what it waits for. `waits`: `None` when nothing was looked at; what was waited for then is waited
/// for still.
pub fn judge(
    previous: &[WaitStatus],
    waits: Option<Vec<Wait>>,
    overall: Overall,
    scale: f64,
    now: Timestamp,
) -> Judged {
    let looked = waits.is_some();
    let mut waits = waits.unwrap_or_default();
    if waits.is_empty() {
        waits.extend(of_overall(&overall));
    }
    let suspended = matches!(overall, Overall::Suspended(_));
    let mut judged = waits::judge(previous, &waits, overall, scale, now);
    if !looked && !suspended {
        let known = |one: &&WaitStatus| !judged.waits.iter().any(|wait| wait.on == one.on);
        let others: Vec<_> = previous.iter().filter(known).cloned().collect();
        judged.waits.extend(others);
        judged.waits.truncate(MAX_WAITS);
    }
    judged
}

/// What the agent waits for, once nothing else is waited for.
pub fn of_agent(says: &ConditionValue) -> Option<Wait> {
    if says.is_true() {
        return None;
    }
    let wait = match says.reason {
        Reason::WaitingForApproval | Reason::Observed | Reason::Suspended => {
            return Some(Wait::planned("the GitOps agent"));
        }
        Reason::Creating | Reason::Pending => Wait {
            on: "waiting for the GitOps agent".to_owned(),
            kind: Kind::Agent,
            since: None,
            reason: says.reason,
            says: says.message.clone(),
            advice: "see whether its Deployments run in the cluster, and status.gitops".to_owned(),
        },
        _ => of_overall(&Overall::Reconciling(says.clone()))?,
    };
    Some(wait)
}

#[cfg(test)]
#[path = "waiting_on_tests.rs"]
mod tests;
