"""Kubernetes versions and add-on versions that EKS offers; `catalog.py` adds what tests publish.

Support states do not move with the clock: a test gives the same answer next year. Dates are those of AWS's calendar.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_VERSION = "1.34"


@dataclass(frozen=True)
class Minor:
    patch: str
    platform: int
    ami_date: str
    older_ami_dates: tuple[str, ...]
    released: str
    standard_ends: str
    extended_ends: str
    extended: bool


MINORS: dict[str, Minor] = {
    "1.30": Minor("1.30.14", 56, "20261106", ("20260923",), "2024-05-23", "2025-07-23", "2026-07-23", True),
    "1.31": Minor("1.31.14", 48, "20261106", ("20260923",), "2024-09-26", "2025-11-26", "2026-11-26", True),
    "1.32": Minor("1.32.11", 34, "20261106", ("20260923",), "2025-01-23", "2026-03-23", "2027-03-23", True),
    "1.33": Minor("1.33.7", 25, "20261106", ("20260923",), "2025-05-29", "2026-07-29", "2027-07-29", False),
    "1.34": Minor("1.34.4", 14, "20261106", ("20260923",), "2025-10-02", "2026-12-02", "2027-12-02", False),
    "1.35": Minor("1.35.2", 6, "20261106", ("20260923",), "2026-01-27", "2027-03-27", "2028-03-27", False),
}


def minor_number(version: str) -> int:
    return int(version.split(".")[1])


def platform_version(version: str) -> str:
    return f"eks.{MINORS[version].platform}"


@dataclass(frozen=True)
class AddonVersion:
    version: str
    first: int
    last: int
    # Minors for which this is the default version.
    default_for: tuple[int, ...] = ()


@dataclass(frozen=True)
class Addon:
    name: str
    type: str
    namespace: str
    # Whether it has pods that need a node before it can be ACTIVE.
    needs_nodes: bool
    versions: tuple[AddonVersion, ...]
    service_account: str = ""
    policies: tuple[str, ...] = ()
    requires_iam: bool = False


ALL = (30, 31, 32, 33, 34, 35)

ADDONS: dict[str, Addon] = {
    addon.name: addon
    for addon in (
        Addon(
            "vpc-cni", "networking", "kube-system", False,
            (
                AddonVersion("v1.21.1-eksbuild.3", 30, 35),
                AddonVersion("v1.20.5-eksbuild.1", 30, 35, ALL),
                AddonVersion("v1.19.6-eksbuild.7", 30, 34),
            ),
            "aws-node", ("arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",), True,
        ),
        Addon(
            "kube-proxy", "networking", "kube-system", False,
            tuple(
                version
                for minor, new, old in (
                    (35, "v1.35.0-eksbuild.2", ""),
                    (34, "v1.34.3-eksbuild.2", "v1.34.0-eksbuild.4"),
                    (33, "v1.33.5-eksbuild.2", "v1.33.3-eksbuild.10"),
                    (32, "v1.32.9-eksbuild.2", "v1.32.6-eksbuild.12"),
                    (31, "v1.31.13-eksbuild.2", "v1.31.10-eksbuild.12"),
                    (30, "v1.30.14-eksbuild.18", "v1.30.14-eksbuild.12"),
                )
                # kube-proxy may be up to three minors behind the API server, never ahead of it.
                for version in (
                    AddonVersion(new, minor, min(minor + 3, 35), () if old else (minor,)),
                    *((AddonVersion(old, minor, min(minor + 3, 35), (minor,)),) if old else ()),
                )
            ),
        ),
        Addon(
            "coredns", "networking", "kube-system", True,
            (
                AddonVersion("v1.13.1-eksbuild.1", 33, 35, (35,)),
                AddonVersion("v1.12.4-eksbuild.1", 32, 35, (34,)),
                AddonVersion("v1.12.1-eksbuild.2", 31, 35, (33,)),
                AddonVersion("v1.11.4-eksbuild.24", 30, 33, (31, 32)),
                AddonVersion("v1.11.1-eksbuild.27", 30, 31, (30,)),
            ),
        ),
        Addon(
            "eks-pod-identity-agent", "security", "kube-system", False,
            (AddonVersion("v1.3.10-eksbuild.1", 30, 35, ALL), AddonVersion("v1.3.9-eksbuild.5", 30, 35)),
        ),
        Addon(
            "aws-ebs-csi-driver", "storage", "kube-system", True,
            (AddonVersion("v1.54.0-eksbuild.1", 30, 35, ALL), AddonVersion("v1.53.0-eksbuild.1", 30, 35)),
            "ebs-csi-controller-sa", ("arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",), True,
        ),
        Addon(
            "aws-efs-csi-driver", "storage", "kube-system", True,
            (AddonVersion("v2.1.15-eksbuild.1", 30, 35, ALL),),
            "efs-csi-controller-sa", ("arn:aws:iam::aws:policy/service-role/AmazonEFSCSIDriverPolicy",), True,
        ),
        Addon(
            "metrics-server", "observability", "kube-system", True,
            (AddonVersion("v0.8.0-eksbuild.6", 30, 35, ALL), AddonVersion("v0.7.2-eksbuild.4", 30, 34)),
        ),
        Addon("snapshot-controller", "storage", "kube-system", True, (AddonVersion("v8.3.0-eksbuild.1", 30, 35, ALL),)),
        Addon("eks-node-monitoring-agent", "observability", "kube-system", False, (AddonVersion("v1.4.2-eksbuild.1", 30, 35, ALL),)),
    )
}
