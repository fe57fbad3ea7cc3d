"""Volumes and tags of instances launched with a launch template, as RunInstances creates them. No I/O.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchTemplateEbsBlockDeviceRequest.html
"""

from __future__ import annotations

from typing import Any

from moto.ec2.utils import convert_tag_spec

# Of Amazon Linux and Bottlerocket; of Windows.
ROOT_DEVICES = ("/dev/xvda", "/dev/sda1")
# The size of the snapshot of EKS's images, and so of a root volume that says nothing else.
ROOT_GIB = 20


def create_volumes(backend: Any, instance: Any, data: dict[str, Any]) -> None:
    mappings = list(data.get("BlockDeviceMappings") or [])
    if not any(mapping.get("DeviceName") in ROOT_DEVICES for mapping in mappings):
        mappings.insert(0, {"DeviceName": ROOT_DEVICES[0], "Ebs": {"VolumeSize": ROOT_GIB, "VolumeType": "gp3", "DeleteOnTermination": True}})
    for mapping in mappings:
        ebs = mapping.get("Ebs")
        if ebs is None or mapping.get("NoDevice") == "":
            continue
        volume = backend.create_volume(
            size=int(ebs.get("VolumeSize") or ROOT_GIB),
            zone_name=instance.placement.zone,
            snapshot_id=ebs.get("SnapshotId"),
            encrypted=is_true(ebs.get("Encrypted")),
            kms_key_id=ebs.get("KmsKeyId"),
            volume_type=ebs.get("VolumeType"),
            iops=int(ebs["Iops"]) if ebs.get("Iops") else None,
            throughput=int(ebs["Throughput"]) if ebs.get("Throughput") else None,
        )
        backend.attach_volume(volume.id, instance.id, mapping["DeviceName"], is_true(ebs.get("DeleteOnTermination")))


def tag_parts(instance: Any, data: dict[str, Any]) -> None:
    """moto tags the instance itself."""
    tags = convert_tag_spec(data.get("TagSpecifications") or [])
    for volume_id in [device.volume_id for _, device in instance.get_block_device_mapping]:
        instance.ec2_backend.create_tags([volume_id], tags.get("volume", {}))
    for interface in instance.nics.values():
        instance.ec2_backend.create_tags([interface.id], tags.get("network-interface", {}))


def is_true(value: Any) -> bool:
    return str(value).lower() == "true"
