//! Who may read metrics, and how often the API server is called. I/O: loopback.

use std::net::SocketAddr;

use axum::routing::{get, post};
use kube::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn listen(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Serves `app` on loopback; returns a client.
async fn client_of(app: Router) -> Client {
    Client::try_from(Config::new(format!("http://{}", listen(app).await).parse().unwrap())).unwrap()
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// An API server that accepts the tokens `reader` and `other`, of users of these names, and allows the first to get
/// /metrics. It logs the reviews to the list.
fn api_server(reviews: &Arc<Mutex<Vec<String>>>) -> Router {
    let (tokens, accesses) = (reviews.clone(), reviews.clone());
    let token_review = async move |body: String| {
        let review = parsed(&body);
        let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
        tokens.lock().push(format!("token {token}"));
        let authenticated = ["reader", "other"].contains(&token.as_str());
        let user = authenticated.then(|| json!({"username": token, "groups": ["system:authenticated"]}));
        json!({"spec": {}, "status": {"authenticated": authenticated, "user": user}}).to_string()
    };
    let access_review = async move |body: String| {
        let review = parsed(&body);
        let (user, attributes) = (&review["spec"]["user"], &review["spec"]["nonResourceAttributes"]);
        accesses.lock().push(format!("{user} {} {}", attributes["verb"], attributes["path"]));
        let allowed = user == "reader" && *attributes == json!({"verb": "get", "path": "/metrics"});
        json!({"spec": {}, "status": {"allowed": allowed}}).to_string()
    };
    Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access_review))
}

/// The address of `/metrics`, protected by that API server.
async fn protected(api: Router) -> SocketAddr {
    let app = protect(Router::new().route("/metrics", get(async || "keelson_leader 1")), client_of(api).await);
    listen(app).await
}

/// The status of one request. Hand-written: Kubernetes' client would retry a 503.
async fn read(metrics: &SocketAddr, header: Option<&str>) -> u16 {
    let authorization = header.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n{authorization}\r\n");
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(response.contains("keelson_leader 1"), status == 200, "{response}");
    status
}

#[tokio::test]
async fn metrics_are_served_only_to_readers_allowed_by_rbac() {
    let metrics = protected(api_server(&Arc::default())).await;
    for (header, status) in [
        (None, 401),
        (Some("Basic reader"), 401),
        (Some("Bearer nobody"), 401),
        (Some("Bearer other"), 403),
        (Some("Bearer reader"), 200),
        (Some("bearer reader"), 200),
    ] {
        assert_eq!(read(&metrics, header).await, status, "{header:?}");
    }
}

#[tokio::test]
async fn decisions_are_cached_per_token() {
    let reviews = Arc::default();
    let metrics = protected(api_server(&reviews)).await;
    for _ in 0..5 {
        read(&metrics, Some("Bearer reader")).await;
        read(&metrics, Some("Bearer nobody")).await;
        read(&metrics, None).await;
    }
    assert_eq!(*reviews.lock(), ["token reader", r#""reader" "get" "/metrics""#, "token nobody"]);
}

#[tokio::test]
async fn failing_api_server_denies_access() {
    let metrics = protected(Router::new()).await;
    assert_eq!(read(&metrics, Some("Bearer reader")).await, 503);
}

#[tokio::test]
async fn cache_is_bounded_and_keeps_permitted_readers() {
    let client = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let authorizer = Authorizer { client, cache: Mutex::default(), reviews: Semaphore::new(MAX_REVIEWS) };
    let (now, reader) = (Instant::now(), [255; 32]);
    authorizer.cache_decision(reader, Decision::Allowed, now);
    for guess in 0..u32::try_from(3 * MAX_CACHED).unwrap() {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&guess.to_be_bytes());
        authorizer.cache_decision(digest, Decision::Unauthenticated, now);
    }
    assert!(authorizer.cache.lock().len() <= MAX_CACHED);
    assert_eq!(authorizer.cached(&reader, now), Some(Decision::Allowed));
    assert_eq!(authorizer.cached(&reader, now + ALLOWED_FOR), None, "a revoked right expires");
}
