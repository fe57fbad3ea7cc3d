//! What is in the way of an object, and what a user can do about it: from conditions, health issues and the checks of an
//! upgrade. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::api::Reason;
use crate::api::conditions::ConditionType;
use crate::api::status::Verdict;
use crate::cli::approve::waiting::Kind;
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
        | Reason::OutsideMaintenanceWindow
        | Reason::UpgradeBlocked
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
        // Stalled=False repeats the reason of Ready without a message; a reason of another version may be a problem.
        let is_stopped = condition.type_ == "Stalled" && condition.status == "True";
        let is_problem = Reason::parse(&condition.reason).is_none_or(is_problem);
        let is_about_parts = condition.type_ != "Stalled" && condition.type_ != "Reconciling";
        if is_stopped || is_problem && is_about_parts {
            add(&condition.reason, &condition.message, Some(condition.last_transition_time.0));
        }
    }
    for (part, issue) in &subject.issues {
        let part = if part.is_empty() { String::new() } else { format!("{part}: ") };
        let ids =
            if issue.resource_ids.is_empty() { String::new() } else { format!(" ({})", issue.resource_ids.join(", ")) };
        add(&issue.code, &format!("{part}{}{ids}", issue.message.as_deref().unwrap_or_default()), None);
    }
    let failed = |verdict: Verdict| matches!(verdict, Verdict::Failed | Verdict::Unknown);
    for check in subject.upgrade.preflight.iter().filter(|check| failed(check.verdict)) {
        add(&check.check, check.message.as_deref().unwrap_or_default(), None);
    }
    for object in subject.gitops.iter().flat_map(|gitops| &gitops.failing).take(MAX_FAILING) {
        let message = object.message.as_deref().unwrap_or_default();
        let message = format!("{} {}: {message}", object.kind, object.name);
        add(object.reason.as_deref().unwrap_or("SyncFailed"), &message, None);
    }
    found
}

/// What the user can do about a problem with that reason; `None`: its message has the advice, or it ends by itself.
pub fn advice(reason: &str, subject: &Subject) -> Option<String> {
    let (name, namespace) = (subject.cluster.as_deref().unwrap_or_else(|| subject.name()), subject.namespace());
    let arguments = subject.arguments();
    let field = if subject.kind == Kind::EksCluster { "spec" } else { "its EksCluster's spec" };
    Some(match Reason::parse(reason)? {
        Reason::WaitingForApproval => format!("read the plan and approve it: keelson approve {arguments}"),
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
        Reason::OutsideMaintenanceWindow => {
            let opens = subject.upgrade.next_window.as_deref();
            let opens = opens.map(|at| format!("wait until the window opens ({at}), or ")).unwrap_or_default();
            format!("{opens}change {field}.upgrade.windows")
        }
        Reason::SyncFailed => {
            format!("correct it in Git; to look into the cluster: keelson kubeconfig {name} -n {namespace} --merge")
        }
        Reason::AgentUnreachable => {
            format!("see what cannot be reached: keelson doctor {name} -n {namespace}")
        }
        Reason::Drifted => format!("take it into the spec, or set {field}.driftPolicy to Correct"),
        Reason::Observed => format!("to apply it, set {field}.changePolicy to Approval or Automatic"),
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
        | Reason::WaitingForNodes
        | Reason::WaitingForSync
        | Reason::NotRequested
        | Reason::UpgradeBlocked
        | Reason::InsufficientCapacity
        | Reason::Degraded
        | Reason::DeletionBlocked
        | Reason::Throttled => return None,
    })
}
