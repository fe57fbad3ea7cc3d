"""A crash at any point loses and duplicates nothing: the operator is killed after each AWS write in turn.

The emulator sends SIGKILL between applying a write and answering it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import pytest

from fleet.account import EC2_ID, Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import DEFAULT_ADDONS, cluster, key_of, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import ApiError, conditions

ZONES = [f"{REGION}{zone}" for zone in "ab"]
# AWS determines the number of all others: the control plane's interfaces, instances, ...
ONE_OF_EACH = {
    "vpcs": 1,
    "subnets": 4,
    "internetGateways": 1,
    "addresses": 1,
    "natGateways": 1,
    "routeTables": 3,
    "vpcEndpoints": 2,
    # One for the endpoints, one created by EKS.
    "securityGroups": 2,
    "logGroups": 1,
    "roles": 2,
    "oidcProviders": 1,
    "clusters": 1,
    "nodegroups": 1,
    "addons": len(DEFAULT_ADDONS),
    "autoScalingGroups": 1,
}
KEYS = {
    *("vpc", "internetGateway", "cluster", "logGroup", "role/cluster", "role/node", "routeTable/public"),
    *(f"subnet/{tier}/{zone}" for tier in ("private", "public") for zone in ZONES),
    *(f"routeTable/private/{zone}" for zone in ZONES),
    *(f"natGateway/{ZONES[0]}", f"elasticIp/{ZONES[0]}"),
    *("securityGroup/endpoints", "vpcEndpoint/s3", "vpcEndpoint/ecr.api"),
    *(f"addon/{name}" for name in DEFAULT_ADDONS),
}
LIFE = Durations(1, 1, 0.5, 0.5, 0.2, 0.5)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


@pytest.fixture
def pair(on):
    """A cluster and its node group; removed after the test, also if it fails."""
    created = Pair(on)
    yield created
    on.aws.clear_faults()
    on.force_delete(*created.items)


class Pair:
    """A cluster with one of everything that needs an AWS write, and its node group, in an account of its own."""

    def __init__(self, on: Environment):
        self.on = on
        self.account: Account = on.account(fresh_account())
        name = f"crash-{self.account.id[-3:]}"
        vpc = {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}
        admins = self.account.role("admins", {"AWS": f"arn:aws:iam::{self.account.id}:root"})
        policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
        entry = {"principalArn": admins, "policies": [{"policyArn": policy}]}
        logs = {"logging": ["audit"], "logGroup": {"retentionDays": 30}}
        self.cluster = cluster(name, network={"vpc": vpc}, access={"entries": [entry]}, **logs)
        self.nodes = node_group(name)
        self.items = (self.cluster, self.nodes)

    def apply(self) -> None:
        self.on.apply(*self.items)

    def ready(self) -> bool:
        return all(
            conditions(item).get("Ready", {}).get("status") == "True" for item in self.found()
        ) and bool(self.found())

    def found(self) -> list[dict]:
        return [found for item in self.items if (found := self.on.api.find(*key_of(item)))]

    def request_deletion(self) -> None:
        for item in self.items:
            self.on.api.delete(*key_of(item))

    def gone(self) -> bool:
        return not self.found()

    def assert_one_of_each(self) -> None:
        keys = self.account.resources()
        assert set(keys) == KEYS | {f"nodeGroup/{self.nodes['metadata']['name']}"}
        counts = self.account.counts()
        counts["roles"] -= 1  # "admins", created by the test
        assert {kind: counts.get(kind, 0) for kind in ONE_OF_EACH} == ONE_OF_EACH
        self.assert_status_lists_all(keys)

    def assert_status_lists_all(self, keys: dict[str, str]) -> None:
        resources = self.on.status(self.cluster)["resources"]
        shown = {entry["key"]: entry.get("id") for entry in resources}
        assert [key for key in keys if not key.startswith("nodeGroup/") and key not in shown] == []
        assert {i for i in keys.values() if EC2_ID.fullmatch(i)} <= set(shown.values())

    def assert_nothing_left(self) -> None:
        assert self.account.inventory() == {"roles": ["admins"]}


def create_ready(pair: Pair) -> None:
    pair.apply()
    with pair.on.operator(account=pair.account.id):
        pair.on.ready(*pair.items)


def test_kill_after_every_write_creates_each_resource_exactly_once(on, pair, capsys):
    pair.apply()
    run = killed_at(on, pair.account.id, pair.ready)
    with capsys.disabled():
        print(f"\n  {run.summary('create')}")
    pair.assert_one_of_each()
    # No write was ever answered, so each of them was a kill point.
    assert [write for write in run.writes if write not in run.points] == []
    assert len(run.points) >= 40 and run.starts >= 10

    pair.request_deletion()
    run = killed_at(on, pair.account.id, pair.gone)
    with capsys.disabled():
        print(f"\n  {run.summary('delete')}")
    pair.assert_nothing_left()
    assert [write for write in run.writes if write not in run.points] == []
    assert len(run.points) >= 24 and run.starts >= 8


@pytest.mark.parametrize(("stride", "when"), [(4, "after"), (7, "before")])
def test_kill_with_several_writes_in_flight_creates_each_resource_exactly_once(on, pair, capsys, stride, when):
    pair.apply()
    run = killed_at(on, pair.account.id, pair.ready, stride, when)
    with capsys.disabled():
        print(f"\n  {run.summary(f'create, each process killed at write {stride}')}")
    pair.assert_one_of_each()
    assert run.points

    pair.request_deletion()
    run = killed_at(on, pair.account.id, pair.gone, stride, when)
    with capsys.disabled():
        print(f"\n  {run.summary(f'delete, each process killed at write {stride}')}")
    pair.assert_nothing_left()
    assert run.points


def trigger_reconciles_until(on: Environment, pair: Pair, done: Callable[[], bool], seconds: float) -> None:
    """Each change of a Keelson annotation triggers a reconcile; otherwise the operator waits a minute after a panic."""
    deadline = time.monotonic() + seconds
    number = 0
    while not done():
        assert time.monotonic() < deadline, "\n".join(map(on.describe, pair.items))
        number += 1
        for item in pair.found():
            version, kind, meta = item["apiVersion"], item["kind"], item["metadata"]
            patch = {"metadata": {"annotations": {"keelson.dev/poke": str(number)}}}
            with contextlib.suppress(ApiError):  # It may be deleted by now.
                on.api.patch(version, kind, meta["name"], patch, meta["namespace"])
        time.sleep(0.5)


def panics(operator: Controller) -> int:
    counted = re.findall(
        r'keelson_reconciles_total\{[^}]*result="panic"\} (\d+)', operator.metrics()
    )
    return sum(map(int, counted))


def injected(operator: Controller) -> list[str]:
    """The writes whose answers ended a reconcile."""
    return re.findall(r'fault injected.*?"action":"(\w+)"', operator.log.read_text())


def test_panic_after_a_write_creates_no_duplicates(on, pair):
    """The process continues with its cached reads of the account: the next reconcile must not use those from before the write.

    How many reconciles panic depends on how many writes are in flight: with the first answer, the others are lost.
    """
    pair.apply()
    # A fault of debug builds: the emulator can kill the process, but not a single reconcile.
    fault = {"KEELSON_FAULT_PANIC_AFTER_WRITE": "1"}
    with on.operator(account=pair.account.id, env=fault) as operator:
        trigger_reconciles_until(on, pair, pair.ready, 120)
        pair.assert_one_of_each()
        until(lambda: panics(operator) == len(injected(operator)), 5, "each panic to be counted")
        # A reconcile of a node group has one write, so that one is never lost to another's panic.
        assert "CreateNodegroup" in injected(operator)
        created = [call for call in on.writes(0, pair.account.id) if call["action"] == "CreateNodegroup" and call["status"] < 400]
        assert len(created) == 1
        objects = re.findall(r'keelson_objects\{kind="EksCluster"[^}]*\} (\d+)', operator.metrics())
        assert sum(map(int, objects)) == 1, "one object is counted once"
        pair.request_deletion()
        trigger_reconciles_until(on, pair, pair.gone, 90)
    pair.assert_nothing_left()


def test_lost_responses_to_all_writes_create_each_resource_exactly_once(on, pair):
    """Each write is applied, then the connection is reset: the operator keeps running without the response."""
    on.aws.add_fault({"write": True, "account": pair.account.id}, {"drop": True})
    try:
        create_ready(pair)
        pair.assert_one_of_each()
        pair.request_deletion()
        with on.operator(account=pair.account.id):
            on.delete(*pair.items, timeout=90)
    finally:
        on.aws.clear_faults()
    pair.assert_nothing_left()
    with_response = [c for c in on.writes(0, pair.account.id) if "drop" not in c.get("fault", "")]
    assert {call["action"] for call in with_response} == {"CreateRole"}, "only the test's own write"


def test_stale_reads_create_no_duplicates(on, pair):
    on.aws.add_fault({"write": False, "account": pair.account.id}, {"stale": 2})
    try:
        pair.apply()
        with on.operator(account=pair.account.id, window="--read-after-write-window=4s"):
            on.ready(*pair.items, timeout=120)
            on.aws.clear_faults()
            pair.assert_one_of_each()
            on.aws.add_fault({"write": False, "account": pair.account.id}, {"stale": 2})
            pair.request_deletion()
            on.delete(*pair.items, timeout=120)
    finally:
        on.aws.clear_faults()
    pair.assert_nothing_left()


def test_kill_during_stale_reads_creates_each_resource_exactly_once(on, pair, capsys):
    """The next process does not see the resources of the killed one yet: it depends on the record in status."""
    pair.apply()
    rule = on.aws.add_fault({"write": False, "account": pair.account.id}, {"stale": 0.7})
    try:
        run = killed_at(on, pair.account.id, pair.ready)
    finally:
        on.aws.control("DELETE", "faults", params={"id": rule})
    with capsys.disabled():
        print(f"\n  {run.summary('create, with reads stale by 0.7 s')}")
    pair.assert_one_of_each()
    pair.request_deletion()
    with on.operator(account=pair.account.id):
        on.delete(*pair.items, timeout=90)
    pair.assert_nothing_left()
