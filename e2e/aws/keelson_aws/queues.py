"""SQS: moto's queues, with a long poll that holds up nobody else. moto sleeps in it, and there is one thread for all."""

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


# Who SQS notes as the sender of what EventBridge puts into a queue.
EVENTBRIDGE = "AIDAEVENTBRIDGEEXAMPLE"


class QueueError(ValueError):
    """A queue that is not there."""


def receive(call: Call, answer: Answer, timeline: Timeline) -> Reply:
    """ReceiveMessage: at once when there is a message; else the reply comes with the first one, or when the wait is over."""
    asked = json.loads(call.request.body or b"{}")
    until = timeline.now() + float(asked.get("WaitTimeSeconds", 0))
    asked["WaitTimeSeconds"] = 0
    at_once = replace(call, request=replace(call.request, body=json.dumps(asked).encode()))

    def ask() -> Reply | None:
        try:
            reply = answer(at_once)
        except AwsError as error:
            return error_reply(call.service, error)
        waits = reply.status == 200 and b'"Messages"' not in reply.body and timeline.now() < until
        return None if waits else reply

    return ask() or Reply(200, b"", later=ask)


def send(url: str, body: str) -> None:
    """Puts a message into the queue of that URL, in whichever region it is."""
    account, name = ["", *url.split("/")][-2:]
    regions = sqs_backends[account] if account in sqs_backends else {}
    found = [region for region in regions.values() if name in region.queues]
    if not found:
        raise QueueError(f"there is no queue {url!r}")
    found[0].send_message(name, body).sender_id = EVENTBRIDGE


def note_sender(call: Call, caller: Caller) -> None:
    """After SendMessage: SQS notes the unique id of whoever called. moto notes the same for everybody."""
    url = json.loads(call.request.body or b"{}").get("QueueUrl", "")
    queue = sqs_backends[caller.account][call.region].queues.get(url.rpartition("/")[2])
    for message in queue._messages[-1:] if queue else []:
        message.sender_id = caller.user_id
