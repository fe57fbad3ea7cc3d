"""EventBridge: what moto lacks. Tags of PutRule on a rule that exists are ignored, rules of others are unknown without an internal error, and an
event of AWS reaches a queue only if its policy lets the rule send."""

from __future__ import annotations

import json
from typing import Any

from moto.events.models import events_backends
from moto.sqs.models import sqs_backends

from .call import Call
from .errors import AwsError
from .policy_evaluator import Request, decide

# The principal of rules in policies of queues.
PRINCIPAL = "events.amazonaws.com"


def check(call: Call) -> None:
    """Refuses what EventBridge refuses and moto does not."""
    body = json.loads(call.request.body or b"{}")
    rules = rules_of(call.account, call.region)
    name = body.get("Name") or body.get("Rule") or ""
    if call.action in ("ListTargetsByRule", "PutTargets", "RemoveTargets") and name not in rules:
        raise AwsError("ResourceNotFoundException", f"Rule {name} does not exist on EventBus default.")


def tags_to_keep(call: Call) -> list[dict[str, str]] | None:
    """The tags of the rule that PutRule is about to replace; None: it creates one."""
    name = json.loads(call.request.body or b"{}").get("Name", "")
    rule = rules_of(call.account, call.region).get(name) if call.action == "PutRule" else None
    return tags_of(call.account, call.region, name) if rule else None


def put_back(call: Call, tags: list[dict[str, str]]) -> None:
    """Undoes the tags of a PutRule on a rule that existed."""
    backend: Any = events_backends[call.account][call.region]
    arn = rules_of(call.account, call.region)[json.loads(call.request.body or b"{}")["Name"]].arn
    backend.tagger.delete_all_tags_for_resource(arn)
    backend.tagger.tag_resource(arn, tags)


def rules_of(account: str, region: str) -> dict[str, Any]:
    """The rules of the default bus by name."""
    buses = events_backends[account][region].event_buses
    found: dict[str, Any] = buses["default"].rules if "default" in buses else {}
    return found


def tags_of(account: str, region: str, name: str) -> list[dict[str, str]]:
    """The tags of a rule of the default bus."""
    backend: Any = events_backends[account][region]
    found: list[dict[str, str]] = backend.tagger.list_tags_for_resource(rules_of(account, region)[name].arn)["Tags"]
    return found


def deliver(account: str, region: str, event: dict[str, Any]) -> list[str]:
    """Sends an event of AWS to the queues of the rules that match it, as far as their policies allow it; returns the names of these queues."""
    reached = []
    for rule in rules_of(account, region).values():
        if rule.state != "ENABLED" or not matches(json.loads(rule.event_pattern.dump() or "{}"), event):
            continue
        for target in rule.targets:
            name = target["Arn"].rpartition(":")[2]
            queue = sqs_backends[account][region].queues.get(name)
            if queue is not None and may_send(queue, rule.arn):
                sqs_backends[account][region].send_message(name, json.dumps(event))
                reached.append(name)
    return reached


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether each field of the pattern lists the event's value. Patterns with other operators are not supported."""
    return all(matches(value, event.get(key, {})) if isinstance(value, dict) else event.get(key) in value for key, value in pattern.items())


def may_send(queue: Any, rule_arn: str) -> bool:
    """Whether the queue's policy allows the rule to send."""
    statements = json.loads(queue.policy or "{}").get("Statement", [])
    own = [
        {key: value for key, value in statement.items() if key != "Principal"}
        for statement in statements
        if statement["Principal"] == "*" or PRINCIPAL in [statement["Principal"].get("Service")]
    ]
    context = {"aws:SourceArn": rule_arn, "aws:SecureTransport": "true"}
    return decide(Request("sqs:SendMessage", queue.queue_arn, context), own).allowed
