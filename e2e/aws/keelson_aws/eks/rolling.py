"""A node group's nodes make way for new ones, as EKS does it: more nodes first, then the old ones cordoned and taken away.

https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html says the order. What stays after a failure is
inference: nodes that were replaced stay new, the others are let be, and the additional ones go.
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

# When, as parts of the whole time, more nodes are launched, are ready, and the last old one is gone.
LAUNCH, READY, DRAINED = 0.1, 0.3, 0.9


@dataclass
class Rolling:
    """The replacement that is under way; it stands in the part's data while it is."""

    new: fleet.Image
    # Nodes to be replaced, how many there were to be, and how many may be away at once.
    old: list[str]
    size: int
    max_size: int
    at_once: int
    minimal: bool
    cordoned: list[str] = field(default_factory=list)
    joining: list[str] = field(default_factory=list)


def begin(context: Context, cluster: Cluster, part: Part, new: fleet.Image, seconds: float) -> None:
    """Lay out the steps before the update's end; `finish` does what is then left."""
    group = fleet.group_of(context, part)
    if group is None or not group.instance_states:
        return
    old = [instance for instance in ids(group) if fleet.image_of(part, instance) != new]
    at_once = unavailable(part.body["updateConfig"], len(old))
    minimal = part.body["updateConfig"].get("updateStrategy") == "MINIMAL"
    rolling = Rolling(new, old, group.desired_capacity, group.max_size, at_once, minimal)
    for instance in old:
        part.data.setdefault("images", {}).setdefault(instance, fleet.current_image(part))
    part.data["rolling"] = rolling
    timeline = context.timeline
    timeline.after(seconds * LAUNCH, lambda: launch(context, cluster, part))
    issue = failure(context)
    stuck = issue is not None and issue.get("code") == "PodEvictionFailure"
    if issue is not None and not stuck:
        # Whatever it is, the new nodes never become ready, and so no old one is touched.
        return
    timeline.after(seconds * READY, lambda: joined(part))
    batches = [old[i : i + at_once] for i in range(0, len(old), at_once)]
    for number, batch in enumerate(batches[: len(batches) - stuck], 1):
        share = READY + (DRAINED - READY) * number / len(batches)
        timeline.after(seconds * share, lambda batch=batch: replace(context, part, batch))  # type: ignore[misc]


def failure(context: Context) -> dict[str, Any] | None:
    """What will keep the update from succeeding. Force gets past pods that cannot be evicted, and past nothing else."""
    outcome = context.outcome
    why = outcome.get("fail") or outcome.get("cancel")
    found = outcome.get("health_issue") or ({"message": why} if why else None)
    if found and found.get("code") == "PodEvictionFailure" and context.params.get("force"):
        return None
    return found


def unavailable(config: dict[str, Any], size: int) -> int:
    percentage = config.get("maxUnavailablePercentage")
    return max(1, math.floor(size * percentage / 100)) if percentage else int(config.get("maxUnavailable") or 1)


def ids(group: Any) -> list[str]:
    return sorted(state.instance.id for state in group.instance_states)


def launch(context: Context, cluster: Cluster, part: Part) -> None:
    """A new template version and, unless the strategy is minimal, more nodes than there are to be afterwards."""
    rolling, group = part.data.get("rolling"), fleet.group_of(context, part)
    if rolling is None or group is None:
        return
    fleet.new_template_version(context, cluster, part, rolling.new)
    if rolling.minimal:
        return
    zones = {zone_of(context, subnet) for subnet in part.body["subnets"]}
    more = max(2 * len(zones), rolling.at_once)
    group.max_size += more
    group.set_desired_capacity(rolling.size + more)
    rolling.joining = [instance for instance in ids(group) if instance not in rolling.old]


def zone_of(context: Context, subnet: str) -> str:
    return str(ec2(context.region.account, context.region.name).get_subnet(subnet).availability_zone)


def joined(part: Part) -> None:
    """The new nodes are ready; from now on no pod is placed on an old one."""
    rolling = part.data.get("rolling")
    if rolling is not None:
        rolling.joining = []
        rolling.cordoned = [] if rolling.minimal else list(rolling.old)


def replace(context: Context, part: Part, batch: list[str]) -> None:
    rolling, group = part.data.get("rolling"), fleet.group_of(context, part)
    if rolling is None or group is None:
        return
    here = set(ids(group))
    for instance in batch:
        if instance in here:
            terminate(context, part, instance, decrement=group.desired_capacity > rolling.size)
        rolling.old.remove(instance)


def terminate(context: Context, part: Part, instance: str, decrement: bool) -> None:
    """Without `decrement` the group launches another one in its place."""
    autoscaling_backends[context.region.account][context.region.name].terminate_instance(instance, decrement)
    part.data.get("images", {}).pop(instance, None)


def left(context: Context, part: Part) -> list[str]:
    """Names of the nodes that have not been replaced."""
    rolling = part.data.get("rolling")
    return [fleet.node_name(context.region.name, instance) for instance in rolling.old] if rolling else []


def finish(context: Context, cluster: Cluster, part: Part, successful: bool) -> None:
    """The size is again what it was; after a success no old node is left."""
    rolling, group = part.data.get("rolling"), fleet.group_of(context, part)
    if rolling is None or group is None:
        part.data.pop("rolling", None)
        return
    images: dict[str, fleet.Image] = part.data["images"]
    if successful:
        replace(context, part, list(rolling.old))
    else:
        fleet.new_template_version(context, cluster, part, fleet.current_image(part))
    # Those of an earlier try stay, the youngest go.
    young = sorted((i for i in ids(group) if i not in rolling.old), key=lambda i: i not in images)
    for instance in young[max(0, rolling.size - len(rolling.old)) :]:
        terminate(context, part, instance, decrement=True)
    group.max_size = rolling.max_size
    images.update({instance: rolling.new for instance in ids(group) if instance not in rolling.old})
    del part.data["rolling"]
    group.set_desired_capacity(rolling.size)
