"""The operator is killed at every write of a rollout of agents, and of one of revisions: the waves keep their order and their limits.

What is released is written to the workload clusters. `test_rollout_crash.py` does the same with control planes and node groups.
"""

from __future__ import annotations

import pytest

from examples.played_agents import played_agents
from fleet.agent_rings import Agents, Sources, greeting
from fleet.environment import Environment, environment, until
from fleet.lane_killing import handed_over_until, has_returned, killed_until
from handover import NEWER, OLDER, SOURCE
from keelson_harness.aws import Durations

DURATIONS = Durations(1, 1, 0.5, 0.8, 0.2, 0.5)
SECONDS = 60


class ThreeAgents(Agents):
    """One canary, and two of which one at a time gets its agent."""

    def __init__(self, on: Environment):
        super().__init__(on, {"canary": 1, "prod": 2}, gates=["Agent"])

    def begin(self) -> None:
        """One commit raises the version of all. They have the older one, which waits for no wave."""
        with self.on.operator(account=self.account.id):
            self.set_version(OLDER)
            until(lambda: self.all_at(OLDER), SECONDS, "the older agents")
            self.on.ready(*self.clusters)
            until(lambda: not self.found()["status"].get("releases"), SECONDS, "the end of the release before")
        self.set_version(NEWER)

    def is_done(self) -> bool:
        """Every question also asks whether the order holds."""
        later = [self.installed(item) for item in self.rings["prod"]]
        release = self.release()
        waves = release.get("waves") or [{}, {}]
        if NEWER in later:
            assert waves[0].get("passedAt"), release
        assert waves[-1].get("inProgress", 0) <= 1, release
        return self.all_at(NEWER) and release.get("state") == "Completed" and has_returned(self, "agentWave", *self.rings["prod"])


@pytest.fixture(scope="module")
def agents():
    with environment(workload_each=True, flux=False, git=False, durations=DURATIONS) as on, played_agents(on.cloud):
        fleet = ThreeAgents(on)
        with on.operator(account=fleet.account.id):
            fleet.make()
        yield fleet
        fleet.go_away()


def test_agents_keep_the_order_of_waves_when_killed_at_every_write(agents, capsys):
    agents.begin()
    points = killed_until(agents.on, agents, agents.is_done, {"apps": ["deployments"]}).points
    with capsys.disabled():
        print(f"\n  agents: killed at {len(points)} writes")
    kinds = [point.split()[1] for point in points]
    # Each cluster asks, claims and releases; the rollout gives and takes back; what it is about is written in between.
    assert kinds.count("EksCluster") >= 6 and kinds.count("FleetRollout") >= 5 and "Deployment" in kinds, points


@pytest.mark.parametrize("seed", range(2))
def test_agents_keep_the_order_of_waves_when_replicas_take_over_from_each_other(agents, seed):
    agents.begin()
    assert handed_over_until(agents.on, agents, agents.is_done, seed) >= 3


class ThreeSources(Sources):
    """A canary, and two clusters of which one at a time gets the commit."""

    def __init__(self, on: Environment):
        super().__init__(on, prod=2)
        self.commit = self.first
        self.expected = "first"

    def is_done(self) -> bool:
        later = [self.reference(item).get("commit") for item in self.rings["prod"]]
        release = next((one for one in self.found()["status"].get("releases", []) if (one.get("revision") or "").endswith(self.commit)), {})
        waves = release.get("waves") or [{}, {}]
        if self.commit in later:
            assert waves[0].get("passedAt"), release
        assert waves[-1].get("inProgress", 0) <= 1, release
        have_it = all(self.text(item) == self.expected for item in self.clusters)
        return have_it and release.get("state") == "Completed" and has_returned(self, "revisionWave", *self.rings["prod"])

    def release_next(self, text: str) -> None:
        """A commit, once the later wave is held at the one before."""
        with self.on.operator(account=self.account.id):
            until(lambda: all(self.held(item).get("allowed", "").endswith(self.commit) for item in self.rings["prod"]), SECONDS, "the hold")
            self.commit, self.expected = self.repository.commit(greeting(text)), text


@pytest.fixture(scope="module")
def sources():
    with environment(workload_each=True, durations=DURATIONS) as on:
        fleet = ThreeSources(on)
        with on.operator(account=fleet.account.id):
            fleet.make()
        yield fleet
        fleet.go_away()


def test_revisions_keep_the_order_of_waves_when_killed_at_every_write(sources, capsys):
    sources.release_next("killed")
    points = killed_until(sources.on, sources, sources.is_done, {SOURCE[0].split("/")[0]: ["gitrepositories"]}).points
    with capsys.disabled():
        print(f"\n  revisions: killed at {len(points)} writes")
    kinds = [point.split()[1] for point in points]
    # The canary follows the branch without a ticket. Each of the others claims and releases; it may have asked before.
    assert kinds.count("EksCluster") >= 4 and kinds.count("FleetRollout") >= 5 and kinds.count(SOURCE[1]) >= 2, points


def test_revisions_keep_the_order_of_waves_when_replicas_take_over_from_each_other(sources):
    sources.release_next("handed over")
    assert handed_over_until(sources.on, sources, sources.is_done, 1) >= 3
    assert {sources.reference(item)["commit"] for item in sources.rings["prod"]} == {sources.commit}
