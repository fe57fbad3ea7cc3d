//! What people write: the kinds of group `keelson.dev`, their defaults, validation rules, status and conditions.
//!
//! May not enter: AWS crates, kube clients, anything of the other folders. No I/O.
//!
//! A field's doc comment is its description in the CRD. Exactly-one-of is a struct of optional members with a CEL rule,
//! and a Rust enum that the struct's accessor returns: code outside this folder matches on the enum.

// Each `printcolumn(...)` has a `type_` of its own, which clippy takes for one attribute repeated.
#![allow(clippy::duplicated_attributes)]

pub mod access;
pub mod account;
pub mod addons;
pub mod adoption;
pub mod cluster;
pub mod conditions;
pub mod crds;
pub mod duration;
pub mod gitops;
pub mod network;
pub mod node_group;
pub mod plan_approval;
pub mod policy;
pub mod reference;
mod rules;
mod rules_account;
mod rules_between;
mod rules_git;
mod schema;
pub mod secret_use;
mod source;
pub mod stable_text;
pub mod status;
mod status_plan;
mod status_progress;
pub mod unsupported;
pub mod upgrade;
pub mod version;

pub use account::{AwsAccount, AwsAccountSpec};
pub use cluster::{EksCluster, EksClusterSpec};
pub use conditions::{ConditionType, Reason};
pub use node_group::{NodeGroup, NodeGroupSpec};
pub use plan_approval::{PlanApproval, PlanApprovalSpec};
pub use version::KubernetesVersion;

/// API group of every kind here.
pub const GROUP: &str = "keelson.dev";
/// Annotation that names the hash of an approved plan.
pub const APPROVE_ANNOTATION: &str = "keelson.dev/approve";
/// Annotation that releases a deletion which is held because many were requested at once; it holds the word that status names.
pub const RELEASE_ANNOTATION: &str = "keelson.dev/release-deletion";
/// Annotation whose change asks for a reconcile now.
pub const RECONCILE_AT_ANNOTATION: &str = "keelson.dev/reconcile-at";
/// Finalizer on every object that may have something in AWS.
pub const FINALIZER: &str = "keelson.dev/aws";
/// Prefix of the tags, labels and annotations that are ours; refused in the user's tags.
pub const TAG_PREFIX: &str = "keelson.dev/";

/// A value of the spec that the schema should have refused, met all the same: the CRD in the cluster is older or newer
/// than this binary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    /// Path of the field, as in `spec.network`.
    pub field: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl SpecError {
    /// An error about `field`.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}
