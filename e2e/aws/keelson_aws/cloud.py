"""Access to the account's EC2, IAM and CloudWatch Logs state in moto, for EKS: subnets, security groups, roles."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends


def ec2(account: str, region: str) -> Any:
    return ec2_backends[account][region]


def iam(account: str) -> Any:
    return iam_backends[account]["aws"]


def logs(account: str, region: str) -> Any:
    return logs_backends[account][region]


def account_of(arn: str) -> str:
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else ""


def find_role(arn: str) -> Any | None:
    """The IAM role of an ARN, of any account; None if it does not exist."""
    account = account_of(arn)
    if not arn.startswith("arn:aws:iam::") or ":role/" not in arn or account not in iam_backends:
        return None
    for role in iam(account).roles.values():
        if role.arn == arn:
            return role
    return None


def find_user(arn: str) -> Any | None:
    account = account_of(arn)
    if ":user/" not in arn or account not in iam_backends:
        return None
    return next((user for user in iam(account).users.values() if user.arn == arn), None)


def trust_policy(role: Any) -> dict[str, Any]:
    text = role.assume_role_policy_document
    for candidate in (text, unquote(text)):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        return value if isinstance(value, dict) else {}
    return {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def trusts_service(role: Any, service: str) -> bool:
    """Whether a service, such as eks.amazonaws.com, may assume the role."""
    for statement in as_list(trust_policy(role).get("Statement")):
        if statement.get("Effect") != "Allow":
            continue
        if not any(fnmatchcase("sts:AssumeRole", action) for action in as_list(statement.get("Action"))):
            continue
        principal = statement.get("Principal")
        services = as_list(principal.get("Service")) if isinstance(principal, dict) else as_list(principal)
        if service in services or "*" in services:
            return True
    return False


def attached_policies(role: Any) -> set[str]:
    """Names of the managed policies attached to a role."""
    return {arn.rpartition("/")[2] for arn in role.managed_policies}


def has_inline_policies(role: Any) -> bool:
    return bool(role.policies)
