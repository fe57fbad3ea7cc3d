"""From 1.31 to 1.35 by editing one field: control plane, add-ons and nodes in order, one minor at a time.

One upgrade is sampled from start to end; the tests check the samples.
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
    # An update of the control plane takes long enough to be observed on a busy machine, too: otherwise its duration is not known.
    with environment(git=False, flux=False, durations=Durations(1, 2.5, 1, 1.5, 0.3, 0.5)) as started:
        yield started


@dataclass
class Run:
    """One upgrade, from the edit to its end."""

    shop: Shop
    sampler: StateSampler
    # Positions in the call log: at the edit, and after it had been blocked for a while.
    began: int
    unblocked: int
    # The objects while it was blocked.
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
        until(lambda: shop.versions()["follower"] == "1.34", 20, "the upgrade of the group without its own version")
        until(shop.stalled, 10, "Stalled")
        time.sleep(QUIET_SECONDS)
        unblocked = on.mark()
        blocked, fixed = shop.found(shop.cluster), shop.found(shop.fixed)
        shop.free_the_fixed_group()
        arrive(shop)
        time.sleep(1)
    return Run(shop, sampler, began, unblocked, blocked, fixed)


def test_writes_are_exactly_the_expected_steps_in_order(run):
    assert run.steps() == STEPS


def test_kubelets_are_never_newer_or_more_than_three_minors_older_than_control_plane(run):
    assert run.sampler.breaches == []
    # Sampled while nodes were being replaced: both versions, and old nodes cordoned.
    mixed = [seen for seen in run.sampler.nodes if len({n["kubelet"] for n in seen["nodes"]}) > 1]
    assert any(node["cordoned"] for seen in mixed for node in seen["nodes"])


def test_upgrade_blocks_before_a_node_group_would_be_four_minors_behind(run):
    assert run.shop.steps(run.began)[:BEFORE_THE_EDIT] == STEPS[:BEFORE_THE_EDIT]
    found = conditions(run.blocked)
    ready, stalled = found["Ready"], found["Stalled"]
    assert (ready["status"], ready["reason"]) == ("False", "UpgradeBlocked")
    assert stalled["status"] == "True"
    for expected in ("fixed", "1.31", "1.35"):
        assert expected in ready["message"], ready["message"]
    assert run.blocked["status"]["version"] == "1.34"
    # The group itself matches its spec.
    assert conditions(run.fixed)["Ready"]["status"] == "True"


def test_blocked_upgrade_writes_nothing_until_the_edit_unblocks_it(run):
    assert run.shop.steps(run.unblocked) == STEPS[BEFORE_THE_EDIT:]


def test_upgrade_reaches_target_versions(run):
    assert run.shop.versions() == {"cluster": GOAL, "follower": GOAL, "fixed": "1.34"}
    addons = run.shop.addons()
    assert set(addons) == set(ADDONS)
    assert (addons["kube-proxy"], addons["coredns"]) == ("v1.35.0-eksbuild.2", "v1.13.1-eksbuild.1")
    assert sorted(run.shop.goals_of_updates()) == sorted(STEPS)
    found = conditions(run.shop.found(run.shop.cluster))
    assert (found["InSync"]["status"], found["Upgrading"]["status"]) == ("True", "False")
    assert found["Stalled"]["status"] == "False"


def test_status_shows_from_to_path_and_step(run):
    sampler = run.sampler
    assert "1.31" in sampler.each("from") and sampler.each("to")[0] == GOAL
    assert PATH in sampler.each("path")
    steps = sampler.each("step")
    assert steps == sorted(steps) and set(steps) >= {1, 2, 3, 4}
    assert [status["version"] for status in changes_of(sampler.seen, "version")] == ["1.31", *PATH]


def changes_of(statuses: list[dict], name: str) -> list[dict]:
    found: list[dict] = []
    for status in statuses:
        if not found or found[-1].get(name) != status.get(name):
            found.append(status)
    return found


def test_status_names_each_control_plane_update_in_progress(run):
    update_ids = [u["id"] for u in run.shop.updates() if u["type"] == "VersionUpdate" and not u["of"]]
    reported = run.sampler.each("updateId")
    assert len(update_ids) == 4 and set(update_ids) <= set(reported)
    messages = [c["message"] for c in run.sampler.conditions("Upgrading") if c["status"] == "True"]
    assert any(update in message for update in update_ids for message in messages), messages


def test_preflight_checks_are_in_status_before_the_first_write(run):
    checked = next(status for status in run.sampler.seen if status.get("upgrade", {}).get("preflight"))
    assert checked["version"] == "1.31"
    verdicts = {c["check"]: c["verdict"] for c in checked["upgrade"]["preflight"]}
    assert verdicts["Insights"] == "Passed"
    assert "Failed" not in verdicts.values()
    assert len(verdicts) >= 4


def test_history_lists_past_steps_with_durations(run):
    history = run.shop.found(run.shop.cluster)["status"]["upgrade"]["history"]
    assert [entry["version"] for entry in history] == PATH
    assert all(entry["seconds"] >= 1 and entry["startedAt"] for entry in history)


def test_upgrading_condition_shows_step_k_of_n_and_ready_shows_reason(run):
    upgrading = [c for c in run.sampler.conditions("Upgrading") if c["status"] == "True"]
    assert any(" of " in c["message"] for c in upgrading), [c["message"] for c in upgrading]
    reasons = {c["reason"] for c in run.sampler.conditions("Ready") if c["status"] == "False"}
    assert reasons >= {"Upgrading", "UpgradeBlocked"}
    assert reasons <= {"Upgrading", "UpgradeBlocked", "Updating"}, reasons


def test_version_and_target_columns_change(run):
    assert [pair for pair in run.sampler.columns if pair[1] == GOAL] == [
        (version, GOAL) for version in ("1.31", *PATH)
    ]
    head, row = run.shop.on.api.table(
        "keelson.dev/v1alpha1", "EksCluster", name=run.shop.name
    ).splitlines()
    shown = dict(zip(head.split(), row.split(), strict=False))
    assert (shown["VERSION"], shown["TARGET"]) == (GOAL, GOAL)


def test_events_for_each_step_and_the_block(run):
    events = run.shop.on.events(run.shop.cluster)
    notes = [event["note"] for event in events if event["type"] == "Normal"]
    for version in PATH:
        assert any(version in note for note in notes), (version, notes)
    warnings = [event for event in events if event["type"] == "Warning"]
    assert any(e["reason"] == "UpgradeBlocked" and "fixed" in e["note"] for e in warnings), warnings


def test_node_group_status_shows_version_and_ready_nodes(run):
    """Checked in the final status, after two upgrades."""
    status = run.shop.found(run.shop.follower)["status"]
    assert (status["version"], status["readyNodes"]) == (GOAL, 2)
    assert run.shop.found(run.shop.fixed)["status"]["version"] == "1.34"


def test_nothing_is_written_after_the_upgrade(run, on):
    mark = on.mark()
    for _ in range(2):
        on.reconcile(*run.shop.items)
    assert run.shop.steps(mark) == []
