"""The same upgrade with everything in its way: killed after each write, each update failing once, somebody else's updates.

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
    """Without the workload cluster, which all clusters would share: nodes of others would be in the way."""
    durations = Durations(1, UPDATE_SECONDS, 0.5, 0.8, 0.2, 0.5)
    with environment(workload=False, git=False, durations=durations) as started:
        yield started


def assert_each_update_was_made_once(shop: Shop) -> None:
    made = Counter(shop.goals_of_updates())
    assert [goal for goal, times in made.items() if times > 1] == [], "issued twice"
    assert sorted(made) == sorted(STEPS)


def test_killed_after_every_write_it_ends_the_same_and_no_update_is_issued_twice(on, capsys):
    """Each write's answer is heard by nobody; the next operator finds out by itself what has become of it."""
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
    assert_each_update_was_made_once(shop)
    assert [write for write in run.writes if write not in run.points] == []
    # A call that was repeated with its token made no second update.
    assert list(dict.fromkeys(shop.steps(mark))) == STEPS
    shop.go_away()


def test_an_update_that_ended_while_the_operator_was_away_is_taken_up_once(on):
    shop = Shop(on)
    with on.operator(account=shop.account.id):
        shop.make()
        mark = on.mark()
        shop.upgrade("1.32")
        until(lambda: shop.steps(mark), 20, "the update")
        until(lambda: told(shop, shop.updates()[0]["id"]), 5, "its id in status")
    until(lambda: shop.versions()["cluster"] == "1.32", 10, "its end")
    with on.operator(account=shop.account.id):
        until(lambda: len(shop.steps(mark)) >= 3, 20, "what follows it")
        on.ready(*shop.items)
    assert shop.steps(mark) == [*STEPS[:2], "UpdateNodegroupVersion follower 1.32"]
    history = shop.found(shop.cluster)["status"]["upgrade"]["history"]
    assert [entry["version"] for entry in history] == ["1.32"]
    shop.go_away()


def told(shop: Shop, update: str) -> bool:
    item = shop.found(shop.cluster)
    messages = [condition.get("message", "") for condition in conditions(item).values()]
    return update in item["status"].get("upgrade", {}).get("updateId", "") or any(
        update in message for message in messages
    )


# All of these at once, each in an account of its own under one operator.


class Played:
    """A shop on its way to the goal, and where in the call log it was edited."""

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
    """Every other update comes to nothing, whatever it is of: the first try of each."""
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


def begin_theirs(on: Environment, begin) -> str:
    """An update by hand that takes longer than ours do. Returns its id."""
    on.aws.control("POST", "settings", json={"CLUSTER_UPDATE_SECONDS": LONG_SECONDS})
    try:
        return begin()["update"]["id"]
    finally:
        on.aws.control("POST", "settings", json={"CLUSTER_UPDATE_SECONDS": UPDATE_SECONDS})


@pytest.fixture(scope="module")
def played(on: Environment) -> dict[str, Played]:
    scenes = {name: Played(on) for name in ("failing", "theirs", "by-hand", "cancelled")}
    on.start("--drift-interval=5s")
    for scene in scenes.values():
        scene.shop.apply()
    for scene in scenes.values():
        on.ready(*scene.shop.items)
    fail_each_once(on, scenes["failing"].shop)
    cancelled = {"account": scenes["cancelled"].shop.account.id, "action": "UpdateClusterVersion"}
    on.aws.add_fault({**cancelled, "times": 1}, {"cancel": "by an operator of AWS"})
    return scenes


@pytest.fixture(scope="module")
def waited(on: Environment, played) -> list[str]:
    """What was seen of somebody else's update, before it ended."""
    shop = played["theirs"].shop
    eks, logs = shop.account.eks, {"clusterLogging": [{"types": ["api"], "enabled": True}]}
    theirs = begin_theirs(on, lambda: eks.update_cluster_config(name=shop.name, logging=logs))
    by_hand = played["by-hand"].shop
    begin_theirs(
        on, lambda: by_hand.account.eks.update_cluster_version(name=by_hand.name, version="1.32")
    )
    for scene in played.values():
        scene.edit()
    until(lambda: told(shop, theirs), LONG_SECONDS, "the id of their update")
    return played["theirs"].steps()


@pytest.fixture(scope="module")
def arrived(played, waited) -> dict[str, Played]:
    for scene in played.values():
        arrive(scene.shop)
    return played


def test_with_each_update_failing_once_it_ends_the_same(arrived):
    scene = arrived["failing"]
    assert sorted(scene.shop.goals_of_updates("Failed")) == sorted(STEPS), "not each failed"
    assert_each_update_was_made_once(scene.shop)
    assert scene.steps() == [step for step in STEPS for _ in range(2)]


def test_somebody_else_s_update_is_named_and_waited_for(arrived, waited):
    scene = arrived["theirs"]
    assert waited == [], "something was tried while theirs ran"
    assert_each_update_was_made_once(scene.shop)
    assert scene.steps() == STEPS


def test_a_step_that_somebody_else_made_is_not_made_again(arrived):
    scene = arrived["by-hand"]
    assert_each_update_was_made_once(scene.shop)
    assert scene.steps() == STEPS[1:]


def test_a_cancelled_update_is_begun_again(arrived):
    scene = arrived["cancelled"]
    assert scene.shop.goals_of_updates("Cancelled") == STEPS[:1]
    assert_each_update_was_made_once(scene.shop)
    assert scene.steps() == [STEPS[0], *STEPS]
