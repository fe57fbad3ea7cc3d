//! A guard against mass deletion: a bad merge in Git must not delete a fleet. When more than a few clusters are to be deleted
//! within an hour, in one namespace or in all together, the rest wait for a person; so does what is deleted only because its
//! kind or its namespace is. What began is kept in a ConfigMap beside the Lease, so that a restart does not begin to count anew.
//! I/O: the management cluster's API.

mod release;
mod removal;
mod table;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

pub use release::Release;
pub use removal::Removal;
use table::Table;
pub use table::{Exceeded, Limits, Verdict};

use super::apply::{Kind, MANAGER, describe_error};
use crate::aws::WriteGate;

/// How often what is held is reconciled while something around it is being deleted: the annotation that may release it stands on an
/// object that is not watched.
pub const REMOVAL_INTERVAL: SignedDuration = SignedDuration::from_secs(15);
/// An API server that does not answer must not hold up a reconcile.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts deletions.
pub struct Guard {
    client: Client,
    limits: Limits,
    /// Where they are kept; none: a single process outside a cluster, which only remembers them.
    kept: Option<(Api<ConfigMap>, String)>,
    gate: Arc<dyn WriteGate>,
    /// As it stands in the ConfigMap. `None`: not read yet.
    known: tokio::sync::Mutex<Option<Table>>,
}

impl Guard {
    /// Lets as many deletions begin within an hour as `limits` allow, kept in the ConfigMap `namespace/name`.
    pub fn new(client: &Client, kept: Option<&(String, String)>, limits: Limits, gate: Arc<dyn WriteGate>) -> Self {
        let kept = kept.map(|(namespace, name)| (Api::namespaced(client.clone(), namespace), name.clone()));
        Self { client: client.clone(), limits, kept, gate, known: tokio::sync::Mutex::default() }
    }

    /// How many may begin within an hour.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the deletion of the cluster `uid` has begun, or was approved.
    ///
    /// # Errors
    /// Why that cannot be read.
    pub async fn has_begun(&self, uid: &str) -> Result<bool, String> {
        self.change(|table| table.has_begun(uid)).await
    }

    /// What is being deleted around an object of kind `K`, so that it may be deleted without anybody having meant it.
    ///
    /// # Errors
    /// Why it cannot be told: then nothing may be deleted.
    pub async fn removal<K: Kind>(&self, namespace: &str) -> Result<Option<Removal>, String> {
        let found = tokio::time::timeout(PATIENCE, removal::find::<K>(&self.client, namespace)).await;
        found.map_err(|_| "the API server does not answer".to_owned())?
    }

    /// Whether the deletion of the object `uid`, called `namespace/name`, may begin. `is_there`: whether an object exists still.
    ///
    /// # Errors
    /// Why it cannot be told: nothing may begin that is not counted.
    pub async fn ask(&self, uid: &str, name: &str, is_there: impl Fn(&str) -> bool) -> Result<Verdict, String> {
        let now = Timestamp::now();
        let limits = self.limits;
        self.change(|table| {
            table.tidy(now, is_there);
            table.ask(uid, name, now, limits)
        })
        .await
    }

    /// A person agrees to it.
    ///
    /// # Errors
    /// Why that cannot be kept.
    pub async fn approve(&self, uid: &str, name: &str) -> Result<(), String> {
        self.change(|table| table.approve(uid, name, Timestamp::now())).await
    }

    /// Nothing is answered before it is kept.
    async fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> Result<T, String> {
        let changed = tokio::time::timeout(PATIENCE, self.changed(change)).await;
        changed.map_err(|_| "the API server does not answer".to_owned())?
    }

    async fn changed<T>(&self, change: impl FnOnce(&mut Table) -> T) -> Result<T, String> {
        let mut known = self.known.lock().await;
        let before = match known.take() {
            Some(table) => table,
            None => self.read().await?,
        };
        let mut table = before.clone();
        let answer = change(&mut table);
        if table != before
            && let Some((api, name)) = &self.kept
        {
            if !self.gate.may_write() {
                return Err("this replica does not lead any more".to_owned());
            }
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            let object = ConfigMap { metadata, data: Some(table.encode()), ..ConfigMap::default() };
            let (params, object) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&object));
            // Should the answer be lost it is read anew: `known` is empty until then.
            api.patch(name, &params, &object).await.map_err(|error| describe_error(&error))?;
        }
        *known = Some(table);
        Ok(answer)
    }

    async fn read(&self) -> Result<Table, String> {
        let Some((api, name)) = &self.kept else { return Ok(Table::default()) };
        let data = api.get_opt(name).await.map_err(|error| describe_error(&error))?.and_then(|object| object.data);
        Table::decode(&data.unwrap_or_default())
            .map_err(|why| format!("ConfigMap {name} cannot be read ({why}): mend it, or delete it to count anew"))
    }
}
