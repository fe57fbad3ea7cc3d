"""What moto lacks of CloudWatch Logs: the key of a log group, and which retention is valid. moto answers all other calls."""

from __future__ import annotations

import json
from typing import Any

from moto.logs.models import logs_backends

from .call import Call
from .errors import AwsError
from .http import Reply


# From the documentation of PutRetentionPolicy.
RETENTION_DAYS = {1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}


def answer(call: Call) -> Reply | None:
    """The reply to a call that changes a key, or the refusal of a retention or of an unknown group; None for any other call."""
    if call.action == "PutRetentionPolicy":
        days = json.loads(call.request.body or b"{}").get("retentionInDays")
        if days not in RETENTION_DAYS:
            allowed = ", ".join(str(d) for d in sorted(RETENTION_DAYS))
            raise AwsError(
                "InvalidParameterException",
                f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
                f"Member must satisfy enum value set: [{allowed}]",
            )
    if call.action == "ListTagsForResource":
        # moto answers with no tags.
        arn = json.loads(call.request.body or b"{}").get("resourceArn", "")
        groups = logs_backends[call.account][call.region].groups.values()
        if ":log-group:" in arn and arn.removesuffix(":*") not in {group.arn.removesuffix(":*") for group in groups}:
            raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
        return None
    if call.action not in ("AssociateKmsKey", "DisassociateKmsKey"):
        return None
    request = json.loads(call.request.body or b"{}")
    backend: Any = logs_backends[call.account][call.region]
    group = backend.groups.get(request.get("logGroupName"))
    if group is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    group.kms_key_id = request.get("kmsKeyId") if call.action == "AssociateKmsKey" else None
    return Reply(200, b"{}", {"Content-Type": "application/x-amz-json-1.1"})
