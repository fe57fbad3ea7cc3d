//! Limits against a malicious API server: responses that are too large, endless, slow, redirected, compressed, not JSON
//! or malformed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body as Sent;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use futures::stream;
use kube::core::params::ListParams;
use kube::{Client, Config};
use serde::Deserialize;

use super::super::error::Unreachable;
use super::*;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Objects of `kib` KiB each, in pages of the requested limit.
    Large {
        kib: usize,
        objects: usize,
    },
    /// A page that never ends.
    EndlessPage,
    /// Small pages without end.
    EndlessPages,
    /// A byte now and then.
    Slow,
    /// Nothing at all.
    Silent,
    Redirect,
    Compressed,
    Html,
    Malformed,
    Deep,
    /// A Content-Length that the body does not reach.
    Announced,
    /// An error that never ends.
    EndlessError,
    /// Many objects of three bytes each.
    Crumbs,
}

#[derive(Clone)]
struct Server {
    attack: Attack,
    requests: Arc<AtomicUsize>,
}

const ITEM: &str = r#"{"metadata": {"name": "a", "namespace": "shop"}, "spec": {}}"#;

fn endless(first: &'static str, again: String) -> Sent {
    let parts = stream::unfold(true, move |is_first| {
        let part = if is_first { first.to_owned() } else { again.clone() };
        async move { Some((Ok::<_, std::io::Error>(part), false)) }
    });
    Sent::from_stream(parts)
}

fn slow() -> Sent {
    Sent::from_stream(stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, std::io::Error>(" "), ()))
    }))
}

async fn attacked(State(server): State<Server>, uri: Uri) -> Response<Sent> {
    let number = server.requests.fetch_add(1, Ordering::SeqCst);
    let query: std::collections::HashMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let json = || Response::builder().header(CONTENT_TYPE, "application/json");
    let items = |all: &str| format!(r#"{{"metadata": {{"resourceVersion": "1"}}, "items": [{all}]}}"#);
    let answer = match server.attack {
        Attack::Large { kib, objects } => {
            let limit: usize = query["limit"].parse().unwrap();
            let from: usize = query.get("continue").map_or(0, |token| token.parse().unwrap());
            let to = (from + limit).min(objects);
            let object = |number| {
                format!(r#"{{"metadata": {{"name": "o{number}"}}, "spec": {{"values": "{}"}}}}"#, "x".repeat(kib << 10))
            };
            let next = if to < objects { to.to_string() } else { String::new() };
            let all: Vec<_> = (from..to).map(object).collect();
            json()
                .body(Sent::from(format!(r#"{{"metadata": {{"continue": "{next}"}}, "items": [{}]}}"#, all.join(","))))
        }
        Attack::EndlessPage => json().body(endless(r#"{"items": [{}"#, format!(",{ITEM}").repeat(100))),
        Attack::EndlessPages => {
            json().body(Sent::from(format!(r#"{{"metadata": {{"continue": "{number}"}}, "items": [{ITEM}]}}"#)))
        }
        Attack::Slow => json().body(slow()),
        Attack::Silent => std::future::pending().await,
        Attack::Redirect => {
            Response::builder().status(302).header(LOCATION, "http://169.254.169.254/latest").body(Sent::empty())
        }
        Attack::Compressed => {
            let bomb = [0_u8; 4096];
            json().header(CONTENT_ENCODING, "gzip").body(Sent::from(bomb.to_vec()))
        }
        Attack::Html => Response::builder().header(CONTENT_TYPE, "text/html").body(Sent::from("<html>")),
        Attack::Malformed => json().body(Sent::from(r#"{"items": [{"metadata": {"name": "SECRET" "#)),
        Attack::Deep => json().body(Sent::from(items(&format!(
            r#"{{"metadata": {{"name": "a"}}, "spec": {}1{}}}"#,
            r#"{"a":["#.repeat(5000),
            "]}".repeat(5000)
        )))),
        Attack::Announced => json().header(CONTENT_LENGTH, 1_u64 << 40).body(slow()),
        Attack::EndlessError => {
            Response::builder().status(StatusCode::FORBIDDEN).body(endless("no ", "no ".repeat(1000)))
        }
        Attack::Crumbs => json().body(Sent::from(items(&format!("{}{{}}", "{},".repeat(1_300_000))))),
    };
    answer.unwrap()
}

async fn server(attack: Attack) -> (Client, Server) {
    let server = Server { attack, requests: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = axum::Router::new().fallback(attacked).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut config = Config::new(url);
    config.default_retry = false;
    (Client::try_from(config).unwrap(), server)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "truncated")]
    name: String,
}

impl MemorySize for Object {
    fn size(&self) -> usize {
        self.metadata.name.len()
    }
}

const KIND: (&str, &str) = ("helm.toolkit.fluxcd.io/v2", "HelmRelease");

async fn listed(attack: Attack) -> (Result<Vec<Object>, CallError>, usize) {
    let (client, server) = server(attack).await;
    let found = all::<Object>(&client, KIND, None, &ListParams::default(), 200).await;
    (found, server.requests.load(Ordering::SeqCst))
}

fn refused(found: Result<Vec<Object>, CallError>, words: &str) {
    match found {
        Err(CallError::Refused(message)) => {
            assert!(message.contains(words) && !message.contains("SECRET"), "{message}");
        }
        other => panic!("{other:?} instead of {words}"),
    }
}

fn too_large(found: Result<Vec<Object>, CallError>, words: &str) {
    match found {
        Err(CallError::TooLarge(message)) => {
            assert!(message.starts_with("HelmRelease: ") && message.contains(words), "{message}")
        }
        other => panic!("{other:?} instead of {words}"),
    }
}

#[tokio::test]
async fn large_objects_are_read_in_smaller_pages() {
    let (found, requests) = listed(Attack::Large { kib: 1300, objects: 9 }).await;
    let names: Vec<_> = found.unwrap().into_iter().map(|object| object.metadata.name).collect();
    assert_eq!((names.len(), names[0].as_str(), names[8].as_str()), (9, "o0", "o8"));
    // Pages of 200, 40 and 8 are too large, then one object per page.
    assert!((9..=13).contains(&requests), "{requests}");
}

#[tokio::test]
async fn too_large_object_and_too_large_list_are_errors() {
    too_large(listed(Attack::Large { kib: 5000, objects: 1 }).await.0, "a response is larger than 4096 KiB");
    too_large(listed(Attack::EndlessPage).await.0, "a response");
    too_large(listed(Attack::EndlessPages).await.0, "");
}

#[tokio::test]
async fn slow_or_silent_server_times_out() {
    for attack in [Attack::Slow, Attack::Silent] {
        let found = listed(attack).await.0;
        assert!(matches!(found, Err(CallError::Unreachable(Unreachable::Timeout))), "{attack:?}: {found:?}");
    }
    // Rejected by its Content-Length, without reading.
    too_large(listed(Attack::Announced).await.0, "a response");
}

#[tokio::test]
async fn unexpected_response_is_rejected_and_not_quoted() {
    refused(listed(Attack::Redirect).await.0, "a redirect is not followed");
    refused(listed(Attack::Compressed).await.0, "compressed (gzip)");
    refused(listed(Attack::Html).await.0, "content type text/html instead of application/json");
    refused(listed(Attack::Malformed).await.0, "cannot be parsed (line 1");
}

#[tokio::test]
async fn deep_json_in_ignored_fields_is_skipped() {
    let found = listed(Attack::Deep).await.0.unwrap();
    assert_eq!((found.len(), found[0].metadata.name.as_str()), (1, "a"));
}

#[tokio::test]
async fn endless_error_is_cut() {
    let (client, _) = server(Attack::EndlessError).await;
    let request = collection("v1", "Node", None).get("a", &Default::default()).unwrap();
    match answer::request::<Object>(&client, request).await {
        Err(CallError::Denied { message, .. }) => {
            assert!(message.starts_with("no no") && message.len() < 600, "{message}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn too_many_small_objects_are_an_error() {
    too_large(listed(Attack::Crumbs).await.0, "more than 50000 objects");
}
