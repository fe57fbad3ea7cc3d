"""The Resource Groups Tagging API, and EC2's names of the kinds of tagged resources."""

from __future__ import annotations

from conftest import Cloud, expect_error

TAG = [{"Key": "keelson.dev/owner", "Value": "u1"}]


def test_resources_of_all_services_are_found_by_tag(cloud: Cloud) -> None:
    vpc_id, subnets = cloud.vpc()
    cloud.ec2.create_tags(Resources=[vpc_id, subnets[0]], Tags=TAG)
    cloud.ec2.create_tags(Resources=[subnets[1]], Tags=[{"Key": "keelson.dev/owner", "Value": "u2"}])
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/aws/eks/a/cluster", tags={"keelson.dev/owner": "u1"})
    tagging = cloud.client("resourcegroupstaggingapi")
    found = tagging.get_resources(TagFilters=[{"Key": "keelson.dev/owner", "Values": ["u1"]}])["ResourceTagMappingList"]
    where = f"{cloud.region}:{cloud.account}"
    expected = [f"arn:aws:ec2:{where}:subnet/{subnets[0]}", f"arn:aws:ec2:{where}:vpc/{vpc_id}", f"arn:aws:logs:{where}:log-group:/aws/eks/a/cluster"]
    assert [entry["ResourceARN"].removesuffix(":*") for entry in found] == expected
    assert all({"Key": "keelson.dev/owner", "Value": "u1"} in entry["Tags"] for entry in found)
    of_kind = tagging.get_resources(TagFilters=[{"Key": "keelson.dev/owner"}], ResourceTypeFilters=["ec2:subnet"])
    assert len(of_kind["ResourceTagMappingList"]) == 2


def test_tagged_resources_are_listed_in_pages(cloud: Cloud) -> None:
    for _ in range(3):
        cloud.ec2.create_internet_gateway(TagSpecifications=[{"ResourceType": "internet-gateway", "Tags": TAG}])
    tagging = cloud.client("resourcegroupstaggingapi")
    pages = list(tagging.get_paginator("get_resources").paginate(ResourcesPerPage=2))
    assert [len(page["ResourceTagMappingList"]) for page in pages] == [2, 1]
    with expect_error("InvalidParameterException", "ResourcesPerPage"):
        tagging.get_resources(ResourcesPerPage=101)


def test_kinds_of_tagged_resources_have_the_names_of_ec2(cloud: Cloud) -> None:
    address = cloud.ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": TAG}])["AllocationId"]
    by_kind = [{"Name": "resource-type", "Values": ["elastic-ip"]}]
    assert [tag["ResourceId"] for tag in cloud.ec2.describe_tags(Filters=by_kind)["Tags"]] == [address]


def test_tags_of_an_unknown_log_group_are_not_found(cloud: Cloud) -> None:
    arn = f"arn:aws:logs:{cloud.region}:{cloud.account}:log-group:missing"
    with expect_error("ResourceNotFoundException"):
        cloud.client("logs").list_tags_for_resource(resourceArn=arn)
