"""Tags of Auto Scaling groups: what EKS sets, what AWS refuses, pages, and stale reads."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from conftest import Cloud, expect_error

OF_EKS = {
    "eks:cluster-name": "demo",
    "eks:nodegroup-name": "nodes",
    "k8s.io/cluster-autoscaler/enabled": "true",
    "k8s.io/cluster-autoscaler/demo": "owned",
    "kubernetes.io/cluster/demo": "owned",
}


class Group:
    """The Auto Scaling group of a node group."""

    def __init__(self, cloud: Cloud) -> None:
        cloud.cluster()
        self.client = cloud.client("autoscaling")
        self.name = cloud.nodegroup()["resources"]["autoScalingGroups"][0]["name"]

    def tag(self, key: str, value: str | None = "x", **members: Any) -> dict[str, Any]:
        of = {"ResourceId": self.name, "ResourceType": "auto-scaling-group", "Key": key, **({} if value is None else {"Value": value})}
        return {**of, **members}

    def write(self, *tags: dict[str, Any]) -> None:
        self.client.create_or_update_tags(Tags=list(tags))

    def tags(self) -> dict[str, str]:
        (group,) = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return {tag["Key"]: tag["Value"] for tag in group["Tags"]}


@pytest.fixture
def group(cloud: Cloud) -> Group:
    return Group(cloud)


def test_group_of_a_node_group_has_the_tags_of_eks_and_not_those_of_the_node_group(cloud: Cloud) -> None:
    cloud.cluster()
    name = cloud.nodegroup(tags={"team": "shop"})["resources"]["autoScalingGroups"][0]["name"]
    (found,) = cloud.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == OF_EKS


def test_tags_are_set_overwritten_and_deleted(group: Group) -> None:
    group.write(group.tag("a", "1", PropagateAtLaunch=True), group.tag("b", None))
    group.write(group.tag("a", "2", PropagateAtLaunch=False))
    assert group.tags() == {**OF_EKS, "a": "2", "b": ""}
    described = group.client.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [group.name]}, {"Name": "key", "Values": ["a"]}])["Tags"]
    assert [(tag["Key"], tag["Value"], tag["PropagateAtLaunch"]) for tag in described] == [("a", "2", False)]
    # One that does not exist is no error.
    group.client.delete_tags(Tags=[group.tag("a", None), group.tag("never", None)])
    assert group.tags() == {**OF_EKS, "b": ""}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"Key": "k" * 129}, "less than or equal to 128"),
        ({"Key": "a", "Value": "v" * 257}, "less than or equal to 256"),
        ({"Key": "AWS:a"}, "reserved for AWS"),
        ({"Key": "a", "ResourceType": "instance"}, "the only supported value is auto-scaling-group"),
        ({"Key": "a", "ResourceId": "eks-other"}, "AutoScalingGroup 'eks-other' not found"),
    ],
)
def test_tag_that_aws_refuses(group: Group, members: dict[str, Any], text: str) -> None:
    with expect_error("ValidationError", text):
        group.write(group.tag("good"), {**group.tag("bad"), **members})
    assert group.tags() == OF_EKS, "nothing is written"


def test_group_has_at_most_fifty_tags_of_which_eks_sets_five(group: Group) -> None:
    for start in (0, 20):
        group.write(*(group.tag(f"k{number}") for number in range(start, start + 20)))
    group.write(*(group.tag(f"k{number}") for number in range(40, 45)))
    with expect_error("LimitExceeded", "50 tags"):
        group.write(group.tag("one-more"))
    group.write(group.tag("k0", "changed"))
    assert len(group.tags()) == 50 and group.tags()["k0"] == "changed"


def test_call_takes_25_tags_and_each_key_once(group: Group) -> None:
    with expect_error("ValidationError", "more than 25 tags"):
        group.write(*(group.tag(f"k{number}") for number in range(26)))
    with expect_error("ValidationError", "Duplicate tag key a"):
        group.write(group.tag("a"), group.tag("a", "y"))


def test_groups_and_tags_come_in_pages(cloud: Cloud, group: Group) -> None:
    second = cloud.nodegroup("more", nodeRole=cloud.describe_nodegroup()["nodeRole"])["resources"]["autoScalingGroups"][0]["name"]
    pages = list(group.client.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 1}))
    assert [one["AutoScalingGroupName"] for page in pages for one in page["AutoScalingGroups"]] == [group.name, second]
    pages = list(group.client.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 4}))
    assert [len(page["Tags"]) for page in pages] == [4, 4, 2]
    for call in (group.client.describe_tags, group.client.describe_auto_scaling_groups):
        with expect_error("InvalidNextToken", "is invalid"):
            call(NextToken="nonsense")
        with pytest.raises(ClientError, match="maxRecords"):
            call(MaxRecords=101)


def test_stale_read_shows_earlier_tags(cloud: Cloud, group: Group) -> None:
    group.write(group.tag("a", "1"))
    cloud.server.post("faults", {"match": {"service": "autoscaling", "write": False, "account": cloud.account}, "then": {"stale": 30}})
    group.write(group.tag("a", "2"))
    assert group.tags() == OF_EKS
    cloud.server.delete("faults")
    assert group.tags() == {**OF_EKS, "a": "2"}


def test_group_that_is_gone_is_not_described(cloud: Cloud, group: Group) -> None:
    found = group.client.describe_auto_scaling_groups(AutoScalingGroupNames=[group.name, "eks-never"])["AutoScalingGroups"]
    assert [one["AutoScalingGroupName"] for one in found] == [group.name]
