//! What is deleted and left, with an API server that answers from memory.

use serde_json::{Value, json};

use super::*;
use crate::workload::fake_api::FakeApi;

fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"type": kind}})
}

fn cluster(services: Vec<Value>, ingresses: Vec<Value>) -> FakeApi {
    FakeApi::new([("/api/v1/services", services), ("/apis/networking.k8s.io/v1/ingresses", ingresses)])
}

#[tokio::test]
async fn load_balancers_are_deleted_and_nothing_else() {
    let web = json!({
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"hostname": "web-1.elb.eu-west-1.amazonaws.com"}]}},
    });
    let going = json!({
        "metadata": {"name": "going", "namespace": "shop", "deletionTimestamp": "2026-11-20T00:00:00Z"},
        "spec": {"type": "LoadBalancer"},
    });
    let services = vec![service("kubernetes", "ClusterIP"), web, going, service("node", "NodePort")];
    let api = cluster(services, vec![json!({"metadata": {"name": "site", "namespace": "shop"}})]);
    let remaining = delete_exposed(&api.client().await).await.unwrap();
    let messages = "Service shop/web (web-1.elb.eu-west-1.amazonaws.com), Service shop/going, Ingress shop/site";
    assert_eq!(remaining.to_string(), messages);
    assert_eq!(
        *api.writes.lock().unwrap(),
        [
            "DELETE /api/v1/namespaces/shop/services/web",
            "DELETE /apis/networking.k8s.io/v1/namespaces/shop/ingresses/site",
        ]
    );
}

#[tokio::test]
async fn nothing_is_deleted_in_a_cluster_without_load_balancers() {
    let api = cluster(vec![service("kubernetes", "ClusterIP")], vec![]);
    assert!(delete_exposed(&api.client().await).await.unwrap().is_empty());
    assert!(api.writes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn first_objects_are_named_and_the_rest_counted() {
    let services = (0..9).map(|number| service(&format!("web-{number}"), "LoadBalancer")).collect();
    let remaining = delete_exposed(&cluster(services, vec![]).client().await).await.unwrap();
    assert!(remaining.to_string().ends_with("Service shop/web-4 and 4 more"), "{remaining}");
}

#[tokio::test]
async fn denied_call_is_returned_as_an_error() {
    let refused = delete_exposed(&FakeApi::new([]).client().await).await;
    assert!(matches!(refused, Err(CallError::Denied { .. })), "{refused:?}");
}
