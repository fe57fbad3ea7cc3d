"""Estimates of how long AWS operations take survive a restart of the operator, and are only hints."""

from __future__ import annotations

import json

import pytest

from fleet.account import fresh_account
from fleet.manifests import cluster
from fleet.environment import environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.cloud import NAMESPACE
from keelson_harness.load import busy_factor

SECONDS = 5
CONFIG_MAP = ("v1", "ConfigMap", "keelson-duration-estimates", NAMESPACE)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(SECONDS, 1, 1, 1, 0.3, 0.5)) as started:
        yield started


def message_while_creating(on, item: dict) -> str:
    on.apply(item)
    until(lambda: "remaining" in on.condition(item, "ControlPlaneReady").get("message", ""), 20, "the estimate")
    return on.condition(item, "ControlPlaneReady")["message"]


def test_duration_estimates_survive_a_restart(on):
    account = fresh_account()
    with on.operator(account=account):
        first = cluster("first")
        assert "about 9 min remaining" in message_while_creating(on, first)
        on.await_condition(first, "ControlPlaneReady")
    stored = json.loads(on.api.get(*CONFIG_MAP)["data"][f"{account}.{REGION}"])
    assert SECONDS - 1 < stored["seconds"]["cluster/Create"] < SECONDS + 3 * busy_factor(), stored
    with on.operator(account=account):
        second = cluster("second")
        assert ", less than 10 s remaining" in message_while_creating(on, second)
        on.delete(first, second)


def test_estimates_of_one_account_apply_to_a_new_account(on):
    with on.operator(account=fresh_account()):
        first = cluster("here")
        on.apply(first)
        on.await_condition(first, "ControlPlaneReady")
        on.delete(first)
    with on.operator(account=fresh_account()):
        second = cluster("there")
        assert ", less than 10 s remaining" in message_while_creating(on, second)
        on.delete(second)


def test_unreadable_estimates_are_logged_and_replaced(on):
    account, other = fresh_account(), fresh_account()
    good = json.dumps({"learned": "2026-11-22T00:00:00Z", "seconds": {"cluster/Delete": 1}})
    data = {f"{account}.{REGION}": "{", f"{other}.{REGION}": good, "README": "hello"}
    version, kind, name, namespace = CONFIG_MAP
    metadata = {"name": name, "namespace": namespace}
    on.api.delete(*CONFIG_MAP)
    on.api.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "data": data})
    with on.operator(account=account) as operator:
        created = cluster("unread")
        assert "about 9 min remaining" in message_while_creating(on, created)
        on.await_condition(created, "ControlPlaneReady")
        log = operator.log.read_text()
        assert "invalid stored duration estimates" in log and f"{account}.{REGION}" in log
        on.delete(created)
    data = on.api.get(*CONFIG_MAP)["data"]
    assert "cluster/Create" in json.loads(data[f"{account}.{REGION}"])["seconds"]
    assert json.loads(data[f"{other}.{REGION}"]) == json.loads(good), "estimates of other accounts stay"
