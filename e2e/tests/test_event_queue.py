"""CloudTrail messages from a queue report external changes in AWS within seconds, while drift is polled once an hour."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from fleet.account import RESOURCE, Account, fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, until, within
from keelson_harness.aws import REGION, Durations
from keelson_harness.load import busy_factor

# From the manual change to its report or its revert.
SECONDS = 5
INTERVAL = "--drift-interval=1h"
ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


class Queue:
    """The queue of the operator's account, which receives an event for every write."""

    def __init__(self, on: Environment, account: Account):
        self.on = on
        self.sqs = account.client("sqs")
        self.url = self.sqs.create_queue(QueueName="keelson-events")["QueueUrl"]
        on.aws.control("POST", "settings", json={"EVENT_QUEUE_URL": self.url})

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def length(self) -> int:
        """Messages that are not deleted yet."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def await_drained(self) -> None:
        until(lambda: self.length() == 0, 10, "an empty queue")


@pytest.fixture(scope="module")
def queue(on, account) -> Queue:
    return Queue(on, account)


@pytest.fixture(scope="module")
def operator(on, account, queue):
    return on.start(f"--event-queue-url={queue.url}", INTERVAL, account=account.id)


@pytest.fixture(scope="module")
def shop(on, account, operator) -> dict:
    """A cluster with the drift policy Correct, with a node group."""
    return create_in_sync(on, cluster("shop", network={"vpc": {"zoneCount": 2}}), node_group("shop", node={}))


@pytest.fixture(scope="module")
def bank(on, account, operator) -> dict:
    """One with Report, in the same account and region."""
    return create_in_sync(on, cluster("bank", network={"vpc": {"zoneCount": 2}}, logging=["audit"], driftPolicy="Report"), node_group("bank"))


def create_in_sync(on: Environment, item: dict, nodes: dict) -> dict:
    on.apply(item, nodes)
    on.ready(item, nodes)
    for one in (item, nodes):
        on.await_condition(one, "InSync", timeout=30)
    return item


def await_idle(on: Environment, queue: Queue) -> int:
    """Waits until the operator is idle; returns the position in the call log."""
    queue.await_drained()

    def idle() -> bool:
        mark = on.mark()
        time.sleep(1.5)
        return not aws_calls(on, mark)

    until(idle, 20, "an idle operator")
    return on.mark()


def aws_calls(on: Environment, since: int) -> list[dict]:
    """Calls to AWS, except those to the queue."""
    return [call for call in on.calls(since) if call["service"] != "sqs"]


def resource_id(account: Account, name: str, resource: str) -> str:
    """The id of the cluster's resource with that key."""
    owner = f"default/{name}"
    found = [i for i, tags in account.tagged().items() if tags[RESOURCE] == resource and tags["keelson.dev/cluster"] == owner]
    (one,) = found
    return one


def default_route(account: Account, table: str) -> str:
    (found,) = account.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    return next((r.get("GatewayId", "") for r in found["Routes"] if r.get("DestinationCidrBlock") == ANYWHERE), "")


def await_and_print_duration(what: str, holds: Callable[[], object], capsys) -> None:
    start = time.monotonic()
    within(holds, SECONDS * busy_factor(), what)
    with capsys.disabled():
        print(f"\n  {what}: {time.monotonic() - start:.2f} s")


# Correct.


def test_deleted_route_is_restored_after_an_event(on, account, queue, shop, capsys):
    table = resource_id(account, "shop", "routeTable/public")
    await_idle(on, queue)
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    await_and_print_duration("a deleted route is back", lambda: default_route(account, table).startswith("igw-"), capsys)


def test_changes_of_a_launch_template_are_undone_after_an_event(on, account, queue, shop, capsys):
    nodes = node_group("shop")

    def used() -> str:
        group = account.eks.describe_nodegroup(clusterName="shop", nodegroupName="shop-default")["nodegroup"]
        return str(group["launchTemplate"]["version"])

    def tags() -> set[str]:
        (found,) = account.ec2.describe_launch_templates(LaunchTemplateIds=[template])["LaunchTemplates"]
        return {tag["Key"] for tag in found["Tags"]}

    on.api.patch(*key_of(nodes)[:3], {"spec": {"node": {"metadata": {"httpTokens": "required"}}}})
    until(lambda: used() == "2", 20, "version 2")
    on.await_condition(nodes, "InSync", timeout=30)
    template = on.status(nodes)["launchTemplate"]["id"]
    await_idle(on, queue)
    account.ec2.delete_tags(Resources=[template], Tags=[{"Key": "keelson.dev/cluster"}])
    await_and_print_duration("a removed tag of a launch template is back", lambda: "keelson.dev/cluster" in tags(), capsys)
    await_idle(on, queue)
    account.ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["2"])
    await_and_print_duration("a deleted version of a launch template is replaced", lambda: used() == "3", capsys)
    on.await_condition(nodes, "InSync", timeout=30)


def test_removed_tag_is_restored_after_an_event(on, account, queue, shop, capsys):
    vpc = resource_id(account, "shop", "vpc")
    await_idle(on, queue)
    account.ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "keelson.dev/cluster"}])
    await_and_print_duration("a removed tag is back", lambda: account.tagged()[vpc].get("keelson.dev/cluster"), capsys)


def test_long_cached_attribute_is_read_again_after_an_event(on, account, queue, shop, capsys):
    """A VPC's DNS attributes need separate calls, so they are cached across reconciles."""
    vpc = resource_id(account, "shop", "vpc")
    await_idle(on, queue)
    account.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})

    def enabled() -> bool:
        found = account.ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")
        return found["EnableDnsHostnames"]["Value"]

    await_and_print_duration("a VPC's DNS attribute is back", enabled, capsys)


def test_detached_policy_is_restored_after_an_event(on, account, queue, shop, capsys):
    """IAM's events come from another region."""
    roles = {n for n, t in account.roles().items() if t.get(RESOURCE) == "role/node" and t["keelson.dev/cluster"] == "default/shop"}
    (role,) = roles
    policy = "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"

    def attached() -> bool:
        found = account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return policy in [one["PolicyArn"] for one in found]

    await_idle(on, queue)
    account.iam.detach_role_policy(RoleName=role, PolicyArn=policy)
    await_and_print_duration("a detached policy is back", attached, capsys)


def test_node_group_bounds_are_restored_after_an_event(on, account, queue, shop, capsys):
    names = {"clusterName": "shop", "nodegroupName": "shop-default"}

    def largest() -> int:
        return account.eks.describe_nodegroup(**names)["nodegroup"]["scalingConfig"]["maxSize"]

    await_idle(on, queue)
    account.eks.update_nodegroup_config(**names, scalingConfig={"minSize": 2, "maxSize": 9, "desiredSize": 2})
    await_and_print_duration("a node group's bounds are back", lambda: largest() == 4, capsys)


def test_deleted_addon_is_recreated_after_an_event(on, account, queue, shop, capsys):
    await_idle(on, queue)
    account.eks.delete_addon(clusterName="shop", addonName="kube-proxy")

    def recreated() -> bool:
        return any(c["action"] == "CreateAddon" and c["resource"] == "shop/kube-proxy" for c in on.calls(mark))

    mark = on.mark()
    await_and_print_duration("a deleted add-on is recreated", recreated, capsys)
    on.await_condition(shop, "InSync", timeout=30)


# Report.


def test_changed_logging_is_reported(on, account, queue, bank, capsys):
    await_idle(on, queue)
    account.eks.update_cluster_config(name="bank", logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    await_and_print_duration("changed logging is reported", lambda: drifted(on, bank, "logging"), capsys)


def test_deleted_route_is_reported_and_not_restored(on, account, queue, bank, capsys):
    table = resource_id(account, "bank", "routeTable/public")
    await_idle(on, queue)
    mark = on.mark()
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    await_and_print_duration("a deleted route is reported", lambda: drifted(on, bank, "route"), capsys)
    time.sleep(1)
    writes = [call for call in on.writes(mark) if call["service"] != "sqs"]
    assert actions(writes) == [f"ec2:DeleteRoute {table}"], "only the test's own write"


def drifted(on: Environment, item: dict, text: str) -> bool:
    condition = on.condition(item, "InSync")
    return condition.get("status") == "False" and condition.get("reason") == "Drifted" and text in condition["message"]


def test_event_names_who_made_the_change(on, account, queue, shop):
    vpc = resource_id(account, "shop", "vpc")
    account.ec2.create_tags(Resources=[vpc], Tags=[{"Key": "by", "Value": "hand"}])

    def notes() -> list[str]:
        events = on.events(shop)
        return [e["note"] for e in events if e["reason"] == "ChangedInAws" and "CreateTags" in e["note"]]

    (note,) = until(notes, 10, "the event")
    assert note == f"ec2:CreateTags by arn:aws:iam::{account.id}:user/administrator; observing vpc"


# What is observed, and what is not.


def test_only_the_changed_resource_is_observed(on, account, queue, shop, bank):
    mark = await_idle(on, queue)
    account.eks.tag_resource(resourceArn=f"arn:aws:eks:{REGION}:{account.id}:cluster/shop", tags={"by": "hand"})
    within(lambda: len(aws_calls(on, mark)) > 1, SECONDS * busy_factor(), "an observation")
    queue.await_drained()
    time.sleep(2.5)
    (manual, *observed) = actions(aws_calls(on, mark))
    assert manual.startswith("eks:TagResource")
    assert set(observed) == {"eks:DescribeCluster shop"}, observed
    # Immediately, and again after the read-after-write window.
    assert len(observed) <= 2


def test_own_changes_are_not_reported_as_external(on, account, queue, shop):
    mark = await_idle(on, queue)
    on.api.patch("keelson.dev/v1alpha1", "EksCluster", "shop", {"spec": {"tags": {"team": "x"}}})
    until(lambda: any(c["action"] == "CreateTags" for c in on.writes(mark)), 10, "the new tag")
    on.await_condition(shop, "InSync", timeout=30)
    await_idle(on, queue)
    events = [e["note"] for e in on.events(shop) if e["reason"] == "ChangedInAws"]
    assert not [note for note in events if "team" in note or note.count("CreateTags") > 1], events
    assert "CreateTags" not in "".join(note for note in events if "routeTable" in note)


def test_malformed_messages_are_deleted_without_effect(on, account, queue, operator, shop, capsys):
    mark = await_idle(on, queue)
    before = message_count(operator, "malformed")
    s3 = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.s3", "account": account.id, "region": REGION, "detail": {}}
    bodies = ["", "null", "{}", "[" * 5000, json.dumps({"detail-type": 1}), '{"detail": "' + "x" * 50_000 + '"}', json.dumps(s3)]
    queue.send(*(body or " " for body in bodies))
    queue.await_drained()
    assert message_count(operator, "malformed") - before == len(bodies) - 1
    assert actions(aws_calls(on, mark)) == []
    table = resource_id(account, "shop", "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    await_and_print_duration("after garbage, a deleted route is back", lambda: default_route(account, table).startswith("igw-"), capsys)


def message_count(operator, result: str) -> int:
    line = f'keelson_cloudtrail_messages_total{{result="{result}"}} '
    found = [one for one in operator.metrics().splitlines() if one.startswith(line)]
    return int(found[0].removeprefix(line)) if found else 0


def test_unreadable_queue_does_not_stop_reconciliation(on, account, queue, operator, shop, capsys):
    """Reads fail for a while; messages sent meanwhile are processed afterwards."""
    await_idle(on, queue)
    polls = {"service": "sqs", "action": "ReceiveMessage"}
    rule = on.aws.add_fault(polls, {"error": {"code": "AccessDenied", "status": 403}})
    # A long poll that is already open still receives: give it a message.
    queue.send("{}")
    until(lambda: "keelson_event_queue_reachable 0" in operator.metrics(), 25, "the failure in the metrics")
    on.api.patch("keelson.dev/v1alpha1", "EksCluster", "shop", {"spec": {"tags": {"team": "y"}}})
    until(lambda: any(t.get("team") == "y" for t in account.tagged().values()), 20, "reconciliation to continue")
    table = resource_id(account, "shop", "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    time.sleep(2)
    assert default_route(account, table) == ""
    on.aws.control("DELETE", "faults", params={"id": rule})
    until(lambda: default_route(account, table).startswith("igw-"), 70, "the messages sent meanwhile")
    assert "keelson_event_queue_reachable 1" in operator.metrics()
    log = operator.log.read_text()
    assert "the event queue cannot be read" in log and "the event queue can be read again" in log


def test_without_a_queue_drift_is_detected_by_polling(on, account, queue, operator, shop, capsys):
    operator.stop()
    interval = 4
    with on.operator(f"--drift-interval={interval}s", account=account.id):
        table = resource_id(account, "shop", "routeTable/public")
        until(lambda: default_route(account, table).startswith("igw-"), 20, "the route")
        account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
        start = time.monotonic()
        within(lambda: default_route(account, table).startswith("igw-"), interval + 2 * busy_factor(), "drift detection within the interval")
        with capsys.disabled():
            print(f"\n  without a queue, at an interval of {interval} s: {time.monotonic() - start:.2f} s")
