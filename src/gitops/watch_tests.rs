//! What is told of a watch that is cut, forgotten and refused, by an API server that answers from a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use kube::Config;
use serde_json::{Value, json};

use super::*;

/// Answers to watches, in order; after the last all is refused. And what was asked.
#[derive(Clone, Default)]
struct Script {
    watches: Arc<Mutex<VecDeque<Vec<Value>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(script: State<Script>, uri: Uri) -> impl IntoResponse {
    let (code, body) = text(script, uri);
    (code, [(CONTENT_TYPE, "application/json")], body)
}

fn text(State(script): State<Script>, uri: Uri) -> (StatusCode, String) {
    let query = uri.query().unwrap_or_default().as_bytes();
    let version = url::form_urlencoded::parse(query).find(|(key, _)| key == "resourceVersion");
    let asked = version.map_or("list".to_owned(), |(_, version)| format!("watch from {version}"));
    script.asked.lock().unwrap().push(asked.clone());
    if asked == "list" {
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

/// What was heard, what was asked, and why it ended.
async fn played(watches: Vec<Vec<Value>>) -> (Vec<WatchEvent>, Vec<String>, CallError) {
    let script = Script { watches: Arc::new(Mutex::new(watches.into())), ..Script::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = axum::Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::try_from(Config::new(url)).unwrap();
    let mut heard = Vec::new();
    let mut watch = Watch::of(Watched { api_version: "v1", kind: "Secret", namespace: None });
    let error = watch.follow(&client, |what| heard.push(what)).await;
    let asked = script.asked.lock().unwrap().clone();
    (heard, asked, error)
}

#[tokio::test]
async fn what_is_cut_goes_on_where_it_was_and_misses_nothing() {
    let first = vec![event("ADDED", "a", "8"), event("MODIFIED", "a", "9")];
    let second = vec![event("BOOKMARK", "", "20"), event("DELETED", "b", "21")];
    let (heard, asked, error) = played(vec![first, second]).await;
    assert_eq!(heard, [WatchEvent::Began, changed("a"), changed("a"), WatchEvent::Alive, changed("b")]);
    assert_eq!(asked, ["list", "watch from 7", "watch from 9", "watch from 21"]);
    assert!(matches!(error, CallError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn a_version_that_the_server_has_forgotten_is_a_new_beginning() {
    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}});
    let (heard, asked, _) = played(vec![vec![event("ADDED", "a", "8"), gone], vec![event("ADDED", "b", "9")]]).await;
    assert_eq!(heard, [WatchEvent::Began, changed("a"), WatchEvent::Began, changed("b")]);
    assert_eq!(asked, ["list", "watch from 7", "list", "watch from 7", "watch from 9"]);
}

#[tokio::test]
async fn a_watch_that_always_ends_at_once_is_a_failure_that_says_so() {
    let closed = vec![Vec::new(); 100];
    let (heard, asked, error) = played(closed).await;
    assert_eq!(heard, [WatchEvent::Began]);
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(error.to_string().contains("3 times in a row"), "{error}");

    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}});
    let (_, asked, error) = played(vec![vec![gone]; 100]).await;
    assert!(asked.len() <= 8, "{asked:?}");
    assert!(error.to_string().contains("does not keep the version"), "{error}");
}
