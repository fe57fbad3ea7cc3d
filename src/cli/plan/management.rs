//! What a manifest refers to and does not contain, from the management cluster: the EksCluster of a NodeGroup, the
//! AwsAccount of a cluster, and the status of clusters that exist. Also what the objects are now, for the rules about
//! changes. I/O: reads from the management cluster's API.

use anyhow::Context as _;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client, CustomResourceExt, Resource, ResourceExt as _};

use super::manifest::{Checked, Manifest, refuse, schema_of};
use super::transitions::check_change;
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup, PlanApproval};

/// Completes the manifest.
///
/// # Errors
/// The objects cannot be read, or the API server would refuse a change of one.
pub async fn complete(manifest: &mut Manifest, client: &Client) -> anyhow::Result<()> {
    check_changes(manifest, client).await?;
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
    manifest.knows_accounts = true;
    for name in manifest.missing_accounts() {
        match Api::<AwsAccount>::all(client.clone()).get_opt(&name).await {
            Ok(found) => manifest.accounts.extend(found),
            // Somebody may read clusters and not accounts.
            Err(kube::Error::Api(status)) if status.code == 403 => manifest.knows_accounts = false,
            Err(error) => return Err(error).with_context(|| format!("AwsAccount {name}")),
        }
    }
    Ok(())
}

/// Checks the rules about changes against the objects that exist.
async fn check_changes(manifest: &Manifest, client: &Client) -> anyhow::Result<()> {
    for one in &manifest.checked {
        match one.kind.as_str() {
            "EksCluster" => check::<EksCluster>(one, client).await?,
            "NodeGroup" => check::<NodeGroup>(one, client).await?,
            "PlanApproval" => check::<PlanApproval>(one, client).await?,
            "FleetRollout" => check::<FleetRollout>(one, client).await?,
            _ => check::<AwsAccount>(one, client).await?,
        }
    }
    Ok(())
}

async fn check<K>(one: &Checked, client: &Client) -> anyhow::Result<()>
where
    K: CustomResourceExt + Resource<DynamicType = ()>,
{
    // As it is stored: the types of this version could leave something out.
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match &one.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    match api.get_opt(&one.name).await {
        Ok(None) => Ok(()),
        Ok(Some(old)) => {
            let schema = schema_of::<K>()?;
            refuse(&one.place, &check_change(&schema, &serde_json::to_value(old)?, &one.object))
        }
        // Somebody may read clusters and not accounts.
        Err(kube::Error::Api(status)) if status.code == 403 && one.namespace.is_none() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} {}", one.kind, one.name)),
    }
}
