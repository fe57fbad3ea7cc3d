//! What is paused, deleted and left, with an API server that answers from memory.

use super::*;
use crate::workload::fake_api::FakeApi;

fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"type": kind}})
}

fn cluster(services: Vec<Value>, ingresses: Vec<Value>) -> FakeApi {
    let flux = |name: &str, suspend: Value| json!({"metadata": {"name": name, "namespace": "flux-system"}, "spec": {"suspend": suspend}});
    let argo = |name: &str, policy: Value| json!({"metadata": {"name": name, "namespace": "argocd"}, "spec": {"syncPolicy": policy}});
    FakeApi::new([
        (
            "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations",
            vec![flux("apps", Value::Null), flux("off", json!(true))],
        ),
        ("/apis/kustomize.toolkit.fluxcd.io/v1beta2/kustomizations", vec![]),
        ("/apis/helm.toolkit.fluxcd.io/v2/helmreleases", vec![flux("ingress-nginx", json!(false))]),
        ("/apis/helm.toolkit.fluxcd.io/v2beta2/helmreleases", vec![]),
        ("/apis/helm.toolkit.fluxcd.io/v2beta1/helmreleases", vec![]),
        (
            "/apis/argoproj.io/v1alpha1/applications",
            vec![argo("shop", json!({"automated": {"selfHeal": true}})), argo("manual", Value::Null)],
        ),
        ("/api/v1/services", services),
        ("/apis/networking.k8s.io/v1/ingresses", ingresses),
    ])
}

#[tokio::test]
async fn agents_are_paused_and_then_load_balancers_are_deleted() {
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
            "PATCH /apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps {\"spec\":{\"suspend\":true}}",
            "PATCH /apis/helm.toolkit.fluxcd.io/v2/namespaces/flux-system/helmreleases/ingress-nginx {\"spec\":{\"suspend\":true}}",
            "PATCH /apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop {\"spec\":{\"syncPolicy\":{\"automated\":null}}}",
            "DELETE /api/v1/namespaces/shop/services/web",
            "DELETE /apis/networking.k8s.io/v1/namespaces/shop/ingresses/site",
        ]
    );
}

#[tokio::test]
async fn cluster_without_load_balancers_has_only_its_agents_paused() {
    let api = cluster(vec![service("kubernetes", "ClusterIP")], vec![]);
    assert!(delete_exposed(&api.client().await).await.unwrap().is_empty());
    assert!(api.writes.lock().unwrap().iter().all(|call| call.starts_with("PATCH")));
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
