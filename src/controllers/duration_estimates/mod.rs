//! Learned durations of AWS operations, and the ConfigMap that stores them across restarts, so that a new process
//! polls when the previous one would have. I/O: the management cluster's API.
//!
//! Read when a term begins, written at most once a minute and when it ends. Nothing waits for either: lost durations
//! are learned again.

mod stored_estimates;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use stored_estimates::{AccountRegion, Table};

use super::runtime::apply::{MANAGER, describe_error};
use crate::aws::WriteGate;
use crate::engine::Expectations;

/// Minimum interval between writes, and between retries.
const INTERVAL: Duration = Duration::from_secs(60);
/// An API server that does not answer must not delay the end of a term.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The durations learned in this term, per account and region.
#[derive(Debug, Default)]
pub struct RegionalEstimates {
    regions: Mutex<BTreeMap<AccountRegion, Arc<Expectations>>>,
    global: Arc<Expectations>,
}

impl RegionalEstimates {
    /// The durations of one account and region.
    pub fn of(&self, account: &str, region: &str) -> Arc<Expectations> {
        let account_region = AccountRegion { account: account.to_owned(), region: region.to_owned() };
        let among = || Arc::new(Expectations::with_shared(self.global.clone()));
        self.regions.lock().entry(account_region).or_insert_with(among).clone()
    }

    /// Adds durations learned by earlier processes.
    fn restore(&self, table: &Table) {
        for (account_region, entry) in &table.0 {
            let expectations = self.of(&account_region.account, &account_region.region);
            for (kind, action, took) in &entry.learned {
                expectations.restore(kind, *action, *took);
            }
        }
    }

    fn update(&self, table: &mut Table, now: Timestamp) {
        for (account_region, expectations) in self.regions.lock().iter() {
            table.update(account_region.clone(), expectations.learned_durations(), now);
        }
    }
}

/// Stores learned durations in a ConfigMap.
pub struct EstimateStore {
    api: Api<ConfigMap>,
    name: String,
    estimates: Arc<RegionalEstimates>,
    gate: Arc<dyn WriteGate>,
    /// The table, and the ConfigMap's data. `None`: not read yet, so nothing is overwritten.
    cached: tokio::sync::Mutex<Option<(Table, BTreeMap<String, String>)>>,
}

impl EstimateStore {
    /// Stores `estimates` in the ConfigMap `namespace/name` while `gate` is open.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        estimates: Arc<RegionalEstimates>,
        gate: Arc<dyn WriteGate>,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), estimates, gate, cached: tokio::sync::Mutex::default() }
    }

    /// Reads the ConfigMap, then writes changes every minute, until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut logged = false;
        loop {
            match self.sync().await {
                Ok(()) => logged = false,
                // Logged once per outage.
                Err(why) if !logged => {
                    tracing::warn!(
                        configmap = self.name,
                        why,
                        "cannot store duration estimates: they will be learned again after a restart; retrying"
                    );
                    logged = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Writes the last changes at the end of a term.
    pub async fn save_final(&self) {
        if self.gate.may_write()
            && let Err(why) = self.sync().await
        {
            tracing::warn!(configmap = self.name, why, "the last duration estimates were not stored");
        }
    }

    async fn sync(&self) -> Result<(), String> {
        let written = tokio::time::timeout(TIMEOUT, self.read_and_write());
        written
            .await
            .map_err(|_| "the API server did not answer in time".to_owned())?
            .map_err(|error| describe_error(&error))
    }

    async fn read_and_write(&self) -> Result<(), kube::Error> {
        let mut cached = self.cached.lock().await;
        let (table, written) = match &mut *cached {
            Some(cached) => cached,
            None => cached.insert(self.read().await?),
        };
        self.estimates.update(table, Timestamp::now());
        let data = table.encode();
        if data == *written || !self.gate.may_write() {
            return Ok(());
        }
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let object = ConfigMap { metadata, data: Some(data.clone()), ..ConfigMap::default() };
        self.api.patch(&self.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await?;
        *written = data;
        Ok(())
    }

    async fn read(&self) -> Result<(Table, BTreeMap<String, String>), kube::Error> {
        let data = self.api.get_opt(&self.name).await?.and_then(|object| object.data).unwrap_or_default();
        let (table, invalid) = Table::decode(&data);
        if !invalid.is_empty() {
            let invalid = invalid.join(", ");
            tracing::warn!(
                configmap = self.name,
                invalid,
                "invalid stored duration estimates are ignored and will be learned again"
            );
        }
        self.estimates.restore(&table);
        Ok((table, data))
    }
}
