//! Reads the state of Argo CD and of its Applications.
//!
//! Not allowed here: evaluation, which is in `status`. I/O: the workload cluster's API, reads only, page by page. Of each
//! object only the fields for the roll-up are kept: an Application lists every object that it manages.

use kube::Client;
use kube::core::params::ListParams;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::input::NAME;
use super::sync::APPLICATION;
use crate::agents::adoption::{MetadataMap, metadata_map};
use crate::agents::roll_up::is_updating;
use crate::workload::error::CallError;
use crate::workload::kept::{first_items, last_item, metadata_map_size, truncated};
use crate::workload::list::{self, MemorySize};
use crate::workload::object::or_default;

/// Applications are large.
const PAGE: u32 = 50;

/// Everything that the roll-up needs.
#[derive(Debug, Default)]
pub struct Observation {
    pub applications: Vec<Application>,
    pub components: Vec<Component>,
}

impl Observation {
    /// The Application that syncs the cluster's path.
    pub fn root(&self) -> Option<&Application> {
        self.applications.iter().find(|application| application.metadata.name == NAME)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Application {
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
    #[serde(deserialize_with = "truncated")]
    pub name: String,
    #[serde(deserialize_with = "truncated")]
    pub namespace: String,
    pub generation: i64,
    #[serde(deserialize_with = "metadata_map")]
    pub labels: MetadataMap,
    #[serde(deserialize_with = "metadata_map")]
    pub annotations: MetadataMap,
    pub creation_timestamp: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub source: Source,
    #[serde(deserialize_with = "or_default")]
    pub sync_policy: SyncPolicy,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    #[serde(rename = "repoURL", deserialize_with = "truncated")]
    pub repo_url: String,
    #[serde(deserialize_with = "truncated")]
    pub path: String,
    #[serde(deserialize_with = "truncated")]
    pub target_revision: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SyncPolicy {
    pub automated: Option<Automated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Automated {
    /// Absent means true.
    pub enabled: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    #[serde(deserialize_with = "or_default")]
    pub sync: Sync,
    #[serde(deserialize_with = "or_default")]
    pub health: Health,
    #[serde(deserialize_with = "first_items")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub operation_state: Operation,
    /// The last successful sync.
    #[serde(deserialize_with = "last_item")]
    pub history: Vec<Deployed>,
    #[serde(deserialize_with = "count")]
    pub resources: usize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sync {
    /// `Synced`, `OutOfSync`, `Unknown`.
    #[serde(deserialize_with = "truncated")]
    pub status: String,
    /// The revision that the cluster was last compared with.
    #[serde(deserialize_with = "truncated")]
    pub revision: String,
    #[serde(deserialize_with = "or_default")]
    pub compared_to: ComparedTo,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ComparedTo {
    #[serde(deserialize_with = "or_default")]
    pub source: Source,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`, `Unknown`.
    #[serde(deserialize_with = "truncated")]
    pub status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type", deserialize_with = "truncated")]
    pub kind: String,
    #[serde(deserialize_with = "truncated")]
    pub message: String,
}

/// The sync in progress, or the last one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    /// `Running`, `Succeeded`, `Failed`, `Error`, `Terminating`; empty before the first.
    #[serde(deserialize_with = "truncated")]
    pub phase: String,
    #[serde(deserialize_with = "truncated")]
    pub message: String,
    /// Retries; above zero, the last try failed.
    pub retry_count: i64,
    #[serde(deserialize_with = "or_default")]
    pub sync_result: Deployed,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployed {
    #[serde(deserialize_with = "truncated")]
    pub revision: String,
}

/// A Deployment or StatefulSet of Argo CD.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Component {
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: ComponentSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub status: ComponentStatus,
}

impl Component {
    /// Whether older pods still run.
    pub fn is_updating(&self) -> bool {
        let ComponentStatus { replicas, updated_replicas, observed_generation, .. } = self.status;
        is_updating((replicas, updated_replicas), (self.metadata.generation, observed_generation))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ComponentSpec {
    pub replicas: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Template {
    #[serde(deserialize_with = "or_default")]
    pub spec: PodSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodSpec {
    #[serde(deserialize_with = "first_items")]
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    #[serde(deserialize_with = "truncated")]
    pub image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ComponentStatus {
    pub ready_replicas: i32,
    pub replicas: i32,
    pub updated_replicas: i32,
    pub observed_generation: i64,
    #[serde(deserialize_with = "first_items")]
    pub conditions: Vec<ComponentCondition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ComponentCondition {
    #[serde(deserialize_with = "truncated")]
    pub status: String,
    #[serde(deserialize_with = "truncated")]
    pub message: String,
}

/// The length of a list, without its items.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Ok(Option::<Vec<IgnoredAny>>::deserialize(deserializer)?.map_or(0, |items| items.len()))
}

impl MemorySize for Application {
    fn size(&self) -> usize {
        let Self { metadata, status, .. } = self;
        let conditions = status.conditions.iter().map(|condition| size_of::<Condition>() + condition.message.len());
        metadata_map_size(&metadata.labels)
            + metadata_map_size(&metadata.annotations)
            + conditions.sum::<usize>()
            + status.operation_state.message.len()
    }
}

impl MemorySize for Component {
    fn size(&self) -> usize {
        let conditions = self.status.conditions.iter().map(|condition| condition.message.len() + 64);
        let containers = self.spec.template.spec.containers.iter().map(|container| container.image.len() + 32);
        metadata_map_size(&self.metadata.labels)
            + metadata_map_size(&self.metadata.annotations)
            + conditions.chain(containers).sum::<usize>()
    }
}

/// Reads everything. A kind that is not served has no objects.
pub async fn observe(client: &Client, namespace: &str) -> Result<Observation, CallError> {
    let all = ListParams::default();
    let (applications, components) =
        tokio::try_join!(list(client, APPLICATION, namespace, &all), components(client, namespace))?;
    Ok(Observation { applications, components })
}

/// Reads Argo CD's Deployments and StatefulSets.
pub async fn components(client: &Client, namespace: &str) -> Result<Vec<Component>, CallError> {
    let agent = ListParams::default().labels("app.kubernetes.io/part-of=argocd");
    let (mut components, stateful) = tokio::try_join!(
        list::<Component>(client, ("apps/v1", "Deployment"), namespace, &agent),
        list::<Component>(client, ("apps/v1", "StatefulSet"), namespace, &agent),
    )?;
    components.extend(stateful);
    Ok(components)
}

async fn list<T: DeserializeOwned + MemorySize>(
    client: &Client,
    kind: (&str, &str),
    namespace: &str,
    parameters: &ListParams,
) -> Result<Vec<T>, CallError> {
    list::all(client, kind, Some(namespace), parameters, PAGE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_without_status_is_parsed() {
        let found: Application =
            serde_json::from_str(r#"{"metadata": {"name": "a", "labels": null}, "spec": {"syncPolicy": null}}"#)
                .unwrap();
        assert_eq!(found.metadata.name, "a");
        assert!(found.status.conditions.is_empty());
    }

    #[test]
    fn only_the_number_of_managed_objects_is_kept() {
        let found: Application =
            serde_json::from_str(r#"{"status": {"resources": [{"kind": "Service"}, {"kind": "Deployment"}]}}"#)
                .unwrap();
        assert_eq!(found.status.resources, 2);
    }
}
