//! `spec.node` of a NodeGroup: the EC2 launch template that Keelson creates for its nodes. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rules;
use super::schema;

/// A launch template that Keelson creates for the node group, with a new version for each change. `{}` sets nothing but
/// tags: those of the node group, its cluster and the account are on instances, volumes and network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["nodeConfig", "userData"]))]
#[x_kube(validation = rules::image_needs_bootstrap())]
#[serde(rename_all = "camelCase")]
pub struct NodeTemplate {
    /// Id of the AMI; absent: EKS's, by `amiType` and `releaseVersion`. EKS adds nothing to the user data of this AMI. A
    /// NodeGroup keeps either kind of AMI, but its id can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::matches("^ami-[0-9a-z]+$", "must be the id of an AMI, ami-..."))]
    pub image_id: Option<String>,
    /// A NodeConfig of nodeadm (`node.eks.aws/v1alpha1`), for Amazon Linux 2023. EKS merges it with its own; with `imageId`
    /// Keelson adds `spec.cluster`, unless it is set. Not for secrets: Pods on the nodes may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub node_config: Option<Map<String, Value>>,
    /// User data for other systems, such as TOML of Bottlerocket. Unless `imageId` is set, a script (`#!`) becomes a part of
    /// a MIME message, as EKS requires it. Not for secrets: Pods on the nodes may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    #[x_kube(validation = rules::user_data_fits())]
    pub user_data: Option<String>,
    /// Volumes of each node, by device; absent: those of the AMI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 26))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["deviceName".into()]))]
    pub volumes: Vec<Volume>,
    /// The instance metadata service; absent: as the AMI and the account say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataOptions>,
    /// Security groups of the nodes, besides the cluster's security group, which Keelson adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 15), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::security_group_ids())]
    pub security_group_ids: Vec<String>,
    /// Id of the capacity reservation to launch in; absent: any open one that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::matches("^cr-[0-9a-z]+$", "must be the id of a capacity reservation, cr-..."))]
    pub capacity_reservation_id: Option<String>,
    /// Name of the placement group to launch in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::matches("^[ -~]+$", "must be the name of a placement group: printable ASCII characters"))]
    pub placement_group: Option<String>,
    /// Launches nodes with Elastic Fabric Adapters: one for each network card that all `instanceTypes` have.
    #[serde(default)]
    pub efa: bool,
}

/// An EBS volume of each node, which is deleted with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::iops_of_type())]
#[x_kube(validation = rules::provisioned_needs_iops())]
#[x_kube(validation = rules::throughput_of_type())]
#[x_kube(validation = rules::iops_fit_size())]
#[x_kube(validation = rules::throughput_fits_iops())]
#[x_kube(validation = rules::key_needs_encryption())]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The device, such as `/dev/xvda`: the root volume of Amazon Linux and Bottlerocket.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::matches("^(/dev/[a-z]|xvd)[a-z0-9]*$", "must be the name of a device, such as /dev/xvda (xvdf on Windows)"))]
    pub device_name: String,
    /// Size in GiB; absent: that of the AMI's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "sizeGiB")]
    #[schemars(range(min = 1, max = 65536))]
    pub size_gib: Option<i32>,
    /// Volume type of EBS.
    #[serde(default = "default_volume_type", rename = "type")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::matches("^(standard|[a-z][a-z][0-9]{1,2})$", "must be a volume type of EBS: gp3, gp2, io2, io1, st1, sc1 or standard"))]
    pub volume_type: String,
    /// I/O operations per second; absent: EBS's default. Required for `io1` and `io2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 256_000))]
    pub iops: Option<i32>,
    /// Throughput in MiB/s, for `gp3`; absent: EBS's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 125, max = 2000))]
    pub throughput: Option<i32>,
    /// ARN of the KMS key; absent: the account's default key for EBS. The key's policy must allow the service role of EC2 Auto
    /// Scaling to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::key_arn())]
    pub kms_key_arn: Option<String>,
    /// Whether the volume is encrypted.
    #[serde(default = "schema::default_true")]
    pub encrypted: bool,
}

/// The instance metadata service of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataOptions {
    /// Network hops that an answer survives, 1 to 64: with 1, Pods without the host's network cannot reach the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub http_put_response_hop_limit: Option<i32>,
    /// `required` (IMDSv2 only) or `optional`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = rules::http_tokens())]
    pub http_tokens: Option<String>,
}

fn default_volume_type() -> String {
    "gp3".to_owned()
}
