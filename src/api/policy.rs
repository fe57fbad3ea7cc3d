//! Policies shared by clusters and node groups. No I/O.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a plan is applied to AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ChangePolicy {
    #[default]
    Automatic,
    Approval,
    Observe,
}

/// How drift is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DriftPolicy {
    #[default]
    Correct,
    Report,
}

/// What happens in AWS when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// How an edit of a field is handled that EKS cannot change in a node group that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ReplacementPolicy {
    #[default]
    Refuse,
    MakeBeforeBreak,
}

/// How an existing cluster that Keelson does not own is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AdoptionPolicy {
    #[default]
    Refuse,
    Adopt,
}
