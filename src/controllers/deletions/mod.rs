//! Guards against mass deletion: a bad merge in Git must not delete a fleet. If more than a few clusters, or node groups
//! of clusters that stay, are to be deleted within an hour, in one namespace or in total, the rest wait for a person; so
//! do objects that are deleted only because their CRD or namespace is. Deletions that began are recorded in a ConfigMap next to the Lease, so that
//! a restart does not reset the count. I/O: the management cluster's API.

mod recent_deletions;
mod release_token;
mod removal;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

pub use recent_deletions::{AllLimits, Counted, Limits};
use recent_deletions::{Tables, Verdict};
pub use release_token::Release;
pub use removal::Removal;

use super::runtime::apply::{Kind, MANAGER, describe_error};
use crate::aws::WriteGate;

/// Requeue interval of a held object while its CRD or namespace is being deleted: the annotation that may release it
/// is on an object that is not watched.
pub const REMOVAL_INTERVAL: SignedDuration = SignedDuration::from_secs(15);
/// An API server that does not answer must not block a reconcile.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Counts deletions and enforces the limits.
pub struct Guard {
    client: Client,
    limits: AllLimits,
    /// The ConfigMap that records them; `None`: a single process outside a cluster, which keeps them in memory.
    configmap: Option<(Api<ConfigMap>, String)>,
    gate: Arc<dyn WriteGate>,
    /// The contents of the ConfigMap. `None`: not read yet.
    cached: tokio::sync::Mutex<Option<Tables>>,
}

impl Guard {
    /// Creates a guard with these limits, recorded in the ConfigMap `namespace/name`.
    pub fn new(
        client: &Client,
        configmap: Option<&(String, String)>,
        limits: AllLimits,
        gate: Arc<dyn WriteGate>,
    ) -> Self {
        let configmap = configmap.map(|(namespace, name)| (Api::namespaced(client.clone(), namespace), name.clone()));
        Self { client: client.clone(), limits, configmap, gate, cached: tokio::sync::Mutex::default() }
    }

    /// Whether the deletion of the cluster `uid` has begun, or was approved.
    ///
    /// # Errors
    /// The record could not be read or written.
    pub async fn has_begun(&self, uid: &str) -> Result<bool, String> {
        self.change(|tables| tables.of(Counted::Clusters).has_begun(uid)).await
    }

    /// Whether the CRD or namespace of an object of kind `K` is being deleted, so that its deletion may be unintended.
    ///
    /// # Errors
    /// It could not be read: nothing may be deleted.
    pub async fn removal<K: Kind>(&self, namespace: &str) -> Result<Option<Removal>, String> {
        let found = tokio::time::timeout(TIMEOUT, removal::find::<K>(&self.client, namespace)).await;
        found.map_err(|_| "the API server does not answer".to_owned())?
    }

    /// Why the deletion of the object `uid`, called `namespace/name`, is held; `None`: it may begin. `exists`: whether
    /// an object still exists.
    ///
    /// # Errors
    /// It could not be recorded: an uncounted deletion may not begin.
    pub async fn request(
        &self,
        counted: Counted,
        uid: &str,
        name: &str,
        exists: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, String> {
        let now = Timestamp::now();
        let limits = self.limits.of(counted);
        let request = |tables: &mut Tables| {
            let table = tables.of(counted);
            table.tidy(now, exists);
            table.request(uid, name, now, limits)
        };
        Ok(match self.change(request).await? {
            Verdict::Allowed => None,
            Verdict::Held { exceeded, recent } => Some(counted.describe_held(limits, exceeded, &recent)),
        })
    }

    /// Records that a person approved the deletion.
    ///
    /// # Errors
    /// The record could not be read or written.
    pub async fn approve(&self, counted: Counted, uid: &str, name: &str) -> Result<(), String> {
        self.change(|tables| tables.of(counted).approve(uid, name, Timestamp::now())).await
    }

    /// Changes the tables, and returns only after the change is recorded.
    async fn change<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> Result<T, String> {
        let result = tokio::time::timeout(TIMEOUT, self.apply_change(change)).await;
        result.map_err(|_| "the API server does not answer".to_owned())?
    }

    async fn apply_change<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> Result<T, String> {
        let mut cached = self.cached.lock().await;
        let before = match cached.take() {
            Some(tables) => tables,
            None => self.read().await?,
        };
        let mut tables = before.clone();
        let result = change(&mut tables);
        if tables != before
            && let Some((api, name)) = &self.configmap
        {
            if !self.gate.may_write() {
                return Err("this replica is no longer the leader".to_owned());
            }
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            let object = ConfigMap { metadata, data: Some(tables.encode()), ..ConfigMap::default() };
            let (params, object) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&object));
            // If the response is lost, the tables are read again: `cached` is empty until then.
            api.patch(name, &params, &object).await.map_err(|error| describe_error(&error))?;
        }
        *cached = Some(tables);
        Ok(result)
    }

    async fn read(&self) -> Result<Tables, String> {
        let Some((api, name)) = &self.configmap else { return Ok(Tables::default()) };
        let data = api.get_opt(name).await.map_err(|error| describe_error(&error))?.and_then(|object| object.data);
        Tables::decode(&data.unwrap_or_default()).map_err(|why| {
            format!("ConfigMap {name} cannot be read ({why}): repair it, or delete it to reset the count")
        })
    }
}
