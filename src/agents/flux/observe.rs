//! Reads the state of Flux and of the objects it applies.
//!
//! Not allowed here: evaluation, which is in `status`. I/O: the workload cluster's API, reads only, page by page. Of each
//! object only the fields for the roll-up are kept.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::params::{GetParams, ListParams};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::input::{NAME, NAMESPACE};
use super::inventory::Inventory;
use super::source::{GIT_REPOSITORY, OCI_REPOSITORY};
use super::sync::{HELM_RELEASE, KUSTOMIZATION};
use crate::agents::adoption::metadata_map;
use crate::agents::roll_up::is_updating;
use crate::workload::answer;
use crate::workload::error::CallError;
use crate::workload::kept::{first_items, metadata_map_size, truncated, truncated_or_none};
use crate::workload::list::{self, ListFlow, MemorySize};
use crate::workload::object::{collection, or_default};

const PAGE: u32 = 200;

/// Everything that the roll-up needs.
#[derive(Debug, Default)]
pub struct Observation {
    pub source: Option<FluxObject>,
    pub kustomizations: Vec<FluxObject>,
    pub helm_releases: Vec<FluxObject>,
    pub controllers: Vec<Controller>,
}

impl Observation {
    /// Whether any object uses Flux's own source of that kind.
    pub fn is_referred_to(&self, kind: &str) -> bool {
        self.kustomizations.iter().chain(&self.helm_releases).any(|object| object.is_from(kind))
    }
}

/// The fields that sources, Kustomizations and HelmReleases share.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct FluxObject {
    /// Empty for items of a list, which carry no kind.
    #[serde(default, deserialize_with = "truncated")]
    pub kind: String,
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
    pub labels: BTreeMap<String, String>,
    pub creation_timestamp: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    pub suspend: bool,
    #[serde(deserialize_with = "truncated_or_none")]
    pub url: Option<String>,
    pub source_ref: Option<SourceRef>,
    pub chart: Option<Chart>,
}

/// The source of a Kustomization or a chart; an empty namespace means the object's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SourceRef {
    #[serde(deserialize_with = "truncated")]
    pub kind: String,
    #[serde(deserialize_with = "truncated")]
    pub name: String,
    #[serde(deserialize_with = "truncated")]
    pub namespace: String,
}

/// The chart of a HelmRelease.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Chart {
    #[serde(deserialize_with = "or_default")]
    pub spec: ChartSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ChartSpec {
    pub source_ref: Option<SourceRef>,
}

impl FluxObject {
    /// Its source.
    pub fn source_ref(&self) -> Option<&SourceRef> {
        let of_chart = || self.spec.chart.as_ref()?.spec.source_ref.as_ref();
        self.spec.source_ref.as_ref().or_else(of_chart)
    }

    /// Whether its source is Flux's own one of that kind.
    pub fn is_from(&self, kind: &str) -> bool {
        self.source_ref().is_some_and(|source| {
            let namespace = if source.namespace.is_empty() { &self.metadata.namespace } else { &source.namespace };
            (source.kind.as_str(), source.name.as_str(), namespace.as_str()) == (kind, NAME, NAMESPACE)
        })
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub observed_generation: i64,
    #[serde(deserialize_with = "first_items")]
    pub conditions: Vec<Condition>,
    pub artifact: Option<Artifact>,
    #[serde(deserialize_with = "truncated_or_none")]
    pub last_attempted_revision: Option<String>,
    #[serde(deserialize_with = "truncated_or_none")]
    pub last_applied_revision: Option<String>,
    /// The objects that it applied.
    #[serde(deserialize_with = "or_default")]
    pub inventory: Inventory,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type", deserialize_with = "truncated")]
    pub kind: String,
    #[serde(deserialize_with = "truncated")]
    pub status: String,
    #[serde(deserialize_with = "truncated")]
    pub reason: String,
    #[serde(deserialize_with = "truncated")]
    pub message: String,
    pub observed_generation: i64,
    pub last_transition_time: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Artifact {
    #[serde(deserialize_with = "truncated")]
    pub revision: String,
    #[serde(deserialize_with = "truncated")]
    pub url: String,
}

/// What source-controller serves of a source of any kind; the other fields differ: `chart` of a HelmChart is a name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServedSource {
    #[serde(deserialize_with = "or_default")]
    spec: ServedSpec,
    #[serde(deserialize_with = "or_default")]
    status: ServedStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServedSpec {
    suspend: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServedStatus {
    artifact: Option<Artifact>,
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
    pub replicas: i32,
    pub updated_replicas: i32,
    pub observed_generation: i64,
    #[serde(deserialize_with = "first_items")]
    pub conditions: Vec<Condition>,
}

impl Controller {
    /// Why it has no ready pod, from its conditions.
    pub fn unready_reason(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.status == "False" && !condition.message.is_empty())
    }

    pub fn is_ready(&self) -> bool {
        self.status.ready_replicas > 0
    }

    /// Whether older pods still run.
    pub fn is_updating(&self) -> bool {
        let ControllerStatus { replicas, updated_replicas, observed_generation, .. } = self.status;
        is_updating((replicas, updated_replicas), (self.metadata.generation, observed_generation))
    }

    /// Since when it has had no ready pod.
    pub fn unready_since(&self) -> Option<jiff::Timestamp> {
        let available = self.status.conditions.iter().find(|condition| condition.kind == "Available")?;
        available.last_transition_time.filter(|_| available.status == "False" && !self.is_ready())
    }
}

impl MemorySize for FluxObject {
    fn size(&self) -> usize {
        metadata_map_size(&self.metadata.labels)
            + size_of_conditions(&self.status.conditions)
            + self.status.inventory.size()
    }
}

impl MemorySize for Controller {
    fn size(&self) -> usize {
        metadata_map_size(&self.metadata.labels) + size_of_conditions(&self.status.conditions)
    }
}

fn size_of_conditions(conditions: &[Condition]) -> usize {
    conditions.iter().map(|condition| size_of::<Condition>() + condition.message.len() + condition.reason.len()).sum()
}

/// Reads everything. A kind that is not served (of an omitted component) has no objects. The source is the one that the
/// root Kustomization names, which Git may have replaced, or `default_source` while there is no root.
pub async fn observe(client: &Client, default_source: (&str, &str)) -> Result<Observation, CallError> {
    let all = ListParams::default();
    let (kustomizations, helm_releases, controllers): (Vec<FluxObject>, _, _) = tokio::try_join!(
        list(client, KUSTOMIZATION, None, &all),
        list(client, HELM_RELEASE, None, &all),
        controllers(client),
    )?;
    let root = kustomizations.iter().find(|kustomization| kustomization.is_root());
    let git_source =
        root.and_then(|root| [GIT_REPOSITORY, OCI_REPOSITORY].into_iter().find(|(_, kind)| root.is_from(kind)));
    let source = one(client, git_source.unwrap_or(default_source)).await?;
    Ok(Observation { source, kustomizations, helm_releases, controllers })
}

/// The agent's Deployments.
pub async fn controllers(client: &Client) -> Result<Vec<Controller>, CallError> {
    let agent = ListParams::default().labels("app.kubernetes.io/part-of=flux");
    list(client, ("apps/v1", "Deployment"), Some(NAMESPACE), &agent).await
}

/// Flux's own Kustomization.
pub async fn root(client: &Client) -> Result<Option<FluxObject>, CallError> {
    one(client, KUSTOMIZATION).await
}

/// Whether an artifact is still at source-controller's address on the host network. It writes a new address into each
/// source that is not suspended soon after it has started.
pub async fn is_served_on_host(client: &Client) -> Result<bool, CallError> {
    for (api_version, kind) in [GIT_REPOSITORY, OCI_REPOSITORY, (GIT_REPOSITORY.0, "HelmChart")] {
        let mut found = false;
        list::for_each(client, (api_version, kind), None, &ListParams::default(), PAGE, |source: ServedSource| {
            let artifact = source.status.artifact.filter(|_| !source.spec.suspend);
            found = artifact.is_some_and(|artifact| artifact.url.starts_with("http://127.0.0.1:"));
            if found { ListFlow::Stop } else { ListFlow::Continue }
        })
        .await?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The object of that kind that is Flux's own.
async fn one(client: &Client, (api_version, kind): (&str, &str)) -> Result<Option<FluxObject>, CallError> {
    let request = collection(api_version, kind, Some(NAMESPACE))
        .get(NAME, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    match answer::request(client, request).await {
        Ok(found) => Ok(Some(found)),
        Err(CallError::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

async fn list<T: DeserializeOwned + MemorySize>(
    client: &Client,
    kind: (&str, &str),
    namespace: Option<&str>,
    parameters: &ListParams,
) -> Result<Vec<T>, CallError> {
    list::all(client, kind, namespace, parameters, PAGE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_without_status_is_parsed() {
        let found: FluxObject =
            serde_json::from_str(r#"{"metadata": {"name": "a", "labels": null}, "spec": {}}"#).unwrap();
        assert_eq!(found.metadata.name, "a");
        assert!(found.status.conditions.is_empty());
    }

    #[test]
    fn source_of_charts_and_kustomizations_is_recognized() {
        let of = |body: &str| serde_json::from_str::<FluxObject>(body).unwrap();
        let source = r#"{"kind": "GitRepository", "name": "flux-system", "namespace": "flux-system"}"#;
        let chart = of(&format!(
            r#"{{"metadata": {{"name": "a", "namespace": "shop"}}, "spec": {{"chart": {{"spec": {{"sourceRef": {source}}}}}}}}}"#
        ));
        assert!(chart.is_from("GitRepository") && !chart.is_from("OCIRepository"));
        let beside = r#"{"metadata": {"namespace": "flux-system"}, "spec": {"sourceRef": {"kind": "OCIRepository", "name": "flux-system"}}}"#;
        assert!(of(beside).is_from("OCIRepository"));
        assert!(
            !of(&beside.replace(r#""namespace": "flux-system""#, r#""namespace": "shop""#)).is_from("OCIRepository")
        );
        assert!(!of("{}").is_from("GitRepository"));
    }

    #[tokio::test]
    async fn artifact_at_the_host_networks_address_is_found_unless_its_source_is_suspended() {
        use serde_json::{Value, json};
        let source = |url: &str, suspend: bool| {
            let of = json!({"kind": "HelmRepository", "name": "cilium"});
            let spec = json!({"chart": "cilium", "version": "1.18.x", "sourceRef": of, "suspend": suspend});
            json!({"spec": spec, "status": {"artifact": {"url": url}}})
        };
        let (host, pods) = ("http://127.0.0.1:9790/a", "http://source-controller.flux-system.svc.cluster.local./a");
        for (charts, expected) in [
            (vec![source(pods, false), source(host, false)], true),
            (vec![source(pods, false), source(host, true), json!({"spec": {}})], false),
        ] {
            let lists: [(&str, Vec<Value>); 3] = [
                ("/apis/source.toolkit.fluxcd.io/v1/gitrepositories", Vec::new()),
                ("/apis/source.toolkit.fluxcd.io/v1/ocirepositories", Vec::new()),
                ("/apis/source.toolkit.fluxcd.io/v1/helmcharts", charts),
            ];
            let client = crate::workload::fake_api::FakeApi::new(lists).client().await;
            assert_eq!(is_served_on_host(&client).await.unwrap(), expected);
        }
    }

    #[test]
    fn null_is_read_as_empty() {
        let found: FluxObject =
            serde_json::from_str(r#"{"metadata": {}, "spec": null, "status": {"conditions": null}}"#).unwrap();
        assert!(found.status.conditions.is_empty());
    }
}
