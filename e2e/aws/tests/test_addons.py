"""Add-ons: versions by Kubernetes version, and those that stay DEGRADED until there are nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Cloud, Server, refused

OURS = ("vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent", "aws-ebs-csi-driver", "metrics-server")


@pytest.mark.parametrize("minor", ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35"])
def test_each_minor_has_one_default_version_of_each_addon(cloud: Cloud, minor: str) -> None:
    for name in OURS:
        (addon,) = cloud.eks.describe_addon_versions(kubernetesVersion=minor, addonName=name)["addons"]
        assert addon["addonName"] == name and addon["addonVersions"]
        compatible = [c for v in addon["addonVersions"] for c in v["compatibilities"]]
        assert {c["clusterVersion"] for c in compatible} == {minor}
        assert [c["defaultVersion"] for c in compatible].count(True) == 1


def test_addon_versions_of_unknown_things(cloud: Cloud) -> None:
    with refused("ResourceNotFoundException"):
        cloud.eks.describe_addon_versions(addonName="nonsense")
    with refused("InvalidParameterException"):
        cloud.eks.describe_addon_versions(kubernetesVersion="1.99")


def test_addon_configuration_schema_is_json(cloud: Cloud) -> None:
    (addon,) = cloud.eks.describe_addon_versions(kubernetesVersion="1.34", addonName="vpc-cni")["addons"]
    answer = cloud.eks.describe_addon_configuration(addonName="vpc-cni", addonVersion=addon["addonVersions"][0]["addonVersion"])
    assert json.loads(answer["configurationSchema"])["properties"]["env"]
    assert answer["podIdentityConfiguration"][0]["serviceAccount"] == "aws-node"


def test_an_addon_that_needs_no_node_becomes_active(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    made = cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", tags={"a": "b"})["addon"]
    assert made["status"] == "CREATING" and made["tags"] == {"a": "b"}
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    (info,) = cloud.eks.describe_addon_versions(kubernetesVersion="1.34", addonName="vpc-cni")["addons"]
    default = [v["addonVersion"] for v in info["addonVersions"] if v["compatibilities"][0]["defaultVersion"]]
    assert [made["addonVersion"]] == default


@pytest.mark.parametrize("name", ["coredns", "aws-ebs-csi-driver", "metrics-server"])
def test_an_addon_that_needs_nodes_is_degraded_until_there_are_some(cloud: Cloud, name: str) -> None:
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
        # Its pods are annotated for EC2 unless told otherwise.
        ({"namespace": "kube-system"}, "", "DEGRADED"),
        ({"namespace": "batch"}, '{"computeType": "Fargate"}', "DEGRADED"),
    ],
)
def test_coredns_runs_on_fargate_when_told_so_and_chosen_by_a_profile(
    cloud: Cloud, selector: dict[str, Any], configuration: str, status: str
) -> None:
    cloud.cluster()
    role = cloud.role("pods", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
    of = {"clusterName": "demo", "fargateProfileName": "system"}
    cloud.eks.create_fargate_profile(**of, podExecutionRoleArn=role, subnets=cloud.subnets, selectors=[selector])
    cloud.until(lambda: cloud.eks.describe_fargate_profile(**of)["fargateProfile"]["status"] == "ACTIVE")
    asked = {"configurationValues": configuration} if configuration else {}
    cloud.eks.create_addon(clusterName="demo", addonName="coredns", **asked)
    cloud.until(lambda: cloud.addon_status("coredns") == status)


def test_versions_have_to_fit_the_cluster(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    with refused("InvalidParameterException", "Addon version specified is not supported"):
        cloud.eks.create_addon(clusterName="demo", addonName="coredns", addonVersion="v1.11.1-eksbuild.27")
    with refused("InvalidParameterException", "is not supported in 1.34 kubernetes version"):
        cloud.eks.create_addon(clusterName="demo", addonName="nonsense")


def test_configuration_has_to_fit_the_schema(cloud: Cloud) -> None:
    cloud.cluster()
    for bad in ('{"env": {"A": 1}}', '{"nonsense": true}', "{"):
        with refused("InvalidParameterException", "ConfigurationValue provided in request is not supported"):
            cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", configurationValues=bad)
    good = '{"env": {"ENABLE_PREFIX_DELEGATION": "true"}}'
    made = cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", configurationValues=good)["addon"]
    assert made["configurationValues"] == good


def test_an_addon_is_updated_then_deleted(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    cloud.eks.create_addon(clusterName="demo", addonName="kube-proxy")
    with refused("ResourceInUseException", "CREATING"):
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


def test_an_update_that_conflicts_fails(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    issue = {"code": "ConfigurationConflict", "message": "Conflicts found when trying to apply"}
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateAddon"}, "then": {"health_issue": issue}})
    update = cloud.eks.update_addon(clusterName="demo", addonName="vpc-cni", configurationValues="{}")
    assert cloud.update_done(update, addonName="vpc-cni")["errors"][0]["errorCode"] == "ConfigurationConflict"
    assert cloud.addon_status("vpc-cni") == "UPDATE_FAILED"


def test_a_fault_fails_the_creation(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    server.post("faults", {"match": {"account": cloud.account, "action": "CreateAddon"}, "then": {"fail": "no"}})
    cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "CREATE_FAILED")


def test_tokens_names_and_states(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    with refused("InvalidRequestException", "is not in ACTIVE status"):
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.status() == "ACTIVE")
    first = cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", clientRequestToken="t")["addon"]
    assert cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni", clientRequestToken="t")["addon"]["addonArn"] == first["addonArn"]
    with refused("ResourceInUseException", "Addon already exists.") as error:
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    assert (error.body["clusterName"], error.body["addonName"]) == ("demo", "vpc-cni")
    with refused("ResourceNotFoundException", "No addon: coredns found in cluster: demo"):
        cloud.eks.describe_addon(clusterName="demo", addonName="coredns")
    assert cloud.eks.list_addons(clusterName="demo")["addons"] == ["vpc-cni"]


def test_pod_identities_of_an_addon_belong_to_it(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.role("cni", "pods.eks.amazonaws.com", "AmazonEKS_CNI_Policy")
    made = cloud.eks.create_addon(
        clusterName="demo", addonName="vpc-cni", podIdentityAssociations=[{"serviceAccount": "aws-node", "roleArn": role}]
    )["addon"]
    (association,) = cloud.eks.list_pod_identity_associations(clusterName="demo")["associations"]
    assert made["podIdentityAssociations"] == [association["associationArn"]] and association["ownerArn"] == made["addonArn"]
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    cloud.eks.delete_addon(clusterName="demo", addonName="vpc-cni")
    cloud.gone(cloud.eks.describe_addon, clusterName="demo", addonName="vpc-cni")
    assert cloud.eks.list_pod_identity_associations(clusterName="demo")["associations"] == []
