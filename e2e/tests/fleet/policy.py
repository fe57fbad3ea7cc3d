"""The operator's IAM policies under deploy/: several, as IAM limits the size of one."""

from __future__ import annotations

import json
from pathlib import Path

from keelson_harness.paths import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
POLICIES = tuple(sorted(DEPLOY.glob("iam-policy*.json")))
# Attached only while existing clusters are adopted.
ADOPTION = DEPLOY / "iam-policy-adoption.json"
# The permissions boundary of every role that the operator creates, except those of Pods.
BOUNDARY = DEPLOY / "iam-boundary.json"
# That of the roles of Pods.
WORKLOAD_BOUNDARY = DEPLOY / "iam-workload-boundary.json"
# A service control policy: for the accounts of the organization, not for the operator.
TAG_PROTECTION = DEPLOY / "scp-protect-tags.json"
# Statements for actions that AWS checks on the operator's behalf: the operator never calls them itself.
CHECKED_BY_AWS = "CheckedByAws"


def statements_of(policy: Path) -> list[dict]:
    return json.loads(policy.read_text())["Statement"]


STATEMENTS = [statement for policy in POLICIES for statement in statements_of(policy) if statement["Effect"] == "Allow"]


def actions(statement: dict) -> set[str]:
    action = statement["Action"]
    return {action} if isinstance(action, str) else set(action)


def permission(action: str) -> str:
    """The IAM permission of an action: SQS batch actions need that of the single action."""
    return action.removesuffix("Batch") if action.startswith("sqs:") else action


def allowed() -> set[str]:
    """All actions that the operator itself may call."""
    own = (s for s in STATEMENTS if not s["Sid"].startswith(CHECKED_BY_AWS))
    return {action for statement in own for action in actions(statement)}
