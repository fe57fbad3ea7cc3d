//! Why a reconcile failed: an enum for each step, and one of all steps. Status, metrics and the log derive what they
//! say from it. No I/O but the log.
//!
//! Every variant keeps the error that caused it, so the log can show what status must not: the request id of an AWS
//! call, which would change status with each attempt.

use std::error::Error;
use std::fmt::Write;

use jiff::SignedDuration;

use super::account::refusal::Refusal;
use super::runtime::apply::describe_error;
use crate::api::{Reason, SpecError};
use crate::aws::AwsError;
use crate::engine::check::Violation;
use crate::engine::failure::RetryState;
use crate::engine::{Action, Class, Failure, Key, Report};

/// Result of a reconcile: the spec is not allowed, or its account does not allow it.
const REFUSED: &str = "refused";
/// Result of a reconcile: a call to the management cluster's API failed.
pub const MANAGEMENT_API: &str = "management_api";
/// Result of a reconcile: the management cluster's API rejected the status.
pub const STATUS_REJECTED: &str = "status_rejected";
/// Result of a reconcile: the checker rejected the plan.
const UNSAFE_PLAN: &str = "unsafe_plan";

/// Retry interval while a record that must exist first cannot be written to the management cluster.
const RECORD_RETRY: SignedDuration = SignedDuration::from_secs(5);
/// Retry interval while the finalizer cannot be removed, or the EksCluster of a NodeGroup cannot be read.
const SHORT_RETRY: SignedDuration = SignedDuration::from_secs(2);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("step dereference failed")]
    Dereference(#[from] DereferenceError),
    #[error("step validate failed")]
    Validate(#[from] ValidateError),
    #[error("step build failed")]
    Build(#[from] BuildError),
    #[error("step observe failed")]
    Observe(#[from] ObserveError),
    #[error("step plan failed")]
    Plan(#[from] PlanError),
    #[error("step execute failed")]
    Execute(#[from] ExecuteError),
    #[error("step status failed")]
    Status(#[from] StatusError),
}

/// Why what an object refers to in the management cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DereferenceError {
    #[error("its account is not accessible to it")]
    Account(#[source] Refusal),
    #[error("an object that refers to it cannot be read")]
    Dependent(#[source] Refusal),
    #[error("EksCluster {name} cannot be read: {}", describe_error(.source))]
    Cluster { name: String, source: kube::Error },
}

/// Why an object is not valid, alone or in AWS.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    #[error("it is refused")]
    Refused(#[source] Refusal),
    #[error("its name in AWS is not free")]
    NameTaken {
        #[source]
        refusal: Refusal,
        /// When to check again.
        recheck: SignedDuration,
    },
    #[error("there is no session in its account")]
    Session(#[source] Failure),
    #[error("what it names could not be checked in AWS")]
    Aws(#[source] Failure),
}

/// Why there is no graph, or what must be recorded before the first write is not.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the spec describes no graph")]
    Spec(#[source] SpecError),
    #[error("its resources in AWS could not be listed")]
    Survey(#[source] Failure),
    #[error("the tag keys are not recorded in status yet, so nothing is written to AWS: {}", describe_error(.0))]
    TagKeys(#[source] kube::Error),
    #[error("the finalizer was not added, so nothing is created in AWS: {}", describe_error(.0))]
    Finalizer(#[source] kube::Error),
}

/// Why AWS could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("{key} could not be observed")]
    Resource { key: Key, source: Failure },
    #[error("AWS could not be read")]
    Aws(#[source] Failure),
}

/// Why a plan is not executed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The first of the rules that it would break.
    #[error("the checker refused the plan")]
    Unsafe(#[source] Violation),
}

/// Why a step of the plan failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("{} {key} failed", .action.as_str())]
    Step { key: Key, action: Action, source: Failure },
}

/// Why the end of a reconcile is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("the status was not written: {}", describe_error(.0))]
    NotWritten(#[source] kube::Error),
    #[error("the finalizer was not removed: {}", describe_error(.0))]
    Finalizer(#[source] kube::Error),
}

/// What an error means for status and requeue.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// A user must change something; `recheck`: or something else did by then.
    Refused { refusal: Refusal, recheck: Option<SignedDuration> },
    /// It is retried with backoff.
    Failed(Failure),
    /// The management cluster's API failed: it is retried after a fixed time.
    ManagementApi { reason: Reason, message: String, retry: SignedDuration },
    /// An error in Keelson.
    Unsafe(Violation),
}

impl ReconcileError {
    /// The error of what the engine did: of the plan, else of a step, else of an observation.
    pub fn of(report: &Report) -> Option<Self> {
        Self::of_new(report, |_, _| true)
    }

    /// The same, if it is new: an observation that failed earlier may not be due yet, and is still in the report.
    pub fn of_new(report: &Report, is_new: impl Fn(&Key, &RetryState) -> bool) -> Option<Self> {
        if let Some(violation) = report.violations.first() {
            return Some(PlanError::Unsafe(violation.clone()).into());
        }
        if let Some((key, action, failure)) = report.failed_steps().next() {
            let (key, source) = (key.clone(), failure.clone());
            return Some(ExecuteError::Step { key, action, source }.into());
        }
        let (key, failed) = report.failed_observations().find(|(key, failed)| is_new(key, failed))?;
        Some(ObserveError::Resource { key: key.clone(), source: failed.failure.clone() }.into())
    }

    /// What it means for status and requeue.
    pub fn effect(&self) -> Effect {
        let refused = |refusal: &Refusal| Effect::Refused { refusal: refusal.clone(), recheck: None };
        let failed = |failure: &Failure| Effect::Failed(failure.clone());
        let api =
            |reason, error: &dyn Error, retry| Effect::ManagementApi { reason, message: error.to_string(), retry };
        match self {
            Self::Dereference(DereferenceError::Account(refusal) | DereferenceError::Dependent(refusal)) => {
                refused(refusal)
            }
            Self::Dereference(error @ DereferenceError::Cluster { .. }) => {
                api(Reason::WaitingForCluster, error, SHORT_RETRY)
            }
            Self::Validate(ValidateError::Refused(refusal)) => refused(refusal),
            Self::Validate(ValidateError::NameTaken { refusal, recheck }) => {
                Effect::Refused { refusal: refusal.clone(), recheck: Some(*recheck) }
            }
            Self::Validate(ValidateError::Session(failure) | ValidateError::Aws(failure)) => failed(failure),
            Self::Build(BuildError::Spec(error)) => refused(&Refusal::from(error.clone())),
            Self::Build(BuildError::Survey(failure)) => failed(failure),
            Self::Build(error @ (BuildError::TagKeys(_) | BuildError::Finalizer(_))) => {
                api(Reason::Pending, error, RECORD_RETRY)
            }
            Self::Observe(ObserveError::Resource { source, .. } | ObserveError::Aws(source)) => failed(source),
            Self::Plan(PlanError::Unsafe(violation)) => Effect::Unsafe(violation.clone()),
            Self::Execute(ExecuteError::Step { source, .. }) => failed(source),
            Self::Status(error @ StatusError::NotWritten(_)) => api(Reason::Pending, error, RECORD_RETRY),
            Self::Status(error @ StatusError::Finalizer(_)) => api(Reason::Deleting, error, SHORT_RETRY),
        }
    }

    /// Whether the API server rejected the content of a status, as with CRDs that are older than this version.
    pub fn is_rejected_status(&self) -> bool {
        match self {
            Self::Status(StatusError::NotWritten(kube::Error::Api(answer)))
            | Self::Build(BuildError::TagKeys(kube::Error::Api(answer))) => {
                matches!(answer.code, 400 | 422) || answer.message.contains("not declared in schema")
            }
            _ => false,
        }
    }

    /// The step that failed.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "dereference",
            Self::Validate(_) => "validate",
            Self::Build(_) => "build",
            Self::Observe(_) => "observe",
            Self::Plan(_) => "plan",
            Self::Execute(_) => "execute",
            Self::Status(_) => "status",
        }
    }

    /// The result of the reconcile, for `keelson_reconciles_total`.
    pub fn result(&self) -> &'static str {
        match self.effect() {
            Effect::Refused { .. } => REFUSED,
            Effect::Failed(failure) => failure.class.as_str(),
            Effect::ManagementApi { .. } if self.is_rejected_status() => STATUS_REJECTED,
            Effect::ManagementApi { .. } => MANAGEMENT_API,
            Effect::Unsafe(_) => UNSAFE_PLAN,
        }
    }

    /// Logs it once, with its causes and the AWS call that failed. What a user must change is in status, and what is
    /// expected to pass by itself is no warning.
    pub fn log(&self) {
        let (step, class, error) = (self.step(), self.result(), with_causes(self));
        let aws = find_aws_error(self);
        let action = aws.map(|aws| aws.action);
        let resource = aws.map(|aws| aws.resource.as_str());
        let (code, request_id) =
            (aws.and_then(|aws| aws.code.as_deref()), aws.and_then(|aws| aws.request_id.as_deref()));
        let http_status = aws.and_then(|aws| aws.http_status);
        macro_rules! log_at {
            ($level:ident) => {
                tracing::$level!(
                    step,
                    class,
                    action,
                    resource,
                    code,
                    http_status,
                    request_id,
                    error,
                    "the reconcile failed"
                )
            };
        }
        match self.effect() {
            Effect::Unsafe(_) => log_at!(error),
            Effect::Refused { .. } => log_at!(debug),
            Effect::Failed(failure) if is_expected(failure.class) => log_at!(debug),
            Effect::Failed(_) | Effect::ManagementApi { .. } => log_at!(warn),
        }
    }
}

/// Whether failures of the class are part of normal work.
fn is_expected(class: Class) -> bool {
    let eventual = matches!(class, Class::NotFound | Class::NotYetVisible | Class::NoChange);
    eventual || matches!(class, Class::Busy | Class::Throttled | Class::NotLeader)
}

/// The AWS call that failed, if that is the cause.
fn find_aws_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e AwsError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and its causes, the outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The text of the error with its causes, each once. It ends with the error of an API: the message of an [`AwsError`]
/// has the reason without what must not be logged (the signed request), and the parser in a [`kube::Error`] quotes
/// values, which may be secret.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let of_kubernetes = cause.downcast_ref::<kube::Error>().map(describe_error);
        let is_last = of_kubernetes.is_some() || cause.is::<AwsError>();
        let cause = of_kubernetes.unwrap_or_else(|| cause.to_string());
        if !text.contains(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            let _ = write!(text, "{separator}{cause}");
        }
        if is_last {
            break;
        }
    }
    text
}

#[cfg(test)]
#[path = "reconcile_error_tests.rs"]
mod tests;
