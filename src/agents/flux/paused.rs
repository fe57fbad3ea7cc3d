//! The kinds of Flux that apply manifests continuously, and how they are suspended.
//!
//! Flux Operator has no field for it: it leaves alone what carries its annotation
//! (<https://fluxoperator.dev/docs/crd/resourceset/>).
//!
//! Not allowed here: when. I/O: by [`pause_kind`].

use std::collections::BTreeMap;

use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::agents::pause::{Pausable, pause_kind};
use crate::workload::error::CallError;
use crate::workload::object::or_default;

/// In the versions that may be served.
const APPLIERS: [(&str, &str); 5] = [
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("kustomize.toolkit.fluxcd.io/v1beta2", "Kustomization"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ("helm.toolkit.fluxcd.io/v2beta2", "HelmRelease"),
    ("helm.toolkit.fluxcd.io/v2beta1", "HelmRelease"),
];
/// Of Flux Operator: they create Kustomizations and anything else, so they are stopped before those.
const OPERATORS_KINDS: [(&str, &str); 2] =
    [("fluxcd.controlplane.io/v1", "FluxInstance"), ("fluxcd.controlplane.io/v1", "ResourceSet")];
const RECONCILE: &str = "fluxcd.controlplane.io/reconcile";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    suspend: bool,
}

impl Pausable for Spec {
    fn pause(&self, _: &BTreeMap<String, String>) -> Option<Value> {
        (!self.suspend).then(|| json!({"spec": {"suspend": true}}))
    }
}

#[derive(Default, Deserialize)]
struct OfOperator {}

impl Pausable for OfOperator {
    fn pause(&self, annotations: &BTreeMap<String, String>) -> Option<Value> {
        let is_running = annotations.get(RECONCILE).is_none_or(|value| value != "disabled");
        is_running.then(|| json!({"metadata": {"annotations": {RECONCILE: "disabled"}}}))
    }
}

/// Suspends all Kustomizations and HelmReleases, and what creates them.
pub async fn pause(client: &Client) -> Result<usize, CallError> {
    let mut paused = 0;
    for kind in OPERATORS_KINDS {
        paused += pause_kind::<OfOperator>(client, kind).await?;
    }
    for kind in APPLIERS {
        paused += pause_kind::<Spec>(client, kind).await?;
    }
    Ok(paused)
}
