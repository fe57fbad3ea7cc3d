"""The same upgrade with failures: killed after each write, each update failing once, updates by others.

It ends in the same state each time, and no update is issued twice.
"""

from __future__ import annotations

from collections import Counter

import pytest

from fleet.killing import killed_at
from fleet.environment import Environment, environment, until
from fleet.upgrading import STEPS, StateSampler, Shop, arrive
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

UPDATE_SECONDS = 0.8
LONG_SECONDS = 5


@pytest.fixture(scope="module")
def on():
    """Without a workload cluster, as all clusters would share it and see each other's nodes."""
    durations = Durations(1, UPDATE_SECONDS, 0.5, 0.8, 0.2, 0.5)
    with environment(workload=False, git=False, durations=durations) as started:
        yield started


def assert_each_update_was_issued_once(shop: Shop) -> None:
    issued = Counter(shop.goals_of_updates())
    assert [goal for goal, times in issued.items() if times > 1] == [], "issued twice"
    assert sorted(issued) == sorted(STEPS)


def test_upgrade_completes_without_duplicate_updates_when_killed_after_every_write(on, capsys):
    """No operator receives the response of a write; the next operator observes the result."""
    shop = Shop(on)
    with on.operator(account=shop.account.id):
        shop.make()
    mark = on.mark()
    with StateSampler(shop) as sampler:
        shop.upgrade()
        run = killed_at(on, shop.account.id, shop.go_on, timeout=240)
    with capsys.disabled():
        print(f"\n  {run.summary('upgrade')}")
    assert sampler.breaches == []
    assert_each_update_was_issued_once(shop)
    assert [write for write in run.writes if write not in run.points] == []
    # A call repeated with its client token started no second update.
    assert list(dict.fromkeys(shop.steps(mark))) == STEPS
    shop.go_away()


def test_update_finished_while_operator_is_down_is_recorded_once(on):
    shop = Shop(on)
    with on.operator(account=shop.account.id):
        shop.make()
        mark = on.mark()
        shop.upgrade("1.32")
        until(lambda: shop.steps(mark), 20, "the update")
        until(lambda: is_reported(shop, shop.updates()[0]["id"]), 5, "its id in status")
    until(lambda: shop.versions()["cluster"] == "1.32", 10, "the end of the update")
    with on.operator(account=shop.account.id):
        until(lambda: len(shop.steps(mark)) >= 3, 20, "the next steps")
        on.ready(*shop.items)
    assert shop.steps(mark) == [*STEPS[:2], "UpdateNodegroupVersion follower 1.32"]
    history = shop.found(shop.cluster)["status"]["upgrade"]["history"]
    assert [entry["version"] for entry in history] == ["1.32"]
    shop.go_away()


def is_reported(shop: Shop, update: str) -> bool:
    item = shop.found(shop.cluster)
    messages = [condition.get("message", "") for condition in conditions(item).values()]
    return update in item["status"].get("upgrade", {}).get("updateId", "") or any(
        update in message for message in messages
    )


# All of these run concurrently, each in its own account, under one operator.


class Upgrade:
    """A cluster that is upgraded, and the position of its edit in the call log."""

    def __init__(self, on: Environment):
        self.on = on
        self.shop = Shop(on, by_role=True)
        self.mark = 0

    def edit(self) -> None:
        self.mark = self.on.mark()
        self.shop.upgrade()

    def steps(self) -> list[str]:
        return self.shop.steps(self.mark)


def fail_each_once(on: Environment, shop: Shop) -> None:
    """The first attempt of each update fails, whatever it updates."""
    for action, resource, times in (
        ("UpdateClusterVersion", "*", 4),
        ("UpdateAddon", "*/kube-proxy", 4),
        ("UpdateAddon", "*/coredns", 3),
        ("UpdateAddon", "*/snapshot-controller", 1),
        ("UpdateNodegroupVersion", "*/follower", 2),
        ("UpdateNodegroupVersion", "*/fixed", 1),
    ):
        for number in range(times):
            match = {"account": shop.account.id, "action": action, "resource": resource}
            on.aws.add_fault(
                {**match, "after_calls": 2 * number, "times": 1},
                {"health_issue": {"code": "Unknown", "message": "an internal failure"}},
            )


def start_manual_update(on: Environment, start) -> str:
    """Starts a manual update that takes longer than the operator's. Returns its id."""
    on.aws.control("POST", "settings", json={"CLUSTER_UPDATE_SECONDS": LONG_SECONDS})
    try:
        return start()["update"]["id"]
    finally:
        on.aws.control("POST", "settings", json={"CLUSTER_UPDATE_SECONDS": UPDATE_SECONDS})


@pytest.fixture(scope="module")
def upgrades(on: Environment) -> dict[str, Upgrade]:
    created = {name: Upgrade(on) for name in ("failing", "theirs", "by-hand", "cancelled")}
    on.start("--drift-interval=5s")
    for upgrade in created.values():
        upgrade.shop.apply()
    for upgrade in created.values():
        on.ready(*upgrade.shop.items)
    fail_each_once(on, created["failing"].shop)
    cancelled = {"account": created["cancelled"].shop.account.id, "action": "UpdateClusterVersion"}
    on.aws.add_fault({**cancelled, "times": 1}, {"cancel": "by an operator of AWS"})
    return created


@pytest.fixture(scope="module")
def steps_during_foreign_update(on: Environment, upgrades) -> list[str]:
    """The operator's steps while the update by others is in progress, once the status names that update."""
    shop = upgrades["theirs"].shop
    eks, logs = shop.account.eks, {"clusterLogging": [{"types": ["api"], "enabled": True}]}
    foreign_update = start_manual_update(on, lambda: eks.update_cluster_config(name=shop.name, logging=logs))
    by_hand = upgrades["by-hand"].shop
    start_manual_update(
        on, lambda: by_hand.account.eks.update_cluster_version(name=by_hand.name, version="1.32")
    )
    for upgrade in upgrades.values():
        upgrade.edit()
    until(lambda: is_reported(shop, foreign_update), LONG_SECONDS, "the id of the update by others")
    return upgrades["theirs"].steps()


@pytest.fixture(scope="module")
def completed(upgrades, steps_during_foreign_update) -> dict[str, Upgrade]:
    for upgrade in upgrades.values():
        arrive(upgrade.shop)
    return upgrades


def test_upgrade_completes_when_each_update_fails_once(completed):
    upgrade = completed["failing"]
    assert sorted(upgrade.shop.goals_of_updates("Failed")) == sorted(STEPS), "not every update failed once"
    assert_each_update_was_issued_once(upgrade.shop)
    assert upgrade.steps() == [step for step in STEPS for _ in range(2)]


def test_update_by_others_is_named_and_awaited(completed, steps_during_foreign_update):
    upgrade = completed["theirs"]
    assert steps_during_foreign_update == [], "an update was started while the other was in progress"
    assert_each_update_was_issued_once(upgrade.shop)
    assert upgrade.steps() == STEPS


def test_step_done_by_others_is_not_repeated(completed):
    upgrade = completed["by-hand"]
    assert_each_update_was_issued_once(upgrade.shop)
    assert upgrade.steps() == STEPS[1:]


def test_cancelled_update_is_started_again(completed):
    upgrade = completed["cancelled"]
    assert upgrade.shop.goals_of_updates("Cancelled") == STEPS[:1]
    assert_each_update_was_issued_once(upgrade.shop)
    assert upgrade.steps() == [STEPS[0], *STEPS]
