//! Why an object is not reconciled until a user changes something. Pure.

use crate::agents::InvalidField;
use crate::api::{Reason, SpecError};

/// Why an object is refused: its access, or its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
}

impl Refusal {
    /// Creates a refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The account does not allow it.
    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(Reason::AccessDenied, message)
    }
}

/// A refusal: the user must correct the field.
pub fn invalid(field: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::InvalidSpec, format!("{field}: {why}"))
}

impl From<InvalidField> for Refusal {
    fn from(error: InvalidField) -> Self {
        Refusal::new(Reason::InvalidSpec, error.to_string())
    }
}

impl From<SpecError> for Refusal {
    fn from(error: SpecError) -> Self {
        Refusal::new(Reason::InvalidSpec, error.to_string())
    }
}
