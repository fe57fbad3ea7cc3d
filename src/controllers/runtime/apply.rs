//! Writes to the management cluster: server-side apply for status, resourceVersion preconditions for finalizers. I/O:
//! its API.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{NamespaceResourceScope, PartialObjectMeta, Request};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::deadline::{with_deadline, with_deadline_while_leading};
use crate::api::status_cluster::ResourceStatus;
use crate::aws::WriteGate;
use crate::workload::error::with_causes;

/// Accept header: the response contains only the object's metadata.
pub const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Field manager of status.
pub const MANAGER: &str = "keelson";
/// Field manager of the inventory. It is separate from [`MANAGER`] so that an id is recorded without waiting for other
/// status fields.
pub const JOURNAL: &str = "keelson-journal";

/// A custom resource kind, namespaced or cluster-scoped.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
    /// The kind's name.
    const NAME: &'static str;
    /// The API for `namespace`, or for all namespaces.
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self>;
    /// Whether its status no longer holds ids of AWS resources that it held `before`.
    fn has_lost_records(&self, _before: &Self) -> bool {
        false
    }
}

impl Kind for crate::api::EksCluster {
    const NAME: &'static str = "EksCluster";
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
        namespaced(client, namespace)
    }
    fn has_lost_records(&self, before: &Self) -> bool {
        let records = |of: &Self| of.status.as_ref().map(|status| status.resources.clone()).unwrap_or_default();
        has_lost_ids(&records(self), &records(before))
    }
}

impl Kind for crate::api::NodeGroup {
    const NAME: &'static str = "NodeGroup";
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
        namespaced(client, namespace)
    }
    fn has_lost_records(&self, before: &Self) -> bool {
        let arn = |of: &Self| of.status.as_ref().and_then(|status| status.arn.clone());
        arn(before).is_some() && arn(self).is_none()
    }
}

/// Whether an id of `before` is missing, or is another one.
pub fn has_lost_ids(now: &[ResourceStatus], before: &[ResourceStatus]) -> bool {
    let ids = |lines: &[ResourceStatus]| -> BTreeSet<(String, String)> {
        lines.iter().filter_map(|line| Some((line.key.clone(), line.id.clone()?))).collect()
    };
    !ids(before).is_subset(&ids(now))
}

impl Kind for crate::api::PlanApproval {
    const NAME: &'static str = "PlanApproval";
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
        namespaced(client, namespace)
    }
}

impl Kind for crate::api::FleetRollout {
    const NAME: &'static str = "FleetRollout";
    fn api(client: &Client, _: Option<&str>) -> Api<Self> {
        Api::all(client.clone())
    }
}

impl Kind for crate::api::AwsAccount {
    const NAME: &'static str = "AwsAccount";
    fn api(client: &Client, _: Option<&str>) -> Api<Self> {
        Api::all(client.clone())
    }
}

fn namespaced<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn api_of<K: Kind>(client: &Client, object: &K) -> Api<K> {
    K::api(client, object.meta().namespace.as_deref())
}

/// Applies status fields as `manager` while `gate` is open. The UID is part of the patch: a new object with the same
/// name is rejected. Returns the resourceVersion of the object as it is then.
pub async fn patch_status<K: Kind, S: Serialize>(
    client: &Client,
    object: &K,
    manager: &str,
    gate: &dyn WriteGate,
    status: &S,
) -> Result<Option<String>, kube::Error> {
    let metadata = json!({"name": object.name_any(), "uid": object.uid()});
    apply_status(client, object, manager, gate, metadata, status).await
}

/// The same, rejected as a conflict if the object has changed since it was read.
pub async fn patch_unchanged_status<K: Kind, S: Serialize>(
    client: &Client,
    object: &K,
    manager: &str,
    gate: &dyn WriteGate,
    status: &S,
) -> Result<Option<String>, kube::Error> {
    let version = object.resource_version();
    let metadata = json!({"name": object.name_any(), "uid": object.uid(), "resourceVersion": version});
    apply_status(client, object, manager, gate, metadata, status).await
}

async fn apply_status<K: Kind, S: Serialize>(
    client: &Client,
    object: &K,
    manager: &str,
    gate: &dyn WriteGate,
    metadata: Value,
    status: &S,
) -> Result<Option<String>, kube::Error> {
    let body: Value = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    let url = K::url_path(&(), object.meta().namespace.as_deref());
    let mut request = Request::new(url)
        .patch_subresource("status", &object.name_any(), &params, &Patch::Apply(&body))
        .map_err(kube::Error::BuildRequest)?;
    // The response is discarded, so metadata is enough.
    request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(METADATA_ONLY));
    let answer = client.request::<PartialObjectMeta<K>>(request);
    Ok(with_deadline_while_leading(gate, "patch status", answer).await?.metadata.resource_version)
}

/// Whether the object has Keelson's finalizer.
pub fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.as_ref().is_some_and(|all| all.iter().any(|one| one == crate::api::FINALIZER))
}

/// Adds Keelson's finalizer. It must be present before anything is created in AWS.
pub async fn add_finalizer<K: Kind>(client: &Client, object: &K) -> Result<(), kube::Error> {
    patch_finalizers(client, object, |finalizers| finalizers.push(crate::api::FINALIZER.to_owned())).await
}

/// Removes Keelson's finalizer. Succeeds if the object no longer exists.
pub async fn remove_finalizer<K: Kind>(client: &Client, object: &K) -> Result<(), kube::Error> {
    let removed = patch_finalizers(client, object, |finalizers| finalizers.retain(|one| one != crate::api::FINALIZER));
    match removed.await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result,
    }
}

/// The patch replaces the whole list, so it must carry the current resourceVersion. `object` comes from a cache that
/// often lags behind Keelson's own status patch: on a conflict, the metadata is read again.
async fn patch_finalizers<K: Kind>(
    client: &Client,
    object: &K,
    change: impl Fn(&mut Vec<String>),
) -> Result<(), kube::Error> {
    let (api, name) = (api_of(client, object), object.name_any());
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let mut meta = object.meta().clone();
    let mut attempts = 0;
    loop {
        let mut finalizers = meta.finalizers.take().unwrap_or_default();
        finalizers.retain(|one| one != crate::api::FINALIZER || meta.deletion_timestamp.is_some());
        change(&mut finalizers);
        let body = json!({"metadata": {"finalizers": finalizers, "resourceVersion": meta.resource_version, "uid": object.uid()}});
        match with_deadline("patch finalizers", api.patch_metadata(&name, &params, &Patch::Merge(&body))).await {
            Err(kube::Error::Api(status)) if status.code == 409 && attempts < 3 => {
                let fresh = with_deadline("get metadata", api.get_metadata(&name)).await?;
                if fresh.metadata.uid != object.uid() {
                    // Another object with the same name: the original is deleted.
                    return Err(kube::Error::Api(Box::new(status.with_code(404))));
                }
                (meta, attempts) = (fresh.metadata, attempts + 1);
            }
            result => return result.map(drop),
        }
    }
}

/// Deletes this object (by UID). Succeeds if it no longer exists.
pub async fn delete<K: Kind>(client: &Client, object: &K) -> Result<(), kube::Error> {
    let preconditions = Preconditions { uid: object.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match with_deadline("delete", api_of(client, object).delete(&object.name_any(), &params)).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}

/// The service account that the API server's message about a missing permission names, as `NAMESPACE:NAME`. Outside a cluster it is
/// a user's own account: then the one of `deploy/`.
pub fn denied_account(message: &str) -> &str {
    let account = message.split('"').find_map(|word| word.strip_prefix("system:serviceaccount:"));
    account.unwrap_or("keelson-system:keelson")
}

/// Formats an API error for users; for a missing permission it says what to grant.
pub fn describe_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}; grant it to the operator's service account (deploy/ has the ClusterRole)", status.message)
        }
        kube::Error::Api(status) => status.message.clone(),
        // The parser quotes the offending value, which may be a secret.
        kube::Error::SerdeError(error) => {
            format!("the API server's response cannot be parsed (line {}, column {})", error.line(), error.column())
        }
        error => with_causes(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_lost_if_its_id_is_missing_or_another() {
        let line = |key: &str, id: Option<&str>| -> ResourceStatus {
            serde_json::from_value(json!({"key": key, "id": id})).unwrap()
        };
        let before = [line("vpc", Some("vpc-1")), line("internetGateway", None)];
        assert!(!has_lost_ids(&before, &before));
        assert!(!has_lost_ids(&[line("vpc", Some("vpc-1")), line("internetGateway", Some("igw-1"))], &before));
        assert!(has_lost_ids(&[], &before));
        assert!(has_lost_ids(&[line("vpc", Some("vpc-2"))], &before));
        assert!(!has_lost_ids(&[], &[line("internetGateway", None)]), "an intent holds no id");
    }

    #[test]
    fn unparsable_response_is_not_quoted() {
        let broken = serde_json::from_str::<u8>("\"SECRET\"").unwrap_err();
        assert!(broken.to_string().contains("SECRET"), "the parser quotes: {broken}");
        let text = describe_error(&kube::Error::SerdeError(broken));
        assert!(!text.contains("SECRET") && text.contains("line 1"), "{text}");
    }
}
