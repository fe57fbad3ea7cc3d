//! The API: the kinds of group `keelson.dev`, their defaults, validation rules, status and conditions.
//!
//! Not allowed here: AWS crates, kube clients, anything from the other folders. No I/O.
//!
//! A field's doc comment is its description in the CRD. An exactly-one-of is a struct of optional members with a CEL
//! rule; its accessor returns a Rust enum, which code outside this folder matches on.

// Each `printcolumn(...)` has its own `type_`, which clippy reports as a duplicated attribute.
#![allow(clippy::duplicated_attributes)]

pub mod access;
pub mod account;
pub mod account_adoption;
pub mod addons;
pub mod capability;
pub mod certificate_authority;
pub mod cluster;
pub mod conditions;
pub mod control_plane_settings;
pub mod crds;
pub mod duration;
pub mod fleet_rollout;
pub mod fleet_rollout_check;
pub mod fleet_rollout_status;
pub mod flow_logs;
pub mod gitops;
pub mod hold;
pub mod hook;
pub mod identity_provider;
pub mod installed_schema;
pub mod job_source;
pub mod karpenter;
pub mod kubernetes_version;
pub mod launch_template;
pub mod listing;
pub mod log_group;
pub mod network;
pub mod node_group;
pub mod node_repair;
pub mod node_template;
mod node_update;
pub mod plan_approval;
pub mod policy;
pub mod reference;
pub mod registration;
pub mod remote_networks;
mod rules;
mod rules_account;
mod rules_between;
mod rules_cluster;
mod rules_git;
mod rules_network;
mod rules_node;
mod rules_replacement;
mod rules_rollout;
mod schema;
pub mod secret_use;
mod source;
pub mod stable_text;
pub mod status_cluster;
mod status_deletion;
pub mod status_node_group;
mod status_plan;
mod status_progress;
mod status_recovery;
pub mod stored_time;
mod subnet_tier;
pub mod unsupported;
pub mod upgrade;
pub mod warm_pool;
pub mod workload_role;

use std::borrow::Cow;

pub use account::{AwsAccount, AwsAccountSpec};
pub use cluster::{EksCluster, EksClusterSpec};
pub use conditions::{ConditionType, Reason};
pub use fleet_rollout::{FleetRollout, FleetRolloutSpec};
pub use kubernetes_version::KubernetesVersion;
pub use node_group::{NodeGroup, NodeGroupSpec};
pub use plan_approval::{PlanApproval, PlanApprovalSpec};

/// API group of all kinds.
pub const GROUP: &str = "keelson.dev";
/// Annotation with the hash of an approved plan; of a FleetRollout, with the hash of what a wave waits for.
pub const APPROVE_ANNOTATION: &str = "keelson.dev/approve";
/// Annotation of a FleetRollout: `TARGET/ANY` lets a halted release continue. Each value counts once.
pub const RETRY_ANNOTATION: &str = "keelson.dev/retry";
/// Annotation of a FleetRollout: `TARGET/WAVE` lets a wave pass without its checks.
pub const PROMOTE_ANNOTATION: &str = "keelson.dev/promote";
/// Annotation that releases a deletion that is held because many were requested at once; its value is the code in
/// status.
pub const RELEASE_ANNOTATION: &str = "keelson.dev/release-deletion";
/// Annotation with the UID of a deleted object whose AWS resources this object takes over.
pub const RECOVER_ANNOTATION: &str = "keelson.dev/recover";
/// Annotation with the id of the installation to which the resources of a suspended object are handed over.
pub const HAND_OVER_ANNOTATION: &str = "keelson.dev/hand-over-to";
/// Annotation whose change triggers a reconcile.
pub const RECONCILE_AT_ANNOTATION: &str = "keelson.dev/reconcile-at";
/// Finalizer on every object that may have resources in AWS.
pub const FINALIZER: &str = "keelson.dev/aws";
/// Prefix of Keelson's tags, labels and annotations; rejected in user tags.
pub const TAG_PREFIX: &str = "keelson.dev/";

/// A value that the CRD's schema should have rejected: the CRD in the cluster is older or newer than this binary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    /// Path of the field, as in `spec.network`.
    pub field: Cow<'static, str>,
    /// The error, and what to write instead.
    pub message: String,
}

impl SpecError {
    /// An error about `field`.
    pub fn new(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
