//! CEL rules for `spec.node` of a NodeGroup: what EKS and EC2 would refuse, or accept and never launch. No I/O.

use kube::core::{Reason, Rule};

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

pub(super) fn launch_template_excludes_disk_size() -> Rule {
    rule(
        "!has(self.launchTemplate) || !has(self.diskSizeGiB)",
        "EKS takes no disk size beside launchTemplate: remove diskSizeGiB, and set the size of the volume in the launch template",
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

/// <https://docs.aws.amazon.com/eks/latest/userguide/capacity-blocks-mng.html>
pub(super) fn capacity_block_needs_reservation() -> Rule {
    rule(
        "self.capacityType != 'CapacityBlock' || has(self.launchTemplate) \
         || (has(self.node) && has(self.node.capacityReservationId))",
        "a Capacity Block is a capacity reservation, which only a launch template names: set node.capacityReservationId, or a \
         launchTemplate with market type capacity-block, the reservation and an instance type",
    )
    .field_path(".capacityType")
}

pub(super) fn capacity_block_has_one_type() -> Rule {
    rule(
        "self.capacityType != 'CapacityBlock' || !has(self.node) || self.instanceTypes.size() == 1",
        "a Capacity Block reserves one instance type: name only that one",
    )
    .field_path(".instanceTypes")
}

pub(super) fn capacity_block_in_one_zone() -> Rule {
    rule(
        "self.capacityType != 'CapacityBlock' || has(self.subnets.ids) || (has(self.subnets.zones) && self.subnets.zones.size() == 1)",
        "a Capacity Block is in one availability zone: name that one in subnets.zones, or its subnets in subnets.ids",
    )
    .field_path(".subnets")
}

/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/warm-pools-limitations.html>
pub(super) fn warm_pool_of_on_demand() -> Rule {
    rule(
        "!has(self.warmPool) || !self.warmPool.enabled || self.capacityType == 'OnDemand'",
        "EC2 Auto Scaling has warm pools of On-Demand instances only: remove warmPool, or set capacityType: OnDemand",
    )
    .field_path(".warmPool")
}

/// <https://docs.aws.amazon.com/eks/latest/userguide/warm-pools-managed-node-groups.html>
pub(super) fn warm_pool_of_eks_image() -> Rule {
    rule(
        "!has(self.warmPool) || !self.warmPool.enabled || ((!has(self.amiType) || self.amiType != 'CUSTOM') \
         && (!has(self.node) || !has(self.node.imageId)))",
        "EKS has warm pools for its own AMIs only: remove warmPool, or remove node.imageId",
    )
    .field_path(".warmPool")
}

pub(super) fn warm_pool_of_bottlerocket() -> Rule {
    rule(
        "!has(self.warmPool) || !self.warmPool.enabled || !has(self.amiType) || !self.amiType.startsWith('BOTTLEROCKET') \
         || ((!has(self.warmPool.poolState) || self.warmPool.poolState != 'Hibernated') \
         && (!has(self.warmPool.reuseOnScaleIn) || !self.warmPool.reuseOnScaleIn))",
        "a warm pool of Bottlerocket can neither hibernate nor reuse nodes: set poolState: Stopped or Running, and remove reuseOnScaleIn",
    )
    .field_path(".warmPool")
}

pub(super) fn warm_pool_within_capacity() -> Rule {
    rule(
        "!has(self.minSize) || !has(self.maxGroupPreparedCapacity) || self.minSize <= self.maxGroupPreparedCapacity",
        "minSize must not be above maxGroupPreparedCapacity",
    )
    .field_path(".minSize")
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

/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html>: without /dev/ it is the name of another volume on
/// Linux, beside the root volume.
pub(super) fn devices_of_linux() -> Rule {
    rule(
        "!has(self.node) || !has(self.node.volumes) || (has(self.amiType) && self.amiType.startsWith('WINDOWS')) || has(self.node.imageId) \
         || self.node.volumes.all(volume, volume.deviceName.startsWith('/dev/'))",
        "on Linux the name of a device begins with /dev/: write deviceName: /dev/xvda",
    )
    .field_path(".node.volumes")
}

pub(super) fn auto_scaling_group_tag_keys_not_reserved() -> Rule {
    rule(
        "self.all(key, !key.lowerAscii().startsWith('aws:') && !key.lowerAscii().startsWith('keelson.dev/') \
         && !key.startsWith('eks:') && !key.startsWith('kubernetes.io/cluster/') \
         && (key == 'k8s.io/cluster-autoscaler/enabled' || !key.matches('^k8s[.]io/cluster-autoscaler/[^/]+$')))",
        "keys that begin with aws:, eks:, keelson.dev/ or kubernetes.io/cluster/, and k8s.io/cluster-autoscaler/CLUSTER, are set by AWS or by \
         Keelson: choose another key",
    )
    .reason(Reason::FieldValueForbidden)
}

// Rules of the template.

/// Not the schema's maximum, whose message repeats the text.
pub(super) fn user_data_fits() -> Rule {
    rule(
        "self.size() <= 16384",
        "EC2 takes at most 16384 bytes of user data: shorten it, or load the rest from elsewhere when the node starts",
    )
}

pub(super) fn image_needs_bootstrap() -> Rule {
    rule(
        "!has(self.imageId) || has(self.nodeConfig) || has(self.userData)",
        "EKS adds nothing to the user data of an AMI of your own, so nodes would not join: set nodeConfig (Amazon Linux 2023) or \
         userData",
    )
    .field_path(".imageId")
}

pub(super) fn iops_of_type() -> Rule {
    rule(
        "!has(self.iops) || !(self.type in ['gp2', 'st1', 'sc1', 'standard'])",
        "EBS takes no iops for this type of volume: remove iops, or set type: gp3, io1 or io2",
    )
    .field_path(".iops")
}

pub(super) fn provisioned_needs_iops() -> Rule {
    rule("has(self.iops) || !(self.type in ['io1', 'io2'])", "volumes of type io1 and io2 need iops: set it")
        .field_path(".iops")
}

pub(super) fn throughput_of_type() -> Rule {
    rule(
        "!has(self.throughput) || !(self.type in ['gp2', 'io1', 'io2', 'st1', 'sc1', 'standard'])",
        "EBS takes a throughput for gp3 only: remove throughput, or set type: gp3",
    )
    .field_path(".throughput")
}

/// <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html>
pub(super) fn iops_fit_size() -> Rule {
    rule(
        "!has(self.iops) || (self.type == 'gp3' ? self.iops >= 3000 && (self.iops == 3000 || !has(self.sizeGiB) || self.iops <= self.sizeGiB * 500) \
         : self.type == 'io1' ? !has(self.sizeGiB) || self.iops <= self.sizeGiB * 50 \
         : self.type != 'io2' || !has(self.sizeGiB) || self.iops <= self.sizeGiB * 1000)",
        "EBS limits iops by size: at least 3000 and at most 500 for each GiB for gp3, at most 50 for io1, at most 1000 for io2: change iops \
         or sizeGiB",
    )
    .field_path(".iops")
}

pub(super) fn throughput_fits_iops() -> Rule {
    rule(
        "!has(self.throughput) || self.type != 'gp3' || self.throughput * 4 <= (has(self.iops) ? self.iops : 3000)",
        "EBS limits the throughput of gp3 to a quarter of its iops, which is 3000 by default: set more iops, or less throughput",
    )
    .field_path(".throughput")
}

pub(super) fn key_needs_encryption() -> Rule {
    rule(
        "!has(self.kmsKeyArn) || self.encrypted",
        "a volume with a KMS key is encrypted: remove encrypted: false, or remove kmsKeyArn",
    )
    .field_path(".kmsKeyArn")
}

pub(super) fn http_tokens() -> Rule {
    rule("self in ['required', 'optional']", "must be required or optional")
}
