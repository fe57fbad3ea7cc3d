"""Whether an edit ended well: what a message must name, which condition is an end, which writes an edit may never cause. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from keelson_harness.kubeapi import conditions

from .edits import Edit
from .schema import dotted


class End(StrEnum):
    """How an edit may end."""

    REFUSED = "refused at admission, naming the field"
    SAME = "stored as what was there before"
    APPLIED = "applied and in sync"
    STALLED = "stalled, naming the field"
    WAITING = "waiting, naming for what"


# Ready's reasons behind which somebody or something else is waited for.
WAITS = {
    *("WaitingForNodes", "WaitingForCluster", "WaitingForSync", "WaitingForApproval", "OutsideMaintenanceWindow"),
    *("UpgradeBlocked", "AgentUnreachable", "Degraded", "Drifted", "InsufficientCapacity"),
}


# What AWS calls a field where it refuses its value.
AWS_WORDS = {
    "scaling.max": ["Maximum size"],
    "addons[].configuration": ["ConfigurationValue"],
    "externalId": ["external id"],
    "roleArn": ["AssumeRole"],
}
# A value of fewer letters may stand in a message by chance.
TELLING = 4


@dataclass
class Outcome:
    """Of one edit that the operator carried out."""

    edit: Edit
    end: End
    reason: str
    message: str
    seconds: float = 0
    writes: list[str] = field(default_factory=list)
    # What is left of it in AWS once the spec is as it was, as nothing manages it any more.
    stays: list[str] = field(default_factory=list)
    # What is wrong with it; empty when nothing is.
    faults: list[str] = field(default_factory=list)


def end_of(item: dict) -> tuple[End, str, str] | None:
    """How the object's newest generation ended, with Ready's reason and message; None while it is under way."""
    generation = item["metadata"]["generation"]
    found = conditions(item)
    ready = found.get("Ready", {})
    if min(item.get("status", {}).get("observedGeneration", 0), ready.get("observedGeneration", 0)) < generation:
        return None
    told = ready["reason"], ready["message"]
    if ready["reason"] == "Suspended":
        return End.WAITING, *told
    if found.get("Stalled", {}).get("status") == "True" or (item["kind"] == "AwsAccount" and ready["status"] != "True"):
        return End.STALLED, *told
    in_sync = found.get("InSync", ready)
    synced = in_sync["status"] == "True" and in_sync["observedGeneration"] == generation
    if synced and (ready["status"] == "True" or ready["reason"] in WAITS):
        return End.APPLIED, *told
    failed = [step for step in item["status"].get("plan", {}).get("steps", []) if step["state"] == "Failed"]
    if ready["status"] != "True" and (ready["reason"] in WAITS or failed):
        return End.WAITING, *told
    return None


def names_field(message: str, edit: Edit) -> bool:
    """By its path or that of what it is in, by a name on that path, by its value, or as AWS calls it."""
    places = [dotted(edit.path[:length]) for length in range(len(edit.path), 0, -1)]
    words = [part for part in edit.path if isinstance(part, str)]
    words += AWS_WORDS.get(edit.name, [])
    value = edit.value if isinstance(edit.value, str) and len(edit.value) >= TELLING else None
    return (
        any(place in message for place in places)
        or any(re.search(rf"\b{re.escape(word)}\b", message) for word in words)
        or bool(value and value in message)
    )
