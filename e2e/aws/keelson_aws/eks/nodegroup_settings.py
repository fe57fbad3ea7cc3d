"""Node repair and warm pools of node groups: what EKS accepts, and what it shows.

- https://docs.aws.amazon.com/eks/latest/userguide/node-repair.html, https://docs.aws.amazon.com/eks/latest/APIReference/API_NodeRepairConfig.html
- https://docs.aws.amazon.com/eks/latest/userguide/warm-pools-managed-node-groups.html; Spot and Capacity Blocks:
  https://docs.aws.amazon.com/autoscaling/ec2/userguide/warm-pools-limitations.html
AWS documents neither the texts nor whether an update keeps members that it omits. Of repair it keeps none here, which is the stricter one;
of a warm pool it keeps `enabled`, as documented. Instances of a warm pool are not launched.
"""

from __future__ import annotations

from typing import Any

from .state import bad_parameter

ALTERNATIVES = (
    ("maxUnhealthyNodeThresholdCount", "maxUnhealthyNodeThresholdPercentage"),
    ("maxParallelNodesRepairedCount", "maxParallelNodesRepairedPercentage"),
)
OVERRIDE = ("nodeMonitoringCondition", "nodeUnhealthyReason", "minRepairWaitTimeMins", "repairAction")
WARM_POOL = {"minSize": 0, "poolState": "STOPPED", "reuseOnScaleIn": False}


def check_repair(config: dict[str, Any]) -> dict[str, Any]:
    for count, percentage in ALTERNATIVES:
        if config.get(count) and config.get(percentage):
            raise bad_parameter(f"Only one of {count} and {percentage} can be specified")
    overrides = config.get("nodeRepairConfigOverrides") or []
    for override in overrides:
        missing = [name for name in OVERRIDE if override.get(name) is None]
        if missing:
            raise bad_parameter(f"nodeRepairConfigOverrides requires {', '.join(missing)}")
    named = [(override["nodeMonitoringCondition"], override["nodeUnhealthyReason"]) for override in overrides]
    if len(set(named)) != len(named):
        raise bad_parameter("nodeRepairConfigOverrides must be unique by nodeMonitoringCondition and nodeUnhealthyReason")
    return {key: value for key, value in config.items() if value != []}


def check_warm_pool(requested: dict[str, Any], now: dict[str, Any], ami_type: str, capacity_type: str) -> dict[str, Any]:
    """The warm pool as it is shown from then on."""
    if not requested.get("enabled", now.get("enabled", False)):
        return {"enabled": False}
    config = {"enabled": True, **WARM_POOL, **{key: value for key, value in requested.items() if value is not None}}
    if capacity_type != "ON_DEMAND":
        raise bad_parameter(f"Warm pools are not supported for capacity type {capacity_type}")
    if ami_type == "CUSTOM":
        raise bad_parameter("Warm pools are not supported for custom AMIs")
    if ami_type.startswith("BOTTLEROCKET") and config["poolState"] == "HIBERNATED":
        raise bad_parameter("The warm pool state HIBERNATED is not supported for Bottlerocket AMIs")
    if ami_type.startswith("BOTTLEROCKET") and config["reuseOnScaleIn"]:
        raise bad_parameter("reuseOnScaleIn is not supported for Bottlerocket AMIs")
    most = config.get("maxGroupPreparedCapacity")
    if most is not None and most != -1 and most < config["minSize"]:
        raise bad_parameter("maxGroupPreparedCapacity cannot be less than the minimum size of the warm pool")
    return config
