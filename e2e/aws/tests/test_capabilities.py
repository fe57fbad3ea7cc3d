"""EKS Capabilities: what EKS takes, their states, and what they hold."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, expect_error

IDC = {"idcInstanceArn": "arn:aws:sso:::instance/ssoins-1234567890abcdef", "idcRegion": "eu-west-1"}
ARGOCD = {"argoCd": {"awsIdc": IDC, "rbacRoleMappings": [{"role": "ADMIN", "identities": [{"id": "u-1", "type": "SSO_USER"}]}]}}
API = {"authenticationMode": "API"}


def role(cloud: Cloud, name: str = "capability") -> str:
    return cloud.role(name, "capabilities.eks.amazonaws.com")


def create(cloud: Cloud, name: str, kind: str, role_arn: str, wait: bool = True, **more: Any) -> dict[str, Any]:
    asked = {"clusterName": "demo", "capabilityName": name, "type": kind, "roleArn": role_arn, "deletePropagationPolicy": "RETAIN", **more}
    created: dict[str, Any] = cloud.eks.create_capability(**asked)["capability"]
    if wait:
        cloud.until(lambda: described(cloud, name)["status"] == "ACTIVE")
    return created


def described(cloud: Cloud, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cloud.eks.describe_capability(clusterName="demo", capabilityName=name)["capability"]
    return found


def test_capability_becomes_active_and_its_role_gets_an_access_entry(cloud: Cloud) -> None:
    cloud.cluster(accessConfig=API)
    arn = role(cloud)
    created = create(cloud, "argocd", "ARGOCD", arn, configuration=ARGOCD, tags={"team": "shop"}, clientRequestToken="a")
    assert created["status"] == "CREATING" and ":capability/demo/argocd/argocd/" in created["arn"]
    assert create(cloud, "argocd", "ARGOCD", arn, configuration=ARGOCD, tags={"team": "shop"}, clientRequestToken="a")["arn"] == created["arn"]
    found = described(cloud, "argocd")
    assert found["configuration"] == ARGOCD and found["tags"] == {"team": "shop"}
    assert cloud.eks.list_tags_for_resource(resourceArn=found["arn"])["tags"] == {"team": "shop"}
    assert [one["capabilityName"] for one in cloud.eks.list_capabilities(clusterName="demo")["capabilities"]] == ["argocd"]
    assert cloud.eks.describe_access_entry(clusterName="demo", principalArn=arn)["accessEntry"]["type"] == "CAPABILITY"


@pytest.mark.parametrize(
    ("kind", "more", "text"),
    [
        ("ARGOCD", {}, "awsIdc is required"),
        ("ACK", {"configuration": ARGOCD}, "not supported for capability type ACK"),
        ("KRO", {"configuration": {"ack": {"enableCrossNamespace": True}}}, "not supported for capability type KRO"),
        ("FLUX", {}, "Member must satisfy enum value set"),
        ("KRO", {"deletePropagationPolicy": "DELETE"}, "Member must satisfy enum value set"),
        ("KRO", {"capabilityName": "a b"}, "is not valid"),
    ],
)
def test_unsuitable_capabilities_are_refused(cloud: Cloud, kind: str, more: dict[str, Any], text: str) -> None:
    cloud.cluster(accessConfig=API)
    arn = role(cloud)
    with expect_error("InvalidParameterException", text):
        create(cloud, "one", kind, arn, wait=False, **more)


def test_role_must_trust_eks_capabilities(cloud: Cloud) -> None:
    cloud.cluster(accessConfig=API)
    other = cloud.role("other", "pods.eks.amazonaws.com")
    with expect_error("InvalidParameterException", "must allow capabilities.eks.amazonaws.com"):
        create(cloud, "kro", "KRO", other, wait=False)


def test_cluster_has_one_capability_of_each_type_and_is_not_deleted_with_one(cloud: Cloud) -> None:
    cloud.cluster(accessConfig=API)
    arn = role(cloud)
    create(cloud, "kro", "KRO", arn)
    with expect_error("ResourceInUseException", "of type KRO already exists"):
        create(cloud, "other", "KRO", arn, wait=False)
    with expect_error("ResourceInUseException", "Cluster has capabilities attached"):
        cloud.eks.delete_cluster(name="demo")
    assert cloud.eks.delete_capability(clusterName="demo", capabilityName="kro")["capability"]["status"] == "DELETING"
    cloud.gone(cloud.eks.describe_capability, clusterName="demo", capabilityName="kro")
    cloud.eks.delete_cluster(name="demo")


def test_client_token_answers_with_what_was_deleted_since(cloud: Cloud) -> None:
    cloud.cluster(accessConfig=API)
    arn = role(cloud)
    first = create(cloud, "kro", "KRO", arn, clientRequestToken="k")
    cloud.eks.delete_capability(clusterName="demo", capabilityName="kro")
    cloud.gone(cloud.eks.describe_capability, clusterName="demo", capabilityName="kro")
    assert create(cloud, "kro", "KRO", arn, wait=False, clientRequestToken="k")["arn"] == first["arn"]
    assert cloud.eks.list_capabilities(clusterName="demo")["capabilities"] == []
    assert create(cloud, "kro", "KRO", arn, clientRequestToken="l")["arn"] != first["arn"]


def test_update_changes_role_and_configuration_and_is_found_by_the_capability(cloud: Cloud) -> None:
    cloud.cluster(accessConfig=API)
    create(cloud, "argocd", "ARGOCD", role(cloud), configuration=ARGOCD)
    viewer = {"role": "VIEWER", "identities": [{"id": "g-1", "type": "SSO_GROUP"}]}
    mappings = {"addOrUpdateRoleMappings": [viewer], "removeRoleMappings": ARGOCD["argoCd"]["rbacRoleMappings"]}
    other = role(cloud, "next")
    update = cloud.eks.update_capability(
        clusterName="demo", capabilityName="argocd", roleArn=other, configuration={"argoCd": {"rbacRoleMappings": mappings}}
    )["update"]
    assert update["type"] == "CapabilityUpdate" and described(cloud, "argocd")["status"] == "UPDATING"
    with expect_error("ResourceNotFoundException", "No update found"):
        cloud.eks.describe_update(name="demo", updateId=update["id"])
    named = {"name": "demo", "updateId": update["id"], "capabilityName": "argocd"}
    cloud.until(lambda: cloud.eks.describe_update(**named)["update"]["status"] == "Successful")
    found = described(cloud, "argocd")
    assert (found["roleArn"], found["status"]) == (other, "ACTIVE")
    assert found["configuration"]["argoCd"]["rbacRoleMappings"] == [viewer]
    assert cloud.describe()["status"] == "ACTIVE"
