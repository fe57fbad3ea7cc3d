//! Checks of a wave: small fleets, step by step.

use super::*;
use crate::api::fleet_rollout_check::CheckState;

/// The canaries `a` and `b` have the version and are healthy since `start()`.
fn arrived(checks: &Value, wave: &Value) -> Fleet {
    let mut canary =
        json!({"name": "canary", "selector": {"matchLabels": {"ring": "0"}}, "maxConcurrent": 2, "checks": checks});
    canary.as_object_mut().unwrap().extend(wave.as_object().unwrap().clone());
    let mut fleet = Fleet::new(json!({"waves": [canary, {"name": "prod"}]}));
    fleet.asks(&["a", "b", "c", "d", "e"]);
    fleet.advance();
    fleet.claim();
    for name in ["a", "b"] {
        fleet.finish(name);
    }
    fleet.advance();
    fleet
}

fn query(query: &str, limits: (i32, i32)) -> Value {
    json!([{"name": "errors", "prometheus": {
        "address": "http://prometheus:9090", "query": query, "max": 0.01, "failureLimit": limits.0, "errorLimit": limits.1,
    }}])
}

const OF_WAVE: &str = "sum(rate(errors[5m]))";
const OF_CLUSTER: &str = r#"rate(errors{cluster="${CLUSTER_NAME}"}[5m])"#;

impl Fleet {
    /// What is due has run, with these results.
    fn run(&mut self, found: &[(Option<&str>, Outcome)]) {
        let [due] = self.due.as_slice() else { panic!("due: {:?}", self.due) };
        let found = found
            .iter()
            .map(|(cluster, outcome)| ClusterOutcome { cluster: cluster.map(str::to_owned), outcome: outcome.clone() })
            .collect();
        let DueCheck { key, definition, covered, .. } = due.clone();
        self.results = vec![CheckRun { key, definition, covered, began_at: self.now, found }];
        self.advance();
    }

    fn value(&mut self, value: f64) {
        self.run(&[(None, Outcome::Value(value))]);
    }

    fn error(&mut self, why: &str) {
        self.run(&[(None, Outcome::Error(why.to_owned()))]);
    }

    fn message(&self) -> &str {
        self.state().1
    }

    fn check(&self) -> &crate::api::fleet_rollout_check::CheckStatus {
        &self.status.releases[0].waves[0].checks[0]
    }
}

#[test]
fn wave_without_a_soak_passes_once_its_check_was_good_after_the_last_cluster_arrived() {
    let mut fleet = arrived(&query(OF_WAVE, (0, 4)), &json!({}));
    assert_eq!((fleet.tickets(), fleet.due.len()), (vec![], 1));
    assert_eq!(fleet.state(), (ReleaseState::Soaking, "wave canary waits for check errors: it has no result yet"));
    assert_eq!(fleet.status.releases[0].waves[0].state, WaveState::Soaking);
    fleet.advance();
    assert_eq!(fleet.tickets(), Vec::<&str>::new(), "no time that passes makes it good");
    fleet.value(0.001);
    assert_eq!((fleet.tickets(), fleet.due.len()), (vec!["c"], 0));
    assert_eq!((fleet.check().state, fleet.check().value.as_deref()), (CheckState::Passed, Some("0.001")));
    let before = fleet.status.clone();
    fleet.now += SignedDuration::from_hours(1);
    assert_eq!(*fleet.advance(), before, "nothing is run and written once the wave has passed");
    assert!(fleet.due.is_empty());
}

#[test]
fn failures_and_errors_are_counted_until_their_limits() {
    let mut fleet = arrived(&query(OF_WAVE, (1, 2)), &json!({}));
    fleet.value(0.04);
    assert_eq!(fleet.message(), "wave canary waits for check errors: 0.04 is above 0.01 (failure 1 of 1)");
    fleet.error("no data");
    assert_eq!(fleet.message(), "wave canary waits for check errors: no data (error 1 of 2)");
    fleet.value(f64::NAN);
    assert_eq!(fleet.message(), "wave canary waits for check errors: the query returned NaN (error 2 of 2)");
    assert_eq!((fleet.state().0, fleet.check().failures), (ReleaseState::Soaking, 1), "the failure still counts");
    fleet.value(0.02);
    let halted = "wave canary has halted: check errors: 0.02 is above 0.01 (2 consecutive failures, failureLimit is 1)";
    assert!(fleet.message().starts_with(halted), "{}", fleet.message());
    assert_eq!(fleet.status.releases[0].waves[0].state, WaveState::Failed);
    assert_eq!((fleet.tickets(), fleet.due.len()), (vec![], 0));
    fleet.advance();
    assert_eq!((fleet.state().0, fleet.status.releases[0].waves[0].state), (ReleaseState::Halted, WaveState::Failed));
    fleet.retry = Some("1.36/1".into());
    fleet.advance();
    assert_eq!((fleet.check().state, fleet.check().failures), (CheckState::Pending, 0), "counts begin anew");
    fleet.advance();
    fleet.value(0.0);
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn result_of_before_a_retry_does_not_count() {
    let mut fleet = arrived(&query(OF_WAVE, (0, 4)), &json!({}));
    fleet.value(1.0);
    assert_eq!(fleet.state().0, ReleaseState::Halted);
    let run = fleet.results[0].clone();
    fleet.retry = Some("1.36/1".into());
    fleet.results = vec![CheckRun { found: vec![], ..run.clone() }];
    fleet.advance();
    assert_eq!(fleet.check().state, CheckState::Pending);
    let found = vec![ClusterOutcome { cluster: None, outcome: Outcome::Value(0.0) }];
    fleet.results = vec![CheckRun { found, ..run }];
    fleet.advance();
    assert_eq!((fleet.check().state, fleet.tickets()), (CheckState::Pending, vec![]));
}

#[test]
fn errors_alone_hold_and_then_halt() {
    let mut fleet = arrived(&query(OF_WAVE, (9, 1)), &json!({}));
    for value in [f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(fleet.tickets(), Vec::<&str>::new());
        fleet.value(value);
    }
    assert!(
        fleet.message().contains("the query returned -inf (2 consecutive errors, errorLimit is 1)"),
        "{}",
        fleet.message()
    );
    assert_eq!((fleet.state().0, fleet.tickets()), (ReleaseState::Halted, vec![]));
}

#[test]
fn check_of_each_cluster_names_the_worst_and_needs_all() {
    let mut fleet = arrived(&query(OF_CLUSTER, (2, 4)), &json!({}));
    let (good, bad) = (Outcome::Value(0.0), Outcome::Value(0.5));
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), bad)]);
    let waits = "wave canary waits for check errors: EksCluster team/b: 0.5 is above 0.01 (failure 1 of 2)";
    assert_eq!(fleet.message(), waits);
    fleet.run(&[(Some("team/a"), Outcome::Error("no data".into())), (Some("team/b"), good.clone())]);
    assert_eq!((fleet.check().cluster.as_deref(), fleet.check().failures), (Some("team/a"), 0));
    let [one] = fleet.check().clusters.as_slice() else { panic!("{:?}", fleet.check()) };
    assert_eq!((one.cluster.as_str(), one.errors), ("team/a", 1));
    // A cluster that joins the wave at the version has not been checked.
    fleet.join("z", "0", "1.36", "1.36");
    fleet.clusters.get_mut("z").unwrap().health = Health::Since(start());
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), good.clone())]);
    assert_eq!(fleet.message(), "wave canary waits for check errors: it has no result of all clusters yet");
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), good.clone()), (Some("team/z"), good)]);
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn check_runs_throughout_the_soak_and_must_be_good_at_its_end() {
    let mut fleet = arrived(&query(OF_WAVE, (1, 4)), &json!({"soak": "10m"}));
    fleet.value(0.0);
    assert_eq!(fleet.message(), "wave canary soaks for 10m, until 2026-11-28T00:11:00Z");
    let recorded = fleet.status.clone();
    fleet.value(0.001);
    assert_eq!(fleet.status, recorded, "a result that only confirms is not written");
    fleet.value(0.5);
    let failed =
        "wave canary soaks for 10m, until 2026-11-28T00:11:00Z; check errors: 0.5 is above 0.01 (failure 1 of 1)";
    assert_eq!(fleet.state(), (ReleaseState::Soaking, failed));
    fleet.value(0.0);
    fleet.now = "2026-11-28T00:10:30Z".parse().unwrap();
    // It ends now: what was good before does not count.
    fleet.advance();
    assert_eq!(fleet.message(), "wave canary waits for check errors: its last result is too old: it runs again");
    fleet.error("no answer within 10s");
    assert_eq!(fleet.tickets(), Vec::<&str>::new());
    fleet.value(0.0);
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn interrupted_soak_needs_a_result_of_its_new_end() {
    let mut fleet = arrived(&query(OF_WAVE, (0, 4)), &json!({"soak": "2m"}));
    fleet.clusters.get_mut("a").unwrap().health = Health::Unhealthy("add-on coredns is DEGRADED".into());
    fleet.value(0.0);
    assert_eq!((fleet.check().state, fleet.due.len()), (CheckState::Pending, 0), "it does not run meanwhile");
    fleet.clusters.get_mut("a").unwrap().health = Health::Since(fleet.now);
    fleet.advance();
    fleet.value(0.0);
    assert_eq!(fleet.tickets(), Vec::<&str>::new(), "{}", fleet.message());
    fleet.advance();
    fleet.value(0.0);
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn job_runs_once_after_the_arrival() {
    let check =
        json!([{"name": "smoke", "job": {"cronJob": {"namespace": "fleet", "name": "smoke"}, "errorLimit": 1}}]);
    let mut fleet = arrived(&check, &json!({"soak": "1h"}));
    let first = fleet.due[0].attempt.clone();
    fleet.advance();
    assert_eq!(fleet.due[0].attempt, first, "after a restart it is the same Job");
    fleet.run(&[(None, Outcome::Error("the Job was deleted".into()))]);
    assert!(fleet.message().ends_with("check smoke: the Job was deleted (error 1 of 1)"), "{}", fleet.message());
    assert_ne!(fleet.due[0].attempt, first);
    fleet.run(&[(None, Outcome::Succeeded)]);
    fleet.now += SignedDuration::from_mins(30);
    fleet.advance();
    assert!(fleet.due.is_empty(), "it has succeeded");
    fleet.now += SignedDuration::from_mins(30);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["c"]);
    let mut fleet = arrived(&check, &json!({}));
    fleet.run(&[(None, Outcome::Failed("exit code 1".into()))]);
    assert!(fleet.message().contains("check smoke: exit code 1 (1 consecutive failures"), "{}", fleet.message());
}

#[test]
fn changed_check_begins_anew() {
    let mut fleet = arrived(&query(OF_WAVE, (1, 4)), &json!({}));
    fleet.value(0.5);
    let results = fleet.results.clone();
    fleet.spec.waves[0].checks = serde_json::from_value(query("sum(other)", (1, 4))).unwrap();
    fleet.advance();
    assert_eq!((fleet.check().state, fleet.due.len()), (CheckState::Pending, 1));
    fleet.results = results;
    fleet.advance();
    assert_eq!(fleet.check().state, CheckState::Pending, "a result of the former query");
}

#[test]
fn promotion_opens_the_next_wave_without_the_checks() {
    let mut fleet = arrived(&query(OF_WAVE, (0, 4)), &json!({}));
    fleet.promote = Some("1.36/canary".into());
    fleet.advance();
    assert_eq!((fleet.tickets(), fleet.due.len()), (vec!["c"], 0));
    fleet.advance();
    assert_eq!((fleet.events.as_slice(), fleet.due.len()), (["WavePromoted"].as_slice(), 0));
}

#[test]
fn later_wave_is_not_checked_before_it_is_open() {
    let mut fleet = arrived(&query(OF_WAVE, (0, 4)), &json!({}));
    fleet.spec.waves[1].checks = serde_json::from_value(query(OF_WAVE, (0, 4))).unwrap();
    for name in ["c", "d", "e"] {
        fleet.clusters.get_mut(name).unwrap().control_plane = Some("1.36".parse().unwrap());
    }
    fleet.advance();
    assert_eq!(fleet.due.iter().map(|due| due.key.wave.as_str()).collect::<Vec<_>>(), ["canary"]);
    fleet.value(0.0);
    assert_eq!(fleet.status.releases[0].waves[1].passed_at, None);
    assert_eq!(fleet.due.iter().map(|due| due.key.wave.as_str()).collect::<Vec<_>>(), ["prod"]);
}

#[test]
fn many_clusters_are_cut_to_those_that_are_closest_to_a_halt() {
    let mut fleet = arrived(&query(OF_CLUSTER, (9, 9)), &json!({}));
    let names: Vec<String> = (0..30).map(|number| format!("team/{number}")).collect();
    let all = |worst: &str| {
        let one = |name: &str| if name == worst { Outcome::Value(7.0) } else { Outcome::Error("x".repeat(900)) };
        names.iter().map(|name| (Some(name.as_str()), one(name))).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        fleet.run(&all("team/7"));
    }
    let check = fleet.check();
    assert_eq!(check.clusters.len(), 10);
    assert!(check.clusters.iter().all(|one| one.message.chars().count() <= 256));
    assert!(check.message.as_ref().unwrap().chars().count() <= 256);
    assert_eq!(check.failures, 3, "the failures of team/7 are kept: {check:?}");
}

fn condition(limits: (i32, i32)) -> Value {
    json!([{"name": "in-sync", "condition": {"type": "InSync", "failureLimit": limits.0, "errorLimit": limits.1}}])
}

#[test]
fn condition_must_have_lasted_for_as_long_as_the_soak() {
    let mut fleet = arrived(&condition((0, 4)), &json!({"soak": "10m"}));
    let since = |minute: i64| Outcome::Holds(start() + SignedDuration::from_mins(minute));
    // One of them had it long before.
    fleet.run(&[(Some("team/a"), since(-500)), (Some("team/b"), since(1))]);
    assert_eq!(fleet.message(), "wave canary soaks for 10m, until 2026-11-28T00:11:00Z");
    assert_eq!(fleet.check().since.as_ref().map(|since| since.0), Some(start() + SignedDuration::from_mins(1)));
    let recorded = fleet.status.clone();
    fleet.run(&[(Some("team/a"), since(-500)), (Some("team/b"), since(1))]);
    assert_eq!(fleet.status, recorded, "a result that only confirms is not written");
    // It was False in between: no run has seen that.
    let turned = since(3);
    fleet.run(&[(Some("team/a"), since(-500)), (Some("team/b"), turned.clone())]);
    let longer = "wave canary soaks for 10m, until 2026-11-28T00:11:00Z; check in-sync: it is good, and must stay so until \
                  2026-11-28T00:13:00Z";
    assert_eq!(fleet.message(), longer);
    fleet.now = "2026-11-28T00:11:00Z".parse().unwrap();
    fleet.run(&[(Some("team/a"), since(-500)), (Some("team/b"), turned.clone())]);
    let waits = "wave canary waits for check in-sync: it is good, and must stay so until 2026-11-28T00:13:00Z";
    assert_eq!((fleet.message(), fleet.tickets()), (waits, vec![]));
    fleet.now = "2026-11-28T00:13:00Z".parse().unwrap();
    fleet.run(&[(Some("team/a"), since(-500)), (Some("team/b"), turned)]);
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn condition_that_fails_halts_and_one_that_is_absent_is_never_good() {
    let mut fleet = arrived(&condition((1, 1)), &json!({}));
    let (good, bad) = (Outcome::Holds(start()), Outcome::Failed("InSync is False: Drifted: m".into()));
    let absent = Outcome::Error("it has no condition InSync".into());
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), absent)]);
    let waits = "wave canary waits for check in-sync: EksCluster team/b: it has no condition InSync (error 1 of 1)";
    assert_eq!((fleet.message(), fleet.tickets()), (waits, vec![]));
    assert_eq!(fleet.check().since, None);
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), bad.clone())]);
    assert!(fleet.message().ends_with("InSync is False: Drifted: m (failure 1 of 1)"), "{}", fleet.message());
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), bad)]);
    let halted =
        "wave canary has halted: check in-sync: EksCluster team/b: InSync is False: Drifted: m (2 consecutive failures";
    assert!(fleet.message().starts_with(halted), "{}", fleet.message());
    fleet.retry = Some("1.36/1".into());
    fleet.advance();
    fleet.advance();
    fleet.run(&[(Some("team/a"), good.clone()), (Some("team/b"), good)]);
    assert_eq!(fleet.tickets(), ["c"], "without a soak it only has to be good");
}

#[test]
fn condition_that_no_object_has_is_refused() {
    let check = |check: Value| crate::rollout::check_policy::CheckPolicy::of(&serde_json::from_value(check).unwrap());
    let of = |kind: &str, type_: &str| check(json!({"name": "a", "condition": {"kind": kind, "type": type_}}));
    assert!(of("EksCluster", "GitOpsReady").is_ok() && of("NodeGroup", "NodesReady").is_ok());
    let refused = of("EksCluster", "NodesReady").unwrap_err();
    assert_eq!(refused, "check a: condition: no EksCluster has the condition NodesReady");
    assert!(of("NodeGroup", "GitOpsReady").is_err());
}
