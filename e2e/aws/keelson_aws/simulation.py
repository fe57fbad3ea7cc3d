"""IAM's SimulatePrincipalPolicy: evaluates the policies of a role or user, its permissions boundary, and the service control policy of its
account, if one is set.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html; of service control policies IAM's simulator considers
those without conditions.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from .accounts import administrator
from .cloud import account_of, as_list, find_role, find_user, iam
from .errors import AwsError
from .policy_evaluator import Request, decide

ADMINISTRATOR = [{"Sid": "Administrator", "Effect": "Allow", "Action": "*", "Resource": "*"}]
# By account: the statements of its service control policy (`POST /_keelson/scp`).
_control_policies: dict[str, list[dict[str, Any]]] = {}


def clear() -> None:
    _control_policies.clear()


def set_control_policy(account: str, document: dict[str, Any] | None) -> None:
    """None: the account is in no organization."""
    _control_policies.pop(account, None)
    if document is not None:
        _control_policies[account] = as_list(document["Statement"])


def is_denied_by_control_policy(account: str, request: Request) -> bool:
    """Whether the account's service control policy explicitly denies it; conditions count."""
    found = decide(request, _control_policies.get(account) or [])
    return not found.allowed and bool(found.by)


def simulate(principal: str, actions: list[str], resources: list[str], context: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A result for each action and resource."""
    statements, boundary = policies_of(principal)
    control = _control_policies.get(account_of(principal))
    return [
        result(Request(action, resource, context), statements, boundary, control) for action in actions for resource in resources or ["*"]
    ]


def policies_of(principal: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """The statements of all its policies, and of its boundary."""
    if principal == administrator(account_of(principal)).arn:
        return ADMINISTRATOR, None
    found: Any = find_role(principal) or find_user(principal)
    if found is None:
        raise AwsError("NoSuchEntity", f"The entity {principal} cannot be found.", 404)
    inline = found.policies.values() if isinstance(found.policies, dict) else [one["policy_document"] for one in found.policies]
    documents = [*inline, *map(document_of, found.managed_policies.values())]
    boundary = found.permissions_boundary
    arn = boundary.get("PermissionsBoundaryArn") if isinstance(boundary, dict) else boundary
    policy = iam(account_of(principal)).managed_policies.get(arn) if arn else None
    limit = statements_of(document_of(policy)) if policy is not None else None
    return [statement for document in documents for statement in statements_of(document)], limit


def document_of(policy: Any) -> str:
    return str(next(version.document for version in policy.versions if version.is_default))


def statements_of(document: Any) -> list[dict[str, Any]]:
    parsed = document if isinstance(document, dict) else json.loads(unquote(document) if str(document).startswith("%") else document)
    return as_list(parsed["Statement"])


def result(
    request: Request, statements: list[dict[str, Any]], boundary: list[dict[str, Any]] | None, control: list[dict[str, Any]] | None
) -> dict[str, Any]:
    by_policies = decide(request, statements)
    denied = not by_policies.allowed and bool(by_policies.by)
    answer: dict[str, Any] = {"EvalActionName": request.action, "EvalResourceName": request.resource, "MatchedStatements": [], "MissingContextValues": []}
    allowed = by_policies.allowed
    if boundary is not None:
        within = decide(request, boundary).allowed
        answer["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": within}
        allowed = allowed and within
    if control is not None:
        considered = [statement for statement in control if not statement.get("Condition")]
        within = decide(request, considered).allowed
        answer["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": within}
        allowed = allowed and within
    return {**answer, "EvalDecision": "allowed" if allowed else "explicitDeny" if denied else "implicitDeny"}
