//! The class of an AWS error: from the table of codes, otherwise by pattern. Pure.

use super::codes;
use crate::aws::service::Service;

pub use crate::engine::Class;

/// What a code that is not in the table begins or ends with. Codes are compared without a trailing `Exception`.
pub(super) enum Pattern {
    Starts(&'static str),
    Ends(&'static str),
}

use Pattern::{Ends, Starts};

/// The first match applies.
pub(super) const PATTERNS: &[(Pattern, Class)] = &[
    (Ends("NotFound"), Class::NotFound),
    (Ends(".Duplicate"), Class::Conflict),
    (Ends("AlreadyExists"), Class::Conflict),
    (Ends("AlreadyAssociated"), Class::Conflict),
    (Ends(".InUse"), Class::Busy),
    (Ends("LimitExceeded"), Class::Quota),
    (Ends("QuotaExceeded"), Class::Quota),
    (Ends("Throttled"), Class::Throttled),
    (Starts("Insufficient"), Class::Capacity),
    (Ends("NotAvailableInZone"), Class::Capacity),
    (Starts("Invalid"), Class::Invalid),
    (Starts("Malformed"), Class::Invalid),
    (Starts("Missing"), Class::Invalid),
    (Starts("Validation"), Class::Invalid),
    (Starts("Unsupported"), Class::Invalid),
    (Starts("Unknown"), Class::Invalid),
];

/// The class of an error response; `status` matters only for codes that are neither in the table nor match a pattern.
pub fn classify(service: Service, code: Option<&str>, message: &str, status: Option<u16>) -> Class {
    let code = code.map(|c| c.strip_suffix("Exception").unwrap_or(c)).unwrap_or_default();
    if let Some(row) = codes::find(service, code, message) {
        return row.class;
    }
    let pattern = PATTERNS.iter().find(|(pattern, _)| match pattern {
        Starts(start) => code.starts_with(start),
        Ends(end) => code.ends_with(end),
    });
    pattern.map_or_else(|| by_status(status), |(_, class)| *class)
}

/// A plain 404 is not `NotFound`: a wrong endpoint or a proxy also returns it, and the resource would be recreated.
fn by_status(status: Option<u16>) -> Class {
    match status {
        Some(429) => Class::Throttled,
        Some(401 | 403) => Class::Denied,
        Some(500..) => Class::Unavailable,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
