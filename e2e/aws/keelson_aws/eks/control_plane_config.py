"""Settings of the Kubernetes control plane: egress mode, API server, controller manager, scheduler.

- https://docs.aws.amazon.com/eks/latest/userguide/control-plane-configuration.html (ranges, defaults, merging)
- https://docs.aws.amazon.com/eks/latest/userguide/control-plane-egress.html
AWS documents no texts; these are ours. DescribeCluster always has the settings of components, and the egress mode once it was set.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from ..versions import minor_number
from .state import bad_parameter

DEFAULTS: dict[str, dict[str, Any]] = {
    "kubeApiServerConfig": {"eventTtl": "60m", "serviceNodePortRange": {"minPort": 30000, "maxPort": 32767}},
    "kubeControllerManagerConfig": {"horizontalPodAutoscalerControllerConfig": {"horizontalPodAutoscalerSyncPeriod": "15s"}},
    "kubeSchedulerConfig": {
        "nodeResourcesFit": {
            "scoringStrategy": {"type": "LeastAllocated", "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]}
        }
    },
}
FIRST_VERSION = "1.31"
RESOURCES = ("cpu", "memory", "nvidia.com/gpu", "aws.amazon.com/neuron", "aws.amazon.com/neuroncore")
UNITS = {"s": 1, "m": 60, "h": 3600}


def merged(now: dict[str, Any], requested: dict[str, Any]) -> dict[str, Any]:
    """What is not requested stays; a list is replaced."""
    result = deepcopy(now)
    for key, value in requested.items():
        if value is not None:
            result[key] = merged(result.get(key) or {}, value) if isinstance(value, dict) else value
    return result


def settings(now: dict[str, Any], params: dict[str, Any], version: str, tier: str) -> dict[str, Any]:
    """The settings of all components with those of a request, which are checked."""
    requested = {key: params[key] for key in DEFAULTS if params.get(key)}
    if requested and minor_number(version) < minor_number(FIRST_VERSION):
        raise bad_parameter(f"Control plane configuration requires Kubernetes version {FIRST_VERSION} or later")
    check_api_server(requested.get("kubeApiServerConfig") or {})
    check_controller_manager(requested.get("kubeControllerManagerConfig") or {}, tier)
    check_scheduler(requested.get("kubeSchedulerConfig") or {})
    result = {key: merged(now.get(key) or DEFAULTS[key], requested.get(key) or {}) for key in DEFAULTS}
    ports = result["kubeApiServerConfig"]["serviceNodePortRange"]
    if ports["minPort"] > ports["maxPort"]:
        raise bad_parameter("serviceNodePortRange.minPort must be less than or equal to maxPort")
    return result


def seconds(text: str, name: str) -> int:
    found = re.fullmatch(r"(\d+)([smh])", text)
    if not found:
        raise bad_parameter(f"{name} must be a single-unit duration")
    return int(found[1]) * UNITS[found[2]]


def check_api_server(config: dict[str, Any]) -> None:
    ttl = config.get("eventTtl")
    if ttl and not 600 <= seconds(ttl, "eventTtl") <= 3600:
        raise bad_parameter(f"eventTtl {ttl} is not between 10m and 60m")
    for name, port in (config.get("serviceNodePortRange") or {}).items():
        if not 10260 <= port <= 32767:
            raise bad_parameter(f"serviceNodePortRange.{name} {port} is not between 10260 and 32767")


def check_controller_manager(config: dict[str, Any], tier: str) -> None:
    period = (config.get("horizontalPodAutoscalerControllerConfig") or {}).get("horizontalPodAutoscalerSyncPeriod")
    if not period:
        return
    if not 10 <= seconds(period, "horizontalPodAutoscalerSyncPeriod") <= 15:
        raise bad_parameter(f"horizontalPodAutoscalerSyncPeriod {period} is not between 10s and 15s")
    if tier == "standard":
        raise bad_parameter("horizontalPodAutoscalerSyncPeriod requires a provisioned control plane")


def check_scheduler(config: dict[str, Any]) -> None:
    strategy = (config.get("nodeResourcesFit") or {}).get("scoringStrategy") or {}
    names = [resource.get("name") for resource in strategy.get("resources") or []]
    if unknown := [name for name in names if name not in RESOURCES]:
        raise bad_parameter(f"Resources {unknown} are not supported by scoringStrategy")
    if len(set(names)) != len(names):
        raise bad_parameter("Resources of scoringStrategy must be unique")


def check_egress_mode(now: str, requested: str) -> None:
    if now == requested:
        raise bad_parameter(f"Cluster is already at the desired configuration with controlPlaneEgressMode: {requested}")
    if requested == "AWS_MANAGED":
        raise bad_parameter(f"controlPlaneEgressMode cannot be changed from {now} to AWS_MANAGED")
