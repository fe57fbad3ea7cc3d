//! The Secret of `spec.registerWith`, by which a tool of the management cluster reaches the cluster. I/O: that Secret. What is done
//! about one is decided in [`decide`], which is pure; what it contains is in [`hub`].
//!
//! Its namespace is not the EksCluster's, so that no owner reference can delete it, and others' Secrets are beside it. Only a Secret
//! with this object's UID, or with its namespace and name, is changed or deleted. Status has its place before it exists. It is deleted
//! when the field is removed, before the deletion of anything in AWS, and before the finalizer is removed; [`sweep`] deletes it where the
//! object is gone without that. On hold a cluster is neither registered nor unregistered, and a Secret that exists is kept up to date.

mod compare;
mod registration_memory;
pub mod sweep;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use self::compare::{Decision, decide};
pub use self::registration_memory::Memory;
use super::owned_secret::{self, ApplyError, SecretError, SecretOutcome, version};
use super::status::facts::Facts;
use super::{Outcome, Reconcile, agent};
use crate::agents::hub::{self, Marks};
use crate::api::Reason;
use crate::api::registration::RegistrationStatus;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::account::{self, Request};
use crate::controllers::runtime::apply::describe_error;
use crate::controllers::runtime::deadline::with_deadline;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::runtime::kind_watch::digest;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::resources::cloud::Cloud;
use crate::workload::client::Location;

/// How long a Secret that was up to date is not read again.
const VERIFIED_FOR: SignedDuration = SignedDuration::from_secs(10);
/// Retry interval while it cannot be written.
const RETRY: SignedDuration = SignedDuration::from_secs(60);
/// Retry interval while it cannot be deleted.
const DELETION_RETRY: SignedDuration = SignedDuration::from_secs(10);

impl Reconcile<'_> {
    /// Registers the cluster once it has an API, and deletes the Secret where the spec no longer asks for it.
    pub(super) async fn registration(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
    ) -> SecretOutcome<RegistrationStatus> {
        let recorded = previous.registration.clone();
        let settled = |secret| SecretOutcome { secret, pending: None, next: Next::change() };
        if self.observes() || recorded.is_none() && self.object.spec.register_with.is_none() {
            return settled(recorded);
        }
        let wanted = match self.wanted_place() {
            Ok(wanted) => wanted,
            Err(why) => return self.unregistered(recorded, why),
        };
        let mut refused = wanted.as_ref().and_then(|_| self.refused_labels());
        if recorded.is_none()
            && let Some(why) = refused.take()
        {
            return self.unregistered(None, why);
        }
        if self.holds.any() && recorded != wanted {
            let begins = recorded.is_some() || self.can_register();
            let condition =
                ConditionValue::false_(Reason::OnHold, "the cluster is neither registered nor unregistered");
            let pending = begins.then_some(Overall::Stalled(condition));
            return SecretOutcome { secret: recorded, pending, next: Next::change() };
        }
        let mut next = Next::change();
        let result = match (&recorded, &wanted) {
            (Some(old), wanted) if wanted.as_ref() != Some(old) => {
                self.state.kind.registration.verified = None;
                match self.remove_registration(old).await {
                    Err(SecretError::Refused(_, message)) if self.is_elsewhere(old) => {
                        self.publish_left(&message);
                        Ok(())
                    }
                    result => result,
                }
            }
            (Some(place), _) => self.write_registration(place, cloud).await.map(|at| next = at),
            (None, _) => Ok(()),
        };
        if let Err(why) = result {
            return self.unregistered(recorded, why);
        }
        if recorded == wanted
            && let Some(why) = refused
        {
            // What is allowed of it is written.
            let refused = self.unregistered(wanted, why);
            return SecretOutcome { next: next.or(refused.next), ..refused };
        }
        self.state.kind.registration.published = None;
        match wanted {
            Some(place) if recorded.as_ref() == Some(&place) => {
                SecretOutcome { secret: Some(place), pending: None, next }
            }
            // Written once status has its place.
            Some(place) if self.can_register() => {
                let message = format!("Secret {} is about to register the cluster", describe(&place));
                let pending = Overall::Reconciling(ConditionValue::false_(Reason::Updating, message));
                SecretOutcome { secret: Some(place), pending: Some(pending), next: Next::at(self.now) }
            }
            _ => settled(None),
        }
    }

    /// Removes the registration of a cluster that is deleted: what is registered deploys to it, and would do so until its API is gone.
    ///
    /// # Errors
    /// The outcome of the reconcile: the Secret is still there.
    pub(super) async fn deregister(&mut self, previous: &EksClusterStatus) -> Result<(), Outcome> {
        if self.state.kind.registration.is_removed {
            return Ok(());
        }
        let recorded = previous.registration.clone();
        // Where status was lost, a Secret may exist that it does not record.
        let asked = self.wanted_place().ok().flatten().filter(|place| recorded.as_ref() != Some(place));
        let places = recorded.into_iter().map(|place| (place, true)).chain(asked.map(|place| (place, false)));
        for (place, is_recorded) in places {
            let (overall, pause) = match self.remove_registration(&place).await {
                Ok(()) => continue,
                Err(SecretError::Refused(..)) if !is_recorded => continue,
                Err(SecretError::Refused(_, message)) if self.is_elsewhere(&place) => {
                    self.publish_left(&message);
                    continue;
                }
                Err(SecretError::Refused(_, message)) => {
                    let message = format!("nothing is deleted in AWS while the cluster is registered: {message}");
                    (Overall::Stalled(ConditionValue::false_(Reason::DeletionBlocked, message)), RETRY)
                }
                Err(SecretError::Failed(message)) => (self.reconciling(Reason::Deleting, message), DELETION_RETRY),
            };
            return Err(self.unobserved(previous, overall, Next::after(pause, self.now)));
        }
        let memory = &mut self.state.kind.registration;
        (memory.is_removed, memory.verified) = (true, None);
        Ok(())
    }

    /// Where the spec wants the cluster to be registered.
    fn wanted_place(&self) -> Result<Option<RegistrationStatus>, SecretError> {
        let spec = &self.object.spec;
        if spec.register_with.is_none() {
            return Ok(None);
        }
        let registry = &self.ctx.settings.registry;
        let namespace = registry.namespace().map_err(|message| SecretError::Refused(Reason::InvalidSpec, message))?;
        let secret = hub::secret_name(&self.namespace, &self.object.name_any());
        Ok(Some(RegistrationStatus { namespace: namespace.to_owned(), secret }))
    }

    /// Why labels of the spec are not written; `None`: all of them are.
    fn refused_labels(&self) -> Option<SecretError> {
        let labels = &self.object.spec.registration.as_ref()?.labels;
        let message = self.ctx.settings.registry.check_labels(labels).err()?;
        Some(SecretError::Refused(Reason::AccessDenied, message))
    }

    fn marks(&self) -> Marks {
        let owner = self.object.uid().unwrap_or_default();
        Marks { namespace: self.namespace.clone(), name: self.object.name_any(), owner }
    }

    /// Whether the operator no longer works in the namespace of a Secret, and so may have lost its permissions there.
    fn is_elsewhere(&self, place: &RegistrationStatus) -> bool {
        self.ctx.settings.registry.namespace.as_ref() != Some(&place.namespace)
    }

    fn publish_left(&self, message: &str) {
        let note = format!("its Secret is not deleted, and the cluster stays registered: delete it; {message}");
        self.ctx.events.publish(self.object, vec![EventMessage::warning(Reason::AccessDenied, note)]);
    }

    fn unregistered(
        &mut self,
        secret: Option<RegistrationStatus>,
        why: SecretError,
    ) -> SecretOutcome<RegistrationStatus> {
        let pending = why.report(self.ctx, self.object, &mut self.state.kind.registration.published);
        SecretOutcome { secret, pending: Some(pending), next: Next::after(RETRY, self.now) }
    }

    /// Whether the control plane is the object's own and has an API: that of another cluster of its name is not registered.
    fn can_register(&self) -> bool {
        self.has_finalizer() && Facts(&self.state.memory).is_ours() && self.location().is_some()
    }

    fn desired_secret(&self, cloud: &Cloud, location: &Location) -> Secret {
        let spec = &self.object.spec;
        let facts = agent::facts(&self.state.memory, self.object, &cloud.aws);
        let account = account::grant_in(self.ctx, &Request::of(self.object)).ok().and_then(|grant| grant.account);
        let registration = spec.registration.clone().unwrap_or_default();
        let labels = self.ctx.settings.registry.allowed_labels(&registration.labels);
        hub::secret(&hub::Cluster {
            namespace: &self.namespace,
            name: &self.object.name_any(),
            owner: &self.object.uid().unwrap_or_default(),
            account: account.as_deref(),
            labels: &labels,
            role_arn: registration.role_arn.as_deref(),
            endpoint: &location.endpoint,
            certificate_authority: &location.certificate_authority,
            facts: &facts,
        })
    }

    /// Writes the Secret if it differs. Returns when to read it again.
    async fn write_registration(&mut self, place: &RegistrationStatus, cloud: &Cloud) -> Result<Next, SecretError> {
        // As it was, for as long as nobody knows where the API is.
        let Some(location) = self.location().filter(|_| self.can_register()) else { return Ok(Next::change()) };
        let wanted = self.desired_secret(cloud, &location);
        let body = body(&wanted);
        let content = digest((&place.namespace, body.to_string()));
        if let Some((_, at)) = self.state.kind.registration.verified.filter(|(what, _)| *what == content)
            && let Ok(until) = at.checked_add(VERIFIED_FOR)
            && self.now < until
        {
            return Ok(Next::at(until));
        }
        let (api, name) = (self.secrets_of(place), &place.secret);
        let found = with_deadline("get Secret", api.get_opt(name)).await;
        let found = found.map_err(|error| registration_failed(place, &error))?;
        let owner = self.object.uid().unwrap_or_default();
        match decide(found.as_ref(), &self.marks(), &wanted) {
            Decision::Keep => {}
            Decision::NotOwned => {
                let given_back = owned_secret::give_back(self.ctx, &api, found.as_ref(), &owner).await;
                return Err(given_back.map_or_else(|error| registration_failed(place, &error), |()| not_owned(place)));
            }
            Decision::Write(existing) => {
                let written =
                    owned_secret::write(self.ctx, &api, (name.as_str(), owner.as_str()), body, existing).await;
                written.map_err(|why| match why {
                    ApplyError::NotOwned => not_owned(place),
                    ApplyError::Api(error) => registration_failed(place, &error),
                })?;
            }
        }
        self.state.kind.registration.verified = Some((content, self.now));
        Ok(Next::change())
    }

    /// Deletes the Secret if it is this object's; one of others stays.
    async fn remove_registration(&self, place: &RegistrationStatus) -> Result<(), SecretError> {
        let (api, marks) = (self.secrets_of(place), self.marks());
        let found = with_deadline("get Secret", api.get_opt(&place.secret)).await;
        let found = found.map_err(|error| registration_failed(place, &error))?;
        let is_its =
            |secret: &Secret| hub::is_of(&secret.metadata, &marks) || owned_secret::is_claimed(secret, &marks.owner);
        let Some(secret) = found.filter(is_its) else { return Ok(()) };
        let deleted = owned_secret::delete(self.ctx, &api, &place.secret, version(&secret)).await;
        deleted.map_err(|error| registration_failed(place, &error))?;
        // A finalizer keeps it, and the cluster registered.
        let left = with_deadline("get Secret", api.get_opt(&place.secret)).await;
        let left = left.map_err(|error| registration_failed(place, &error))?;
        still_there(place, &secret, left.as_ref()).map_or(Ok(()), |message| Err(SecretError::Failed(message)))
    }

    fn secrets_of(&self, place: &RegistrationStatus) -> Api<Secret> {
        Api::namespaced(self.ctx.client.clone(), &place.namespace)
    }
}

/// What is applied.
fn body(wanted: &Secret) -> Value {
    let metadata = &wanted.metadata;
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": metadata.name, "labels": metadata.labels, "annotations": metadata.annotations},
        "type": wanted.type_,
        "data": wanted.data,
    })
}

fn describe(place: &RegistrationStatus) -> String {
    format!("{}/{}", place.namespace, place.secret)
}

fn not_owned(place: &RegistrationStatus) -> SecretError {
    let message = format!(
        "spec.registerWith: Secret {} exists and is not of this EksCluster: delete it, or remove registerWith",
        describe(place)
    );
    SecretError::Refused(Reason::NotOwned, message)
}

/// What keeps a Secret that was deleted; `None`: it is gone, or another one has its name.
fn still_there(place: &RegistrationStatus, deleted: &Secret, left: Option<&Secret>) -> Option<String> {
    let left = left.filter(|left| left.uid() == deleted.uid())?;
    let finalizers = left.finalizers().join(", ");
    Some(format!("spec.registerWith: Secret {} is being deleted; its finalizers: {finalizers}", describe(place)))
}

fn registration_failed(place: &RegistrationStatus, error: &kube::Error) -> SecretError {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            SecretError::Refused(Reason::AccessDenied, hub::describe_denied(&place.namespace, &place.secret))
        }
        kube::Error::Api(status) if status.code == 404 => {
            let message = format!(
                "spec.registerWith: there is no namespace {}: a cluster administrator must create it, or correct \
                 the operator's setting",
                place.namespace
            );
            SecretError::Refused(Reason::InvalidSpec, message)
        }
        error => {
            SecretError::Failed(format!("spec.registerWith: Secret {}: {}", describe(place), describe_error(error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_a_finalizer_keeps_is_not_deleted() {
        let secret = |uid: &str| -> Secret {
            let metadata = json!({"name": "keelson-a", "uid": uid, "finalizers": ["acme.example/audit"]});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let place = RegistrationStatus { namespace: "argocd".into(), secret: "keelson-a".into() };
        let deleted = secret("s-1");
        assert_eq!(still_there(&place, &deleted, None), None);
        assert_eq!(still_there(&place, &deleted, Some(&secret("s-2"))), None, "created since");
        assert_eq!(
            still_there(&place, &deleted, Some(&secret("s-1"))).as_deref(),
            Some("spec.registerWith: Secret argocd/keelson-a is being deleted; its finalizers: acme.example/audit")
        );
    }
}
