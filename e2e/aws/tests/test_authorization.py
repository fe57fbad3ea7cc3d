"""The authorization checks that the call log records for writes by Keelson."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.config import Config

from conftest import Server

ACCOUNT = "300000000009"
OWNER = {"Key": "keelson.dev/owner", "Value": "u"}
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}


def client(server: Server, service: str, application: str = "keelson") -> Any:
    return boto3.client(
        service, region_name="eu-west-1", endpoint_url=server.url, aws_access_key_id=ACCOUNT, aws_secret_access_key="x",
        config=Config(user_agent_appid=application),
    )


def last(server: Server, action: str) -> list[dict[str, Any]]:
    calls = server.get("calls", account=ACCOUNT)["calls"]
    return next(call for call in reversed(calls) if call["action"] == action).get("checks", [])


def test_create_with_tags_is_checked_as_create_and_as_tagging(server: Server) -> None:
    ec2 = client(server, "ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [OWNER]}])["Vpc"]["VpcId"]
    arn = f"arn:aws:ec2:eu-west-1:{ACCOUNT}:vpc/*"
    create, tagging = last(server, "CreateVpc")
    assert (create["action"], create["resource"], create["requestTags"]) == ("ec2:CreateVpc", arn, {"keelson.dev/owner": "u"})
    assert tagging["action"] == "ec2:CreateTags" and tagging["context"] == {"ec2:CreateAction": "CreateVpc"}
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")
    in_vpc = last(server, "CreateSubnet")[-1]
    assert in_vpc["resource"] == arn.replace("*", vpc) and in_vpc["resourceTags"] == {"keelson.dev/owner": "u"}


def test_role_is_checked_with_tags_boundary_and_policy(server: Server) -> None:
    iam = client(server, "iam")
    boundary = iam.create_policy(
        PolicyName="boundary", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    )["Policy"]["Arn"]
    iam.create_role(RoleName="keelson-x-node", Path="/keelson/", AssumeRolePolicyDocument=json.dumps(TRUST), PermissionsBoundary=boundary, Tags=[OWNER])
    create, tagging = last(server, "CreateRole")
    arn = f"arn:aws:iam::{ACCOUNT}:role/keelson/keelson-x-node"
    assert create["resource"] == tagging["resource"] == arn and tagging["action"] == "iam:TagRole"
    assert create["context"] == {"iam:PermissionsBoundary": boundary} and create["requestTags"] == {"keelson.dev/owner": "u"}
    policy = "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"
    iam.attach_role_policy(RoleName="keelson-x-node", PolicyArn=policy)
    (attach,) = last(server, "AttachRolePolicy")
    assert attach["resource"] == arn and attach["resourceTags"] == {"keelson.dev/owner": "u"}
    assert attach["context"] == {"iam:PolicyARN": policy}


def test_checks_of_other_applications_are_not_recorded(server: Server) -> None:
    client(server, "ec2", "terraform").create_vpc(CidrBlock="10.0.0.0/16")
    assert last(server, "CreateVpc") == []


def test_log_group_is_checked_with_the_tags_of_the_request_and_its_own(server: Server) -> None:
    logs = client(server, "logs")
    logs.create_log_group(logGroupName="/aws/eks/demo/cluster", tags={"keelson.dev/owner": "u"})
    arn = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/aws/eks/demo/cluster"
    create, tagging = last(server, "CreateLogGroup")
    assert create["resource"] == tagging["resource"] == arn and tagging["action"] == "logs:TagResource"
    assert create["requestTags"] == {"keelson.dev/owner": "u"} and create["resourceTags"] == {}
    logs.put_retention_policy(logGroupName="/aws/eks/demo/cluster", retentionInDays=30)
    (put,) = last(server, "PutRetentionPolicy")
    assert (put["action"], put["resource"], put["resourceTags"]) == ("logs:PutRetentionPolicy", arn, {"keelson.dev/owner": "u"})
    logs.untag_resource(resourceArn=arn, tagKeys=["keelson.dev/owner"])
    assert last(server, "UntagResource")[0]["resource"] == arn
