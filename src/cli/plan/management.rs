//! What a manifest refers to and does not contain, from the management cluster: the EksCluster of a NodeGroup, the
//! AwsAccount of a cluster, and the status of clusters that exist. I/O: reads from the management cluster's API.

use anyhow::Context as _;
use kube::{Api, Client, ResourceExt as _};

use super::manifest::Manifest;
use crate::api::{AwsAccount, EksCluster};

/// Completes the manifest.
///
/// # Errors
/// The objects cannot be read.
pub async fn complete(manifest: &mut Manifest, client: &Client) -> anyhow::Result<()> {
    let api = |namespace: &str| Api::<EksCluster>::namespaced(client.clone(), namespace);
    for cluster in &mut manifest.clusters {
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let found = api(&namespace).get_opt(&name).await;
        let found = found.with_context(|| format!("EksCluster {namespace}/{name}"))?;
        cluster.status = found.and_then(|found| found.status);
    }
    for (namespace, name) in manifest.missing_clusters() {
        let found = api(&namespace).get_opt(&name).await;
        if let Some(found) = found.with_context(|| format!("EksCluster {namespace}/{name}"))? {
            manifest.add_context(found);
        }
    }
    for name in manifest.missing_accounts() {
        match Api::<AwsAccount>::all(client.clone()).get_opt(&name).await {
            Ok(found) => manifest.accounts.extend(found),
            // Somebody may read clusters and not accounts.
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Err(error) => return Err(error).with_context(|| format!("AwsAccount {name}")),
        }
    }
    Ok(())
}
