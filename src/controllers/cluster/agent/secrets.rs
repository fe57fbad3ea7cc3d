//! The Secrets that a cluster's agent needs, in the management cluster. I/O: reads them.

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::api::reference::SecretReference;
use crate::api::{EksCluster, Reason};
use crate::controllers::account::Refusal;
use crate::controllers::apply::told;
use crate::controllers::context::Context;
use crate::controllers::deadline::answered;
use crate::gitops::input::{SecretCopy, SecretData};
use crate::gitops::validate::{self, Keys};

/// The type of a Secret that holds a registry's login: Flux reads no other.
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// Why the Secrets are not there.
#[derive(Debug)]
pub enum Missing {
    /// A person has to change something.
    Refused(Refusal),
    /// They could not be read.
    Unread(String),
}

impl Missing {
    /// A Secret that is not there, or not what it should be. `why` names it, and the key.
    pub fn unfit(field: &str, why: impl std::fmt::Display) -> Self {
        Self::Refused(Refusal::new(Reason::SyncFailed, format!("{field}: {why}")))
    }
}

/// Reads for one cluster, which hears of it when one of what it read changes.
pub struct Reader<'a> {
    ctx: &'a Context,
    uid: String,
    cluster: ObjectRef<EksCluster>,
}

impl<'a> Reader<'a> {
    /// For a cluster that reads everything anew.
    pub fn new(ctx: &'a Context, cluster: &EksCluster) -> Self {
        let uid = cluster.uid().unwrap_or_default();
        ctx.secrets.forget(&uid);
        Self { ctx, uid, cluster: ObjectRef::from_obj(cluster) }
    }
}

/// A Secret that is copied as it is, and must be there.
pub async fn copy(
    reader: &Reader<'_>,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let Some(secret) = read(reader, namespace, name).await? else {
        let why = format!("Secret {namespace}/{name} not found: create it, or name another one");
        return Err(Missing::unfit(field, why));
    };
    Ok(Some(SecretCopy {
        name: name.clone(),
        kind: secret.type_.unwrap_or_else(|| "Opaque".to_owned()),
        data: SecretData(secret.data.unwrap_or_default()),
    }))
}

/// The same of one that must hold what it is for.
pub async fn copy_with(
    reader: &Reader<'_>,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
    expected: Keys,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(secret) = copy(reader, namespace, reference, field).await? else { return Ok(None) };
    if let Err(why) = validate::keys(expected, (namespace, &secret.name), &secret.data.0) {
        return Err(Missing::unfit(field, why));
    }
    if expected == Keys::DockerConfig && secret.kind != DOCKER_CONFIG {
        let SecretCopy { name, kind, .. } = secret;
        let why = format!("Secret {namespace}/{name} is of type {kind}; make it anew as one of type {DOCKER_CONFIG}");
        return Err(Missing::unfit(field, why));
    }
    Ok(Some(secret))
}

/// Read by its name, and never kept in a cache: of what is watched only the names are known.
pub async fn read(reader: &Reader<'_>, namespace: &str, name: &str) -> Result<Option<Secret>, Missing> {
    let Reader { ctx, uid, cluster } = reader;
    // First, so that no change falls in between.
    ctx.secrets.reads(uid, cluster, namespace, name);
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    answered("get Secret", api.get_opt(name))
        .await
        .map_err(|error| Missing::Unread(format!("Secret {namespace}/{name} could not be read: {}", told(&error))))
}
