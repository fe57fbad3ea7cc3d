"""Rolling replacement of a node group's nodes: EKS launches additional nodes first, then cordons and terminates the old ones.

The order is documented in https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html. The state after a
failure is our assumption: replaced nodes stay, other old nodes are left unchanged, additional nodes are terminated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from moto.autoscaling.models import autoscaling_backends

from ..cloud import ec2
from . import fleet
from .operations import Context
from .state import Cluster, Part

# Times, as fractions of the duration: additional nodes are launched, they are ready, the last old node is terminated.
LAUNCH, READY, DRAINED = 0.1, 0.3, 0.9


@dataclass
class Rolling:
    """A replacement in progress, stored in the part's data."""

    new: fleet.Image
    # Nodes to replace, the original sizes of the group, and how many nodes may be unavailable.
    old: list[str]
    size: int
    max_size: int
    max_unavailable: int
    minimal: bool
    cordoned: list[str] = field(default_factory=list)
    joining: list[str] = field(default_factory=list)
    # The quota of vCPUs ended before all additional nodes were launched.
    stalled: bool = False


def start(context: Context, cluster: Cluster, part: Part, new: fleet.Image, seconds: float) -> None:
    """Schedules the steps before the end of the update; `finish` does the rest."""
    group = fleet.auto_scaling_group(context, part)
    if group is None or not group.instance_states:
        return
    old = [instance for instance in instance_ids(group) if fleet.image_of(part, instance) != new]
    max_unavailable = unavailable(part.body["updateConfig"], len(old))
    minimal = part.body["updateConfig"].get("updateStrategy") == "MINIMAL"
    rolling = Rolling(new, old, group.desired_capacity, group.max_size, max_unavailable, minimal)
    for instance in old:
        part.data.setdefault("images", {}).setdefault(instance, fleet.current_image(part))
    part.data["rolling"] = rolling
    timeline = context.timeline
    timeline.after(seconds * LAUNCH, lambda: launch(context, cluster, part))
    issue = failure(context)
    stuck = issue is not None and issue.get("code") == "PodEvictionFailure"
    if issue is not None and not stuck:
        # With any other failure the new nodes never become ready, so no old node is replaced.
        return
    timeline.after(seconds * READY, lambda: mark_ready(part))
    batches = [old[i : i + max_unavailable] for i in range(0, len(old), max_unavailable)]
    for number, batch in enumerate(batches[: len(batches) - stuck], 1):
        share = READY + (DRAINED - READY) * number / len(batches)
        timeline.after(seconds * share, lambda batch=batch: replace(context, part, batch))  # type: ignore[misc]


def not_joining(part: Part) -> dict[str, Any]:
    """What an update says whose new nodes are not launched or do not join."""
    text = f"Couldn't proceed with upgrade process as new nodes are not joining node group {part.body['nodegroupName']}"
    return {"code": "NodeCreationFailure", "message": text, "resourceIds": []}


def failure(context: Context) -> dict[str, Any] | None:
    """The failure of the update, if any. Force overrides only PodEvictionFailure."""
    outcome = context.outcome
    why = outcome.get("fail") or outcome.get("cancel")
    found = outcome.get("health_issue") or ({"message": why} if why else None)
    if found and found.get("code") == "PodEvictionFailure" and context.params.get("force"):
        return None
    return found


def unavailable(config: dict[str, Any], size: int) -> int:
    percentage = config.get("maxUnavailablePercentage")
    return max(1, math.floor(size * percentage / 100)) if percentage else int(config.get("maxUnavailable") or 1)


def instance_ids(group: Any) -> list[str]:
    return sorted(state.instance.id for state in group.instance_states)


def launch(context: Context, cluster: Cluster, part: Part) -> None:
    """Creates the new template version and, unless the strategy is MINIMAL, launches additional nodes."""
    rolling, group = part.data.get("rolling"), fleet.auto_scaling_group(context, part)
    if rolling is None or group is None:
        return
    fleet.new_template_version(context, cluster, part, rolling.new)
    if rolling.minimal:
        return
    zones = {zone_of(context, subnet) for subnet in part.body["subnets"]}
    additional = max(2 * len(zones), rolling.max_unavailable)
    group.max_size += additional
    group.set_desired_capacity(rolling.size + additional)
    rolling.joining = [instance for instance in instance_ids(group) if instance not in rolling.old]
    rolling.stalled = len(group.instance_states) < group.desired_capacity
    if rolling.stalled:
        # Read when the update ends.
        context.outcome.setdefault("health_issue", not_joining(part))


def zone_of(context: Context, subnet: str) -> str:
    return str(ec2(context.region.account, context.region.name).get_subnet(subnet).availability_zone)


def mark_ready(part: Part) -> None:
    """The new nodes are ready: cordons the old ones."""
    rolling = part.data.get("rolling")
    if rolling is not None and not rolling.stalled:
        rolling.joining = []
        rolling.cordoned = [] if rolling.minimal else list(rolling.old)


def replace(context: Context, part: Part, batch: list[str]) -> None:
    rolling, group = part.data.get("rolling"), fleet.auto_scaling_group(context, part)
    if rolling is None or group is None or rolling.stalled:
        return
    existing = set(instance_ids(group))
    for instance in batch:
        if instance in existing:
            terminate(context, part, instance, decrement=group.desired_capacity > rolling.size)
        rolling.old.remove(instance)


def terminate(context: Context, part: Part, instance: str, decrement: bool) -> None:
    """Without `decrement` the group launches a replacement."""
    autoscaling_backends[context.region.account][context.region.name].terminate_instance(instance, decrement)
    part.data.get("images", {}).pop(instance, None)


def remaining_nodes(context: Context, part: Part) -> list[str]:
    """Names of the nodes that were not replaced."""
    rolling = part.data.get("rolling")
    return [fleet.node_name(context.region.name, instance) for instance in rolling.old] if rolling else []


def finish(context: Context, cluster: Cluster, part: Part, successful: bool) -> None:
    """Restores the size; after a success no old node remains."""
    rolling, group = part.data.get("rolling"), fleet.auto_scaling_group(context, part)
    if rolling is None or group is None:
        part.data.pop("rolling", None)
        return
    images: dict[str, fleet.Image] = part.data.setdefault("images", {})
    if successful:
        replace(context, part, list(rolling.old))
    else:
        fleet.new_template_version(context, cluster, part, fleet.current_image(part))
    # Keeps nodes of an earlier attempt, terminates the newest.
    new_nodes = sorted((i for i in instance_ids(group) if i not in rolling.old), key=lambda i: i not in images)
    for instance in new_nodes[max(0, rolling.size - len(rolling.old)) :]:
        terminate(context, part, instance, decrement=True)
    group.max_size = rolling.max_size
    images.update({instance: rolling.new for instance in instance_ids(group) if instance not in rolling.old})
    del part.data["rolling"]
    group.set_desired_capacity(rolling.size)
