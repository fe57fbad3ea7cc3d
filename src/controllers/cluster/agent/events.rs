//! Events about the agent: that something fails, and that it works again, once each. Pure.

use crate::api::Reason;
use crate::api::conditions::{self, ConditionType};
use crate::api::status::{EksClusterStatus, FailingObject, GitOpsStatus};
use crate::controllers::conditions::ConditionValue;
use crate::controllers::events::EventMessage;

/// Reasons of GitOpsReady that are failures, not stages of progress.
const FAILURES: [Reason; 4] =
    [Reason::SyncFailed, Reason::AgentUnreachable, Reason::AccessDenied, Reason::CredentialsUnavailable];

/// What was published last, so that each change is published once.
#[derive(Debug, Default)]
pub struct AgentEvents {
    /// `None`: this process has not observed the agent yet. Otherwise the current failure, if any.
    told: Option<Option<String>>,
}

/// A failure.
struct Trouble {
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
        says: &ConditionValue,
        gitops: Option<&GitOpsStatus>,
    ) -> Option<EventMessage> {
        let before = self.told.take().unwrap_or_else(|| of_status(previous));
        let failing = gitops.map(|gitops| gitops.failing.as_slice()).unwrap_or_default();
        let now = trouble(says.is_true(), says.reason.as_str(), &says.message, failing);
        let (still, told) = match now {
            Some(now) if before.as_ref() == Some(&now.what) => (before, None),
            Some(Trouble { reason, what, note }) => (Some(what), Some(EventMessage::warning(reason, note))),
            None if before.is_some() && says.is_true() => (None, Some(EventMessage::normal("Synced", &says.message))),
            // In progress: whether the failure is over is known once the agent is ready.
            None => (before, None),
        };
        self.told = Some(still);
        told
    }
}

fn of_status(status: &EksClusterStatus) -> Option<String> {
    let ready = conditions::get(&status.conditions, ConditionType::GitOpsReady)?;
    let failing = status.gitops.as_ref().map(|gitops| gitops.failing.as_slice()).unwrap_or_default();
    trouble(ready.status == "True", &ready.reason, &ready.message, failing).map(|trouble| trouble.what)
}

fn trouble(ready: bool, reason: &str, message: &str, failing: &[FailingObject]) -> Option<Trouble> {
    if let Some(reason) = FAILURES.into_iter().find(|failure| !ready && failure.as_str() == reason) {
        // The text up to the first colon names what fails; the cause after it may differ with each try.
        let what = message.split(": ").next().unwrap_or_default();
        return Some(Trouble { reason, what: format!("{reason} {what}"), note: message.to_owned() });
    }
    let FailingObject { kind, name, reason, message } = failing.first()?;
    let (reason, message) = (reason.as_deref().unwrap_or_default(), message.as_deref().unwrap_or_default());
    let more = failing.len() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    let note = format!("{kind} {name}: {reason}: {message}{more}");
    Some(Trouble { reason: Reason::SyncFailed, what: format!("{kind} {name}"), note })
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
    fn told(says: &[(ConditionValue, GitOpsStatus)]) -> Vec<String> {
        let mut news = AgentEvents::default();
        let previous = EksClusterStatus::default();
        let told = says.iter().filter_map(|(says, gitops)| news.of(&previous, says, Some(gitops)));
        told.map(|told| format!("{} {}", told.reason, told.note)).collect()
    }

    #[test]
    fn a_failure_and_its_end_are_told_once_each() {
        let waiting = ConditionValue::false_(Reason::WaitingForSync, "applying 2");
        let says = [
            ready(),
            failed("GitRepository a/b: refused, try 1"),
            failed("GitRepository a/b: refused, try 2"),
            waiting,
            ready(),
            ready(),
        ];
        let says = says.map(|says| (says, below(&[])));
        assert_eq!(told(&says), ["SyncFailed GitRepository a/b: refused, try 1", "Synced applied main@sha1:1"]);
    }

    #[test]
    fn what_fails_below_the_root_is_told_though_the_root_is_applied() {
        let says = [(ready(), below(&["a/apps"])), (ready(), below(&["a/apps", "a/web"])), (ready(), below(&[]))];
        let expected = ["SyncFailed Kustomization a/apps: BuildFailed: no such file", "Synced applied main@sha1:1"];
        assert_eq!(told(&says), expected);
    }

    #[test]
    fn another_failure_is_news() {
        let unreachable =
            ConditionValue::false_(Reason::AgentUnreachable, "the API server cannot be reached since 10:00: refused");
        let says = [(failed("GitRepository a/b: refused"), below(&[])), (unreachable, below(&[]))];
        assert_eq!(told(&says).len(), 2);
    }

    #[test]
    fn a_process_that_takes_over_tells_nothing_again() {
        let mut previous = EksClusterStatus::default();
        let kind = ConditionType::GitOpsReady;
        let (status, reason, message) = (ConditionStatus::False, Reason::SyncFailed, "GitRepository a/b: refused");
        conditions::set(&mut previous.conditions, kind, status, reason, message, None, Timestamp::UNIX_EPOCH);
        let mut news = AgentEvents::default();
        assert_eq!(news.of(&previous, &failed(message), None), None);
        let over = news.of(&previous, &ready(), None).map(|told| told.reason);
        assert_eq!(over.as_deref(), Some("Synced"));
    }

    #[test]
    fn a_cluster_that_comes_up_is_no_recovery() {
        let creating = ConditionValue::false_(Reason::Creating, "the agent comes when the control plane is there");
        assert_eq!(told(&[(creating, below(&[])), (ready(), below(&[]))]), [""; 0]);
    }
}
