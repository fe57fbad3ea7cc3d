"""Opt-in regions and partitions: credentials are invalid in regions that their account does not have."""

from __future__ import annotations

import pytest
from conftest import Cloud, Server, expect_error

REGION = "ap-south-2"


def test_credentials_are_invalid_in_regions_that_the_account_does_not_have(cloud: Cloud, server: Server) -> None:
    server.post("regions", {"account": cloud.account, "notOptedIn": [REGION]})
    there = Cloud(server, cloud.account, REGION)
    with expect_error("InvalidClientTokenId"):
        there.sts.get_caller_identity()
    with expect_error("AuthFailure"):
        there.ec2.describe_vpcs()
    with expect_error("UnrecognizedClientException"):
        there.eks.list_clusters()
    there.iam.list_roles()
    assert cloud.sts.get_caller_identity()["Account"] == cloud.account


def test_session_of_another_region_works_where_only_its_account_has_the_region(cloud: Cloud, other_account: Cloud, server: Server) -> None:
    server.post("regions", {"account": cloud.account, "notOptedIn": [REGION]})
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{cloud.account}:root"}, "Action": "sts:AssumeRole"}]}
    role = other_account.role("fleet", "", trust=trust)
    asked = {"RoleArn": role, "RoleSessionName": "keelson"}
    with expect_error("InvalidClientTokenId"):
        Cloud(server, cloud.account, REGION).sts.assume_role(**asked)
    issued = cloud.sts.assume_role(**asked)["Credentials"]
    credentials = {
        "aws_access_key_id": issued["AccessKeyId"], "aws_secret_access_key": issued["SecretAccessKey"], "aws_session_token": issued["SessionToken"],
    }
    there = Cloud(server, other_account.account, REGION, credentials)
    assert there.ec2.describe_vpcs()["Vpcs"] == [] and there.eks.list_clusters()["clusters"] == []


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_other_partitions_do_not_know_the_account(cloud: Cloud, server: Server, region: str) -> None:
    with expect_error("InvalidClientTokenId"):
        Cloud(server, cloud.account, region).sts.get_caller_identity()
