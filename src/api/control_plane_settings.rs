//! `spec.controlPlane` of an EksCluster: settings of the Kubernetes control plane, under EKS's names. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate_authority::CertificateAuthority;
use super::rules;

/// Settings of the Kubernetes control plane. Each that is absent is not managed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// How the control plane reaches webhooks and OIDC providers: `AwsManaged`, `CustomerRouted` (by the routes of its subnets)
    /// or `CustomerIsolated`. It cannot become `AwsManaged` again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EgressMode")]
    #[x_kube(validation = rules::egress_mode())]
    pub egress_mode: Option<EgressMode>,
    /// Rotation of the certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<CertificateAuthority>,
    /// EKS's kubeApiServerConfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServer>,
    /// EKS's kubeControllerManagerConfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_manager: Option<ControllerManager>,
    /// EKS's kubeSchedulerConfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
}

/// How traffic leaves the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum EgressMode {
    AwsManaged,
    CustomerRouted,
    CustomerIsolated,
}

/// The API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// How long events are retained, such as `30m`; EKS allows 10m to 60m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = rules::single_unit_duration())]
    pub event_ttl: Option<String>,
    /// Ports of Services on the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_node_port_range: Option<PortRange>,
}

/// A range of ports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::ports_in_order())]
#[serde(rename_all = "camelCase")]
pub struct PortRange {
    /// Lowest port; EKS allows 10260 and higher.
    #[schemars(range(min = 1, max = 65535))]
    pub min_port: i32,
    /// Highest port; EKS allows 32767 and lower.
    #[schemars(range(min = 1, max = 65535))]
    pub max_port: i32,
}

/// The controller manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControllerManager {
    /// Garbage collection of Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_gc_controller_config: Option<PodGc>,
    /// The horizontal Pod autoscaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_controller_config: Option<HorizontalPodAutoscaler>,
}

/// Garbage collection of Pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodGc {
    /// Number of terminated Pods above which they are deleted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub terminated_pod_gc_threshold: i32,
}

/// The horizontal Pod autoscaler.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscaler {
    /// Interval of its decisions, such as `10s`; EKS allows 10s to 15s, for a provisioned control plane.
    #[schemars(length(max = 8))]
    #[x_kube(validation = rules::single_unit_duration())]
    pub horizontal_pod_autoscaler_sync_period: String,
}

/// The scheduler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// How it ranks nodes by their resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_resources_fit: Option<NodeResourcesFit>,
}

/// How nodes are ranked by their resources.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeResourcesFit {
    /// The strategy.
    pub scoring_strategy: ScoringStrategy,
}

/// A scoring strategy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoringStrategy {
    /// `LeastAllocated` (spreads Pods over nodes) or `MostAllocated` (packs them on few nodes).
    #[serde(rename = "type")]
    pub kind: ScoringStrategyType,
    /// The resources that count, with their weights; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub resources: Option<Vec<ResourceWeight>>,
}

/// How nodes are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ScoringStrategyType {
    LeastAllocated,
    MostAllocated,
}

/// The weight of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceWeight {
    /// Name of the resource, such as `cpu` or `nvidia.com/gpu`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::label_key())]
    pub name: String,
    /// Its weight, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
}
