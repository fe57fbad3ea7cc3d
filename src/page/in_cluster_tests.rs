//! Requests to the page in a cluster: two tenants, sessions, and what is refused. I/O: loopback.

use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use jiff::SignedDuration;

use super::*;
use crate::page::gate::Gate;
use crate::page::reviews_tests::ApiServer;
use crate::page::server::handle;
use crate::page::stream;
use crate::page::tests::{cluster, ready};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// The page with clusters of two teams, whose tokens are `a` and `b`, and its API server.
async fn started(hosts: &[&str]) -> (Arc<Page>, ApiServer) {
    let api = ApiServer::default();
    for (token, user, namespace) in [("a", "alice", "team-a"), ("b", "bob", "team-b")] {
        api.accept(token, user);
        api.allow_clusters(user, namespace);
    }
    api.accept("n", "nobody");
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let page = Arc::new(Page::in_cluster(Cluster::new(api.client().await, &hosts, None).unwrap()));
    let now = Timestamp::now();
    page.update(|fleet| fleet.apply(ready("team-a", "apple"), now));
    page.update(|fleet| fleet.apply(cluster("team-b", "banana", "False", "NotOwned", "message of banana", 30), now));
    (page, api)
}

async fn send(page: &Arc<Page>, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut request = Request::builder().method(method).uri(path).header("host", "page.internal");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    handle(State(Arc::clone(page)), request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn get(page: &Arc<Page>, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let (parts, body) = send(page, "GET", path, headers, "").await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let all = format!("{:?}\n{}", parts.headers, String::from_utf8(body.to_vec()).unwrap());
    (parts.status, all)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn tenant_sees_nothing_of_others_in_any_byte() {
    let (page, _) = started(&[]).await;
    for (token, own, foreign) in [("a", "apple", ["banana", "team-b"]), ("b", "banana", ["apple", "team-a"])] {
        let authorization = bearer(token);
        let headers = [("authorization", authorization.as_str())];
        let (status, all) = get(&page, "/", &headers).await;
        assert!(status == StatusCode::OK && all.contains(own), "{all}");
        for path in ["/", "/?q=team", "/?state=blocked", "/accounts", "/clusters/team-z/x"] {
            let (_, all) = get(&page, path, &headers).await;
            assert!(foreign.iter().all(|name| !all.contains(name)), "{path}: {all}");
        }
        let (status, _) = get(&page, &format!("/clusters/{}/{}", foreign[1], foreign[0]), &headers).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let nobody = bearer("n");
    let (status, all) = get(&page, "/", &[("authorization", &nobody)]).await;
    assert!(status == StatusCode::OK && all.contains("keelson-view") && all.contains("nobody"), "{all}");
    assert!(!all.contains("apple") && !all.contains("banana"));
    assert!(
        all.contains("in namespaces where nobody may list them") && !all.contains("No cluster exists yet"),
        "{all}"
    );
}

#[tokio::test]
async fn without_a_token_there_is_a_form() {
    let (page, _) = started(&[]).await;
    for path in ["/", "/clusters/team-a/apple", "/events", "/accounts"] {
        let (status, all) = get(&page, path, &[]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(
            all.contains("name=\"token\"") && all.contains("action=\"/login\"") && !all.contains("apple</"),
            "{all}"
        );
    }
    let (_, all) = get(&page, "/clusters/team-a/apple", &[]).await;
    assert!(all.contains("value=\"/clusters/team-a/apple\""), "goes on to what was asked for: {all}");
    let (status, all) = get(&page, "/", &[("authorization", "Bearer wrong")]).await;
    assert!(status == StatusCode::UNAUTHORIZED && all.contains("does not accept the token"), "{all}");
    assert_eq!(get(&page, "/assets/page.css", &[]).await.0, StatusCode::OK);
    assert_eq!(get(&page, "/healthz", &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn link_on_another_site_leads_to_the_page_with_the_session() {
    let (page, _) = started(&[]).await;
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let (status, all) = get(&page, "/clusters/team-a/apple?a=b", &link).await;
    assert!(status == StatusCode::OK && all.contains("url=/clusters/team-a/apple?a=b\""), "{all}");
    assert!(!all.contains("name=\"token\"") && !all.contains("banana"));
    let (status, _) = get(&page, "/", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn token_of_the_form_becomes_a_session() {
    let (page, api) = started(&[]).await;
    let response =
        send(&page, "POST", "/login", &[FORM, OWN], "token=Bearer+a%0A&next=%2Fclusters%2Fteam-a%2Fapple").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["location"], "/clusters/team-a/apple");
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let headers = [("cookie", cookie.as_str())];
    let (status, all) = get(&page, "/", &headers).await;
    assert!(status == StatusCode::OK && all.contains("apple") && !all.contains("banana"), "{all}");
    assert!(all.contains("Signed in as alice"), "{all}");
    let response = send(&page, "POST", "/logout", &[OWN, headers[0]], "").await;
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let Gate::Cluster(cluster) = &page.gate else { panic!("not in a cluster") };
    api.revoke("a");
    cluster.access.forget_all();
    let response = send(&page, "GET", "/", &headers, "").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"), "the cookie ends, too");
}

#[tokio::test]
async fn wrong_forms_are_refused() {
    let (page, _) = started(&[]).await;
    for (headers, body, expected) in [
        (vec![FORM, OWN], "token=wrong", StatusCode::UNAUTHORIZED),
        (vec![FORM, OWN], "token=", StatusCode::BAD_REQUEST),
        (vec![FORM], "token=a", StatusCode::FORBIDDEN),
        (vec![FORM, ("origin", "https://evil.example")], "token=a", StatusCode::FORBIDDEN),
    ] {
        let response = send(&page, "POST", "/login", &headers, body).await;
        assert_eq!(response.status(), expected, "{body}");
        assert!(!response.headers().contains_key("set-cookie"));
    }
    let large = format!("token={}", "x".repeat(MAX_FORM));
    assert_eq!(send(&page, "POST", "/login", &[FORM, OWN], &large).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    for (method, path) in [("POST", "/"), ("DELETE", "/clusters/team-a/apple"), ("PUT", "/login")] {
        let authorization = bearer("a");
        let response = send(&page, method, path, &[OWN, ("authorization", &authorization)], "").await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

#[tokio::test]
async fn nothing_is_shown_when_the_api_server_does_not_say() {
    let (page, api) = started(&[]).await;
    api.set_failing(true);
    let authorization = bearer("a");
    let (status, all) = get(&page, "/", &[("authorization", &authorization)]).await;
    assert!(
        status == StatusCode::SERVICE_UNAVAILABLE && all.contains("retry-after") && !all.contains("apple"),
        "{all}"
    );
}

#[tokio::test]
async fn other_names_are_refused_if_its_own_are_given() {
    let (page, _) = started(&["fleet.example.com"]).await;
    assert_eq!(get(&page, "/", &[]).await.0, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(get(&page, "/healthz", &[]).await.0, StatusCode::OK, "kubelets use the address of the Pod");
    let request = Request::builder().uri("/").header("host", "Fleet.example.com:8443").body(Body::empty()).unwrap();
    assert_eq!(handle(State(page), request).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn form_is_sent_with_its_origin() {
    let (page, _) = started(&[]).await;
    let response = send(&page, "GET", "/login", &[], "").await;
    assert_eq!(response.headers()["referrer-policy"], "same-origin", "with no-referrer the origin is null");
    assert!(response.headers()["content-security-policy"].to_str().unwrap().contains("form-action 'self'"));
}

/// The messages of a stream.
struct Messages(Body);

impl Messages {
    async fn of(page: &Arc<Page>, token: &str) -> Self {
        Self::with(page, ("authorization", &bearer(token))).await
    }

    async fn with(page: &Arc<Page>, header: (&str, &str)) -> Self {
        let response = send(page, "GET", "/events", &[header], "").await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut messages = Self(response.into_body());
        assert!(messages.next().await.unwrap().contains("event: connected"));
        messages
    }

    /// The next one; `None`: the stream has ended.
    async fn next(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(Duration::from_secs(10), self.0.frame()).await.expect("a message")?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    }

    /// Whether nothing comes for a while.
    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(1), self.0.frame()).await.is_err()
    }
}

#[tokio::test]
async fn change_of_others_wakes_nobody() {
    let (page, api) = started(&[]).await;
    let (mut alice, mut bob) = (Messages::of(&page, "a").await, Messages::of(&page, "b").await);
    page.update(|fleet| fleet.apply(ready("team-b", "banana"), Timestamp::now()));
    assert_eq!(bob.next().await.unwrap(), "event: changed\ndata: -\n\n");
    assert!(alice.is_silent().await);
    // A namespace that was unknown so far: foreign, then allowed.
    page.update(|fleet| fleet.apply(ready("team-c", "cherry"), Timestamp::now()));
    // More than a connection can be behind.
    for number in 0..2000 {
        page.update(|fleet| fleet.apply(ready("team-b", &format!("banana-{}", number % 10)), Timestamp::now()));
    }
    assert!(alice.is_silent().await && bob.next().await.is_some());
    api.allow_clusters("alice", "team-d");
    page.update(|fleet| fleet.apply(ready("team-d", "date"), Timestamp::now()));
    assert_eq!(alice.next().await.unwrap(), "event: changed\ndata: -\n\n");
}

#[tokio::test]
async fn stream_ends_with_its_token() {
    let (page, api) = started(&[]).await;
    let (mut alice, mut bob) = (Messages::of(&page, "a").await, Messages::of(&page, "b").await);
    let Gate::Cluster(cluster) = &page.gate else { panic!("not in a cluster") };
    api.revoke("a");
    cluster.access.forget_all();
    assert_eq!(alice.next().await, None);
    assert!(bob.is_silent().await, "the others stay");
    api.set_failing(true);
    cluster.access.forget_all();
    assert_eq!(bob.next().await, None, "it fails closed");
}

/// A token that says when it expires, and that the API server of these tests accepts for longer.
fn token_until(second: i64) -> String {
    let part = |claims: &str| URL_SAFE_NO_PAD.encode(claims);
    format!("{}.{}.signature", part("{}"), part(&format!("{{\"exp\":{second}}}")))
}

#[tokio::test]
async fn expired_token_ends_its_stream_by_header_and_by_session() {
    let (page, api) = started(&[]).await;
    let expires = Timestamp::now().as_second() + 2;
    let token = token_until(expires);
    api.accept(&token, "alice");
    let signed_in = send(&page, "POST", "/login", &[FORM, OWN], &format!("token={token}")).await;
    assert_eq!(signed_in.status(), StatusCode::SEE_OTHER);
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let authorization = bearer(&token);
    let (by_header, by_session) = (("authorization", authorization.as_str()), ("cookie", cookie.as_str()));
    for header in [by_header, by_session] {
        assert_eq!(get(&page, "/", &[header]).await.0, StatusCode::OK, "{}", header.0);
    }
    let (mut of_header, mut of_session) =
        (Messages::with(&page, by_header).await, Messages::with(&page, by_session).await);
    let mut bob = Messages::of(&page, "b").await;
    assert_eq!(of_header.next().await, None);
    assert_eq!(of_session.next().await, None);
    assert!(Timestamp::now().as_second() >= expires, "not before it expires");
    for header in [by_header, by_session] {
        let (status, all) = get(&page, "/", &[header]).await;
        assert!(status == StatusCode::UNAUTHORIZED && !all.contains("apple"), "{}: {all}", header.0);
    }
    assert!(bob.is_silent().await, "the others stay");
}

#[tokio::test]
async fn stream_ends_with_its_session_also_if_the_token_is_valid_for_longer() {
    let (page, _) = started(&[]).await;
    let Gate::Cluster(cluster) = &page.gate else { panic!("not in a cluster") };
    let namespaces = page.fleet.read().namespaces();
    let viewer = cluster.access.admit("a", true, &namespaces, "").await.unwrap().viewer;
    let until = Timestamp::now() + SignedDuration::from_secs(1);
    let place = cluster.stream("alice").unwrap();
    let credential = Credential { token: "a".to_owned(), until: Some(until), from: String::new(), _place: place };
    let response = stream::live(&page, viewer, None, Some(credential)).into_response();
    let mut messages = Messages(response.into_body());
    assert!(messages.next().await.unwrap().contains("event: connected"));
    assert_eq!(messages.next().await, None);
    assert!(Timestamp::now() >= until, "not before it ends");
}

#[tokio::test]
async fn new_rights_show_without_a_change() {
    let (page, api) = started(&[]).await;
    let mut nobody = Messages::of(&page, "n").await;
    let Gate::Cluster(cluster) = &page.gate else { panic!("not in a cluster") };
    api.allow_clusters("nobody", "team-a");
    cluster.access.forget_all();
    assert_eq!(nobody.next().await.unwrap(), "event: changed\ndata: -\n\n");
}
