//! What a watch reports when it is cut, expired or refused, with an API server that answers from a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use kube::Config;
use serde_json::{Value, json};

use super::*;

/// Answers to watches, in order; after the last every watch is refused. And the requests.
#[derive(Clone, Default)]
struct Script {
    watches: Arc<Mutex<VecDeque<Vec<Value>>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

async fn answer(script: State<Script>, uri: Uri) -> impl IntoResponse {
    let (code, body) = text(script, uri);
    (code, [(CONTENT_TYPE, "application/json")], body)
}

fn text(State(script): State<Script>, uri: Uri) -> (StatusCode, String) {
    let query = uri.query().unwrap_or_default().as_bytes();
    let version = url::form_urlencoded::parse(query).find(|(key, _)| key == "resourceVersion");
    let requests = version.map_or("list".to_owned(), |(_, version)| format!("watch from {version}"));
    script.requests.lock().unwrap().push(requests.clone());
    if requests == "list" {
        return (StatusCode::OK, json!({"metadata": {"resourceVersion": "7"}, "items": []}).to_string());
    }
    match script.watches.lock().unwrap().pop_front() {
        Some(events) => (StatusCode::OK, events.iter().map(|event| format!("{event}\n")).collect()),
        None => (StatusCode::FORBIDDEN, json!({"kind": "Status", "message": "no", "code": 403}).to_string()),
    }
}

fn event(kind: &str, name: &str, version: &str) -> Value {
    let metadata = json!({"namespace": "shop", "name": name, "resourceVersion": version});
    json!({"type": kind, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}})
}

fn changed(name: &str) -> WatchEvent {
    WatchEvent::Changed { namespace: "shop".into(), name: name.into() }
}

/// The reported events, the requests, and the error that ended the watch.
async fn run_script(watches: Vec<Vec<Value>>) -> (Vec<WatchEvent>, Vec<String>, CallError) {
    let script = Script { watches: Arc::new(Mutex::new(watches.into())), ..Script::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = axum::Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::try_from(Config::new(url)).unwrap();
    let mut events = Vec::new();
    let mut watch = Watch::of(Watched { api_version: "v1", kind: "Secret", namespace: None });
    let error = watch.follow(&client, |event| events.push(event)).await;
    let requests = script.requests.lock().unwrap().clone();
    (events, requests, error)
}

#[tokio::test]
async fn interrupted_watch_resumes_without_missing_events() {
    let first = vec![event("ADDED", "a", "8"), event("MODIFIED", "a", "9")];
    let second = vec![event("BOOKMARK", "", "20"), event("DELETED", "b", "21")];
    let (events, requests, error) = run_script(vec![first, second]).await;
    assert_eq!(events, [WatchEvent::Started, changed("a"), changed("a"), WatchEvent::Alive, changed("b")]);
    assert_eq!(requests, ["list", "watch from 7", "watch from 9", "watch from 21"]);
    assert!(matches!(error, CallError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn expired_version_restarts_the_watch() {
    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}});
    let (events, requests, _) =
        run_script(vec![vec![event("ADDED", "a", "8"), gone], vec![event("ADDED", "b", "9")]]).await;
    assert_eq!(events, [WatchEvent::Started, changed("a"), WatchEvent::Started, changed("b")]);
    assert_eq!(requests, ["list", "watch from 7", "list", "watch from 7", "watch from 9"]);
}

#[tokio::test]
async fn watch_that_always_ends_at_once_fails() {
    let closed = vec![Vec::new(); 100];
    let (events, requests, error) = run_script(closed).await;
    assert_eq!(events, [WatchEvent::Started]);
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert!(error.to_string().contains("3 times in a row"), "{error}");

    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}});
    let (_, requests, error) = run_script(vec![vec![gone]; 100]).await;
    assert!(requests.len() <= 8, "{requests:?}");
    assert!(error.to_string().contains("no longer keeps the resourceVersion"), "{error}");
}
