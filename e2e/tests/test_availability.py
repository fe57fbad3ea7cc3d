"""Replicas, the management API server and credentials come and go: one writer at any time, and nothing is lost."""

from __future__ import annotations

import re
import signal
import time

import pytest
import requests

from faults import SMALL
from fleet.account import fresh_account
from fleet.manifests import cluster, key_of, node_group
from fleet.stage import Stage, stage, until
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions

# A lease lasts 15 s without a sign of its holder; the others look every 2 s.
TAKEN_OVER = 25
READ = re.compile('action="(Describe|List|Get|AssumeRole)')


@pytest.fixture(scope="module")
def on():
    with stage(workload=False, git=False, durations=Durations(3, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


def metrics(replica: Controller) -> dict[str, float]:
    text = requests.get(f"{replica.url}/metrics", timeout=5).text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def leads(replica: Controller) -> bool:
    return metrics(replica).get("keelson_leader") == 1


def writes(replica: Controller) -> int:
    """What it sent to AWS to change something, by its own count."""
    sent = {
        name: value
        for name, value in metrics(replica).items()
        if name.startswith("keelson_aws_calls_total{") and not READ.search(name)
    }
    return int(sum(value for name, value in sent.items() if 'outcome="not_leader"' not in name))


def pair(name: str) -> tuple[dict, dict]:
    return cluster(name, **SMALL), node_group(name)


def test_a_leader_that_was_paused_writes_nothing_once_another_leads(on: Stage):
    account = on.account(fresh_account())
    first = on.start(account=account.id, name="keelson-a")
    until(lambda: leads(first), 20, "a leader")
    second = on.start(account=account.id, name="keelson-b")
    items = pair("handover")
    on.apply(*items)

    def called(action: str) -> bool:
        return any(call["action"] == action for call in on.writes(0, account.id))

    until(lambda: called("CreateCluster"), 30, "the middle of the create")
    first.process.signal(signal.SIGSTOP)
    try:
        until(lambda: leads(second), TAKEN_OVER, "another leader")
        on.ready(*items)
    finally:
        first.process.signal(signal.SIGCONT)
    until(lambda: not leads(first), 15, "the end of the first one's claim")
    before = writes(first)
    on.api.patch(*key_of(items[0])[:3], {"spec": {"tags": {"team": "shop"}}})
    until(lambda: called("TagResource"), 30, "a write after the handover")
    on.ready(*items)
    assert writes(first) == before
    # Each write in AWS's log was one replica's, and none was sent twice.
    assert writes(first) + writes(second) == len(on.writes(0, account.id))
    assert before > 0 and account.counts()["vpcs"] == 1
    account.resources()  # fails when two share a key

    second.kill()
    on.api.delete(*key_of(items[0])[:3])
    until(lambda: leads(first), TAKEN_OVER, "the first one's second term")
    on.delete(*items)
    assert account.inventory() == {}

    third = on.start(account=account.id, name="keelson-c")
    assert first.stop() == 0
    until(lambda: leads(third), 8, "a successor to a leader that went in order")
    third.stop()


def test_an_api_server_that_is_away_for_a_while_stops_nothing(on: Stage):
    account = on.account(fresh_account())
    items = pair("away")
    with on.operator(account=account.id) as operator:
        on.apply(*items)
        until(lambda: on.writes(0, account.id), 30, "the first write")
        management = on.cloud.management
        management.apiserver.kill()
        time.sleep(6)
        management.start_apiserver(on.cloud.etcd.url)
        management.wait_apiserver()
        on.ready(*items, timeout=90)
        assert operator.alive and operator.lives == 1
        account.resources()
        assert account.counts()["vpcs"] == 1 and account.counts()["clusters"] == 1
        on.delete(*items)
    assert account.inventory() == {}


def test_wrong_credentials_are_told_and_right_ones_taken_up(on: Stage):
    account = on.account(fresh_account())
    item, _ = pair("keyless")
    on.apply(item)
    with on.operator(account="ASIAWRONGWRONGWRONGW"):
        found = on.await_condition(
            item, status="False", reason="CredentialsUnavailable", timeout=30
        )
        message = conditions(found)["Ready"]["message"]
        assert "credentials" in message and "ASIAWRONG" not in message
    assert on.writes(0, account.id) == []
    with on.operator(account=account.id):
        on.ready(item)
        on.delete(item)
    assert account.inventory() == {}
