//! Deletes the Services and Ingresses of a workload cluster that have load balancers in AWS, while their controllers
//! still run. Nothing else would delete the load balancers, and those would block the deletion of the network.
//!
//! Not allowed here: how long to wait; AWS. I/O: the workload cluster's API.

use std::fmt;

use kube::Client;
use kube::core::params::{DeleteParams, ListParams};
use serde::Deserialize;

use super::answer;
use super::error::CallError;
use super::kept::{first_items, truncated, truncated_or_none};
use super::list::{Flow, for_each};
use super::object::{ObjectId, collection, or_default};
use crate::api::listing::with_rest;

const PAGE: u32 = 200;
/// Objects that are listed by name; the rest are counted.
const MAX_NAMED: usize = 5;

const SERVICE: (&str, &str) = ("v1", "Service");
const INGRESS: (&str, &str) = ("networking.k8s.io/v1", "Ingress");

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "truncated")]
    namespace: String,
    #[serde(deserialize_with = "truncated_or_none")]
    deletion_timestamp: Option<String>,
}

/// A Service or an Ingress.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Exposed {
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: ExposedSpec,
    #[serde(deserialize_with = "or_default")]
    status: ExposedStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExposedSpec {
    #[serde(rename = "type", deserialize_with = "truncated")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExposedStatus {
    #[serde(deserialize_with = "or_default")]
    load_balancer: LoadBalancer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "first_items")]
    ingress: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(deserialize_with = "truncated_or_none")]
    hostname: Option<String>,
}

/// Objects that still existed when they were listed; the caller lists them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    named: Vec<String>,
    total: usize,
}

impl Remaining {
    /// Whether none existed.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    fn add(&mut self, id: &ObjectId, exposed: &Exposed) {
        self.total += 1;
        if self.named.len() < MAX_NAMED {
            let address = exposed.status.load_balancer.ingress.iter().find_map(|address| address.hostname.as_deref());
            self.named.push(address.map_or_else(|| id.to_string(), |address| format!("{id} ({address})")));
        }
    }
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_rest(self.named.join(", "), self.total.saturating_sub(self.named.len()), " and "))
    }
}

/// Deletes all Services of type LoadBalancer and all Ingresses, and returns those that existed. Whatever would create
/// them again is paused before. Objects with finalizers stay until their controllers have deleted the load balancers, so call
/// this until none remains.
///
/// # Errors
/// The API server's error for the first call that failed.
pub async fn delete_exposed(client: &Client) -> Result<Remaining, CallError> {
    let mut remaining = Remaining::default();
    for (api_version, kind) in [SERVICE, INGRESS] {
        let mut to_delete = Vec::new();
        for_each(client, (api_version, kind), None, &ListParams::default(), PAGE, |exposed: Exposed| {
            if kind == INGRESS.1 || exposed.spec.kind == "LoadBalancer" {
                let id = id(api_version, kind, &exposed.metadata);
                remaining.add(&id, &exposed);
                if exposed.metadata.deletion_timestamp.is_none() {
                    to_delete.push(id);
                }
            }
            Flow::Continue
        })
        .await?;
        for id in to_delete {
            delete(client, &id).await?;
        }
    }
    Ok(remaining)
}

fn id(api_version: &str, kind: &str, metadata: &Metadata) -> ObjectId {
    ObjectId {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(metadata.namespace.clone()),
        name: metadata.name.clone(),
    }
}

async fn delete(client: &Client, id: &ObjectId) -> Result<(), CallError> {
    let requests = collection(&id.api_version, &id.kind, id.namespace.as_deref());
    let request = requests.delete(&id.name, &DeleteParams::background()).map_err(kube::Error::BuildRequest)?;
    match answer::send(client, request).await {
        Ok(_) | Err(CallError::NotFound) => Ok(()),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
#[path = "load_balancers_tests.rs"]
mod tests;
