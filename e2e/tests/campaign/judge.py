"""Whether the outcome of an edit is correct: what a message must name, and which conditions are an outcome. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from keelson_harness.kubeapi import conditions

from .edits import Edit
from .schema import dotted


class OutcomeType(StrEnum):
    """Possible outcomes of an edit."""

    REJECTED = "rejected at admission, naming the field"
    UNCHANGED = "stored without a change"
    APPLIED = "applied and in sync"
    STALLED = "stalled, naming the field"
    WAITING = "waiting, naming the reason"


# Reasons of Ready that mean waiting for a person or for another event.
WAIT_REASONS = {
    *("WaitingForNodes", "WaitingForCluster", "WaitingForSync", "WaitingForApproval", "OutsideMaintenanceWindow"),
    *("UpgradeBlocked", "AgentUnreachable", "Degraded", "Drifted", "InsufficientCapacity"),
}


# AWS's names of fields in its error messages.
AWS_NAMES = {
    "scaling.max": ["Maximum size"],
    "addons[].configuration": ["ConfigurationValue"],
    "externalId": ["external id"],
    "roleArn": ["AssumeRole"],
}
# A shorter value may occur in a message by chance.
MIN_VALUE_LENGTH = 4


@dataclass
class Outcome:
    """The outcome of one edit that was applied with a running operator."""

    edit: Edit
    type: OutcomeType
    reason: str
    message: str
    seconds: float = 0
    writes: list[str] = field(default_factory=list)
    # Allowed differences in AWS after the revert: fields that are no longer managed.
    remaining: list[str] = field(default_factory=list)
    # Defects; empty if the outcome is correct.
    faults: list[str] = field(default_factory=list)


def current_outcome(item: dict) -> tuple[OutcomeType, str, str] | None:
    """The outcome of the object's newest generation, with Ready's reason and message; None while it is in progress."""
    generation = item["metadata"]["generation"]
    found = conditions(item)
    ready = found.get("Ready", {})
    if min(item.get("status", {}).get("observedGeneration", 0), ready.get("observedGeneration", 0)) < generation:
        return None
    result = ready["reason"], ready["message"]
    if ready["reason"] == "Suspended":
        return OutcomeType.WAITING, *result
    if found.get("Stalled", {}).get("status") == "True" or (item["kind"] == "AwsAccount" and ready["status"] != "True"):
        return OutcomeType.STALLED, *result
    in_sync = found.get("InSync", ready)
    synced = in_sync["status"] == "True" and in_sync["observedGeneration"] == generation
    if synced and (ready["status"] == "True" or ready["reason"] in WAIT_REASONS):
        return OutcomeType.APPLIED, *result
    if ready["status"] == "True" and in_sync["status"] == "False" and in_sync["observedGeneration"] == generation:
        # In a network of others: what EKS would refuse is reported, and not sent.
        return OutcomeType.WAITING, in_sync["reason"], in_sync["message"]
    failed = [step for step in item["status"].get("plan", {}).get("steps", []) if step["state"] == "Failed"]
    if ready["status"] != "True" and (ready["reason"] in WAIT_REASONS or failed):
        return OutcomeType.WAITING, *result
    return None


def names_field(message: str, edit: Edit) -> bool:
    """Whether the message names the field: by its path or a parent's path, a name on the path, its value, or AWS's name for it."""
    paths = [dotted(edit.path[:length]) for length in range(len(edit.path), 0, -1)]
    words = [part for part in edit.path if isinstance(part, str)]
    words += AWS_NAMES.get(edit.name, [])
    value = edit.value if isinstance(edit.value, str) and len(edit.value) >= MIN_VALUE_LENGTH else None
    return (
        any(path in message for path in paths)
        or any(re.search(rf"\b{re.escape(word)}\b", message) for word in words)
        or bool(value and value in message)
    )
