//! Why an object is not reconciled until a user changes something. Pure.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::agents::InvalidField;
use crate::api::{Reason, SpecError};
use crate::engine::{Class, Failure};

/// Why an object is refused: its access, or its spec. Refusals are equal if reason and message are, as in status.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
    /// The error in the spec; `None` if it was found here.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl PartialEq for Refusal {
    fn eq(&self, other: &Self) -> bool {
        (self.reason, &self.message) == (other.reason, &other.message)
    }
}

impl Eq for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Not derived: thiserror would return the `Arc`, which cannot be downcast to the cause.
impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

impl Refusal {
    /// Creates a refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), source: None }
    }

    /// The same with its cause.
    pub fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(cause)), ..self }
    }

    /// The account does not allow it.
    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(Reason::AccessDenied, message)
    }
}

/// A refusal: the user must correct the field.
pub fn invalid(field: &str, why: impl fmt::Display) -> Refusal {
    Refusal::new(Reason::InvalidSpec, format!("{field}: {why}"))
}

impl From<InvalidField> for Refusal {
    fn from(error: InvalidField) -> Self {
        Refusal::new(Reason::InvalidSpec, error.to_string()).caused_by(error)
    }
}

impl From<SpecError> for Refusal {
    fn from(error: SpecError) -> Self {
        Refusal::new(Reason::InvalidSpec, error.to_string()).caused_by(error)
    }
}

/// The failure of the write that a refusal prevents.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::of(Class::Denied, refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prevented_write_leads_back_to_the_error_in_the_spec() {
        let failure = Failure::from(Refusal::from(SpecError::new("spec.network", "not both")));
        assert_eq!((failure.class, failure.message.as_str()), (Class::Denied, "spec.network: not both"));
        let refusal = failure.source().and_then(|cause| cause.downcast_ref::<Refusal>()).unwrap();
        assert_eq!(refusal.reason, Reason::InvalidSpec);
        let error = refusal.source().and_then(|cause| cause.downcast_ref::<SpecError>()).unwrap();
        assert_eq!(error.field, "spec.network");
    }
}
