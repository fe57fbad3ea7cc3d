"""Rotation of a cluster's certificate authority: appended, activated, deleted; what EKS refuses; what EKS does by itself."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from conftest import Cloud, expect_error


class Authorities:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.eks = cloud, cloud.eks
        cloud.cluster()

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.eks.list_certificate_authorities(clusterName="demo")["certificateAuthorities"]
        return found

    def states(self) -> list[tuple[str, str]]:
        return [(one["signingStatus"], one["distributionStatus"]) for one in self.list()]

    def pems(self) -> list[str]:
        data = base64.b64decode(self.cloud.describe()["certificateAuthority"]["data"]).decode()
        return [f"{part}-----END CERTIFICATE-----" for part in data.split("-----END CERTIFICATE-----")[:-1]]

    def create(self, **token: str) -> dict[str, Any]:
        created: dict[str, Any] = self.eks.create_certificate_authority(clusterName="demo", **token)
        return created

    def idle(self) -> None:
        self.cloud.until(lambda: self.cloud.describe()["status"] == "ACTIVE")

    def call(self, name: str, authority: str) -> Any:
        return getattr(self.eks, f"{name}_certificate_authority")(clusterName="demo", certificateAuthorityId=authority)


@pytest.fixture
def authorities(cloud: Cloud) -> Authorities:
    return Authorities(cloud)


def test_cluster_has_one_that_eks_created_and_activated(cloud: Cloud, authorities: Authorities) -> None:
    (first,) = authorities.list()
    assert (first["createdBy"], first["activatedBy"], first["signingStatus"], first["distributionStatus"]) == ("EKS", "EKS", "IN_USE", "COMPLETE")
    described = authorities.call("describe", first["id"])["certificateAuthority"]
    shown = cloud.describe()["certificateAuthority"]
    assert shown["active"] == {"id": first["id"], "activatedBy": "EKS"}
    assert base64.b64decode(shown["data"]).strip() == base64.b64decode(described["data"]).strip()


def test_rotation_appends_activates_and_deletes(cloud: Cloud, authorities: Authorities) -> None:
    (first,) = authorities.list()
    created = authorities.create()
    second = created["certificateAuthority"]["id"]
    assert created["update"]["type"] == "CertificateAuthorityUpdate" and cloud.describe()["status"] == "UPDATING"
    assert authorities.states() == [("IN_USE", "COMPLETE"), ("NOT_USED", "IN_PROGRESS")]
    assert len(authorities.pems()) == 2, "trusted at once"
    authorities.idle()
    assert authorities.states() == [("IN_USE", "COMPLETE"), ("NOT_USED", "COMPLETE")]
    authorities.call("activate", second)
    assert authorities.states()[1] == ("ACTIVATING", "COMPLETE")
    authorities.idle()
    assert authorities.states() == [("NOT_USED", "COMPLETE"), ("IN_USE", "COMPLETE")]
    assert cloud.describe()["certificateAuthority"]["active"] == {"id": second, "activatedBy": "CUSTOMER"}
    authorities.call("delete", first["id"])
    assert authorities.states()[0] == ("NOT_USED", "DELETING")
    authorities.idle()
    assert [one["id"] for one in authorities.list()] == [second] and len(authorities.pems()) == 1


def test_token_creates_one_successor(authorities: Authorities) -> None:
    first = authorities.create(clientRequestToken="t")
    assert authorities.create(clientRequestToken="t")["certificateAuthority"]["id"] == first["certificateAuthority"]["id"]
    authorities.idle()
    assert len(authorities.list()) == 2


def test_what_eks_refuses(cloud: Cloud, authorities: Authorities) -> None:
    (first,) = authorities.list()
    with expect_error("ResourceInUseException", "signs certificates"):
        authorities.call("delete", first["id"])
    with expect_error("InvalidParameterException", "in use already"):
        authorities.call("activate", first["id"])
    for name in ("activate", "delete", "describe"):
        with expect_error("ResourceNotFoundException", "No certificate authority found"):
            authorities.call(name, "never")
    second = authorities.create()["certificateAuthority"]["id"]
    with expect_error("ResourceInUseException", "in progress"):
        authorities.create()
    with expect_error("InvalidParameterException", "in progress"):
        authorities.call("activate", second)
    authorities.idle()
    with expect_error("ResourceLimitExceededException", "2 certificate authorities"):
        authorities.create()


def test_failed_distribution_is_reported_and_not_activated(cloud: Cloud, authorities: Authorities) -> None:
    cloud.server.post("faults", {"match": {"action": "CreateCertificateAuthority", "account": cloud.account}, "then": {"fail": "no capacity"}})
    created = authorities.create()
    authorities.idle()
    update = cloud.eks.describe_update(name="demo", updateId=created["update"]["id"])["update"]
    assert (update["status"], update["errors"][0]["errorMessage"]) == ("Failed", "no capacity")
    assert authorities.states()[1] == ("NOT_USED", "FAILED")
    with expect_error("InvalidParameterException", "distribution status is FAILED"):
        authorities.call("activate", created["certificateAuthority"]["id"])


def test_eks_appends_and_activates_a_successor_by_itself(cloud: Cloud, authorities: Authorities) -> None:
    where = {"account": cloud.account, "region": cloud.region, "cluster": "demo"}
    second = cloud.server.post("certificate-authorities", where)["id"]
    with expect_error("InvalidParameterException", "only successor"):
        authorities.call("delete", second)
    assert cloud.server.post("certificate-authorities", {**where, "activate": True})["id"] == second
    assert [(one["createdBy"], one["activatedBy"], one["signingStatus"]) for one in authorities.list()] == [
        ("EKS", "EKS", "NOT_USED"), ("EKS", "EKS", "IN_USE")
    ]
