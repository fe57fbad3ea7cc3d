"""One writer at a time: a Lease decides who, and a replica that lost it stops before its next write to AWS."""

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

# Long enough that a handover falls into the making of a cluster.
LIFE = Durations(4, 1, 1, 2, 0.5, 1)
LEASE = ("coordination.k8s.io/v1", "Lease", "keelson", NAMESPACE)
# A Lease that lasts 8 s instead of 15.
SHORT_LEASE = ("--lease-duration=8s", "--renew-deadline=5s", "--retry-period=1s")
# The Lease's own time, a look every second, and a loaded machine.
SILENT_SECONDS = 18


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


def holder(on: Environment) -> str:
    lease = on.api.find(*LEASE) or {}
    return lease.get("spec", {}).get("holderIdentity", "")


def figure(replica: Controller, name: str, **labels: str) -> float:
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
    on: Environment, account: str, window: str = READ_AFTER_WRITE_WINDOW
) -> tuple[Controller, Controller]:
    first = on.start(*SHORT_LEASE, account=account, name="keelson-a", window=window)
    until(lambda: holder(on) == "keelson-a", what="the first replica's lease")
    return first, on.start(*SHORT_LEASE, account=account, name="keelson-b", window=window)


def test_standby_looks_at_nothing_and_takes_over_at_once_when_the_leader_stops(on):
    account = fresh_account()
    first, second = two_replicas(on, account)
    made = pair("handed-over")
    on.apply(*made)
    until(lambda: creates(first) > 5, what="the first creates")
    assert figure(second, "keelson_aws_calls_total") == 0
    assert (figure(first, "keelson_leader"), figure(second, "keelson_leader")) == (1, 0)

    began = time.monotonic()
    assert first.stop() == 0
    until(lambda: holder(on) == "keelson-b", 6, "the second replica's lease")
    assert time.monotonic() - began < 6
    on.ready(*made)
    on.account(account).resources()  # fails when there are two of anything
    on.delete(*made)
    assert on.account(account).inventory() == {}
    second.stop()


def test_killed_leader_is_followed_when_its_lease_has_run_out(on):
    account = fresh_account()
    first, second = two_replicas(on, account)
    made = pair("orphaned")
    on.apply(*made)
    until(lambda: creates(first) > 5, what="the first creates")
    first.kill()
    until(lambda: holder(on) == "keelson-b", SILENT_SECONDS, "the second replica's lease")
    on.ready(*made)
    on.account(account).resources()
    on.delete(*made)
    second.stop()


def test_a_container_that_is_started_again_in_its_pod_goes_on_at_once(on):
    account = fresh_account()
    only = on.start(account=account, name="keelson-a")
    until(lambda: holder(on) == "keelson-a", what="the lease")
    only.kill()
    began = time.monotonic()
    only.restart()
    on.await_ready(only)
    until(lambda: figure(only, "keelson_leader") == 1, 8, "the lease")
    assert time.monotonic() - began < 8
    only.stop()


def test_paused_leader_writes_nothing_once_it_wakes_up(on):
    account = fresh_account()
    first, second = two_replicas(on, account)
    # What it wants to write when it wakes up: a cluster that came while it slept, and one that it was about to go on with.
    began = pair("begun")
    on.apply(*began)
    # Nothing is in flight while AWS is at work on the control plane: what is answered after the pause was sent after it.
    on.await_condition(began[0], "NetworkReady")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        until(lambda: holder(on) == "keelson-b", SILENT_SECONDS, "the second replica's lease")
        later = pair("later")
        on.apply(*later)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    before = creates(first)
    on.ready(*began, *later)
    assert creates(first) == before
    assert figure(first, "keelson_leader") == 0
    assert figure(first, "keelson_objects") == 0, "only the leader counts objects"
    assert figure(second, "keelson_objects", kind="EksCluster") == 2
    vpcs = on.account(account).counts()["vpcs"]
    assert vpcs == 2
    on.delete(*began, *later)
    # It stands by again.
    second.stop()
    until(lambda: holder(on) == "keelson-a", 10, "the first replica's lease")
    first.stop()


def test_creates_that_aws_carries_out_after_a_takeover_are_made_once(on):
    """The worst case of creates without a client token: sent by a leader that loses its lease, and done by AWS only then."""
    account = fresh_account()
    # The window of the successor ends after the slow calls do: 8 s of the lease, and 4 s.
    first, second = two_replicas(on, account, window="--read-after-write-window=4s")
    network = {"vpc": {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}}
    made = cluster("slow-creates", network=network)
    slow = {"delay": 10}

    def recorded(*keys: str) -> bool:
        resources = {r["key"]: r.get("id") for r in on.status(made).get("resources", [])}
        return all(key in resources and not resources[key] for key in keys)

    def taken_over(of: Controller, by: str) -> None:
        os.kill(of.pid, signal.SIGSTOP)
        try:
            until(lambda: holder(on) == by, SILENT_SECONDS, f"the lease of {by}")
        finally:
            on.aws.clear_faults()
            os.kill(of.pid, signal.SIGCONT)

    for action in ("CreateVpc", "AllocateAddress"):
        on.aws.add_fault({"account": account, "action": action}, slow)
    on.apply(made)
    until(lambda: recorded("vpc", f"elasticIp/{REGION}a"), 20, "the first intents")
    rest = ("CreateSubnet", "CreateInternetGateway", "CreateRouteTable", "CreateSecurityGroup")
    taken_over(first, "keelson-b")
    for action in rest:
        on.aws.add_fault({"account": account, "action": action}, slow)
    until(
        lambda: recorded("internetGateway", "routeTable/public", "securityGroup/endpoints"),
        30,
        "the intents of what is in the VPC",
    )
    taken_over(second, "keelson-a")
    on.await_condition(made, "NetworkReady", timeout=60)
    counts = on.account(account).counts()
    single = ("vpcs", "internetGateways", "addresses")
    assert {kind: counts[kind] for kind in single} == dict.fromkeys(single, 1)
    assert (counts["subnets"], counts["routeTables"]) == (4, 3)
    on.account(account).resources()  # fails when there are two of anything
    on.delete(made)
    assert on.account(account).inventory() == {}
    first.stop()
    second.stop()


def allow_config_maps_of(on: Environment, name: str) -> None:
    """What deploy/rbac.yaml gives for the usual name, for another."""
    (role,) = [r for r in on.api.list("rbac.authorization.k8s.io/v1", "Role", NAMESPACE) if "configmaps" in str(r["rules"])]
    for rule in role["rules"]:
        if rule["resources"] == ["configmaps"]:
            rule["resourceNames"] += [f"{name}-{what}" for what in ("duration-estimates", "deletions", "installation")]
    on.api.patch(*key_of(role)[:3], {"rules": role["rules"]}, NAMESPACE)


def test_without_leader_election_there_is_no_lease(on):
    name = "no-lease"
    flags = ("--leader-election=false", "--leader-election-name", name)
    alone = on.start(*flags, account=fresh_account(), wait=False)
    allow_config_maps_of(on, name)
    on.await_ready(alone)
    assert on.api.find(LEASE[0], LEASE[1], name, NAMESPACE) is None
    made = cluster("alone")
    on.apply(made)
    on.await_condition(made, "NetworkReady")
    on.delete(made)
    assert on.api.find(*key_of(made)) is None
    alone.stop()
