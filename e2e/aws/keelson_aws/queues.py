"""SQS: moto's queues with a non-blocking long poll, and a name that is free again only some time after its queue was deleted. moto sleeps
in ReceiveMessage, which would block the emulator's only thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moto.sqs.models import sqs_backends

from .accounts import Caller
from .call import Call
from .errors import AwsError, error_reply, rename_message
from .http import Reply
from .timeline import Timeline

Answer = Callable[[Call], Reply]


# The SenderId of messages from EventBridge.
EVENTBRIDGE = "AIDAEVENTBRIDGEEXAMPLE"


class QueueError(ValueError):
    """The queue does not exist."""


def receive(call: Call, answer: Answer, timeline: Timeline) -> Reply:
    """ReceiveMessage: replies at once if there is a message, else on the first message or after WaitTimeSeconds."""
    parameters = json.loads(call.request.body or b"{}")
    until = timeline.now() + float(parameters.get("WaitTimeSeconds", 0))
    parameters["WaitTimeSeconds"] = 0
    without_wait = replace(call, request=replace(call.request, body=json.dumps(parameters).encode()))

    def receive_once() -> Reply | None:
        try:
            reply = answer(without_wait)
        except AwsError as error:
            return error_reply(call.service, error)
        waits = reply.status == 200 and b'"Messages"' not in reply.body and timeline.now() < until
        return None if waits else reply

    return receive_once() or Reply(200, b"", poll=receive_once)


def create(call: Call, answer: Answer, timeline: Timeline, wait: float) -> Reply:
    """CreateQueue: refused for `wait` seconds after a queue of that name was deleted. It changes no tags of a queue that exists, as moto does."""
    backend: Any = sqs_backends[call.account][call.region]
    name = json.loads(call.request.body or b"{}").get("QueueName", "")
    if timeline.now() < deleted(backend).get(name, 0.0) + wait:
        message = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
        raise AwsError("QueueDeletedRecently", message)
    tags = dict(backend.queues[name].tags) if name in backend.queues else None
    reply = answer(call)
    if tags is not None:
        backend.queues[name].tags = tags
    if reply.status >= 400:
        rename_message(call.service, reply)
    return reply


def delete(call: Call, answer: Answer, timeline: Timeline) -> Reply:
    """DeleteQueue."""
    reply = answer(call)
    if reply.status < 300:
        name = json.loads(call.request.body or b"{}").get("QueueUrl", "").rpartition("/")[2]
        deleted(sqs_backends[call.account][call.region])[name] = timeline.now()
    return reply


def deleted(backend: Any) -> dict[str, float]:
    """When queues were deleted, by name."""
    found: dict[str, float] = backend.__dict__.setdefault("keelson_deleted", {})
    return found


def send(url: str, body: str) -> None:
    """Sends a message to the queue with that URL, in any region."""
    account, name = ["", *url.split("/")][-2:]
    regions = sqs_backends[account] if account in sqs_backends else {}
    found = [region for region in regions.values() if name in region.queues]
    if not found:
        raise QueueError(f"no queue {url!r}")
    found[0].send_message(name, body).sender_id = EVENTBRIDGE


def set_sender(call: Call, caller: Caller) -> None:
    """Sets the SenderId after SendMessage to the caller's unique id. moto sets the same one for every caller."""
    url = json.loads(call.request.body or b"{}").get("QueueUrl", "")
    queue = sqs_backends[caller.account][call.region].queues.get(url.rpartition("/")[2])
    for message in queue._messages[-1:] if queue else []:
        message.sender_id = caller.user_id
