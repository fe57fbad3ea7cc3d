//! What Keelson needs to know of a GitOps agent. An agent is a folder that implements these traits, and a line in
//! [`super::ALL`]; everything else is done by [`super::driver`] and the controllers, which name no agent.
//!
//! Not allowed here: which agent. No I/O.
//!
//! | trait | one for each | is |
//! |---|---|---|
//! | [`Agent`] | agent | what is known without a spec: names, versions, how it is found and paused |
//! | [`ValidSpec`] | cluster | its field of `spec.gitops`, validated |
//! | [`Input`], [`Driven`] | cluster | the desired agent with its Secrets: what to apply, what to read, and how to evaluate it |

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::Client;

use super::adoption::AdoptionMarker;
use super::driver;
use super::gitops_condition::Verdict;
use super::host_network::ApiAddress;
use super::install::Manifests;
use super::secret_reader::{Missing, SecretReader};
use super::shared_input::Facts;
use super::sync_outcome::GitOpsOutcome;
use super::validate_source::SourcePolicy;
use crate::api::SpecError;
use crate::api::gitops::{AgentIdentity, GitOps};
use crate::api::status_cluster::GitOpsStatus;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::memory::Handover;
use crate::workload::object::{Object, ObjectId};
use crate::workload::watch::Watched;

/// A field of the spec that the user must correct. Its path may depend on the source, unlike that of a [`SpecError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidField {
    /// Path of the field, as in `spec.gitops`.
    pub field: String,
    /// The mistake, and what to write instead.
    pub why: String,
}

impl InvalidField {
    /// A mistake in `field`.
    pub fn new(field: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { field: field.into(), why: why.to_string() }
    }
}

impl From<SpecError> for InvalidField {
    fn from(SpecError { field, message }: SpecError) -> Self {
        Self { field: field.into_owned(), why: message }
    }
}

/// An object that exists wherever an agent is installed, by whomever.
#[derive(Debug, Clone, Copy)]
pub struct Installation {
    /// API version and kind.
    pub kind: (&'static str, &'static str),
    /// `None`: in any namespace.
    pub namespace: Option<&'static str>,
    /// Selects it by labels.
    pub selector: &'static str,
}

/// One GitOps agent: what is known of it without the spec of a cluster.
pub trait Agent: Send + Sync {
    /// Its field in `spec.gitops`, and its name in status.
    fn name(&self) -> &'static str;

    /// Its name in messages.
    fn label(&self) -> &'static str;

    /// The field of the plan that holds its version.
    fn version_field(&self) -> String {
        format!("{}.version", self.name())
    }

    /// The newest built-in version, which is installed unless the spec names another.
    fn newest_version(&self) -> &'static str;

    /// Whether the manifests of a version are built in.
    fn has_version(&self, version: &str) -> bool;

    /// Whether the spec requests this agent.
    fn is_requested(&self, gitops: &GitOps) -> bool;

    /// The version that the spec names.
    fn named_version<'a>(&self, gitops: &'a GitOps) -> Option<&'a str>;

    /// Removes the version that the spec names.
    fn unset_version(&self, gitops: &mut GitOps);

    /// Validates its field of the spec; `None`: the spec does not request it.
    fn validate(&self, gitops: &GitOps, sources: SourcePolicy) -> Option<Result<ValidAgent, InvalidField>>;

    /// How an installation is found in a cluster whose spec selects another agent.
    fn installation(&self) -> Installation;

    /// Values of the label `app.kubernetes.io/managed-by` of programs that install it and put back what others change.
    fn installers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Pauses all objects that apply manifests continuously, in each version of their kinds that may be served: the
    /// load balancers of a cluster that is deleted must not be created again. Returns how many were running. See
    /// [`super::pause::pause_kind`].
    fn pause<'a>(&self, client: &'a Client) -> BoxFuture<'a, Result<usize, CallError>>;
}

/// An agent's field of `spec.gitops`, validated.
pub trait ValidSpec: fmt::Debug + Send + Sync {
    /// Whether to publish the cluster's facts in the cluster.
    fn wants_facts(&self) -> bool;

    /// Everything to apply except the facts, with the Secrets that the spec names.
    fn input<'a>(&'a self, secrets: &'a dyn SecretReader) -> BoxFuture<'a, Result<AgentInput, Missing>>;
}

/// The validated spec of any agent.
pub type ValidAgent = Arc<dyn ValidSpec>;

/// The desired agent of one cluster, as the controllers complete it.
pub trait Input: fmt::Debug + Send + Sync {
    /// Which agent.
    fn agent(&self) -> &'static dyn Agent;

    /// The kinds that show its state.
    fn watched(&self) -> Vec<Watched>;

    /// Installs the manifests of `version` instead of the desired one. A version that is not built in leaves the
    /// installed manifests.
    fn install_version(&mut self, version: &str);

    /// Leaves an agent that is installed at its version, because no record says which one was applied last.
    fn keep_installed_version(&mut self);

    /// Holds the source at a revision, as status reports it, instead of following its reference.
    fn hold_revision(&mut self, revision: &str);

    /// The identity in AWS that its Pods need.
    fn identity(&self) -> Option<AgentIdentity> {
        None
    }

    /// Sets the id of the association that gives them the identity.
    fn set_identity(&mut self, _id: String) {}

    /// Sets the facts that are published in the cluster.
    fn set_facts(&mut self, facts: Facts);

    /// The namespace of its Pods.
    fn pod_namespace(&self) -> &str;

    /// Lets its Pods use the host network, and the API server at this address; `None`: the Pod network.
    fn set_host_network(&mut self, api: Option<ApiAddress>);
}

/// What [`driver::reconcile`] needs of the desired agent of one cluster, in the order in which it is used.
pub trait Driven: Input + Clone + 'static {
    /// What is read of the agent's state.
    type Observation: Send + Sync;

    /// How objects show that Git has adopted them.
    const MARKER: AdoptionMarker;

    /// The component that leaves the host network last, where the Pods may use it.
    fn may_use_host_network(&self) -> Option<ObjectId>;

    /// Where some Pods must leave the host network before others, because these look for them at once: leaves the others
    /// unchanged as long as that takes. `leaves`: the Pod network is there. Returns whether they are left unchanged.
    fn hold_back(
        &mut self,
        _workload: &Workload,
        _leaves: bool,
    ) -> impl Future<Output = Result<bool, CallError>> + Send {
        std::future::ready(Ok(false))
    }

    /// How often the source is polled.
    fn interval(&self) -> std::time::Duration;

    /// Hash of what the install manifests depend on.
    fn install_key(&self) -> u64;

    /// Whether an installation of somebody else may be taken over.
    fn takes_over(&self) -> bool {
        false
    }

    /// The manifests to install; `None`: the installed version is not built in and may not be upgraded yet.
    fn desired_install<'a>(
        &'a self,
        workload: &Workload,
    ) -> impl Future<Output = Result<Option<Box<dyn Manifests + 'a>>, CallError>> + Send;

    /// Objects that Keelson always applies: the agent needs them, and Git does not contain them.
    fn permanent_objects(&self) -> Vec<Object>;

    /// Objects that Keelson applies until Git has adopted them, one after the other.
    fn seed_objects(&self, workload: &Workload) -> impl Future<Output = Result<Vec<Object>, CallError>> + Send;

    /// Requests a sync after a change of credentials, where the agent would otherwise wait for its backoff.
    fn request_sync(&self, _workload: &Workload) -> impl Future<Output = Result<(), CallError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Reads the agent's state.
    fn observe(&self, client: &Client) -> impl Future<Output = Result<Self::Observation, CallError>> + Send;

    /// Deletes what an earlier spec left and nothing uses any more. `is_changed`: this reconcile changed something.
    fn delete_replaced(
        &self,
        _workload: &Workload,
        _observed: &Self::Observation,
        _is_changed: bool,
    ) -> impl Future<Output = Result<Option<ObjectId>, CallError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Whether a component was deleted: it is restored at once, not only when everything is applied again.
    fn lacks_a_component(&self, observed: &Self::Observation) -> bool;

    /// Hash of what Git has adopted of the agent; 0: nothing. Until the adoption is complete it includes the revision,
    /// since each may adopt more.
    fn adoption_progress(&self, observed: &Self::Observation, before: &Handover) -> u64;

    /// Whether the newest revision is applied, and if not, why.
    fn verdict(&self, observed: &Self::Observation, now: Timestamp) -> Verdict;

    /// Notes for the end of the condition's message.
    fn note(&self, _observed: &Self::Observation) -> Option<String> {
        None
    }

    /// When the object that points the agent at its source was created.
    fn since(&self, observed: &Self::Observation) -> Option<Timestamp>;

    /// The value of `status.gitops`.
    fn roll_up(&self, observed: &Self::Observation, now: Timestamp) -> GitOpsStatus;
}

/// The input of any agent, which the driver can reconcile. Implemented for every [`Driven`].
pub trait Reconcilable: Input {
    /// A copy.
    fn boxed(&self) -> AgentInput;

    /// Reconciles the agent and reads its state: [`driver::reconcile`].
    fn reconcile<'a>(&'a self, workload: &'a Workload) -> BoxFuture<'a, Result<GitOpsOutcome, CallError>>;
}

impl<I: Driven> Reconcilable for I {
    fn boxed(&self) -> AgentInput {
        Box::new(self.clone())
    }

    fn reconcile<'a>(&'a self, workload: &'a Workload) -> BoxFuture<'a, Result<GitOpsOutcome, CallError>> {
        Box::pin(driver::reconcile(workload, self))
    }
}

/// The desired agent of one cluster: everything that is applied there.
pub type AgentInput = Box<dyn Reconcilable>;

impl Clone for AgentInput {
    fn clone(&self) -> Self {
        // Of the content: the box itself is an input only through it.
        (**self).boxed()
    }
}
