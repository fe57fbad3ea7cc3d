"""The IAM calls that the operator uses; STS with trust policies, external ids and session expiry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Cloud, Server, expect_error


INLINE = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})


def trust(principal: str, external_id: str = "", effect: str = "Allow") -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": effect, "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def assume(cloud: Cloud, role: str, **more: Any) -> Cloud:
    created = cloud.sts.assume_role(RoleArn=role, RoleSessionName="keelson", **more)["Credentials"]
    keys = {
        "aws_access_key_id": created["AccessKeyId"], "aws_secret_access_key": created["SecretAccessKey"], "aws_session_token": created["SessionToken"],
    }
    return Cloud(cloud.server, role.split(":")[4], credentials=keys)


def inline(characters: int) -> str:
    """A policy of that many characters, without white space, plus white space that does not count."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::"}]}
    missing = characters - len(json.dumps(document, separators=(",", ":")))
    document["Statement"][0]["Resource"] += "x" * missing  # type: ignore[index]
    return json.dumps(document, indent=4)


def test_inline_policies_of_a_role_have_a_size_limit_together(cloud: Cloud) -> None:
    cloud.role("workload", "pods.eks.amazonaws.com")
    cloud.iam.put_role_policy(RoleName="workload", PolicyName="a", PolicyDocument=inline(10_000))
    with expect_error("LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role workload"):
        cloud.iam.put_role_policy(RoleName="workload", PolicyName="b", PolicyDocument=inline(241))
    cloud.iam.put_role_policy(RoleName="workload", PolicyName="b", PolicyDocument=inline(240))
    cloud.iam.put_role_policy(RoleName="workload", PolicyName="a", PolicyDocument=inline(9_000))


def test_inline_policy_names_no_principal(cloud: Cloud) -> None:
    cloud.role("workload", "pods.eks.amazonaws.com")
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Principal": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    with expect_error("MalformedPolicyDocument", "Policy document should not specify a principal."):
        cloud.iam.put_role_policy(RoleName="workload", PolicyName="a", PolicyDocument=document)
    with expect_error("MalformedPolicyDocument"):
        cloud.iam.put_role_policy(RoleName="workload", PolicyName="a", PolicyDocument="{}")
    with expect_error("MalformedPolicyDocument"):
        cloud.iam.put_role_policy(RoleName="workload", PolicyName="a", PolicyDocument="no JSON")


def test_role_has_at_most_ten_attached_policies(cloud: Cloud) -> None:
    cloud.role("workload", "pods.eks.amazonaws.com")
    arns = [cloud.iam.create_policy(PolicyName=f"p{n}", PolicyDocument=INLINE)["Policy"]["Arn"] for n in range(11)]
    for arn in arns[:10]:
        cloud.iam.attach_role_policy(RoleName="workload", PolicyArn=arn)
    with expect_error("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10"):
        cloud.iam.attach_role_policy(RoleName="workload", PolicyArn=arns[10])
    cloud.iam.attach_role_policy(RoleName="workload", PolicyArn=arns[0])  # again: no change


def test_12_digit_access_key_is_the_account(cloud: Cloud, server: Server) -> None:
    assert cloud.sts.get_caller_identity()["Account"] == cloud.account
    other = Cloud(server, "x", credentials={"aws_access_key_id": "test", "aws_secret_access_key": "test"})
    assert other.sts.get_caller_identity()["Account"] == "123456789012"


def test_access_key_created_by_iam_belongs_to_its_user(cloud: Cloud) -> None:
    cloud.iam.create_user(UserName="ann")
    key = cloud.iam.create_access_key(UserName="ann")["AccessKey"]
    keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    ann = Cloud(cloud.server, cloud.account, credentials=keys)
    assert ann.sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{cloud.account}:user/ann"
    ann.vpc("a")
    assert len(cloud.ec2.describe_vpcs()["Vpcs"]) == 1


def test_session_acts_in_the_account_of_the_role(cloud: Cloud, other_account: Cloud) -> None:
    role = other_account.role("keelson", "", trust=trust(f"arn:aws:iam::{cloud.account}:root"))
    session = assume(cloud, role)
    identity = session.sts.get_caller_identity()
    assert identity["Account"] == other_account.account
    assert identity["Arn"] == f"arn:aws:sts::{other_account.account}:assumed-role/keelson/keelson"
    session.vpc("a")
    assert len(other_account.ec2.describe_vpcs()["Vpcs"]) == 1 and cloud.ec2.describe_vpcs()["Vpcs"] == []


def test_assuming_a_missing_role_is_denied(cloud: Cloud) -> None:
    role = f"arn:aws:iam::{cloud.account}:role/none"
    caller = f"arn:aws:iam::{cloud.account}:user/administrator"
    with expect_error("AccessDenied", f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role}") as error:
        assume(cloud, role)
    assert error.status == 403


def test_assuming_a_role_that_trusts_another_principal_is_denied(cloud: Cloud, other_account: Cloud) -> None:
    role = other_account.role("keelson", "", trust=trust("arn:aws:iam::999999999999:root"))
    with expect_error("AccessDenied"):
        assume(cloud, role)
    with expect_error("AccessDenied"):
        assume(cloud, other_account.role("service", "eks.amazonaws.com"))


def test_external_id_must_match(cloud: Cloud, other_account: Cloud) -> None:
    role = other_account.role("keelson", "", trust=trust(cloud.account, "fleet-1"))
    with expect_error("AccessDenied"):
        assume(cloud, role)
    with expect_error("AccessDenied"):
        assume(cloud, role, ExternalId="fleet-2")
    assert assume(cloud, role, ExternalId="fleet-1").sts.get_caller_identity()["Account"] == other_account.account


def test_deny_overrides_allow(cloud: Cloud, other_account: Cloud) -> None:
    policy = trust("*")
    policy["Statement"] += trust(cloud.account, effect="Deny")["Statement"]
    with expect_error("AccessDenied"):
        assume(cloud, other_account.role("keelson", "", trust=policy))


def test_role_chaining_checks_the_role_not_the_session(cloud: Cloud, other_account: Cloud) -> None:
    first = cloud.role("first", "", trust=trust(cloud.account))
    second = other_account.role("second", "", trust=trust(first))
    assert assume(assume(cloud, first), second).sts.get_caller_identity()["Account"] == other_account.account
    with expect_error("AccessDenied"):
        assume(cloud, second)


def test_session_expires(cloud: Cloud, server: Server) -> None:
    role = cloud.role("keelson", "", trust=trust(cloud.account))
    with expect_error("ValidationError", "durationSeconds"):
        assume(cloud, role, DurationSeconds=899)
    with expect_error("ValidationError", "MaxSessionDuration"):
        assume(cloud, role, DurationSeconds=7200)
    server.post("settings", {"STS_MIN_SESSION_SECONDS": 1})
    try:
        session = assume(cloud, role, DurationSeconds=1)
    finally:
        server.post("settings", {"STS_MIN_SESSION_SECONDS": 900})
    assert session.eks.list_clusters()["clusters"] == []

    def ended() -> bool:
        try:
            session.eks.list_clusters()
        except session.eks.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "ExpiredTokenException"
            return True
        return False

    cloud.until(ended)
    with expect_error("ExpiredToken") as error:
        session.sts.get_caller_identity()
    assert error.status == 403
    with expect_error("RequestExpired"):
        session.ec2.describe_vpcs()


def test_wrong_session_token_is_rejected(cloud: Cloud) -> None:
    session = assume(cloud, cloud.role("keelson", "", trust=trust(cloud.account)))
    forged = Cloud(cloud.server, cloud.account, credentials={**session.credentials, "aws_session_token": "nonsense"})
    with expect_error("InvalidClientTokenId"):
        forged.sts.get_caller_identity()
    unknown = Cloud(cloud.server, cloud.account, credentials={**session.credentials, "aws_access_key_id": "ASIAAAAAAAAAAAAAAAAA"})
    with expect_error("UnrecognizedClientException"):
        unknown.eks.list_clusters()


def test_roles_are_listed_with_tags_and_policies(cloud: Cloud) -> None:
    boundary = cloud.iam.create_policy(
        PolicyName="boundary", PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
    )["Policy"]["Arn"]
    document = json.dumps(trust(cloud.account))
    cloud.iam.create_role(
        RoleName="r", AssumeRolePolicyDocument=document, PermissionsBoundary=boundary, Tags=[{"Key": "keelson.dev/owner", "Value": "u"}]
    )
    cloud.iam.attach_role_policy(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    (role,) = cloud.iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    assert role["RoleName"] == "r" and role["Tags"] == [{"Key": "keelson.dev/owner", "Value": "u"}]
    assert role["AttachedManagedPolicies"] == [
        {"PolicyName": "AmazonEKSClusterPolicy", "PolicyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"}
    ]
    assert cloud.iam.get_role(RoleName="r")["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary


def test_iam_deletion_conflicts(cloud: Cloud) -> None:
    cloud.role("r", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
    with expect_error("EntityAlreadyExists") as error:
        cloud.role("r", "eks.amazonaws.com")
    assert error.status == 409
    with expect_error("DeleteConflict"):
        cloud.iam.delete_role(RoleName="r")
    with expect_error("NoSuchEntity") as error:
        cloud.iam.get_role(RoleName="none")
    assert error.status == 404
    with expect_error("NoSuchEntity"):
        cloud.iam.attach_role_policy(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/Nonsense")
    with expect_error("MalformedPolicyDocument"):
        cloud.iam.create_role(RoleName="bad", AssumeRolePolicyDocument="{")
    cloud.iam.put_role_policy(RoleName="r", PolicyName="inline", PolicyDocument=INLINE)
    cloud.iam.detach_role_policy(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    with expect_error("DeleteConflict"):
        cloud.iam.delete_role(RoleName="r")


def test_trust_policy_with_an_unknown_principal_is_rejected(cloud: Cloud) -> None:
    with expect_error("MalformedPolicyDocument", "Invalid principal in policy"):
        cloud.role("r", "", trust=trust(f"arn:aws:iam::{cloud.account}:role/none"))


def test_oidc_providers(cloud: Cloud) -> None:
    url = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"
    parameters = {"Url": url, "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": ["a" * 40], "Tags": [{"Key": "k", "Value": "v"}]}
    arn = cloud.iam.create_open_id_connect_provider(**parameters)["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{cloud.account}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
    with expect_error("EntityAlreadyExists"):
        cloud.iam.create_open_id_connect_provider(**parameters)
    found = cloud.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (found["Url"], found["ClientIDList"], found["Tags"]) == (url.removeprefix("https://"), ["sts.amazonaws.com"], parameters["Tags"])
    assert cloud.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == [{"Arn": arn}]
    assert cloud.iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"] == parameters["Tags"]
    audiences = lambda: cloud.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]  # noqa: E731
    first = audiences()
    for _ in range(2):
        cloud.iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    assert audiences() == [*first, "other"]
    cloud.iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    assert audiences() == first
    cloud.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    with expect_error("NoSuchEntity"):
        cloud.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    without = {k: v for k, v in parameters.items() if k != "ThumbprintList"}
    assert cloud.iam.create_open_id_connect_provider(**without)["OpenIDConnectProviderArn"] == arn


@pytest.mark.parametrize("name", ["amazon-linux-2023/x86_64/standard", "amazon-linux-2023/arm64/standard"])
def test_ssm_has_parameters_of_the_node_images(cloud: Cloud, name: str) -> None:
    path = f"/aws/service/eks/optimized-ami/1.34/{name}/recommended"
    image = cloud.client("ssm").get_parameter(Name=path + "/image_id")["Parameter"]["Value"]
    assert image.startswith("ami-")
    assert cloud.client("ssm").get_parameter(Name=path + "/release_version")["Parameter"]["Value"].startswith("1.34.")
    with expect_error("ParameterNotFound"):
        cloud.client("ssm").get_parameter(Name=path.replace("1.34", "1.99") + "/image_id")
