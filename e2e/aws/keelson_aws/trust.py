"""Evaluates trust policies: whether a caller may assume a role. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from .accounts import Caller
from .cloud import as_list, trust_policy


def principal_names(caller: Caller) -> list[str]:
    """All principals in a policy that match this caller."""
    names = [caller.principal_arn, f"arn:aws:iam::{caller.account}:root", caller.account]
    return [caller.arn, *names] if caller.session else names


def allows(role: Any, action: str, kind: str, names: list[str], keys: dict[str, Any]) -> bool:
    """Whether the role's trust policy allows one of these principals the action. A Deny overrides every Allow."""
    allowed = False
    for statement in as_list(trust_policy(role).get("Statement")):
        if not any(fnmatchcase(action.lower(), str(pattern).lower()) for pattern in as_list(statement.get("Action"))):
            continue
        if not names_principal(statement.get("Principal"), kind, names) or not conditions_hold(statement.get("Condition") or {}, keys):
            continue
        if statement.get("Effect") == "Deny":
            return False
        allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def names_principal(principal: Any, kind: str, names: list[str]) -> bool:
    if principal == "*":
        return True
    given = as_list(principal.get(kind)) if isinstance(principal, dict) else []
    return "*" in given or any(name in given for name in names)


def conditions_hold(conditions: dict[str, Any], keys: dict[str, Any]) -> bool:
    return all(condition_holds(operator, wanted, keys) for operator, wanted in conditions.items())


def condition_holds(operator: str, wanted: dict[str, Any], keys: dict[str, Any]) -> bool:
    lower = {name.lower(): value for name, value in keys.items()}
    optional = operator.endswith("IfExists")
    base = operator.removesuffix("IfExists").rpartition(":")[2]
    for name, values in wanted.items():
        value = lower.get(name.lower())
        choices = [str(choice) for choice in as_list(values)]
        if base == "Null":
            if (value is None) != (choices == ["true"]):
                return False
            continue
        if value is None:
            if optional or base in ("StringNotEquals", "StringNotLike", "ArnNotEquals", "ArnNotLike"):
                continue
            return False
        if base in ("StringEquals", "ArnEquals"):
            good = value in choices
        elif base in ("StringLike", "ArnLike"):
            good = any(fnmatchcase(str(value), choice) for choice in choices)
        elif base in ("StringNotEquals", "ArnNotEquals"):
            good = value not in choices
        elif base in ("StringNotLike", "ArnNotLike"):
            good = not any(fnmatchcase(str(value), choice) for choice in choices)
        elif base == "StringEqualsIgnoreCase":
            good = str(value).lower() in [choice.lower() for choice in choices]
        else:
            return False  # An unknown operator grants nothing.
        if not good:
            return False
    return True
