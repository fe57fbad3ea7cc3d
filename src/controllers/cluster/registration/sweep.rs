//! Keeps the namespace of the registry clean and its Secrets as they are written: deletes those whose EksCluster no longer exists, as
//! when somebody removed the finalizer, and requests a reconcile when somebody changes or deletes one. I/O: the management cluster's API; of
//! Secrets metadata only.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;

use crate::agents::hub::{self, Marks};
use crate::api::EksCluster;
use crate::controllers::cluster::owned_secret;
use crate::controllers::context::Context;
use crate::controllers::runtime::apply::{Kind as _, describe_error};
use crate::controllers::runtime::deadline::with_deadline;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::workload::watch::{Watch, WatchEvent, Watched};

/// Longest interval between sweeps.
const MAX_INTERVAL: Duration = Duration::from_secs(600);
/// Retry interval of the watch.
const RETRY: Duration = Duration::from_secs(60);
/// Secrets in one page of a list.
const PAGE: u32 = 500;

/// Sweeps and watches the namespace of the registry, if there is one.
pub async fn follow(ctx: Arc<Context>) {
    let Some(namespace) = ctx.settings.registry.namespace.clone() else { return };
    ctx.all_listed.cancelled().await;
    tokio::join!(watch(&ctx, &namespace), sweep_regularly(&ctx, &namespace));
}

/// Requests a reconcile of the cluster whose Secret was changed.
async fn watch(ctx: &Context, namespace: &str) {
    let mut watch = Watch::of(Watched { api_version: "v1", kind: "Secret", namespace: Some(namespace.to_owned()) });
    loop {
        let error = watch
            .follow(&ctx.client, |event| {
                if let WatchEvent::Changed { name, .. } = event
                    && hub::is_secret_name(&name)
                {
                    for cluster in registered_by(ctx, namespace, &name) {
                        ctx.queues.clusters.push(cluster, Trigger::Dependency);
                    }
                }
            })
            .await;
        tracing::warn!(namespace, %error, "registrations are not watched: edits are corrected at the drift interval");
        tokio::time::sleep(RETRY).await;
    }
}

fn registered_by(ctx: &Context, namespace: &str, secret: &str) -> Vec<ObjectRef<EksCluster>> {
    let is_its = |cluster: &EksCluster| {
        let status = cluster.status.as_ref().and_then(|status| status.registration.as_ref());
        status.is_some_and(|place| place.namespace == namespace && place.secret == secret)
    };
    ctx.clusters.state_filter(is_its).iter().map(|cluster| ObjectRef::from_obj(&**cluster)).collect()
}

async fn sweep_regularly(ctx: &Context, namespace: &str) {
    let interval = ctx.settings.intervals.drift.min(MAX_INTERVAL);
    loop {
        if let Err(error) = sweep(ctx, namespace).await {
            let error = describe_error(&error);
            tracing::warn!(namespace, error, "Secrets of clusters that no longer exist were not looked for");
        }
        tokio::time::sleep(interval).await;
    }
}

/// Deletes the Secrets whose EksCluster no longer exists.
async fn sweep(ctx: &Context, namespace: &str) -> Result<(), kube::Error> {
    let api = Api::<Secret>::namespaced(ctx.client.clone(), namespace);
    let mut params = ListParams::default().labels(&hub::selector()).limit(PAGE);
    loop {
        let page = with_deadline("list Secrets", api.list_metadata(&params)).await?;
        for secret in page.items {
            let meta = secret.metadata;
            let (Some(marks), Some(name)) = (Marks::of(&meta), meta.name) else { continue };
            if is_gone(ctx, &marks).await? {
                let version = (meta.uid.unwrap_or_default(), meta.resource_version.unwrap_or_default());
                owned_secret::delete(ctx, &api, &name, version).await?;
                tracing::info!(namespace, name, "deleted the registration of a cluster that no longer exists");
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Whether the EksCluster with these marks no longer exists. One of that name with another UID, as after a restore, takes the Secret over if
/// it is to be registered. Asks the API server: a cache may be behind.
async fn is_gone(ctx: &Context, marks: &Marks) -> Result<bool, kube::Error> {
    if ctx.cluster(&marks.namespace, &marks.name).is_some_and(|cluster| keeps(&cluster, &marks.owner)) {
        return Ok(false);
    }
    let api = EksCluster::api(&ctx.client, Some(&marks.namespace));
    match with_deadline("get EksCluster", api.get(&marks.name)).await {
        Ok(found) => Ok(!keeps(&found, &marks.owner)),
        // Of the object, not of the kind: without its CRD nothing is known.
        Err(kube::Error::Api(status))
            if status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == marks.name) =>
        {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Whether an EksCluster with the name in a Secret keeps it. `owner`: the UID in the Secret.
fn keeps(cluster: &EksCluster, owner: &str) -> bool {
    cluster.metadata.uid.as_deref() == Some(owner) || cluster.spec.register_with.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secret_stays_for_its_object_and_for_a_restored_one_that_is_registered() {
        let cluster = |register_with: serde_json::Value| -> EksCluster {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
                "metadata": {"name": "demo", "namespace": "shop", "uid": "u-2"},
                "spec": {"region": "eu-west-1", "version": "1.34", "registerWith": register_with},
            }))
            .unwrap()
        };
        let (registered, not) = (cluster("ArgoCd".into()), cluster(serde_json::Value::Null));
        for (cluster, owner, expected) in
            [(&registered, "u-2", true), (&registered, "u-1", true), (&not, "u-2", true), (&not, "u-1", false)]
        {
            assert_eq!(keeps(cluster, owner), expected, "{:?} {owner}", cluster.spec.register_with);
        }
    }
}
