"""SQS, and the CloudTrail events of writes that EventBridge delivers to a queue."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import Cloud, Server

ACCOUNT = "300000000001"


class Watched(Cloud):
    """An account whose events are sent to a queue in another account."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, ACCOUNT, timeout=30)
        self.sqs = Cloud(server, "300000000002", timeout=30).client("sqs")
        self.queue = self.sqs.create_queue(QueueName="keelson-events")["QueueUrl"]
        server.post("settings", {"EVENT_QUEUE_URL": self.queue})

    def receive(self, wait: int = 0) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
        for message in answer.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return answer.get("Messages", [])

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while messages := self.receive():
            found += [json.loads(message["Body"]) for message in messages]
        return found

    def event(self) -> dict[str, Any]:
        (one,) = self.events()
        return one


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture
def watched(own: Server) -> Iterator[Watched]:
    own.post("reset")
    yield Watched(own)


def test_event_contains_caller_action_and_region(watched: Watched) -> None:
    vpc = watched.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    event = watched.event()
    assert (event["detail-type"], event["source"]) == ("AWS API Call via CloudTrail", "aws.ec2")
    assert (event["account"], event["region"]) == (ACCOUNT, "eu-west-1")
    detail = event["detail"]
    assert (detail["eventSource"], detail["eventName"], detail["awsRegion"]) == ("ec2.amazonaws.com", "CreateVpc", "eu-west-1")
    assert detail["recipientAccountId"] == ACCOUNT
    assert detail["userIdentity"]["arn"] == f"arn:aws:iam::{ACCOUNT}:user/administrator"
    assert detail["userAgent"].startswith("Boto3/")
    assert detail["requestParameters"] == {"cidrBlock": "10.0.0.0/16"}
    assert detail["responseElements"]["vpc"]["vpcId"] == vpc


def test_ec2_parameters_have_the_format_of_cloudtrail(watched: Watched) -> None:
    vpc, subnets = watched.vpc("a")
    group = watched.ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    watched.events()
    watched.ec2.create_tags(Resources=[vpc], Tags=[{"Key": "team", "Value": "x"}])
    assert watched.event()["detail"]["requestParameters"] == {
        "resourcesSet": {"items": [{"resourceId": vpc}]}, "tagSet": {"items": [{"key": "team", "value": "x"}]},
    }
    rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
    watched.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    parameters = watched.event()["detail"]["requestParameters"]
    assert parameters["groupId"] == group
    assert parameters["ipPermissionsSet"]["items"][0]["ipRangesSet"] == {"items": [{"cidrIp": "10.0.0.0/16"}]}
    watched.ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.eu-west-1.s3")
    assert watched.event()["detail"]["requestParameters"]["CreateVpcEndpointRequest"]["VpcId"] == vpc
    (endpoint,) = watched.ec2.describe_vpc_endpoints()["VpcEndpoints"]
    watched.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    parameters = watched.event()["detail"]["requestParameters"]
    assert parameters == {"DeleteVpcEndpointsRequest": {"VpcEndpointId": {"tag": 1, "content": endpoint["VpcEndpointId"]}}}


def test_eks_parameters_are_unchanged_and_iam_events_have_the_global_region(watched: Watched) -> None:
    created = watched.cluster()
    watched.events()
    watched.eks.tag_resource(resourceArn=created["arn"], tags={"team": "x"})
    event = watched.event()
    assert (event["source"], event["detail"]["eventName"]) == ("aws.eks", "TagResource")
    assert event["detail"]["requestParameters"] == {"resourceArn": created["arn"], "tags": {"team": "x"}}
    watched.iam.detach_role_policy(RoleName="cluster", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    event = watched.event()
    assert (event["source"], event["region"]) == ("aws.iam", "us-east-1")
    assert event["detail"]["requestParameters"]["roleName"] == "cluster"


def test_reads_and_failed_writes_have_no_event(watched: Watched) -> None:
    watched.ec2.describe_vpcs()
    with pytest.raises(watched.ec2.exceptions.ClientError):
        watched.ec2.delete_vpc(VpcId="vpc-00000000000000000")
    assert watched.events() == []


def test_writes_succeed_without_the_queue(own: Server, watched: Watched) -> None:
    own.post("settings", {"EVENT_QUEUE_URL": "http://127.0.0.1/300000000002/none"})
    watched.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    own.post("settings", {"EVENT_QUEUE_URL": ""})
    watched.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    assert watched.events() == []


def test_long_poll_returns_with_the_first_message_and_blocks_no_other_call(own: Server, watched: Watched) -> None:
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        waiting = pool.submit(watched.receive, 20)
        time.sleep(0.3)
        assert not waiting.done()
        assert own.get("health") == {"status": "ok"}
        watched.ec2.create_vpc(CidrBlock="10.0.0.0/16")
        (message,) = waiting.result(15)
        # Long before the poll of 20 s ends, even on a busy machine.
        assert time.monotonic() - began < 15
    assert json.loads(message["Body"])["detail"]["eventName"] == "CreateVpc"
    began = time.monotonic()
    assert watched.receive(1) == []
    assert 1 <= time.monotonic() - began < 10


def test_message_that_is_not_deleted_is_redelivered(watched: Watched) -> None:
    watched.sqs.send_message(QueueUrl=watched.queue, MessageBody="one")
    parameters = {"QueueUrl": watched.queue, "VisibilityTimeout": 1}
    assert len(watched.sqs.receive_message(**parameters)["Messages"]) == 1
    assert "Messages" not in watched.sqs.receive_message(**parameters)
    assert watched.receive(3)[0]["Body"] == "one"


def test_polls_are_not_writes(own: Server, tmp_path: Path, watched: Watched) -> None:
    since = own.get("calls")["last"]
    watched.receive()
    assert [(call["action"], call["write"]) for call in own.get("calls", since=since)["calls"]] == [("ReceiveMessage", False)]


def test_messages_have_the_sender_id_of_the_caller(watched: Watched) -> None:
    """EventBridge and callers of SendMessage have different sender ids."""
    watched.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    watched.sqs.send_message(QueueUrl=watched.queue, MessageBody="forged")
    parameters = {"QueueUrl": watched.queue, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["SenderId"]}
    senders = [message["Attributes"]["SenderId"] for message in watched.sqs.receive_message(**parameters)["Messages"]]
    assert len(senders) == 2 and senders[0] != senders[1]
    assert senders[0] == "AIDAEVENTBRIDGEEXAMPLE"
