//! The Secrets that a cluster's agent needs from the management cluster. I/O: reads them.

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::agents::input::{SecretCopy, SecretData};
use crate::agents::secret_keys::{self, Keys};
use crate::agents::validate::{self, NamedSecret, SourceUrl};
use crate::api::reference::SecretReference;
use crate::api::secret_use::{self, SecretUse};
use crate::api::{EksCluster, Reason};
use crate::controllers::account::Refusal;
use crate::controllers::context::Context;
use crate::controllers::runtime::apply::describe_error;
use crate::controllers::runtime::deadline::with_deadline;

/// The type of a Secret with registry credentials, the only one that Flux accepts.
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// Why the Secrets are unavailable.
#[derive(Debug)]
pub enum Missing {
    /// The user must change something.
    Refused(Refusal),
    /// They could not be read.
    Unread(String),
}

impl Missing {
    /// The operator has no permission to read Secrets in that namespace.
    fn permission_denied(field: &str, namespace: &str, name: &str, message: &str) -> Self {
        let why = format!(
            "{field}: the operator has no permission to read Secret {namespace}/{name}: a cluster administrator must \
             run {}",
            role_binding(namespace, message)
        );
        Self::Refused(Refusal::new(Reason::AccessDenied, why))
    }

    /// A Secret that is missing or invalid. `why` names it, and the key.
    pub fn invalid_secret(field: &str, why: impl std::fmt::Display) -> Self {
        Self::Refused(Refusal::new(Reason::SyncFailed, format!("{field}: {why}")))
    }
}

/// Reads for one cluster, which is requeued when a Secret it read changes.
pub struct Reader<'a> {
    ctx: &'a Context,
    uid: String,
    cluster: ObjectRef<EksCluster>,
}

impl<'a> Reader<'a> {
    /// A reader for a cluster that reads all its Secrets again.
    pub fn new(ctx: &'a Context, cluster: &EksCluster) -> Self {
        let uid = cluster.uid().unwrap_or_default();
        ctx.secrets.forget(&uid);
        Self { ctx, uid, cluster: ObjectRef::from_obj(cluster) }
    }
}

/// The credentials of a Git repository: the keys of the Secret that its URL's scheme uses.
pub async fn git(
    reader: &Reader<'_>,
    namespace: &str,
    reference: Option<&SecretReference>,
    url: &SourceUrl,
    field: &str,
) -> Result<Option<SecretData>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let found = read(reader, namespace, name, SecretUse::Git, field).await?;
    let data = found.map(|secret| secret.data.unwrap_or_default());
    let named = NamedSecret { namespace, name, data: data.as_ref() };
    validate::secret(url, Some(named)).map_err(|why| Missing::invalid_secret(field, why))?;
    Ok(data.map(|data| SecretData(secret_keys::git_keys(url, data))))
}

/// Reads a Secret that must hold the required keys, and keeps only the keys that are used.
pub async fn copy_with(
    reader: &Reader<'_>,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
    expected: Keys,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let Some(secret) = read(reader, namespace, name, expected.secret_use(), field).await? else {
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

/// Reads a Secret by its name, if its owner allows that use. Contents are never cached: the watch keeps only names.
async fn read(
    reader: &Reader<'_>,
    namespace: &str,
    name: &str,
    wanted: SecretUse,
    field: &str,
) -> Result<Option<Secret>, Missing> {
    let Reader { ctx, uid, cluster } = reader;
    // Registered first, so that no change is missed in between.
    ctx.secrets.record_reader(uid, cluster, namespace, name);
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let found = match with_deadline("get Secret", api.get_opt(name)).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Err(Missing::permission_denied(field, namespace, name, &status.message));
        }
        Err(error) => {
            return Err(Missing::Unread(format!(
                "Secret {namespace}/{name} could not be read: {}",
                describe_error(&error)
            )));
        }
    };
    let Some(secret) = found else { return Ok(None) };
    // Checked first: what a Secret lacks must not be disclosed to those who may not use it.
    let (labels, kind) = (secret.metadata.labels.as_ref(), secret.type_.as_deref());
    secret_use::check((namespace, name), labels, kind, wanted).map_err(|why| Missing::invalid_secret(field, why))?;
    Ok(Some(secret))
}

/// The command that lets this operator read the Secrets of a namespace. `message` is the API server's, which names
/// the service account.
fn role_binding(namespace: &str, message: &str) -> String {
    let account = message.split('"').find_map(|word| word.strip_prefix("system:serviceaccount:"));
    let account = account.unwrap_or("keelson-system:keelson");
    format!(
        "kubectl create rolebinding keelson-secrets --namespace={namespace} --clusterrole=keelson-secrets \
         --serviceaccount={account}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_role_binding_is_reported_with_the_command_that_creates_it() {
        let message = r#"secrets "fleet" is forbidden: User "system:serviceaccount:platform:keelson-eu" cannot get resource "secrets" in API group "" in the namespace "shop""#;
        let Missing::Refused(refusal) = Missing::permission_denied("spec.x", "shop", "fleet", message) else {
            panic!()
        };
        assert_eq!(refusal.reason, Reason::AccessDenied);
        let command = "kubectl create rolebinding keelson-secrets --namespace=shop --clusterrole=keelson-secrets \
                       --serviceaccount=platform:keelson-eu";
        assert!(refusal.message.starts_with("spec.x: ") && refusal.message.ends_with(command), "{}", refusal.message);
        // Outside a cluster it is a user's own account.
        assert!(role_binding("shop", "User \"mallory\" cannot").ends_with("--serviceaccount=keelson-system:keelson"));
    }
}
