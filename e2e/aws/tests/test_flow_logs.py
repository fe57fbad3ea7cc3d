"""Flow logs: what EC2 rejects, what it reports later, and what happens to them when their VPC is deleted."""

from __future__ import annotations

import json
from typing import Any

from conftest import Cloud, expect_error

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "vpc-flow-logs.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
TAGS = [{"ResourceType": "vpc-flow-log", "Tags": [{"Key": "team", "Value": "a"}]}]


def bucket(cloud: Cloud, name: str) -> str:
    cloud.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return f"arn:aws:s3:::{name}"


def asked(vpc_id: str, **more: Any) -> dict[str, Any]:
    return {"ResourceType": "VPC", "ResourceIds": [vpc_id], "TrafficType": "ALL", **more}


def test_flow_log_to_a_bucket_is_tagged_listed_by_tag_and_deleted(cloud: Cloud) -> None:
    vpc_id, _ = cloud.vpc("")
    to = {"LogDestinationType": "s3", "LogDestination": bucket(cloud, "flow-logs-a") + "/prod"}
    (created,) = cloud.ec2.create_flow_logs(**asked(vpc_id, **to, TagSpecifications=TAGS, MaxAggregationInterval=60))["FlowLogIds"]
    (found,) = cloud.ec2.describe_flow_logs(Filters=[{"Name": "tag:team", "Values": ["a"]}])["FlowLogs"]
    assert (found["FlowLogId"], found["ResourceId"], found["FlowLogStatus"], found["DeliverLogsStatus"]) == (created, vpc_id, "ACTIVE", "SUCCESS")
    assert found["MaxAggregationInterval"] == 60 and found["LogDestination"] == to["LogDestination"]
    assert cloud.ec2.describe_flow_logs(Filters=[{"Name": "tag-key", "Values": ["other"]}])["FlowLogs"] == []
    with expect_error("FlowLogAlreadyExists"):
        cloud.ec2.create_flow_logs(**asked(vpc_id, **to | {"LogDestination": to["LogDestination"] + "/"}))
    assert cloud.ec2.delete_flow_logs(FlowLogIds=[created])["Unsuccessful"] == []
    (refused,) = cloud.ec2.delete_flow_logs(FlowLogIds=[created])["Unsuccessful"]
    assert refused["Error"]["Code"] == "InvalidFlowLogId.NotFound"
    assert cloud.ec2.describe_flow_logs()["FlowLogs"] == []


def test_missing_bucket_is_refused_with_status_200(cloud: Cloud) -> None:
    vpc_id, _ = cloud.vpc("")
    answer = cloud.ec2.create_flow_logs(**asked(vpc_id, LogDestinationType="s3", LogDestination="arn:aws:s3:::no-such-bucket-b"))
    assert answer["FlowLogIds"] == [] and answer["Unsuccessful"][0]["Error"]["Message"] == "LogDestination: no-such-bucket-b does not exist."


def test_log_group_needs_a_role_that_the_service_can_assume(cloud: Cloud) -> None:
    vpc_id, _ = cloud.vpc("")
    cloud.client("logs").create_log_group(logGroupName="/vpc/a")
    with expect_error("InvalidParameter", "DeliverLogsPermissionArn"):
        cloud.ec2.create_flow_logs(**asked(vpc_id, LogGroupName="/vpc/a"))

    def delivery(role: str, trust: dict[str, Any] | None, **to: str) -> tuple[str, str | None, str]:
        arn = f"arn:aws:iam::{cloud.account}:role/{role}"
        if trust:
            cloud.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
        (created,) = cloud.ec2.create_flow_logs(**asked(vpc_id, DeliverLogsPermissionArn=arn, **to))["FlowLogIds"]
        (found,) = cloud.ec2.describe_flow_logs(FlowLogIds=[created])["FlowLogs"]
        cloud.ec2.delete_flow_logs(FlowLogIds=[created])
        return found["DeliverLogsStatus"], found.get("DeliverLogsErrorMessage"), found["LogGroupName"]

    assert delivery("missing", None, LogGroupName="/vpc/a") == ("FAILED", "Access error", "/vpc/a")
    other = json.loads(json.dumps(TRUST).replace("vpc-flow-logs", "ec2"))
    assert delivery("of-ec2", other, LogGroupName="/vpc/a")[0] == "FAILED"
    arn = f"arn:aws:logs:eu-west-1:{cloud.account}:log-group:/vpc/a"
    assert delivery("deliver", TRUST, LogDestination=arn) == ("SUCCESS", None, "/vpc/a")
    with expect_error("InvalidParameter"):
        cloud.ec2.create_flow_logs(
            **asked(vpc_id, DeliverLogsPermissionArn=f"arn:aws:iam::{cloud.account}:role/deliver", LogDestination=arn, LogGroupName="/vpc/a")
        )


def test_flow_logs_are_deleted_with_their_vpc(cloud: Cloud) -> None:
    vpc_id, _ = cloud.vpc("")
    cloud.ec2.create_flow_logs(**asked(vpc_id, LogDestinationType="s3", LogDestination=bucket(cloud, "flow-logs-c"), TagSpecifications=TAGS))
    cloud.ec2.delete_vpc(VpcId=vpc_id)
    assert cloud.ec2.describe_flow_logs()["FlowLogs"] == []
    assert cloud.ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["vpc-flow-log"]}])["Tags"] == []
