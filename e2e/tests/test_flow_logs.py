"""Flow logs of the cluster's VPC: created tagged, replaced in the right order, deleted when the spec no longer asks for them and with the
cluster; those of others are left alone."""

from __future__ import annotations

import pytest

from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.manifests import cluster, key_of
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

QUICK = Durations(1, 1, 1, 1, 0.3, 1)
SERVICE = {"Service": "vpc-flow-logs.amazonaws.com"}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=QUICK) as started:
        yield started


def bucket(account: Account, name: str) -> str:
    name = f"{name}-{account.id}"
    account.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": account.region})
    return f"arn:aws:s3:::{name}"


class Shop:
    def __init__(self, on: Environment):
        self.on, self.account = on, on.account(fresh_account())
        self.s3 = {"bucketArn": bucket(self.account, "logs"), "prefix": "vpc"}
        vpc = {"zoneCount": 2, "nat": "None", "flowLogs": {"s3": self.s3}}
        self.item = cluster("shop", addons=[], network={"vpc": vpc}, tags={"team": "a"})
        # What was removed is forgotten only after a later comparison.
        self.operator = on.start("--drift-interval=2s", account=self.account.id)
        on.apply(self.item)
        on.ready(self.item)

    def edit(self, flow_logs: dict | None) -> int:
        mark = self.on.mark()
        # A merge patch keeps what it does not name.
        others = dict.fromkeys(("s3", "cloudWatchLogs", "traffic", "aggregationSeconds", "format"))
        patch = {"network": {"vpc": {"flowLogs": flow_logs and {**others, **flow_logs}}}}
        self.on.api.patch(*key_of(self.item)[:3], {"spec": patch})
        self.on.await_in_sync(self.item)
        return mark

    def writes(self, mark: int) -> list[str]:
        return [action.split(" ")[0] for action in actions(self.on.writes(mark, self.account.id))]

    def logs(self) -> list[dict]:
        """The flow logs with our tag."""
        filters = [{"Name": "tag-key", "Values": [OWNER]}]
        return self.account.ec2.describe_flow_logs(Filters=filters)["FlowLogs"]

    def keys(self) -> list[str]:
        return [key for key in self.account.resources() if key.startswith("flowLog/")]


@pytest.fixture(scope="module")
def shop(on: Environment) -> Shop:
    return Shop(on)


def test_flow_log_is_created_with_the_vpc_and_tagged(shop):
    (log,) = shop.logs()
    assert (log["ResourceId"], log["FlowLogStatus"], log["TrafficType"]) == (shop.account.resources()["vpc"], "ACTIVE", "ALL")
    assert (log["LogDestination"], log["MaxAggregationInterval"]) == (f"{shop.s3['bucketArn']}/vpc", 600)
    tags = {tag["Key"]: tag["Value"] for tag in log["Tags"]}
    assert tags["team"] == "a" and tags[RESOURCE] == shop.keys()[0]
    assert log["FlowLogId"] in [line["id"] for line in shop.on.status(shop.item)["resources"] if line["key"] == shop.keys()[0]]


def test_tags_are_corrected_in_place(shop):
    (log,) = shop.logs()
    mark = shop.on.mark()
    shop.on.api.patch(*key_of(shop.item)[:3], {"spec": {"tags": {"team": "b"}}})
    shop.on.await_in_sync(shop.item)
    (found,) = shop.logs()
    assert found["FlowLogId"] == log["FlowLogId"] and {"Key": "team", "Value": "b"} in found["Tags"]
    assert not [write for write in shop.writes(mark) if "FlowLogs" in write]


def test_other_settings_to_the_same_destination_delete_the_earlier_flow_log_first(shop):
    mark = shop.edit({"s3": shop.s3, "traffic": "Rejected", "aggregationSeconds": 60})
    assert shop.writes(mark) == ["ec2:DeleteFlowLogs", "ec2:CreateFlowLogs"]
    (log,) = shop.logs()
    assert (log["TrafficType"], log["MaxAggregationInterval"]) == ("REJECT", 60)


def test_another_destination_is_served_before_the_earlier_flow_log_is_deleted(shop):
    shop.account.client("logs").create_log_group(logGroupName="/vpc/shop")
    role = shop.account.role("deliver", SERVICE)
    mark = shop.edit({"cloudWatchLogs": {"logGroup": "/vpc/shop", "roleArn": role}})
    assert shop.writes(mark) == ["ec2:CreateFlowLogs", "ec2:DeleteFlowLogs"]
    (log,) = shop.logs()
    assert (log["LogGroupName"], log["DeliverLogsPermissionArn"]) == ("/vpc/shop", role)
    # The ARN of the same log group is the same destination.
    arn = f"arn:aws:logs:{shop.account.region}:{shop.account.id}:log-group:/vpc/shop"
    mark = shop.edit({"cloudWatchLogs": {"logGroup": arn, "roleArn": role}})
    assert shop.writes(mark) == [] and len(shop.logs()) == 1


def test_missing_bucket_is_named_and_the_earlier_flow_log_stays(shop):
    (before,) = shop.logs()
    missing = f"missing-{shop.account.id}"
    patch = {"network": {"vpc": {"flowLogs": {"cloudWatchLogs": None, "s3": {"bucketArn": f"arn:aws:s3:::{missing}"}}}}}
    shop.on.api.patch(*key_of(shop.item)[:3], {"spec": patch})
    message = conditions(shop.on.await_condition(shop.item, "Ready", "False", timeout=30))["Ready"]["message"]
    until(lambda: missing in shop.on.condition(shop.item)["message"], 20, message)
    assert [log["FlowLogId"] for log in shop.logs()] == [before["FlowLogId"]]
    bucket(shop.account, "missing")
    shop.on.api.patch(*key_of(shop.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    shop.on.await_in_sync(shop.item)
    (log,) = shop.logs()
    assert log["LogDestination"] == f"arn:aws:s3:::{missing}"


def test_flow_log_that_somebody_deleted_is_created_again(shop):
    (log,) = shop.logs()
    shop.account.ec2.delete_flow_logs(FlowLogIds=[log["FlowLogId"]])
    shop.on.api.patch(*key_of(shop.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "again"}}})
    until(lambda: [found["FlowLogId"] for found in shop.logs()] not in ([], [log["FlowLogId"]]), 30, "another flow log")


def test_flow_logs_of_others_are_left_alone_when_ours_is_removed(shop):
    vpc = shop.account.resources()["vpc"]
    to = {"LogDestinationType": "s3", "LogDestination": bucket(shop.account, "others"), "TrafficType": "ALL"}
    (foreign,) = shop.account.ec2.create_flow_logs(ResourceType="VPC", ResourceIds=[vpc], **to)["FlowLogIds"]
    shop.on.await_in_sync(shop.item)
    mark = shop.edit(None)
    assert shop.writes(mark) == ["ec2:DeleteFlowLogs"]
    assert shop.account.inventory()["flowLogs"] == [foreign]

    def is_forgotten() -> bool:
        return not [line for line in shop.on.status(shop.item)["resources"] if line["key"].startswith("flowLog/") and line.get("id")]

    until(is_forgotten, 60, "the record")


def test_deletion_of_the_cluster_leaves_no_flow_log(shop):
    shop.edit({"s3": shop.s3})
    assert len(shop.logs()) == 1
    mark = shop.on.mark()
    shop.on.delete(shop.item)
    # EC2 deletes those of others with the VPC.
    assert shop.account.inventory().get("flowLogs", []) == [] and shop.account.ec2.describe_flow_logs()["FlowLogs"] == []
    writes = shop.writes(mark)
    assert writes.count("ec2:DeleteFlowLogs") == 1
    assert writes.index("eks:DeleteCluster") < writes.index("ec2:DeleteFlowLogs") < writes.index("ec2:DeleteVpc")
