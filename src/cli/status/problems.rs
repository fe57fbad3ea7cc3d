//! What is in the way of an object, and what a user can do about it: from conditions, health issues and the checks of an
//! upgrade. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::hook_advice;
use crate::api::Reason;
use crate::api::conditions::ConditionType;
use crate::api::policy::DriftPolicy;
use crate::api::status_cluster::{FailingObject, HealthIssue, Verdict};
use crate::cli::approve::pending_plans::Kind;
use crate::cli::subject::Subject;

/// Something in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The object, if it is not the one that the user named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Reason of a condition, code of EKS, or name of a check.
    pub reason: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Failing objects of the GitOps agent that are listed.
const MAX_FAILING: usize = 3;

/// Whether a condition with that reason is worth attention. The others are states of normal work.
fn is_problem(reason: Reason) -> bool {
    match reason {
        Reason::Creating
        | Reason::Updating
        | Reason::Deleting
        | Reason::Upgrading
        | Reason::Available
        | Reason::Pending
        | Reason::Reconciled
        | Reason::Synced
        | Reason::WaitingForCluster
        | Reason::WaitingForNodes
        | Reason::WaitingForSync
        | Reason::NotRequested => false,
        Reason::Drifted
        | Reason::Observed
        | Reason::WaitingForApproval
        | Reason::OnHold
        | Reason::OutsideMaintenanceWindow
        | Reason::UpgradeBlocked
        | Reason::WaitingForWave
        | Reason::WaveHalted
        | Reason::WaitingForHook
        | Reason::HookFailed
        | Reason::NotOwned
        | Reason::QuotaExceeded
        | Reason::InsufficientCapacity
        | Reason::AccessDenied
        | Reason::CredentialsUnavailable
        | Reason::InvalidSpec
        | Reason::Failed
        | Reason::Degraded
        | Reason::DeletionBlocked
        | Reason::SyncFailed
        | Reason::SupportEnding
        | Reason::AgentUnreachable
        | Reason::AwsError
        | Reason::Throttled
        | Reason::Timeout
        | Reason::Suspended => true,
    }
}

/// Begins the message of a condition that the operator does not observe meanwhile.
const NOT_OBSERVED: &str = "not observed while the deletion waits";
/// Part of the message of a cluster that waits for nodes which nobody asked for.
const NO_NODE_GROUP: &str = "no NodeGroup refers to this";

/// All that the message of a condition says of a resource whose failure another condition has.
const NOT_RECONCILED: &str = ": cannot be reconciled to the spec";

/// Reasons of a wait that InSync shares with Ready: its message has the steps that wait, and not what they wait for.
const SHARED_WAITS: [Reason; 5] = [
    Reason::OutsideMaintenanceWindow,
    Reason::WaitingForWave,
    Reason::WaveHalted,
    Reason::WaitingForHook,
    Reason::HookFailed,
];

/// Whether InSync repeats what Ready says: the same wait, or that the only difference is what failed.
fn repeats_ready(condition: &Condition, subject: &Subject) -> bool {
    let is_sync = condition.type_ == ConditionType::InSync.as_str();
    let is_failure = condition.message.ends_with(NOT_RECONCILED) && !condition.message.contains("; ");
    let is_wait = SHARED_WAITS.iter().any(|reason| reason.as_str() == condition.reason);
    let is_same_wait = is_wait && subject.reason() == condition.reason;
    is_sync && !subject.is_true(ConditionType::Ready) && (is_same_wait || is_failure)
}

/// Whether a condition is in the way of that object, apart from its reason.
fn is_in_the_way(condition: &Condition, subject: &Subject) -> bool {
    let is_unknown = condition.status == "Unknown";
    if repeats_ready(condition, subject) {
        return false;
    }
    match Reason::parse(&condition.reason) {
        // Before and during a deletion nobody needs to know it.
        _ if subject.is_deleted() && is_unknown && condition.message.starts_with(NOT_OBSERVED) => false,
        Some(Reason::WaitingForApproval) => subject.waits_for_approval(),
        Some(Reason::Drifted) => condition.type_ != ConditionType::InSync.as_str() || !subject.has_pending_edit(),
        Some(Reason::WaitingForNodes) => condition.message.contains(NO_NODE_GROUP),
        Some(reason) => is_problem(reason),
        // A reason of another version.
        None => true,
    }
}

/// All problems of an object, each once. The first is that of its Ready condition.
pub fn of(subject: &Subject) -> Vec<Problem> {
    let mut found: Vec<Problem> = Vec::new();
    let mut add = |reason: &str, message: &str, since: Option<Timestamp>| {
        // Ready repeats the message of the part that is the cause.
        let is_known = |one: &Problem| one.reason == reason && (one.message.contains(message) || message.is_empty());
        if !found.iter().any(is_known) {
            found.push(Problem { object: None, reason: reason.to_owned(), message: message.to_owned(), since });
        }
    };
    let overall = [ConditionType::Ready, ConditionType::Stalled];
    let parts = subject.conditions.iter().filter(|one| overall.iter().all(|kind| one.type_ != kind.as_str()));
    for condition in overall.iter().filter_map(|kind| subject.condition(*kind)).chain(parts) {
        // Stalled=False repeats the reason of Ready without a message.
        let is_stopped = condition.type_ == "Stalled" && condition.status == "True";
        let is_about_parts = condition.type_ != "Stalled" && condition.type_ != "Reconciling";
        if is_stopped || is_about_parts && is_in_the_way(condition, subject) {
            let since = subject.waiting_since(&condition.reason).unwrap_or(condition.last_transition_time.0);
            add(&condition.reason, &condition.message, Some(since));
        }
    }
    let is_explained = |issue: &HealthIssue| {
        let message = issue.message.as_deref().unwrap_or_default();
        let said = |one: &Condition| one.message.contains(&issue.code) && one.message.contains(message);
        subject.condition(ConditionType::Ready).is_some_and(said) && !subject.is_true(ConditionType::Ready)
    };
    for (part, issue) in subject.issues.iter().filter(|(_, issue)| !is_explained(issue)) {
        let part = if part.is_empty() { String::new() } else { format!("{part}: ") };
        let ids =
            if issue.resource_ids.is_empty() { String::new() } else { format!(" ({})", issue.resource_ids.join(", ")) };
        add(&issue.code, &format!("{part}{}{ids}", issue.message.as_deref().unwrap_or_default()), None);
    }
    let failed = |verdict: Verdict| matches!(verdict, Verdict::Failed | Verdict::Unknown);
    for check in subject.upgrade.preflight.iter().filter(|check| failed(check.verdict)) {
        add(&check.check, check.message.as_deref().unwrap_or_default(), None);
    }
    // Nothing may be waiting now; what comes next waits for them.
    for hold in &subject.holds {
        add(Reason::OnHold.as_str(), &hold.to_string(), None);
    }
    let is_named = |object: &FailingObject| {
        let message = object.message.as_deref().unwrap_or_default();
        let of_agent = [ConditionType::Ready, ConditionType::GitOpsReady];
        let mut conditions = of_agent.iter().filter_map(|kind| subject.condition(*kind));
        !message.is_empty() && conditions.any(|one| one.message.contains(&object.name) && one.message.contains(message))
    };
    let failing = subject.gitops.iter().flat_map(|gitops| &gitops.failing);
    for object in failing.filter(|object| !is_named(object)).take(MAX_FAILING) {
        let message = object.message.as_deref().unwrap_or_default();
        let message = format!("{} {}: {message}", object.kind, object.name);
        add(object.reason.as_deref().unwrap_or("SyncFailed"), &message, None);
    }
    found
}

/// Begins the time in the message of what waits for a maintenance window.
const OPENS: &str = "the next opens ";
/// Part of the message of what waits for a window that does not come.
const NEVER_OPENS: &str = "none opens again";
/// Part of the message of what an AwsAccount does not allow: its owner decides, and AWS lacks nothing.
const NOT_LISTED: &str = "the owner of the AwsAccount has to add it there";

/// Part of the message of a node group that EKS does not finish: to try again does not help.
const NOT_FINISHED: &str = "delete this NodeGroup and apply it again";

/// Part of the message of a hook whose workload cluster does not answer.
const NO_ANSWER: &str = " of the workload cluster: ";
/// Names the FleetRollout in the message of what waits for it.
const ROLLOUT: &str = "FleetRollout ";
/// Names the wave in the message of what waits for an approval of it.
const WAVE: &str = "wave ";
/// Follows the name of a wave that waits for an approval.
const WAITS_FOR_APPROVAL: &str = " waits for an approval";

/// What the user can do about a problem, each with its command; none: its message has the advice, or it ends by itself.
pub fn advice_for(problem: &Problem, subject: &Subject) -> Vec<String> {
    let hook = subject.hooks.iter().find(|entry| problem.message.contains(&entry.describe()));
    match (Reason::parse(&problem.reason), hook) {
        (Some(Reason::HookFailed), Some(entry)) => {
            let retry = rollout_of(&problem.message, subject).map(|name| rollout_retry(&name));
            hook_advice::advice_after_failure(entry, subject).into_iter().chain(retry).collect()
        }
        (Some(Reason::WaitingForHook), Some(entry)) => vec![hook_advice::advice_while_waiting(entry, subject)],
        (Some(Reason::WaveHalted), _) => {
            let failed =
                hook_advice::failed(subject).flat_map(|entry| hook_advice::advice_after_failure(entry, subject));
            let mut all: Vec<String> = failed.collect();
            let retry = rollout_of(&problem.message, subject).filter(|_| !all.is_empty());
            all.push(advice_about_wave(&problem.message, subject));
            all.extend(retry.map(|name| rollout_retry(&name)));
            all
        }
        _ => advice_by_message(problem, subject).into_iter().collect(),
    }
}

/// The advice about a problem that its reason and its message allow.
fn advice_by_message(problem: &Problem, subject: &Subject) -> Option<String> {
    if problem.message.contains(NOT_FINISHED) {
        let (name, namespace) = (subject.name(), subject.namespace());
        return (subject.kind == Kind::NodeGroup).then(|| {
            format!("once the cause is removed: kubectl delete nodegroup {name} -n {namespace}, and apply it again")
        });
    }
    match Reason::parse(&problem.reason) {
        Some(Reason::AccessDenied) if problem.message.contains(NOT_LISTED) => None,
        Some(Reason::WaitingForWave | Reason::WaveHalted) => Some(advice_about_wave(&problem.message, subject)),
        Some(Reason::OutsideMaintenanceWindow) => {
            let opens = problem.message.split_once(OPENS).map(|(_, rest)| rest);
            let opens = opens.and_then(|rest| rest.split([' ', ';', ',']).next());
            let opens = opens.or(subject.upgrade.next_window.as_deref());
            Some(change_windows(opens.filter(|_| !problem.message.contains(NEVER_OPENS)), subject))
        }
        _ => advice(&problem.reason, subject),
    }
}

/// What to do about a wave that has not come, or has halted: an approval, if the wave waits for one.
fn advice_about_wave(message: &str, subject: &Subject) -> String {
    let name = rollout_of(message, subject);
    let wave = message.split_once(WAITS_FOR_APPROVAL).and_then(|(before, _)| before.rsplit_once(WAVE));
    match (name, wave) {
        (Some(name), Some((_, wave))) if !wave.contains(' ') => rollout_approval(&name, wave),
        (Some(name), _) => format!("see the waves, and what holds them: keelson rollout status {name}"),
        (None, _) => "see the waves, and what holds them: keelson rollout status".to_owned(),
    }
}

/// The FleetRollout that the message names, or another condition where it has only the step, or the spec.
fn rollout_of(message: &str, subject: &Subject) -> Option<String> {
    let messages = std::iter::once(message).chain(subject.conditions.iter().map(|one| one.message.as_str()));
    let named = messages.filter_map(|message| message.split_once(ROLLOUT)).find_map(|(_, rest)| {
        let name = rest.split([' ', ':', ',']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    named.or_else(|| subject.rollout.clone())
}

/// How a rollout that a hook has halted goes on: before that, nothing begins in the cluster.
fn rollout_retry(rollout: &str) -> String {
    format!("if the rollout has halted, continue it after that: keelson rollout retry {rollout}")
}

/// Whether Keelson cannot use the API server of a cluster that EKS says is active.
pub fn is_about_api_server(problem: &Problem) -> bool {
    match Reason::parse(&problem.reason) {
        Some(Reason::AgentUnreachable) => true,
        Some(Reason::WaitingForHook | Reason::HookFailed) => problem.message.contains(NO_ANSWER),
        _ => false,
    }
}

/// How the clusters of a wave are approved.
pub fn rollout_approval(rollout: &str, wave: &str) -> String {
    format!("see the clusters that wait, and approve them: keelson rollout approve {rollout} --wave {wave}")
}

/// `opens`: when the next window opens.
fn change_windows(opens: Option<&str>, subject: &Subject) -> String {
    let field = if subject.kind == Kind::EksCluster { "spec" } else { "its EksCluster's spec" };
    let opens = opens.map(|at| format!("wait until the window opens ({at}), or ")).unwrap_or_default();
    format!("{opens}change {field}.upgrade.windows")
}

/// What the user can do about a problem with that reason; `None`: its message has the advice, or it ends by itself.
pub fn advice(reason: &str, subject: &Subject) -> Option<String> {
    let (name, namespace) = (subject.cluster.as_deref().unwrap_or_else(|| subject.name()), subject.namespace());
    let arguments = subject.arguments();
    let field = if subject.kind == Kind::EksCluster { "spec" } else { "its EksCluster's spec" };
    Some(match Reason::parse(reason)? {
        Reason::WaitingForApproval => approve(&arguments),
        // That of its EksCluster is in the message.
        Reason::OnHold => format!("let Keelson continue: {}", subject.removal_of_holds()?),
        Reason::Suspended => format!("let Keelson continue: keelson resume {name} -n {namespace}"),
        Reason::AccessDenied | Reason::CredentialsUnavailable | Reason::QuotaExceeded => {
            format!("see what the account lacks: keelson doctor {name} -n {namespace}")
        }
        Reason::Failed | Reason::Timeout | Reason::AwsError => {
            format!("once the cause is removed, try again at once: keelson reconcile {arguments}")
        }
        Reason::NotOwned => "if it was yours before a restore, keelson recover; if it is to be adopted, \
                             docs/import.md; otherwise choose another name"
            .to_owned(),
        Reason::OutsideMaintenanceWindow => change_windows(subject.upgrade.next_window.as_deref(), subject),
        Reason::SyncFailed => {
            format!("correct it in Git; to look into the cluster: keelson kubeconfig {name} -n {namespace} --merge")
        }
        Reason::AgentUnreachable => {
            format!("see what cannot be reached: keelson doctor {name} -n {namespace}")
        }
        Reason::Drifted => match subject.drift_policy {
            Some(DriftPolicy::Report) => format!("take it into the spec, or set {field}.driftPolicy to Correct"),
            _ if subject.waits_for_approval() => approve(&arguments),
            // It is corrected.
            _ => return None,
        },
        Reason::WaitingForNodes => {
            format!("create a NodeGroup in namespace {namespace} whose spec.clusterRef.name is {name}")
        }
        Reason::DeletionBlocked => {
            format!("do what the message says; to have it checked at once: keelson reconcile {arguments}")
        }
        Reason::Observed => format!("to apply it, set {field}.changePolicy to Approval or Automatic"),
        Reason::WaitingForWave | Reason::WaveHalted => {
            "see the waves, and what holds them: keelson rollout status".to_owned()
        }
        Reason::HookFailed => {
            format!(
                "once it is corrected: keelson reconcile {arguments}; to pass the hook: the annotation in the message"
            )
        }
        Reason::WaitingForHook => {
            "wait until its Job ends, or pass the hook with the annotation keelson.dev/skip-hook".to_owned()
        }
        Reason::SupportEnding => "raise spec.version".to_owned(),
        Reason::InvalidSpec => "correct the spec".to_owned(),
        Reason::Creating
        | Reason::Updating
        | Reason::Deleting
        | Reason::Upgrading
        | Reason::Available
        | Reason::Pending
        | Reason::Reconciled
        | Reason::Synced
        | Reason::WaitingForCluster
        | Reason::WaitingForSync
        | Reason::NotRequested
        | Reason::UpgradeBlocked
        | Reason::InsufficientCapacity
        | Reason::Degraded
        | Reason::Throttled => return None,
    })
}

fn approve(arguments: &str) -> String {
    format!("read the plan and approve it: keelson approve {arguments}")
}
