"""The operator's own AWS credentials: wrong ones are told, right ones taken up, and neither is ever shown."""

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


def test_wrong_credentials_are_told_and_right_ones_taken_up(on: Environment):
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
