//! Status of resources taken over from a deleted object, or handed over to another installation. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// AWS resources taken over from an earlier object of the same name, for example after a restore.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryStatus {
    /// Value of the annotation `keelson.dev/recover` that was executed. The same value is executed once.
    #[schemars(length(max = 256))]
    pub annotation: String,
    /// UID of the earlier object.
    #[schemars(length(max = 256))]
    pub owner: String,
    /// Number of resources that were tagged with this object's UID.
    pub resources: i32,
    /// When the last of them was tagged.
    pub completed_at: Time,
}

/// The installation to which the AWS resources were handed over: an object of this name can take them over there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandOverStatus {
    /// Id of the other installation.
    #[schemars(length(max = 256))]
    pub installation: String,
    /// Number of resources that were tagged with its id.
    pub resources: i32,
    /// When the last of them was tagged.
    pub completed_at: Time,
    /// The annotation `keelson.dev/hand-over-to` was removed or changed, and the resources are being taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}
