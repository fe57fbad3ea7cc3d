"""Launch templates in EC2: names, client tokens, versions, filters, pages, deletion, and faults of their calls."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from conftest import Cloud, Server, expect_error

DATA = {"InstanceType": "m5.large"}


def create(cloud: Cloud, name: str = "mine", data: dict[str, Any] | None = None, **more: Any) -> str:
    created = cloud.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data or DATA, **more)["LaunchTemplate"]
    return str(created["LaunchTemplateId"])


def version(cloud: Cloud, template: str, data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = cloud.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data or DATA, **more)
    return dict(made["LaunchTemplateVersion"])


def versions(cloud: Cloud, template: str, **more: Any) -> list[int]:
    found = cloud.ec2.describe_launch_template_versions(LaunchTemplateId=template, **more)["LaunchTemplateVersions"]
    return [one["VersionNumber"] for one in found]


def test_created_template_is_described(cloud: Cloud) -> None:
    tags = [{"Key": "team", "Value": "a"}]
    answer = cloud.ec2.create_launch_template(
        LaunchTemplateName="mine", LaunchTemplateData=DATA, VersionDescription="first", TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}]
    )["LaunchTemplate"]
    assert (answer["DefaultVersionNumber"], answer["LatestVersionNumber"], answer["Tags"]) == (1, 1, tags)
    assert answer["CreatedBy"] == f"arn:aws:iam::{cloud.account}:user/administrator"
    (only,) = cloud.ec2.describe_launch_template_versions(LaunchTemplateName="mine")["LaunchTemplateVersions"]
    assert (only["VersionDescription"], only["DefaultVersion"], only["LaunchTemplateData"]) == ("first", True, DATA)


@pytest.mark.parametrize("name", ["ab", "a" * 129, "a b c", "äöü"])
def test_name_must_be_well_formed(cloud: Cloud, name: str) -> None:
    with expect_error("InvalidLaunchTemplateName.MalformedException"):
        create(cloud, name)


def test_name_is_unique_until_its_template_is_deleted(cloud: Cloud) -> None:
    first = create(cloud)
    with expect_error("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use"):
        create(cloud)
    cloud.ec2.delete_launch_template(LaunchTemplateName="mine")
    assert create(cloud) != first


def test_content_is_required_and_its_user_data_and_tags_are_checked(cloud: Cloud) -> None:
    text = base64.b64encode(b"x" * (16 * 1024 + 1)).decode()
    for data, code in (
        ({}, "MissingParameter"),
        ({"UserData": "?"}, "InvalidUserData.Malformed"),
        ({"UserData": text}, "InvalidParameterValue"),
        ({"TagSpecifications": [{"ResourceType": "launch-template", "Tags": [{"Key": "a", "Value": "b"}]}]}, "InvalidParameterValue"),
    ):
        with expect_error(code):
            cloud.ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData=data)
    with expect_error("InvalidParameterValue", "'instance' is not a valid taggable resource type"):
        create(cloud, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}])
    with expect_error("InvalidParameterValue", "reserved"):
        create(cloud, TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "aws:x", "Value": "b"}]}])


def test_specification_without_tags_sets_none(cloud: Cloud) -> None:
    template = create(cloud, data={**DATA, "TagSpecifications": [{"ResourceType": "volume"}]}, TagSpecifications=[{"ResourceType": "launch-template"}])
    (found,) = cloud.ec2.describe_launch_templates(LaunchTemplateIds=[template])["LaunchTemplates"]
    assert found.get("Tags", []) == []


def test_client_token_creates_one_template_and_one_version(cloud: Cloud) -> None:
    template = create(cloud, ClientToken="t")
    assert create(cloud, ClientToken="t") == template
    with expect_error("IdempotentParameterMismatch"):
        create(cloud, data={"InstanceType": "m5.xlarge"}, ClientToken="t")
    assert [version(cloud, template, ClientToken="v")["VersionNumber"] for _ in range(2)] == [2, 2]
    with expect_error("IdempotentParameterMismatch"):
        version(cloud, template, {"InstanceType": "m5.xlarge"}, ClientToken="v")
    assert versions(cloud, template) == [2, 1]
    # It answers with what the first call created, although that is deleted.
    cloud.ec2.delete_launch_template(LaunchTemplateId=template)
    assert create(cloud, ClientToken="t") == template
    assert cloud.ec2.describe_launch_templates()["LaunchTemplates"] == []


def test_version_inherits_from_its_source(cloud: Cloud) -> None:
    ebs = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 50}}]
    template = create(cloud, data={**DATA, "BlockDeviceMappings": ebs})
    inherited = version(cloud, template, {"InstanceType": "m5.xlarge"}, SourceVersion="1", VersionDescription="more")
    assert inherited["LaunchTemplateData"] == {"InstanceType": "m5.xlarge", "BlockDeviceMappings": ebs}
    assert (inherited["VersionDescription"], inherited["DefaultVersion"]) == ("more", False)
    assert version(cloud, template, {"InstanceType": "m5.xlarge"})["LaunchTemplateData"] == {"InstanceType": "m5.xlarge"}
    with expect_error("InvalidLaunchTemplateId.VersionNotFound"):
        version(cloud, template, SourceVersion="9")


def test_default_version_changes_only_on_request(cloud: Cloud) -> None:
    template = create(cloud)
    version(cloud, template)
    assert versions(cloud, template, Versions=["$Default"]) == [1] and versions(cloud, template, Versions=["$Latest"]) == [2]
    modified = cloud.ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2", ClientToken="m")["LaunchTemplate"]
    assert (modified["DefaultVersionNumber"], modified["LatestVersionNumber"]) == (2, 2)
    assert versions(cloud, template, Versions=["$Default"]) == [2]
    with expect_error("InvalidLaunchTemplateId.VersionNotFound"):
        cloud.ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="3")


def test_versions_are_deleted_except_the_default_one_and_failures_are_listed(cloud: Cloud) -> None:
    template = create(cloud)
    for _ in range(2):
        version(cloud, template)
    answer = cloud.ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["1", "3", "9"])
    deleted = [one["VersionNumber"] for one in answer["SuccessfullyDeletedLaunchTemplateVersions"]]
    failed = {one["VersionNumber"]: one["ResponseError"]["Code"] for one in answer["UnsuccessfullyDeletedLaunchTemplateVersions"]}
    assert deleted == [3] and failed == {1: "unexpectedError", 9: "launchTemplateVersionDoesNotExist"}
    assert versions(cloud, template) == [2, 1]
    # A number is not used again.
    assert version(cloud, template)["VersionNumber"] == 4
    with expect_error("InvalidLaunchTemplateId.VersionNotFound", "version 3"):
        versions(cloud, template, Versions=["3"])
    gone = cloud.ec2.delete_launch_template_versions(LaunchTemplateId="lt-0123456789abcdef0", Versions=["1"])
    assert [one["ResponseError"]["Code"] for one in gone["UnsuccessfullyDeletedLaunchTemplateVersions"]] == ["launchTemplateIdDoesNotExist"]
    with expect_error("InvalidParameterValue", "200"):
        cloud.ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=[str(n) for n in range(201)])


def test_missing_templates_have_a_code_for_ids_and_one_for_names(cloud: Cloud) -> None:
    for call, more in (
        (cloud.ec2.create_launch_template_version, {"LaunchTemplateData": DATA}),
        (cloud.ec2.describe_launch_template_versions, {}),
        (cloud.ec2.modify_launch_template, {"DefaultVersion": "1"}),
        (cloud.ec2.delete_launch_template, {}),
    ):
        with expect_error("InvalidLaunchTemplateId.NotFound", "does not exist"):
            call(LaunchTemplateId="lt-0123456789abcdef0", **more)
        with expect_error("InvalidLaunchTemplateName.NotFoundException", "does not exist"):
            call(LaunchTemplateName="none", **more)
        with expect_error("InvalidLaunchTemplateId.Malformed"):
            call(LaunchTemplateId="mine", **more)
        with expect_error("InvalidParameterCombination"):
            call(LaunchTemplateId="lt-0123456789abcdef0", LaunchTemplateName="none", **more)
    with expect_error("InvalidLaunchTemplateName.NotFoundException"):
        cloud.ec2.describe_launch_templates(LaunchTemplateNames=["none"])
    with expect_error("MissingParameter"):
        cloud.ec2.describe_launch_template_versions()
    with expect_error("InvalidParameterValue"):
        cloud.ec2.describe_launch_template_versions(Versions=["1"])


def test_templates_are_listed_in_pages_and_by_filters(cloud: Cloud) -> None:
    ids = [
        create(cloud, f"t-{n:02}", TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "n", "Value": str(n % 2)}]}]) for n in range(17)
    ]
    assert len(cloud.ec2.describe_launch_templates()["LaunchTemplates"]) == 17
    pages = list(cloud.ec2.get_paginator("describe_launch_templates").paginate(PaginationConfig={"PageSize": 7}))
    assert [len(page["LaunchTemplates"]) for page in pages] == [7, 7, 3]
    assert sorted(one["LaunchTemplateId"] for page in pages for one in page["LaunchTemplates"]) == sorted(ids)
    for name, values, count in (("tag:n", ["0"], 9), ("tag-key", ["n"], 17), ("launch-template-name", ["t-0*"], 10)):
        assert len(cloud.ec2.describe_launch_templates(Filters=[{"Name": name, "Values": values}])["LaunchTemplates"]) == count
    with expect_error("InvalidMaxResults"):
        cloud.ec2.describe_launch_templates(MaxResults=201)
    with expect_error("InvalidNextToken"):
        cloud.ec2.describe_launch_templates(NextToken="?")


def test_versions_are_listed_in_pages_ranges_and_by_filters(cloud: Cloud) -> None:
    template = create(cloud)
    for number in range(2, 8):
        version(cloud, template, {"InstanceType": "m5.xlarge", "ImageId": f"ami-0000000{number}"})
    pages = list(cloud.ec2.get_paginator("describe_launch_template_versions").paginate(LaunchTemplateId=template, PaginationConfig={"PageSize": 3}))
    assert [[one["VersionNumber"] for one in page["LaunchTemplateVersions"]] for page in pages] == [[7, 6, 5], [4, 3, 2], [1]]
    assert versions(cloud, template, MinVersion="3", MaxVersion="5") == [5, 4, 3]
    assert versions(cloud, template, Filters=[{"Name": "image-id", "Values": ["ami-00000004"]}]) == [4]
    assert versions(cloud, template, Filters=[{"Name": "is-default-version", "Values": ["true"]}]) == [1]
    with expect_error("InvalidParameterValue", "filter 'no'"):
        versions(cloud, template, Filters=[{"Name": "no", "Values": ["x"]}])
    create(cloud, "other")
    latest = cloud.ec2.describe_launch_template_versions(Versions=["$Latest"])["LaunchTemplateVersions"]
    assert {one["LaunchTemplateName"]: one["VersionNumber"] for one in latest} == {"mine": 7, "other": 1}


def test_deletion_by_name_deletes_the_tags(cloud: Cloud) -> None:
    template = create(cloud, TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "n", "Value": "1"}]}])
    assert cloud.ec2.delete_launch_template(LaunchTemplateName="mine")["LaunchTemplate"]["LaunchTemplateId"] == template
    assert cloud.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [template]}])["Tags"] == []


@pytest.mark.parametrize("action", ["CreateLaunchTemplate", "CreateLaunchTemplateVersion"])
def test_lost_answer_is_repeated_by_the_client_token(cloud: Cloud, server: Server, action: str) -> None:
    template = "" if action == "CreateLaunchTemplate" else create(cloud)
    server.post("faults", {"match": {"account": cloud.account, "action": action, "times": 1}, "then": {"drop": True}})

    def call() -> Any:
        return version(cloud, template, ClientToken="t")["VersionNumber"] if template else create(cloud, ClientToken="t")

    with pytest.raises(ConnectionClosedError):
        call()
    assert call() in (2, *(one["LaunchTemplateId"] for one in cloud.ec2.describe_launch_templates()["LaunchTemplates"]))
    assert len(versions(cloud, template)) == 2 if template else True


def test_stale_reads_hide_new_templates_and_new_versions(cloud: Cloud, server: Server) -> None:
    template = create(cloud)
    stale = {"match": {"account": cloud.account, "action": "DescribeLaunchTemplate*"}, "then": {"stale": 60}}
    server.post("faults", stale)
    assert cloud.ec2.describe_launch_templates()["LaunchTemplates"] == []
    with expect_error("InvalidLaunchTemplateId.NotFound"):
        cloud.ec2.describe_launch_templates(LaunchTemplateIds=[template])
    with expect_error("InvalidLaunchTemplateName.NotFoundException"):
        cloud.ec2.describe_launch_templates(LaunchTemplateNames=["mine"])
    with expect_error("InvalidLaunchTemplateName.NotFoundException"):
        cloud.ec2.describe_launch_template_versions(LaunchTemplateName="mine")
    server.delete("faults")
    server.post("faults", {**stale, "then": {"stale": 1.5}})
    cloud.until(lambda: cloud.ec2.describe_launch_templates()["LaunchTemplates"])
    version(cloud, template)
    assert versions(cloud, template) == [1]
    with expect_error("InvalidLaunchTemplateId.VersionNotFound"):
        versions(cloud, template, Versions=["2"])
    cloud.until(lambda: versions(cloud, template) == [2, 1])


def test_answer_has_what_was_sent_and_the_state_of_metadata_options(cloud: Cloud) -> None:
    template = create(cloud, data={"MetadataOptions": {"HttpTokens": "required"}, "CreditSpecification": {"CpuCredits": "standard"}})
    (only,) = cloud.ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
    expected = {"MetadataOptions": {"HttpTokens": "required", "State": "applied"}, "CreditSpecification": {"CpuCredits": "standard"}}
    assert only["LaunchTemplateData"] == expected


def test_fault_makes_ec2_store_other_values(cloud: Cloud, server: Server) -> None:
    stored = {"MetadataOptions": {"HttpEndpoint": "disabled"}, "EbsOptimized": True}
    server.post("faults", {"match": {"account": cloud.account, "action": "CreateLaunchTemplate*"}, "then": {"stored": stored}})
    template = create(cloud, data={**DATA, "MetadataOptions": {"HttpTokens": "required"}})
    assert version(cloud, template)["LaunchTemplateData"] == {**DATA, "MetadataOptions": {"HttpEndpoint": "disabled", "State": "applied"}, "EbsOptimized": True}
    (first, _) = cloud.ec2.describe_launch_template_versions(LaunchTemplateId=template, MaxVersion="2")["LaunchTemplateVersions"][::-1]
    assert first["LaunchTemplateData"]["MetadataOptions"] == {"HttpTokens": "required", "HttpEndpoint": "disabled", "State": "applied"}
