//! The Secret of `spec.writeKubeconfigToSecretRef`: a kubeconfig without a token, for tools in the management cluster. I/O: that
//! Secret. What is done about one is decided in [`decide`], which is pure.
//!
//! Only a Secret that this object owns (its owner reference has the UID) is changed or deleted. Status has the name before the
//! Secret exists, so that it is deleted when the spec names another one, or none. With the object the API server deletes it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Reconcile;
use super::owned_secret::{self, ApplyError, SecretError, SecretOutcome, Version, version};
use crate::api::Reason;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::runtime::apply::{self, describe_error};
use crate::controllers::runtime::deadline::with_deadline;
use crate::controllers::runtime::kind_watch::digest;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::workload::client::Location;
use crate::workload::kubeconfig::ExecAccess;

/// The key of the Secret.
const KEY: &str = "kubeconfig";
/// How long a Secret that was in step is not read again.
const VERIFIED_FOR: SignedDuration = SignedDuration::from_secs(60);
/// Retry interval while it cannot be written.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

/// What is remembered of the Secret.
#[derive(Debug, Default)]
pub struct Memory {
    /// Digest of the name and the content that were last found in it, and when.
    verified: Option<(u64, Timestamp)>,
    /// The failure that was published last.
    published: Option<String>,
}

/// What to do about a Secret.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is as it should be.
    Keep,
    /// Write it; with its UID and resourceVersion if it exists.
    Apply(Option<Version>),
    /// It is not this object's.
    NotOwned,
}

/// Decides about the Secret that was found, for the object `owner` and the content `wanted`.
fn decide(found: Option<&Secret>, owner: &str, wanted: &str) -> Decision {
    let Some(secret) = found else { return Decision::Apply(None) };
    if !is_owned(secret, owner) {
        let is_claimed = owned_secret::is_claimed(secret, owner);
        return if is_claimed { Decision::Apply(Some(version(secret))) } else { Decision::NotOwned };
    }
    let data = secret.data.iter().flatten().find(|(key, _)| *key == KEY);
    if data.is_some_and(|(_, value)| value.0 == wanted.as_bytes()) {
        return Decision::Keep;
    }
    Decision::Apply(Some(version(secret)))
}

fn is_owned(secret: &Secret, owner: &str) -> bool {
    secret.owner_references().iter().any(|reference| reference.uid == owner)
}

/// The content of the Secret.
fn content(cluster_name: &str, region: &str, location: &Location) -> String {
    let Location { arn, endpoint, certificate_authority } = location;
    let access = ExecAccess { cluster_name, region, endpoint, certificate_authority, role_arn: None, profile: None };
    // JSON is YAML: kubectl and client libraries read both.
    format!("{:#}\n", access.document(arn))
}

impl Reconcile<'_> {
    /// Writes the Secret that the spec names once the cluster has an API, and deletes the one that it named before.
    pub(super) async fn kubeconfig_secret(&mut self, previous: &EksClusterStatus) -> SecretOutcome<String> {
        let recorded = previous.kubeconfig_secret.clone();
        let wanted = self.object.spec.write_kubeconfig_to_secret_ref.as_ref().map(|reference| reference.name.clone());
        let settled = |secret| SecretOutcome { secret, pending: None, next: Next::change() };
        if self.observes() || recorded.is_none() && wanted.is_none() {
            return settled(recorded);
        }
        let result = match (recorded.as_deref(), wanted.as_deref()) {
            (Some(old), wanted) if wanted != Some(old) => {
                self.state.kind.kubeconfig.verified = None;
                self.delete_secret(old).await.map(|()| None)
            }
            (Some(name), _) => self.write_secret(name).await.map(|()| Some(name.to_owned())),
            (None, _) => Ok(None),
        };
        let name = match result {
            Ok(name) => name,
            Err(why) => return self.unwritten(recorded, why),
        };
        self.state.kind.kubeconfig.published = None;
        match wanted {
            // Written once status has its name.
            Some(next) if name.is_none() && self.location().is_some() => {
                let message = format!("Secret {}/{next} is about to get the kubeconfig", self.namespace);
                let pending = Overall::Reconciling(ConditionValue::false_(Reason::Updating, message));
                SecretOutcome { secret: Some(next), pending: Some(pending), next: Next::at(self.now) }
            }
            _ => settled(name),
        }
    }

    fn unwritten(&mut self, secret: Option<String>, why: SecretError) -> SecretOutcome<String> {
        let pending = why.report(self.ctx, self.object, &mut self.state.kind.kubeconfig.published);
        SecretOutcome { secret, pending: Some(pending), next: Next::after(RETRY, self.now) }
    }

    pub(super) fn location(&self) -> Option<Location> {
        self.ctx.workloads.location(&self.object.uid()?)
    }

    fn secrets_of_namespace(&self) -> Api<Secret> {
        Api::namespaced(self.ctx.client.clone(), &self.namespace)
    }

    async fn write_secret(&mut self, name: &str) -> Result<(), SecretError> {
        // As it was, for as long as nobody knows where the API is.
        let Some(location) = self.location() else { return Ok(()) };
        let content = content(&self.object.cluster_name(), &self.object.spec.region, &location);
        let verified = digest((name, &content));
        let is_fresh = |at| self.now.duration_since(at) < VERIFIED_FOR;
        if self.state.kind.kubeconfig.verified.is_some_and(|(what, at)| what == verified && is_fresh(at)) {
            return Ok(());
        }
        let (api, owner) = (self.secrets_of_namespace(), self.object.uid().unwrap_or_default());
        let found =
            with_deadline("get Secret", api.get_opt(name)).await.map_err(|error| self.secret_failed(name, &error))?;
        let existing = match decide(found.as_ref(), &owner, &content) {
            Decision::Keep => None,
            Decision::Apply(existing) => Some(existing),
            Decision::NotOwned => {
                let given_back = owned_secret::give_back(self.ctx, &api, found.as_ref(), &owner).await;
                return Err(given_back.map_or_else(|error| self.secret_failed(name, &error), |()| self.not_owned(name)));
            }
        };
        if let Some(existing) = existing {
            let body = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": name,
                    "labels": {"app.kubernetes.io/managed-by": "keelson"},
                    "ownerReferences": [{
                        "apiVersion": "keelson.dev/v1alpha1",
                        "kind": "EksCluster",
                        "name": self.object.name_any(),
                        "uid": owner,
                    }],
                },
                "type": "Opaque",
                "data": {KEY: ByteString(content.into_bytes())},
            });
            owned_secret::write(self.ctx, &api, (name, owner.as_str()), body, existing).await.map_err(
                |why| match why {
                    ApplyError::NotOwned => self.not_owned(name),
                    ApplyError::Api(error) => self.secret_failed(name, &error),
                },
            )?;
        }
        self.state.kind.kubeconfig.verified = Some((verified, self.now));
        Ok(())
    }

    fn not_owned(&self, name: &str) -> SecretError {
        let message = format!(
            "spec.writeKubeconfigToSecretRef: Secret {}/{name} exists and is not of this EksCluster: name another one, or delete it",
            self.namespace
        );
        SecretError::Refused(Reason::NotOwned, message)
    }

    /// Deletes a Secret of this object; one of others stays.
    async fn delete_secret(&self, name: &str) -> Result<(), SecretError> {
        let (api, owner) = (self.secrets_of_namespace(), self.object.uid().unwrap_or_default());
        let found =
            with_deadline("get Secret", api.get_opt(name)).await.map_err(|error| self.secret_failed(name, &error))?;
        let is_its = |secret: &Secret| is_owned(secret, &owner) || owned_secret::is_claimed(secret, &owner);
        let Some(secret) = found.filter(is_its) else { return Ok(()) };
        let deleted = owned_secret::delete(self.ctx, &api, name, version(&secret)).await;
        deleted.map_err(|error| self.secret_failed(name, &error))
    }

    fn secret_failed(&self, name: &str, error: &kube::Error) -> SecretError {
        let namespace = &self.namespace;
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                SecretError::Refused(Reason::AccessDenied, describe_denied(namespace, name, &status.message))
            }
            error => SecretError::Failed(format!(
                "spec.writeKubeconfigToSecretRef: Secret {namespace}/{name}: {}",
                describe_error(error)
            )),
        }
    }
}

/// The commands that let this operator write that Secret, and no other.
fn describe_denied(namespace: &str, name: &str, message: &str) -> String {
    let account = apply::denied_account(message);
    format!(
        "spec.writeKubeconfigToSecretRef: the operator has no permission to write Secret {namespace}/{name}: a cluster \
         administrator must run kubectl create role keelson-{name} --namespace={namespace} --verb=get,create,patch,delete \
         --resource=secrets --resource-name={name} and kubectl create rolebinding keelson-{name} --namespace={namespace} \
         --role=keelson-{name} --serviceaccount={account}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(owner: &str, data: &[(&str, &str)]) -> Secret {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let mut secret: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": "demo", "uid": "s-1", "resourceVersion": "7",
                "ownerReferences": [{"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "name": "demo", "uid": owner}],
            },
        }))
        .unwrap();
        let bytes = |value: &serde_json::Value| ByteString(value.as_str().unwrap().into());
        secret.data = Some(data.iter().map(|(key, value)| (key.clone(), bytes(value))).collect());
        secret
    }

    #[test]
    fn only_a_secret_of_the_object_itself_is_written() {
        let existing = Some(("s-1".to_owned(), "7".to_owned()));
        assert_eq!(decide(None, "u-1", "new"), Decision::Apply(None));
        assert_eq!(decide(Some(&secret("u-1", &[(KEY, "new"), ("note", "x")])), "u-1", "new"), Decision::Keep);
        assert_eq!(decide(Some(&secret("u-1", &[(KEY, "old")])), "u-1", "new"), Decision::Apply(existing.clone()));
        assert_eq!(decide(Some(&secret("u-1", &[])), "u-1", "new"), Decision::Apply(existing));
        // Of an earlier object of this name, which the API server is about to delete, or of others.
        assert_eq!(decide(Some(&secret("u-0", &[(KEY, "new")])), "u-1", "new"), Decision::NotOwned);
        assert_eq!(decide(Some(&Secret::default()), "u-1", "new"), Decision::NotOwned);
    }

    #[test]
    fn content_has_an_exec_plugin_and_no_token() {
        let location = Location {
            arn: "arn:aws:eks:eu-west-1:111122223333:cluster/demo-eks".into(),
            endpoint: "https://demo.eks.amazonaws.com".into(),
            certificate_authority: "Q0E=".into(),
        };
        let text = content("demo-eks", "eu-west-1", &location);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["current-context"], "demo-eks");
        assert_eq!(parsed["users"][0]["user"]["exec"]["args"][3], "get-token");
        assert!(!text.contains("\"token\""), "{text}");
    }

    #[test]
    fn missing_permission_names_the_commands_for_this_secret_alone() {
        let message = r#"secrets "demo" is forbidden: User "system:serviceaccount:platform:keelson-eu" cannot get resource "secrets""#;
        let text = describe_denied("shop", "demo", message);
        assert!(text.contains("--resource=secrets --resource-name=demo and"), "{text}");
        assert!(text.ends_with("--role=keelson-demo --serviceaccount=platform:keelson-eu"), "{text}");
    }
}
