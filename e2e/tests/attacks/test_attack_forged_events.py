"""An attacker can send to the event queue, or make EventBridge send: forged messages trigger no reads, and a flood costs a bounded
number of reads. No message ever causes a write by its content.
"""

from __future__ import annotations

import json

import pytest

from fleet.account import fresh_account
from fleet.manifests import cluster
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations
from test_event_queue import Queue, await_idle, message_count, aws_calls, resource_id

# The sender of EventBridge's messages in the emulator (keelson_aws/queues.py).
EVENTBRIDGE = "AIDAEVENTBRIDGEEXAMPLE"
OTHER_ACCOUNT = "999988887777"
FLOOD = 200
# The burst of observations that messages about one object can trigger; then one per ten seconds.
BURST = 20


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on):
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def queue(on, account) -> Queue:
    return Queue(on, account)


@pytest.fixture(scope="module")
def operator(on, account, queue):
    return on.start(f"--event-queue-url={queue.url}", "--drift-interval=1h", account=account.id)


@pytest.fixture(scope="module")
def shop(on, operator) -> dict:
    item = cluster("shop", network={"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}, addons=[])
    on.apply(item)
    on.await_condition(item, "InSync", timeout=90)
    return item


def message(account: str, vpc: str, /, **changed: object) -> dict:
    """A CloudTrail event, as EventBridge delivers it, of a change of a VPC's tags."""
    detail = {
        "eventName": "CreateTags",
        "eventSource": "ec2.amazonaws.com",
        "awsRegion": REGION,
        "recipientAccountId": account,
        "userIdentity": {"arn": f"arn:aws:iam::{account}:user/mallory"},
        "requestParameters": {"resourcesSet": {"items": [{"resourceId": vpc}]}},
    }
    envelope = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.ec2", "account": account, "region": REGION}
    return {**envelope, "detail": {**detail, **changed.pop("detail", {})}, **changed}


def changed_events(on: Environment, item: dict) -> list[dict]:
    return [event for event in on.events(item) if event["reason"] == "ChangedInAws"]


def test_forged_messages_trigger_no_reads(on, account, queue, operator, shop):
    vpc = resource_id(account, "shop", "vpc")
    mark = await_idle(on, queue)
    before = {result: message_count(operator, result) for result in ("relevant", "refused", "malformed", "unrelated")}
    deep: object = vpc
    for _ in range(60):
        deep = {"inner": deep}
    forged = {
        "refused": [
            message(account.id, vpc, account=OTHER_ACCOUNT),
            message(account.id, vpc, region="us-west-2"),
            message(account.id, vpc, detail={"eventSource": "iam.amazonaws.com"}),
            message("prod", vpc),
            message(account.id, vpc, detail={"eventName": "CreateTags by the owner"}),
        ],
        "unrelated": [
            message(OTHER_ACCOUNT, vpc),
            message(account.id, vpc, region="us-west-2", detail={"awsRegion": "us-west-2"}),
            message(account.id, vpc, source="mallory.ec2"),
            message(account.id, vpc, source="aws.s3", detail={"eventSource": "s3.amazonaws.com"}),
            message(account.id, "", detail={"requestParameters": deep}),
        ],
    }
    for bodies in forged.values():
        queue.send(*map(json.dumps, bodies))
    queue.send("[" * 5000, '{"detail":' * 2000)
    queue.await_drained()
    assert actions(aws_calls(on, mark)) == []
    counts = {result: message_count(operator, result) - before[result] for result in before}
    assert counts == {"relevant": 0, "refused": 5, "unrelated": 5, "malformed": 2}
    assert "mallory" not in json.dumps(on.events(shop))


def test_message_flood_causes_bounded_reads_and_no_writes(on, account, queue, operator, shop):
    vpc = resource_id(account, "shop", "vpc")
    mark = await_idle(on, queue)
    body = json.dumps(message(account.id, vpc))
    for _ in range(FLOOD // 10):
        entries = [{"Id": str(number), "MessageBody": body} for number in range(10)]
        queue.sqs.send_message_batch(QueueUrl=queue.url, Entries=entries)
    until(lambda: queue.length() == 0, 30, "an empty queue")
    until(lambda: aws_calls(on, mark), 5, "an observation")
    assert len(changed_events(on, shop)) <= BURST + 3
    calls = aws_calls(on, mark)
    assert [call for call in calls if call["write"]] == []
    # An observation of a VPC takes three reads; without a limit each message would cause one.
    assert len(calls) <= 3 * (BURST + 6), len(calls)


def test_messages_of_unlisted_senders_are_discarded(on, account, queue, operator, shop):
    vpc = resource_id(account, "shop", "vpc")
    operator.stop()
    flags = (f"--event-queue-url={queue.url}", "--drift-interval=1h", f"--event-queue-sender-id={EVENTBRIDGE}")
    with on.operator(*flags, account=account.id) as strict:
        until(lambda: "keelson_event_queue_reachable 1" in strict.metrics(), 30, "the queue")
        mark = await_idle(on, queue)
        queue.send(json.dumps(message(account.id, vpc)))
        queue.await_drained()
        until(lambda: message_count(strict, "refused") == 1, 5, "the message")
        assert actions(aws_calls(on, mark)) == []
        account.ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "keelson.dev/cluster"}])
        until(lambda: account.tagged()[vpc].get("keelson.dev/cluster"), 15, "the event from EventBridge")
