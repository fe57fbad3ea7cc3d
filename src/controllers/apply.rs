//! Writes to the management cluster: status by server-side apply, finalizers with the version that was read. I/O: its API.

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::deadline::{answered, answered_while};
use crate::aws::WriteGate;

/// Asks for no more of an object in return than its metadata.
pub const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Field manager of status.
pub const MANAGER: &str = "keelson";
/// Field manager of the inventory, apart from the rest so that an id is kept without waiting for anything else.
pub const JOURNAL: &str = "keelson-journal";

/// A kind that is reconciled, wherever its objects live.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
    /// The kind's name.
    const NAME: &'static str;
    /// The API of the namespace that `object` is in, or of the cluster.
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self>;
}

impl Kind for crate::api::EksCluster {
    const NAME: &'static str = "EksCluster";
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
        namespaced(client, namespace)
    }
}

impl Kind for crate::api::NodeGroup {
    const NAME: &'static str = "NodeGroup";
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
        namespaced(client, namespace)
    }
}

impl Kind for crate::api::PlanApproval {
    const NAME: &'static str = "PlanApproval";
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self> {
        namespaced(client, namespace)
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

/// Applies fields of status as `manager`, for as long as `gate` is open. Only to this very object: one of the same name made
/// since is refused.
pub async fn status<K: Kind, S: Serialize>(
    client: &Client,
    object: &K,
    manager: &str,
    gate: &dyn WriteGate,
    status: &S,
) -> Result<(), kube::Error> {
    let body: Value = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    let url = K::url_path(&(), object.meta().namespace.as_deref());
    let mut request = Request::new(url)
        .patch_subresource("status", &object.name_any(), &params, &Patch::Apply(&body))
        .map_err(kube::Error::BuildRequest)?;
    // The object as a whole would come back, and is not looked at.
    request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(METADATA_ONLY));
    answered_while(gate, "patch status", client.request::<IgnoredAny>(request)).await.map(drop)
}

/// Whether our finalizer is on it.
pub fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.as_ref().is_some_and(|all| all.iter().any(|one| one == crate::api::FINALIZER))
}

/// Puts our finalizer on it. Nothing may be made in AWS before this is done.
pub async fn add_finalizer<K: Kind>(client: &Client, object: &K) -> Result<(), kube::Error> {
    patch_finalizers(client, object, |finalizers| finalizers.push(crate::api::FINALIZER.to_owned())).await
}

/// Takes our finalizer away; it is no failure when the object is gone already.
pub async fn remove_finalizer<K: Kind>(client: &Client, object: &K) -> Result<(), kube::Error> {
    let removed = patch_finalizers(client, object, |finalizers| finalizers.retain(|one| one != crate::api::FINALIZER));
    match removed.await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

/// The list is replaced as a whole, so the version that was read must still be the present one. The object is of a cache and
/// our own status patch is mostly later than it: a conflict is answered by reading it anew.
async fn patch_finalizers<K: Kind>(
    client: &Client,
    object: &K,
    change: impl Fn(&mut Vec<String>),
) -> Result<(), kube::Error> {
    let (api, name) = (api_of(client, object), object.name_any());
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let mut meta = object.meta().clone();
    let mut tries = 0;
    loop {
        let mut finalizers = meta.finalizers.take().unwrap_or_default();
        finalizers.retain(|one| one != crate::api::FINALIZER || meta.deletion_timestamp.is_some());
        change(&mut finalizers);
        let body = json!({"metadata": {"finalizers": finalizers, "resourceVersion": meta.resource_version, "uid": object.uid()}});
        match answered("patch finalizers", api.patch_metadata(&name, &params, &Patch::Merge(&body))).await {
            Err(kube::Error::Api(status)) if status.code == 409 && tries < 3 => {
                let fresh = answered("get metadata", api.get_metadata(&name)).await?;
                if fresh.metadata.uid != object.uid() {
                    // Another object of that name: ours is gone.
                    return Err(kube::Error::Api(Box::new(status.with_code(404))));
                }
                (meta, tries) = (fresh.metadata, tries + 1);
            }
            other => return other.map(drop),
        }
    }
}

/// Deletes this very object; it is no failure when it is gone already.
pub async fn delete<K: Kind>(client: &Client, object: &K) -> Result<(), kube::Error> {
    let preconditions = Preconditions { uid: object.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match answered("delete", api_of(client, object).delete(&object.name_any(), &params)).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}

/// An API error for people: a missing permission says what to grant.
pub fn describe_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}; grant it to the operator's service account (deploy/ has the ClusterRole)", status.message)
        }
        kube::Error::Api(status) => status.message.clone(),
        // The parser quotes the value that it stumbled over, which may be a secret.
        kube::Error::SerdeError(error) => {
            format!("the API server's answer cannot be parsed (line {}, column {})", error.line(), error.column())
        }
        other => {
            use std::error::Error as _;
            // kube says "service error" and leaves the reason to its source.
            let mut text = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                let more = cause.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                source = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_parsed_is_not_quoted() {
        let broken = serde_json::from_str::<u8>("\"SECRET\"").unwrap_err();
        assert!(broken.to_string().contains("SECRET"), "the parser quotes: {broken}");
        let text = describe_error(&kube::Error::SerdeError(broken));
        assert!(!text.contains("SECRET") && text.contains("line 1"), "{text}");
    }
}
