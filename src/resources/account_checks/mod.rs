//! Checks of an account and a region before a cluster is created in them, as a person would do them by hand: for
//! `keelson doctor`, and a few of them before the first write of a new cluster ([`preflight`]). Reads only.
//!
//! Each file has one subject: what it needs is pure, and judged apart from the reads. A check that AWS denies is a
//! warning that says so: the credentials of a person may differ from the operator's.

pub mod encryption_key;
pub mod existing;
pub mod permissions;
pub mod preflight;
pub mod quotas;
pub mod region;
pub mod requests;
pub mod service_roles;

use std::fmt::Display;

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    /// It may go wrong, or could not be checked.
    Warning,
    /// The cluster cannot be created.
    Failed,
}

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, in a word: `credentials`, `quota`.
    pub check: &'static str,
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
    /// What to do; `None` where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn passed(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Passed, message: message.into(), advice: None }
    }

    pub fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    pub fn failed(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Failed, message: message.into(), advice: Some(advice.into()) }
    }

    /// AWS could not be asked.
    pub fn not_checked(check: &'static str, what: &str, error: &dyn Display) -> Self {
        Self::warning(
            check,
            format!("{what} could not be checked: {error}"),
            "run the command with credentials that allow this read (deploy/iam-policy-doctor.json)",
        )
    }
}
