//! The Secrets that a cluster's agent needs from the management cluster. I/O: reads them.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::agents::secret_reader::{Missing, SecretReader, UnusableSecret};
use crate::api::secret_use::{self, SecretUse};
use crate::api::{EksCluster, Reason};
use crate::controllers::context::Context;
use crate::controllers::runtime::apply::{denied_account, describe_error};
use crate::controllers::runtime::deadline::with_deadline;

/// Reads for one cluster, which is requeued when a Secret it read changes.
pub struct Reader<'a> {
    ctx: &'a Context,
    uid: String,
    namespace: String,
    cluster: ObjectRef<EksCluster>,
}

impl<'a> Reader<'a> {
    /// A reader for a cluster that reads all its Secrets again.
    pub fn new(ctx: &'a Context, cluster: &EksCluster) -> Self {
        let uid = cluster.uid().unwrap_or_default();
        ctx.secrets.forget(&uid);
        Self { ctx, uid, namespace: cluster.namespace().unwrap_or_default(), cluster: ObjectRef::from_obj(cluster) }
    }
}

impl SecretReader for Reader<'_> {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn read<'a>(
        &'a self,
        name: &'a str,
        wanted: SecretUse,
        field: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret>, Missing>> {
        Box::pin(read(self, name, wanted, field))
    }
}

/// Reads a Secret by its name, if its owner allows that use. Contents are never cached: the watch keeps only names.
async fn read(reader: &Reader<'_>, name: &str, wanted: SecretUse, field: &str) -> Result<Option<Secret>, Missing> {
    let Reader { ctx, uid, namespace, cluster } = reader;
    // Registered first, so that no change is missed in between.
    ctx.secrets.record_reader(uid, cluster, namespace, name);
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let found = match with_deadline("get Secret", api.get_opt(name)).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Err(Missing::Unusable(permission_denied(field, namespace, name, &status.message)));
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

/// The operator has no permission to read Secrets in that namespace.
fn permission_denied(field: &str, namespace: &str, name: &str, message: &str) -> UnusableSecret {
    let message = format!(
        "{field}: the operator has no permission to read Secret {namespace}/{name}: a cluster administrator must run {}",
        role_binding(namespace, message)
    );
    UnusableSecret { reason: Reason::AccessDenied, message }
}

/// The command that lets this operator read the Secrets of a namespace. `message`: the API server's.
fn role_binding(namespace: &str, message: &str) -> String {
    let account = denied_account(message);
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
        let refusal = permission_denied("spec.x", "shop", "fleet", message);
        assert_eq!(refusal.reason, Reason::AccessDenied);
        let command = "kubectl create rolebinding keelson-secrets --namespace=shop --clusterrole=keelson-secrets \
                       --serviceaccount=platform:keelson-eu";
        assert!(refusal.message.starts_with("spec.x: ") && refusal.message.ends_with(command), "{}", refusal.message);
        // Outside a cluster it is a user's own account.
        assert!(role_binding("shop", "User \"mallory\" cannot").ends_with("--serviceaccount=keelson-system:keelson"));
    }
}
