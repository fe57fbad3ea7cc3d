//! What the driver needs of Argo CD.
//!
//! Not allowed here: the order of a reconcile, which is the driver's. I/O: by `observe`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::input::{ArgoCdInput, VERSION};
use super::manifests::{self, COMPONENTS, REPO_SERVER, key};
use super::observe::{self, Application, Component, Observation};
use super::status::roll_up;
use super::verdict::verdict;
use super::{ArgoCdAgent, sync};
use crate::agents::adoption::AdoptionMarker;
use crate::agents::agent::{Agent, Driven, Input};
use crate::agents::gitops_condition::Verdict;
use crate::agents::host_network::ApiAddress;
use crate::agents::install::Manifests;
use crate::agents::shared_input::Facts;
use crate::api::status_cluster::GitOpsStatus;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::memory::Handover;
use crate::workload::object::{Object, ObjectId};
use crate::workload::watch::Watched;

impl Input for ArgoCdInput {
    fn agent(&self) -> &'static dyn Agent {
        &ArgoCdAgent
    }

    /// Its Applications, Deployments and StatefulSets.
    fn watched(&self) -> Vec<Watched> {
        let of = |(api_version, kind)| Watched { api_version, kind, namespace: Some(self.namespace.clone()) };
        [sync::APPLICATION, ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")].map(of).into()
    }

    fn install_version(&mut self, version: &str) {
        self.installs = version == VERSION;
    }

    fn keep_installed_version(&mut self) {
        self.keeps_version = true;
    }

    fn hold_revision(&mut self, revision: &str) {
        // A commit, or the digest of an artifact.
        revision.rsplit('@').next().unwrap_or_default().clone_into(&mut self.repository.revision);
    }

    fn set_facts(&mut self, facts: Facts) {
        self.facts = Some(facts);
    }

    fn pod_namespace(&self) -> &str {
        &self.namespace
    }

    fn set_host_network(&mut self, api: Option<ApiAddress>) {
        self.host_network = api;
    }
}

impl Driven for ArgoCdInput {
    type Observation = Observation;

    const MARKER: AdoptionMarker = sync::MARKER;

    fn may_use_host_network(&self) -> Option<ObjectId> {
        self.host_network.as_ref()?;
        Some(ObjectId {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: Some(self.namespace.clone()),
            name: REPO_SERVER.into(),
        })
    }

    fn interval(&self) -> Duration {
        self.repository.interval
    }

    fn takes_over(&self) -> bool {
        self.takes_over
    }

    fn install_key(&self) -> u64 {
        key(self)
    }

    async fn desired_install<'a>(&'a self, workload: &Workload) -> Result<Option<Box<dyn Manifests + 'a>>, CallError> {
        let components = observe::components(&workload.client, &self.namespace).await?;
        let adopted_by_git = components.iter().any(is_adopted);
        let is_other = components.iter().any(|part| part.version().is_some_and(|version| version != VERSION));
        let install = manifests::Install { input: self, adopted_by_git };
        Ok((adopted_by_git || self.installs && !(self.keeps_version && is_other))
            .then(|| Box::new(install) as Box<dyn Manifests>))
    }

    fn permanent_objects(&self) -> Vec<Object> {
        sync::permanent_objects(self)
    }

    /// The project before the Application, which is invalid without it.
    async fn seed_objects(&self, _workload: &Workload) -> Result<Vec<Object>, CallError> {
        Ok(sync::seed_objects(self).into())
    }

    async fn observe(&self, client: &Client) -> Result<Observation, CallError> {
        observe::observe(client, &self.namespace).await
    }

    fn lacks_a_component(&self, observed: &Observation) -> bool {
        COMPONENTS.iter().any(|name| !observed.components.iter().any(|part| part.metadata.name == *name))
    }

    fn adoption_progress(&self, observed: &Observation, before: &Handover) -> u64 {
        progress(observed, before)
    }

    fn verdict(&self, observed: &Observation, _now: Timestamp) -> Verdict {
        verdict(observed, &self.namespace)
    }

    fn since(&self, observed: &Observation) -> Option<Timestamp> {
        observed.root()?.metadata.creation_timestamp
    }

    fn roll_up(&self, observed: &Observation, now: Timestamp) -> GitOpsStatus {
        roll_up(observed, now)
    }
}

fn is_adopted(part: &Component) -> bool {
    sync::is_tracked(&part.metadata.labels, &part.metadata.annotations)
}

/// Hash of what Git has adopted. Until the adoption is complete it includes the revision, since each may adopt more.
fn progress(observed: &Observation, before: &Handover) -> u64 {
    if !observed.components.iter().any(is_adopted) {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    for part in &observed.components {
        (&part.metadata.name, is_adopted(part)).hash(&mut hasher);
    }
    if !before.complete {
        observed.root().and_then(Application::applied_revision).hash(&mut hasher);
    }
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::argocd::fixture::{component, input, root};

    #[test]
    fn adoption_progress_changes_with_each_adopted_component_and_revision_until_complete() {
        let mut observed =
            Observation { components: COMPONENTS.map(|name| component(name, 1)).into(), ..Observation::default() };
        let (incomplete, complete) = (Handover::default(), Handover { complete: true, ..Handover::default() });
        assert_eq!(progress(&observed, &incomplete), 0);
        let tracked = ("argocd.argoproj.io/tracking-id".to_owned(), "keelson:apps/Deployment:argocd/x".to_owned());
        observed.components[0].metadata.annotations.extend([tracked.clone()]);
        let first = progress(&observed, &incomplete);
        observed.components[1].metadata.annotations.extend([tracked]);
        assert_ne!(progress(&observed, &incomplete), first);
        let at = |revision: &str| root(&json!({"sync": {"status": "Synced", "revision": revision}}));
        let with = |revision| Observation { applications: vec![at(revision)], components: observed.components.clone() };
        assert_ne!(progress(&with("a"), &incomplete), progress(&with("b"), &incomplete));
        assert_eq!(progress(&with("a"), &complete), progress(&with("b"), &complete));
    }

    #[test]
    fn deleted_component_is_detected() {
        let mut observed =
            Observation { components: COMPONENTS.map(|name| component(name, 1)).into(), ..Observation::default() };
        assert!(!input().lacks_a_component(&observed));
        observed.components.pop();
        assert!(input().lacks_a_component(&observed));
    }
}
