//! Deletes objects of a workload cluster whose controllers then delete resources in AWS, and describes what is left and why.
//!
//! Not allowed here: which objects, how long to wait; AWS. I/O: the workload cluster's API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::core::params::{DeleteParams, ListParams};
use serde::Deserialize;

use super::answer;
use super::error::CallError;
use super::kept::{first_items, first_strings, truncated, truncated_or_none};
use super::list::{ListFlow, for_each};
use super::object::{ObjectId, collection, or_default};
use crate::api::listing::{first_few_joined, with_rest};

const PAGE: u32 = 200;
/// Objects that are listed by name; the rest are counted.
const MAX_NAMED: usize = 5;
/// Objects of a kind that a pass deletes; the next pass deletes more.
const MAX_DELETED: usize = 500;
/// Objects whose deletion is remembered.
const MAX_REMEMBERED: usize = 2000;
/// Finalizers of an object that are kept.
const MAX_FINALIZERS: usize = 5;
/// After this, a finalizer that is still there is worth a word: controllers need about a minute for a load balancer.
const USUAL: SignedDuration = SignedDuration::from_secs(90);

/// Controllers by their finalizers' prefixes, with the label of their Deployment. Finalizers of others are only named.
const CONTROLLERS: [(&str, &str, &str); 7] = [
    ("service.k8s.aws/", "AWS Load Balancer Controller", "aws-load-balancer-controller"),
    ("ingress.k8s.aws/", "AWS Load Balancer Controller", "aws-load-balancer-controller"),
    ("group.ingress.k8s.aws/", "AWS Load Balancer Controller", "aws-load-balancer-controller"),
    ("gateway.k8s.aws/", "AWS Load Balancer Controller", "aws-load-balancer-controller"),
    ("elbv2.k8s.aws/", "AWS Load Balancer Controller", "aws-load-balancer-controller"),
    ("karpenter.sh/", "Karpenter", "karpenter"),
    ("karpenter.k8s.aws/", "Karpenter", "karpenter"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "truncated_or_none")]
    namespace: Option<String>,
    #[serde(deserialize_with = "truncated")]
    uid: String,
    #[serde(deserialize_with = "truncated_or_none")]
    deletion_timestamp: Option<String>,
    #[serde(deserialize_with = "first_strings")]
    finalizers: Vec<String>,
    #[serde(deserialize_with = "first_items")]
    owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "first_items")]
    managed_fields: Vec<ManagedFields>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    #[serde(deserialize_with = "truncated")]
    kind: String,
    #[serde(deserialize_with = "truncated")]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ManagedFields {
    #[serde(deserialize_with = "truncated")]
    manager: String,
}

/// An object to delete, with the fields that its caller decides by.
#[derive(Debug, Deserialize)]
pub struct ObjectToDelete<S: Default, T: Default> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, bound(deserialize = "S: Default + Deserialize<'de>"), deserialize_with = "or_default")]
    pub spec: S,
    #[serde(default, bound(deserialize = "T: Default + Deserialize<'de>"), deserialize_with = "or_default")]
    pub status: T,
}

/// What earlier passes deleted: the UID by object.
#[derive(Clone, Debug, Default)]
pub struct Deleted(BTreeMap<ObjectId, String>);

/// An object that still existed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    id: ObjectId,
    uid: String,
    /// Its address or instance, for a search in AWS.
    detail: Option<String>,
    deleted_at: Option<Timestamp>,
    finalizers: Vec<String>,
    /// Who wrote it.
    writer: String,
    /// It was created again after its deletion.
    is_put_back: bool,
}

/// Objects that still existed when they were listed; the caller lists them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    items: Vec<Item>,
    total: usize,
    /// Something that creates objects again was still running: what it created meanwhile is not in the list.
    settling: bool,
    /// Names of controllers that have no ready Pod.
    absent: BTreeSet<&'static str>,
}

impl Remaining {
    /// Whether none existed, and nothing creates another.
    pub fn is_empty(&self) -> bool {
        self.total == 0 && !self.settling
    }

    /// The same, if something was still running that may have created objects after they were listed.
    pub fn settling(self, settling: bool) -> Self {
        Self { settling, ..self }
    }

    /// Why some of them do not go, from `usual` after their deletion; empty if that is not known.
    fn reasons(&self, now: Timestamp, usual: SignedDuration) -> Vec<String> {
        let mut reasons = Vec::new();
        for Item { id, deleted_at, finalizers, writer, is_put_back, .. } in &self.items {
            if *is_put_back {
                reasons.push(format!("{id} was deleted and created again by {writer}: stop it"));
            }
            let Some(at) = deleted_at.filter(|at| now.duration_since(*at) >= usual) else { continue };
            if finalizers.is_empty() {
                continue;
            }
            let absent = finalizers.iter().find_map(|finalizer| controller_of(finalizer));
            let why = match absent.filter(|(name, _)| self.absent.contains(name)) {
                Some((name, _)) => format!("{name} has no ready Pod: start it, or delete its resources in AWS by hand"),
                None => "see the log of its controller".to_owned(),
            };
            let held = finalizers.join(", ");
            reasons.push(format!("{id} was deleted at {at} and keeps the finalizer {held}: {why}"));
        }
        reasons
    }

    /// The objects, and why some of them do not go.
    pub fn describe(&self, now: Timestamp, has_given_up: bool) -> String {
        let reasons = self.reasons(now, if has_given_up { SignedDuration::ZERO } else { USUAL });
        let what = if self.total == 0 {
            "what creates them again to stop".to_owned()
        } else {
            format!("{self} to be deleted")
        };
        if reasons.is_empty() { what } else { format!("{what} ({})", first_few_joined(reasons, 3, "; ", "; and ")) }
    }
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self
            .items
            .iter()
            .take(MAX_NAMED)
            .map(|item| match &item.detail {
                Some(detail) => format!("{} ({detail})", item.id),
                None => item.id.to_string(),
            })
            .collect();
        f.write_str(&with_rest(named.join(", "), self.total.saturating_sub(named.len()), " and "))
    }
}

impl Item {
    fn new((api_version, kind): (&str, &str), metadata: Metadata, detail: Option<String>) -> Self {
        let writer = writer(&metadata);
        let Metadata { name, namespace, uid, deletion_timestamp, mut finalizers, .. } = metadata;
        finalizers.truncate(MAX_FINALIZERS);
        let id = ObjectId { api_version: api_version.to_owned(), kind: kind.to_owned(), namespace, name };
        // One that cannot be read is in the past.
        let deleted_at = deletion_timestamp.map(|at| at.parse().unwrap_or(Timestamp::UNIX_EPOCH));
        Self { id, uid, detail, deleted_at, finalizers, writer, is_put_back: false }
    }
}

fn controller_of(finalizer: &str) -> Option<(&'static str, &'static str)> {
    let known = CONTROLLERS.iter().find(|(prefix, ..)| finalizer.starts_with(prefix));
    known.map(|(_, name, label)| (*name, *label))
}

/// Who wrote an object: what owns it, or the first field manager.
fn writer(metadata: &Metadata) -> String {
    let owner = metadata.owner_references.first().map(|owner| format!("{} {}", owner.kind, owner.name));
    let manager = || metadata.managed_fields.first().map(|fields| format!("{:?}", fields.manager));
    owner.or_else(manager).unwrap_or_else(|| "somebody".to_owned())
}

/// One pass over the objects that are deleted.
pub struct DeletionPass<'a> {
    client: &'a Client,
    deleted: &'a mut Deleted,
    remaining: Remaining,
    /// The first refusal. It does not stop the deletion of others.
    failed: Option<CallError>,
}

impl<'a> DeletionPass<'a> {
    /// Starts a pass that knows what earlier ones `deleted`.
    pub fn new(client: &'a Client, deleted: &'a mut Deleted) -> Self {
        Self { client, deleted, remaining: Remaining::default(), failed: None }
    }

    /// Deletes all objects of a kind that `is_doomed`, with a detail for messages; `None`: it stays. An object that is
    /// served in several versions counts once.
    pub async fn delete<S, T>(
        &mut self,
        (api_version, kind): (&str, &str),
        is_doomed: impl Fn(&ObjectToDelete<S, T>) -> Option<Option<String>>,
    ) -> Result<(), CallError>
    where
        S: Default + serde::de::DeserializeOwned,
        T: Default + serde::de::DeserializeOwned,
    {
        let (mut found, mut rest) = (Vec::new(), 0);
        for_each(
            self.client,
            (api_version, kind),
            None,
            &ListParams::default(),
            PAGE,
            |object: ObjectToDelete<S, T>| {
                match is_doomed(&object) {
                    Some(detail) if found.len() < MAX_DELETED => {
                        found.push(Item::new((api_version, kind), object.metadata, detail));
                    }
                    Some(_) => rest += 1,
                    None => {}
                }
                ListFlow::Continue
            },
        )
        .await?;
        self.remaining.total += rest;
        for item in found {
            let is_same = |other: &Item| other.id.is_called(&item.id);
            if self.remaining.items.iter().any(is_same) {
                continue;
            }
            self.remaining.total += 1;
            let is_put_back = self.deleted.0.get(&item.id).is_some_and(|uid| *uid != item.uid);
            if item.deleted_at.is_none() {
                if let Err(error) = delete(self.client, &item.id).await {
                    self.failed.get_or_insert(error);
                } else if self.deleted.0.len() < MAX_REMEMBERED {
                    self.deleted.0.entry(item.id.clone()).or_insert_with(|| item.uid.clone());
                }
            }
            self.remaining.items.push(Item { is_put_back, ..item });
        }
        Ok(())
    }

    /// Whether nothing remained so far.
    pub fn is_clear(&self) -> bool {
        self.remaining.total == 0 && self.failed.is_none()
    }

    /// The objects that existed.
    ///
    /// # Errors
    /// The API server's first refusal.
    pub async fn end(mut self) -> Result<Remaining, CallError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let held = self.remaining.items.iter().filter(|item| item.deleted_at.is_some());
        let controllers: BTreeSet<_> =
            held.flat_map(|item| &item.finalizers).filter_map(|one| controller_of(one)).collect();
        for (name, label) in controllers {
            if !has_ready_pod(self.client, label).await? {
                self.remaining.absent.insert(name);
            }
        }
        Ok(self.remaining)
    }
}

/// Whether a Deployment with that name in its labels has a ready Pod.
async fn has_ready_pod(client: &Client, label: &str) -> Result<bool, CallError> {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Status {
        ready_replicas: Option<i64>,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Deployment {
        #[serde(deserialize_with = "or_default")]
        status: Status,
    }
    let mut is_ready = false;
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={label}"));
    for_each(client, ("apps/v1", "Deployment"), None, &selector, PAGE, |deployment: Deployment| {
        is_ready |= deployment.status.ready_replicas.is_some_and(|ready| ready > 0);
        ListFlow::Continue
    })
    .await?;
    Ok(is_ready)
}

async fn delete(client: &Client, id: &ObjectId) -> Result<(), CallError> {
    let requests = collection(&id.api_version, &id.kind, id.namespace.as_deref());
    let request = requests.delete(&id.name, &DeleteParams::background()).map_err(kube::Error::BuildRequest)?;
    match answer::send(client, request).await {
        Ok(_) | Err(CallError::NotFound) => Ok(()),
        Err(other) => Err(other),
    }
}
