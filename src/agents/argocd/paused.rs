//! The kinds of Argo CD that apply manifests continuously, and how their automation is switched off.
//!
//! An ApplicationSet writes the automated sync back into its Applications, and cannot be suspended: with the policy
//! `create-only` it changes none that exists
//! (<https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Controlling-Resource-Modification/>).
//!
//! Not allowed here: when. I/O: by [`pause_kind`].

use std::collections::BTreeMap;

use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::sync::APPLICATION;
use crate::agents::pause::{Pausable, pause_kind};
use crate::workload::error::CallError;
use crate::workload::kept::truncated;
use crate::workload::object::or_default;

const APPLICATION_SET: (&str, &str) = ("argoproj.io/v1alpha1", "ApplicationSet");
const CREATE_ONLY: &str = "create-only";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec<P: Default> {
    #[serde(bound(deserialize = "P: Default + Deserialize<'de>"), deserialize_with = "or_default")]
    sync_policy: P,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfApplication {
    automated: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OfApplicationSet {
    #[serde(deserialize_with = "truncated")]
    applications_sync: String,
}

impl Pausable for Spec<OfApplication> {
    fn pause(&self, _: &BTreeMap<String, String>) -> Option<Value> {
        self.sync_policy.automated.as_ref().map(|_| json!({"spec": {"syncPolicy": {"automated": null}}}))
    }
}

impl Pausable for Spec<OfApplicationSet> {
    fn pause(&self, _: &BTreeMap<String, String>) -> Option<Value> {
        let is_running = self.sync_policy.applications_sync != CREATE_ONLY;
        is_running.then(|| json!({"spec": {"syncPolicy": {"applicationsSync": CREATE_ONLY}}}))
    }
}

/// Switches off the automated sync of all Applications, and what would switch it on again.
pub async fn pause(client: &Client) -> Result<usize, CallError> {
    let sets = pause_kind::<Spec<OfApplicationSet>>(client, APPLICATION_SET).await?;
    Ok(sets + pause_kind::<Spec<OfApplication>>(client, APPLICATION).await?)
}
