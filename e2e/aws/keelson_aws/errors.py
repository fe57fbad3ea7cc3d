"""AWS errors in the three wire formats. The text is AWS's own where it is known."""

from __future__ import annotations

import json
import uuid
from typing import Any
from xml.sax.saxutils import escape

from .http import Reply


class AwsError(Exception):
    """An AWS error response: code, message, HTTP status and the members of its shape."""

    def __init__(self, code: str, message: str, status: int = 400, **members: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = {name: value for name, value in members.items() if value is not None}


def error_reply(service: str, error: AwsError) -> Reply:
    """The error in the protocol of the service."""
    request_id = str(uuid.uuid4())
    if service == "ec2":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Response><Errors><Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        return Reply(error.status, body.encode(), {"Content-Type": "text/xml;charset=UTF-8"})
    if service in ("iam", "sts", "autoscaling", "elasticloadbalancing", "cloudformation", "sns"):
        kind = "Sender" if error.status < 500 else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{kind}</Type><Code>{escape(error.code)}</Code>"
            f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return Reply(error.status, body.encode(), {"Content-Type": "text/xml", "x-amzn-RequestId": request_id})
    if service == "eks":
        # rest-json: the code is in a header; the body has exactly the members of the error's shape.
        return Reply.json(
            error.status, {**error.members, "message": error.message}, **{"x-amzn-ErrorType": error.code, "x-amzn-RequestId": request_id}
        )
    body = json.dumps({"__type": error.code, "message": error.message})
    return Reply(
        error.status,
        body.encode(),
        {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": error.code, "x-amzn-RequestId": request_id},
    )
