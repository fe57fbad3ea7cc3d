//! Which budgets block evictions, and of which pods.

use serde_json::{Value, json};

use super::*;
use crate::workload::fake_api::FakeApi;

fn budget(name: &str, selector: Value, bound: (&str, Value), allowed: i32, expected: i32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": selector, bound.0: bound.1},
        "status": {"disruptionsAllowed": allowed, "expectedPods": expected},
    })
}

fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"nodeName": node}})
}

fn api() -> FakeApi {
    let web = json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "team", "operator": "Exists"},
            {"key": "zone", "operator": "NotIn", "values": ["c"]},
        ],
    });
    let budgets = vec![
        budget("fine", json!({}), ("minAvailable", 1.into()), 1, 2),
        budget("single", web, ("minAvailable", 1.into()), 0, 1),
        budget("degraded", json!(null), ("minAvailable", 2.into()), 0, 3),
        budget("empty", json!({}), ("maxUnavailable", 0.into()), 0, 0),
        json!({"metadata": {"name": "new", "namespace": "shop"}, "spec": {}, "status": {}}),
    ];
    FakeApi::new([
        ("/apis/policy/v1/poddisruptionbudgets", budgets),
        ("/api/v1/namespaces/shop/pods", vec![pod("p1", "n1"), pod("p2", "n2"), json!({"metadata": {"name": "p3"}})]),
    ])
}

#[test]
fn budget_that_covers_all_its_pods_never_allows_an_eviction() {
    let allows = |field: &str, bound: Value, expected: i32| {
        let budget = budget("a", json!({}), (field, bound), 0, expected);
        serde_json::from_value::<Budget>(budget).unwrap().allows()
    };
    for (field, bound, expected, result) in [
        ("minAvailable", json!(2), 2, EvictionAnswer::Never),
        ("minAvailable", json!(1), 2, EvictionAnswer::NotNow),
        ("minAvailable", json!("100%"), 7, EvictionAnswer::Never),
        // Rounded up.
        ("minAvailable", json!("51%"), 1, EvictionAnswer::Never),
        ("minAvailable", json!("50%"), 2, EvictionAnswer::NotNow),
        ("maxUnavailable", json!(0), 3, EvictionAnswer::Never),
        ("maxUnavailable", json!("0%"), 3, EvictionAnswer::Never),
        ("maxUnavailable", json!("1%"), 3, EvictionAnswer::NotNow),
        ("minAvailable", json!(5), 0, EvictionAnswer::Yes),
    ] {
        assert_eq!(allows(field, bound.clone(), expected), result, "{field} {bound} of {expected}");
    }
}

#[tokio::test]
async fn blocking_budgets_are_classified() {
    let found = budgets(&api().client().await).await.unwrap();
    assert_eq!(found, Budgets { never: vec!["shop/single".into()], not_now: vec!["shop/degraded".into()] });
}

#[tokio::test]
async fn blocked_pods_are_listed_with_node_and_budget() {
    let api = api();
    let found = blocked_pods(&api.client().await, &["n1".into()]).await.unwrap();
    let messages: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "pod shop/p1 on n1: its PodDisruptionBudget shop/single never allows an eviction",
            "pod shop/p1 on n1: its PodDisruptionBudget shop/degraded allows no eviction now",
        ]
    );
    let requests = api.requests.lock().unwrap().clone();
    let pods = requests.iter().find(|requests| requests.starts_with("/api/v1/namespaces/shop/pods?")).unwrap();
    assert_eq!(pods, "/api/v1/namespaces/shop/pods?app=web,tier in (a,b),!old,team,zone notin (c)");
}
