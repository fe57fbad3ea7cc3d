"""SimulatePrincipalPolicy: policies with conditions, boundaries and service control policies."""

from __future__ import annotations

import json
from typing import Any

from conftest import Cloud, Server, expect_error

TAGGED = {"Null": {"aws:RequestTag/keelson.dev/owner": "false"}}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", **one} for one in statements]})


def decisions(cloud: Cloud, arn: str, actions: list[str], **more: Any) -> list[str]:
    results = cloud.iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=actions, **more)["EvaluationResults"]
    assert [one["EvalActionName"] for one in results] == actions
    return [one["EvalDecision"] for one in results]


def test_policies_of_a_role_with_conditions_and_resources(cloud: Cloud) -> None:
    role = cloud.role("operator", "")
    cloud.iam.put_role_policy(
        RoleName="operator", PolicyName="inline", PolicyDocument=document({"Action": "ec2:CreateVpc", "Resource": "arn:*:ec2:*:*:vpc/*", "Condition": TAGGED})
    )
    policy = cloud.iam.create_policy(PolicyName="more", PolicyDocument=document({"Action": "eks:*"}, {"Effect": "Deny", "Action": "eks:DeleteCluster"}))
    cloud.iam.attach_role_policy(RoleName="operator", PolicyArn=policy["Policy"]["Arn"])
    asked = ["ec2:CreateVpc", "eks:CreateCluster", "eks:DeleteCluster"]
    assert decisions(cloud, role, asked) == ["implicitDeny", "allowed", "explicitDeny"]
    tag = [{"ContextKeyName": "aws:RequestTag/keelson.dev/owner", "ContextKeyValues": ["x"], "ContextKeyType": "string"}]
    vpc = f"arn:aws:ec2:eu-west-1:{cloud.account}:vpc/vpc-1"
    assert decisions(cloud, role, asked[:1], ResourceArns=[vpc], ContextEntries=tag) == ["allowed"]


def test_boundary_and_service_control_policy_limit_what_policies_allow(server: Server, cloud: Cloud) -> None:
    boundary = cloud.iam.create_policy(PolicyName="limit", PolicyDocument=document({"Action": "ec2:*"}))["Policy"]["Arn"]
    role = cloud.role("operator", "", "AdministratorAccess")
    cloud.iam.put_role_permissions_boundary(RoleName="operator", PermissionsBoundary=boundary)
    assert decisions(cloud, role, ["ec2:CreateVpc", "eks:CreateCluster"]) == ["allowed", "implicitDeny"]
    deny = json.loads(document({"Action": "*"}, {"Effect": "Deny", "Action": "ec2:CreateNatGateway"}))
    server.post("scp", {"account": cloud.account, "document": deny})
    (found,) = cloud.iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=["ec2:CreateNatGateway"])["EvaluationResults"]
    assert found["EvalDecision"] == "implicitDeny"
    assert found["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": False}
    assert found["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": True}


def test_administrator_may_do_everything_and_unknown_principals_are_refused(cloud: Cloud) -> None:
    account = f"arn:aws:iam::{cloud.account}"
    assert decisions(cloud, f"{account}:user/administrator", ["ec2:CreateVpc"]) == ["allowed"]
    with expect_error("NoSuchEntity"):
        cloud.iam.simulate_principal_policy(PolicySourceArn=f"{account}:role/none", ActionNames=["ec2:CreateVpc"])
