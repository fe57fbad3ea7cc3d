"""The EKS-optimized AMIs: their ids, and their values in DescribeImages and SSM. No I/O."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from .catalog import CATALOG, ALL_ACCOUNTS
from .versions import MINORS

# Prefix of their ids. DescribeImages returns them only by id, as known from SSM or an instance.
EKS_IMAGE_PREFIX = "ami-0e45"
OWNER = "602401143452"
CREATION_DATE = datetime.datetime(2026, 11, 6)
TYPES = (
    *(f"AL2023_{kind}" for kind in ("x86_64_STANDARD", "ARM_64_STANDARD", "x86_64_NEURON", "x86_64_NVIDIA", "ARM_64_NVIDIA")),
    *(f"BOTTLEROCKET_{kind}" for kind in ("x86_64", "ARM_64", "x86_64_NVIDIA", "ARM_64_NVIDIA", "x86_64_FIPS", "ARM_64_FIPS")),
)


BOTTLEROCKET_RELEASES = ["1.51.0-47438798", "1.50.0-cacc4ce9"]


def releases_of(account: str, version: str, ami_type: str) -> list[str]:
    """Releases of EKS images of that type, newest first."""
    if ami_type.startswith("BOTTLEROCKET"):
        return BOTTLEROCKET_RELEASES
    if ami_type.startswith("WINDOWS"):
        return [f"{version}-{MINORS[version].ami_date[:4]}.{MINORS[version].ami_date[4:6]}.12"]
    return CATALOG.releases(account, version)


def newest_announced(account: str, version: str, ami_type: str) -> str:
    """The newest release in SSM; EKS may not accept it yet."""
    if ami_type.startswith("AL2023"):
        return CATALOG.announced(account, version)[0]
    return releases_of(account, version, ami_type)[0]


def image_id(version: str, ami_type: str, release: str = "") -> str:
    """A stable AMI id for each minor, AMI type and release, so that an upgrade changes it. Default: the newest built-in release."""
    release = release or releases_of(ALL_ACCOUNTS, version, ami_type)[0]
    return EKS_IMAGE_PREFIX + hashlib.sha256(f"{version} {ami_type} {release}".encode()).hexdigest()[:13]


def known_images() -> dict[str, tuple[str, str, str]]:
    found = {}
    for version in MINORS:
        for ami_type in TYPES:
            releases = BOTTLEROCKET_RELEASES if ami_type.startswith("BOTTLEROCKET") else CATALOG.all_releases(version)
            found.update({image_id(version, ami_type, release): (version, ami_type, release) for release in releases})
    return found


def image_name(version: str, ami_type: str, release: str) -> str:
    arch = "arm64" if "ARM_64" in ami_type else "x86_64"
    if ami_type.startswith("BOTTLEROCKET"):
        return f"bottlerocket-aws-k8s-{version}-{arch.replace('arm64', 'aarch64')}-v{release}"
    flavour = ami_type.rpartition("_")[2].lower()
    return f"amazon-eks-node-al2023-{arch}-{flavour}-{version}-v{release.rpartition('-')[2]}"


def describe_image(ami_id: str) -> dict[str, Any] | None:
    """An image in the format of DescribeImages; None if it is not an EKS image."""
    found = known_images().get(ami_id) if ami_id.startswith(EKS_IMAGE_PREFIX) else None
    if found is None:
        return None
    version, ami_type, release = found
    name = image_name(version, ami_type, release)
    disk = {
        "DeleteOnTermination": True, "Encrypted": False, "SnapshotId": "snap-" + ami_id.removeprefix("ami-"),
        "VolumeSize": 2 if ami_type.startswith("BOTTLEROCKET") else 20, "VolumeType": "gp3",
    }
    return {
        "ImageId": ami_id, "Name": name, "OwnerId": OWNER, "ImageOwnerAlias": "amazon",
        "ImageLocation": f"amazon/{name}", "Description": f"EKS-optimized image of Kubernetes {version}",
        "Architecture": "arm64" if "ARM_64" in ami_type else "x86_64", "State": "available", "Public": True, "ImageType": "machine",
        "RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs", "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
        "VirtualizationType": "hvm", "Hypervisor": "xen", "EnaSupport": True, "SriovNetSupport": "simple",
        "PlatformDetails": "Linux/UNIX", "CreationDate": CREATION_DATE,
    }
