//! An API server for tests, which answers lists from memory in pages of two; no single object exists. I/O: loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use kube::{Client, Config};
use serde_json::{Value, json};

const PAGE: usize = 2;

/// Lists by path, and the requests received: `path?labelSelector`.
#[derive(Clone, Default)]
pub struct FakeApi {
    lists: Arc<BTreeMap<String, Vec<Value>>>,
    pub requests: Arc<Mutex<Vec<String>>>,
    /// Writes received: `METHOD path`, and the body of a patch. Each succeeds and changes nothing.
    pub writes: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    pub fn new(lists: impl IntoIterator<Item = (&'static str, Vec<Value>)>) -> Self {
        let lists = lists.into_iter().map(|(path, items)| (path.to_owned(), items)).collect();
        Self { lists: Arc::new(lists), requests: Arc::default(), writes: Arc::default() }
    }

    /// Starts the server and returns a client.
    pub async fn client(&self) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Client::try_from(Config::new(url)).unwrap()
    }
}

fn forbidden() -> (StatusCode, String) {
    let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
    (StatusCode::FORBIDDEN, status.to_string())
}

fn not_found() -> (StatusCode, String) {
    let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "NotFound", "code": 404});
    (StatusCode::NOT_FOUND, status.to_string())
}

async fn answer(api: State<FakeApi>, method: Method, uri: Uri, body: String) -> impl IntoResponse {
    let (code, body) = text(api, method, uri, body);
    (code, [(CONTENT_TYPE, "application/json")], body)
}

fn text(State(api): State<FakeApi>, method: Method, uri: Uri, body: String) -> (StatusCode, String) {
    if method != Method::GET {
        let (written, answer) = match method {
            Method::PATCH => (format!(" {body}"), body),
            _ => (String::new(), "{}".to_owned()),
        };
        api.writes.lock().unwrap().push(format!("{method} {}{written}", uri.path()));
        return (StatusCode::OK, answer);
    }
    let query = uri.query().unwrap_or_default().as_bytes();
    let query: BTreeMap<String, String> = url::form_urlencoded::parse(query).into_owned().collect();
    let selector = query.get("labelSelector").cloned().unwrap_or_default();
    api.requests.lock().unwrap().push(format!("{}?{selector}", uri.path()));
    let Some(items) = api.lists.get(uri.path()) else {
        let is_listed = uri.path().rsplit_once('/').is_some_and(|(kind, _)| api.lists.contains_key(kind));
        return if is_listed { not_found() } else { forbidden() };
    };
    let from: usize = query.get("continue").map_or(0, |token| token.parse().unwrap());
    let to = (from + PAGE).min(items.len());
    let next = if to < items.len() { to.to_string() } else { String::new() };
    let list = json!({"kind": "List", "metadata": {"continue": next}, "items": items[from..to]});
    (StatusCode::OK, list.to_string())
}
