//! Registration of a cluster with a tool of the management cluster. No I/O.

use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::schema;

/// The tool that a cluster is registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Registry {
    ArgoCd,
}

/// How a cluster is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// ARN of the IAM role that Argo CD assumes for this cluster, which must have an entry in `access.entries`; absent: Argo CD uses its
    /// own identity, which needs the entry. The AwsAccount's `allowedRoleArns` must list it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: Option<String>,
    /// Labels of the Secret, by which ApplicationSets select clusters. The operator's `--argocd-cluster-labels` must allow the keys; those
    /// that begin with `keelson.dev/` are set by Keelson.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::registration_labels")]
    #[x_kube(validation = rules::label_keys())]
    #[x_kube(validation = rules::label_values())]
    pub labels: BTreeMap<String, String>,
}

/// Where a cluster is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationStatus {
    /// Namespace of the Secret.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the Secret, which Keelson writes, or is about to write.
    #[schemars(length(max = 253))]
    pub secret: String,
}

pub(super) fn needs_a_registry() -> Rule {
    Rule::new("!has(self.registration) || has(self.registerWith)")
        .message("registration says how registerWith registers the cluster: set registerWith: ArgoCd, or remove registration")
        .field_path(".registration")
}
