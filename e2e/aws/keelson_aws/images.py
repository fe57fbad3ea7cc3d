"""The machine images of EKS's own node groups: their ids, and what DescribeImages and SSM say of them. No I/O."""

from __future__ import annotations

import datetime
import hashlib
from functools import cache
from typing import Any

from .versions import MINORS, release_versions

# They are in no list: only who knows an id, from SSM or an instance, finds one.
EKS_IMAGE = "ami-0e45"
OWNER = "602401143452"
MADE = datetime.datetime(2026, 11, 6)
TYPES = (
    *(f"AL2023_{kind}" for kind in ("x86_64_STANDARD", "ARM_64_STANDARD", "x86_64_NEURON", "x86_64_NVIDIA", "ARM_64_NVIDIA")),
    *(f"BOTTLEROCKET_{kind}" for kind in ("x86_64", "ARM_64", "x86_64_NVIDIA", "ARM_64_NVIDIA", "x86_64_FIPS", "ARM_64_FIPS")),
)


def image_id(version: str, ami_type: str) -> str:
    """A stable AMI id for each minor and AMI type, so that an upgrade changes it."""
    return EKS_IMAGE + hashlib.sha256(f"{version} {ami_type}".encode()).hexdigest()[:13]


@cache
def known_images() -> dict[str, tuple[str, str]]:
    return {image_id(version, ami_type): (version, ami_type) for version in MINORS for ami_type in TYPES}


def image_name(version: str, ami_type: str) -> str:
    arch = "arm64" if "ARM_64" in ami_type else "x86_64"
    if ami_type.startswith("BOTTLEROCKET"):
        return f"bottlerocket-aws-k8s-{version}-{arch.replace('arm64', 'aarch64')}-v1.51.0-47438798"
    flavour = ami_type.rpartition("_")[2].lower()
    return f"amazon-eks-node-al2023-{arch}-{flavour}-{version}-v{release_versions(version)[0].rpartition('-')[2]}"


def describe_image(ami_id: str) -> dict[str, Any] | None:
    """An image as DescribeImages shows it; None for one that is not EKS's."""
    if ami_id not in known_images():
        return None
    version, ami_type = known_images()[ami_id]
    disk = {
        "DeleteOnTermination": True, "Encrypted": False, "SnapshotId": "snap-" + ami_id.removeprefix("ami-"),
        "VolumeSize": 2 if ami_type.startswith("BOTTLEROCKET") else 20, "VolumeType": "gp3",
    }
    return {
        "ImageId": ami_id, "Name": image_name(version, ami_type), "OwnerId": OWNER, "ImageOwnerAlias": "amazon",
        "ImageLocation": f"amazon/{image_name(version, ami_type)}", "Description": f"EKS-optimized image of Kubernetes {version}",
        "Architecture": "arm64" if "ARM_64" in ami_type else "x86_64", "State": "available", "Public": True, "ImageType": "machine",
        "RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs", "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
        "VirtualizationType": "hvm", "Hypervisor": "xen", "EnaSupport": True, "SriovNetSupport": "simple",
        "PlatformDetails": "Linux/UNIX", "CreationDate": MADE,
    }
