//! What the driver needs of Flux.
//!
//! Not allowed here: the order of a reconcile, which is the driver's. I/O: by `observe` and `apply`.

use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::core::params::{Patch, PatchParams};
use serde_json::json;

use super::handover::{describe_ownership, desired_install, progress};
use super::input::{Component, FluxInput, NAME, NAMESPACE, Version};
use super::manifests::key;
use super::observe::{self, FluxObject, Observation};
use super::status::roll_up;
use super::verdict::verdict;
use super::{FluxAgent, sync};
use crate::agents::adoption::AdoptionMarker;
use crate::agents::agent::{Agent, Driven, Input};
use crate::agents::apply;
use crate::agents::gitops_condition::Verdict;
use crate::agents::host_network::ApiAddress;
use crate::agents::install::Manifests;
use crate::agents::shared_input::Facts;
use crate::api::gitops::{AgentIdentity, FLUX_IDENTITY};
use crate::api::status_cluster::GitOpsStatus;
use crate::workload::answer;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::memory::Handover;
use crate::workload::object::{Object, ObjectId, collection};
use crate::workload::watch::Watched;

/// Flux's annotation that requests a reconcile, and its field manager: not that of applied objects, whose fields are
/// released.
const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
const REQUEST_MANAGER: &str = "keelson-asks";

impl Input for FluxInput {
    fn agent(&self) -> &'static dyn Agent {
        &FluxAgent
    }

    /// Its own objects in all namespaces, and its Deployments.
    fn watched(&self) -> Vec<Watched> {
        let of = |(api_version, kind), namespace: Option<&str>| Watched {
            api_version,
            kind,
            namespace: namespace.map(str::to_owned),
        };
        let own = Some(NAMESPACE);
        vec![
            of(self.source.api(), own),
            of(sync::KUSTOMIZATION, None),
            of(sync::HELM_RELEASE, None),
            of(("apps/v1", "Deployment"), own),
        ]
    }

    fn install_version(&mut self, version: &str) {
        self.installs = Version::parse(version);
    }

    fn keep_installed_version(&mut self) {
        self.keeps_version = true;
    }

    fn hold_revision(&mut self, revision: &str) {
        self.source.held_at = Some(revision.to_owned());
    }

    fn identity(&self) -> Option<AgentIdentity> {
        self.source.is_in_ecr().then_some(FLUX_IDENTITY)
    }

    fn set_identity(&mut self, id: String) {
        self.source_identity = Some(id);
    }

    fn set_facts(&mut self, facts: Facts) {
        self.facts = Some(facts);
    }

    fn pod_namespace(&self) -> &str {
        NAMESPACE
    }

    fn set_host_network(&mut self, api: Option<ApiAddress>) {
        self.host_network = api;
    }
}

impl Driven for FluxInput {
    type Observation = Observation;

    const MARKER: AdoptionMarker = sync::MARKER;

    fn may_use_host_network(&self) -> Option<ObjectId> {
        self.host_network.as_ref()?;
        Some(ObjectId {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: Some(NAMESPACE.into()),
            name: Component::KustomizeController.as_str().into(),
        })
    }

    /// The others ask for what source-controller fetched as soon as they start, at the address in the status of the
    /// source. If that is still the one on the host network, they repeat that request for minutes and see no change of it.
    /// That Git has adopted it means that it leaves.
    async fn hold_back(&mut self, workload: &Workload, leaves: bool) -> Result<bool, CallError> {
        let (client, found) = (&workload.client, Component::KustomizeController.as_str());
        let controllers = observe::controllers(client).await?;
        let leaves = leaves || controllers.iter().any(|controller| sync::is_adopted(&controller.metadata.labels));
        let is_installed = controllers.iter().any(|controller| controller.metadata.name == found);
        self.source_leaves_first = leaves && is_installed && observe::is_served_on_host(client).await?;
        Ok(self.source_leaves_first)
    }

    fn interval(&self) -> Duration {
        self.source.interval
    }

    fn takes_over(&self) -> bool {
        self.takes_over
    }

    fn install_key(&self) -> u64 {
        key(self)
    }

    async fn desired_install<'a>(&'a self, workload: &Workload) -> Result<Option<Box<dyn Manifests + 'a>>, CallError> {
        let controllers = observe::controllers(&workload.client).await?;
        Ok(desired_install(self, &controllers).map(|install| Box::new(install) as Box<dyn Manifests>))
    }

    fn permanent_objects(&self) -> Vec<Object> {
        sync::permanent_objects(self)
    }

    /// The source before the Kustomization: kustomize-controller reports a missing source as a failure. If Git has
    /// adopted the root and replaced its source, the original source is not created again.
    async fn seed_objects(&self, workload: &Workload) -> Result<Vec<Object>, CallError> {
        let [source, root] = sync::seed_objects(self);
        let is_new = !workload.memory.lock().objects.contains_key(&source.id);
        let is_replaced = |root: FluxObject| is_source_replaced(&root, &source.id.kind);
        if is_new && observe::root(&workload.client).await?.is_some_and(is_replaced) {
            return Ok(vec![root]);
        }
        Ok(vec![source, root])
    }

    async fn request_sync(&self, workload: &Workload) -> Result<(), CallError> {
        let parameters = PatchParams { field_manager: Some(REQUEST_MANAGER.into()), ..PatchParams::default() };
        let patch = json!({"metadata": {"annotations": {REQUESTED_AT: Timestamp::now().to_string()}}});
        for (api_version, kind) in [self.source.api(), sync::KUSTOMIZATION] {
            let request = collection(api_version, kind, Some(NAMESPACE))
                .patch_metadata(NAME, &parameters, &Patch::Merge(&patch))
                .map_err(kube::Error::BuildRequest)?;
            let answer = answer::send(&workload.client, request).await;
            // An object that does not exist or cannot be patched is reconciled at its interval.
            if let Err(error @ CallError::Unreachable(_)) = answer {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn observe(&self, client: &Client) -> Result<Observation, CallError> {
        observe::observe(client, self.source.api()).await
    }

    /// Keelson's source of the other kind, which the spec selected before, once nothing in the cluster refers to it.
    async fn delete_replaced(
        &self,
        workload: &Workload,
        observed: &Observation,
        is_changed: bool,
    ) -> Result<Option<ObjectId>, CallError> {
        let other = sync::other_source(self);
        {
            let mut memory = workload.memory.lock();
            memory.other_source_absent &= !is_changed;
            if memory.other_source_absent || observed.is_referred_to(&other.kind) {
                return Ok(None);
            }
        }
        let deleted = apply::delete_owned(&workload.client, &other, sync::MARKER).await?;
        let mut memory = workload.memory.lock();
        memory.objects.remove(&other);
        memory.other_source_absent = true;
        Ok(deleted.then_some(other))
    }

    fn lacks_a_component(&self, observed: &Observation) -> bool {
        self.components
            .iter()
            .any(|component| !observed.controllers.iter().any(|found| found.metadata.name == component.as_str()))
    }

    fn adoption_progress(&self, observed: &Observation, before: &Handover) -> u64 {
        progress(observed, before)
    }

    fn verdict(&self, observed: &Observation, now: Timestamp) -> Verdict {
        verdict(observed, now)
    }

    fn note(&self, observed: &Observation) -> Option<String> {
        describe_ownership(observed, self)
    }

    fn since(&self, observed: &Observation) -> Option<Timestamp> {
        observed.source.as_ref()?.metadata.creation_timestamp
    }

    fn roll_up(&self, observed: &Observation, now: Timestamp) -> GitOpsStatus {
        roll_up(observed, &self.components, now)
    }
}

/// Whether Git has adopted the root and uses another source than Flux's of that kind.
fn is_source_replaced(root: &FluxObject, kind: &str) -> bool {
    sync::is_adopted(&root.metadata.labels) && !root.is_from(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::flux::fixture;

    #[test]
    fn deleted_controller_is_detected() {
        let controllers = Component::ALL.map(|component| {
            serde_json::from_value(serde_json::json!({"metadata": {"name": component.as_str()}})).unwrap()
        });
        let mut observed = Observation { controllers: controllers.into(), ..Observation::default() };
        assert!(!fixture::input().lacks_a_component(&observed));
        observed.controllers.pop();
        assert!(fixture::input().lacks_a_component(&observed));
    }
}
