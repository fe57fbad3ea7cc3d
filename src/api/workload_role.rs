//! IAM roles that Keelson creates for Pods: of a service account, or of an add-on. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rules;
use super::schema;

/// An IAM role that Keelson creates, changes and deletes. Only the Pods that the spec names can assume it; the permissions
/// boundary of the AwsAccount limits what they may do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRole {
    /// ARNs of IAM policies of the role; the AwsAccount must list them in `allowedPolicyArns`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 512)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::policy_arns())]
    pub policy_arns: Vec<String>,
    /// Policies that Keelson includes, by name, limited to this cluster where AWS allows it; the AwsAccount must list them in
    /// `allowedWorkloadPolicies`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "set"))]
    pub policies: Vec<WorkloadPolicy>,
    /// A policy document of your own, written into the role; the AwsAccount must set `allowInlinePolicies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::policy_document")]
    pub policy: Option<Map<String, Value>>,
}

/// A policy that Keelson includes: `AWSLoadBalancerController`, `CertManager`, `CloudWatchAgent`, `ClusterAutoscaler`, `EBSCSIDriver`,
/// `EFSCSIDriver`, `ExternalDNS`, `ExternalSecrets`, `Karpenter`, `PrometheusRemoteWrite`, `S3CSIDriver` or `VPCCNI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum WorkloadPolicy {
    AWSLoadBalancerController,
    CertManager,
    CloudWatchAgent,
    ClusterAutoscaler,
    EBSCSIDriver,
    EFSCSIDriver,
    ExternalDNS,
    ExternalSecrets,
    Karpenter,
    PrometheusRemoteWrite,
    S3CSIDriver,
    VPCCNI,
}

impl WorkloadPolicy {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AWSLoadBalancerController,
        Self::CertManager,
        Self::CloudWatchAgent,
        Self::ClusterAutoscaler,
        Self::EBSCSIDriver,
        Self::EFSCSIDriver,
        Self::ExternalDNS,
        Self::ExternalSecrets,
        Self::Karpenter,
        Self::PrometheusRemoteWrite,
        Self::S3CSIDriver,
        Self::VPCCNI,
    ];

    /// Its name in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AWSLoadBalancerController => "AWSLoadBalancerController",
            Self::CertManager => "CertManager",
            Self::CloudWatchAgent => "CloudWatchAgent",
            Self::ClusterAutoscaler => "ClusterAutoscaler",
            Self::EBSCSIDriver => "EBSCSIDriver",
            Self::EFSCSIDriver => "EFSCSIDriver",
            Self::ExternalDNS => "ExternalDNS",
            Self::ExternalSecrets => "ExternalSecrets",
            Self::Karpenter => "Karpenter",
            Self::PrometheusRemoteWrite => "PrometheusRemoteWrite",
            Self::S3CSIDriver => "S3CSIDriver",
            Self::VPCCNI => "VPCCNI",
        }
    }
}
