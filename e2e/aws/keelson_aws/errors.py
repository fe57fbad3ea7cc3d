"""AWS errors in the three wire formats. The text is AWS's own where it is known."""

from __future__ import annotations

import functools
import json
import uuid
from typing import Any
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader

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
        return Reply(error.status, body.encode(), {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id})
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
    body = json.dumps({"__type": error.code, message_member(service, error.code): error.message})
    return Reply(
        error.status,
        body.encode(),
        {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": error.code, "x-amzn-RequestId": request_id},
    )


# Where botocore's name of a service is not the one that requests are signed with.
MODELS = {"tagging": "resourcegroupstaggingapi", "servicequotas": "service-quotas"}


@functools.cache
def message_member(service: str, code: str) -> str:
    """`message` or `Message`: AWS's models of JSON services differ, also from error to error."""
    try:
        shapes = Loader().load_service_model(MODELS.get(service, service), "service-2")["shapes"]
    except UnknownServiceError:
        return "message"
    found = next((s for name, s in shapes.items() if code in (name, s.get("error", {}).get("code")) and s.get("exception")), {})
    return next((name for name in found.get("members", {}) if name.lower() == "message"), "message")


def rename_message(service: str, reply: Reply) -> None:
    """moto writes `Message` in every error of a JSON service."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        return
    if isinstance(body, dict) and isinstance(code := body.get("__type"), str):
        wanted = message_member(service, code.rpartition("#")[2])
        reply.body = json.dumps({wanted if name.lower() == "message" else name: value for name, value in body.items()}).encode()
