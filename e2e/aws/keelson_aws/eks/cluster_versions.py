"""DescribeClusterVersions."""

from __future__ import annotations

import datetime
from typing import Any

from ..catalog import CATALOG
from ..versions import DEFAULT_VERSION, MINORS, platform_version
from .operations import Context, operation, page
from .state import bad_parameter


def timestamp(date: str) -> float:
    return datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.timezone.utc).timestamp()


@operation
def describe_cluster_versions(context: Context) -> dict[str, Any]:
    params = context.params
    wanted = params.get("clusterVersions") or []
    for version in wanted:
        if version not in MINORS:
            raise bad_parameter(f"Kubernetes version {version} is not supported")
    status = params.get("versionStatus") or (params.get("status") or "").upper().replace("-", "_")
    infos = []
    for version in reversed(MINORS):
        minor = CATALOG.minor(context.region.account, version)
        support = "EXTENDED_SUPPORT" if minor.extended else "STANDARD_SUPPORT"
        if (wanted and version not in wanted) or (status and status != support) or (params.get("defaultOnly") and version != DEFAULT_VERSION):
            continue
        infos.append(
            {
                "clusterVersion": version,
                "clusterType": "eks",
                "defaultPlatformVersion": platform_version(version),
                "defaultVersion": version == DEFAULT_VERSION,
                "releaseDate": timestamp(minor.released),
                "endOfStandardSupportDate": timestamp(minor.standard_ends),
                "endOfExtendedSupportDate": timestamp(minor.extended_ends),
                "status": support.lower().replace("_", "-"),
                "versionStatus": support,
                "kubernetesPatchVersion": minor.patch,
            }
        )
    return page(context, infos, "clusterVersions")
