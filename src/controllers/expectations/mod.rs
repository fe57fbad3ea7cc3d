//! What was learned of how long things take, and the ConfigMap in which it outlives the process: an operator that was just
//! started looks again when the last one would have. I/O: the management cluster's API.
//!
//! Read when a term begins, written at most once a minute and when it ends. Nothing waits for either: what is lost is
//! learned anew.

mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use table::{AccountRegion, Table};

use super::apply::{MANAGER, describe_error};
use super::context::locked;
use crate::aws::WriteGate;
use crate::engine::Expectations;

/// At most one write in this time, and the next try after one that failed.
const EVERY: Duration = Duration::from_secs(60);
/// An API server that does not answer must not hold up the end of a term.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was learned in this term, of each account and region.
#[derive(Debug, Default)]
pub struct PerAccountRegion {
    places: Mutex<BTreeMap<AccountRegion, Arc<Expectations>>>,
    everywhere: Arc<Expectations>,
}

impl PerAccountRegion {
    /// What was learned of one account and region.
    pub fn of(&self, account: &str, region: &str) -> Arc<Expectations> {
        let place = AccountRegion { account: account.to_owned(), region: region.to_owned() };
        let among = || Arc::new(Expectations::with_shared(self.everywhere.clone()));
        locked(&self.places).entry(place).or_insert_with(among).clone()
    }

    /// Takes over what earlier processes learned.
    fn restore(&self, table: &Table) {
        for (place, line) in &table.0 {
            let expectations = self.of(&place.account, &place.region);
            for (kind, action, took) in &line.learned {
                expectations.restore(kind, *action, *took);
            }
        }
    }

    fn update(&self, table: &mut Table, now: Timestamp) {
        for (place, expectations) in locked(&self.places).iter() {
            table.update(place.clone(), expectations.learned_durations(), now);
        }
    }
}

/// Keeps what was learned in a ConfigMap.
pub struct Keeper {
    api: Api<ConfigMap>,
    name: String,
    learned: Arc<PerAccountRegion>,
    gate: Arc<dyn WriteGate>,
    /// The table, and its data as it stands in the ConfigMap. `None`: not read yet, so nothing is written over it.
    known: tokio::sync::Mutex<Option<(Table, BTreeMap<String, String>)>>,
}

impl Keeper {
    /// Keeps `learned` in the ConfigMap `namespace/name`, for as long as `gate` is open.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        learned: Arc<PerAccountRegion>,
        gate: Arc<dyn WriteGate>,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), learned, gate, known: tokio::sync::Mutex::default() }
    }

    /// Reads, then writes what is new every minute, until it is dropped.
    pub async fn keep(self: Arc<Self>) {
        let mut quiet = false;
        loop {
            match self.once().await {
                Ok(()) => quiet = false,
                // Once per outage.
                Err(why) if !quiet => {
                    tracing::warn!(
                        configmap = self.name,
                        why,
                        "what was learned is not kept: times are learned anew after a restart; trying on"
                    );
                    quiet = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Writes what is new at the end of a term.
    pub async fn last(&self) {
        if self.gate.may_write()
            && let Err(why) = self.once().await
        {
            tracing::warn!(configmap = self.name, why, "what was learned last is not kept");
        }
    }

    async fn once(&self) -> Result<(), String> {
        let written = tokio::time::timeout(PATIENCE, self.read_and_write());
        written.await.map_err(|_| "no answer in time".to_owned())?.map_err(|error| describe_error(&error))
    }

    async fn read_and_write(&self) -> Result<(), kube::Error> {
        let mut known = self.known.lock().await;
        let (table, written) = match &mut *known {
            Some(known) => known,
            None => known.insert(self.read().await?),
        };
        self.learned.update(table, Timestamp::now());
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
        let (table, unread) = Table::decode(&data);
        if !unread.is_empty() {
            let unread = unread.join(", ");
            tracing::warn!(configmap = self.name, unread, "what was kept cannot be read, and is learned anew");
        }
        self.learned.restore(&table);
        Ok((table, data))
    }
}
