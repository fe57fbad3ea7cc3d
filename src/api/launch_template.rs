//! `spec.launchTemplate` of a NodeGroup: an EC2 launch template of the user's. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// An EC2 launch template, by its id or by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["id", "name"]))]
#[serde(rename_all = "camelCase")]
pub struct LaunchTemplate {
    /// Id of the launch template. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::launch_template_id())]
    pub id: Option<String>,
    /// Name of the launch template, instead of its id: the template that has this name when the node group is created.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128))]
    #[x_kube(validation = rules::launch_template_name())]
    pub name: Option<String>,
    /// Version number; absent: the template's default version at creation, not managed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 18))]
    #[x_kube(validation = rules::launch_template_version())]
    pub version: Option<String>,
}
