"""The log group of a control plane: EKS creates it with the first log type that is enabled, and again whenever it is missing, as long as
the cluster exists. It stays when the cluster is deleted
(https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html; terraform-aws-eks#920, #2763).
"""

from __future__ import annotations

import json
from typing import Any

from moto.logs.models import logs_backends

from ..call import Call
from ..settings import Settings
from ..timeline import Timeline
from .state import Cluster, Region


def log_group(cluster: Cluster) -> str:
    return f"/aws/eks/{cluster.name}/cluster"


def has_logs(cluster: Cluster) -> bool:
    return any(group["enabled"] and group["types"] for group in cluster.body["logging"]["clusterLogging"])


def write_logs(region: Region, cluster: Cluster) -> None:
    """Creates the log group unless it exists or nothing is logged."""
    backend: Any = logs_backends[region.account][region.name]
    if region.clusters.get(cluster.name) is cluster and has_logs(cluster) and log_group(cluster) not in backend.groups:
        backend.create_log_group(log_group(cluster), {})


def recreate(regions: dict[tuple[str, str], Region], call: Call, timeline: Timeline, settings: Settings) -> None:
    """After the deletion of a log group: its cluster writes on."""
    name = json.loads(call.request.body or b"{}").get("logGroupName")
    region = regions.get((call.account, call.region))
    for cluster in region.clusters.values() if region else ():
        if log_group(cluster) == name and has_logs(cluster):
            timeline.after(settings.addon_seconds, lambda c=cluster: write_logs(region, c))  # type: ignore[misc, arg-type]
