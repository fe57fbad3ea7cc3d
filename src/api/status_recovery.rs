//! The part of status about what was taken over from an object that is no more. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was taken over in AWS from an earlier object of the same name, as after a restore.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryStatus {
    /// Text of the annotation `keelson.dev/recover` that was acted upon. It counts once.
    #[schemars(length(max = 256))]
    pub annotation: String,
    /// UID of the earlier object.
    #[schemars(length(max = 256))]
    pub owner: String,
    /// How many resources carry this object's UID since.
    pub resources: i32,
    /// When the last of them did.
    pub completed_at: Time,
}

/// The installation to which the resources in AWS were handed over: an object of this name can take them over there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandOverStatus {
    /// Id of the other installation.
    #[schemars(length(max = 256))]
    pub installation: String,
    /// How many resources carry its id since.
    pub resources: i32,
    /// When the last of them did.
    pub completed_at: Time,
}
