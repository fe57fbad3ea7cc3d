//! Nodes counted page by page.

use serde_json::{Value, json};

use super::*;
use crate::workload::fake_api::FakeApi;

fn node(name: &str, group: Option<&str>, kubelet: &str, ready: &str, cordoned: bool) -> Value {
    let labels = group.map(|group| json!({NODE_GROUP_LABEL: group}));
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": cordoned},
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            "nodeInfo": {"kubeletVersion": kubelet},
        },
    })
}

fn api() -> FakeApi {
    let nodes = vec![
        node("a", Some("web"), "v1.33.7-eks-1", "True", false),
        node("b", Some("web"), "v1.33.7-eks-1", "True", true),
        node("c", Some("web"), "v1.34.4-eks-1", "False", false),
        node("d", Some("batch"), "v1.34.4-eks-1", "True", false),
        node("e", None, "v1.31.14-eks-1", "Unknown", false),
        // Just registered: its kubelet has not reported yet.
        json!({"metadata": {"name": "f"}, "spec": {}, "status": null}),
    ];
    FakeApi::new([("/api/v1/nodes", nodes)])
}

#[tokio::test]
async fn nodes_are_counted_by_group_over_all_pages() {
    let nodes = nodes(&api().client().await).await.unwrap();
    let kubelets = |nodes: i32, example: &str| Kubelets { nodes, example: example.into() };
    assert_eq!(
        nodes.groups["web"],
        Count {
            total: 3,
            ready: 2,
            cordoned: 1,
            kubelets: BTreeMap::from([
                ("v1.33.7-eks-1".into(), kubelets(2, "a")),
                ("v1.34.4-eks-1".into(), kubelets(1, "c"))
            ]),
        }
    );
    assert_eq!((nodes.groups["batch"].total, nodes.groups["batch"].ready), (1, 1));
    assert_eq!((nodes.others.total, nodes.others.ready), (2, 0));
    assert_eq!(nodes.others.kubelets["v1.31.14-eks-1"], kubelets(1, "e"));
}

#[tokio::test]
async fn nodes_that_take_pods_are_ready_not_cordoned_and_not_of_fargate() {
    let mut fargate = node("fargate-a", None, "v1.34.4-eks-1", "True", false);
    fargate["metadata"]["labels"] = json!({"eks.amazonaws.com/compute-type": "fargate"});
    let nodes_of = |items: Vec<Value>| async {
        nodes(&FakeApi::new([("/api/v1/nodes", items)]).client().await).await.unwrap().schedulable
    };
    assert_eq!(nodes_of(vec![fargate.clone(), node("b", None, "v1.34.4-eks-1", "True", true)]).await, 0);
    assert_eq!(nodes_of(vec![fargate, node("karpenter", None, "v1.34.4-eks-1", "True", false)]).await, 1);
}

#[tokio::test]
async fn nodes_of_one_group_are_selected_by_label() {
    let api = api();
    nodes_of(&api.client().await, "web").await.unwrap();
    assert_eq!(api.requests.lock().unwrap()[0], "/api/v1/nodes?eks.amazonaws.com/nodegroup=web");
}

#[tokio::test]
async fn cordoned_nodes_are_those_being_drained() {
    assert_eq!(draining(&api().client().await, "web").await.unwrap(), ["b"]);
}

#[tokio::test]
async fn denied_read_is_an_error_and_not_an_empty_cluster() {
    let api = FakeApi::new([]);
    assert!(matches!(nodes(&api.client().await).await, Err(CallError::Denied { .. })));
}
