"""SQS: moto's queues with a non-blocking long poll. moto sleeps in ReceiveMessage, which would block the emulator's only thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from moto.sqs.models import sqs_backends

from .accounts import Caller
from .call import Call
from .errors import AwsError, error_reply
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
