"""Tags with the prefix `aws:` are reserved: only AWS can set them, so they prove who created a resource."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, expect_error

KEY = "aws:eks:cluster-name"


def specification(kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": KEY, "Value": "demo"}]}]


@pytest.mark.parametrize("kind", ["security-group", "network-interface", "vpc", "elastic-ip"])
def test_resources_cannot_be_created_with_reserved_tags(cloud: Cloud, kind: str) -> None:
    vpc, (subnet,) = cloud.vpc("a")
    make = {
        "security-group": lambda **tags: cloud.ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc, **tags),
        "network-interface": lambda **tags: cloud.ec2.create_network_interface(SubnetId=subnet, **tags),
        "vpc": lambda **tags: cloud.ec2.create_vpc(CidrBlock="10.7.0.0/16", **tags),
        "elastic-ip": lambda **tags: cloud.ec2.allocate_address(Domain="vpc", **tags),
    }[kind]
    with expect_error("InvalidParameterValue", "reserved for internal use"):
        make(TagSpecifications=specification(kind))


def test_reserved_tags_cannot_be_added_or_removed(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    group = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
    vpc, _ = cloud.vpc("", "10.7.0.0/16")
    with expect_error("InvalidParameterValue", "reserved for internal use"):
        cloud.ec2.create_tags(Resources=[vpc], Tags=[{"Key": KEY, "Value": "demo"}])
    with expect_error("InvalidParameterValue", "reserved for internal use"):
        cloud.ec2.delete_tags(Resources=[group], Tags=[{"Key": KEY}])
    (found,) = cloud.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert {"Key": KEY, "Value": "demo"} in found["Tags"]
