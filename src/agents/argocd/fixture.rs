//! Inputs for tests of the builders, and Argo CD's objects for tests of the roll-up.

use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::input::{ArgoCdInput, Kind, NAME, Repository, VERSION};
use super::observe::{Application, Component};
use super::repository_secret::Credentials;
use super::sync;
use crate::agents::shared_input::{Facts, KarpenterFacts};

pub const SECRET_TEXT: &str = "s3cr3t-t3xt";
pub const KNOWN_HOST: &str = "git.acme.example ssh-ed25519 AAAA";

pub fn input() -> ArgoCdInput {
    ArgoCdInput {
        installs: true,
        keeps_version: false,
        takes_over: false,
        namespace: "argocd".into(),
        repository: Repository {
            kind: Kind::Git,
            url: "https://github.com/acme/fleet".into(),
            revision: "refs/heads/main".into(),
            interval: Duration::from_secs(60),
            credentials: Credentials::default(),
        },
        path: "clusters/demo".into(),
        facts: None,
        host_network: None,
    }
}

pub fn full_input() -> ArgoCdInput {
    let known = |text: &str| Some(text.to_owned());
    let mut input = input();
    input.repository.credentials = Credentials {
        keys: ["username", "password", "proxy"]
            .into_iter()
            .map(|key| (key, ByteString(SECRET_TEXT.as_bytes().to_vec())))
            .collect(),
        known_hosts: known(KNOWN_HOST),
        authority: Some(("git.acme.example".into(), "PEM".into())),
    };
    input.facts = Some(Facts {
        cluster_name: "demo".into(),
        aws_region: "eu-west-1".into(),
        aws_account_id: "123456789012".into(),
        vpc_id: known("vpc-1"),
        private_subnet_ids: vec!["subnet-1".into(), "subnet-2".into()],
        public_subnet_ids: vec!["subnet-3".into()],
        pod_subnet_ids: vec!["subnet-4".into()],
        pod_subnet_zones: vec!["eu-west-1a".into()],
        oidc_issuer: known("https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"),
        oidc_provider_arn: known("arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"),
        cluster_endpoint: known("https://ABC.gr7.eu-west-1.eks.amazonaws.com"),
        cluster_security_group_id: known("sg-1"),
        node_role_arn: known("arn:aws:iam::123456789012:role/demo-node"),
        kubernetes_version: known("1.34"),
        karpenter: Some(KarpenterFacts {
            node_role_name: known("demo-node"),
            subnet_selector_terms: known(r#"[{"id":"subnet-1"},{"id":"subnet-2"}]"#),
            interruption_queue: "keelson-demo-karpenter".into(),
        }),
    });
    input
}

pub const COMMIT: &str = "76087da78cdcec69b25c1392f6c5948b0bd320f5";
pub const PREVIOUS: &str = "1111111111111111111111111111111111111111";

/// An Application with a status.
pub fn application(name: &str, status: &Value) -> Application {
    let body = json!({"metadata": {"name": name, "namespace": "argocd"}, "status": status});
    serde_json::from_value(body).unwrap()
}

/// The root Application, compared with its present source.
pub fn root(status: &Value) -> Application {
    let seed = sync::seed_objects(&input()).into_iter().last().unwrap().body;
    let mut status = status.clone();
    status["sync"]["comparedTo"]["source"] = seed["spec"]["source"].clone();
    let body = json!({"metadata": {"name": NAME, "namespace": "argocd"}, "spec": seed["spec"], "status": status});
    serde_json::from_value(body).unwrap()
}

/// A Deployment or StatefulSet of Argo CD with `ready` ready pods.
pub fn component(name: &str, ready: i32) -> Component {
    let containers = json!([{"image": format!("quay.io/argoproj/argocd:{VERSION}")}]);
    let body = json!({
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}},
        "status": {"readyReplicas": ready},
    });
    serde_json::from_value(body).unwrap()
}
