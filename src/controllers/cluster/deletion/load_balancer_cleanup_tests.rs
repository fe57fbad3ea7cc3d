//! Decisions about load balancers at each stage.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The decision at a time, for a deletion that started at zero.
fn decision_at(state: &State, api: bool, timeout: Duration, now: Timestamp) -> Decision {
    decide(state, api, at(0), timeout, now)
}

fn waits(decision: &Decision) -> Option<(bool, &str)> {
    match decision {
        Decision::Wait { pass, message } => Some((*pass, message)),
        Decision::GoOn | Decision::GiveUp(_) => None,
    }
}

#[test]
fn without_an_api_or_a_timeout_nothing_is_awaited() {
    assert_eq!(decision_at(&State::default(), false, TIMEOUT, at(1)), Decision::GoOn);
    assert_eq!(decision_at(&State::default(), true, Duration::ZERO, at(1)), Decision::GoOn);
}

#[test]
fn deletion_continues_once_a_pass_finds_no_load_balancer() {
    let mut state = State::default();
    let first = decision_at(&state, true, TIMEOUT, at(0));
    assert!(waits(&first).is_some_and(|(pass, _)| pass), "{first:?}");
    state.record_result(Ok(Remaining::default()), at(1));
    assert_eq!(decision_at(&state, true, TIMEOUT, at(1)), Decision::GoOn);
}

#[test]
fn passes_run_one_at_a_time_with_a_pause() {
    let mut state = State::default();
    state.record_result(Err("no answer".into()), at(10));
    let pass = |state: &State, now| waits(&decision_at(state, true, TIMEOUT, now)).unwrap().0;
    assert!(!pass(&state, at(11)) && pass(&state, at(12)));
    state.running = true;
    assert!(!pass(&state, at(60)));
}

#[test]
fn an_unreachable_cluster_is_awaited_until_the_timeout_in_the_message() {
    let mut state = State::default();
    state.record_result(Err("it cannot be reached".into()), at(599));
    let waiting = decision_at(&state, true, TIMEOUT, at(599));
    let (_, message) = waits(&waiting).unwrap();
    assert_eq!(
        message,
        "the load balancers of the workload are deleted first, then Karpenter's nodes: waiting for the workload cluster's \
         answer: it cannot be reached; at 1970-01-01T00:10:00Z the deletion continues without"
    );
    let up = decision_at(&state, true, TIMEOUT, at(600));
    assert_eq!(up, Decision::GiveUp("the workload cluster's answer: it cannot be reached".into()));
    let running = State { running: true, ..State::default() };
    assert_eq!(decision_at(&running, true, TIMEOUT, at(600)), Decision::GiveUp("the workload cluster's answer".into()));
    assert_eq!(decision_at(&State::default(), true, TIMEOUT, at(600)), Decision::GoOn, "another process has tried");
}

fn cluster(more: &serde_json::Value) -> EksCluster {
    let mut object = serde_json::json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": "shop", "namespace": "default", "uid": "u", "deletionTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"region": "eu-west-1", "version": "1.34"},
        "status": {"deletion": {"began": "1970-01-01T00:00:00Z"}},
    });
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn node_groups_are_kept_while_load_balancers_are_deleted() {
    let (cleanups, deleted) = (LoadBalancerCleanups::default(), cluster(&serde_json::json!({})));
    assert!(cleanups.hold_nodes(&deleted, TIMEOUT, at(0)), "its cluster may not have been observed yet");
    assert!(cleanups.hold_nodes(&deleted, TIMEOUT, at(620)));
    assert!(!cleanups.hold_nodes(&deleted, TIMEOUT, at(630)), "whatever delays the cluster");
    cleanups.of("u").0.lock().done = true;
    assert!(!cleanups.hold_nodes(&deleted, TIMEOUT, at(1)));
}

#[test]
fn node_groups_are_kept_on_hold_and_while_the_timeout_runs_again() {
    let held = |status: serde_json::Value| {
        let mut object = cluster(&serde_json::json!({}));
        let deletion = serde_json::from_value(status).unwrap();
        object.status.get_or_insert_default().deletion = Some(deletion);
        object
    };
    let (began, time) = ("1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z");
    // Status says it, whichever process observed the hold.
    let on_hold = held(serde_json::json!({"began": began, "heldAt": began}));
    let resumed = held(serde_json::json!({"began": began, "resumedAt": time}));
    let cleanups = LoadBalancerCleanups::default();
    assert!(cleanups.hold_nodes(&on_hold, TIMEOUT, at(3600)));
    assert!(cleanups.hold_nodes(&resumed, TIMEOUT, at(4220)));
    assert!(!cleanups.hold_nodes(&resumed, TIMEOUT, at(4230)));
    cleanups.of("u").finish();
    assert!(!cleanups.hold_nodes(&on_hold, TIMEOUT, at(3600)), "its load balancers are deleted");
}

#[test]
fn what_was_found_before_a_hold_counts_no_more() {
    let cleanup = LoadBalancerCleanup::default();
    cleanup.record_failure("no answer", at(60));
    assert!(matches!(cleanup.decide(true, at(0), TIMEOUT, at(600)), Decision::GiveUp(_)), "it was not held");
    cleanup.restart();
    let again = cleanup.decide(true, at(3600), TIMEOUT, at(3600));
    let (pass, message) = waits(&again).unwrap();
    assert!(pass && message.contains("at 1970-01-01T01:10:00Z the deletion continues without"), "{message}");
}

#[test]
fn node_groups_of_a_retained_or_suspended_cluster_do_not_wait() {
    let holds = |cluster: &EksCluster, timeout| LoadBalancerCleanups::default().hold_nodes(cluster, timeout, at(0));
    for spec in [serde_json::json!({"deletionPolicy": "Retain"}), serde_json::json!({"suspend": true})] {
        assert!(!holds(&cluster(&spec), TIMEOUT), "{spec}");
    }
    let deleted = cluster(&serde_json::json!({}));
    let mut retained_at_start = deleted.clone();
    if let Some(deletion) = retained_at_start.status.as_mut().and_then(|status| status.deletion.as_mut()) {
        deletion.policy = Some(DeletionPolicy::Retain);
    }
    assert!(!holds(&retained_at_start, TIMEOUT), "a later edit deletes nothing more");
    assert!(!holds(&deleted, Duration::ZERO));
    assert!(!holds(&EksCluster { status: None, ..deleted }, TIMEOUT), "its deletion did not start");
}
