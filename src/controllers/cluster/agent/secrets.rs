//! The Secrets that a cluster's agent needs, in the management cluster. I/O: reads them.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::api::Reason;
use crate::api::reference::SecretReference;
use crate::controllers::account::Refusal;
use crate::controllers::apply::told;
use crate::controllers::context::Context;
use crate::gitops::input::{SecretCopy, SecretData};
use crate::gitops::validate::{self, Keys};

/// The type of a Secret that holds a registry's login: Flux reads no other.
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// Why the Secrets are not there.
pub enum Missing {
    /// A person has to change something.
    Refused(Refusal),
    /// They could not be read.
    Unread(String),
}

/// A Secret that is copied as it is, and must be there.
pub async fn copy(
    ctx: &Context,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let Some(secret) = read(ctx, namespace, name).await? else {
        let message = format!("{field}: Secret {namespace}/{name} not found: create it, or name another one");
        return Err(Missing::Refused(Refusal::new(Reason::InvalidSpec, message)));
    };
    Ok(Some(SecretCopy {
        name: name.clone(),
        kind: secret.type_.unwrap_or_else(|| "Opaque".to_owned()),
        data: SecretData(secret.data.unwrap_or_default()),
    }))
}

/// The same of one that must hold what it is for.
pub async fn copy_with(
    ctx: &Context,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
    expected: Keys,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(secret) = copy(ctx, namespace, reference, field).await? else { return Ok(None) };
    let refuse = |why: String| Err(Missing::Refused(Refusal::new(Reason::InvalidSpec, format!("{field}: {why}"))));
    if let Err(why) = validate::keys(expected, (namespace, &secret.name), &secret.data.0) {
        return refuse(why.to_string());
    }
    if expected == Keys::DockerConfig && secret.kind != DOCKER_CONFIG {
        let SecretCopy { name, kind, .. } = secret;
        return refuse(format!(
            "Secret {namespace}/{name} is of type {kind}; make it anew as one of type {DOCKER_CONFIG}"
        ));
    }
    Ok(Some(secret))
}

/// Read, never watched: a cache of all Secrets of all tenants is nothing to keep in memory.
pub async fn read(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Secret>, Missing> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    api.get_opt(name)
        .await
        .map_err(|error| Missing::Unread(format!("Secret {namespace}/{name} could not be read: {}", told(&error))))
}
