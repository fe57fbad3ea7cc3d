//! What an API server answers, and what follows for a replica that stands by.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use kube::Config;
use serde_json::json;

use super::*;

/// What is refused: a path that begins so with this code, and the verb that an access review denies.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(&'static str, u16, &'static str)>>);

async fn answer(State(server): State<Server>, method: Method, uri: Uri, body: String) -> (StatusCode, String) {
    let (path, code, denied) = *server.0.lock().unwrap();
    if !path.is_empty() && uri.path().ends_with(path) {
        let status = json!({"kind": "Status", "status": "Failure", "message": "said the server", "code": code});
        return (StatusCode::from_u16(code).unwrap(), status.to_string());
    }
    if method == Method::POST {
        let review: serde_json::Value = serde_json::from_str(&body).unwrap();
        let asked = &review["spec"]["resourceAttributes"];
        let asked = format!("{} {}", asked["verb"].as_str().unwrap(), asked["resource"].as_str().unwrap());
        return (StatusCode::CREATED, json!({"spec": {}, "status": {"allowed": asked != denied}}).to_string());
    }
    (StatusCode::OK, json!({"metadata": {}, "items": []}).to_string())
}

async fn client(server: &Server) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = axum::Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut config = Config::new(url);
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

const LEASE: (&str, &str) = ("keelson-system", "keelson");

#[tokio::test]
async fn a_standby_could_lead_only_when_it_may_list_watch_write_and_hold_the_lease() {
    let server = Server::default();
    let client = client(&server).await;
    let check = async |path, code, denied| {
        *server.0.lock().unwrap() = (path, code, denied);
        super::check(&client, LEASE).await
    };
    assert_eq!(check("", 0, "").await, Check::CouldLead);
    let could_not = |check, words: &str| match check {
        Check::CouldNot(reason) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?} instead of {words}"),
    };
    could_not(check("/nodegroups", 404, "").await, "install the CRDs");
    could_not(check("/awsaccounts", 403, "").await, "grant it");
    could_not(check("", 0, "watch eksclusters").await, "not allowed to watch eksclusters.keelson.dev");
    could_not(
        check("", 0, "update leases").await,
        "not allowed to update leases.coordination.k8s.io in namespace keelson-system",
    );
    could_not(check("", 0, "patch configmaps").await, "not allowed to patch configmaps in namespace keelson-system");
    assert!(matches!(check("/eksclusters", 503, "").await, Check::NoAnswer(_)));
    let nobody = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    assert!(matches!(super::check(&nobody, LEASE).await, Check::NoAnswer(_)));
}

#[tokio::test]
async fn a_standby_that_was_ready_stays_so_through_an_outage_and_not_without_its_rights() {
    let server = Server::default();
    let (client, health) = (client(&server).await, Health::default());
    let standby = tokio::spawn({
        let health = health.clone();
        async move { stand_by(&client, LEASE, &health).await }
    });
    let until = async |ready: bool| {
        let holds = async {
            while health.is_ready() != ready {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), holds).await.is_ok()
    };
    assert!(until(true).await);
    *server.0.lock().unwrap() = ("/eksclusters", 503, "");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(health.is_ready(), "an outage");
    *server.0.lock().unwrap() = ("/eksclusters", 403, "");
    assert!(until(false).await, "a right that was taken away");
    *server.0.lock().unwrap() = ("", 0, "");
    assert!(until(true).await);
    standby.abort();
}
