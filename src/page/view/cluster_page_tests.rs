//! What a cluster's page shows of conditions and of the agent: nothing that somebody stopped is shown as healthy.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::api::NodeGroup;
use crate::page::fleet::Fleet;
use crate::page::tests::now;
use crate::page::view::node_group_page;
use crate::page::viewer::Viewer;

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-11-30T23:00:00Z"})
}

/// The cluster `team/demo` with that status.
fn cluster(status: Value) -> EksCluster {
    let metadata = json!({"name": "demo", "namespace": "team", "generation": 1});
    let spec = json!({"region": "eu-west-1", "version": "1.35"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn in_context<T>(fleet: &Fleet, of: impl FnOnce(&Context<'_>) -> T) -> T {
    let viewer = Viewer::of_everything();
    of(&Context { fleet, viewer: &viewer, now: now(), zone: &TimeZone::UTC, management: "m" })
}

/// Name and shape of each condition on the page of a cluster.
fn shapes(conditions: &Value) -> Vec<(String, &'static str)> {
    let object = cluster(json!({"conditions": conditions}));
    let rows = in_context(&Fleet::default(), |context| super::conditions(&Subject::from(&object), context));
    rows.into_iter().map(|row| (row.name, row.badge.shape)).collect()
}

/// Shape of the agent of a cluster with these conditions.
fn agent_shape(conditions: Value, gitops: Value) -> &'static str {
    let object = cluster(json!({"conditions": conditions, "gitops": gitops}));
    let status = object.status.clone().and_then(|status| status.gitops).unwrap();
    agent(&status, &Subject::from(&object)).badge.shape
}

/// The conditions as the operator writes them when a cluster is suspended that was ready.
fn suspended() -> Value {
    json!([
        condition("Ready", "True", "Suspended"),
        condition("Reconciling", "False", "Suspended"),
        condition("Stalled", "False", "Suspended"),
    ])
}

#[test]
fn no_condition_that_somebody_stopped_is_shown_as_healthy() {
    let held = |name: &str| (name.to_owned(), "held");
    assert_eq!(shapes(&suspended()), ["Ready", "Reconciling", "Stalled"].map(held));
    for reason in ["Suspended", "OnHold", "Observed"] {
        for status in ["True", "False", "Unknown"] {
            let shown = shapes(&json!([condition("ControlPlaneReady", status, reason)]));
            assert_eq!(shown, [held("ControlPlaneReady")], "{status} {reason}");
        }
    }
    let others = json!([
        condition("Ready", "True", "Available"),
        condition("Reconciling", "False", "Reconciled"),
        condition("Stalled", "True", "NotOwned"),
    ]);
    let expected = [("Stalled", "blocked"), ("Ready", "ready"), ("Reconciling", "ready")];
    assert_eq!(shapes(&others), expected.map(|(name, shape)| (name.to_owned(), shape)));
}

#[test]
fn suspended_node_group_has_no_healthy_condition() {
    let spec = json!({"clusterRef": {"name": "demo"}, "instanceTypes": ["m7i.large"], "scaling": {"min": 1, "max": 3}});
    let metadata = json!({"name": "web", "namespace": "team", "generation": 1});
    let group = json!({"metadata": metadata, "spec": spec, "status": {"conditions": suspended()}});
    let mut fleet = Fleet::default();
    fleet.apply(serde_json::from_value::<NodeGroup>(group).unwrap(), now());
    let id = Id::new(Kind::NodeGroup, "team", "web");
    let html = in_context(&fleet, |context| node_group_page::Page::new(context, &id).unwrap().render().unwrap());
    assert_eq!(html.matches("class=\"badge held\"").count(), 4, "its state and three conditions: {html}");
    assert!(!html.contains("class=\"badge ready\""), "{html}");
}

#[test]
fn agent_with_suspended_objects_or_of_a_suspended_cluster_is_held() {
    let ready = || json!([condition("Ready", "True", "Available"), condition("GitOpsReady", "True", "Available")]);
    let objects = |failing: i32, suspended: i32| json!({"agent": "flux", "objects": {"running": 3, "failing": failing, "suspended": suspended}});
    assert_eq!(agent_shape(ready(), objects(0, 0)), "ready");
    assert_eq!(agent_shape(ready(), objects(0, 1)), "held");
    assert_eq!(agent_shape(ready(), objects(1, 1)), "failing", "that comes first");
    assert_eq!(agent_shape(suspended(), objects(0, 0)), "held");
    let untouched = json!([condition("Ready", "True", "Available"), condition("GitOpsReady", "Unknown", "OnHold")]);
    assert_eq!(agent_shape(untouched, objects(0, 0)), "held");
}

#[test]
fn cluster_on_hold_is_held_and_needs_nobody() {
    let object =
        cluster(json!({"conditions": [condition("Ready", "False", "OnHold"), condition("Stalled", "True", "OnHold")]}));
    let row = Row::of_cluster(&object, now());
    assert_eq!(row.state, State::Held, "a hold is a decision of somebody");
    assert!(!row.requires_intervention(now()));
}
