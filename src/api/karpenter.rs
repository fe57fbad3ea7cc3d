//! What Karpenter needs in AWS. No I/O.

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

use super::rules;
use super::schema;

/// What Karpenter needs in AWS: a role for its nodes with an access entry, a role for its Pods with EKS Pod Identity, a queue with
/// interruptions, and tags. Karpenter itself comes from Git.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Karpenter {
    /// Namespace of Karpenter.
    #[serde(default = "namespace")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: String,
    /// Name of its service account; it need not exist yet.
    #[serde(default = "service_account")]
    #[schemars(length(min = 1, max = 77))]
    #[x_kube(validation = rules::object_name())]
    pub service_account: String,
    /// Creates an SQS queue to which EventBridge sends interruptions of instances, so that Karpenter replaces nodes in time;
    /// `false` deletes the one that Keelson created.
    #[serde(default = "schema::default_true")]
    pub interruption_queue: bool,
}

fn namespace() -> String {
    "kube-system".to_owned()
}

fn service_account() -> String {
    "karpenter".to_owned()
}

pub(super) fn needs_entries() -> Rule {
    Rule::new("!has(self.karpenter) || self.access.authenticationMode != 'ConfigMap'")
        .message("Karpenter's nodes join with an access entry: set access.authenticationMode: ApiAndConfigMap or Api")
        .field_path(".karpenter")
}

pub(super) fn has_its_own_identity() -> Rule {
    Rule::new(
        // `exists` with both comparisons would be shorter, but the API server cannot bound its cost.
        "!has(self.karpenter) || !has(self.podIdentities) || !(self.karpenter.namespace in self.podIdentities.filter(one, \
         one.serviceAccount == self.karpenter.serviceAccount).map(one, one.namespace))",
    )
    .message("karpenter gives this service account its role: remove it from podIdentities")
    .field_path(".karpenter")
}
