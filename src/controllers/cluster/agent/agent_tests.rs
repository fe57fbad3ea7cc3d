//! When the next pass starts, and since when a cluster has been unreachable.

use super::*;
use crate::workload::error::Unreachable;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn due(agent: &Agent) -> i64 {
    agent.0.lock().due.unwrap().as_second()
}

fn well() -> Result<GitOpsOutcome, GitOpsError> {
    let verdict = Verdict::ready("applied main@sha1:1");
    let status = Some(GitOpsStatus::default());
    let requeue_after = Duration::from_secs(60);
    Ok(GitOpsOutcome { status, complete: true, verdict, changed: Vec::new(), released: Vec::new(), requeue_after })
}

fn unreachable(since: i64) -> Result<GitOpsOutcome, GitOpsError> {
    let cause = Unreachable::Timeout;
    let requeue_after = Duration::from_secs(2);
    Err(GitOpsError::Unreachable { endpoint: "https://api".into(), since: at(since), cause, requeue_after })
}

const QUICK: Duration = Duration::from_millis(100);

#[test]
fn watched_agents_are_observed_after_changes_and_otherwise_rarely() {
    let agent = Agent::default();
    agent.record_result(well(), QUICK, at(100));
    assert_eq!(due(&agent), 160);
    agent.watched(at(110));
    agent.record_result(well(), QUICK, at(160));
    assert_eq!(due(&agent), 460);
    assert_eq!(agent.request_pass(at(200)), Some(at(200)));
}

#[test]
fn a_change_during_a_pass_causes_another_pass() {
    let agent = Agent::default();
    agent.0.lock().running = true;
    assert_eq!(agent.request_pass(at(100)), None);
    agent.record_result(well(), Duration::from_secs(2), at(101));
    // After a pause as long as the pass.
    assert_eq!(due(&agent), 103);
    agent.0.lock().running = false;
    assert_eq!(agent.request_pass(at(102)), Some(at(103)));
    // The following passes pause longer.
    agent.record_result(well(), Duration::from_secs(2), at(105));
    assert_eq!(agent.request_pass(at(105)), Some(at(109)));
}

#[test]
fn a_paused_agent_is_observed_when_it_resumes() {
    let agent = Agent::default();
    agent.watched(at(100));
    agent.record_result(well(), QUICK, at(100));
    agent.pause();
    assert_eq!(agent.0.lock().due, None);
    agent.record_result(well(), QUICK, at(200));
    assert_eq!(due(&agent), 260, "it is not watched yet");
}

fn condition(status: &str, reason: &str) -> Condition {
    let (status, reason, message) = (status.into(), reason.into(), "as before".into());
    Condition {
        type_: "GitOpsReady".into(),
        status,
        reason,
        message,
        last_transition_time: Time(at(1)),
        observed_generation: None,
    }
}

#[test]
fn a_new_process_says_what_the_last_one_said_until_a_pass_has_ended() {
    let known = GitOpsStatus::default();
    for (status, reason, expected) in [
        ("True", "Available", ("True", "Available", true)),
        ("False", "SyncFailed", ("False", "SyncFailed", true)),
        ("False", "AgentUnreachable", ("False", "AgentUnreachable", true)),
        ("False", "WaitingForApproval", ("False", "Creating", false)),
        ("Unknown", "Suspended", ("False", "Creating", false)),
    ] {
        let agent = Agent::default();
        agent.restore(Some(&known), Some(&condition(status, reason)));
        let reported = agent.report().condition;
        assert_eq!((reported.status.as_str(), reported.reason.as_str(), reported.message == "as before"), expected);
        agent.record_result(well(), QUICK, at(100));
        agent.restore(Some(&known), Some(&condition(status, reason)));
        assert_eq!(agent.report().condition.message, "applied main@sha1:1");
    }
    let agent = Agent::default();
    agent.restore(None, Some(&condition("True", "Available")));
    assert_eq!(agent.report().condition.reason, Reason::Creating, "it has no agent on record");
}

#[test]
fn a_new_process_keeps_the_time_since_which_a_cluster_is_unreachable() {
    let agent = Agent::default();
    let known = GitOpsStatus { unreachable_since: Some(Time(at(50))), ..GitOpsStatus::default() };
    agent.restore(Some(&known), None);
    agent.record_result(unreachable(100), QUICK, at(100));
    agent.restore(None, None);
    let report = agent.report();
    assert_eq!(report.unreachable_since, Some(at(50)));
    assert!(report.condition.message.contains("since 1970-01-01T00:00:50Z"), "{}", report.condition.message);
    agent.record_result(well(), QUICK, at(200));
    let report = agent.report();
    assert_eq!((report.unreachable_since, report.status.unwrap().last_contact), (None, Some(Time(at(200)))));
}

#[test]
fn a_changed_secret_skips_the_pause() {
    let agent = Agent::default();
    agent.0.lock().running = true;
    agent.0.lock().urgent = true;
    assert_eq!(agent.request_pass(at(100)), None);
    agent.record_result(well(), Duration::from_secs(2), at(101));
    assert_eq!(due(&agent), 101);
}
