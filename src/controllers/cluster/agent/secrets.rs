//! The Secrets that a cluster's agent needs, in the management cluster. I/O: reads them.

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::api::reference::SecretReference;
use crate::api::secret_use::{self, SecretUse};
use crate::api::{EksCluster, Reason};
use crate::controllers::account::Refusal;
use crate::controllers::apply::describe_error;
use crate::controllers::context::Context;
use crate::controllers::deadline::with_deadline;
use crate::gitops::input::{SecretCopy, SecretData};
use crate::gitops::secret_keys::{self, Keys};
use crate::gitops::validate::{self, NamedSecret, SourceUrl};

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
    /// The operator may not read Secrets of that namespace.
    fn denied(field: &str, namespace: &str, name: &str, message: &str) -> Self {
        let why = format!(
            "{field}: Secret {namespace}/{name} may not be read by the operator: a cluster administrator runs {}",
            role_binding(namespace, message)
        );
        Self::Refused(Refusal::new(Reason::AccessDenied, why))
    }

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

/// The credentials of a Git repository: what its URL has a use for of the Secret.
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
    validate::secret(url, Some(named)).map_err(|why| Missing::unfit(field, why))?;
    Ok(data.map(|data| SecretData(secret_keys::git_keys(url, data))))
}

/// A Secret that must hold what it is for. Of it only the keys that have a use there.
pub async fn copy_with(
    reader: &Reader<'_>,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
    expected: Keys,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let Some(secret) = read(reader, namespace, name, expected.secret_use(), field).await? else {
        let why = format!("Secret {namespace}/{name} not found: create it, or name another one");
        return Err(Missing::unfit(field, why));
    };
    let (kind, data) = (secret.type_.unwrap_or_else(|| "Opaque".to_owned()), secret.data.unwrap_or_default());
    if let Err(why) = secret_keys::keys(expected, (namespace, name), &data) {
        return Err(Missing::unfit(field, why));
    }
    if expected == Keys::DockerConfig && kind != DOCKER_CONFIG {
        let why = format!("Secret {namespace}/{name} is of type {kind}; make it anew as one of type {DOCKER_CONFIG}");
        return Err(Missing::unfit(field, why));
    }
    Ok(Some(SecretCopy { name: name.clone(), kind, data: SecretData(expected.of(data)) }))
}

/// Reads a Secret by its name, if its owner allows that use. It is never kept in a cache: of what is watched only the names are
/// known.
async fn read(
    reader: &Reader<'_>,
    namespace: &str,
    name: &str,
    wanted: SecretUse,
    field: &str,
) -> Result<Option<Secret>, Missing> {
    let Reader { ctx, uid, cluster } = reader;
    // First, so that no change falls in between.
    ctx.secrets.record_reader(uid, cluster, namespace, name);
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let found = match with_deadline("get Secret", api.get_opt(name)).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Err(Missing::denied(field, namespace, name, &status.message));
        }
        Err(error) => {
            return Err(Missing::Unread(format!(
                "Secret {namespace}/{name} could not be read: {}",
                describe_error(&error)
            )));
        }
    };
    let Some(secret) = found else { return Ok(None) };
    // Before anything else is looked at: what a Secret lacks is not for those who may not use it.
    let (labels, kind) = (secret.metadata.labels.as_ref(), secret.type_.as_deref());
    secret_use::check((namespace, name), labels, kind, wanted).map_err(|why| Missing::unfit(field, why))?;
    Ok(Some(secret))
}

/// The command that lets this operator read the Secrets of a namespace. `message`: the API server's, which names the account.
fn role_binding(namespace: &str, message: &str) -> String {
    let account = message.split('"').find_map(|word| word.strip_prefix("system:serviceaccount:"));
    let account = account.unwrap_or("keelson-system:keelson");
    format!(
        "kubectl create rolebinding keelson-secrets --namespace={namespace} --clusterrole=keelson-secrets --serviceaccount={account}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_role_binding_is_named_with_the_command_that_makes_it() {
        let message = r#"secrets "fleet" is forbidden: User "system:serviceaccount:platform:keelson-eu" cannot get resource "secrets" in API group "" in the namespace "shop""#;
        let Missing::Refused(refusal) = Missing::denied("spec.x", "shop", "fleet", message) else { panic!() };
        assert_eq!(refusal.reason, Reason::AccessDenied);
        let command = "kubectl create rolebinding keelson-secrets --namespace=shop --clusterrole=keelson-secrets --serviceaccount=platform:keelson-eu";
        assert!(refusal.message.starts_with("spec.x: ") && refusal.message.ends_with(command), "{}", refusal.message);
        // Outside a cluster it is somebody's own account.
        assert!(role_binding("shop", "User \"mallory\" cannot").ends_with("--serviceaccount=keelson-system:keelson"));
    }
}
