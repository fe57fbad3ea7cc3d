//! Server-side apply of single objects, with the rules of seeding.
//!
//! May not enter: which objects, and which agent. I/O: the workload cluster's API.
//!
//! Every write names the resourceVersion it was decided on, so that an object that Git adopts in between is left to Git.

use std::sync::Mutex;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Client;
use kube::core::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use serde::Deserialize;

use super::adoption::{AdoptionMarker, FIELD_MANAGER, Marks, is_ours, remainder};
use super::answer;
use super::error::{CallError, NotApplied};
use super::kept::{few, marks, short, short_or_none};
use super::list::{self, Go};
use super::memory::{Applied, Mark, Memory};
use super::object::{MANAGED_BY, Object, ObjectId, collection};
use super::workload::{Workload, locked};

/// Tries of a write that someone else's write keeps overtaking.
const TRIES: usize = 4;
/// Objects of one cluster that are applied side by side: each is parsed when its turn comes.
pub const SIDE_BY_SIDE: usize = 6;
/// Objects of a page of what may have to be deleted, and how many are at a time.
const PAGE: u32 = 100;
const MOST_PRUNED: usize = 100;

/// Until when an object is ours to apply.
#[derive(Debug, Clone, Copy)]
pub enum OwnershipPolicy {
    /// Until Git has adopted it, which the agent's sign tells.
    UntilAdopted(AdoptionMarker),
    /// The same, but what is there stays as it is: it goes with a version that Git has and we do not.
    WhereMissing(AdoptionMarker),
    ForGood,
}

/// What applying came to, over many objects.
#[derive(Debug, Default)]
pub struct Results {
    /// What was created or changed, sorted.
    pub changed: Vec<ObjectId>,
    /// What Git has adopted and was let go of just now, sorted.
    pub released: Vec<ObjectId>,
    /// How many belong to Git and were let go of before.
    pub adopted: usize,
    pub failed: Vec<NotApplied>,
}

/// What applying came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Configured,
    Unchanged,
    Adopted,
    /// Adopted, and our fields were given up.
    LetGo,
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
    #[serde(default, deserialize_with = "short")]
    name: String,
    #[serde(default, deserialize_with = "short")]
    resource_version: String,
    #[serde(default, deserialize_with = "marks")]
    labels: Marks,
    #[serde(default, deserialize_with = "marks")]
    annotations: Marks,
    #[serde(default, deserialize_with = "few")]
    managed_fields: Vec<ManagedFieldsEntry>,
    #[serde(default, deserialize_with = "short_or_none")]
    deletion_timestamp: Option<String>,
    #[serde(default, deserialize_with = "short_or_none")]
    uid: Option<String>,
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
    tenure: OwnershipPolicy,
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
            Ok(Outcome::LetGo) => {
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
            Err(CallError::NotFound) => "its kind is not served, or its namespace is gone".into(),
            Err(CallError::Conflict | CallError::Expired) => "something else keeps writing it".into(),
        };
        results.failed.push(NotApplied { object, why });
    }
    results.changed.sort();
    results.released.sort();
    Ok(())
}

/// What is to be done about an object.
enum Next<'a> {
    Nothing(Outcome),
    Apply,
    /// This is what remains ours.
    LetGo(Object, &'a Metadata),
}

fn next<'a>(object: &Object, tenure: OwnershipPolicy, seen: Option<&'a Metadata>) -> Next<'a> {
    let (Some(seen), OwnershipPolicy::UntilAdopted(sign) | OwnershipPolicy::WhereMissing(sign)) = (seen, tenure) else {
        return Next::Apply;
    };
    if !(sign.adopted)(&seen.labels, &seen.annotations) {
        return match tenure {
            OwnershipPolicy::WhereMissing(_) => Next::Nothing(Outcome::Unchanged),
            _ => Next::Apply,
        };
    }
    match remainder(object, sign.kept, &seen.managed_fields) {
        Some(remainder) => Next::LetGo(remainder, seen),
        None => Next::Nothing(Outcome::Adopted),
    }
}

/// Makes the object what it should be, unless it is already or belongs to Git. What belongs to Git is let go of, once.
pub async fn ensure(
    client: &Client,
    memory: &Mutex<Memory>,
    object: &Object,
    tenure: OwnershipPolicy,
) -> Result<Outcome, CallError> {
    for _ in 0..TRIES {
        let seen = metadata(client, &object.id).await?;
        let result = match next(object, tenure, seen.as_ref()) {
            Next::Nothing(outcome) => return Ok(outcome),
            Next::LetGo(remainder, seen) => release(client, memory, &remainder, seen).await,
            Next::Apply => apply(client, memory, object, seen.as_ref()).await,
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
    seen: Option<&Metadata>,
) -> Result<Outcome, CallError> {
    let digest = object.digest();
    if let Some(seen) = seen {
        if locked(memory).holds(&object.id, digest, &seen.mark(), Instant::now()) {
            return Ok(Outcome::Unchanged);
        }
        if seen.deletion_timestamp.is_some() {
            return Err(CallError::Refused("it is being deleted; it is made again when it is gone".into()));
        }
    }
    let before = seen.map(|seen| seen.resource_version.as_str());
    let after = patch(client, object, before).await?;
    remember(memory, object, digest, after.mark());
    Ok(match before {
        None => Outcome::Created,
        Some(version) if version == after.resource_version => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    })
}

/// Gives up all but the remainder. Where that is refused, Git holds a part of the object only, which is nothing without ours: it stays as
/// it is until somebody changes it.
async fn release(
    client: &Client,
    memory: &Mutex<Memory>,
    remainder: &Object,
    seen: &Metadata,
) -> Result<Outcome, CallError> {
    let digest = remainder.digest();
    if locked(memory).holds(&remainder.id, digest, &seen.mark(), Instant::now()) {
        return Ok(Outcome::Adopted);
    }
    match patch(client, remainder, Some(&seen.resource_version)).await {
        Ok(_) => {
            // Should Git lose it, it is to be applied whatever was applied before.
            locked(memory).objects.remove(&remainder.id);
            Ok(Outcome::LetGo)
        }
        Err(CallError::Refused(why)) => {
            tracing::warn!(object = %remainder.id, why, "Git has adopted it, but not all of it: our fields stay");
            remember(memory, remainder, digest, seen.mark());
            Ok(Outcome::Adopted)
        }
        Err(other) => Err(other),
    }
}

fn remember(memory: &Mutex<Memory>, object: &Object, digest: u64, mark: Mark) {
    locked(memory).objects.insert(object.id.clone(), Applied { digest, mark, at: Instant::now() });
}

/// Deletes an object that we applied and Git has not adopted. Whether there was one.
pub async fn delete_ours(client: &Client, id: &ObjectId, sign: AdoptionMarker) -> Result<bool, CallError> {
    let Some(seen) = metadata(client, id).await? else { return Ok(false) };
    let adopted = (sign.adopted)(&seen.labels, &seen.annotations);
    if !seen.managed_fields.iter().any(is_ours) || adopted || seen.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let preconditions = Preconditions { uid: seen.uid, resource_version: Some(seen.resource_version) };
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

/// Objects of one kind that carry the labels, and of which those are deleted that are ours and no longer wanted.
#[derive(Debug, Clone, Copy)]
pub struct Gathered<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub namespace: Option<&'a str>,
    pub selector: &'a str,
}

/// Deletes what we applied and is no longer wanted, and never what Git has adopted.
pub async fn prune(
    client: &Client,
    gathered: Gathered<'_>,
    is_wanted: impl Fn(&ObjectId) -> bool,
    sign: AdoptionMarker,
) -> Result<Vec<ObjectId>, CallError> {
    let Gathered { api_version, kind, namespace, selector } = gathered;
    let requests = collection(api_version, kind, namespace);
    let parameters = ListParams::default().labels(selector);
    let mut unwanted = Vec::new();
    list::each_metadata(client, (api_version, kind), namespace, &parameters, PAGE, |Answer { metadata }| {
        let id = ObjectId {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: metadata.name,
        };
        let ours = metadata.managed_fields.iter().any(is_ours);
        let adopted = (sign.adopted)(&metadata.labels, &metadata.annotations);
        if ours && !adopted && !is_wanted(&id) {
            unwanted.push((id, metadata.uid, metadata.resource_version));
        }
        // What is left is judged next time.
        if unwanted.len() < MOST_PRUNED { Go::On } else { Go::Enough }
    })
    .await?;
    let mut deleted = Vec::new();
    for (id, uid, resource_version) in unwanted {
        let preconditions = Preconditions { uid, resource_version: Some(resource_version) };
        let parameters = DeleteParams::default().preconditions(preconditions);
        let request = requests.delete(&id.name, &parameters).map_err(kube::Error::BuildRequest)?;
        match answer::send(client, request).await {
            Ok(_) => deleted.push(id),
            // Someone was at it in between: it is judged anew next time.
            Err(CallError::NotFound | CallError::Conflict) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(deleted)
}

/// Deletes our copies of Secrets in a namespace that are no longer wanted.
pub async fn prune_secrets(
    client: &Client,
    namespace: &str,
    wanted: &[Object],
    sign: AdoptionMarker,
) -> Result<Vec<ObjectId>, CallError> {
    let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
    let namespace = Some(namespace);
    let secrets = Gathered { api_version: "v1", kind: "Secret", namespace, selector: &selector };
    prune(client, secrets, |id| wanted.iter().any(|object| object.id == *id), sign).await
}
