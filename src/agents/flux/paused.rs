//! The kinds of Flux that apply manifests continuously, and how they are suspended.
//!
//! Not allowed here: when. I/O: by [`pause_kind`].

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

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    suspend: bool,
}

impl Pausable for Spec {
    fn pause(&self) -> Option<Value> {
        (!self.suspend).then(|| json!({"spec": {"suspend": true}}))
    }
}

/// Suspends all Kustomizations and HelmReleases.
pub async fn pause(client: &Client) -> Result<(), CallError> {
    for kind in APPLIERS {
        pause_kind::<Spec>(client, kind).await?;
    }
    Ok(())
}
