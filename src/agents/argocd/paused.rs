//! The kind of Argo CD that applies manifests continuously, and how its automated sync is switched off.
//!
//! Not allowed here: when. I/O: by [`pause_kind`].

use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::sync::APPLICATION;
use crate::agents::pause::{Pausable, pause_kind};
use crate::workload::error::CallError;
use crate::workload::object::or_default;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    sync_policy: SyncPolicy,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SyncPolicy {
    automated: Option<IgnoredAny>,
}

impl Pausable for Spec {
    fn pause(&self) -> Option<Value> {
        self.sync_policy.automated.as_ref().map(|_| json!({"spec": {"syncPolicy": {"automated": null}}}))
    }
}

/// Switches off the automated sync of all Applications.
pub async fn pause(client: &Client) -> Result<(), CallError> {
    pause_kind::<Spec>(client, APPLICATION).await
}
