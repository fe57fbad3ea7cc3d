//! Server-side apply of single objects, until Git adopts them.
//!
//! Not allowed here: which objects, and which agent. I/O: the workload cluster's API.
//!
//! Every write carries the resourceVersion that it was decided on, so that an object that Git adopts meanwhile is left
//! to Git.

use std::time::Instant;

use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Client;
use kube::core::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde::Deserialize;

use super::adoption::{AdoptionMarker, FIELD_MANAGER, MetadataMap, is_applied_by_keelson, metadata_map, release_patch};
use crate::workload::answer;
use crate::workload::client::Workload;
use crate::workload::error::{ApplyFailure, CallError};
use crate::workload::kept::{first_items, truncated, truncated_or_none};
use crate::workload::list::{self, ListFlow};
use crate::workload::memory::{Applied, Memory, ObjectVersion};
use crate::workload::object::{MANAGED_BY, Object, ObjectId, collection};

/// Attempts of a write that conflicts with other clients.
const MAX_ATTEMPTS: usize = 4;
/// Objects of one cluster that are applied concurrently; each is parsed only then.
pub const CONCURRENCY: usize = 6;
/// Objects per page of a prune, and deletions per prune.
const PAGE: u32 = 100;
const MAX_PRUNED: usize = 100;

/// How long Keelson applies an object.
#[derive(Debug, Clone, Copy)]
pub enum OwnershipPolicy {
    /// Until Git has adopted it, as the marker shows.
    UntilAdopted(AdoptionMarker),
    /// Only if it does not exist: existing objects belong to a version that Git installed and that is not built in.
    IfMissing(AdoptionMarker),
    Always,
}

/// Results of applying many objects.
#[derive(Debug, Default)]
pub struct Results {
    /// Created or changed objects, sorted.
    pub changed: Vec<ObjectId>,
    /// Adopted objects that were released by this call, sorted.
    pub released: Vec<ObjectId>,
    /// Number of adopted objects that were released before.
    pub adopted: usize,
    pub failed: Vec<ApplyFailure>,
}

/// Result of applying one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Configured,
    Unchanged,
    Adopted,
    /// Adopted by Git, and Keelson's fields were released.
    Released,
}

/// The fields of an object that applying needs; the rest of a response is skipped while it is parsed.
#[derive(Debug, Deserialize)]
struct Answer {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    generation: Option<i64>,
    #[serde(default, deserialize_with = "truncated")]
    name: String,
    #[serde(default, deserialize_with = "truncated")]
    resource_version: String,
    #[serde(default, deserialize_with = "metadata_map")]
    labels: MetadataMap,
    #[serde(default, deserialize_with = "metadata_map")]
    annotations: MetadataMap,
    #[serde(default, deserialize_with = "first_items")]
    managed_fields: Vec<ManagedFieldsEntry>,
    #[serde(default, deserialize_with = "truncated_or_none")]
    deletion_timestamp: Option<String>,
    #[serde(default, deserialize_with = "truncated_or_none")]
    uid: Option<String>,
}

impl Metadata {
    fn version(&self) -> ObjectVersion {
        match self.generation {
            Some(generation) => ObjectVersion::Generation(generation),
            None => ObjectVersion::ResourceVersion(self.resource_version.clone()),
        }
    }
}

/// Applies objects concurrently. A rejected object does not stop the others; an unreachable cluster does.
pub async fn apply_all(
    workload: &Workload,
    objects: impl Iterator<Item = Object> + Send,
    policy: OwnershipPolicy,
    results: &mut Results,
) -> Result<(), CallError> {
    let mut applied = stream::iter(objects)
        .map(|object| async move {
            let result = ensure(&workload.client, &workload.memory, &object, policy).await;
            (object.id, result)
        })
        .buffer_unordered(CONCURRENCY);
    while let Some((object, result)) = applied.next().await {
        let why = match result {
            Ok(Outcome::Created | Outcome::Configured) => {
                results.changed.push(object);
                continue;
            }
            Ok(Outcome::Released) => {
                results.released.push(object);
                continue;
            }
            Ok(Outcome::Adopted) => {
                results.adopted += 1;
                continue;
            }
            Ok(Outcome::Unchanged) => continue,
            Err(error @ (CallError::Unreachable(_) | CallError::Denied { unauthenticated: true, .. })) => {
                return Err(error);
            }
            Err(CallError::Denied { message, .. }) => message,
            Err(CallError::Refused(message) | CallError::TooLarge(message)) => message,
            Err(CallError::NotFound) => "its kind is not served, or its namespace does not exist".into(),
            Err(CallError::Conflict | CallError::Expired) => "another client keeps changing it".into(),
        };
        results.failed.push(ApplyFailure { object, why });
    }
    results.changed.sort();
    results.released.sort();
    Ok(())
}

/// What to do with an object.
enum NextStep<'a> {
    Nothing(Outcome),
    Apply,
    /// The patch that releases it.
    Release(Object, &'a Metadata),
}

fn next_step<'a>(object: &Object, policy: OwnershipPolicy, observed: Option<&'a Metadata>) -> NextStep<'a> {
    let (Some(observed), OwnershipPolicy::UntilAdopted(marker) | OwnershipPolicy::IfMissing(marker)) =
        (observed, policy)
    else {
        return NextStep::Apply;
    };
    if !(marker.is_adopted)(&observed.labels, &observed.annotations) {
        return match policy {
            OwnershipPolicy::IfMissing(_) => NextStep::Nothing(Outcome::Unchanged),
            _ => NextStep::Apply,
        };
    }
    match release_patch(object, marker.retained, &observed.managed_fields) {
        Some(release_patch) => NextStep::Release(release_patch, observed),
        None => NextStep::Nothing(Outcome::Adopted),
    }
}

/// Applies the object unless it is up to date or Git has adopted it. An adopted object is released once.
pub async fn ensure(
    client: &Client,
    memory: &Mutex<Memory>,
    object: &Object,
    policy: OwnershipPolicy,
) -> Result<Outcome, CallError> {
    for _ in 0..MAX_ATTEMPTS {
        let observed = metadata(client, &object.id).await?;
        let result = match next_step(object, policy, observed.as_ref()) {
            NextStep::Nothing(outcome) => return Ok(outcome),
            NextStep::Release(release_patch, observed) => release(client, memory, &release_patch, observed).await,
            NextStep::Apply => apply(client, memory, object, observed.as_ref()).await,
        };
        match result {
            Err(CallError::Conflict) => {}
            done => return done,
        }
    }
    Err(CallError::Conflict)
}

async fn apply(
    client: &Client,
    memory: &Mutex<Memory>,
    object: &Object,
    observed: Option<&Metadata>,
) -> Result<Outcome, CallError> {
    let digest = object.digest();
    if let Some(observed) = observed {
        if memory.lock().is_unchanged(&object.id, digest, &observed.version(), Instant::now()) {
            return Ok(Outcome::Unchanged);
        }
        if observed.deletion_timestamp.is_some() {
            return Err(CallError::Refused("it is being deleted; Keelson creates it again afterwards".into()));
        }
    }
    let before = observed.map(|observed| observed.resource_version.as_str());
    let after = patch(client, object, before).await?;
    record_applied(memory, object, digest, after.version());
    Ok(match before {
        None => Outcome::Created,
        Some(version) if version == after.resource_version => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    })
}

/// Releases all fields that the patch omits. If the API server rejects that, Git applies only a part of the object,
/// which is invalid without Keelson's fields: it stays unchanged until somebody changes it.
async fn release(
    client: &Client,
    memory: &Mutex<Memory>,
    release_patch: &Object,
    observed: &Metadata,
) -> Result<Outcome, CallError> {
    let digest = release_patch.digest();
    if memory.lock().is_unchanged(&release_patch.id, digest, &observed.version(), Instant::now()) {
        return Ok(Outcome::Adopted);
    }
    match patch(client, release_patch, Some(&observed.resource_version)).await {
        Ok(_) => {
            // If Git loses it, it must be applied again whatever was applied before.
            memory.lock().objects.remove(&release_patch.id);
            Ok(Outcome::Released)
        }
        Err(CallError::Refused(why)) => {
            tracing::warn!(object = %release_patch.id, why, "Git has adopted the object only in part: Keelson's fields stay");
            record_applied(memory, release_patch, digest, observed.version());
            Ok(Outcome::Adopted)
        }
        Err(other) => Err(other),
    }
}

fn record_applied(memory: &Mutex<Memory>, object: &Object, digest: u64, version: ObjectVersion) {
    memory.lock().objects.insert(object.id.clone(), Applied { digest, version, at: Instant::now() });
}

/// Deletes an object that Keelson applied and Git has not adopted. Returns whether there was one.
pub async fn delete_owned(client: &Client, id: &ObjectId, marker: AdoptionMarker) -> Result<bool, CallError> {
    let Some(observed) = metadata(client, id).await? else { return Ok(false) };
    let adopted = (marker.is_adopted)(&observed.labels, &observed.annotations);
    if !observed.managed_fields.iter().any(is_applied_by_keelson) || adopted || observed.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let preconditions = Preconditions { uid: observed.uid, resource_version: Some(observed.resource_version) };
    let parameters = DeleteParams::default().preconditions(preconditions);
    let request = id.request().delete(&id.name, &parameters).map_err(kube::Error::BuildRequest)?;
    match answer::send(client, request).await {
        Ok(_) | Err(CallError::NotFound) => Ok(true),
        Err(other) => Err(other),
    }
}

async fn metadata(client: &Client, id: &ObjectId) -> Result<Option<Metadata>, CallError> {
    let request = id.request().get_metadata(&id.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    match answer::request_metadata::<Answer>(client, request).await {
        Ok(answer) => Ok(Some(answer.metadata)),
        Err(CallError::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

async fn patch(client: &Client, object: &Object, before: Option<&str>) -> Result<Metadata, CallError> {
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let mut body = object.body.clone();
    if let Some(version) = before {
        body["metadata"]["resourceVersion"] = version.into();
    }
    let request = object
        .id
        .request()
        .patch_metadata(&object.id.name, &parameters, &Patch::Apply(&body))
        .map_err(kube::Error::BuildRequest)?;
    Ok(answer::request_metadata::<Answer>(client, request).await?.metadata)
}

/// A kind and a selector of objects to prune: those that Keelson applied and that are no longer desired are deleted.
#[derive(Debug, Clone, Copy)]
pub struct PrunedKind<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub namespace: Option<&'a str>,
    pub selector: &'a str,
}

/// Deletes objects that Keelson applied and that are no longer desired, never those that Git has adopted.
pub async fn prune(
    client: &Client,
    objects: PrunedKind<'_>,
    is_wanted: impl Fn(&ObjectId) -> bool,
    marker: AdoptionMarker,
) -> Result<Vec<ObjectId>, CallError> {
    let PrunedKind { api_version, kind, namespace, selector } = objects;
    let requests = collection(api_version, kind, namespace);
    let parameters = ListParams::default().labels(selector);
    let mut unwanted = Vec::new();
    list::for_each_metadata(client, (api_version, kind), namespace, &parameters, PAGE, |Answer { metadata }| {
        let id = ObjectId {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: metadata.name,
        };
        let applied_by_keelson = metadata.managed_fields.iter().any(is_applied_by_keelson);
        let adopted = (marker.is_adopted)(&metadata.labels, &metadata.annotations);
        if applied_by_keelson && !adopted && !is_wanted(&id) {
            unwanted.push((id, metadata.uid, metadata.resource_version));
        }
        // The rest is pruned next time.
        if unwanted.len() < MAX_PRUNED { ListFlow::Continue } else { ListFlow::Stop }
    })
    .await?;
    let mut deleted = Vec::new();
    for (id, uid, resource_version) in unwanted {
        let preconditions = Preconditions { uid, resource_version: Some(resource_version) };
        let parameters = DeleteParams::default().preconditions(preconditions);
        let request = requests.delete(&id.name, &parameters).map_err(kube::Error::BuildRequest)?;
        match answer::send(client, request).await {
            Ok(_) => deleted.push(id),
            // It was changed meanwhile: decided again next time.
            Err(CallError::NotFound | CallError::Conflict) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(deleted)
}

/// Deletes Keelson's copies of Secrets in a namespace that are no longer desired.
pub async fn prune_secrets(
    client: &Client,
    namespace: &str,
    wanted: &[Object],
    marker: AdoptionMarker,
) -> Result<Vec<ObjectId>, CallError> {
    let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
    let namespace = Some(namespace);
    let secrets = PrunedKind { api_version: "v1", kind: "Secret", namespace, selector: &selector };
    prune(client, secrets, |id| wanted.iter().any(|object| object.id == *id), marker).await
}
