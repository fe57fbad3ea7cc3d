"""The TokenReview webhook, with tokens like those of `aws eks get-token`."""

from __future__ import annotations

import base64
import datetime
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
import requests
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import Cloud
from test_iam_sts import assume, trust

ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"


def token(cloud: Cloud, cluster: str | None = "demo", expires: int = 60, age: int = 0, monkeypatch: Any = None) -> str:
    keys = cloud.credentials
    credentials = Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys.get("aws_session_token"))
    query = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
    headers = {"x-k8s-aws-id": cluster} if cluster else {}
    request = AWSRequest("GET", f"https://sts.{cloud.region}.amazonaws.com/?{query}", headers=headers)
    if age:
        created = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: created, raising=False)
    SigV4QueryAuth(credentials, "sts", cloud.region, expires=expires).add_auth(request)
    return "k8s-aws-v1." + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("=")


def review(cloud: Cloud, value: str, query: str = "") -> dict[str, Any]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": value}}
    answer = requests.post(f"{cloud.server.url}/tokenreview{query}", json=body, timeout=5).json()
    assert (answer["apiVersion"], answer["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
    status: dict[str, Any] = answer["status"]
    return status


def test_creator_is_an_administrator(cloud: Cloud) -> None:
    cloud.cluster()
    status = review(cloud, token(cloud))
    assert status["authenticated"] is True
    assert status["user"]["username"] == f"arn:aws:iam::{cloud.account}:user/administrator"
    assert "system:masters" in status["user"]["groups"]
    assert status["user"]["extra"]["canonicalArn"] == [f"arn:aws:iam::{cloud.account}:user/administrator"]


def test_session_is_mapped_by_its_role(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "", trust=trust(cloud.account))
    session = assume(cloud, role)
    assert review(cloud, token(session))["authenticated"] is False
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["viewers"])
    user = review(cloud, token(session))["user"]
    assert user["username"] == f"arn:aws:sts::{cloud.account}:assumed-role/viewer/keelson"
    assert user["groups"] == ["viewers"]
    assert user["extra"]["arn"] == [f"arn:aws:sts::{cloud.account}:assumed-role/viewer/keelson"]


def test_recreated_role_is_another_principal(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("viewer", "", trust=trust(cloud.account))
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["viewers"])
    assert review(cloud, token(assume(cloud, role)))["authenticated"] is True
    cloud.iam.delete_role(RoleName="viewer")
    assert cloud.role("viewer", "", trust=trust(cloud.account)) == role
    assert review(cloud, token(assume(cloud, role)))["authenticated"] is False
    cloud.eks.delete_access_entry(clusterName="demo", principalArn=role)
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role, kubernetesGroups=["viewers"])
    assert review(cloud, token(assume(cloud, role)))["authenticated"] is True


def test_only_the_cluster_wide_admin_policy_grants_system_masters(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("someone", "", trust=trust(cloud.account))
    session = assume(cloud, role)
    who = {"clusterName": "demo", "principalArn": role}
    cloud.eks.create_access_entry(**who)
    cloud.eks.associate_access_policy(**who, policyArn=VIEW, accessScope={"type": "cluster"})
    cloud.eks.associate_access_policy(**who, policyArn=ADMIN, accessScope={"type": "namespace", "namespaces": ["a"]})
    assert review(cloud, token(session))["user"]["groups"] == []
    cloud.eks.associate_access_policy(**who, policyArn=ADMIN, accessScope={"type": "cluster"})
    assert review(cloud, token(session))["user"]["groups"] == ["system:masters"]


def test_token_is_valid_for_one_cluster_only(cloud: Cloud) -> None:
    cluster = cloud.cluster("demo")
    cloud.eks.create_cluster(
        name="other", roleArn=cluster["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets},
        accessConfig={"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
    )
    cloud.until(lambda: cloud.status("other") == "ACTIVE")
    role = cloud.role("someone", "", trust=trust(cloud.account))
    session = assume(cloud, role)
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role)
    assert review(cloud, token(session, "demo"))["authenticated"] is True
    assert review(cloud, token(session, "other"))["authenticated"] is False
    assert review(cloud, token(session, "demo"), "?cluster=other")["authenticated"] is False
    assert review(cloud, token(session, "none"))["authenticated"] is False


def test_token_of_a_static_key_is_verified_if_its_secret_is_known(cloud: Cloud) -> None:
    cloud.cluster()
    assert review(cloud, token(cloud, "demo"))["authenticated"] is True
    assert review(cloud, token(cloud, "other"))["authenticated"] is False


def test_creating_cluster_accepts_no_token(cloud: Cloud) -> None:
    # Made before: creation takes less than signing on a busy machine.
    presigned = token(cloud)
    cloud.cluster(wait=False)
    assert review(cloud, presigned)["authenticated"] is False


def test_cluster_header_must_be_signed(cloud: Cloud) -> None:
    cloud.cluster()
    assert "x-k8s-aws-id" in review(cloud, token(cloud, cluster=None))["error"]


def test_tokens_expire(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.cluster()
    assert review(cloud, token(cloud, age=14 * 60, monkeypatch=monkeypatch))["authenticated"] is True
    assert "expired" in review(cloud, token(cloud, age=16 * 60, monkeypatch=monkeypatch))["error"]
    assert "future" in review(cloud, token(cloud, age=-10 * 60, monkeypatch=monkeypatch))["error"]


def test_lifetime_over_15_minutes_is_rejected(cloud: Cloud) -> None:
    cloud.cluster()
    assert "15 minutes" in review(cloud, token(cloud, expires=3600))["error"]


@pytest.mark.parametrize("bad", ["", "nonsense", "k8s-aws-v1.", "k8s-aws-v1.%%%", "k8s-aws-v1.aHR0cHM6Ly9leGFtcGxlLmNvbS8"])
def test_malformed_tokens_are_rejected(cloud: Cloud, bad: str) -> None:
    assert review(cloud, bad)["authenticated"] is False


def test_forged_session_token_is_rejected(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("someone", "", trust=trust(cloud.account))
    cloud.eks.create_access_entry(clusterName="demo", principalArn=role)
    session = assume(cloud, role)
    forged = Cloud(cloud.server, cloud.account, credentials={**session.credentials, "aws_secret_access_key": "guessed"})
    assert review(cloud, token(session))["authenticated"] is True
    assert review(cloud, token(forged))["authenticated"] is False


def test_presigned_url_of_boto3_is_accepted(cloud: Cloud) -> None:
    cloud.cluster()
    sts = boto3.client("sts", region_name="eu-west-1", aws_access_key_id=cloud.account, aws_secret_access_key="test")
    sts.meta.events.register("before-sign.sts.GetCallerIdentity", lambda request, **_: request.headers.add_header("x-k8s-aws-id", "demo"))
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    value = "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
    assert review(cloud, value)["authenticated"] is True


def test_confidential_values_are_listed(cloud: Cloud) -> None:
    """For the tests that search output for secrets."""
    cloud.cluster()
    role = cloud.role("searched", "", trust=trust(cloud.account))
    session = assume(cloud, role)
    shown = token(session)
    review(cloud, shown)
    keys = session.credentials
    known = cloud.server.get("confidential")["confidential"]
    assert {shown, keys["aws_secret_access_key"], keys["aws_session_token"]} <= set(known)
