"""Evaluates IAM policies offline: for SimulatePrincipalPolicy, and for tests of the policies under deploy/. Pure.

Follows IAM's evaluation logic within one account: an explicit Deny overrides every Allow, and the default is deny; a
permissions boundary must allow the request as well. It supports the elements and operators that the policies under deploy/ use and
fails on any other, so that a policy with a new element fails here instead of passing by chance.

Own code, as nothing on PyPI does this: moto evaluates actions and resources and ignores conditions, policyuniverse
and policy_sentry read policies without evaluating them, and principalmapper, which does, has had no release since 2022.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
VARIABLE = re.compile(r"\$\{([^}]+)\}")
NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnLike",
    "ArnNotLike": "ArnLike",
}
# ARN, UID, ...: an ARN has six parts, of which the last may hold colons.
ARN_PARTS = 6
# Changes of policies, which are checked with the boundary that the role has:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
BOUNDED = ("AttachRolePolicy", "DeleteRolePolicy", "DetachRolePolicy", "PutRolePolicy")


class UnknownElement(ValueError):
    """A policy element that this evaluator does not support."""


@dataclass(frozen=True)
class Request:
    """One IAM check: an action on one resource. A call with several resources is several checks."""

    action: str
    resource: str = "*"
    # Condition keys and values, except those of tags.
    context: Mapping[str, str | list[str]] = field(default_factory=dict)
    request_tags: Mapping[str, str] = field(default_factory=dict)
    resource_tags: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def keys(self) -> dict[str, list[str]]:
        """All condition keys of the request, in lower case as IAM compares them, with their values.

        `aws:ResourceTag/owner` therefore also matches a tag `Owner`. The keys in `aws:TagKeys` are values: the condition operator decides how
        they are compared, and StringEquals and StringLike are case-sensitive. AWS does not say which of two tags that differ only in case counts.
        """
        for tags in (self.request_tags, self.resource_tags):
            if len({key.lower() for key in tags}) < len(tags):
                raise ValueError(f"tags that differ only in case: {', '.join(sorted(tags))}")
        keys = {key.lower(): [value] if isinstance(value, str) else list(value) for key, value in self.context.items()}
        service = self.action.partition(":")[0]
        for key, value in self.request_tags.items():
            keys[f"aws:requesttag/{key.lower()}"] = [value]
        for key, value in self.resource_tags.items():
            keys[f"aws:resourcetag/{key.lower()}"] = [value]
            keys[f"{service}:resourcetag/{key.lower()}"] = [value]
        if self.request_tags:
            keys.setdefault("aws:tagkeys", list(self.request_tags))
        return keys


@dataclass(frozen=True)
class Decision:
    allowed: bool
    # Sids of the deciding statements; empty: nothing allows it.
    by: tuple[str, ...] = ()


def decide(request: Request, statements: Iterable[dict], boundary: Iterable[dict] | None = None) -> Decision:
    """IAM's decision, given the statements of all policies of a principal."""
    matching = [s for s in statements if matches(s, request)]
    denials = [s for s in matching if s["Effect"] == "Deny"]
    if denials:
        return Decision(False, sids(denials))
    if boundary is not None and not decide(request, boundary).allowed:
        return Decision(False, ("boundary",))
    return Decision(bool(matching), sids(matching))


def sids(statements: Iterable[dict]) -> tuple[str, ...]:
    return tuple(s.get("Sid", "") for s in statements)


def matches(statement: dict, request: Request) -> bool:
    """Whether a statement applies to a request."""
    if unknown := set(statement) - ELEMENTS:
        raise UnknownElement(f"{statement.get('Sid')}: {', '.join(sorted(unknown))}")
    if "NotAction" in statement:
        named = not any(like(request.action.lower(), p.lower()) for p in texts(statement["NotAction"]))
    else:
        named = any(like(request.action.lower(), p.lower()) for p in texts(statement["Action"]))
    keys = request.keys
    return (
        named
        and names_resource(statement, request.resource, keys)
        and all(holds(operator, wanted, keys) for operator, wanted in statement.get("Condition", {}).items())
    )


def names_resource(statement: dict, resource: str, keys: Mapping[str, list[str]]) -> bool:
    element = "NotResource" if "NotResource" in statement else "Resource"
    patterns = [filled for text in texts(statement[element]) if (filled := fill(text, keys)) is not None]
    return any(like(resource, pattern) for pattern in patterns) != (element == "NotResource")


def holds(operator: str, wanted: Mapping[str, object], keys: Mapping[str, list[str]]) -> bool:
    """Whether a condition is true for every key that it names."""
    return all(holds_for(operator, keys.get(key.lower()), texts(values), keys) for key, values in wanted.items())


def holds_for(operator: str, values: list[str] | None, wanted: list[str], keys: Mapping[str, list[str]]) -> bool:
    quantifier, _, base = operator.rpartition(":")
    if base == "Null":
        return (values is None) == (wanted == ["true"])
    if base.endswith("IfExists"):
        base = base.removesuffix("IfExists")
        if values is None:
            return True
    compare = COMPARISONS.get(NEGATED.get(base, base))
    if compare is None or quantifier not in ("", "ForAnyValue", "ForAllValues"):
        raise UnknownElement(operator)
    wanted = [filled for text in wanted if (filled := fill(text, keys)) is not None]
    negated = base in NEGATED

    def good(value: str) -> bool:
        return any(compare(value, one) for one in wanted) != negated

    if quantifier == "ForAllValues":
        return all(good(value) for value in values or [])
    if quantifier == "ForAnyValue":
        return any(good(value) for value in values or [])
    if values is None:
        return negated
    return good(values[0])


def fill(text: str, keys: Mapping[str, list[str]]) -> str | None:
    """A value with its policy variables replaced; None when the request lacks one: then nothing equals it."""
    for name in VARIABLE.findall(text):
        if (found := keys.get(name.lower())) is None:
            return None
        text = text.replace(f"${{{name}}}", found[0])
    return text


def texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def like(value: str, pattern: str) -> bool:
    """IAM's wildcards: `*` matches any text, including slashes and colons, and `?` one character."""
    return _expression(pattern).fullmatch(value) is not None


# Many requests are evaluated against the same statements; the patterns that contain a variable are one for each value.
@functools.lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern), re.DOTALL)


def arn_like(value: str, pattern: str) -> bool:
    """As `like`, but part by part: a wildcard does not match across a colon of an ARN."""
    values, patterns = value.split(":", ARN_PARTS - 1), pattern.split(":", ARN_PARTS - 1)
    return len(values) == len(patterns) and all(map(like, values, patterns))


COMPARISONS = {
    "StringEquals": str.__eq__,
    "StringEqualsIgnoreCase": lambda value, wanted: value.casefold() == wanted.casefold(),
    "StringLike": like,
    "ArnEquals": arn_like,
    "ArnLike": arn_like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
}
