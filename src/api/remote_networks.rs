//! `spec.remoteNetworks` of an EksCluster: where hybrid nodes are. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// The networks of hybrid nodes, outside AWS. A list that is absent is not managed; `[]` removes the ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::remote_pods_need_nodes())]
#[x_kube(validation = rules::remote_networks_apart())]
#[serde(rename_all = "camelCase")]
pub struct RemoteNetworks {
    /// Private IPv4 ranges of hybrid nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), inner(length(max = 18)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::remote_cidrs())]
    pub node_cidrs: Option<Vec<String>>,
    /// Private IPv4 ranges of Pods on hybrid nodes, where webhooks run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), inner(length(max = 18)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::remote_cidrs())]
    pub pod_cidrs: Option<Vec<String>>,
}
