//! The roll-up: the observation of the workload cluster as `status.gitops`.
//!
//! Not allowed here: clients and clocks. Pure, and bounded in size whatever the cluster holds.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::handover::is_owned_by_git;
use super::input::{Component, NAME, NAMESPACE};
use super::observe::{Condition, Controller, FluxObject, Observation};
use super::sync::is_adopted;
use crate::agents::roll_up::{Counted, Health, count, short_revision};
use crate::api::status_cluster::{GitOpsComponent, GitOpsStatus, MAX_COMPONENTS};
use crate::workload::error::{MESSAGE, bounded};

pub const VERSION_LABEL: &str = "app.kubernetes.io/version";

impl FluxObject {
    /// Suspension takes precedence. An object that waits for a dependency does not fail; the dependency may.
    pub fn health(&self) -> Health {
        if self.spec.suspend {
            return Health::Suspended;
        }
        let ready = self.condition("Ready");
        let failing = |condition: &Condition| Health::Failing {
            reason: bounded(&condition.reason, 128),
            message: with_advice(bounded(&condition.message, MESSAGE)),
        };
        match (ready, self.condition("Stalled")) {
            (Some(ready), _) if ready.status == "True" => Health::Ready,
            (_, Some(stalled)) if stalled.status == "True" => failing(stalled),
            (Some(ready), _) if ready.status == "False" && !is_waiting(ready) => failing(ready),
            _ => Health::Waiting,
        }
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    pub fn is_root(&self) -> bool {
        self.metadata.name == NAME && self.metadata.namespace == NAMESPACE
    }

    fn to_counted(&self, kind: &'static str) -> Counted {
        let name = format!("{}/{}", self.metadata.namespace, self.metadata.name);
        Counted { kind, name, is_root: self.is_root(), health: self.health() }
    }
}

/// Of a failed substitution, Flux names the variable but not how to keep one that is not its own, as in a shell script.
fn with_advice(message: String) -> String {
    const OF_SUBSTITUTION: &str = "variable substitution failed";
    const ADVICE: &str = "; a variable that is not for Flux, as in a shell script, is written $${NAME}, or the object gets the \
                          annotation kustomize.toolkit.fluxcd.io/substitute: disabled";
    if message.contains(OF_SUBSTITUTION) { message + ADVICE } else { message }
}

/// Conditions that kustomize-controller reports as failed but that only wait: for a dependency, or for a source to be
/// fetched.
fn is_waiting(ready: &Condition) -> bool {
    ready.reason == "DependencyNotReady"
        || (ready.reason == "ArtifactFailed" && ready.message.contains("artifact not found, retrying"))
}

/// The status of the agent with the desired components `wanted`, observed at `now`.
pub fn roll_up(observed: &Observation, wanted: &BTreeSet<Component>, now: jiff::Timestamp) -> GitOpsStatus {
    let Observation { source, kustomizations, helm_releases, controllers } = observed;
    let root = kustomizations.iter().find(|kustomization| kustomization.is_root());
    let applied = root.and_then(|root| root.status.last_applied_revision.clone());
    let all = kustomizations.iter().map(|object| object.to_counted("Kustomization"));
    let all = all.chain(helm_releases.iter().map(|object| object.to_counted("HelmRelease")));
    let (objects, failing) = count(all);
    GitOpsStatus {
        applied: Vec::new(),
        bundled_version: None,
        upgrade: None,
        agent: Some("flux".into()),
        version: controllers
            .iter()
            .find_map(|controller| controller.metadata.labels.get(VERSION_LABEL))
            .map(|text| bounded(text, 32)),
        adopted: is_owned_by_git(observed),
        url: source.as_ref().and_then(|source| source.spec.url.clone()).map(|url| bounded(&url, 2048)),
        source_adopted: source.as_ref().is_some_and(|source| is_adopted(&source.metadata.labels)),
        held_revision: None,
        source_revision: source.as_ref().and_then(revision).map(|text| bounded(text, 512)),
        last_attempted_revision: root
            .and_then(|root| root.status.last_attempted_revision.as_deref())
            .map(|text| bounded(text, 512)),
        revision: applied.as_deref().map(short_revision),
        last_applied_revision: applied.map(|text| bounded(&text, 512)),
        objects: Some(objects),
        failing,
        components: components(controllers, wanted),
        inventory: Some(inventory(kustomizations) + inventory(helm_releases)),
        last_contact: Some(Time(now)),
        unreachable_since: None,
        watch_error: None,
    }
}

/// The running components, and desired ones that are missing.
fn components(controllers: &[Controller], wanted: &BTreeSet<Component>) -> Vec<GitOpsComponent> {
    let found = controllers.iter().map(|controller| {
        let why =
            controller.unready_reason().filter(|_| !controller.is_ready()).map(|why| bounded(&why.message, MESSAGE));
        let name = bounded(&controller.metadata.name, 253);
        GitOpsComponent { name, ready: controller.is_ready(), updating: controller.is_updating(), message: why }
    });
    let is_missing = |name: &&str| !controllers.iter().any(|controller| controller.metadata.name == *name);
    let missing = wanted.iter().map(|component| component.as_str()).filter(is_missing).map(|name| GitOpsComponent {
        name: name.to_owned(),
        ready: false,
        updating: false,
        message: Some(format!("Deployment {NAMESPACE}/{name} is missing")),
    });
    let mut all: Vec<_> = found.chain(missing).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.truncate(MAX_COMPONENTS);
    all
}

fn inventory(objects: &[FluxObject]) -> i64 {
    let counts = objects.iter().map(|object| object.status.inventory.count);
    i64::try_from(counts.sum::<usize>()).unwrap_or(i64::MAX)
}

/// The revision that a source has fetched.
pub fn revision(source: &FluxObject) -> Option<&str> {
    source.status.artifact.as_ref().map(|artifact| artifact.revision.as_str()).filter(|revision| !revision.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::flux::observe::Controller;

    fn object(name: &str, suspend: bool, ready: Option<(&str, &str, &str)>) -> FluxObject {
        let conditions: Vec<_> = ready
            .iter()
            .map(|(status, reason, message)| json!({"type": "Ready", "status": status, "reason": reason, "message": message}))
            .collect();
        let body = json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"suspend": suspend},
            "status": {"conditions": conditions},
        });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn conditions_are_mapped_to_health() {
        let failing = |reason: &str| Health::Failing { reason: reason.into(), message: "m".into() };
        for (suspend, ready, health) in [
            (false, None, Health::Waiting),
            (false, Some(("True", "ReconciliationSucceeded", "m")), Health::Ready),
            (false, Some(("Unknown", "Progressing", "m")), Health::Waiting),
            (false, Some(("False", "DependencyNotReady", "m")), Health::Waiting),
            (false, Some(("False", "ArtifactFailed", "Source artifact not found, retrying in 30s")), Health::Waiting),
            (false, Some(("False", "ArtifactFailed", "m")), failing("ArtifactFailed")),
            (false, Some(("False", "BuildFailed", "m")), failing("BuildFailed")),
            (false, Some(("False", "InstallFailed", "m")), failing("InstallFailed")),
            (true, Some(("False", "BuildFailed", "m")), Health::Suspended),
            (true, Some(("True", "ReconciliationSucceeded", "m")), Health::Suspended),
        ] {
            assert_eq!(object("a", suspend, ready).health(), health, "suspend {suspend}, {ready:?}");
        }
    }

    #[test]
    fn failed_substitution_has_advice() {
        let message_of = |reported: &str| match object("a", false, Some(("False", "BuildFailed", reported))).health() {
            Health::Failing { message, .. } => message,
            other => panic!("{other:?}"),
        };
        let substitution = r#"post build failed for 'v1/ConfigMap/scripts': envsubst error: variable substitution failed: variable not set (strict mode): "HOME""#;
        let message = message_of(substitution);
        assert!(message.starts_with(substitution), "{message}");
        assert!(message.contains("$${NAME}") && message.contains("substitute: disabled"), "{message}");
        assert_eq!(message_of("kustomization path not found"), "kustomization path not found");
    }

    #[test]
    fn stalled_object_fails_while_ready_is_unknown() {
        let mut stalled = object("a", false, Some(("Unknown", "Progressing", "m")));
        stalled.status.conditions.push(Condition {
            kind: "Stalled".into(),
            status: "True".into(),
            reason: "InvalidPath".into(),
            ..Condition::default()
        });
        assert_eq!(stalled.health(), Health::Failing { reason: "InvalidPath".into(), message: String::new() });
    }

    fn observation() -> Observation {
        let git = json!({
            "metadata": {"name": "flux-system", "namespace": "flux-system"},
            "spec": {"url": "https://github.com/acme/fleet"},
            "status": {"artifact": {"revision": "main@sha1:76087da78cdcec69b25c1392f6c5948b0bd320f5"}},
        });
        let mut root = object("flux-system", false, Some(("False", "BuildFailed", "unset variable")));
        root.metadata.namespace = "flux-system".into();
        root.status.last_applied_revision = Some("main@sha1:1111111111111111111111111111111111111111".into());
        root.status.last_attempted_revision = Some("main@sha1:76087da78cdcec69b25c1392f6c5948b0bd320f5".into());
        let controller = |labels: serde_json::Value| -> Controller {
            serde_json::from_value(json!({"metadata": {"name": "source-controller", "labels": labels}})).unwrap()
        };
        Observation {
            source: Some(serde_json::from_value(git).unwrap()),
            kustomizations: vec![
                object("apps", false, Some(("False", "DependencyNotReady", "flux-system/infra is not ready"))),
                object("infra", true, Some(("False", "HealthCheckFailed", "timeout"))),
                root,
            ],
            helm_releases: vec![
                object("redis", false, Some(("False", "InstallFailed", "timed out waiting for the condition"))),
                object("web", false, Some(("True", "InstallSucceeded", ""))),
            ],
            controllers: vec![controller(json!({VERSION_LABEL: "v2.9.5"}))],
        }
    }

    #[test]
    fn status_of_a_cluster_with_every_health() {
        let now = "2026-11-21T10:05:58Z".parse().unwrap();
        insta::assert_yaml_snapshot!(roll_up(
            &observation(),
            &[Component::SourceController, Component::HelmController].into(),
            now
        ));
    }

    #[test]
    fn status_of_an_empty_cluster() {
        let now = "2026-11-21T10:05:58Z".parse().unwrap();
        insta::assert_yaml_snapshot!(roll_up(&Observation::default(), &BTreeSet::new(), now));
    }

    #[test]
    fn agent_is_adopted_when_every_controller_is() {
        let label = ("kustomize.toolkit.fluxcd.io/name".to_owned(), "flux-system".to_owned());
        let mut observed = observation();
        observed.controllers.push(observed.controllers[0].clone());
        observed.controllers[0].metadata.labels.extend([label.clone()]);
        assert!(!roll_up(&observed, &BTreeSet::new(), jiff::Timestamp::UNIX_EPOCH).adopted);
        observed.controllers[1].metadata.labels.extend([label]);
        assert!(roll_up(&observed, &BTreeSet::new(), jiff::Timestamp::UNIX_EPOCH).adopted);
    }

    #[test]
    fn size_is_bounded_whatever_fails() {
        let long = "x".repeat(20_000);
        let many: Vec<_> =
            (0..1000).map(|n| object(&format!("app-{n:04}"), false, Some(("False", "BuildFailed", &long)))).collect();
        let status = roll_up(
            &Observation { kustomizations: many, ..Observation::default() },
            &BTreeSet::new(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        assert_eq!(status.objects.as_ref().unwrap().failing, 1000);
        assert_eq!(status.failing.len(), 10);
        assert!(serde_json::to_string(&status).unwrap().len() < 8 * 1024);
    }
}
