"""What others change in AWS is told by a queue: seen in seconds, while drift is looked for once an hour."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from fleet.account import RESOURCE, Account, fresh_account
from fleet.manifests import cluster, node_group
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations

# From the change by hand to what is said or done about it.
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
    """The queue of the operator's account, which is told of every write."""

    def __init__(self, on: Environment, account: Account):
        self.on = on
        self.sqs = account.client("sqs")
        self.url = self.sqs.create_queue(QueueName="keelson-events")["QueueUrl"]
        on.aws.control("POST", "settings", json={"EVENT_QUEUE_URL": self.url})

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def length(self) -> int:
        """Messages that nobody has deleted yet."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def drained(self) -> None:
        until(lambda: self.length() == 0, 10, "an empty queue")


@pytest.fixture(scope="module")
def queue(on, account) -> Queue:
    return Queue(on, account)


@pytest.fixture(scope="module")
def operator(on, account, queue):
    return on.start(f"--event-queue-url={queue.url}", INTERVAL, account=account.id)


@pytest.fixture(scope="module")
def shop(on, account, operator) -> dict:
    """A cluster that is put right, with a node group."""
    return running(on, cluster("shop", network={"vpc": {"zoneCount": 2}}), node_group("shop"))


@pytest.fixture(scope="module")
def bank(on, account, operator) -> dict:
    """One that is only reported on, in the same account and region."""
    return running(on, cluster("bank", network={"vpc": {"zoneCount": 2}}, logging=["audit"], driftPolicy="Report"), node_group("bank"))


def running(on: Environment, item: dict, nodes: dict) -> dict:
    on.apply(item, nodes)
    on.ready(item, nodes)
    for one in (item, nodes):
        on.await_condition(one, "InSync", timeout=30)
    return item


def at_rest(on: Environment, queue: Queue) -> int:
    """Waits until nothing is under way; a place in the call log."""
    queue.drained()

    def still() -> bool:
        mark = on.mark()
        time.sleep(1.5)
        return not looks(on, mark)

    until(still, 20, "rest")
    return on.mark()


def looks(on: Environment, since: int) -> list[dict]:
    """Calls to AWS but those to the queue."""
    return [call for call in on.calls(since) if call["service"] != "sqs"]


def tagged(account: Account, name: str, resource: str) -> str:
    """The id of a resource of a cluster's graph."""
    of = f"default/{name}"
    found = [i for i, tags in account.tagged().items() if tags[RESOURCE] == resource and tags["keelson.dev/cluster"] == of]
    (one,) = found
    return one


def way_out(account: Account, table: str) -> str:
    (found,) = account.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    return next((r.get("GatewayId", "") for r in found["Routes"] if r.get("DestinationCidrBlock") == ANYWHERE), "")


def measured(what: str, holds: Callable[[], object], capsys) -> None:
    began = time.monotonic()
    until(holds, SECONDS, what)
    with capsys.disabled():
        print(f"\n  {what}: {time.monotonic() - began:.2f} s")


# What is put right.


def test_a_route_that_was_deleted_is_back(on, account, queue, shop, capsys):
    table = tagged(account, "shop", "routeTable/public")
    at_rest(on, queue)
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    measured("a deleted route is back", lambda: way_out(account, table).startswith("igw-"), capsys)


def test_a_tag_that_was_removed_is_back(on, account, queue, shop, capsys):
    vpc = tagged(account, "shop", "vpc")
    at_rest(on, queue)
    account.ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "keelson.dev/cluster"}])
    measured("a removed tag is back", lambda: account.tagged()[vpc].get("keelson.dev/cluster"), capsys)


def test_what_is_believed_for_a_day_is_read_anew(on, account, queue, shop, capsys):
    """A VPC's DNS attributes cost calls of their own, so they are not read at every look."""
    vpc = tagged(account, "shop", "vpc")
    at_rest(on, queue)
    account.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})

    def on_again() -> bool:
        found = account.ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")
        return found["EnableDnsHostnames"]["Value"]

    measured("a VPC's DNS attribute is back", on_again, capsys)


def test_a_policy_that_was_detached_is_back(on, account, queue, shop, capsys):
    """IAM's events come from another region."""
    roles = {n for n, t in account.roles().items() if t.get(RESOURCE) == "role/node" and t["keelson.dev/cluster"] == "default/shop"}
    (role,) = roles
    policy = "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"

    def attached() -> bool:
        found = account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return policy in [one["PolicyArn"] for one in found]

    at_rest(on, queue)
    account.iam.detach_role_policy(RoleName=role, PolicyArn=policy)
    measured("a detached policy is back", attached, capsys)


def test_a_node_groups_bounds_are_back(on, account, queue, shop, capsys):
    names = {"clusterName": "shop", "nodegroupName": "shop-default"}

    def largest() -> int:
        return account.eks.describe_nodegroup(**names)["nodegroup"]["scalingConfig"]["maxSize"]

    at_rest(on, queue)
    account.eks.update_nodegroup_config(**names, scalingConfig={"minSize": 2, "maxSize": 9, "desiredSize": 2})
    measured("a node group's bounds are back", lambda: largest() == 4, capsys)


def test_an_addon_that_was_deleted_is_made_again(on, account, queue, shop, capsys):
    at_rest(on, queue)
    account.eks.delete_addon(clusterName="shop", addonName="kube-proxy")

    def made() -> bool:
        return any(c["action"] == "CreateAddon" and c["resource"] == "shop/kube-proxy" for c in on.calls(mark))

    mark = on.mark()
    measured("a deleted add-on is made again", made, capsys)
    on.await_condition(shop, "InSync", timeout=30)


# What is only reported.


def test_logging_that_was_changed_is_reported(on, account, queue, bank, capsys):
    at_rest(on, queue)
    account.eks.update_cluster_config(name="bank", logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    measured("changed logging is reported", lambda: drifted(on, bank, "logging"), capsys)


def test_a_deleted_route_is_reported_and_stays_deleted(on, account, queue, bank, capsys):
    table = tagged(account, "bank", "routeTable/public")
    at_rest(on, queue)
    mark = on.mark()
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    measured("a deleted route is reported", lambda: drifted(on, bank, "route"), capsys)
    time.sleep(1)
    writes = [call for call in on.writes(mark) if call["service"] != "sqs"]
    assert actions(writes) == [f"ec2:DeleteRoute {table}"], "that of the test alone"


def drifted(on: Environment, item: dict, text: str) -> bool:
    says = on.condition(item, "InSync")
    return says.get("status") == "False" and says.get("reason") == "Drifted" and text in says["message"]


def test_who_changed_it_stands_in_an_event(on, account, queue, shop):
    vpc = tagged(account, "shop", "vpc")
    account.ec2.create_tags(Resources=[vpc], Tags=[{"Key": "by", "Value": "hand"}])

    def told() -> list[str]:
        events = on.events(shop)
        return [e["note"] for e in events if e["reason"] == "ChangedInAws" and "CreateTags" in e["note"]]

    (note,) = until(told, 10, "the event")
    assert note == f"ec2:CreateTags by arn:aws:iam::{account.id}:user/administrator; vpc looked at"


# What is looked at, and what is not.


def test_only_what_was_changed_is_looked_at(on, account, queue, shop, bank):
    mark = at_rest(on, queue)
    account.eks.tag_resource(resourceArn=f"arn:aws:eks:{REGION}:{account.id}:cluster/shop", tags={"by": "hand"})
    until(lambda: len(looks(on, mark)) > 1, SECONDS, "a look")
    queue.drained()
    time.sleep(2.5)
    (by_hand, *seen) = actions(looks(on, mark))
    assert by_hand.startswith("eks:TagResource")
    assert set(seen) == {"eks:DescribeCluster shop"}, seen
    # Right away, and again when AWS shows for certain what was changed.
    assert len(seen) <= 2


def test_its_own_changes_are_no_news_to_it(on, account, queue, shop):
    mark = at_rest(on, queue)
    on.api.patch("keelson.dev/v1alpha1", "EksCluster", "shop", {"spec": {"tags": {"team": "x"}}})
    until(lambda: any(c["action"] == "CreateTags" for c in on.writes(mark)), 10, "the new tag")
    on.await_condition(shop, "InSync", timeout=30)
    at_rest(on, queue)
    events = [e["note"] for e in on.events(shop) if e["reason"] == "ChangedInAws"]
    assert not [note for note in events if "team" in note or note.count("CreateTags") > 1], events
    assert "CreateTags" not in "".join(note for note in events if "routeTable" in note)


def test_garbage_is_deleted_and_harms_nothing(on, account, queue, operator, shop, capsys):
    mark = at_rest(on, queue)
    before = counted(operator, "malformed")
    s3 = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.s3", "account": account.id, "region": REGION, "detail": {}}
    bodies = ["", "null", "{}", "[" * 5000, json.dumps({"detail-type": 1}), '{"detail": "' + "x" * 50_000 + '"}', json.dumps(s3)]
    queue.send(*(body or " " for body in bodies))
    queue.drained()
    assert counted(operator, "malformed") - before == len(bodies) - 1
    assert actions(looks(on, mark)) == []
    table = tagged(account, "shop", "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    measured("after garbage, a deleted route is back", lambda: way_out(account, table).startswith("igw-"), capsys)


def counted(operator, result: str) -> int:
    line = f'keelson_cloudtrail_messages_total{{result="{result}"}} '
    found = [one for one in operator.metrics().splitlines() if one.startswith(line)]
    return int(found[0].removeprefix(line)) if found else 0


def test_a_queue_that_cannot_be_read_stops_nothing(on, account, queue, operator, shop, capsys):
    """Reads are refused for a while; what was told meanwhile is heard afterwards."""
    at_rest(on, queue)
    polls = {"service": "sqs", "action": "ReceiveMessage"}
    refused = on.aws.add_fault(polls, {"error": {"code": "AccessDenied", "status": 403}})
    # A poll that is open already is one that still hears.
    queue.send("{}")
    until(lambda: "keelson_event_queue_reachable 0" in operator.metrics(), 25, "the failure in the metrics")
    on.api.patch("keelson.dev/v1alpha1", "EksCluster", "shop", {"spec": {"tags": {"team": "y"}}})
    until(lambda: any(t.get("team") == "y" for t in account.tagged().values()), 20, "work that goes on")
    table = tagged(account, "shop", "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    time.sleep(2)
    assert way_out(account, table) == ""
    on.aws.control("DELETE", "faults", params={"id": refused})
    until(lambda: way_out(account, table).startswith("igw-"), 70, "what was told meanwhile")
    assert "keelson_event_queue_reachable 1" in operator.metrics()
    log = operator.log.read_text()
    assert "the event queue cannot be read" in log and "the event queue can be read again" in log


def test_without_a_queue_it_is_found_by_looking(on, account, queue, operator, shop, capsys):
    operator.stop()
    interval = 4
    with on.operator(f"--drift-interval={interval}s", account=account.id):
        table = tagged(account, "shop", "routeTable/public")
        until(lambda: way_out(account, table).startswith("igw-"), 20, "the route")
        account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
        began = time.monotonic()
        until(lambda: way_out(account, table).startswith("igw-"), interval + 2, "a look within the interval")
        with capsys.disabled():
            print(f"\n  without a queue, at an interval of {interval} s: {time.monotonic() - began:.2f} s")
