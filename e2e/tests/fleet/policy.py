"""The operator's IAM policies under deploy/: several, as IAM takes no larger one."""

from __future__ import annotations

import json
from pathlib import Path

from keelson_harness.paths import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
POLICIES = tuple(sorted(DEPLOY.glob("iam-policy*.json")))
# Attached only while clusters of others are taken over.
ADOPTION = DEPLOY / "iam-policy-adoption.json"
# On every role that the operator creates.
BOUNDARY = DEPLOY / "iam-boundary.json"
# Of the organization: for its accounts, not for the operator.
TAG_PROTECTION = DEPLOY / "scp-protect-tags.json"
# Statements of what AWS checks when it acts for the operator: never called by name.
CHECKED_BY_AWS = "CheckedByAws"


def statements_of(policy: Path) -> list[dict]:
    return json.loads(policy.read_text())["Statement"]


STATEMENTS = [statement for policy in POLICIES for statement in statements_of(policy) if statement["Effect"] == "Allow"]


def actions(statement: dict) -> set[str]:
    action = statement["Action"]
    return {action} if isinstance(action, str) else set(action)


def permission(action: str) -> str:
    """What IAM asks for: of SQS's batches, that of the single call."""
    return action.removesuffix("Batch") if action.startswith("sqs:") else action


def allowed() -> set[str]:
    """All that the operator itself may call."""
    own = (s for s in STATEMENTS if not s["Sid"].startswith(CHECKED_BY_AWS))
    return {action for statement in own for action in actions(statement)}
