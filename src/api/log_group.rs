//! The log group of a control plane's logs. No I/O.

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

use super::policy::DeletionPolicy;
use super::rules;
use super::schema;

/// The CloudWatch log group `/aws/eks/<name in EKS>/cluster`, to which EKS writes the control plane's logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogGroup {
    /// Days after which CloudWatch deletes log events: one of the periods that it offers.
    #[schemars(schema_with = "schema::small_number")]
    #[x_kube(validation = retention_days())]
    pub retention_days: u16,
    /// ARN of a symmetric KMS key in the cluster's region, whose policy must allow `logs.<region>.amazonaws.com` to use it; absent:
    /// not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::key_arn())]
    pub kms_key_arn: Option<String>,
    /// What happens to the log group once the cluster is deleted: `Delete` it with its logs, or `Retain` it without the owner tags.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
fn retention_days() -> Rule {
    Rule::new(
        "self in [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]",
    )
    .message(
        "must be one of the periods that CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, \
         1096, 1827, 2192, 2557, 2922, 3288 or 3653 days",
    )
}
