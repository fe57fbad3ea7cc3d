"""The log group of a control plane, and the calls of CloudWatch Logs that its owner needs."""

from __future__ import annotations

from typing import Any

from conftest import Cloud, expect_error

GROUP = "/aws/eks/demo/cluster"


def groups(cloud: Cloud, name: str = GROUP) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return found


def logging(enabled: bool) -> dict[str, Any]:
    return {"clusterLogging": [{"types": ["audit"], "enabled": enabled}]}


def test_log_group_exists_while_anything_is_logged_and_stays_when_its_cluster_is_deleted(cloud: Cloud) -> None:
    cloud.cluster()
    assert groups(cloud) == []
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", logging=logging(True)))
    (group,) = groups(cloud)
    assert group["logGroupName"] == GROUP and "retentionInDays" not in group and group["creationTime"] > 1.7e12
    cloud.client("logs").delete_log_group(logGroupName=GROUP)
    # The control plane writes on.
    cloud.until(lambda: groups(cloud))
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    assert groups(cloud)
    assert cloud.inventory()["eu-west-1"]["logGroups"] == [GROUP]
    cloud.client("logs").delete_log_group(logGroupName=GROUP)
    assert groups(cloud) == []


def test_log_group_of_a_cluster_that_logs_from_its_creation(cloud: Cloud) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName=GROUP, tags={"team": "shop"})
    cloud.cluster(logging=logging(True))
    (group,) = groups(cloud)
    assert logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"] == {"team": "shop"}
    with expect_error("ResourceAlreadyExistsException", "The specified log group already exists"):
        logs.create_log_group(logGroupName=GROUP)
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", logging=logging(False)))
    logs.delete_log_group(logGroupName=GROUP)
    with expect_error("ResourceNotFoundException", "The specified log group does not exist"):
        logs.delete_log_group(logGroupName=GROUP)


def test_retention_key_and_tags_of_a_log_group_can_be_changed(cloud: Cloud) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    (group,) = groups(cloud)
    arn = group["arn"].removesuffix(":*")
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=30)
    logs.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    key = f"arn:aws:kms:eu-west-1:{cloud.account}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    logs.associate_kms_key(logGroupName=GROUP, kmsKeyId=key)
    (group,) = groups(cloud)
    assert group["retentionInDays"] == 30 and group["kmsKeyId"] == key
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    logs.disassociate_kms_key(logGroupName=GROUP)
    logs.delete_retention_policy(logGroupName=GROUP)
    (group,) = groups(cloud)
    assert "retentionInDays" not in group and "kmsKeyId" not in group
    with expect_error("InvalidParameterException"):
        logs.put_retention_policy(logGroupName=GROUP, retentionInDays=31)
