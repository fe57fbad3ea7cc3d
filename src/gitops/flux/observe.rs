//! Reads what the agent says of itself and of what it applies.
//!
//! May not enter: judgement, that is in `status`. I/O: the workload cluster's API, reads only, page by page. Of each object only the
//! few fields that the roll-up needs are kept.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::params::{GetParams, ListParams};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::input::{NAME, NAMESPACE};
use super::sync::{GIT_REPOSITORY, HELM_RELEASE, KUSTOMIZATION};
use crate::gitops::error::CallError;
use crate::gitops::list::{Go, each};
use crate::gitops::object::{collection, or_default};

const PAGE: u32 = 200;

/// All that the roll-up looks at.
#[derive(Debug, Default)]
pub struct Seen {
    pub source: Option<FluxObject>,
    pub kustomizations: Vec<FluxObject>,
    pub helm_releases: Vec<FluxObject>,
    pub controllers: Vec<Controller>,
}

/// What GitRepositories, Kustomizations and HelmReleases have in common, as far as it is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct FluxObject {
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    pub status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub generation: i64,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    pub creation_timestamp: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    pub suspend: bool,
    pub url: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub observed_generation: i64,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    pub artifact: Option<Artifact>,
    pub last_attempted_revision: Option<String>,
    pub last_applied_revision: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Artifact {
    pub revision: String,
}

/// A Deployment of the agent.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Controller {
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub status: ControllerStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ControllerStatus {
    pub ready_replicas: i32,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// Reads everything. A kind that is not served (a component left out) has no objects.
pub async fn observe(client: &Client) -> Result<Seen, CallError> {
    let all = ListParams::default();
    let agent = ListParams::default().labels("app.kubernetes.io/part-of=flux");
    let (source, kustomizations, helm_releases, controllers) = tokio::try_join!(
        git_repository(client),
        list(client, KUSTOMIZATION, None, &all),
        list(client, HELM_RELEASE, None, &all),
        list(client, ("apps/v1", "Deployment"), Some(NAMESPACE), &agent),
    )?;
    Ok(Seen { source, kustomizations, helm_releases, controllers })
}

async fn git_repository(client: &Client) -> Result<Option<FluxObject>, CallError> {
    let request = collection(GIT_REPOSITORY.0, GIT_REPOSITORY.1, Some(NAMESPACE))
        .get(NAME, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    match client.request(request).await.map_err(CallError::from) {
        Ok(found) => Ok(Some(found)),
        Err(CallError::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

async fn list<T: DeserializeOwned>(
    client: &Client,
    (api_version, kind): (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
) -> Result<Vec<T>, CallError> {
    let mut found = Vec::new();
    each(client, (api_version, kind), namespace, parameters, PAGE, |item| {
        found.push(item);
        Go::On
    })
    .await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_no_controller_has_looked_at_is_read() {
        let found: FluxObject =
            serde_json::from_str(r#"{"metadata": {"name": "a", "labels": null}, "spec": {}}"#).unwrap();
        assert_eq!(found.metadata.name, "a");
        assert!(found.status.conditions.is_empty());
    }

    #[test]
    fn what_go_writes_for_nothing_is_nothing() {
        let found: FluxObject =
            serde_json::from_str(r#"{"metadata": {}, "spec": null, "status": {"conditions": null}}"#).unwrap();
        assert!(found.status.conditions.is_empty());
    }
}
