//! Events about the agent: that something fails, and that it works again, once each. Pure.

use crate::api::Reason;
use crate::api::conditions::{self, ConditionType};
use crate::api::listing::first_and_count;
use crate::api::status_cluster::{EksClusterStatus, FailingObject, GitOpsStatus};
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::conditions::ConditionValue;

/// Reasons of GitOpsReady that are failures, not stages of progress.
const FAILURES: [Reason; 4] =
    [Reason::SyncFailed, Reason::AgentUnreachable, Reason::AccessDenied, Reason::CredentialsUnavailable];

/// What was published last, so that each change is published once.
#[derive(Debug, Default)]
pub struct AgentEvents {
    /// `None`: this process has not observed the agent yet. Otherwise the current failure, if any.
    published: Option<Option<String>>,
}

/// A failure.
struct AgentFailure {
    reason: Reason,
    /// Identifies the failure: equal for as long as it is the same one.
    what: String,
    note: String,
}

impl AgentEvents {
    /// The new events. `previous`: the last status, used until this process has published something.
    pub fn of(
        &mut self,
        previous: &EksClusterStatus,
        condition: &ConditionValue,
        gitops: Option<&GitOpsStatus>,
    ) -> Option<EventMessage> {
        let before = self.published.take().unwrap_or_else(|| of_status(previous));
        let failing = gitops.map(|gitops| gitops.failing.as_slice()).unwrap_or_default();
        let now = failure(condition.is_true(), condition.reason.as_str(), &condition.message, failing);
        let (still, event) = match now {
            Some(now) if before.as_ref() == Some(&now.what) => (before, None),
            Some(AgentFailure { reason, what, note }) => (Some(what), Some(EventMessage::warning(reason, note))),
            None if before.is_some() && condition.is_true() => {
                (None, Some(EventMessage::normal("Synced", &condition.message)))
            }
            // In progress: whether the failure is over is known once the agent is ready.
            None => (before, None),
        };
        self.published = Some(still);
        event
    }
}

fn of_status(status: &EksClusterStatus) -> Option<String> {
    let ready = conditions::get(&status.conditions, ConditionType::GitOpsReady)?;
    let failing = status.gitops.as_ref().map(|gitops| gitops.failing.as_slice()).unwrap_or_default();
    failure(ready.status == "True", &ready.reason, &ready.message, failing).map(|failure| failure.what)
}

fn failure(ready: bool, reason: &str, message: &str, failing: &[FailingObject]) -> Option<AgentFailure> {
    if let Some(reason) = FAILURES.into_iter().find(|failure| !ready && failure.as_str() == reason) {
        // The text up to the first colon names what fails; the cause after it may differ with each try.
        let what = message.split(": ").next().unwrap_or_default();
        return Some(AgentFailure { reason, what: format!("{reason} {what}"), note: message.to_owned() });
    }
    let FailingObject { kind, name, reason, message } = failing.first()?;
    let (reason, message) = (reason.as_deref().unwrap_or_default(), message.as_deref().unwrap_or_default());
    let note = first_and_count(format_args!("{kind} {name}: {reason}: {message}"), failing.len() - 1);
    Some(AgentFailure { reason: Reason::SyncFailed, what: format!("{kind} {name}"), note })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::conditions::ConditionStatus;

    fn failed(message: &str) -> ConditionValue {
        ConditionValue::false_(Reason::SyncFailed, message)
    }

    fn below(names: &[&str]) -> GitOpsStatus {
        let one = |name: &&str| FailingObject {
            kind: "Kustomization".into(),
            name: (*name).into(),
            reason: Some("BuildFailed".into()),
            message: Some("no such file".into()),
        };
        GitOpsStatus { failing: names.iter().map(one).collect(), ..GitOpsStatus::default() }
    }

    fn ready() -> ConditionValue {
        ConditionValue::true_(Reason::Available, "applied main@sha1:1")
    }

    /// `Reason note` of each published event, in order.
    fn publish_all(reports: &[(ConditionValue, GitOpsStatus)]) -> Vec<String> {
        let mut events = AgentEvents::default();
        let previous = EksClusterStatus::default();
        let published = reports.iter().filter_map(|(condition, gitops)| events.of(&previous, condition, Some(gitops)));
        published.map(|event| format!("{} {}", event.reason, event.note)).collect()
    }

    #[test]
    fn a_failure_and_its_end_are_published_once_each() {
        let waiting = ConditionValue::false_(Reason::WaitingForSync, "applying 2");
        let reports = [
            ready(),
            failed("GitRepository a/b: refused, try 1"),
            failed("GitRepository a/b: refused, try 2"),
            waiting,
            ready(),
            ready(),
        ];
        let reports = reports.map(|condition| (condition, below(&[])));
        assert_eq!(
            publish_all(&reports),
            ["SyncFailed GitRepository a/b: refused, try 1", "Synced applied main@sha1:1"]
        );
    }

    #[test]
    fn a_failure_below_the_root_is_published_although_the_root_is_applied() {
        let reports = [(ready(), below(&["a/apps"])), (ready(), below(&["a/apps", "a/web"])), (ready(), below(&[]))];
        let expected = ["SyncFailed Kustomization a/apps: BuildFailed: no such file", "Synced applied main@sha1:1"];
        assert_eq!(publish_all(&reports), expected);
    }

    #[test]
    fn another_failure_is_published() {
        let unreachable =
            ConditionValue::false_(Reason::AgentUnreachable, "the API server cannot be reached since 10:00: refused");
        let reports = [(failed("GitRepository a/b: refused"), below(&[])), (unreachable, below(&[]))];
        assert_eq!(publish_all(&reports).len(), 2);
    }

    #[test]
    fn a_new_leader_publishes_nothing_again() {
        let mut previous = EksClusterStatus::default();
        let kind = ConditionType::GitOpsReady;
        let (status, reason, message) = (ConditionStatus::False, Reason::SyncFailed, "GitRepository a/b: refused");
        conditions::set(&mut previous.conditions, kind, status, reason, message, None, Timestamp::UNIX_EPOCH);
        let mut events = AgentEvents::default();
        assert_eq!(events.of(&previous, &failed(message), None), None);
        let over = events.of(&previous, &ready(), None).map(|event| event.reason);
        assert_eq!(over.as_deref(), Some("Synced"));
    }

    #[test]
    fn a_first_start_is_not_a_recovery() {
        let creating = ConditionValue::false_(Reason::Creating, "the agent is installed once the control plane exists");
        assert_eq!(publish_all(&[(creating, below(&[])), (ready(), below(&[]))]), [""; 0]);
    }
}
