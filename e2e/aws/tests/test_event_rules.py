"""Queues and the rules of EventBridge that fill them, as Karpenter needs them."""

from __future__ import annotations

import json
from typing import Any

from conftest import Cloud, expect_error

PATTERN = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}
EVENT = {"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning", "detail": {"instance-id": "i-1"}}


def policy(cloud: Cloud, name: str, rule: str, effect: str = "Allow") -> str:
    statement = {
        "Effect": effect,
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": f"arn:aws:sqs:eu-west-1:{cloud.account}:{name}",
        "Condition": {"ArnEquals": {"aws:SourceArn": f"arn:aws:events:eu-west-1:{cloud.account}:rule/{rule}"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def queue(cloud: Cloud, name: str = "jobs", **attributes: str) -> str:
    return str(cloud.client("sqs").create_queue(QueueName=name, Attributes=attributes, tags={"team": "a"})["QueueUrl"])


def rule(cloud: Cloud, name: str = "interruptions", **more: Any) -> str:
    return str(cloud.client("events").put_rule(Name=name, EventPattern=json.dumps(PATTERN), **more)["RuleArn"])


def test_name_of_a_deleted_queue_is_taken_for_a_while(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    url = queue(cloud, MessageRetentionPeriod="300")
    assert cloud.inventory()["eu-west-1"]["queues"] == ["jobs"]
    sqs.delete_queue(QueueUrl=url)
    with expect_error("QueueDeletedRecently", "You must wait 60 seconds"):
        queue(cloud)
    queue(cloud, "other")
    cloud.server.post("settings", {"queue_name_seconds": 0})
    try:
        queue(cloud)
    finally:
        cloud.server.post("settings", {"queue_name_seconds": 60})
    with expect_error("AWS.SimpleQueueService.NonExistentQueue"):
        sqs.get_queue_url(QueueName="unknown")


def test_create_queue_changes_nothing_of_a_queue_that_exists(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    url = queue(cloud, MessageRetentionPeriod="300")
    again = sqs.create_queue(QueueName="jobs", Attributes={"MessageRetentionPeriod": "300"}, tags={"team": "b"})
    assert again["QueueUrl"] == url and sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "a"}
    with expect_error("QueueAlreadyExists"):
        queue(cloud, MessageRetentionPeriod="60")
    sqs.tag_queue(QueueUrl=url, Tags={"owner": "x"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["team"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"SqsManagedSseEnabled": "true"})
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["MessageRetentionPeriod", "SqsManagedSseEnabled", "QueueArn", "Policy"])
    assert found["Attributes"]["MessageRetentionPeriod"] == "300" and found["Attributes"]["SqsManagedSseEnabled"] == "true"
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"owner": "x"}


def test_rule_with_targets_is_not_deleted(cloud: Cloud) -> None:
    events = cloud.client("events")
    arn = rule(cloud, Tags=[{"Key": "team", "Value": "a"}])
    assert arn == f"arn:aws:events:eu-west-1:{cloud.account}:rule/interruptions"
    events.put_targets(Rule="interruptions", Targets=[{"Id": "q", "Arn": f"arn:aws:sqs:eu-west-1:{cloud.account}:jobs"}])
    with expect_error("ValidationException", "Rule can't be deleted since it has targets"):
        events.delete_rule(Name="interruptions")
    assert cloud.inventory()["eu-west-1"]["eventRules"] == ["interruptions"]
    events.remove_targets(Rule="interruptions", Ids=["q"])
    events.delete_rule(Name="interruptions")
    # EventBridge says no more of one that does not exist.
    events.delete_rule(Name="interruptions")
    for call in (events.list_targets_by_rule, events.describe_rule):
        with expect_error("ResourceNotFoundException"):
            call(**{"Rule" if call == events.list_targets_by_rule else "Name": "interruptions"})
    with expect_error("ResourceNotFoundException"):
        events.remove_targets(Rule="interruptions", Ids=["q"])
    with expect_error("ResourceNotFoundException"):
        events.list_tags_for_resource(ResourceARN=arn)


def test_put_rule_ignores_tags_of_a_rule_that_exists(cloud: Cloud) -> None:
    events = cloud.client("events")
    arn = rule(cloud, Tags=[{"Key": "team", "Value": "a"}])
    rule(cloud, State="DISABLED", Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": "y"}])
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    assert events.describe_rule(Name="interruptions")["State"] == "DISABLED"
    events.tag_resource(ResourceARN=arn, Tags=[{"Key": "owner", "Value": "x"}])
    events.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "owner", "Value": "x"}]


def test_event_reaches_a_queue_only_as_its_policy_allows(cloud: Cloud) -> None:
    sqs, events = cloud.client("sqs"), cloud.client("events")
    rule(cloud)
    arn = f"arn:aws:sqs:eu-west-1:{cloud.account}:jobs"
    url = queue(cloud)
    events.put_targets(Rule="interruptions", Targets=[{"Id": "q", "Arn": arn}])

    def post(**more: Any) -> list[str]:
        reached: list[str] = cloud.server.post("events", {"account": cloud.account, "region": "eu-west-1", "event": {**EVENT, **more}})["queues"]
        return reached

    assert post() == [], "no policy"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(cloud, "jobs", "another")})
    assert post() == [], "of another rule"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(cloud, "jobs", "interruptions")})
    assert post() == ["jobs"] and post(source="aws.s3") == []
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"]) == EVENT
    rule(cloud, State="DISABLED")
    assert post() == []
