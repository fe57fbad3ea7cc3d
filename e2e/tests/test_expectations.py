"""What the operator learned of how long AWS takes outlives it, and is never more than a hint."""

from __future__ import annotations

import json

import pytest

from fleet.account import fresh_account
from fleet.manifests import cluster
from fleet.environment import environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.cloud import NAMESPACE

SECONDS = 5
KEPT = ("v1", "ConfigMap", "keelson-duration-estimates", NAMESPACE)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(SECONDS, 1, 1, 1, 0.3, 0.5)) as started:
        yield started


def told_while_creating(on, item: dict) -> str:
    on.apply(item)
    until(lambda: "to go" in on.condition(item, "ControlPlaneReady").get("message", ""), 20, "the expected end")
    return on.condition(item, "ControlPlaneReady")["message"]


def test_what_one_operator_learned_the_next_one_knows(on):
    account = fresh_account()
    with on.operator(account=account):
        first = cluster("first")
        assert "about 9 min to go" in told_while_creating(on, first)
        on.await_condition(first, "ControlPlaneReady")
    kept = json.loads(on.api.get(*KEPT)["data"][f"{account}.{REGION}"])
    assert SECONDS - 1 < kept["seconds"]["cluster/Create"] < SECONDS + 3, kept
    with on.operator(account=account):
        second = cluster("second")
        assert "so far, seconds to go" in told_while_creating(on, second)
        on.delete(first, second)


def test_what_was_learned_in_one_account_is_expected_in_the_next(on):
    with on.operator(account=fresh_account()):
        first = cluster("here")
        on.apply(first)
        on.await_condition(first, "ControlPlaneReady")
        on.delete(first)
    with on.operator(account=fresh_account()):
        second = cluster("there")
        assert "so far, seconds to go" in told_while_creating(on, second)
        on.delete(second)


def test_what_cannot_be_read_is_named_in_the_log_and_in_nobodys_way(on):
    account, other = fresh_account(), fresh_account()
    good = json.dumps({"learned": "2026-11-22T00:00:00Z", "seconds": {"cluster/Delete": 1}})
    data = {f"{account}.{REGION}": "{", f"{other}.{REGION}": good, "README": "hello"}
    version, kind, name, namespace = KEPT
    metadata = {"name": name, "namespace": namespace}
    on.api.delete(*KEPT)
    on.api.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "data": data})
    with on.operator(account=account) as operator:
        made = cluster("unread")
        assert "about 9 min to go" in told_while_creating(on, made)
        on.await_condition(made, "ControlPlaneReady")
        log = operator.log.read_text()
        assert "cannot be read, and is learned anew" in log and f"{account}.{REGION}" in log
        on.delete(made)
    data = on.api.get(*KEPT)["data"]
    assert "cluster/Create" in json.loads(data[f"{account}.{REGION}"])["seconds"]
    assert json.loads(data[f"{other}.{REGION}"]) == json.loads(good), "what others learned stays"
