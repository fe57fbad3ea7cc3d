"""The operator is killed at every write of a rollout of agents, and of one of revisions: the waves keep their order and their limits.

What clusters and rollouts say to each other is written to the management cluster, what is released to the workload clusters. An admission
webhook kills at both: the write is stored, and nobody receives the answer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from examples.played_agents import played_agents
from fleet.agent_rings import Agents, Sources, greeting
from fleet.environment import Environment, environment, until
from fleet.rings import Rings
from handover import FIELD_MANAGER, NEWER, SOURCE
from handover.killing import Killer, is_of_operator, killer
from keelson_harness.aws import Durations

DURATIONS = Durations(1, 1, 0.5, 0.8, 0.2, 0.5)
LANES = {"keelson-agent-wave": "agentWave", "keelson-revision-wave": "revisionWave"}
STATUSES = {"keelson.dev": ["eksclusters/status", "fleetrollouts/status"]}
SECONDS = 60
# Then the operators may finish.
MAX_KILLS = 12
LEASE = ("--lease-duration=2s", "--renew-deadline=1.5s", "--retry-period=300ms")


def said(request: dict, of: str, lane: str) -> dict:
    """What a cluster says, without the term: each leader writes its own before it continues, so one killed there would never get further."""
    found = ((request.get(of) or {}).get("status") or {}).get("upgrade", {}).get(lane, {})
    return {word: value for word, value in found.items() if word != "term"}


def is_of_rollout(request: dict) -> bool:
    """What a cluster says to its rollout, the rollout's status, or a write to a workload cluster."""
    kind, manager = request["kind"]["kind"], request.get("options", {}).get("fieldManager", "")
    if kind == "EksCluster":
        return manager in LANES and said(request, "object", LANES[manager]) != said(request, "oldObject", LANES[manager])
    return manager == FIELD_MANAGER if kind == "FleetRollout" else is_of_operator(request)


def killed_until(on: Environment, fleet: Rings, kinds: dict[str, list[str]], done: Callable[[], bool]) -> list[str]:
    """Kills at the writes of the rollout, and at those of `kinds` in each workload cluster."""
    shared = Killer(is_of_rollout)
    with ExitStack() as stack:
        stack.enter_context(killer(on, on.cloud.management, STATUSES, shared))
        for item in fleet.clusters:
            plane = on.cloud.workloads.control_plane(item["metadata"]["name"], fleet.account.id)
            stack.enter_context(killer(on, plane, kinds, shared))
        return shared.run(on, done, account=fleet.account.id)


def handed_over_until(on: Environment, fleet: Rings, done: Callable[[], bool], seed: int) -> int:
    """Two replicas that are killed at random moments, and take over from each other. Returns how often."""
    chance = random.Random(seed)
    replicas = [on.start(*LEASE, account=fleet.account.id, name=f"keelson-{number}", wait=False) for number in range(2)]
    deadline, kills = time.monotonic() + 240, 0
    try:
        while not done():
            assert time.monotonic() < deadline, f"not done after {kills} kills: {fleet.release()}"
            time.sleep(chance.uniform(0.3, 3))
            if kills < MAX_KILLS:
                chance.choice(replicas).restart()
                kills += 1
    finally:
        for replica in replicas:
            replica.stop()
    return kills


def has_returned(fleet: Rings, lane: str) -> bool:
    """All clusters have finished, and their rollout knows."""
    said = [set(fleet.on.status(item).get("upgrade", {}).get(lane, {})) for item in fleet.rings["prod"]]
    return all(words == {"released", "term"} for words in said) and not fleet.release().get("tickets")


class ThreeAgents(Agents):
    """One canary, and two of which one at a time gets its agent."""

    def __init__(self, on: Environment):
        super().__init__(on, {"canary": 1, "prod": 2}, gates=["Agent"])

    def is_done(self) -> bool:
        """Every question also asks whether the order holds."""
        later = [self.installed(item) for item in self.rings["prod"]]
        release = self.release()
        waves = release.get("waves") or [{}, {}]
        if NEWER in later:
            assert waves[0].get("passedAt"), release
        assert waves[-1].get("inProgress", 0) <= 1, release
        return self.all_at(NEWER) and release.get("state") == "Completed" and has_returned(self, "agentWave")


@pytest.fixture(scope="module")
def played():
    with environment(workload_each=True, flux=False, git=False, durations=DURATIONS) as started, played_agents(started.cloud):
        yield started


@pytest.fixture(scope="module")
def real():
    with environment(workload_each=True, durations=DURATIONS) as started:
        yield started


def test_agents_keep_the_order_of_waves_when_killed_at_every_write(played, capsys):
    fleet = ThreeAgents(played)
    with played.operator(account=fleet.account.id):
        fleet.make()
    fleet.set_version(NEWER)
    points = killed_until(played, fleet, {"apps": ["deployments"]}, fleet.is_done)
    with capsys.disabled():
        print(f"\n  agents: killed at {len(points)} writes")
    kinds = [point.split()[1] for point in points]
    # Each cluster asks, claims and releases; the rollout gives and takes back; what it is about is written in between.
    assert kinds.count("EksCluster") >= 6 and kinds.count("FleetRollout") >= 5 and "Deployment" in kinds, points
    fleet.go_away()


@pytest.mark.parametrize("seed", range(2))
def test_agents_keep_the_order_of_waves_when_replicas_take_over_from_each_other(played, seed):
    fleet = ThreeAgents(played)
    with played.operator(account=fleet.account.id):
        fleet.make()
    fleet.set_version(NEWER)
    assert handed_over_until(played, fleet, fleet.is_done, seed) >= 3
    fleet.go_away()


class ThreeSources(Sources):
    """A canary, and two clusters of which one at a time gets the commit."""

    def __init__(self, on: Environment, name: str):
        super().__init__(on, name, prod=2)
        self.commit = ""

    def is_done(self) -> bool:
        later = [self.reference(item).get("commit") for item in self.rings["prod"]]
        release = next((one for one in self.found()["status"].get("releases", []) if (one.get("revision") or "").endswith(self.commit)), {})
        waves = release.get("waves") or [{}, {}]
        if self.commit in later:
            assert waves[0].get("passedAt"), release
        assert waves[-1].get("inProgress", 0) <= 1, release
        have_it = all(self.text(item) == "second" for item in self.clusters)
        return have_it and release.get("state") == "Completed" and has_returned(self, "revisionWave")

    def release_second(self) -> None:
        until(lambda: all(self.held(item).get("allowed", "").endswith(self.first) for item in self.rings["prod"]), SECONDS, "the hold")
        self.commit = self.repository.commit(greeting("second"))


def test_revisions_keep_the_order_of_waves_when_killed_at_every_write(real, capsys):
    fleet = ThreeSources(real, "killed")
    with real.operator(account=fleet.account.id):
        fleet.make()
        fleet.release_second()
    points = killed_until(real, fleet, {SOURCE[0].split("/")[0]: ["gitrepositories"]}, fleet.is_done)
    with capsys.disabled():
        print(f"\n  revisions: killed at {len(points)} writes")
    kinds = [point.split()[1] for point in points]
    # The canary follows the branch without a ticket.
    assert kinds.count("EksCluster") >= 6 and kinds.count("FleetRollout") >= 5 and kinds.count(SOURCE[1]) >= 2, points
    fleet.go_away()


def test_revisions_keep_the_order_of_waves_when_replicas_take_over_from_each_other(real):
    fleet = ThreeSources(real, "handed-over")
    with real.operator(account=fleet.account.id):
        fleet.make()
        fleet.release_second()
    assert handed_over_until(real, fleet, fleet.is_done, 1) >= 3
    assert {fleet.reference(item)["commit"] for item in fleet.rings["prod"]} == {fleet.commit}
    fleet.go_away()
