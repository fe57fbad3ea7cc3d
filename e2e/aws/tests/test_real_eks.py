"""What EKS and IAM refuse or do that people run into: failed add-ons, own images, ends of AMI types, insights, tags."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, Server, expect_error

TRUST = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
)


def target(cloud: Cloud, **more: Any) -> dict[str, Any]:
    return {"account": cloud.account, "region": cloud.region, "cluster": "demo", **more}


def conflicting(cloud: Cloud, server: Server, mode: str) -> None:
    """coredns is created where others have changed the self-managed one."""
    cloud.cluster()
    cloud.nodegroup()
    server.post("conflicts", target(cloud, addon="coredns"))
    cloud.eks.create_addon(clusterName="demo", addonName="coredns", resolveConflicts=mode)


@pytest.mark.parametrize("mode", ["NONE", "PRESERVE"])
def test_addon_that_conflicts_is_deleted_and_recreated_with_overwrite(cloud: Cloud, server: Server, mode: str) -> None:
    conflicting(cloud, server, mode)
    cloud.until(lambda: cloud.addon_status("coredns") == "CREATE_FAILED")
    (issue,) = cloud.eks.describe_addon(clusterName="demo", addonName="coredns")["addon"]["health"]["issues"]
    assert issue["code"] == "ConfigurationConflict" and "ConfigMap coredns" in issue["message"]
    with expect_error("InvalidRequestException", "cannot be updated as it is currently in CREATE_FAILED state"):
        cloud.eks.update_addon(clusterName="demo", addonName="coredns", resolveConflicts="OVERWRITE")
    # The objects of others stay, and conflict again.
    cloud.eks.delete_addon(clusterName="demo", addonName="coredns", preserve=True)
    cloud.gone(cloud.eks.describe_addon, clusterName="demo", addonName="coredns")
    cloud.eks.create_addon(clusterName="demo", addonName="coredns", resolveConflicts="NONE")
    cloud.until(lambda: cloud.addon_status("coredns") == "CREATE_FAILED")
    cloud.eks.delete_addon(clusterName="demo", addonName="coredns", preserve=True)
    cloud.gone(cloud.eks.describe_addon, clusterName="demo", addonName="coredns")
    cloud.eks.create_addon(clusterName="demo", addonName="coredns", resolveConflicts="OVERWRITE")
    cloud.until(lambda: cloud.addon_status("coredns") == "ACTIVE")


def test_update_that_conflicts_fails_unless_it_overwrites_or_preserves(cloud: Cloud, server: Server) -> None:
    conflicting(cloud, server, "OVERWRITE")
    cloud.until(lambda: cloud.addon_status("coredns") == "ACTIVE")
    server.post("conflicts", target(cloud, addon="coredns"))
    for mode, status in (("NONE", "Failed"), ("PRESERVE", "Successful"), ("OVERWRITE", "Successful"), ("NONE", "Successful")):
        update = cloud.eks.update_addon(clusterName="demo", addonName="coredns", configurationValues='{"replicaCount": 2}', resolveConflicts=mode)
        done = cloud.update_done(update, addonName="coredns")
        assert done["status"] == status and [e["errorCode"] for e in done["errors"]] == ["ConfigurationConflict"] * (status == "Failed")


def own_image(cloud: Cloud) -> dict[str, str]:
    data = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large"}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=data)["LaunchTemplate"]
    return {"id": template["LaunchTemplateId"], "version": "1"}


def test_own_image_takes_no_version_and_may_have_none(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    template, role = own_image(cloud), cloud.node_role()
    for field, value in (("version", "1.34"), ("releaseVersion", "1.34.4-20261106")):
        with expect_error("InvalidParameterException", "version to use when specifying an image id"):
            cloud.nodegroup(launchTemplate=template, nodeRole=role, **{field: value})
    assert cloud.nodegroup(launchTemplate=template, nodeRole=role)["version"]
    server.post("settings", {"CUSTOM_AMI_VERSION": "hidden"})
    try:
        assert "version" not in cloud.eks.describe_nodegroup(clusterName="demo", nodegroupName="nodes")["nodegroup"]
    finally:
        server.post("settings", {"CUSTOM_AMI_VERSION": ""})


def test_amazon_linux_2_ends_with_1_32(cloud: Cloud) -> None:
    ended = "is only supported for kubernetes versions 1.32 or earlier"
    cloud.cluster(version="1.32")
    role = cloud.node_role()
    cloud.nodegroup(amiType="AL2_x86_64", nodeRole=role)
    update = cloud.eks.update_cluster_version(name="demo", version="1.33")
    cloud.update_done(update)
    with expect_error("InvalidParameterException", f"AMI Type AL2_x86_64 {ended}"):
        cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", version="1.33")
    with expect_error("InvalidParameterException", f"AMI Type AL2_ARM_64 {ended}"):
        cloud.nodegroup(name="more", amiType="AL2_ARM_64", instanceTypes=["m7g.large"], nodeRole=role)


def insight(cloud: Cloud) -> dict[str, Any]:
    (found,) = [i for i in cloud.eks.list_insights(clusterName="demo")["insights"] if i["name"] == "APIs"]
    return dict(found)


def test_fixed_insight_shows_only_after_a_refresh(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.33")
    server.post("insights", target(cloud, insights=[{"name": "APIs", "insightStatus": {"status": "ERROR", "reason": "old"}}]))
    fixed = {"name": "APIs", "insightStatus": {"status": "PASSING", "reason": ""}, "atRefresh": True}
    server.post("insights", target(cloud, insights=[fixed]))
    before = insight(cloud)
    assert before["insightStatus"]["status"] == "ERROR"
    with expect_error("InvalidStateException", "APIs"):
        cloud.eks.update_cluster_version(name="demo", version="1.34")
    assert cloud.eks.start_insights_refresh(clusterName="demo")["status"] == "IN_PROGRESS"
    cloud.until(lambda: cloud.eks.describe_insights_refresh(clusterName="demo")["status"] == "COMPLETED")
    after = insight(cloud)
    assert after["insightStatus"]["status"] == "PASSING" and after["lastRefreshTime"] >= before["lastRefreshTime"]


def test_nodes_of_others_run_addons_too(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    server.post("nodes", target(cloud, others=1))
    cloud.eks.create_addon(clusterName="demo", addonName="coredns")
    cloud.until(lambda: cloud.addon_status("coredns") == "ACTIVE")


def role_tags(cloud: Cloud) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in cloud.iam.list_role_tags(RoleName="tagged")["Tags"]}


def test_tag_keys_of_iam_ignore_case(cloud: Cloud) -> None:
    twice = [{"Key": "Name", "Value": "a"}, {"Key": "name", "Value": "b"}]
    cloud.role("tagged", "ec2.amazonaws.com")
    with expect_error("InvalidInput", "Duplicate tag keys found"):
        cloud.iam.tag_role(RoleName="tagged", Tags=twice)
    with expect_error("InvalidInput", "Duplicate tag keys found"):
        cloud.iam.create_role(RoleName="other", AssumeRolePolicyDocument=TRUST, Tags=twice)
    cloud.iam.tag_role(RoleName="tagged", Tags=[{"Key": "Team", "Value": "a"}])
    cloud.iam.tag_role(RoleName="tagged", Tags=[{"Key": "team", "Value": "b"}])
    assert role_tags(cloud) == {"team": "b"}
    cloud.iam.untag_role(RoleName="tagged", TagKeys=["TEAM"])
    assert role_tags(cloud) == {}




def test_iam_and_eks_refuse_tags_that_ec2_takes(cloud: Cloud) -> None:
    vpc, _ = cloud.vpc("")
    odd = [{"Key": "what?", "Value": "(a)"}]
    cloud.ec2.create_tags(Resources=[vpc], Tags=odd)
    cloud.role("tagged", "ec2.amazonaws.com")
    with expect_error("ValidationError"):
        cloud.iam.tag_role(RoleName="tagged", Tags=odd)
    with expect_error("LimitExceeded"):
        for start in (0, 30):
            cloud.iam.tag_role(RoleName="tagged", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(start, start + 30)])
    arn = cloud.cluster()["arn"]
    with expect_error("BadRequestException", "exceeds the limit"):
        for start in (0, 30):
            cloud.eks.tag_resource(resourceArn=arn, tags={f"k{n}": "" for n in range(start, start + 30)})
    with expect_error("BadRequestException", "reserved prefix"):
        cloud.eks.tag_resource(resourceArn=arn, tags={"AWS:x": ""})


def test_tags_that_a_policy_demands_come_from_the_launch_template(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    role = cloud.node_role()
    tags = [{"Key": "cost-center", "Value": "4711"}]
    kinds = ("instance", "volume")
    data = {"TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds]}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="tags", LaunchTemplateData=data)["LaunchTemplate"]
    server.post("settings", {"REQUIRED_TAGS": "cost-center"})
    try:
        failed = cloud.nodegroup(name="plain", nodeRole=role, tags={"cost-center": "4711"})
        (issue,) = failed["health"]["issues"]
        assert failed["status"] == "CREATE_FAILED" and issue["code"] == "AsgInstanceLaunchFailures"
        assert "with an explicit deny in a service control policy" in issue["message"]
        made = cloud.nodegroup(nodeRole=role, launchTemplate={"id": template["LaunchTemplateId"], "version": "1"})
        assert made["status"] == "ACTIVE"
    finally:
        server.post("settings", {"REQUIRED_TAGS": ""})
    reservations = cloud.ec2.describe_instances()["Reservations"]
    instances = [i for r in reservations for i in r["Instances"] if i["State"]["Name"] == "running"]
    assert instances and all({"Key": "cost-center", "Value": "4711"} in i["Tags"] for i in instances)
