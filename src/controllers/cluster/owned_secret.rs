//! Secrets of the management cluster that a spec asks for and that the object owns: how one is applied and deleted, and how it is
//! reported that it is not. I/O: the management cluster's API.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::api::{EksCluster, Reason};
use crate::controllers::context::Context;
use crate::controllers::runtime::apply;
use crate::controllers::runtime::deadline::with_deadline_while_leading;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;

/// What became of a Secret, for status.
pub struct SecretOutcome<T> {
    /// The Secret that this object owns, or is about to write.
    pub secret: Option<T>,
    /// Why it is not as the spec asks for.
    pub pending: Option<Overall>,
    /// When to reconcile again.
    pub next: Next,
}

/// Why a Secret is not written, or not deleted.
#[derive(Debug)]
pub enum SecretError {
    /// A person has to change something.
    Refused(Reason, String),
    /// The API server failed, or the Secret changed meanwhile.
    Failed(String),
}

impl SecretError {
    /// The condition. A refusal becomes an event too, unless it was `published` last.
    pub fn report(self, ctx: &Context, object: &EksCluster, published: &mut Option<String>) -> Overall {
        match self {
            Self::Failed(message) => Overall::Reconciling(ConditionValue::false_(Reason::Pending, message)),
            Self::Refused(reason, message) => {
                if published.as_ref() != Some(&message) {
                    *published = Some(message.clone());
                    ctx.events.publish(object, vec![EventMessage::warning(reason, message.clone())]);
                }
                Overall::Stalled(ConditionValue::false_(reason, message))
            }
        }
    }
}

/// Why a Secret was not applied.
pub enum ApplyError {
    /// Somebody else created it since it was read.
    NotOwned,
    /// The API server refused it, or failed.
    Api(kube::Error),
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

/// UID and resourceVersion of a Secret as it was read.
pub type Version = (String, String);

/// The version of a Secret.
pub fn version(secret: &Secret) -> Version {
    (secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default())
}

/// The annotation of a Secret that is created for an object, with the UID of that. Applying creates a Secret or changes the one that
/// somebody else created since it was read, so that is done with this annotation alone: the Secret gets its content, and what makes it
/// the object's, once it is known to be nobody else's.
const CLAIM: &str = "keelson.dev/claimed-by";

/// Whether a Secret was created for the object `owner`, and got no content yet.
pub fn is_claimed(secret: &Secret, owner: &str) -> bool {
    has_claim(secret, owner) && !has_other_managers(secret)
}

fn has_claim(secret: &Secret, owner: &str) -> bool {
    secret.annotations().get(CLAIM).is_some_and(|claim| claim == owner)
}

/// Applies the Secret of the object `owner`, which was read at version `existing`, or did not exist.
pub async fn write(
    ctx: &Context,
    api: &Api<Secret>,
    (name, owner): (&str, &str),
    mut body: Value,
    existing: Option<Version>,
) -> Result<(), ApplyError> {
    let params = PatchParams::apply(apply::MANAGER);
    let (uid, version) = match existing {
        Some(existing) => existing,
        None => {
            let metadata = json!({"name": name, "annotations": {CLAIM: owner}});
            let claim = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": body["type"]});
            let claimed = patch(ctx, api, name, &params, &claim).await?;
            if has_other_managers(&claimed) {
                give_back(ctx, api, Some(&claimed), owner).await?;
                return Err(ApplyError::NotOwned);
            }
            version(&claimed)
        }
    };
    body["metadata"]["uid"] = uid.into();
    body["metadata"]["resourceVersion"] = version.into();
    // It no longer has the claim: what is not applied again is removed.
    patch(ctx, api, name, &params.force(), &body).await?;
    Ok(())
}

/// Removes the claim from a Secret that others created: a process that ended there could not.
pub async fn give_back(
    ctx: &Context,
    api: &Api<Secret>,
    found: Option<&Secret>,
    owner: &str,
) -> Result<(), kube::Error> {
    let Some(secret) = found.filter(|secret| has_claim(secret, owner)) else { return Ok(()) };
    let name = secret.name_any();
    let nothing = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": secret.uid()}});
    patch(ctx, api, &name, &PatchParams::apply(apply::MANAGER), &nothing).await.map(drop)
}

async fn patch(
    ctx: &Context,
    api: &Api<Secret>,
    name: &str,
    params: &PatchParams,
    body: &Value,
) -> Result<Secret, kube::Error> {
    let patch = Patch::Apply(body);
    with_deadline_while_leading(&*ctx.gate, "patch Secret", api.patch(name, params, &patch)).await
}

/// Whether anybody else wrote fields of it.
fn has_other_managers(secret: &Secret) -> bool {
    secret.managed_fields().iter().any(|entry| entry.manager.as_deref() != Some(apply::MANAGER))
}

/// Deletes a Secret as it was read. Succeeds if it no longer exists.
pub async fn delete(ctx: &Context, api: &Api<Secret>, name: &str, (uid, version): Version) -> Result<(), kube::Error> {
    let preconditions = Preconditions { uid: Some(uid), resource_version: Some(version) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match with_deadline_while_leading(&*ctx.gate, "delete Secret", api.delete(name, &params)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_claimed_by_one_object_and_not_if_it_appeared_meanwhile() {
        let with = |managers: &[&str], claim: Value| -> Secret {
            let entries: Vec<_> = managers.iter().map(|manager| json!({"manager": manager})).collect();
            let metadata = json!({"name": "demo", "managedFields": entries, "annotations": claim});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let claim = || json!({CLAIM: "u-1"});
        let claimed = with(&[apply::MANAGER], claim());
        assert!(is_claimed(&claimed, "u-1") && !is_claimed(&claimed, "u-2"));
        let theirs = with(&["kubectl-create", apply::MANAGER], claim());
        assert!(has_claim(&theirs, "u-1") && !is_claimed(&theirs, "u-1"), "the claim is removed again");
        assert!(!is_claimed(&with(&[apply::MANAGER], Value::Null), "u-1"));
    }
}
