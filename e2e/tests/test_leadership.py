"""One writer at a time: the holder of a Lease. A replica that lost the Lease stops before its next write to AWS."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
import requests

from fleet.account import fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import READ_AFTER_WRITE_WINDOW, Environment, environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.cloud import NAMESPACE
from keelson_harness.controller import Controller

# Long enough that a change of leader happens while a cluster is created.
DURATIONS = Durations(4, 1, 1, 2, 0.5, 1)
LEASE = ("coordination.k8s.io/v1", "Lease", "keelson", NAMESPACE)
# A Lease of 8 s instead of 15.
SHORT_LEASE = ("--lease-duration=8s", "--renew-deadline=5s", "--retry-period=1s")
# The Lease's duration, a retry every second, and a loaded machine.
TAKEOVER_SECONDS = 30
# It does not expire within a test: whoever takes it does so because it is released, or its own.
LONG_LEASE = ("--lease-duration=120s", "--renew-deadline=80s", "--retry-period=1s")
LONG_LEASE_SECONDS = 120


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


def holder(on: Environment) -> str:
    lease = on.api.find(*LEASE) or {}
    return lease.get("spec", {}).get("holderIdentity", "")


def metric(replica: Controller, name: str, **labels: str) -> float:
    """The sum of a metric over all series with these labels."""
    text = requests.get(f"{replica.url}/metrics", timeout=5).text
    total = 0.0
    for line in text.splitlines():
        if not re.match(rf"{name}[{{ ]", line):
            continue
        if all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def creates(replica: Controller) -> float:
    text = requests.get(f"{replica.url}/metrics", timeout=5).text
    calls = re.findall(r'keelson_aws_calls_total\{[^}]*action="Create[^}]*\} (\d+)', text)
    return sum(map(float, calls))


def pair(name: str) -> tuple[dict, dict]:
    return cluster(name), node_group(name)


def two_replicas(
    on: Environment, account: str, window: str = READ_AFTER_WRITE_WINDOW, lease: tuple[str, ...] = SHORT_LEASE
) -> tuple[Controller, Controller]:
    first = on.start(*lease, account=account, name="keelson-a", window=window)
    until(lambda: holder(on) == "keelson-a", what="the first replica's lease")
    return first, on.start(*lease, account=account, name="keelson-b", window=window)


def test_standby_observes_nothing_and_takes_over_at_once_when_leader_stops(on):
    account = fresh_account()
    first, second = two_replicas(on, account, lease=LONG_LEASE)
    items = pair("handed-over")
    on.apply(*items)
    until(lambda: creates(first) > 5, what="the first creates")
    assert metric(second, "keelson_aws_calls_total") == 0
    assert (metric(first, "keelson_leader"), metric(second, "keelson_leader")) == (1, 0)

    start = time.monotonic()
    assert first.stop() == 0
    until(lambda: holder(on) == "keelson-b", 60, "the second replica's lease")
    assert time.monotonic() - start < LONG_LEASE_SECONDS, "it expired"
    on.ready(*items)
    on.account(account).resources()  # fails on duplicates
    on.delete(*items)
    assert on.account(account).inventory() == {}
    second.stop()


def test_standby_takes_over_from_killed_leader_when_lease_expires(on):
    account = fresh_account()
    first, second = two_replicas(on, account)
    items = pair("orphaned")
    on.apply(*items)
    until(lambda: creates(first) > 5, what="the first creates")
    first.kill()
    until(lambda: holder(on) == "keelson-b", TAKEOVER_SECONDS, "the second replica's lease")
    on.ready(*items)
    on.account(account).resources()
    on.delete(*items)
    second.stop()


def test_container_restarted_in_its_pod_leads_again_at_once(on):
    account = fresh_account()
    only = on.start(*LONG_LEASE, account=account, name="keelson-a")
    until(lambda: holder(on) == "keelson-a", what="the lease")
    only.kill()
    start = time.monotonic()
    only.restart()
    on.await_ready(only)
    until(lambda: metric(only, "keelson_leader") == 1, 60, "the lease")
    assert time.monotonic() - start < LONG_LEASE_SECONDS, "it expired"
    only.stop()


def test_paused_leader_writes_nothing_after_it_resumes(on):
    account = fresh_account()
    first, second = two_replicas(on, account)
    # After it resumes, it would write for a cluster that was added during the pause, and for one that it was creating.
    started_items = pair("begun")
    on.apply(*started_items)
    # No call is in flight while AWS creates the control plane: what is answered after the pause was sent after it.
    on.await_condition(started_items[0], "NetworkReady")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        until(lambda: holder(on) == "keelson-b", TAKEOVER_SECONDS, "the second replica's lease")
        later_items = pair("later")
        on.apply(*later_items)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    before = creates(first)
    on.ready(*started_items, *later_items)
    assert creates(first) == before
    assert metric(first, "keelson_leader") == 0
    assert metric(first, "keelson_objects") == 0, "only the leader counts objects"
    assert metric(second, "keelson_objects", kind="EksCluster") == 2
    vpcs = on.account(account).counts()["vpcs"]
    assert vpcs == 2
    on.delete(*started_items, *later_items)
    # It is the standby again.
    second.stop()
    until(lambda: holder(on) == "keelson-a", what="the first replica's lease")
    first.stop()


def test_creates_executed_by_aws_after_a_takeover_create_no_duplicates(on):
    """The worst case of creates without a client token: sent by a leader that loses its lease, and executed by AWS only then."""
    account = fresh_account()
    # The successor's read-after-write window ends after the slow calls: 8 s of the lease, and 4 s.
    first, second = two_replicas(on, account, window="--read-after-write-window=4s")
    network = {"vpc": {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}}
    item = cluster("slow-creates", network=network)
    slow = {"delay": 10}

    def recorded(*keys: str) -> bool:
        resources = {r["key"]: r.get("id") for r in on.status(item).get("resources", [])}
        return all(key in resources and not resources[key] for key in keys)

    def force_takeover(of: Controller, by: str) -> None:
        os.kill(of.pid, signal.SIGSTOP)
        try:
            until(lambda: holder(on) == by, TAKEOVER_SECONDS, f"the lease of {by}")
        finally:
            on.aws.clear_faults()
            os.kill(of.pid, signal.SIGCONT)

    for action in ("CreateVpc", "AllocateAddress"):
        on.aws.add_fault({"account": account, "action": action}, slow)
    on.apply(item)
    until(lambda: recorded("vpc", f"elasticIp/{REGION}a"), 20, "the first intents")
    rest = ("CreateSubnet", "CreateInternetGateway", "CreateRouteTable", "CreateSecurityGroup")
    force_takeover(first, "keelson-b")
    for action in rest:
        on.aws.add_fault({"account": account, "action": action}, slow)
    until(
        lambda: recorded("internetGateway", "routeTable/public", "securityGroup/endpoints"),
        30,
        "the intents of the resources in the VPC",
    )
    force_takeover(second, "keelson-a")
    on.await_condition(item, "NetworkReady", timeout=60)
    counts = on.account(account).counts()
    single = ("vpcs", "internetGateways", "addresses")
    assert {kind: counts[kind] for kind in single} == dict.fromkeys(single, 1)
    assert (counts["subnets"], counts["routeTables"]) == (4, 3)
    on.account(account).resources()  # fails on duplicates
    on.delete(item)
    assert on.account(account).inventory() == {}
    first.stop()
    second.stop()


def allow_config_maps_of(on: Environment, name: str) -> None:
    """Grants for another name what deploy/rbac.yaml grants for the default name."""
    (role,) = [r for r in on.api.list("rbac.authorization.k8s.io/v1", "Role", NAMESPACE) if "configmaps" in str(r["rules"])]
    for rule in role["rules"]:
        if rule["resources"] == ["configmaps"]:
            rule["resourceNames"] += [f"{name}-{what}" for what in ("duration-estimates", "deletions", "installation")]
    on.api.patch(*key_of(role)[:3], {"rules": role["rules"]}, NAMESPACE)


def test_no_lease_without_leader_election(on):
    name = "no-lease"
    flags = ("--leader-election=false", "--leader-election-name", name)
    alone = on.start(*flags, account=fresh_account(), wait=False)
    allow_config_maps_of(on, name)
    on.await_ready(alone)
    assert on.api.find(LEASE[0], LEASE[1], name, NAMESPACE) is None
    item = cluster("alone")
    on.apply(item)
    on.await_condition(item, "NetworkReady")
    on.delete(item)
    assert on.api.find(*key_of(item)) is None
    alone.stop()
