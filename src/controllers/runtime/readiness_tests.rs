//! API server responses and their effect on a standby's readiness.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use kube::Config;
use serde_json::json;

use super::*;

/// Failures to inject: a path suffix with a status code, and the verb and resource that an access review denies.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(&'static str, u16, &'static str)>>);

async fn answer(State(server): State<Server>, method: Method, uri: Uri, body: String) -> (StatusCode, String) {
    let (path, code, denied) = *server.0.lock().unwrap();
    if !path.is_empty() && uri.path().ends_with(path) {
        let status = json!({"kind": "Status", "status": "Failure", "message": "injected failure", "code": code});
        return (StatusCode::from_u16(code).unwrap(), status.to_string());
    }
    if method == Method::POST {
        let review: serde_json::Value = serde_json::from_str(&body).unwrap();
        let requested = &review["spec"]["resourceAttributes"];
        let requested = format!("{} {}", requested["verb"].as_str().unwrap(), requested["resource"].as_str().unwrap());
        return (StatusCode::CREATED, json!({"spec": {}, "status": {"allowed": requested != denied}}).to_string());
    }
    if path == OLDER_CRDS && uri.path() == "/openapi/v3/apis/keelson.dev/v1alpha1" {
        // Of all kinds only this one, without fields.
        let kind = json!([{"group": "keelson.dev", "kind": "EksCluster", "version": "v1alpha1"}]);
        let fields = json!({"spec": {"type": "object"}, "status": {"type": "object"}});
        let schema = json!({"properties": fields, "x-kubernetes-group-version-kind": kind});
        return (StatusCode::OK, json!({"components": {"schemas": {"one": schema}}}).to_string());
    }
    (StatusCode::OK, json!({"metadata": {}, "items": []}).to_string())
}

/// In place of a path suffix: the CRDs lack nearly everything.
const OLDER_CRDS: &str = "older CRDs";

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
async fn standby_is_ready_only_with_all_permissions_to_lead() {
    let server = Server::default();
    let client = client(&server).await;
    let check = async |path, code, denied| {
        *server.0.lock().unwrap() = (path, code, denied);
        super::check(&client, LEASE).await
    };
    assert_eq!(check("", 0, "").await, Check::Ready);
    let assert_unready = |check, fragment: &str| match check {
        Check::Unready(reason) => assert!(reason.contains(fragment), "{reason}"),
        other => panic!("{other:?} instead of {fragment}"),
    };
    assert_unready(check("/nodegroups", 404, "").await, "install the CRDs");
    assert_unready(check("/awsaccounts", 403, "").await, "grant it");
    assert_unready(check("", 0, "watch eksclusters").await, "not allowed to watch eksclusters.keelson.dev");
    assert_unready(
        check("", 0, "update leases").await,
        "not allowed to update leases.coordination.k8s.io in namespace keelson-system",
    );
    assert_unready(
        check("", 0, "patch configmaps").await,
        "not allowed to patch configmaps in namespace keelson-system",
    );
    assert_unready(check(OLDER_CRDS, 0, "").await, "the installed CRDs are older than version");
    assert_eq!(check("/v1alpha1", 403, "").await, Check::Ready, "unknown");
    assert!(matches!(check("/eksclusters", 503, "").await, Check::Unavailable(_)));
    let unreachable = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    assert!(matches!(super::check(&unreachable, LEASE).await, Check::Unavailable(_)));
}

#[tokio::test]
async fn ready_standby_survives_an_outage_but_not_lost_permissions() {
    let server = Server::default();
    let (client, health) = (client(&server).await, Health::default());
    let standby = tokio::spawn({
        let health = health.clone();
        async move { monitor_standby(&client, LEASE, &health).await }
    });
    let becomes = async |ready: bool| {
        let reached = async {
            while health.is_ready() != ready {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.is_ok()
    };
    assert!(becomes(true).await);
    *server.0.lock().unwrap() = ("/eksclusters", 503, "");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(health.is_ready(), "an outage");
    *server.0.lock().unwrap() = ("/eksclusters", 403, "");
    assert!(becomes(false).await, "a revoked permission");
    *server.0.lock().unwrap() = ("", 0, "");
    assert!(becomes(true).await);
    standby.abort();
}

#[tokio::test]
async fn leader_is_not_ready_while_the_crds_are_older() {
    let server = Server::default();
    *server.0.lock().unwrap() = (OLDER_CRDS, 0, "");
    let (client, health) = (client(&server).await, Health::default());
    let leader = tokio::spawn({
        let health = health.clone();
        async move { monitor_leader(&client, std::future::ready(()), &health).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!health.is_ready());
    *server.0.lock().unwrap() = ("", 0, "");
    let ready = async {
        while !health.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ready).await.expect("the CRDs were upgraded");
    leader.abort();
}
