//! Who is let in, and how often the API server is asked. I/O: loopback.

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

/// Served on loopback; a client of it.
async fn served(app: Router) -> Client {
    Client::try_from(Config::new(format!("http://{}", listen(app).await).parse().unwrap())).unwrap()
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// An API server that knows the tokens `reader` and `other`, of users of these names, and lets the first get /metrics. What it
/// was asked goes to the list.
fn api_server(asked: &Arc<Mutex<Vec<String>>>) -> Router {
    let (tokens, accesses) = (asked.clone(), asked.clone());
    let token_review = async move |body: String| {
        let review = parsed(&body);
        let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
        locked(&tokens).push(format!("token {token}"));
        let authenticated = ["reader", "other"].contains(&token.as_str());
        let user = authenticated.then(|| json!({"username": token, "groups": ["system:authenticated"]}));
        json!({"spec": {}, "status": {"authenticated": authenticated, "user": user}}).to_string()
    };
    let access_review = async move |body: String| {
        let review = parsed(&body);
        let (user, place) = (&review["spec"]["user"], &review["spec"]["nonResourceAttributes"]);
        locked(&accesses).push(format!("{user} {} {}", place["verb"], place["path"]));
        let allowed = user == "reader" && *place == json!({"verb": "get", "path": "/metrics"});
        json!({"spec": {}, "status": {"allowed": allowed}}).to_string()
    };
    Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access_review))
}

/// Where `/metrics` is served, protected by that API server.
async fn protected(api: Router) -> SocketAddr {
    let app = protect(Router::new().route("/metrics", get(async || "keelson_leader 1")), served(api).await);
    listen(app).await
}

/// The status of one request. By hand: Kubernetes' client would try again what is unavailable.
async fn read(metrics: &SocketAddr, header: Option<&str>) -> u16 {
    let authorization = header.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n{authorization}\r\n");
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(answer.contains("keelson_leader 1"), status == 200, "{answer}");
    status
}

#[tokio::test]
async fn metrics_are_for_those_whom_rbac_lets_get_them() {
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
async fn the_api_server_is_asked_once_for_a_token_and_not_for_every_scrape() {
    let asked = Arc::default();
    let metrics = protected(api_server(&asked)).await;
    for _ in 0..5 {
        read(&metrics, Some("Bearer reader")).await;
        read(&metrics, Some("Bearer nobody")).await;
        read(&metrics, None).await;
    }
    assert_eq!(*locked(&asked), ["token reader", r#""reader" "get" "/metrics""#, "token nobody"]);
}

#[tokio::test]
async fn an_api_server_that_cannot_check_lets_nobody_in() {
    let metrics = protected(Router::new()).await;
    assert_eq!(read(&metrics, Some("Bearer reader")).await, 503);
}

#[tokio::test]
async fn a_flood_of_guesses_is_bounded_and_pushes_nobody_out() {
    let client = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let authorizer = Authorizer { client, answers: Mutex::default(), reviews: Semaphore::new(MOST_REVIEWS) };
    let (now, reader) = (Instant::now(), [255; 32]);
    authorizer.remember(reader, Answer::Allowed, now);
    for guess in 0..u32::try_from(3 * MOST_ANSWERS).unwrap() {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&guess.to_be_bytes());
        authorizer.remember(digest, Answer::Unauthenticated, now);
    }
    assert!(locked(&authorizer.answers).len() <= MOST_ANSWERS);
    assert_eq!(authorizer.known(&reader, now), Some(Answer::Allowed));
    assert_eq!(authorizer.known(&reader, now + ALLOWED_FOR), None, "a right that was taken away is noticed");
}
