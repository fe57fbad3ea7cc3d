//! Server-side apply of single objects, with the rules of seeding.
//!
//! May not enter: which objects, and which agent. I/O: the workload cluster's API.
//!
//! Every write names the resourceVersion it was decided on, so that an object that Git adopts in between is left to Git.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use kube::Client;
use kube::core::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{DynamicObject, PartialObjectMeta};
use serde::Deserialize;

use super::error::{CallError, NotApplied};
use super::memory::{Applied, Mark, Memory};
use super::object::{MANAGED_BY, Object, ObjectId, collection, or_default};
use super::workload::{Workload, locked};

pub const FIELD_MANAGER: &str = "keelson";
/// Tries of a write that someone else's write keeps overtaking.
const TRIES: usize = 4;
/// Objects of one cluster that are applied side by side: each is parsed when its turn comes.
pub const SIDE_BY_SIDE: usize = 6;

/// Labels, or annotations.
pub type Marks = BTreeMap<String, String>;
/// Whether an object with these labels and annotations is one that the agent applies from Git.
pub type Sign = fn(labels: &Marks, annotations: &Marks) -> bool;

/// Until when an object is ours to apply.
#[derive(Debug, Clone, Copy)]
pub enum Tenure {
    /// Until Git has adopted it, which the agent's sign tells.
    UntilAdopted(Sign),
    ForGood,
}

/// What applying came to, over many objects.
#[derive(Debug, Default)]
pub struct Results {
    /// What was created or changed, sorted.
    pub changed: Vec<ObjectId>,
    pub failed: Vec<NotApplied>,
}

/// What applying came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Configured,
    Unchanged,
    Adopted,
}

/// As much of an object as applying needs; the rest of an answer is skipped while it is parsed.
#[derive(Debug, Deserialize)]
struct Answer {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    generation: Option<i64>,
    #[serde(default)]
    resource_version: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: Marks,
    #[serde(default, deserialize_with = "or_default")]
    annotations: Marks,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    managed_fields: Vec<ManagedFields>,
}

/// Who wrote an object.
#[derive(Debug, Deserialize)]
struct ManagedFields {
    #[serde(default)]
    manager: String,
}

impl Metadata {
    fn mark(&self) -> Mark {
        match self.generation {
            Some(generation) => Mark::Generation(generation),
            None => Mark::ResourceVersion(self.resource_version.clone()),
        }
    }
}

/// Applies objects side by side. One that is not taken does not hold up the others; a cluster that is out of reach does.
pub async fn each(
    workload: &Workload,
    objects: impl Iterator<Item = Object> + Send,
    tenure: Tenure,
    results: &mut Results,
) -> Result<(), CallError> {
    let mut applied = stream::iter(objects)
        .map(|object| async move {
            let result = ensure(&workload.client, &workload.memory, &object, tenure).await;
            (object.id, result)
        })
        .buffer_unordered(SIDE_BY_SIDE);
    while let Some((object, result)) = applied.next().await {
        let why = match result {
            Ok(Outcome::Created | Outcome::Configured) => {
                results.changed.push(object);
                continue;
            }
            Ok(Outcome::Unchanged | Outcome::Adopted) => continue,
            Err(error @ (CallError::Unreachable(_) | CallError::Denied { unauthenticated: true, .. })) => {
                return Err(error);
            }
            Err(CallError::Denied { message, .. }) => message,
            Err(CallError::Refused(message)) => message,
            Err(CallError::NotFound) => "its kind is not served, or its namespace is gone".into(),
            Err(CallError::Conflict) => "something else keeps writing it".into(),
        };
        results.failed.push(NotApplied { object, why });
    }
    results.changed.sort();
    Ok(())
}

/// Makes the object what it should be, unless it is already or belongs to Git.
pub async fn ensure(
    client: &Client,
    memory: &Mutex<Memory>,
    object: &Object,
    tenure: Tenure,
) -> Result<Outcome, CallError> {
    let digest = object.digest();
    for _ in 0..TRIES {
        let seen = metadata(client, &object.id).await?;
        if let Some(seen) = &seen {
            if let Tenure::UntilAdopted(sign) = tenure
                && sign(&seen.labels, &seen.annotations)
            {
                return Ok(Outcome::Adopted);
            }
            if locked(memory).holds(&object.id, digest, &seen.mark(), Instant::now()) {
                return Ok(Outcome::Unchanged);
            }
            if seen.deletion_timestamp.is_some() {
                return Err(CallError::Refused("it is being deleted; it is made again when it is gone".into()));
            }
        }
        let before = seen.as_ref().map(|seen| seen.resource_version.as_str());
        match patch(client, object, before).await {
            Err(CallError::Conflict) => {}
            Err(other) => return Err(other),
            Ok(after) => {
                let outcome = match before {
                    None => Outcome::Created,
                    Some(version) if version == after.resource_version => Outcome::Unchanged,
                    Some(_) => Outcome::Configured,
                };
                let applied = Applied { digest, mark: after.mark(), at: Instant::now() };
                locked(memory).objects.insert(object.id.clone(), applied);
                return Ok(outcome);
            }
        }
    }
    Err(CallError::Conflict)
}

/// Deletes an object that we applied and Git has not adopted. Whether there was one.
pub async fn delete_ours(client: &Client, id: &ObjectId, sign: Sign) -> Result<bool, CallError> {
    let Some(seen) = metadata(client, id).await? else { return Ok(false) };
    let is_ours = seen.managed_fields.iter().any(|fields| fields.manager == FIELD_MANAGER);
    if !is_ours || sign(&seen.labels, &seen.annotations) || seen.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let preconditions = Preconditions { uid: seen.uid, resource_version: Some(seen.resource_version) };
    let parameters = DeleteParams::default().preconditions(preconditions);
    let request = id.request().delete(&id.name, &parameters).map_err(kube::Error::BuildRequest)?;
    match client.request_text(request).await.map_err(CallError::from) {
        Ok(_) | Err(CallError::NotFound) => Ok(true),
        Err(other) => Err(other),
    }
}

async fn metadata(client: &Client, id: &ObjectId) -> Result<Option<Metadata>, CallError> {
    let request = id.request().get_metadata(&id.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    match client.request::<Answer>(request).await.map_err(CallError::from) {
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
    Ok(client.request::<Answer>(request).await?.metadata)
}

/// Whether a CustomResourceDefinition is served.
pub async fn established(client: &Client, id: &ObjectId) -> Result<bool, CallError> {
    #[derive(Deserialize)]
    struct Definition {
        #[serde(default, deserialize_with = "or_default")]
        status: Status,
    }
    #[derive(Deserialize, Default)]
    struct Status {
        #[serde(default, deserialize_with = "or_default")]
        conditions: Vec<Condition>,
    }
    #[derive(Deserialize)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
    }
    let request = id.request().get(&id.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    let definition: Definition = client.request(request).await?;
    Ok(definition
        .status
        .conditions
        .iter()
        .any(|condition| condition.kind == "Established" && condition.status == "True"))
}

/// Deletes our copies of Secrets in a namespace that are no longer wanted, and never what Git has adopted.
pub async fn prune_secrets(
    client: &Client,
    namespace: &str,
    wanted: &[Object],
    sign: Sign,
) -> Result<Vec<ObjectId>, CallError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default, deserialize_with = "or_default")]
        items: Vec<PartialObjectMeta<DynamicObject>>,
    }
    let secrets = collection("v1", "Secret", Some(namespace));
    let selector = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let found: Found = client.request(secrets.list_metadata(&selector).map_err(kube::Error::BuildRequest)?).await?;
    let mut deleted = Vec::new();
    for metadata in found.items.into_iter().map(|item| item.metadata) {
        let name = metadata.name.unwrap_or_default();
        let is_wanted = wanted.iter().any(|object| object.id.kind == "Secret" && object.id.name == name);
        if is_wanted || sign(&metadata.labels.unwrap_or_default(), &metadata.annotations.unwrap_or_default()) {
            continue;
        }
        let preconditions = Preconditions { uid: metadata.uid, resource_version: metadata.resource_version };
        let parameters = DeleteParams::default().preconditions(preconditions);
        let request = secrets.delete(&name, &parameters).map_err(kube::Error::BuildRequest)?;
        match client.request_text(request).await.map_err(CallError::from) {
            Ok(_) | Err(CallError::NotFound) => {}
            Err(other) => return Err(other),
        }
        deleted.push(ObjectId {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: Some(namespace.into()),
            name,
        });
    }
    Ok(deleted)
}
