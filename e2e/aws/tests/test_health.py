"""Health issues of resources that exist, and creations and deletions that fail, with AWS's codes."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, expect_error

KEY = "arn:aws:kms:eu-west-1:111122223333:key/1"


def post(cloud: Cloud, *codes: str, **more: Any) -> None:
    issues = [{"code": code, "message": f"{code} it is", "resourceIds": [KEY]} for code in codes]
    cloud.server.post("issues", {"account": cloud.account, "region": cloud.region, "cluster": "demo", "issues": issues, **more})


def fault(cloud: Cloud, action: str, code: str) -> None:
    then = {"health_issue": {"code": code, "message": "why"}}
    cloud.server.post("faults", {"match": {"account": cloud.account, "action": action, "times": 1}, "then": then})


def test_cluster_with_health_issues_stays_active(cloud: Cloud) -> None:
    cloud.cluster()
    post(cloud, "KmsKeyDisabled", "Ec2SubnetNotFound")
    found = cloud.describe()
    assert found["status"] == "ACTIVE"
    assert [issue["code"] for issue in found["health"]["issues"]] == ["KmsKeyDisabled", "Ec2SubnetNotFound"]
    assert found["health"]["issues"][0]["resourceIds"] == [KEY]
    post(cloud)
    assert cloud.describe()["health"]["issues"] == []


def test_node_group_and_addon_become_degraded_and_healthy_again(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    cloud.eks.create_addon(clusterName="demo", addonName="kube-proxy")
    cloud.until(lambda: cloud.addon_status("kube-proxy") == "ACTIVE")
    post(cloud, "AsgInstanceLaunchFailures", nodegroup="nodes")
    post(cloud, "AddonPermissionFailure", addon="kube-proxy")
    assert cloud.describe_nodegroup()["status"] == "DEGRADED" and cloud.addon_status("kube-proxy") == "DEGRADED"
    post(cloud, nodegroup="nodes")
    post(cloud, addon="kube-proxy")
    assert cloud.describe_nodegroup()["status"] == "ACTIVE" and cloud.addon_status("kube-proxy") == "ACTIVE"


def test_only_codes_of_the_model_are_accepted(cloud: Cloud) -> None:
    cloud.cluster()
    with pytest.raises(AssertionError, match="EKS has no issue IamThrottling here"):
        post(cloud, "IamThrottling")


def test_addon_deletion_can_fail_and_be_retried(cloud: Cloud) -> None:
    cloud.cluster()
    addon = {"clusterName": "demo", "addonName": "kube-proxy"}
    cloud.eks.create_addon(**addon)
    cloud.until(lambda: cloud.addon_status("kube-proxy") == "ACTIVE")
    fault(cloud, "DeleteAddon", "AccessDenied")
    cloud.eks.delete_addon(**addon)
    cloud.until(lambda: cloud.addon_status("kube-proxy") == "DELETE_FAILED")
    assert cloud.eks.describe_addon(**addon)["addon"]["health"]["issues"][0]["code"] == "AccessDenied"
    cloud.eks.delete_addon(**addon)
    cloud.gone(cloud.eks.describe_addon, **addon)


def test_fargate_profile_fails_to_be_created_and_deleted_with_its_issue(cloud: Cloud) -> None:
    cloud.cluster()
    profile = {"clusterName": "demo", "fargateProfileName": "batch"}
    role = cloud.role("pods", "eks-fargate-pods.amazonaws.com")

    def status() -> str:
        return str(cloud.eks.describe_fargate_profile(**profile)["fargateProfile"]["status"])

    fault(cloud, "CreateFargateProfile", "PodExecutionRoleAlreadyInUse")
    cloud.eks.create_fargate_profile(**profile, podExecutionRoleArn=role, subnets=cloud.subnets, selectors=[{"namespace": "batch"}])
    cloud.until(lambda: status() == "CREATE_FAILED")
    fault(cloud, "DeleteFargateProfile", "ClusterUnreachable")
    cloud.eks.delete_fargate_profile(**profile)
    cloud.until(lambda: status() == "DELETE_FAILED")
    issue = cloud.eks.describe_fargate_profile(**profile)["fargateProfile"]["health"]["issues"][0]
    assert issue["code"] == "ClusterUnreachable"
    cloud.eks.delete_fargate_profile(**profile)
    cloud.gone(cloud.eks.describe_fargate_profile, **profile)


def test_cluster_and_node_group_deletions_fail_with_a_given_issue(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    fault(cloud, "DeleteNodegroup", "NodeTerminationFailure")
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.until(lambda: cloud.describe_nodegroup()["status"] == "DELETE_FAILED")
    assert cloud.describe_nodegroup()["health"]["issues"][0]["code"] == "NodeTerminationFailure"
    with expect_error("ResourceInUseException"):
        cloud.eks.delete_cluster(name="demo")
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")
    fault(cloud, "DeleteCluster", "AccessDenied")
    cloud.eks.delete_cluster(name="demo")
    cloud.until(lambda: cloud.status() == "FAILED")
    assert cloud.describe()["health"]["issues"][0]["code"] == "AccessDenied"
