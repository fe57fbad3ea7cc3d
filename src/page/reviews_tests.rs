//! An API server that reviews tokens and rights, for the tests of the page in a cluster. I/O: loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The server, which the test changes while it runs.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    /// Users by token.
    tokens: BTreeMap<String, String>,
    /// User, resource, and namespace or nothing for all.
    rights: BTreeSet<(String, String, String)>,
    asked: Vec<String>,
    fails: bool,
    /// Requests after which it fails.
    fails_after: Option<usize>,
    failures: usize,
}

impl ApiServer {
    /// A client of the server, which is started.
    pub async fn client(&self) -> Client {
        let (tokens, accesses) = (self.clone(), self.clone());
        let routes = Router::new()
            .route(
                "/apis/authentication.k8s.io/v1/tokenreviews",
                post(async move |body: String| tokens.answer(&body, Answers::review_token)),
            )
            .route(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                post(async move |body: String| accesses.answer(&body, Answers::review_access)),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap()
    }

    fn answer(&self, body: &str, review: fn(&mut Answers, &Value) -> Value) -> (StatusCode, String) {
        let mut answers = self.0.lock();
        if let Some(left) = &mut answers.fails_after {
            if *left == 0 {
                (answers.fails, answers.fails_after) = (true, None);
            } else {
                *left -= 1;
            }
        }
        if answers.fails {
            answers.failures += 1;
            return (StatusCode::FORBIDDEN, String::new());
        }
        let status = review(&mut answers, &serde_json::from_str::<Value>(body).unwrap()["spec"]);
        (StatusCode::CREATED, json!({"spec": {}, "status": status}).to_string())
    }

    /// Accepts a token from now on.
    pub fn accept(&self, token: &str, user: &str) {
        self.0.lock().tokens.insert(token.to_owned(), user.to_owned());
    }

    pub fn revoke(&self, token: &str) {
        self.0.lock().tokens.remove(token);
    }

    /// Lets a user list a resource in a namespace; empty: in all.
    pub fn allow(&self, user: &str, resource: &str, namespace: &str) {
        self.0.lock().rights.insert((user.to_owned(), resource.to_owned(), namespace.to_owned()));
    }

    /// Lets a user list EksClusters and NodeGroups in a namespace.
    pub fn allow_clusters(&self, user: &str, namespace: &str) {
        self.allow(user, "eksclusters", namespace);
        self.allow(user, "nodegroups", namespace);
    }

    pub fn forbid(&self, user: &str) {
        self.0.lock().rights.retain(|(of, ..)| of != user);
    }

    /// Refuses all requests, or no longer.
    pub fn set_failing(&self, fails: bool) {
        self.0.lock().fails = fails;
    }

    /// Refuses all requests after that many.
    pub fn fail_after(&self, requests: usize) {
        self.0.lock().fails_after = Some(requests);
    }

    /// Requests that it refused.
    pub fn failures(&self) -> usize {
        self.0.lock().failures
    }

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().asked)
    }
}

impl Answers {
    fn review_token(&mut self, spec: &Value) -> Value {
        let token = spec["token"].as_str().unwrap();
        self.asked.push(format!("token {token}"));
        match self.tokens.get(token) {
            Some(user) => {
                json!({"authenticated": true, "user": {"username": user, "groups": ["system:authenticated"]}})
            }
            None => json!({"authenticated": false, "error": "invalid bearer token"}),
        }
    }

    fn review_access(&mut self, spec: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (user, attributes) = (text(&spec["user"]), &spec["resourceAttributes"]);
        let (resource, namespace) = (text(&attributes["resource"]), text(&attributes["namespace"]));
        assert_eq!(
            (text(&attributes["verb"]), text(&attributes["group"])),
            ("list".to_owned(), "keelson.dev".to_owned())
        );
        assert_eq!(spec["groups"], json!(["system:authenticated"]));
        self.asked.push(format!("{user} {resource} in {}", if namespace.is_empty() { "all" } else { &namespace }));
        let is_allowed =
            |namespace: &str| self.rights.contains(&(user.clone(), resource.clone(), namespace.to_owned()));
        json!({"allowed": is_allowed("") || is_allowed(&namespace)})
    }
}
