"""Denials with AWS's messages, for the fault `deny`: which kind of policy denied a call, and how each service says so.

The phrases are those of https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html. Permissions are not
modelled: a rule decides which calls are denied.
"""

from __future__ import annotations

from typing import Any

from .call import Call
from .errors import AwsError

# Kinds of policies, and whether AWS denies by the absence of an Allow if the rule does not say.
POLICIES = {
    "identity-based policy": False,
    "permissions boundary": False,
    "session policy": False,
    "service control policy": True,
    "resource control policy": True,
    "VPC endpoint policy": False,
    "resource-based policy": True,
    "role trust policy": False,
}
CODES = {"ec2": "UnauthorizedOperation", "iam": "AccessDenied", "sts": "AccessDenied", "autoscaling": "AccessDenied"}
KEYS = {"by", "explicit", "action", "resource", "policyArn"}


class DenialError(ValueError):
    """An invalid description of a denial."""


def check(deny: Any) -> dict[str, Any]:
    """`"service control policy"`, or `{"by", "explicit", "action", "resource", "policyArn"}` of which only `by` is required."""
    posted = {"by": deny} if isinstance(deny, str) else deny
    if not isinstance(posted, dict) or posted.get("by") not in POLICIES or set(posted) - KEYS:
        raise DenialError(f"then.deny is one of {', '.join(POLICIES)}; or an object with {', '.join(sorted(KEYS))}")
    return posted


def reason(deny: dict[str, Any], action: str) -> str:
    by = deny["by"]
    if not deny.get("explicit", POLICIES[by]):
        return f"because no {by} allows the {action} action"
    article = "the" if by == "role trust policy" else "an" if by.startswith("identity") else "a"
    arn = f": {deny['policyArn']}" if deny.get("policyArn") else ""
    return f"with an explicit deny in {article} {by}{arn}"


def error_of(deny: Any, call: Call) -> AwsError:
    """The error of a denied call, in the words of its service."""
    posted = check(deny)
    # AWS checks others than the called action, such as iam:PassRole.
    action = posted.get("action") or f"{call.service}:{call.action}"
    resource = posted.get("resource") or call.resource or "*"
    text = f"User: {call.caller_arn} is not authorized to perform: {action} on resource: {resource} {reason(posted, action)}"
    if call.service == "ec2":
        text = f"You are not authorized to perform this operation. {text}. Encoded authorization failure message: {'bm90IHJlYWw' * 12}"
    return AwsError(CODES.get(call.service, "AccessDeniedException"), text, 403)
