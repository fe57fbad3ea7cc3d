"""Add-ons: versions by Kubernetes version, configuration, and those that are DEGRADED without nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Cloud, Server, expect_error

OURS = ("vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent", "aws-ebs-csi-driver", "metrics-server")


@pytest.mark.parametrize("minor", ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36"])
def test_each_minor_has_one_default_version_of_each_addon(cloud: Cloud, minor: str) -> None:
    for name in OURS:
        (addon,) = cloud.eks.describe_addon_versions(kubernetesVersion=minor, addonName=name)["addons"]
        assert addon["addonName"] == name and addon["addonVersions"]
        compatible = [c for v in addon["addonVersions"] for c in v["compatibilities"]]
        assert {c["clusterVersion"] for c in compatible} == {minor}
        assert [c["defaultVersion"] for c in compatible].count(True) == 1


def test_addon_versions_of_unknown_addons_and_versions(cloud: Cloud) -> None:
    with expect_error("ResourceNotFoundException"):
        cloud.eks.describe_addon_versions(addonName="nonsense")
    with expect_error("InvalidParameterException"):
        cloud.eks.describe_addon_versions(kubernetesVersion="1.99")


def test_addon_configuration_schema_is_json(cloud: Cloud) -> None:
    (addon,) = cloud.eks.describe_addon_versions(kubernetesVersion="1.34", addonName="vpc-cni")["addons"]
    answer = cloud.eks.describe_addon_configuration(addonName="vpc-cni", addonVersion=addon["addonVersions"][0]["addonVersion"])
    assert json.loads(answer["configurationSchema"])["properties"]["env"]
    assert answer["podIdentityConfiguration"][0]["serviceAccount"] == "aws-node"


def test_addon_without_pods_on_nodes_becomes_active(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    created = cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", tags={"a": "b"})["addon"]
    assert created["status"] == "CREATING" and created["tags"] == {"a": "b"}
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    (info,) = cloud.eks.describe_addon_versions(kubernetesVersion="1.34", addonName="vpc-cni")["addons"]
    default = [v["addonVersion"] for v in info["addonVersions"] if v["compatibilities"][0]["defaultVersion"]]
    assert [created["addonVersion"]] == default


@pytest.mark.parametrize("name", ["coredns", "aws-ebs-csi-driver", "metrics-server"])
def test_addon_that_needs_nodes_is_degraded_until_nodes_exist(cloud: Cloud, name: str) -> None:
    cloud.cluster()
    cloud.eks.create_addon(clusterName="demo", addonName=name)
    cloud.until(lambda: cloud.addon_status(name) == "DEGRADED")
    issues = cloud.eks.describe_addon(clusterName="demo", addonName=name)["addon"]["health"]["issues"]
    assert issues[0]["code"] == "InsufficientNumberOfReplicas"
    cloud.nodegroup()
    cloud.until(lambda: cloud.addon_status(name) == "ACTIVE")
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.until(lambda: cloud.addon_status(name) == "DEGRADED")


@pytest.mark.parametrize(
    ("selector", "configuration", "status"),
    [
        ({"namespace": "kube-system"}, '{"computeType": "Fargate"}', "ACTIVE"),
        ({"namespace": "kube-*", "labels": {"k8s-app": "kube-dns"}}, '{"computeType": "fargate"}', "ACTIVE"),
        # Its pods need EC2 nodes by default.
        ({"namespace": "kube-system"}, "", "DEGRADED"),
        ({"namespace": "batch"}, '{"computeType": "Fargate"}', "DEGRADED"),
    ],
)
def test_coredns_runs_on_fargate_with_compute_type_and_matching_profile(
    cloud: Cloud, selector: dict[str, Any], configuration: str, status: str
) -> None:
    cloud.cluster()
    role = cloud.role("pods", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
    of = {"clusterName": "demo", "fargateProfileName": "system"}
    cloud.eks.create_fargate_profile(**of, podExecutionRoleArn=role, subnets=cloud.subnets, selectors=[selector])
    cloud.until(lambda: cloud.eks.describe_fargate_profile(**of)["fargateProfile"]["status"] == "ACTIVE")
    parameters = {"configurationValues": configuration} if configuration else {}
    cloud.eks.create_addon(clusterName="demo", addonName="coredns", **parameters)
    cloud.until(lambda: cloud.addon_status("coredns") == status)


def test_incompatible_addon_versions_are_rejected(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    with expect_error("InvalidParameterException", "Addon version specified is not supported"):
        cloud.eks.create_addon(clusterName="demo", addonName="coredns", addonVersion="v1.11.1-eksbuild.27")
    with expect_error("InvalidParameterException", "is not supported in 1.34 kubernetes version"):
        cloud.eks.create_addon(clusterName="demo", addonName="nonsense")


def test_configuration_must_match_the_schema(cloud: Cloud) -> None:
    cloud.cluster()
    for bad in ('{"env": {"A": 1}}', '{"nonsense": true}', "{"):
        with expect_error("InvalidParameterException", "ConfigurationValue provided in request is not supported"):
            cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", configurationValues=bad)
    good = '{"env": {"ENABLE_PREFIX_DELEGATION": "true"}}'
    created = cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", configurationValues=good)["addon"]
    assert created["configurationValues"] == good


def test_addon_update_and_delete(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    cloud.eks.create_addon(clusterName="demo", addonName="kube-proxy")
    with expect_error("ResourceInUseException", "CREATING"):
        cloud.eks.update_addon(clusterName="demo", addonName="kube-proxy", addonVersion="v1.34.3-eksbuild.2")
    cloud.until(lambda: cloud.addon_status("kube-proxy") == "ACTIVE")
    update = cloud.eks.update_addon(
        clusterName="demo", addonName="kube-proxy", addonVersion="v1.34.3-eksbuild.2", resolveConflicts="PRESERVE"
    )
    assert {"type": "AddonVersion", "value": "v1.34.3-eksbuild.2"} in update["update"]["params"]
    assert cloud.addon_status("kube-proxy") == "UPDATING"
    assert cloud.update_done(update, addonName="kube-proxy")["status"] == "Successful"
    assert cloud.eks.describe_addon(clusterName="demo", addonName="kube-proxy")["addon"]["addonVersion"] == "v1.34.3-eksbuild.2"
    assert cloud.eks.delete_addon(clusterName="demo", addonName="kube-proxy")["addon"]["status"] == "DELETING"
    cloud.gone(cloud.eks.describe_addon, clusterName="demo", addonName="kube-proxy")


def test_conflicting_update_fails(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    issue = {"code": "ConfigurationConflict", "message": "Conflicts found when trying to apply"}
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateAddon"}, "then": {"health_issue": issue}})
    update = cloud.eks.update_addon(clusterName="demo", addonName="vpc-cni", configurationValues="{}")
    assert cloud.update_done(update, addonName="vpc-cni")["errors"][0]["errorCode"] == "ConfigurationConflict"
    assert cloud.addon_status("vpc-cni") == "UPDATE_FAILED"


def test_fault_fails_the_creation(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    server.post("faults", {"match": {"account": cloud.account, "action": "CreateAddon"}, "then": {"fail": "no"}})
    cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "CREATE_FAILED")


def test_client_tokens_names_and_states(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    with expect_error("InvalidRequestException", "is not in ACTIVE status"):
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.status() == "ACTIVE")
    first = cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", clientRequestToken="t")["addon"]
    assert cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", clientRequestToken="t")["addon"]["addonArn"] == first["addonArn"]
    with expect_error("ResourceInUseException", "Addon already exists.") as error:
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    assert (error.body["clusterName"], error.body["addonName"]) == ("demo", "vpc-cni")
    with expect_error("ResourceNotFoundException", "No addon: coredns found in cluster: demo"):
        cloud.eks.describe_addon(clusterName="demo", addonName="coredns")
    assert cloud.eks.list_addons(clusterName="demo")["addons"] == ["vpc-cni"]


def test_addon_owns_its_pod_identity_associations(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("cni", "pods.eks.amazonaws.com", "AmazonEKS_CNI_Policy")
    created = cloud.eks.create_addon(
        clusterName="demo", addonName="vpc-cni", podIdentityAssociations=[{"serviceAccount": "aws-node", "roleArn": role}]
    )["addon"]
    (association,) = cloud.eks.list_pod_identity_associations(clusterName="demo")["associations"]
    assert created["podIdentityAssociations"] == [association["associationArn"]] and association["ownerArn"] == created["addonArn"]
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    cloud.eks.delete_addon(clusterName="demo", addonName="vpc-cni")
    cloud.gone(cloud.eks.describe_addon, clusterName="demo", addonName="vpc-cni")
    assert cloud.eks.list_pod_identity_associations(clusterName="demo")["associations"] == []


def test_addon_is_not_created_with_a_role_that_does_not_exist(cloud: Cloud) -> None:
    cloud.cluster()
    association = {"serviceAccount": "ebs-csi-controller-sa", "roleArn": f"arn:aws:iam::{cloud.account}:role/none"}
    with expect_error("InvalidParameterException", "Role provided in the request does not exist."):
        cloud.eks.create_addon(clusterName="demo", addonName="aws-ebs-csi-driver", podIdentityAssociations=[association])
    assert cloud.eks.list_addons(clusterName="demo")["addons"] == []
    role = cloud.role("csi", "pods.eks.amazonaws.com")
    wanted = {"clusterName": "demo", "addonName": "aws-ebs-csi-driver", "podIdentityAssociations": [{**association, "roleArn": role}]}
    created = cloud.eks.create_addon(**wanted, namespaceConfig={"namespace": "storage"})["addon"]
    assert created["namespaceConfig"] == {"namespace": "storage"}
    (found,) = cloud.eks.list_pod_identity_associations(clusterName="demo", namespace="storage")["associations"]
    assert found["ownerArn"] == created["addonArn"]
    cloud.until(lambda: cloud.addon_status("aws-ebs-csi-driver") == "DEGRADED")
    cloud.eks.update_addon(clusterName="demo", addonName="aws-ebs-csi-driver", podIdentityAssociations=[])
    cloud.until(lambda: cloud.eks.list_pod_identity_associations(clusterName="demo")["associations"] == [])


def test_service_account_of_an_association_is_not_given_to_an_addon(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("csi", "pods.eks.amazonaws.com")
    account = {"serviceAccount": "ebs-csi-controller-sa", "roleArn": role}
    cloud.eks.create_pod_identity_association(clusterName="demo", namespace="kube-system", **account)
    with expect_error("ResourceInUseException", "Association already exists"):
        cloud.eks.create_addon(clusterName="demo", addonName="aws-ebs-csi-driver", podIdentityAssociations=[account])
