//! Pauses the agents of a cluster that is deleted, so that none of them creates again what the deletion removes.
//!
//! Not allowed here: which agent. I/O: the workload cluster's API.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::params::{ListParams, Patch, PatchParams};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::agent::Agent;
use crate::workload::answer;
use crate::workload::error::CallError;
use crate::workload::kept::{metadata_map, truncated};
use crate::workload::list::{ListFlow, for_each};
use crate::workload::object::{ObjectId, or_default};

const PAGE: u32 = 200;

/// The fields of a spec that applies manifests continuously which show whether it is paused.
pub trait Pausable: DeserializeOwned + Default {
    /// The merge patch that pauses the object; `None`: it is paused already. `annotations` are the object's.
    fn pause(&self, annotations: &BTreeMap<String, String>) -> Option<Value>;
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "truncated")]
    namespace: String,
    #[serde(deserialize_with = "metadata_map")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(bound = "S: Pausable")]
struct Applier<S: Pausable> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: S,
}

/// Pauses every agent, whichever the spec selects. Returns how many objects were not paused yet: until it is none, one
/// of them may just have created something again.
///
/// # Errors
/// The API server's error for the first call that failed.
pub async fn pause_all(agents: &[&dyn Agent], client: &Client) -> Result<usize, CallError> {
    let mut paused = 0;
    for agent in agents {
        paused += agent.pause(client).await?;
    }
    Ok(paused)
}

/// Pauses all objects of a kind, and returns how many were running. A kind that is not served has none.
pub async fn pause_kind<S: Pausable>(
    client: &Client,
    (api_version, kind): (&'static str, &'static str),
) -> Result<usize, CallError> {
    let mut running = Vec::new();
    for_each(client, (api_version, kind), None, &ListParams::default(), PAGE, |Applier::<S> { metadata, spec }| {
        if let Some(change) = spec.pause(&metadata.annotations) {
            let Metadata { name, namespace, .. } = metadata;
            let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
            running.push((ObjectId { api_version, kind, namespace: Some(namespace), name }, change));
        }
        ListFlow::Continue
    })
    .await?;
    let count = running.len();
    for (id, change) in running {
        let patch = Patch::Merge(change);
        let request =
            id.request().patch(&id.name, &PatchParams::default(), &patch).map_err(kube::Error::BuildRequest)?;
        match answer::send(client, request).await {
            Ok(_) | Err(CallError::NotFound) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::fake_api::FakeApi;

    #[tokio::test]
    async fn running_appliers_of_every_agent_are_paused_once() {
        let flux = |name: &str, suspend: Value| json!({"metadata": {"name": name, "namespace": "flux-system"}, "spec": {"suspend": suspend}});
        let argo = |name: &str, policy: Value| json!({"metadata": {"name": name, "namespace": "argocd"}, "spec": {"syncPolicy": policy}});
        let disabled = json!({"fluxcd.controlplane.io/reconcile": "disabled"});
        let resource_set = json!({"metadata": {"name": "apps", "namespace": "flux-system", "annotations": disabled}});
        let api = FakeApi::new([
            (
                "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations",
                vec![flux("apps", Value::Null), flux("off", json!(true))],
            ),
            ("/apis/kustomize.toolkit.fluxcd.io/v1beta2/kustomizations", vec![]),
            ("/apis/helm.toolkit.fluxcd.io/v2/helmreleases", vec![flux("ingress-nginx", json!(false))]),
            ("/apis/helm.toolkit.fluxcd.io/v2beta2/helmreleases", vec![]),
            ("/apis/helm.toolkit.fluxcd.io/v2beta1/helmreleases", vec![]),
            ("/apis/fluxcd.controlplane.io/v1/fluxinstances", vec![flux("flux", Value::Null)]),
            ("/apis/fluxcd.controlplane.io/v1/resourcesets", vec![resource_set]),
            (
                "/apis/argoproj.io/v1alpha1/applicationsets",
                vec![argo("tenants", Value::Null), argo("frozen", json!({"applicationsSync": "create-only"}))],
            ),
            (
                "/apis/argoproj.io/v1alpha1/applications",
                vec![argo("shop", json!({"automated": {"selfHeal": true}})), argo("manual", Value::Null)],
            ),
        ]);
        assert_eq!(pause_all(crate::agents::ALL, &api.client().await).await.unwrap(), 5);
        assert_eq!(
            *api.writes.lock().unwrap(),
            [
                "PATCH /apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux {\"metadata\":{\"annotations\":{\"fluxcd.controlplane.io/reconcile\":\"disabled\"}}}",
                "PATCH /apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps {\"spec\":{\"suspend\":true}}",
                "PATCH /apis/helm.toolkit.fluxcd.io/v2/namespaces/flux-system/helmreleases/ingress-nginx {\"spec\":{\"suspend\":true}}",
                "PATCH /apis/argoproj.io/v1alpha1/namespaces/argocd/applicationsets/tenants {\"spec\":{\"syncPolicy\":{\"applicationsSync\":\"create-only\"}}}",
                "PATCH /apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop {\"spec\":{\"syncPolicy\":{\"automated\":null}}}",
            ]
        );
    }

    #[tokio::test]
    async fn denied_call_is_returned_as_an_error() {
        let refused = pause_all(crate::agents::ALL, &FakeApi::new([]).client().await).await;
        assert!(matches!(refused, Err(CallError::Denied { .. })), "{refused:?}");
    }
}
