//! Why an object is not reconciled until a user changes something. Pure.

use std::time::Duration;

use crate::api::{Reason, SpecError, duration};

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

impl From<SpecError> for Refusal {
    fn from(error: SpecError) -> Self {
        Refusal::new(Reason::InvalidSpec, error.to_string())
    }
}

/// Parses `10m`, `1h30m`, `90s`.
pub fn duration(field: &str, text: &str) -> Result<Duration, Refusal> {
    duration::parse(text).filter(|duration| !duration.is_zero()).ok_or_else(|| invalid(field, duration::refusal(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_interval_is_refused() {
        assert_eq!(duration("x", "1h30m").unwrap().as_secs(), 5400);
        for bad in ["", "0s", "-1m", "ten"] {
            assert!(duration("x", bad).is_err(), "{bad}");
        }
    }
}
