"""Publishing AMI releases, add-on versions and support dates at run time, in one account or in all."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from conftest import Cloud, Server, expect_error

NEWER = "1.34.5-20261201"
PATH = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended"


def parameter(cloud: Cloud, what: str) -> str:
    return str(cloud.client("ssm").get_parameter(Name=f"{PATH}/{what}")["Parameter"]["Value"])


def test_published_ami_release_is_in_ssm_and_accepted_by_node_groups(cloud: Cloud, other_account: Cloud, server: Server) -> None:
    cloud.cluster(version="1.34")
    before = cloud.nodegroup()["releaseVersion"]
    image = parameter(cloud, "image_id")
    server.post("releases", {"account": cloud.account, "version": "1.34", "amiRelease": NEWER})
    assert parameter(cloud, "release_version") == NEWER and parameter(cloud, "image_id") != image
    assert parameter(other_account, "release_version") == before and parameter(other_account, "image_id") == image
    found = cloud.ec2.describe_images(ImageIds=[parameter(cloud, "image_id")])["Images"]
    assert found[0]["Name"].endswith("-1.34-v20261201")
    update = cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes")
    assert {"type": "ReleaseVersion", "value": NEWER} in update["update"]["params"]
    cloud.update_done(update, nodegroupName="nodes")
    assert cloud.describe_nodegroup()["releaseVersion"] == NEWER
    assert {node["kubelet"] for node in cloud.nodes()} == {"v1.34.5-eks-ecaa3a6"}
    running = [i for r in cloud.ec2.describe_instances()["Reservations"] for i in r["Instances"] if i["State"]["Name"] == "running"]
    assert {i["ImageId"] for i in running} == {parameter(cloud, "image_id")}
    with expect_error("InvalidParameterException", f"cannot be lowered from {NEWER} to {before}"):
        cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", releaseVersion=before)


def test_refused_release_is_in_ssm_but_rejected_by_eks(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.34")
    before = cloud.nodegroup()["releaseVersion"]
    published = {"account": cloud.account, "version": "1.34", "amiRelease": NEWER}
    server.post("releases", {**published, "refused": True})
    assert parameter(cloud, "release_version") == NEWER
    who = {"clusterName": "demo", "nodegroupName": "nodes"}
    with expect_error("InvalidParameterException", f"Requested release version {NEWER} is not valid for kubernetes version 1.34."):
        cloud.eks.update_nodegroup_version(**who, releaseVersion=NEWER)
    with expect_error("InvalidParameterException", "already at the desired configuration"):
        cloud.eks.update_nodegroup_version(**who)
    assert cloud.nodegroup("others", nodeRole=cloud.describe_nodegroup()["nodeRole"])["releaseVersion"] == before
    server.post("releases", published)
    update = cloud.eks.update_nodegroup_version(**who, releaseVersion=NEWER)
    assert {"type": "ReleaseVersion", "value": NEWER} in update["update"]["params"]


def test_custom_ami_rejects_a_version(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    data = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large"}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]
    cloud.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
    assert cloud.nodegroup(launchTemplate={"id": template, "version": "1"})["amiType"] == "CUSTOM"
    who = {"clusterName": "demo", "nodegroupName": "nodes"}
    newer = {"id": template, "version": "2"}
    with expect_error("InvalidParameterException", "You cannot specify the field kubernetesVersion when using custom AMIs."):
        cloud.eks.update_nodegroup_version(**who, launchTemplate=newer, version="1.34")
    with expect_error("InvalidParameterException", "releaseVersion when using custom AMIs"):
        cloud.eks.update_nodegroup_version(**who, launchTemplate=newer, releaseVersion=NEWER)
    with expect_error("InvalidParameterException", "Launch template details can't be null"):
        cloud.eks.update_nodegroup_version(**who)
    cloud.eks.update_nodegroup_version(**who, launchTemplate=newer)


def offered(cloud: Cloud, minor: str) -> dict[str, bool]:
    (info,) = cloud.eks.describe_addon_versions(kubernetesVersion=minor, addonName="coredns")["addons"]
    return {v["addonVersion"]: v["compatibilities"][0]["defaultVersion"] for v in info["addonVersions"]}


def test_published_default_addon_version(cloud: Cloud, other_account: Cloud, server: Server) -> None:
    before = offered(cloud, "1.34")
    newer = "v1.14.0-eksbuild.1"
    parameters = {"account": cloud.account, "addon": "coredns", "addonVersion": newer, "kubernetesVersions": ["1.34", "1.35"]}
    server.post("releases", parameters)
    assert offered(cloud, "1.34") == {newer: False, **before}
    server.post("releases", {**parameters, "addonVersion": "v1.14.1-eksbuild.1", "default": True})
    assert [v for v, default in offered(cloud, "1.34").items() if default] == ["v1.14.1-eksbuild.1"]
    assert newer not in offered(cloud, "1.33") and offered(other_account, "1.34") == before
    cloud.cluster(version="1.34")
    assert cloud.eks.create_addon(clusterName="demo", addonName="coredns")["addon"]["addonVersion"] == "v1.14.1-eksbuild.1"


def support(cloud: Cloud, version: str) -> tuple[str, str, str]:
    (found,) = cloud.eks.describe_cluster_versions(clusterVersions=[version])["clusterVersions"]
    dates = (found["endOfStandardSupportDate"], found["endOfExtendedSupportDate"])
    return str(dates[0].date()), str(dates[1].date()), found["versionStatus"]


def test_support_dates(cloud: Cloud, other_account: Cloud, server: Server) -> None:
    standard, extended, state = support(cloud, "1.34")
    server.post("releases", {"account": cloud.account, "version": "1.34", "endOfStandardSupportDate": "2031-01-31"})
    assert support(cloud, "1.34") == ("2031-01-31", extended, state)
    server.post("releases", {"account": cloud.account, "version": "1.34", "endOfExtendedSupportDate": "2032-01-31", "versionStatus": "EXTENDED_SUPPORT"})
    assert support(cloud, "1.34") == ("2031-01-31", "2032-01-31", "EXTENDED_SUPPORT")
    assert support(other_account, "1.34") == (standard, extended, state)


WRONG: tuple[dict[str, Any], ...] = (
    {"version": "1.99", "amiRelease": "1.99.0-20270101"},
    {"version": "1.34", "amiRelease": "1.33.0-20270101"},
    {"version": "1.34"},
    {"version": "1.34", "endOfStandardSupportDate": "soon"},
    {"addon": "nonsense", "addonVersion": "v1", "kubernetesVersions": ["1.34"]},
)


@pytest.mark.parametrize("posted", WRONG)
def test_invalid_publications_are_rejected(server: Server, posted: dict[str, Any]) -> None:
    assert requests.post(f"{server.url}/_keelson/releases", json=posted, timeout=5).status_code == 400
