//! The answer of `keelson status` for clusters in typical states, and the table and tree of `keelson get` for the same.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{overview, print};
use crate::api::{EksCluster, NodeGroup, Reason};
use crate::cli::events::EventLine;
use crate::cli::subject::{self, Subject};

fn now() -> Timestamp {
    at("14:06:15").parse().unwrap()
}

fn at(time: &str) -> String {
    format!("2026-11-29T{time}Z")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let time = at("14:00:12");
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time})
}

fn cluster(spec: Value, status: Value) -> EksCluster {
    let mut object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": "demo", "namespace": "team", "generation": 2, "creationTimestamp": at("13:55:00")},
        "spec": {"region": "eu-west-1", "version": "1.34"}, "status": {"observedGeneration": 2},
    });
    for (part, values) in [("spec", spec), ("status", status)] {
        object[part].as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
    }
    serde_json::from_value(object).unwrap()
}

fn group(reason: &str) -> NodeGroup {
    serde_json::from_value(json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
        "metadata": {"name": "demo-default", "namespace": "team", "generation": 1, "creationTimestamp": at("13:55:00")},
        "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 2, "max": 4}, "instanceTypes": ["m7i.large"]},
        "status": {"observedGeneration": 1, "replicas": 2, "readyNodes": 1, "conditions": [
            condition("Ready", "False", reason, "waiting for the cluster"),
            condition("Reconciling", "True", reason, ""),
        ]},
    }))
    .unwrap()
}

/// During creation: one step runs, others wait.
fn creating() -> EksCluster {
    let doing = "control plane: creating for 6 min, about 2 min remaining";
    let step = |action: &str, resource: &str, state: &str, more: Value| {
        let mut step = json!({"action": action, "resource": resource, "state": state});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let status = json!({
        "accountId": "111122223333",
        "conditions": [
            condition("Ready", "False", "Creating", doing),
            condition("Reconciling", "True", "Creating", doing),
            condition("Stalled", "False", "Creating", ""),
            condition("NetworkReady", "True", "Available", "10 subnets"),
            condition("ControlPlaneReady", "False", "Creating", doing),
            condition("Available", "False", "Creating", doing),
        ],
        "waits": [{"on": "control plane: creating", "since": at("14:00:15"), "deadline": at("14:45:15")}],
        "resources": [
            {"key": "vpc", "id": "vpc-1", "state": "available"},
            {"key": "cluster", "id": "demo", "state": "CREATING"},
        ],
        "plan": {"summary": "5 to create", "steps": [
            step("Create", "cluster", "Running", json!({"since": at("14:00:15"), "expectedSeconds": 540})),
            step("Create", "addon/vpc-cni", "Pending", json!({"after": "cluster", "expectedSeconds": 30})),
            step("Create", "addon/coredns", "Pending", json!({"after": "cluster", "expectedSeconds": 60})),
            step("Create", "addon/kube-proxy", "Pending", json!({"after": "cluster", "expectedSeconds": 30})),
            step("Create", "oidcProvider", "Pending", json!({"after": "cluster", "expectedSeconds": 1})),
        ]},
    });
    cluster(json!({}), status)
}

/// Ready and in use, with an upgrade that waits for its window, an unhealthy add-on and a failing object of the agent.
fn waiting() -> EksCluster {
    let why = "1.34 -> 1.35 waits for the maintenance window";
    let status = json!({
        "accountId": "111122223333", "version": "1.34", "endpoint": "https://demo.eks.amazonaws.com",
        "conditions": [
            condition("Ready", "False", "OutsideMaintenanceWindow", why),
            condition("Reconciling", "True", "OutsideMaintenanceWindow", why),
            condition("Upgrading", "False", "OutsideMaintenanceWindow", why),
            condition("GitOpsReady", "False", "SyncFailed", "Kustomization flux-system/apps: path not found"),
            condition("Available", "True", "Available", ""),
        ],
        "upgrade": {
            "from": "1.34", "to": "1.35", "step": 1, "steps": 3, "message": "control plane to 1.35",
            "nextWindow": "2026-12-05T22:00:00+01:00",
            "preflight": [{"check": "Insights", "verdict": "Failed", "message": "a removed API is in use"}],
        },
        "addons": [{"name": "coredns", "version": "v1", "state": "DEGRADED", "issues": [
            {"code": "InsufficientNumberOfReplicas", "message": "no node has room", "resourceIds": ["coredns"]},
        ]}],
        "gitops": {
            "agent": "flux", "version": "v2.7.0", "lastAppliedRevision": "main@sha1:abc", "revision": "abc",
            "components": [{"name": "source-controller", "ready": true}],
            "failing": [{"kind": "Kustomization", "name": "flux-system/apps", "reason": "ArtifactFailed",
                "message": "path not found"}],
        },
    });
    cluster(json!({"version": "1.35"}), status)
}

fn text(clusters: &[EksCluster], groups: &[NodeGroup], events: Vec<EventLine>) -> String {
    let all = subject::sorted(clusters, groups);
    let answer = overview::overview(&all[0], &all[1..], events, now());
    anstream::adapter::strip_str(&print::text(&answer, now(), &TimeZone::UTC)).to_string()
}

fn created() -> EventLine {
    EventLine {
        at: at("14:00:14").parse().ok(),
        warning: false,
        object: "EksCluster team/demo".into(),
        reason: "Created".into(),
        message: "VPC vpc-1".into(),
        count: 1,
    }
}

#[test]
fn cluster_that_is_created() {
    insta::assert_snapshot!(text(&[creating()], &[group("WaitingForCluster")], vec![created()]));
}

#[test]
fn cluster_whose_upgrade_waits() {
    insta::assert_snapshot!(text(&[waiting()], &[], Vec::new()));
}

#[test]
fn cluster_that_was_not_observed_and_one_that_is_ready() {
    let new = cluster(json!({}), json!({"observedGeneration": null}));
    let ready = json!({"version": "1.34", "conditions": [
        condition("Ready", "True", "Available", "everything in the spec exists"),
        condition("Reconciling", "False", "Reconciled", ""),
        condition("InSync", "False", "Drifted", "one difference is reported: control plane: logging"),
    ]});
    let texts = [new, cluster(json!({}), ready)].map(|one| text(&[one], &[], Vec::new()));
    insta::assert_snapshot!(texts.join("\n---\n"));
}

#[test]
fn answer_for_programs() {
    let all = subject::sorted(&[creating()], &[group("WaitingForApproval")]);
    let answer = overview::overview(&all[0], &all[1..], vec![created()], now());
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer).unwrap());
}

#[test]
fn every_state_that_needs_a_user_names_a_command_or_an_edit() {
    let subject = Subject::from(&creating());
    let silent = |reason: &&Reason| super::problems::advice(reason.as_str(), &subject).is_none();
    let named: Vec<_> = Reason::ALL.iter().filter(|reason| !silent(reason)).map(|reason| reason.as_str()).collect();
    insta::assert_snapshot!(named.join("\n"));
    assert_eq!(super::problems::advice("OfAnotherVersion", &subject), None);
}

#[test]
fn table_and_tree() {
    let mut other = waiting();
    other.metadata.name = Some("other".into());
    let all = subject::sorted(&[other.clone(), creating()], &[group("WaitingForCluster")]);
    let tree = |all: &[Subject]| crate::cli::get::tree(all, now());
    let texts = [
        crate::cli::get::table(&all, false, false, now()),
        crate::cli::get::table(&all, true, true, now()),
        tree(&all[..2]),
        tree(&[Subject::from(&other)]),
    ];
    insta::assert_snapshot!(anstream::adapter::strip_str(&texts.join("\n")));
}
