"""Kubernetes versions and add-on versions that EKS offers; `catalog.py` adds what tests publish.

Support states do not depend on the clock, so that tests stay deterministic. Dates are from AWS's calendar.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    "1.31": Minor("1.31.14", 48, "20261106", ("20260923",), "2024-09-26", "2025-11-26", "2026-11-26", True),
    "1.32": Minor("1.32.11", 34, "20261106", ("20260923",), "2025-01-23", "2026-03-23", "2027-03-23", True),
    "1.33": Minor("1.33.7", 25, "20261106", ("20260923",), "2025-05-29", "2026-07-29", "2027-07-29", True),
    "1.34": Minor("1.34.4", 14, "20261106", ("20260923",), "2025-10-02", "2026-12-02", "2027-12-02", False),
    "1.35": Minor("1.35.2", 6, "20261106", ("20260923",), "2026-01-27", "2027-03-27", "2028-03-27", False),
    "1.36": Minor("1.36.2", 4, "20261106", ("20260923",), "2026-06-02", "2027-08-02", "2028-08-02", False),
}
# For CreateCluster without a version.
DEFAULT_VERSION = list(MINORS)[-1]


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


ALL = tuple(minor_number(version) for version in MINORS)
FIRST, LAST = ALL[0], ALL[-1]

ADDONS: dict[str, Addon] = {
    addon.name: addon
    for addon in (
        Addon(
            "vpc-cni", "networking", "kube-system", False,
            (
                AddonVersion("v1.21.1-eksbuild.3", FIRST, LAST),
                AddonVersion("v1.20.5-eksbuild.1", FIRST, LAST, ALL),
                AddonVersion("v1.19.6-eksbuild.7", FIRST, 34),
            ),
            "aws-node", ("arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",), True,
        ),
        Addon(
            "kube-proxy", "networking", "kube-system", False,
            tuple(
                version
                for minor, new, old in (
                    (36, "v1.36.1-eksbuild.2", ""),
                    (35, "v1.35.0-eksbuild.2", ""),
                    (34, "v1.34.3-eksbuild.2", "v1.34.0-eksbuild.4"),
                    (33, "v1.33.5-eksbuild.2", "v1.33.3-eksbuild.10"),
                    (32, "v1.32.9-eksbuild.2", "v1.32.6-eksbuild.12"),
                    (31, "v1.31.13-eksbuild.2", "v1.31.10-eksbuild.12"),
                )
                # kube-proxy may be up to three minors older than the API server, never newer.
                for version in (
                    AddonVersion(new, minor, min(minor + 3, LAST), () if old else (minor,)),
                    *((AddonVersion(old, minor, min(minor + 3, LAST), (minor,)),) if old else ()),
                )
            ),
        ),
        Addon(
            "coredns", "networking", "kube-system", True,
            (
                AddonVersion("v1.13.1-eksbuild.1", 33, LAST, (35, 36)),
                AddonVersion("v1.12.4-eksbuild.1", 32, LAST, (34,)),
                AddonVersion("v1.12.1-eksbuild.2", 31, LAST, (33,)),
                AddonVersion("v1.11.4-eksbuild.24", FIRST, 33, (31, 32)),
            ),
        ),
        Addon(
            "eks-pod-identity-agent", "security", "kube-system", False,
            (AddonVersion("v1.3.10-eksbuild.1", FIRST, LAST, ALL), AddonVersion("v1.3.9-eksbuild.5", FIRST, LAST)),
        ),
        Addon(
            "aws-ebs-csi-driver", "storage", "kube-system", True,
            (AddonVersion("v1.54.0-eksbuild.1", FIRST, LAST, ALL), AddonVersion("v1.53.0-eksbuild.1", FIRST, LAST)),
            "ebs-csi-controller-sa", ("arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",), True,
        ),
        Addon(
            "aws-efs-csi-driver", "storage", "kube-system", True,
            (AddonVersion("v2.1.15-eksbuild.1", FIRST, LAST, ALL),),
            "efs-csi-controller-sa", ("arn:aws:iam::aws:policy/service-role/AmazonEFSCSIDriverPolicy",), True,
        ),
        Addon(
            "metrics-server", "observability", "kube-system", True,
            (AddonVersion("v0.8.0-eksbuild.6", FIRST, LAST, ALL), AddonVersion("v0.7.2-eksbuild.4", FIRST, 34)),
        ),
        Addon("snapshot-controller", "storage", "kube-system", True, (AddonVersion("v8.3.0-eksbuild.1", FIRST, LAST, ALL),)),
        Addon("aws-guardduty-agent", "security", "amazon-guardduty", False, (AddonVersion("v1.12.1-eksbuild.2", FIRST, LAST, ALL),)),
        Addon("eks-node-monitoring-agent", "observability", "kube-system", False, (AddonVersion("v1.4.2-eksbuild.1", FIRST, LAST, ALL),)),
    )
}
