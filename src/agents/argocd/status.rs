//! The roll-up: the observation of the workload cluster as `status.gitops`.
//!
//! Not allowed here: clients and clocks. Pure, and bounded in size whatever the cluster holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::input::NAME;
use super::manifests::COMPONENTS;
use super::observe::{Application, Component, Observation};
use super::sync::{APPLICATION, is_tracked};
use crate::agents::roll_up::{Counted, Health, count, short_revision};
use crate::api::status_cluster::{GitOpsComponent, GitOpsStatus};
use crate::workload::error::{MESSAGE, bounded};

impl Application {
    /// Errors of comparison or sync take precedence over the health of the managed objects.
    pub fn health(&self) -> Health {
        let failing = |reason: &str, message: &str| Health::Failing {
            reason: bounded(reason, 128),
            message: bounded(message, MESSAGE),
        };
        if let Some(error) = self.status.conditions.iter().find(|condition| condition.kind.ends_with("Error")) {
            return failing(&error.kind, &error.message);
        }
        let Operation { failed, message } = self.operation();
        match self.status.health.status.as_str() {
            _ if failed => failing("SyncFailed", message),
            "Degraded" => failing("Degraded", "one of its objects is degraded"),
            "Suspended" => Health::Suspended,
            _ if self.status.sync.status == "Synced" && self.status.health.status == "Healthy" => Health::Ready,
            _ => Health::Waiting,
        }
    }

    /// Result of the last sync. During retries, Argo CD's message is that of the previous try.
    pub fn operation(&self) -> Operation<'_> {
        let operation = &self.status.operation_state;
        let failed = match operation.phase.as_str() {
            "Failed" | "Error" => true,
            "Running" => operation.retry_count > 0,
            _ => false,
        };
        Operation { failed, message: &operation.message }
    }

    /// The revision applied last; a commit without changes counts as applied once it was compared.
    pub fn applied_revision(&self) -> Option<&str> {
        let (sync, operation) = (&self.status.sync, &self.status.operation_state);
        let revision = if sync.status == "Synced" {
            sync.revision.as_str()
        } else if operation.phase == "Succeeded" {
            operation.sync_result.revision.as_str()
        } else {
            self.status.history.last().map_or("", |deployed| deployed.revision.as_str())
        };
        Some(revision).filter(|revision| !revision.is_empty())
    }

    /// The revision that the cluster was compared with; `None` also if the repository could not be read.
    pub fn compared_revision(&self) -> Option<&str> {
        let revision = self.status.sync.revision.as_str();
        // Without an answer of the repository it is the text of the spec, which may itself be a commit.
        let is_commit = revision.len() >= 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        let has_error = || self.status.conditions.iter().any(|condition| condition.kind.ends_with("Error"));
        let is_answer = revision != self.spec.source.target_revision || is_commit && !has_error();
        Some(revision).filter(|revision| !revision.is_empty() && is_answer)
    }

    fn attempted_revision(&self) -> Option<&str> {
        let revision = self.status.operation_state.sync_result.revision.as_str();
        let synced = self.status.sync.status == "Synced";
        let revision = if synced || revision.is_empty() { self.applied_revision() } else { Some(revision) };
        revision.filter(|revision| !revision.is_empty())
    }

    pub fn is_root(&self) -> bool {
        self.metadata.name == NAME
    }

    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    fn to_counted(&self) -> Counted {
        Counted { kind: APPLICATION.1, name: self.full_name(), is_root: self.is_root(), health: self.health() }
    }
}

/// Result of the last sync.
pub struct Operation<'a> {
    pub failed: bool,
    pub message: &'a str,
}

impl Component {
    /// Why it has no ready pod, from its conditions.
    pub fn unready_reason(&self) -> Option<&str> {
        let condition = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.status == "False" && !condition.message.is_empty());
        condition.map(|condition| condition.message.as_str())
    }

    /// The tag of its first container's image.
    pub(super) fn version(&self) -> Option<&str> {
        let image = self.spec.template.spec.containers.first()?.image.as_str();
        let image = image.split('@').next().unwrap_or_default();
        image.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
    }
}

/// The status of Argo CD, observed at `now`.
pub fn roll_up(observed: &Observation, now: jiff::Timestamp) -> GitOpsStatus {
    let root = observed.root();
    let text = |text: &str| bounded(text, 512);
    let applied = root.and_then(Application::applied_revision);
    let (objects, failing) = count(observed.applications.iter().map(Application::to_counted));
    let parts: Vec<_> =
        observed.components.iter().filter(|part| COMPONENTS.contains(&part.metadata.name.as_str())).collect();
    let version = parts.iter().find(|part| part.metadata.name == COMPONENTS[0]).and_then(|part| part.version());
    GitOpsStatus {
        applied: Vec::new(),
        bundled_version: None,
        upgrade: None,
        agent: Some("argocd".into()),
        version: version.map(|version| bounded(version, 32)),
        adopted: !parts.is_empty()
            && parts.iter().all(|part| is_tracked(&part.metadata.labels, &part.metadata.annotations)),
        url: root.map(|root| bounded(&root.spec.source.repo_url, 2048)),
        source_adopted: root.is_some_and(|root| is_tracked(&root.metadata.labels, &root.metadata.annotations)),
        held_revision: None,
        source_revision: root.and_then(Application::compared_revision).map(text),
        last_attempted_revision: root.and_then(Application::attempted_revision).map(text),
        revision: applied.map(short_revision),
        last_applied_revision: applied.map(text),
        objects: Some(objects),
        failing,
        components: COMPONENTS.map(|name| component(&observed.components, name)).into(),
        inventory: Some(observed.applications.iter().map(|application| application.status.resources as i64).sum()),
        last_contact: Some(Time(now)),
        unreachable_since: None,
        watch_error: None,
    }
}

/// A component of Argo CD, and why it is not ready.
fn component(components: &[Component], name: &str) -> GitOpsComponent {
    let found = components.iter().find(|component| component.metadata.name == name);
    let ready = found.is_some_and(|component| component.status.ready_replicas > 0);
    let message = match found {
        None => Some("it is missing".to_owned()),
        Some(component) => component.unready_reason().filter(|_| !ready).map(|why| bounded(why, MESSAGE)),
    };
    let updating = found.is_some_and(Component::is_updating);
    GitOpsComponent { name: name.into(), ready, updating, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::argocd::fixture::{COMMIT, PREVIOUS, application, component, root};
    use serde_json::json;

    #[test]
    fn application_status_is_mapped_to_health() {
        let failing = |reason: &str, message: &str| Health::Failing { reason: reason.into(), message: message.into() };
        for (status, health) in [
            (json!({}), Health::Waiting),
            (json!({"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}), Health::Ready),
            (json!({"sync": {"status": "Synced"}, "health": {"status": "Progressing"}}), Health::Waiting),
            (json!({"sync": {"status": "OutOfSync"}, "health": {"status": "Missing"}}), Health::Waiting),
            (json!({"sync": {"status": "Synced"}, "health": {"status": "Suspended"}}), Health::Suspended),
            (
                json!({"sync": {"status": "Synced"}, "health": {"status": "Degraded"}}),
                failing("Degraded", "one of its objects is degraded"),
            ),
            (
                json!({"conditions": [{"type": "SharedResourceWarning"}, {"type": "ComparisonError", "message": "m"}]}),
                failing("ComparisonError", "m"),
            ),
            (json!({"conditions": [{"type": "SharedResourceWarning", "message": "m"}]}), Health::Waiting),
            (json!({"operationState": {"phase": "Failed", "message": "m"}}), failing("SyncFailed", "m")),
            (
                json!({"operationState": {"phase": "Running", "retryCount": 1, "message": "m"}}),
                failing("SyncFailed", "m"),
            ),
            (json!({"operationState": {"phase": "Running", "message": "m"}}), Health::Waiting),
        ] {
            assert_eq!(application("a", &status).health(), health, "{status}");
        }
    }

    #[test]
    fn applied_revision_comes_from_comparison_sync_or_history() {
        let history = json!([{"revision": PREVIOUS}]);
        for (status, applied) in [
            (json!({}), None),
            (json!({"sync": {"status": "Synced", "revision": COMMIT}, "history": history}), Some(COMMIT)),
            (
                json!({"sync": {"status": "OutOfSync", "revision": COMMIT}, "history": history,
                    "operationState": {"phase": "Succeeded", "syncResult": {"revision": COMMIT}}}),
                Some(COMMIT),
            ),
            (
                json!({"sync": {"status": "OutOfSync", "revision": COMMIT}, "history": history,
                    "operationState": {"phase": "Running", "retryCount": 1, "syncResult": {"revision": COMMIT}}}),
                Some(PREVIOUS),
            ),
        ] {
            assert_eq!(root(&status).applied_revision(), applied, "{status}");
        }
    }

    fn observation() -> Observation {
        let status = json!({
            "sync": {"status": "OutOfSync", "revision": COMMIT},
            "health": {"status": "Healthy"},
            "history": [{"revision": PREVIOUS}],
            "operationState": {"phase": "Running", "retryCount": 2, "message": "no such kind", "syncResult": {"revision": COMMIT}},
            "resources": [{}, {}, {}],
        });
        Observation {
            applications: vec![
                application("apps", &json!({"sync": {"status": "Synced"}, "health": {"status": "Degraded"}})),
                application("batch", &json!({"sync": {"status": "Synced"}, "health": {"status": "Suspended"}})),
                root(&status),
                application(
                    "web",
                    &json!({"sync": {"status": "Synced"}, "health": {"status": "Healthy"}, "resources": [{}]}),
                ),
            ],
            components: vec![component(COMPONENTS[0], 1), component("argocd-repo-server", 0)],
        }
    }

    #[test]
    fn status_of_a_cluster_with_every_health() {
        insta::assert_yaml_snapshot!(roll_up(&observation(), "2026-11-21T10:05:58Z".parse().unwrap()));
    }

    #[test]
    fn status_of_an_empty_cluster() {
        insta::assert_yaml_snapshot!(roll_up(&Observation::default(), "2026-11-21T10:05:58Z".parse().unwrap()));
    }

    #[test]
    fn agent_is_adopted_when_every_component_is() {
        let mut observed = observation();
        let tracked = ("argocd.argoproj.io/tracking-id".to_owned(), "keelson:apps/Deployment:argocd/x".to_owned());
        observed.components[0].metadata.annotations.extend([tracked.clone()]);
        assert!(!roll_up(&observed, jiff::Timestamp::UNIX_EPOCH).adopted);
        observed.components[1].metadata.annotations.extend([tracked]);
        assert!(roll_up(&observed, jiff::Timestamp::UNIX_EPOCH).adopted);
    }

    #[test]
    fn size_is_bounded_whatever_fails() {
        let status = json!({"operationState": {"phase": "Failed", "message": "x".repeat(20_000)}});
        let many = (0..1000).map(|n| application(&format!("app-{n:04}"), &status)).collect();
        let status =
            roll_up(&Observation { applications: many, ..Observation::default() }, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(status.objects.as_ref().unwrap().failing, 1000);
        assert_eq!(status.failing.len(), 10);
        assert!(serde_json::to_string(&status).unwrap().len() < 8 * 1024);
    }
}
