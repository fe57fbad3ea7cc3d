"""The operator's own AWS credentials: wrong ones are reported, valid ones are used, and neither is ever shown."""

from __future__ import annotations

import pytest

from faults import SMALL
from fleet.account import fresh_account
from fleet.manifests import cluster
from fleet.environment import Environment, environment
from keelson_harness.kubeapi import conditions

WRONG = "ASIAWRONGWRONGWRONGW"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


def test_wrong_credentials_are_reported_and_valid_ones_are_used(on: Environment):
    account = on.account(fresh_account())
    item = cluster("keyless", **SMALL)
    on.apply(item)
    with on.operator(account=WRONG):
        found = on.await_condition(
            item, status="False", reason="CredentialsUnavailable", timeout=30
        )
        message = conditions(found)["Ready"]["message"]
        assert "credentials" in message and WRONG not in message
    assert on.writes(0, account.id) == []
    with on.operator(account=account.id):
        on.ready(item)
        on.delete(item)
    assert account.inventory() == {}
