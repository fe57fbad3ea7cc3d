//! What a rollout over 1,000 clusters with 3,000 NodeGroups costs: a steady one writes nothing, and a pass is short.
//!
//! The numbers of a run: `cargo test --lib -- --nocapture rollout::cost_tests`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::conditions::conditions;
use super::member::members;
use crate::api::fleet_rollout_status::{FleetRolloutStatus, ReleaseState};
use crate::api::{EksCluster, FleetRolloutSpec, NodeGroup};
use crate::rollout::{Annotations, Input, Member, Rollout, Rollouts, advance};

const CLUSTERS: usize = 1000;
const GROUPS: usize = 3;
/// The promise for a release build is 100 ms. Without optimisation, and beside other tests, it takes up to ten times as
/// long; a loop within a loop over all clusters would take a hundred times as long.
const MAX_PASS: Duration = Duration::from_secs(1);
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

/// Ten waves, the last ones with approvals; as many as possible begin at the same time.
fn spec() -> FleetRolloutSpec {
    let wave = |number: usize| {
        let approval = if number > 4 { "Required" } else { "Automatic" };
        json!({"name": format!("ring-{number}"), "selector": {"matchLabels": {"ring": number.to_string()}},
            "maxConcurrent": "100%", "maxFailed": 1000, "approval": approval})
    };
    let waves: Vec<Value> = (0..10).map(wave).collect();
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
        now,
    });
    let conditions = conditions(&outcome.status, Some(1), outcome.problem.as_deref(), now);
    (FleetRolloutStatus { observed_generation: Some(1), conditions, ..outcome.status }, members)
}

/// Passes until nothing changes; then checks that more passes change nothing, and how long each takes.
fn measure(what: &str, clusters: &[Arc<EksCluster>], groups: &[Arc<NodeGroup>]) -> FleetRolloutStatus {
    let spec = spec();
    let (mut status, mut now) = (FleetRolloutStatus::default(), "2026-11-29T00:00:00Z".parse::<Timestamp>().unwrap());
    for _ in 0..4 {
        status = pass(&spec, &status, clusters, groups, now).0;
    }
    let mut shortest = Duration::MAX;
    for _ in 0..PASSES {
        now += jiff::SignedDuration::from_secs(1);
        let began = Instant::now();
        let (after, members) = pass(&spec, &status, clusters, groups, now);
        shortest = shortest.min(began.elapsed());
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
    let status = measure("steady", &all, &groups("1.36"));
    assert_eq!(status.members, 1000);
    assert!(status.releases.iter().all(|release| release.state == ReleaseState::Completed), "{:?}", status.releases);
}

#[test]
fn pass_in_the_middle_of_a_release_is_short_too() {
    // Two hundred have begun, and are Stalled; the others wait for their wave.
    let wave = |number: usize| {
        let id = format!("ControlPlane/1.36/{}", 1_795_910_400_000_i64 + i64::try_from(number).unwrap());
        json!({"upgrade": {"wave": if number < 200 { json!({"claimed": id}) } else { json!({"asks": id}) }}})
    };
    let stalled = json!([{"type": "Stalled", "status": "True", "reason": "Failed", "message": "no capacity",
        "lastTransitionTime": "2026-11-29T00:00:00Z"}]);
    let of = |number: usize| {
        let mut more = wave(number);
        if number < 200 {
            more["conditions"] = stalled.clone();
        }
        cluster(number, "1.35", more)
    };
    let all: Vec<_> = (0..CLUSTERS).map(of).collect();
    let status = measure("in the middle of a release", &all, &groups("1.35"));
    assert!(!status.releases.is_empty());
}
