//! What is deleted and left, with an API server that answers from memory.

use serde_json::{Value, json};

use super::*;
use crate::workload::fake_api::FakeApi;

fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"type": kind}})
}

fn cluster(services: Vec<Value>, ingresses: Vec<Value>) -> FakeApi {
    cluster_with(services, ingresses, [])
}

/// A cluster with more lists; the other kinds are served and empty.
fn cluster_with<const N: usize>(
    services: Vec<Value>,
    ingresses: Vec<Value>,
    more: [(&'static str, Vec<Value>); N],
) -> FakeApi {
    let mut lists = std::collections::BTreeMap::from([
        ("/api/v1/services", services),
        ("/apis/networking.k8s.io/v1/ingresses", ingresses),
        ("/apis/gateway.networking.k8s.io/v1/gateways", vec![]),
        ("/apis/gateway.networking.k8s.io/v1beta1/gateways", vec![]),
        ("/apis/karpenter.sh/v1/nodepools", vec![]),
        ("/apis/karpenter.sh/v1beta1/nodepools", vec![]),
        ("/apis/karpenter.sh/v1/nodeclaims", vec![]),
        ("/apis/karpenter.sh/v1beta1/nodeclaims", vec![]),
        ("/apis/karpenter.k8s.aws/v1/ec2nodeclasses", vec![]),
        ("/apis/karpenter.k8s.aws/v1beta1/ec2nodeclasses", vec![]),
        ("/apis/apps/v1/deployments", vec![]),
    ]);
    lists.extend(more);
    FakeApi::new(lists)
}

async fn pass(api: &FakeApi) -> Remaining {
    delete_exposed(&api.client().await, &mut Deleted::default()).await.unwrap()
}

fn at(time: &str) -> jiff::Timestamp {
    time.parse().unwrap()
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
    let remaining = pass(&api).await;
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
    assert!(pass(&api).await.is_empty());
    assert!(api.writes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn first_objects_are_named_and_the_rest_counted() {
    let services = (0..9).map(|number| service(&format!("web-{number}"), "LoadBalancer")).collect();
    let remaining = pass(&cluster(services, vec![])).await;
    assert!(remaining.to_string().ends_with("Service shop/web-4 and 4 more"), "{remaining}");
}

#[tokio::test]
async fn denied_call_is_returned_as_an_error() {
    let refused = delete_exposed(&FakeApi::new([]).client().await, &mut Deleted::default()).await;
    assert!(matches!(refused, Err(CallError::Denied { .. })), "{refused:?}");
}

#[tokio::test]
async fn gateways_are_deleted_once_whatever_versions_are_served() {
    let gateway = || {
        json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "status": {"addresses": [{"value": "edge-1.elb.eu-west-1.amazonaws.com"}]},
        })
    };
    let api = cluster_with(
        vec![],
        vec![],
        [
            ("/apis/gateway.networking.k8s.io/v1/gateways", vec![gateway()]),
            ("/apis/gateway.networking.k8s.io/v1beta1/gateways", vec![gateway()]),
        ],
    );
    assert_eq!(pass(&api).await.to_string(), "Gateway shop/edge (edge-1.elb.eu-west-1.amazonaws.com)");
    let path = "DELETE /apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/edge";
    assert_eq!(*api.writes.lock().unwrap(), [path]);
}

/// Auto Mode's instances are deleted by EKS, with the cluster.
#[tokio::test]
async fn karpenters_nodes_are_drained_after_the_load_balancers_and_those_of_auto_mode_are_not() {
    let pool = |name: &str, group: &str| json!({"metadata": {"name": name}, "spec": {"template": {"spec": {"nodeClassRef": {"group": group}}}}});
    let claim = json!({
        "metadata": {"name": "default-x"}, "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws"}},
        "status": {"providerID": "aws:///eu-west-1a/i-0123"},
    });
    let class = || json!({"metadata": {"name": "default"}});
    let nodes = || {
        [
            (
                "/apis/karpenter.sh/v1/nodepools",
                vec![pool("default", "karpenter.k8s.aws"), pool("system", "eks.amazonaws.com")],
            ),
            ("/apis/karpenter.sh/v1/nodeclaims", vec![claim.clone()]),
            ("/apis/karpenter.k8s.aws/v1/ec2nodeclasses", vec![class()]),
        ]
    };
    let api = cluster_with(vec![service("web", "LoadBalancer")], vec![], nodes());
    assert_eq!(pass(&api).await.to_string(), "Service shop/web", "its controller may run on a node of Karpenter");
    let api = cluster_with(vec![], vec![], nodes());
    assert_eq!(pass(&api).await.to_string(), "NodePool default, NodeClaim default-x (i-0123)");
    assert_eq!(
        *api.writes.lock().unwrap(),
        ["DELETE /apis/karpenter.sh/v1/nodepools/default", "DELETE /apis/karpenter.sh/v1/nodeclaims/default-x"]
    );
    let api = cluster_with(vec![], vec![], [("/apis/karpenter.k8s.aws/v1/ec2nodeclasses", vec![class()])]);
    assert_eq!(pass(&api).await.to_string(), "EC2NodeClass default", "no node needs it any more");
}

#[tokio::test]
async fn object_that_is_created_again_is_reported_with_its_writer() {
    let web = |uid: &str| {
        json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": uid, "managedFields": [{"manager": "shop-operator"}]},
            "spec": {"type": "LoadBalancer"},
        })
    };
    let (mut deleted, now) = (Deleted::default(), at("2026-11-20T00:00:05Z"));
    let first = delete_exposed(&cluster(vec![web("1")], vec![]).client().await, &mut deleted).await.unwrap();
    assert_eq!(first.describe(now, false), "Service shop/web to be deleted");
    let again = delete_exposed(&cluster(vec![web("2")], vec![]).client().await, &mut deleted).await.unwrap();
    assert_eq!(
        again.describe(now, false),
        "Service shop/web to be deleted (Service shop/web was deleted and created again by \"shop-operator\": stop it)"
    );
}

#[tokio::test]
async fn finalizer_of_a_controller_that_does_not_run_is_reported() {
    let web = json!({
        "metadata": {
            "name": "web", "namespace": "shop", "deletionTimestamp": "2026-11-20T00:00:00Z",
            "finalizers": ["service.k8s.aws/resources"],
        },
        "spec": {"type": "LoadBalancer"},
    });
    let (soon, later) = (at("2026-11-20T00:00:30Z"), at("2026-11-20T00:02:00Z"));
    let held = "Service shop/web was deleted at 2026-11-20T00:00:00Z and keeps the finalizer service.k8s.aws/resources";
    for (ready, why) in [
        (0, "AWS Load Balancer Controller has no ready Pod: start it, or delete its resources in AWS by hand"),
        (1, "see the log of its controller"),
    ] {
        let deployment = json!({"metadata": {"name": "lbc"}, "status": {"readyReplicas": ready}});
        let more = [("/apis/apps/v1/deployments", vec![deployment])];
        let remaining = pass(&cluster_with(vec![web.clone()], vec![], more)).await;
        assert_eq!(remaining.describe(soon, false), "Service shop/web to be deleted", "this is usual");
        assert_eq!(remaining.describe(later, false), format!("Service shop/web to be deleted ({held}: {why})"));
    }
}

#[test]
fn pass_in_which_something_was_still_running_is_repeated() {
    let remaining = Remaining::default().settling(true);
    assert!(!remaining.is_empty());
    assert_eq!(remaining.describe(at("2026-11-20T00:00:00Z"), false), "what creates them again to stop");
}
