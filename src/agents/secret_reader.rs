//! The Secrets that an agent's spec names: whether they are complete, and the keys of them that are copied.
//!
//! Not allowed here: the management cluster; the caller passes a [`SecretReader`]. No I/O of its own.

use std::fmt;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;

use super::secret_keys::{self, Keys};
use super::shared_input::{SecretCopy, SecretData};
use super::validate_source::{self, NamedSecret, SourceUrl};
use crate::api::Reason;
use crate::api::reference::SecretReference;
use crate::api::secret_use::SecretUse;

/// The type of a Secret with registry credentials, the only one that agents accept.
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// Why a Secret cannot be used: the user must change something.
#[derive(Debug, Clone)]
pub struct UnusableSecret {
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
}

/// Why the Secrets are unavailable.
#[derive(Debug)]
pub enum Missing {
    /// The user must change something.
    Unusable(UnusableSecret),
    /// They could not be read.
    Unread(String),
}

impl Missing {
    /// A Secret that is missing or invalid. `why` names it, and the key.
    pub fn invalid_secret(field: &str, why: impl fmt::Display) -> Self {
        Self::Unusable(UnusableSecret { reason: Reason::SyncFailed, message: format!("{field}: {why}") })
    }
}

/// Reads the Secrets of one cluster's namespace in the management cluster.
pub trait SecretReader: Sync {
    /// The namespace.
    fn namespace(&self) -> &str;

    /// Reads a Secret that `field` of the spec names, if its owner allows that use; `None`: it does not exist.
    fn read<'a>(
        &'a self,
        name: &'a str,
        wanted: SecretUse,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret>, Missing>>;
}

/// The credentials of a Git repository: the keys of the Secret that its URL's scheme uses.
pub async fn git(
    secrets: &dyn SecretReader,
    reference: Option<&SecretReference>,
    url: &SourceUrl,
    field: &str,
) -> Result<Option<SecretData>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let found = secrets.read(name, SecretUse::Git, field).await?;
    let data = found.map(|secret| secret.data.unwrap_or_default());
    let named = NamedSecret { namespace: secrets.namespace(), name, data: data.as_ref() };
    validate_source::secret(url, Some(named)).map_err(|why| Missing::invalid_secret(field, why))?;
    Ok(data.map(|data| SecretData(secret_keys::git_keys(url, data))))
}

/// Reads a Secret that must hold the required keys, and keeps only the keys that are used.
pub async fn copy_with(
    secrets: &dyn SecretReader,
    reference: Option<&SecretReference>,
    field: &str,
    expected: Keys,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let namespace = secrets.namespace();
    let Some(secret) = secrets.read(name, expected.secret_use(), field).await? else {
        let why = format!("Secret {namespace}/{name} not found: create it, or name another");
        return Err(Missing::invalid_secret(field, why));
    };
    let (kind, data) = (secret.type_.unwrap_or_else(|| "Opaque".to_owned()), secret.data.unwrap_or_default());
    if let Err(why) = secret_keys::keys(expected, (namespace, name), &data) {
        return Err(Missing::invalid_secret(field, why));
    }
    if expected == Keys::DockerConfig && kind != DOCKER_CONFIG {
        let why = format!("Secret {namespace}/{name} has type {kind}; recreate it with type {DOCKER_CONFIG}");
        return Err(Missing::invalid_secret(field, why));
    }
    Ok(Some(SecretCopy { name: name.clone(), kind, data: SecretData(expected.of(data)) }))
}
