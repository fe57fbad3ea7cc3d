//! `spec.node` of a NodeGroup: the EC2 launch template that Keelson creates for its nodes. No I/O.

use kube::KubeSchema;
use kube::core::{Reason, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rules;
use super::schema;

/// A launch template that Keelson creates for the node group, with a new version for each change. `{}` sets nothing but
/// tags: those of the node group, its cluster and the account are on instances, volumes and network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["nodeConfig", "userData"]))]
#[x_kube(validation = image_needs_bootstrap())]
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
    #[schemars(length(min = 1, max = 16384))]
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
    pub placement_group: Option<String>,
    /// Launches nodes with Elastic Fabric Adapters: one for each network card that all `instanceTypes` have.
    #[serde(default)]
    pub efa: bool,
}

/// An EBS volume of each node, which is deleted with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = iops_of_type())]
#[x_kube(validation = provisioned_needs_iops())]
#[x_kube(validation = throughput_of_type())]
#[x_kube(validation = iops_fit_size())]
#[x_kube(validation = throughput_fits_iops())]
#[x_kube(validation = key_needs_encryption())]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The device, such as `/dev/xvda`: the root volume of Amazon Linux and Bottlerocket.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::matches("^(/dev/)?[a-z][a-z0-9]*$", "must be the name of a device, such as /dev/xvda"))]
    pub device_name: String,
    /// Size in GiB; absent: that of the AMI's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "sizeGiB")]
    #[schemars(range(min = 1, max = 65536))]
    pub size_gib: Option<i32>,
    /// Volume type of EBS.
    #[serde(default = "default_volume_type", rename = "type")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::matches("^[a-z][a-z0-9]*$", "must be a volume type of EBS, such as gp3"))]
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
    #[x_kube(validation = http_tokens())]
    pub http_tokens: Option<String>,
}

fn default_volume_type() -> String {
    "gp3".to_owned()
}

fn rule(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

// Rules of the NodeGroup.

pub(super) fn excludes_launch_template() -> Rule {
    rule(
        "!has(self.node) || !has(self.launchTemplate)",
        "a node group has one launch template: remove launchTemplate to have Keelson create one, or remove node to use yours",
    )
    .field_path(".node")
}

pub(super) fn excludes_disk_size() -> Rule {
    rule(
        "!has(self.node) || !has(self.diskSizeGiB)",
        "EKS takes no disk size beside a launch template: remove diskSizeGiB, and set the size in node.volumes, such as \
         {deviceName: /dev/xvda, sizeGiB: 80}",
    )
    .field_path(".diskSizeGiB")
}

pub(super) fn image_or_ami_type() -> Rule {
    rule(
        "!has(self.node) || !has(self.node.imageId) || !has(self.amiType) || self.amiType == 'CUSTOM'",
        "EKS takes no AMI type beside an AMI: remove amiType, or remove node.imageId to use EKS's AMI of that type",
    )
    .field_path(".amiType")
}

pub(super) fn custom_needs_image() -> Rule {
    rule(
        "!has(self.node) || has(self.node.imageId) || !has(self.amiType) || self.amiType != 'CUSTOM'",
        "amiType: CUSTOM means an AMI of your own: set node.imageId, or another amiType",
    )
    .field_path(".amiType")
}

pub(super) fn image_has_no_release() -> Rule {
    rule(
        "!has(self.node) || !has(self.node.imageId) || self.releaseVersion in ['Latest', 'Pinned']",
        "an AMI of your own has no release of EKS: remove releaseVersion, and change node.imageId to update the nodes",
    )
    .field_path(".releaseVersion")
}

pub(super) fn node_config_for_al2023() -> Rule {
    rule(
        "!has(self.node) || !has(self.node.nodeConfig) || !has(self.amiType) || self.amiType == 'CUSTOM' || self.amiType.startsWith('AL2023')",
        "only Amazon Linux 2023 reads a NodeConfig: use node.userData for other AMI types",
    )
    .field_path(".node.nodeConfig")
}

pub(super) fn reservation_not_for_spot() -> Rule {
    rule(
        "!has(self.node) || !has(self.node.capacityReservationId) || self.capacityType != 'Spot'",
        "Spot instances do not use capacity reservations: remove node.capacityReservationId, or set capacityType: OnDemand",
    )
    .field_path(".node.capacityReservationId")
}

/// Nothing exists in EKS yet.
const NEW: &str = "!has(oldSelf.status) || !has(oldSelf.status.arn)";

pub(super) fn node_not_added_or_removed() -> Rule {
    Rule::new(format!("has(self.spec.node) == has(oldSelf.spec.node) || {NEW}"))
        .message(
            "EKS can neither give a launch template to a node group that was created without one, nor take it away: put the old \
             value back, or create a new NodeGroup with the other value and delete this one",
        )
        .reason(Reason::FieldValueForbidden)
        .field_path(".spec.node")
}

pub(super) fn image_not_added_or_removed() -> Rule {
    Rule::new(format!(
        "!has(self.spec.node) || !has(oldSelf.spec.node) || has(self.spec.node.imageId) == has(oldSelf.spec.node.imageId) || {NEW}"
    ))
    .message(
        "EKS cannot change a node group between its own AMIs and yours: put the old value back, or create a new NodeGroup with \
         the other value and delete this one",
    )
    .reason(Reason::FieldValueForbidden)
    .field_path(".spec.node.imageId")
}

// Rules of the template.

fn image_needs_bootstrap() -> Rule {
    rule(
        "!has(self.imageId) || has(self.nodeConfig) || has(self.userData)",
        "EKS adds nothing to the user data of an AMI of your own, so nodes would not join: set nodeConfig (Amazon Linux 2023) or \
         userData",
    )
    .field_path(".imageId")
}

fn iops_of_type() -> Rule {
    rule(
        "!has(self.iops) || !(self.type in ['gp2', 'st1', 'sc1', 'standard'])",
        "EBS takes no iops for this type of volume: remove iops, or set type: gp3, io1 or io2",
    )
    .field_path(".iops")
}

fn provisioned_needs_iops() -> Rule {
    rule("has(self.iops) || !(self.type in ['io1', 'io2'])", "volumes of type io1 and io2 need iops: set it")
        .field_path(".iops")
}

fn throughput_of_type() -> Rule {
    rule(
        "!has(self.throughput) || !(self.type in ['gp2', 'io1', 'io2', 'st1', 'sc1', 'standard'])",
        "EBS takes a throughput for gp3 only: remove throughput, or set type: gp3",
    )
    .field_path(".throughput")
}

/// <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html>
fn iops_fit_size() -> Rule {
    rule(
        "!has(self.iops) || (self.type == 'gp3' ? self.iops >= 3000 && (self.iops == 3000 || !has(self.sizeGiB) || self.iops <= self.sizeGiB * 500) \
         : self.type == 'io1' ? !has(self.sizeGiB) || self.iops <= self.sizeGiB * 50 \
         : self.type != 'io2' || !has(self.sizeGiB) || self.iops <= self.sizeGiB * 1000)",
        "EBS limits iops by size: at least 3000 and at most 500 for each GiB for gp3, at most 50 for io1, at most 1000 for io2: change iops \
         or sizeGiB",
    )
    .field_path(".iops")
}

fn throughput_fits_iops() -> Rule {
    rule(
        "!has(self.throughput) || self.type != 'gp3' || self.throughput * 4 <= (has(self.iops) ? self.iops : 3000)",
        "EBS limits the throughput of gp3 to a quarter of its iops, which is 3000 by default: set more iops, or less throughput",
    )
    .field_path(".throughput")
}

fn key_needs_encryption() -> Rule {
    rule(
        "!has(self.kmsKeyArn) || self.encrypted",
        "a volume with a KMS key is encrypted: remove encrypted: false, or remove kmsKeyArn",
    )
    .field_path(".kmsKeyArn")
}

fn http_tokens() -> Rule {
    rule("self in ['required', 'optional']", "must be required or optional")
}
