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
use crate::controllers::runtime::events::EventMessage;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::report::Next;

/// What became of a Secret, for status.
pub struct Written<T> {
    /// The Secret that this object owns, or is about to write.
    pub secret: Option<T>,
    /// Why it is not as the spec asks for.
    pub pending: Option<Overall>,
    /// When to reconcile again.
    pub next: Next,
}

/// Why a Secret is not written, or not deleted.
#[derive(Debug)]
pub enum Unwritten {
    /// A person has to change something.
    Refused(Reason, String),
    /// The API server failed, or the Secret changed meanwhile.
    Failed(String),
}

impl Unwritten {
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
pub enum Unapplied {
    /// Somebody else created it since it was read.
    NotOwned,
    /// The API server refused it, or failed.
    Api(kube::Error),
}

impl From<kube::Error> for Unapplied {
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

/// Applies a Secret that was read at version `existing`, or that did not exist.
pub async fn write(
    ctx: &Context,
    api: &Api<Secret>,
    name: &str,
    mut body: Value,
    existing: Option<Version>,
) -> Result<(), Unapplied> {
    let is_new = existing.is_none();
    let mut params = PatchParams::apply(apply::MANAGER);
    if let Some((uid, version)) = existing {
        body["metadata"]["uid"] = uid.into();
        body["metadata"]["resourceVersion"] = version.into();
        params = params.force();
    }
    let written = patch(ctx, api, name, &params, &body).await?;
    if is_new && has_other_managers(&written) {
        // Without our fields it is theirs again.
        let nothing = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": written.uid()}});
        patch(ctx, api, name, &params, &nothing).await?;
        return Err(Unapplied::NotOwned);
    }
    Ok(())
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
    fn secret_that_appears_meanwhile_is_recognised_by_its_managers() {
        let with = |managers: &[&str]| {
            let entries: Vec<_> = managers.iter().map(|manager| json!({"manager": manager})).collect();
            serde_json::from_value(json!({"metadata": {"name": "demo", "managedFields": entries}})).unwrap()
        };
        assert!(!has_other_managers(&with(&[apply::MANAGER])));
        assert!(has_other_managers(&with(&["kubectl-create", apply::MANAGER])));
    }
}
