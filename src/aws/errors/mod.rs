//! A failed AWS call as a type: classified once, with a message for users. No I/O.
//!
//! `Display` is the text of conditions and events: the call, the resource, the reason from AWS, and what to do. It
//! never contains the request id (which changes with each attempt, and would change the status) nor parts of the
//! request.

mod advice;
pub mod class;
pub mod codes;
mod denial;
pub mod health;
mod sdk;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

pub use class::Class;
pub(super) use sdk::root_cause as reason;
pub use sdk::{ClassifiedError, Origin};

use crate::aws::service::Service;

/// A failed AWS call. Cheap to clone: callers that shared a read share its failure.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct AwsError(Arc<Failure>);

/// Details of a failed call.
#[derive(Debug, thiserror::Error)]
#[error("{}", advice::format_message(self))]
pub struct Failure {
    pub service: Service,
    /// The API action, e.g. `CreateVpc`.
    pub action: &'static str,
    /// The target of the call, as the caller described it.
    pub resource: String,
    /// Account id; `operator` while it is unknown.
    pub account: String,
    pub region: String,
    /// AWS's error code, e.g. `InvalidVpcID.NotFound`; `None` without a response.
    pub code: Option<String>,
    /// The message from AWS, or the transport error.
    pub message: String,
    pub request_id: Option<String>,
    pub http_status: Option<u16>,
    pub class: Class,
    /// Earliest retry, for `Throttled`.
    pub retry_after: Option<Duration>,
    /// Zones that would work, for `Capacity`.
    pub valid_zones: Vec<String>,
    /// The blocking resource, if AWS names it, for `Busy`.
    pub blocker: Option<String>,
    #[source]
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl std::ops::Deref for AwsError {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl From<Failure> for AwsError {
    fn from(failure: Failure) -> Self {
        AwsError(Arc::new(failure))
    }
}

impl AwsError {
    pub fn class(&self) -> Class {
        self.0.class
    }

    pub fn is_not_found(&self) -> bool {
        self.0.class == Class::NotFound
    }

    /// Adds a retry time. Only right after creation, before the error is shared.
    pub(super) fn with_retry_after(mut self, time: Duration) -> Self {
        if let Some(failure) = Arc::get_mut(&mut self.0) {
            failure.retry_after = Some(time);
        }
        self
    }
}

/// The call, which begins every message.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub service: Service,
    pub action: &'static str,
    pub resource: &'a str,
    pub account: &'a str,
    pub region: &'a str,
}

impl Call<'_> {
    /// A failure without a response from AWS.
    pub fn failed(&self, class: Class, message: impl Into<String>) -> Failure {
        Failure {
            service: self.service,
            action: self.action,
            resource: self.resource.to_owned(),
            account: self.account.to_owned(),
            region: self.region.to_owned(),
            code: None,
            message: message.into(),
            request_id: None,
            http_status: None,
            class,
            retry_after: None,
            valid_zones: Vec::new(),
            blocker: None,
            source: None,
        }
    }
}
