//! What a pass evicts, deletes and uncordons.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use kube::Config;
use parking_lot::Mutex;

use super::*;

const BUDGET: (u16, &str) = (429, "Cannot evict pod as it would violate the pod's disruption budget.");
const EVICT: &str = "POST /api/v1/namespaces/shop/pods/cart-0/eviction";
const DELETE: &str = "DELETE /api/v1/namespaces/shop/pods/cart-0";
const UNCORDON: &str = "PATCH /api/v1/nodes/node-1";

/// An API server with a cordoned node and a Pod, which answers evictions with an error.
#[derive(Clone)]
struct Server {
    eviction: (u16, &'static str),
    writes: Arc<Mutex<Vec<String>>>,
}

async fn answer_request(State(server): State<Server>, method: Method, uri: Uri) -> impl IntoResponse {
    let (code, body) = text(&server, &method, uri.path());
    (StatusCode::from_u16(code).unwrap(), [(CONTENT_TYPE, "application/json")], body.to_string())
}

fn text(server: &Server, method: &Method, path: &str) -> (u16, Value) {
    if *method == Method::GET {
        let items = match path {
            "/api/v1/nodes" => json!([{
                "metadata": {"name": "node-1", "annotations": {CORDONED: "uid-of-an-earlier-object"}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }]),
            "/api/v1/pods" => json!([{"metadata": {"name": "cart-0", "namespace": "shop", "uid": "uid-1"}}]),
            _ => json!([]),
        };
        return (200, json!({"kind": "List", "metadata": {"continue": ""}, "items": items}));
    }
    server.writes.lock().push(format!("{method} {path}"));
    if *method == Method::POST {
        let (code, message) = server.eviction;
        return (code, json!({"kind": "Status", "status": "Failure", "message": message, "code": code}));
    }
    (200, json!({}))
}

/// A pass: what it found, which refusals it knows then, and what it wrote.
async fn run(
    eviction: (u16, &'static str),
    order: &Order,
    known: &Refusals,
    now: i64,
) -> (Drained, Refusals, Vec<String>) {
    let server = Server { eviction, writes: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = axum::Router::new().fallback(answer_request).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut config = Config::new(url);
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let (found, refusals) = pass(&client, order, known, at(now)).await.unwrap();
    let writes = server.writes.lock().clone();
    (found, refusals, writes)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn since(second: i64) -> Refusals {
    Refusals::from([("uid-1".to_owned(), at(second))])
}

fn order(writes: bool, force: Option<bool>) -> Order {
    let evict = force.map(|force| Eviction { at_once: MaxUnavailable::Nodes(1), force });
    Order { owner: "uid".into(), stays: "new".into(), leaves: "old".into(), writes, evict }
}

#[tokio::test]
async fn pod_is_deleted_by_force_only_after_its_budget_refused_its_eviction_for_long() {
    let (none, forced) = (Refusals::new(), order(true, Some(true)));
    let (found, refusals, writes) = run(BUDGET, &forced, &none, 1000).await;
    assert_eq!((writes, refusals, found.blocked.len()), (strings(&[UNCORDON, EVICT]), since(1000), 1));
    let (_, refusals, writes) = run(BUDGET, &forced, &since(1000), 1899).await;
    assert_eq!((writes, refusals), (strings(&[UNCORDON, EVICT]), since(1000)));
    let (found, refusals, writes) = run(BUDGET, &forced, &since(1000), 1900).await;
    assert_eq!((writes, refusals), (strings(&[UNCORDON, EVICT, DELETE]), since(1000)));
    assert!(found.blocked.is_empty());
    let another = Refusals::from([("uid-2".to_owned(), at(1000))]);
    let (_, refusals, writes) = run(BUDGET, &forced, &another, 1900).await;
    assert_eq!((writes, refusals), (strings(&[UNCORDON, EVICT]), since(1900)), "another Pod was refused");
    let (_, _, writes) = run(BUDGET, &order(true, Some(false)), &since(1000), 9000).await;
    assert_eq!(writes, [UNCORDON, EVICT], "not on request");
}

#[tokio::test]
async fn pod_that_is_refused_by_something_else_is_named_and_never_deleted() {
    for answer in [(429, "Too many requests"), (403, "a webhook denied it"), (400, "a webhook"), (503, "try again")] {
        let (found, refusals, writes) = run(answer, &order(true, Some(true)), &Refusals::new(), 1000).await;
        assert!(matches!(&found.blocked[0].by, BlockedBy::Refusal(why) if why.contains(answer.1)), "{found:?}");
        assert_eq!((writes, refusals), (strings(&[UNCORDON, EVICT]), Refusals::new()), "{answer:?}");
        let (_, refusals, writes) = run(answer, &order(true, Some(true)), &since(1000), 9000).await;
        assert_eq!((writes, refusals), (strings(&[UNCORDON, EVICT]), since(1000)), "{answer:?}");
    }
}

#[tokio::test]
async fn nodes_that_an_earlier_object_cordoned_are_uncordoned_if_anything_may_be_written() {
    let (found, _, writes) = run(BUDGET, &order(true, None), &Refusals::new(), 1000).await;
    assert_eq!((found.schedulable, writes), (1, strings(&[UNCORDON])));
    let (found, _, writes) = run(BUDGET, &order(false, None), &Refusals::new(), 1000).await;
    assert_eq!((found.schedulable, found.pods, writes), (0, 1, strings(&[])));
}

#[test]
fn as_many_nodes_as_an_update_would_replace_are_drained_at_once() {
    let percentage = |percent, nodes| at_once(MaxUnavailable::Percentage(percent), nodes);
    assert_eq!((percentage(50, 5), percentage(10, 5), percentage(100, 5)), (2, 1, 5));
    assert_eq!((at_once(MaxUnavailable::Nodes(3), 2), at_once(MaxUnavailable::Nodes(1), 9)), (3, 1));
}

#[test]
fn pods_that_cannot_move_hold_no_node() {
    let pod = |more: Value| {
        let mut pod =
            json!({"metadata": {"name": "a", "namespace": "default", "uid": "1"}, "status": {"phase": "Running"}});
        for (name, value) in more.as_object().unwrap() {
            pod["metadata"][name] = value.clone();
        }
        serde_json::from_value::<Pod>(pod).unwrap().is_to_leave()
    };
    assert!(pod(json!({})) && pod(json!({"deletionTimestamp": "2026-11-30T00:00:00Z"})));
    assert!(pod(json!({"ownerReferences": [{"kind": "ReplicaSet", "controller": true}]})));
    assert!(!pod(json!({"ownerReferences": [{"kind": "DaemonSet", "controller": true}]})));
    assert!(!pod(json!({"annotations": {MIRROR: "hash"}})));
    let finished = json!({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}});
    assert!(!serde_json::from_value::<Pod>(finished).unwrap().is_to_leave());
}

#[test]
fn only_a_refusal_by_a_budget_counts_as_one() {
    assert!(names_budget("429: Cannot evict pod as it would violate the pod's disruption budget."));
    assert!(names_budget(
        "500: This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    ));
    assert!(!names_budget("429: Too many requests, please try again later."));
}
