//! What is decided about load balancers, at each point.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What is decided at a time, of a deletion that began at zero.
fn decided(state: &State, api: bool, timeout: Duration, now: Timestamp) -> Decision {
    decide(state, api, at(0), timeout, now)
}

fn waits(decision: &Decision) -> Option<(bool, &str)> {
    match decision {
        Decision::Wait { pass, message } => Some((*pass, message)),
        Decision::GoOn | Decision::GiveUp(_) => None,
    }
}

#[test]
fn without_an_api_or_time_for_it_there_is_nothing_to_wait_for() {
    assert_eq!(decided(&State::default(), false, TIMEOUT, at(1)), Decision::GoOn);
    assert_eq!(decided(&State::default(), true, Duration::ZERO, at(1)), Decision::GoOn);
}

#[test]
fn it_goes_on_once_a_pass_finds_none() {
    let mut state = State::default();
    let first = decided(&state, true, TIMEOUT, at(0));
    assert!(waits(&first).is_some_and(|(pass, _)| pass), "{first:?}");
    state.record_result(Ok(Remaining::default()), at(1));
    assert_eq!(decided(&state, true, TIMEOUT, at(1)), Decision::GoOn);
}

#[test]
fn passes_follow_each_other_with_a_pause_and_one_at_a_time() {
    let mut state = State::default();
    state.record_result(Err("no answer".into()), at(10));
    let pass = |state: &State, now| waits(&decided(state, true, TIMEOUT, now)).unwrap().0;
    assert!(!pass(&state, at(11)) && pass(&state, at(12)));
    state.running = true;
    assert!(!pass(&state, at(60)));
}

#[test]
fn a_cluster_that_does_not_answer_is_waited_for_until_the_time_is_up_and_the_message_says_so() {
    let mut state = State::default();
    state.record_result(Err("it cannot be reached".into()), at(599));
    let waiting = decided(&state, true, TIMEOUT, at(599));
    let (_, message) = waits(&waiting).unwrap();
    assert_eq!(
        message,
        "load balancers of the workload go first: waiting for the workload cluster's answer: it cannot be reached; at \
         1970-01-01T00:10:00Z it goes on without"
    );
    let up = decided(&state, true, TIMEOUT, at(600));
    assert_eq!(up, Decision::GiveUp("the workload cluster's answer: it cannot be reached".into()));
    let asked = State { running: true, ..State::default() };
    assert_eq!(decided(&asked, true, TIMEOUT, at(600)), Decision::GiveUp("the workload cluster's answer".into()));
    assert_eq!(decided(&State::default(), true, TIMEOUT, at(600)), Decision::GoOn, "another process has tried");
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
fn node_groups_stay_while_their_cluster_is_at_it() {
    let (clearings, goes) = (LoadBalancerCleanups::default(), cluster(&serde_json::json!({})));
    assert!(clearings.hold_nodes(&goes, TIMEOUT, at(0)), "its cluster may not have been looked at yet");
    assert!(clearings.hold_nodes(&goes, TIMEOUT, at(620)));
    assert!(!clearings.hold_nodes(&goes, TIMEOUT, at(630)), "whatever holds the cluster up");
    locked(&clearings.of("u").0).done = true;
    assert!(!clearings.hold_nodes(&goes, TIMEOUT, at(1)));
}

#[test]
fn node_groups_of_a_cluster_that_stays_wait_for_nothing() {
    let holds = |cluster: &EksCluster, timeout| LoadBalancerCleanups::default().hold_nodes(cluster, timeout, at(0));
    for spec in [serde_json::json!({"deletionPolicy": "Retain"}), serde_json::json!({"suspend": true})] {
        assert!(!holds(&cluster(&spec), TIMEOUT), "{spec}");
    }
    let goes = cluster(&serde_json::json!({}));
    assert!(!holds(&goes, Duration::ZERO));
    assert!(!holds(&EksCluster { status: None, ..goes }, TIMEOUT), "its deletion did not begin");
}
