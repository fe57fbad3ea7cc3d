"""The authorization checks that the call log records for writes by Keelson."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

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
    assert attach["context"] == {"iam:PolicyARN": policy, "iam:PermissionsBoundary": boundary}


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


def test_node_group_with_a_template_is_checked_as_a_launch(server: Server) -> None:
    """As EKS documents it: the caller needs ec2:RunInstances, and ec2:CreateTags where the template sets tags."""
    ec2, eks = client(server, "ec2"), client(server, "eks")
    data = {"InstanceType": "m5.large", "TagSpecifications": [{"ResourceType": "instance", "Tags": [OWNER]}]}
    own = [{"ResourceType": "launch-template", "Tags": [OWNER]}]
    template = ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData=data, TagSpecifications=own)["LaunchTemplate"]["LaunchTemplateId"]
    prefix = f"arn:aws:ec2:eu-west-1:{ACCOUNT}"
    create, tagging = last(server, "CreateLaunchTemplate")
    assert create["resource"] == tagging["resource"] == f"{prefix}:launch-template/*" and create["requestTags"] == {"keelson.dev/owner": "u"}
    assert tagging["action"] == "ec2:CreateTags" and tagging["context"] == {"ec2:CreateAction": "CreateLaunchTemplate"}
    ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
    ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["2"])
    for action in ("CreateLaunchTemplateVersion", "DeleteLaunchTemplateVersions"):
        (on_template,) = last(server, action)
        assert (on_template["resource"], on_template["resourceTags"]) == (f"{prefix}:launch-template/{template}", {"keelson.dev/owner": "u"})
    role = client(server, "iam").create_role(RoleName="node", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    with pytest.raises(ClientError):
        eks.create_nodegroup(clusterName="none", nodegroupName="n", subnets=["subnet-1"], nodeRole=role, launchTemplate={"id": template})
    found = {(one["action"], one["resource"]): one for one in last(server, "CreateNodegroup")}
    launches = {resource for action, resource in found if action == "ec2:RunInstances"}
    assert launches == {
        *(f"{prefix}:{kind}/*" for kind in ("instance", "volume", "network-interface")),
        f"{prefix}:launch-template/{template}", f"{prefix}:subnet/subnet-1", "arn:aws:ec2:eu-west-1::image/ami-of-eks",
    }
    assert found["ec2:RunInstances", f"{prefix}:launch-template/{template}"]["resourceTags"] == {"keelson.dev/owner": "u"}
    tagging = found["ec2:CreateTags", f"{prefix}:instance/*"]
    assert tagging["requestTags"] == {"keelson.dev/owner": "u"} and tagging["context"] == {"ec2:CreateAction": "RunInstances"}
    assert ("ec2:CreateTags", f"{prefix}:volume/*") not in found


def test_rule_is_checked_with_its_pattern_and_targets_and_a_profile_with_its_tags(server: Server) -> None:
    events, iam = client(server, "events"), client(server, "iam")
    events.put_rule(Name="r", EventPattern=json.dumps({"source": ["aws.ec2"], "detail-type": ["A", "B"]}), Tags=[OWNER])
    create, tagging = last(server, "PutRule")
    assert create["context"] == {"aws:PrincipalAccount": ACCOUNT, "events:source": ["aws.ec2"], "events:detail-type": ["A", "B"]}
    assert create["requestTags"] == {"keelson.dev/owner": "u"} and tagging["action"] == "events:TagResource"
    queue = f"arn:aws:sqs:eu-west-1:{ACCOUNT}:q"
    events.put_targets(Rule="r", Targets=[{"Id": "q", "Arn": queue}])
    (targets,) = last(server, "PutTargets")
    assert targets["context"]["events:TargetArn"] == [queue] and targets["resourceTags"] == {"keelson.dev/owner": "u"}
    iam.create_instance_profile(InstanceProfileName="p", Tags=[OWNER])
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.add_role_to_instance_profile(InstanceProfileName="p", RoleName="r")
    iam.remove_role_from_instance_profile(InstanceProfileName="p", RoleName="r")
    (removal,) = last(server, "RemoveRoleFromInstanceProfile")
    assert removal["resourceTags"] == {"keelson.dev/owner": "u"}
