//! The driver with an agent that is in no table: what it is asked, in which order, and what follows from its answers.

use parking_lot::Mutex;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::Client;
use serde_json::{Value, json};

use super::*;
use crate::agents::adoption::AdoptionMarker;
use crate::agents::agent::{Agent, Input, Installation, InvalidField, Reconcilable as _, ValidAgent};
use crate::agents::host_network::ApiAddress;
use crate::agents::install::Phase;
use crate::agents::shared_input::Facts;
use crate::agents::validate_source::SourcePolicy;
use crate::api::gitops::GitOps;
use crate::api::status_cluster::GitOpsStatus;
use crate::workload::fake_api::FakeApi;
use crate::workload::memory::Handover;
use crate::workload::object::{Object, ObjectId};
use crate::workload::watch::Watched;

struct Third;

impl Agent for Third {
    fn name(&self) -> &'static str {
        "third"
    }
    fn label(&self) -> &'static str {
        "Third"
    }
    fn newest_version(&self) -> &'static str {
        "v1.0.0"
    }
    fn has_version(&self, version: &str) -> bool {
        version == self.newest_version()
    }
    fn is_requested(&self, _: &GitOps) -> bool {
        false
    }
    fn named_version<'a>(&self, _: &'a GitOps) -> Option<&'a str> {
        None
    }
    fn unset_version(&self, _: &mut GitOps) {}
    fn validate(&self, _: &GitOps, _: SourcePolicy) -> Option<Result<ValidAgent, InvalidField>> {
        None
    }
    fn installation(&self) -> Installation {
        Installation { kind: ("apps/v1", "Deployment"), namespace: Some("third"), selector: "app=third" }
    }
    fn installers(&self) -> &'static [&'static str] {
        &["third-operator"]
    }
    fn pause<'a>(&self, _: &'a Client) -> BoxFuture<'a, Result<usize, CallError>> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

/// The answers of the agent, and what it was asked.
#[derive(Clone, Debug, Default)]
struct ThirdInput {
    may_install: bool,
    takes_over: bool,
    has_secret: bool,
    lacks_a_component: bool,
    is_on_host: bool,
    holds_back: bool,
    fails: bool,
    adoption_progress: u64,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl ThirdInput {
    fn record(&self, question: &'static str) {
        self.asked.lock().push(question);
    }
}

fn object(kind: &str, name: &str, namespace: Option<&str>) -> Object {
    let metadata = json!({"name": name, "namespace": namespace});
    Object::of(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})).unwrap()
}

const MARKER: AdoptionMarker =
    AdoptionMarker { is_adopted: |labels, _| labels.contains_key("third.example/root"), retained: &[] };

impl Manifests for ThirdInput {
    fn agent(&self) -> String {
        "Third v1.0.0".into()
    }
    fn key(&self) -> u64 {
        7
    }
    fn objects(&self, phase: Phase) -> Box<dyn Iterator<Item = Object> + Send + '_> {
        let object = match phase {
            Phase::Namespace => Some(object("Namespace", "third", None)),
            Phase::Definitions => None,
            Phase::Agent => Some(object("ConfigMap", "controller", Some("third"))),
        };
        Box::new(object.into_iter())
    }
    fn is_synced(&self, _: &ObjectId) -> bool {
        false
    }
    fn marker(&self) -> AdoptionMarker {
        MARKER
    }
}

impl Input for ThirdInput {
    fn agent(&self) -> &'static dyn Agent {
        &Third
    }
    fn watched(&self) -> Vec<Watched> {
        Vec::new()
    }
    fn keep_installed_version(&mut self) {}
    fn hold_revision(&mut self, _: &str) {}

    fn install_version(&mut self, version: &str) {
        self.may_install = Third.has_version(version);
    }
    fn set_facts(&mut self, _: Facts) {}
    fn pod_namespace(&self) -> &str {
        "third"
    }
    fn set_host_network(&mut self, api: Option<ApiAddress>) {
        self.is_on_host = api.is_some();
    }
}

impl Driven for ThirdInput {
    type Observation = ();

    const MARKER: AdoptionMarker = MARKER;

    fn may_use_host_network(&self) -> Option<ObjectId> {
        self.is_on_host.then(|| object("Deployment", "controller", Some("third")).id)
    }
    async fn hold_back(&mut self, _: &Workload, leaves: bool) -> Result<bool, CallError> {
        Ok(self.holds_back && leaves)
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(45)
    }
    fn takes_over(&self) -> bool {
        self.takes_over
    }
    fn install_key(&self) -> u64 {
        self.key()
    }
    async fn desired_install<'a>(&'a self, _: &Workload) -> Result<Option<Box<dyn Manifests + 'a>>, CallError> {
        self.record("desired_install");
        Ok(self.may_install.then(|| Box::new(self.clone()) as Box<dyn Manifests>))
    }
    fn permanent_objects(&self) -> Vec<Object> {
        self.record("permanent_objects");
        self.has_secret.then(|| object("Secret", "credentials", Some("third"))).into_iter().collect()
    }
    async fn seed_objects(&self, _: &Workload) -> Result<Vec<Object>, CallError> {
        self.record("seed_objects");
        Ok(["source", "root"].map(|name| object("ConfigMap", name, Some("third"))).into())
    }
    async fn request_sync(&self, _: &Workload) -> Result<(), CallError> {
        self.record("request_sync");
        Ok(())
    }
    async fn observe(&self, _: &Client) -> Result<(), CallError> {
        self.record("observe");
        Ok(())
    }
    async fn delete_replaced(&self, _: &Workload, (): &(), changed: bool) -> Result<Option<ObjectId>, CallError> {
        self.record(if changed { "delete_replaced after a change" } else { "delete_replaced" });
        Ok(None)
    }
    fn lacks_a_component(&self, (): &()) -> bool {
        self.lacks_a_component
    }
    fn adoption_progress(&self, (): &(), _: &Handover) -> u64 {
        self.adoption_progress
    }
    fn verdict(&self, (): &(), _: Timestamp) -> Verdict {
        self.record("verdict");
        if self.fails { Verdict::waiting("no pod") } else { Verdict::ready("applied 1") }
    }
    fn note(&self, (): &()) -> Option<String> {
        Some("a note".into())
    }
    fn since(&self, (): &()) -> Option<Timestamp> {
        None
    }
    fn roll_up(&self, (): &(), _: Timestamp) -> GitOpsStatus {
        GitOpsStatus { agent: Some(Third.name().into()), ..GitOpsStatus::default() }
    }
}

/// An API server with the kinds that the agent uses.
fn api() -> FakeApi {
    api_with(Vec::new())
}

/// With Deployments of the agent that exist already.
fn api_with(installed: Vec<Value>) -> FakeApi {
    let none: Vec<Value> = Vec::new();
    FakeApi::new([
        ("/api/v1/namespaces", none.clone()),
        ("/apis/apps/v1/deployments", installed),
        ("/api/v1/namespaces/third/configmaps", none.clone()),
        ("/api/v1/namespaces/third/secrets", none),
    ])
}

/// The paths of all writes, in order.
fn written(api: &FakeApi) -> Vec<String> {
    let writes = api.writes.lock().unwrap();
    writes.iter().map(|write| write.split(' ').nth(1).unwrap().rsplit_once('/').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn an_agent_is_installed_then_seeded_then_observed() {
    let (api, input) = (api(), ThirdInput { may_install: true, has_secret: true, ..ThirdInput::default() });
    let workload = Workload::with_client(api.client().await);
    let outcome = input.boxed().reconcile(&workload).await.unwrap();
    assert_eq!(written(&api), ["third", "controller", "credentials", "source", "root"]);
    let asked = [
        "desired_install",
        "permanent_objects",
        "seed_objects",
        "request_sync",
        "observe",
        "delete_replaced after a change",
        "verdict",
    ];
    assert_eq!(*input.asked.lock(), asked);
    assert_eq!((outcome.complete, outcome.changed.len()), (true, 5));
    assert_eq!((outcome.verdict.message.as_str(), outcome.requeue_after.as_secs()), ("applied 1; a note", 45));
    assert_eq!(outcome.status.unwrap().agent.as_deref(), Some("third"));
}

#[tokio::test]
async fn a_version_that_may_not_change_yet_leaves_the_installed_manifests() {
    let (api, input) = (api(), ThirdInput::default());
    let workload = Workload::with_client(api.client().await);
    for _ in 0..2 {
        reconcile(&workload, &input).await.unwrap();
    }
    let seeds = ["source", "root", "source", "root"];
    assert_eq!(written(&api), seeds, "the fake keeps no object, so the seeds are applied each time");
    let installs = input.asked.lock().iter().filter(|question| **question == "desired_install").count();
    assert_eq!(installs, 1);
    assert!(!input.asked.lock().contains(&"request_sync"), "no Secret has changed");
}

#[tokio::test]
async fn progress_of_adoption_and_a_lost_component_install_again() {
    let mut input = ThirdInput { may_install: true, adoption_progress: 1, ..ThirdInput::default() };
    let workload = Workload::with_client(api().client().await);
    let is_installed = || workload.memory.lock().is_installed(7, Instant::now());
    let first = reconcile(&workload, &input).await.unwrap();
    assert_eq!((first.requeue_after.as_secs(), is_installed()), (1, false));
    let second = reconcile(&workload, &input).await.unwrap();
    assert_eq!((second.requeue_after.as_secs(), is_installed()), (45, true));
    input.lacks_a_component = true;
    let third = reconcile(&workload, &input).await.unwrap();
    assert_eq!((third.requeue_after.as_secs(), is_installed()), (1, false), "repaired at once");
}

fn deployment(labels: &Value, manager: &str, operation: &str) -> Value {
    json!({"metadata": {
        "name": "controller", "namespace": "third", "labels": labels, "annotations": {"meta.helm.sh/release-name": "r"},
        "managedFields": [{"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": {}}],
    }})
}

#[tokio::test]
async fn an_installation_of_somebody_else_is_left_alone_unless_the_spec_takes_it_over() {
    let helm = deployment(&json!({"app.kubernetes.io/managed-by": "Helm"}), "helm", "Update");
    let operated = deployment(&json!({"app.kubernetes.io/managed-by": "third-operator"}), "third-operator", "Apply");
    let by_hand = deployment(&json!({}), "kubectl", "Apply");
    for (found, takes_over, expected) in [
        (&helm, false, "by Helm (release r): nothing of it is changed. To go on, set spec.gitops.third.takeOver: true"),
        (&by_hand, false, "by \"kubectl\": nothing"),
        (&operated, true, "third-operator (release r) would undo a takeover"),
    ] {
        let api = api_with(vec![found.clone()]);
        let input = ThirdInput { may_install: true, takes_over, ..ThirdInput::default() };
        let outcome = reconcile(&Workload::with_client(api.client().await), &input).await.unwrap();
        assert_eq!((outcome.verdict.reason, written(&api)), (Reason::NotOwned, Vec::new()));
        assert!(outcome.verdict.message.contains(expected), "{}", outcome.verdict.message);
    }
    let ours = deployment(&json!({}), "keelson", "Apply");
    let of_git = deployment(&json!({"third.example/root": "x"}), "third", "Apply");
    for (found, takes_over) in [(vec![helm.clone()], true), (vec![helm, ours], false), (vec![of_git], false)] {
        let api = api_with(found);
        let input = ThirdInput { may_install: true, takes_over, ..ThirdInput::default() };
        reconcile(&Workload::with_client(api.client().await), &input).await.unwrap();
        assert!(written(&api).contains(&"controller".to_owned()));
    }
}

#[tokio::test]
async fn a_rejected_object_takes_precedence_over_the_observation() {
    // Writing ConfigMaps is forbidden.
    let none: Vec<Value> = Vec::new();
    let api = FakeApi::new([
        ("/api/v1/namespaces", none.clone()),
        ("/apis/apps/v1/deployments", none.clone()),
        ("/api/v1/namespaces/third/secrets", none),
    ]);
    let workload = Workload::with_client(api.client().await);
    let outcome = reconcile(&workload, &ThirdInput::default()).await.unwrap();
    assert_eq!((outcome.complete, outcome.verdict.reason), (false, Reason::SyncFailed));
    assert!(outcome.verdict.message.contains("ConfigMap third/source failed"), "{}", outcome.verdict.message);
    assert_eq!(outcome.requeue_after.as_secs(), 15);
}

/// Whether the agent is on the host network after a reconcile in a cluster with these nodes and DNS servers, by the status
/// of their Ready condition. `on_pods`: it is installed already, on the Pod network.
async fn is_on_host(nodes: &[&str], dns: &[&str], on_pods: bool) -> bool {
    let api = host_api(nodes, dns, on_pods);
    let input = ThirdInput { may_install: true, is_on_host: true, ..ThirdInput::default() };
    let workload = Workload::with_client(api.client().await);
    let outcome = reconcile(&workload, &input).await.unwrap();
    let is_on_host = outcome.verdict.message.ends_with(host_network::NOTE);
    assert_eq!(outcome.requeue_after.as_secs(), if is_on_host { 4 } else { 45 });
    let asked = || api.requests.lock().unwrap().iter().filter(|path| path.contains("nodes")).count();
    let before = asked();
    reconcile(&workload, &input).await.unwrap();
    assert_eq!(asked() > before, is_on_host, "what is on the Pod network stays there");
    is_on_host
}

fn host_api(nodes: &[&str], dns: &[&str], on_pods: bool) -> FakeApi {
    let of = |all: &[&str]| {
        all.iter()
            .map(|ready| json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .collect()
    };
    let none: Vec<Value> = Vec::new();
    // The fake has lists only: that of one object has no field hostNetwork.
    let installed = on_pods.then_some(("/api/v1/namespaces/third/deployments/controller", none.clone()));
    let lists = [
        ("/api/v1/namespaces", none.clone()),
        ("/apis/apps/v1/deployments", none.clone()),
        ("/api/v1/namespaces/third/configmaps", none.clone()),
        ("/api/v1/namespaces/third/secrets", none.clone()),
        ("/api/v1/namespaces/third/deployments", none),
        ("/api/v1/nodes", of(nodes)),
        ("/api/v1/pods", of(dns)),
    ];
    FakeApi::new(lists.into_iter().chain(installed))
}

#[tokio::test]
async fn an_agent_is_on_the_host_network_until_a_node_is_ready_and_dns_runs() {
    assert!(is_on_host(&[], &[], false).await);
    assert!(is_on_host(&["False"], &["True"], false).await);
    assert!(is_on_host(&["True"], &["False"], false).await, "CoreDNS starts");
    assert!(!is_on_host(&["False", "False", "True"], &["False", "True"], false).await);
    assert!(!is_on_host(&["False"], &[], true).await, "it never goes back");
}

#[tokio::test]
async fn an_agent_leaves_the_host_network_in_order() {
    let workload = Workload::with_client(host_api(&["True"], &["True"], false).client().await);
    let mut input = ThirdInput { may_install: true, is_on_host: true, holds_back: true, ..ThirdInput::default() };
    for (holds_back, is_on_host) in [(true, true), (false, false), (true, false)] {
        input.holds_back = holds_back;
        let outcome = reconcile(&workload, &input).await.unwrap();
        assert_eq!(outcome.verdict.message.ends_with(host_network::NOTE), is_on_host, "{holds_back}");
        assert_eq!(outcome.requeue_after.as_secs(), if is_on_host { 4 } else { 45 });
    }
}

#[tokio::test]
async fn an_agent_that_waits_for_the_cni_that_it_should_install_says_so() {
    for (nodes, fails, expected) in [("False", true, true), ("True", true, false), ("False", false, false)] {
        let workload = Workload::with_client(host_api(&[nodes], &[], true).client().await);
        let input = ThirdInput { may_install: true, is_on_host: true, fails, ..ThirdInput::default() };
        let message = reconcile(&workload, &input).await.unwrap().verdict.message;
        assert_eq!(message.contains("install it with kubectl or Helm"), expected, "{nodes} {fails}: {message}");
    }
}
