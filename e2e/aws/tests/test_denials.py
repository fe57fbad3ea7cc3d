"""Denials say which kind of policy denied, in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, Server, expect_error


def deny(cloud: Cloud, match: dict[str, Any], by: Any) -> None:
    cloud.server.post("faults", {"match": {"account": cloud.account, **match}, "then": {"deny": by}})


@pytest.mark.parametrize(
    ("by", "phrase"),
    [
        ("service control policy", "with an explicit deny in a service control policy"),
        ({"by": "service control policy", "explicit": False}, "because no service control policy allows the eks:ListClusters action"),
        ("resource control policy", "with an explicit deny in a resource control policy"),
        ("permissions boundary", "because no permissions boundary allows the eks:ListClusters action"),
        ({"by": "permissions boundary", "explicit": True}, "with an explicit deny in a permissions boundary"),
        ("identity-based policy", "because no identity-based policy allows the eks:ListClusters action"),
        ({"by": "identity-based policy", "explicit": True}, "with an explicit deny in an identity-based policy"),
        ("session policy", "because no session policy allows the eks:ListClusters action"),
        ("VPC endpoint policy", "because no VPC endpoint policy allows the eks:ListClusters action"),
        ("resource-based policy", "with an explicit deny in a resource-based policy"),
        ({"by": "service control policy", "policyArn": "arn:aws:organizations::1:policy/p-1"}, "control policy: arn:aws:organizations::1:policy/p-1"),
    ],
)
def test_denial_names_the_kind_of_policy(cloud: Cloud, by: Any, phrase: str) -> None:
    deny(cloud, {"action": "ListClusters"}, by)
    with expect_error("AccessDeniedException", phrase) as error:
        cloud.eks.list_clusters()
    assert error.status == 403
    assert f"User: arn:aws:iam::{cloud.account}:user/administrator is not authorized to perform: eks:ListClusters on resource:" in error.message


def test_each_service_has_its_own_code_and_ec2_its_encoded_message(cloud: Cloud) -> None:
    deny(cloud, {}, "service control policy")
    with expect_error("UnauthorizedOperation", "Encoded authorization failure message: ") as error:
        cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    assert error.message.startswith("You are not authorized to perform this operation. User: ")
    for call, code in ((cloud.iam.list_roles, "AccessDenied"), (cloud.sts.get_caller_identity, "AccessDenied")):
        with expect_error(code, "service control policy"):
            call()


def test_denied_action_can_be_another_than_the_call(cloud: Cloud) -> None:
    deny(cloud, {"action": "CreateCluster"}, {"by": "identity-based policy", "action": "iam:PassRole", "resource": "arn:aws:iam::1:role/x"})
    with expect_error("AccessDeniedException", "iam:PassRole on resource: arn:aws:iam::1:role/x because no identity-based policy allows the iam:PassRole"):
        cloud.cluster()
    assert cloud.eks.list_clusters()["clusters"] == []


@pytest.mark.parametrize("bad", ["nobody", {"explicit": True}, {"by": "session policy", "other": 1}, 1])
def test_unknown_kind_of_policy_is_rejected(server: Server, bad: Any) -> None:
    with pytest.raises(AssertionError, match="deny"):
        server.post("faults", {"match": {}, "then": {"deny": bad}})
