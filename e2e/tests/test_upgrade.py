"""From 1.31 to 1.35 by editing one field: control plane, add-ons and nodes in their order, a minor at a time.

One upgrade, watched all the way; the tests judge what was seen of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from fleet.environment import Environment, environment, until
from fleet.upgrading import ADDONS, BEFORE_THE_EDIT, GOAL, STEPS, StateSampler, Shop, arrive
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

PATH = ["1.32", "1.33", "1.34", "1.35"]
# Nothing may be written while it is blocked.
QUIET_SECONDS = 3


@pytest.fixture(scope="module")
def on():
    with environment(git=False, flux=False, durations=Durations(1, 1.5, 1, 1.5, 0.3, 0.5)) as started:
        yield started


@dataclass
class Run:
    """One upgrade, from the edit to the end."""

    shop: Shop
    sampler: StateSampler
    # Places in the call log: the edit, and when it had stood blocked for a while.
    began: int
    freed: int
    # The objects as they were while it was blocked.
    blocked: dict
    fixed: dict

    def steps(self) -> list[str]:
        return self.shop.steps(self.began)


@pytest.fixture(scope="module")
def run(on: Environment) -> Run:
    shop = Shop(on)
    on.start("--drift-interval=5s", account=shop.account.id)
    shop.make()
    assert shop.versions() == {"cluster": "1.31", "follower": "1.31", "fixed": "1.31"}
    began = on.mark()
    with StateSampler(shop) as sampler:
        shop.upgrade()
        until(shop.blocked_by_the_fixed_group, 90, "the block")
        until(lambda: shop.versions()["follower"] == "1.34", 20, "the group that follows")
        until(shop.stalled, 10, "Stalled")
        time.sleep(QUIET_SECONDS)
        freed = on.mark()
        blocked, fixed = shop.found(shop.cluster), shop.found(shop.fixed)
        shop.free_the_fixed_group()
        arrive(shop)
        time.sleep(1)
    return Run(shop, sampler, began, freed, blocked, fixed)


def test_every_write_comes_in_its_order_and_there_is_no_other(run):
    assert run.steps() == STEPS


def test_no_kubelet_is_ever_newer_than_its_control_plane_or_more_than_three_minors_older(run):
    assert run.sampler.breaches == []
    # It was looked at while nodes were being replaced: both versions, and old nodes cordoned.
    mixed = [seen for seen in run.sampler.nodes if len({n["kubelet"] for n in seen["nodes"]}) > 1]
    assert any(node["cordoned"] for seen in mixed for node in seen["nodes"])


def test_it_stops_where_the_fixed_group_would_be_four_minors_behind_and_says_so(run):
    assert run.shop.steps(run.began)[:BEFORE_THE_EDIT] == STEPS[:BEFORE_THE_EDIT]
    found = conditions(run.blocked)
    ready, stalled = found["Ready"], found["Stalled"]
    assert (ready["status"], ready["reason"]) == ("False", "UpgradeBlocked")
    assert stalled["status"] == "True"
    for named in ("fixed", "1.31", "1.35"):
        assert named in ready["message"], ready["message"]
    assert run.blocked["status"]["version"] == "1.34"
    # The group itself is as asked for.
    assert conditions(run.fixed)["Ready"]["status"] == "True"


def test_nothing_is_written_while_it_is_blocked_and_the_edit_frees_it(run):
    assert run.shop.steps(run.freed) == STEPS[BEFORE_THE_EDIT:]


def test_everything_ends_at_the_goal(run):
    assert run.shop.versions() == {"cluster": GOAL, "follower": GOAL, "fixed": "1.34"}
    addons = run.shop.addons()
    assert set(addons) == set(ADDONS)
    assert (addons["kube-proxy"], addons["coredns"]) == ("v1.35.0-eksbuild.2", "v1.13.1-eksbuild.1")
    assert sorted(run.shop.goals_of_updates()) == sorted(STEPS)
    found = conditions(run.shop.found(run.shop.cluster))
    assert (found["InSync"]["status"], found["Upgrading"]["status"]) == ("True", "False")
    assert found["Stalled"]["status"] == "False"


def test_status_tells_from_where_to_where_and_which_step(run):
    sampler = run.sampler
    assert "1.31" in sampler.each("from") and sampler.each("to")[0] == GOAL
    assert PATH in sampler.each("path")
    steps = sampler.each("step")
    assert steps == sorted(steps) and set(steps) >= {1, 2, 3, 4}
    assert [status["version"] for status in one_each(sampler.seen, "version")] == ["1.31", *PATH]


def one_each(statuses: list[dict], name: str) -> list[dict]:
    found: list[dict] = []
    for status in statuses:
        if not found or found[-1].get(name) != status.get(name):
            found.append(status)
    return found


def test_status_names_each_update_of_the_control_plane_while_it_runs(run):
    ours = [u["id"] for u in run.shop.updates() if u["type"] == "VersionUpdate" and not u["of"]]
    told = run.sampler.each("updateId")
    assert len(ours) == 4 and set(ours) <= set(told)
    messages = [c["message"] for c in run.sampler.conditions("Upgrading") if c["status"] == "True"]
    assert any(update in message for update in ours for message in messages), messages


def test_the_checks_stand_in_status_before_anything_is_written(run):
    checked = next(status for status in run.sampler.seen if status.get("upgrade", {}).get("preflight"))
    assert checked["version"] == "1.31"
    verdicts = {c["check"]: c["verdict"] for c in checked["upgrade"]["preflight"]}
    assert verdicts["Insights"] == "Passed"
    assert "Failed" not in verdicts.values()
    assert len(verdicts) >= 4


def test_past_steps_stand_in_history_with_their_durations(run):
    history = run.shop.found(run.shop.cluster)["status"]["upgrade"]["history"]
    assert [entry["version"] for entry in history] == PATH
    assert all(entry["seconds"] >= 1 and entry["startedAt"] for entry in history)


def test_upgrading_is_told_with_step_k_of_n_and_ready_says_why_it_is_not(run):
    upgrading = [c for c in run.sampler.conditions("Upgrading") if c["status"] == "True"]
    assert any(" of " in c["message"] for c in upgrading), [c["message"] for c in upgrading]
    reasons = {c["reason"] for c in run.sampler.conditions("Ready") if c["status"] == "False"}
    assert reasons >= {"Upgrading", "UpgradeBlocked"}
    assert reasons <= {"Upgrading", "UpgradeBlocked", "Updating"}, reasons


def test_the_columns_version_and_target_move(run):
    assert [pair for pair in run.sampler.columns if pair[1] == GOAL] == [
        (version, GOAL) for version in ("1.31", *PATH)
    ]
    head, row = run.shop.on.api.table(
        "keelson.dev/v1alpha1", "EksCluster", name=run.shop.name
    ).splitlines()
    shown = dict(zip(head.split(), row.split(), strict=False))
    assert (shown["VERSION"], shown["TARGET"]) == (GOAL, GOAL)


def test_events_tell_each_step_and_the_block(run):
    events = run.shop.on.events(run.shop.cluster)
    notes = [event["note"] for event in events if event["type"] == "Normal"]
    for version in PATH:
        assert any(version in note for note in notes), (version, notes)
    warnings = [event for event in events if event["type"] == "Warning"]
    assert any(e["reason"] == "UpgradeBlocked" and "fixed" in e["note"] for e in warnings), warnings


def test_the_node_group_tells_how_many_nodes_are_new(run):
    """Seen at its object's events and conditions, as it follows twice."""
    status = run.shop.found(run.shop.follower)["status"]
    assert (status["version"], status["readyNodes"]) == (GOAL, 2)
    assert run.shop.found(run.shop.fixed)["status"]["version"] == "1.34"


def test_afterwards_nothing_more_is_written(run, on):
    mark = on.mark()
    time.sleep(6)
    assert run.shop.steps(mark) == []
