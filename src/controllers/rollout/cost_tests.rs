//! What a rollout over 1,000 clusters with 3,000 NodeGroups costs: a steady one writes nothing, and a pass is short.
//!
//! The numbers of a run: `cargo test --lib -- --nocapture rollout::cost_tests`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::member::members;
use super::rollout_conditions::conditions;
use crate::api::fleet_rollout_status::{FleetRolloutStatus, MAX_TICKETS, ReleaseState};
use crate::api::{EksCluster, FleetRolloutSpec, NodeGroup};
use crate::rollout::{Annotations, Input, Member, Rollout, Rollouts, advance};

const CLUSTERS: usize = 1000;
const GROUPS: usize = 3;
/// The promise. Measured on two cores, without optimisation: 17 to 27 ms.
const MAX_PASS: Duration = Duration::from_millis(100);
const PASSES: usize = 5;

fn cluster(number: usize, version: &str, more: Value) -> Arc<EksCluster> {
    let ready = json!({"type": "Ready", "status": "True", "reason": "Available", "message": "",
        "lastTransitionTime": "2026-11-28T00:00:00Z"});
    let mut object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": format!("c-{number}"), "namespace": "fleet", "uid": format!("00000000-0000-0000-0000-{number:012}"),
            "labels": {"fleet": "main", "ring": (number * 10 / CLUSTERS).to_string()},
            "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"region": "eu-west-1", "version": "1.36"},
        "status": {"version": version, "conditions": [ready], "resources": [{"key": "cluster", "state": "ACTIVE"}],
            "addons": [{"name": "coredns", "state": "ACTIVE"}, {"name": "vpc-cni", "state": "ACTIVE"}]},
    });
    object["status"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(object).unwrap())
}

fn groups(version: &str) -> Vec<Arc<NodeGroup>> {
    let group = |number: usize| {
        let ready = json!({"type": "NodesReady", "status": "True", "reason": "Available", "message": "",
            "lastTransitionTime": "2026-11-28T00:00:00Z"});
        let object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
            "metadata": {"name": format!("n-{number}"), "namespace": "fleet"},
            "spec": {"clusterRef": {"name": format!("c-{}", number / GROUPS)}, "scaling": {"min": 1, "max": 2}},
            "status": {"version": version, "conditions": [ready]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    };
    (0..CLUSTERS * GROUPS).map(group).collect()
}

/// `wave`: what each of ten waves has, or the only one of all clusters.
fn spec(rings: bool, wave: &Value) -> FleetRolloutSpec {
    let of = |number: usize| {
        let mut named = json!({"name": format!("ring-{number}"), "maxConcurrent": "100%", "maxFailed": 1000});
        if rings {
            named["selector"] = json!({"matchLabels": {"ring": number.to_string()}});
        }
        named.as_object_mut().unwrap().extend(wave.as_object().unwrap().clone());
        named
    };
    let waves: Vec<Value> = (0..if rings { 10 } else { 1 }).map(of).collect();
    serde_json::from_value(json!({"clusterSelector": {"matchLabels": {"fleet": "main"}}, "waves": waves})).unwrap()
}

/// One pass, as the controller makes it.
fn pass(
    spec: &FleetRolloutSpec,
    before: &FleetRolloutStatus,
    clusters: &[Arc<EksCluster>],
    groups: &[Arc<NodeGroup>],
    now: Timestamp,
) -> (FleetRolloutStatus, Vec<Member>) {
    let members = members(clusters, groups.iter().cloned());
    let rollout = Rollout { name: "main", spec, status: before };
    let rollouts = Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() };
    let outcome = advance(&Input {
        name: "main",
        spec,
        status: before,
        annotations: Annotations::default(),
        rollouts: &rollouts,
        clusters: &members,
        unreadable: &BTreeSet::new(),
        results: &[],
        now,
    });
    let conditions = conditions(&outcome.status, Some(1), outcome.problem.as_deref(), now);
    (FleetRolloutStatus { observed_generation: Some(1), conditions, ..outcome.status }, members)
}

fn start() -> Timestamp {
    "2026-11-29T00:00:00Z".parse().unwrap()
}

/// How long this thread has been on a processor: on a busy machine, others take most of the time that passes.
fn on_processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Passes until nothing changes; then checks that more passes change nothing, and how long the shortest takes.
fn measure(
    what: &str,
    spec: &FleetRolloutSpec,
    mut status: FleetRolloutStatus,
    clusters: &[Arc<EksCluster>],
    groups: &[Arc<NodeGroup>],
) -> FleetRolloutStatus {
    let mut now = start();
    for _ in 0..4 {
        status = pass(spec, &status, clusters, groups, now).0;
    }
    let mut shortest = Duration::MAX;
    for _ in 0..PASSES {
        now += jiff::SignedDuration::from_secs(1);
        let (began, before) = (Instant::now(), on_processor());
        let (after, members) = pass(spec, &status, clusters, groups, now);
        let taken = on_processor().zip(before).map(|(after, before)| after.saturating_sub(before));
        shortest = shortest.min(taken.filter(|taken| !taken.is_zero()).unwrap_or_else(|| began.elapsed()));
        assert_eq!(members.len(), CLUSTERS);
        assert_eq!(after, status, "{what}: a steady one writes nothing");
    }
    println!("{what}: a pass over {CLUSTERS} clusters takes {} ms", shortest.as_millis());
    assert!(shortest < MAX_PASS, "{what}: a pass takes {shortest:?}");
    status
}

#[test]
fn rollout_over_a_thousand_steady_clusters_costs_no_write_and_little_time() {
    let all: Vec<_> = (0..CLUSTERS).map(|number| cluster(number, "1.36", json!({}))).collect();
    let spec = spec(true, &json!({}));
    let status = measure("steady", &spec, FleetRolloutStatus::default(), &all, &groups("1.36"));
    assert_eq!(status.members, 1000);
    assert!(status.releases.iter().all(|release| release.state == ReleaseState::Completed), "{:?}", status.releases);
}

/// What a cluster says to its rollout.
fn request(number: usize, what: &str) -> Value {
    let id = format!("ControlPlane/1.36/{}", start().as_millisecond() + i64::try_from(number).unwrap());
    json!({"upgrade": {"wave": {what: id}}})
}

#[test]
fn pass_with_many_tickets_and_failures_is_short_too() {
    let spec = spec(false, &json!({}));
    let asking: Vec<_> = (0..CLUSTERS).map(|number| cluster(number, "1.35", request(number, "asks"))).collect();
    let groups = groups("1.35");
    let (status, _) = pass(&spec, &FleetRolloutStatus::default(), &asking, &groups, start());
    let tickets =
        |status: &FleetRolloutStatus| status.releases.iter().map(|release| release.tickets.len()).sum::<usize>();
    assert_eq!(tickets(&status), MAX_TICKETS);
    let stalled = json!([{"type": "Stalled", "status": "True", "reason": "Failed", "message": "no capacity",
        "lastTransitionTime": "2026-11-29T00:00:00Z"}]);
    let of = |number: usize| {
        if number >= MAX_TICKETS {
            return asking[number].clone();
        }
        let mut more = request(number, "claimed");
        more["conditions"] = stalled.clone();
        cluster(number, "1.35", more)
    };
    let all: Vec<_> = (0..CLUSTERS).map(of).collect();
    let status = measure("200 tickets, all failed", &spec, status, &all, &groups);
    let failed = status.releases.iter().flat_map(|release| &release.waves).map(|wave| wave.failed).max();
    assert_eq!((tickets(&status), failed), (MAX_TICKETS, Some(200)));
}

#[test]
fn pass_with_many_approvals_is_short_too() {
    let spec = spec(false, &json!({"approval": "Required"}));
    let all: Vec<_> = (0..CLUSTERS).map(|number| cluster(number, "1.35", request(number, "asks"))).collect();
    let status = measure("1,000 wait for an approval", &spec, FleetRolloutStatus::default(), &all, &groups("1.35"));
    assert!(status.releases.iter().any(|release| release.state == ReleaseState::WaitingForApproval));
}
