//! Requests to the page: who gets an answer, and what all answers have.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::*;
use crate::page::fleet::Change;
use crate::page::id::Id;
use crate::page::stream::{concerns, live};
use crate::page::tests::ready;

const HOST: &str = "127.0.0.1:8080";

struct Client {
    page: Arc<Page>,
    announced: Arc<Mutex<Vec<String>>>,
}

impl Client {
    fn new() -> Self {
        let announced = Arc::new(Mutex::new(Vec::new()));
        let store = Arc::clone(&announced);
        let announce = Box::new(move |address: &str| store.lock().push(address.to_owned()));
        let session = Session::new(HOST.parse().unwrap(), announce).unwrap();
        Self { page: Arc::new(Page::new(session, TimeZone::UTC, "test".to_owned())), announced }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        self.request("GET", path, headers).await
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", HOST);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = handle(State(Arc::clone(&self.page)), request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The path of the last printed address.
    fn address(&self) -> String {
        self.announced.lock().last().unwrap().replace(&format!("http://{HOST}"), "")
    }

    async fn cookie(&self) -> String {
        let (status, headers, body) = self.get(&self.address(), &[]).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("url=/"), "leads on by itself: {body}");
        headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn page_is_for_who_has_the_cookie() {
    let client = Client::new();
    client.page.update(|fleet| fleet.apply(ready("team-a", "demo"), Timestamp::now()));
    for path in ["/", "/clusters/team-a/demo", "/events", "/accounts", "/nothing", "/?token=guess"] {
        let (status, headers, body) = client.get(path, &[]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!body.contains("demo") && !headers.contains_key("set-cookie"), "{path}: {body}");
    }
    let first = client.address();
    let cookie = client.cookie().await;
    for path in ["/", "/clusters/team-a/demo"] {
        let (status, _, body) = client.get(path, &[("cookie", &cookie)]).await;
        assert!(status == StatusCode::OK && body.contains("demo"), "{path}: {body}");
    }
    assert_eq!(client.get("/clusters/team-a/other", &[("cookie", &cookie)]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.get(&first, &[]).await.0, StatusCode::UNAUTHORIZED, "a token is valid once");
    assert_eq!(client.get(&first, &[("cookie", &cookie)]).await.0, StatusCode::OK, "a reload of the first address");
}

#[tokio::test]
async fn other_hosts_origins_and_methods_are_refused() {
    let client = Client::new();
    let cookie = client.cookie().await;
    for (method, headers, expected) in [
        ("GET", vec![("host", "evil.example:8080")], StatusCode::MISDIRECTED_REQUEST),
        ("GET", vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")], StatusCode::FORBIDDEN),
        ("GET", vec![("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")], StatusCode::FORBIDDEN),
        ("POST", vec![], StatusCode::METHOD_NOT_ALLOWED),
        ("DELETE", vec![], StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let headers: Vec<_> = headers.into_iter().chain([("cookie", cookie.as_str())]).collect();
        assert_eq!(client.request(method, "/", &headers).await.0, expected, "{method} {headers:?}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers() {
    let client = Client::new();
    let cookie = client.cookie().await;
    for (path, cookie) in [("/", cookie.as_str()), ("/", ""), ("/assets/page.js", ""), ("/nothing", cookie.as_str())] {
        let (_, headers, _) = client.get(path, &[("cookie", cookie)]).await;
        for (name, value) in HEADERS {
            assert_eq!(headers[name], value, "{path}");
        }
    }
    let policy = HEADERS[0].1;
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn page_that_is_busy_says_so_and_recovers() {
    let client = Client::new();
    let cookie = client.cookie().await;
    let all = client.page.renders.available_permits();
    let turns = client.page.renders.acquire_many(u32::try_from(all).unwrap()).await.unwrap();
    let (status, headers, body) = client.get("/", &[("cookie", &cookie)]).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key("retry-after"), "{status}");
    assert!(body.contains("The page is busy"), "{body}");
    drop(turns);
    assert_eq!(client.get("/", &[("cookie", &cookie)]).await.0, StatusCode::OK);
    assert_eq!(client.page.renders.available_permits(), all, "turns are given back");
}

#[tokio::test]
async fn change_is_announced_to_those_who_look_at_it() {
    let client = Client::new();
    let demo = Id::of_path("/clusters/team-a/demo");
    let response = live(&client.page, Viewer::of_everything(), demo, None).into_response();
    let mut body = response.into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap().unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    let is_message = |text: &str, event: &str| text.contains(&format!("event: {event}")) && text.contains("data: -\n");
    assert!(is_message(&next().await, "connected"));
    client.page.update(|fleet| fleet.apply(ready("team-a", "demo"), Timestamp::now()));
    assert!(is_message(&next().await, "changed"));
    let of_other = Change::Object { id: Id::of_path("/clusters/team-b/x").unwrap(), cluster: None };
    let of_group = Change::Object {
        id: Id::of_path("/nodegroups/team-a/g").unwrap(),
        cluster: Id::of_path("/clusters/team-a/demo"),
    };
    let demo = Id::of_path("/clusters/team-a/demo").unwrap();
    let (all, some) = (Viewer::of_everything(), Viewer::of_namespaces(&["team-a"]));
    assert!(concerns(&of_other, &all, None) && !concerns(&of_other, &some, None), "nothing of other namespaces");
    assert!(!concerns(&of_other, &all, Some(&demo)) && concerns(&of_group, &some, Some(&demo)));
    assert!(concerns(&Change::Source, &some, Some(&demo)));
}
