"""FleetRollouts with the gate Agent: a newer version of Flux reaches the clusters wave by wave.

Each cluster has an API server of its own. Flux's Deployments run as Pods that do nothing but report ready.
"""

from __future__ import annotations

import pytest

from examples.played_agents import played_agents
from fleet import API
from fleet.agent_rings import Agents
from fleet.environment import environment, stays, until
from handover import NEWER, OLDER
from keelson_harness.aws import Durations

TARGET = f"flux-{NEWER}"
# Longer than any wave waits here.
SECONDS = 60


@pytest.fixture(scope="module")
def on():
    durations = Durations(1, 1, 0.5, 0.8, 0.2, 0.5)
    with environment(workload_each=True, flux=False, git=False, durations=durations) as started, played_agents(started.cloud):
        yield started


def test_newer_agent_reaches_the_clusters_wave_by_wave(on):
    fleet = Agents(on, {"canary": 1, "prod": 2}, {"canary": {"soak": "4s"}})
    (canary,) = fleet.rings["canary"]
    prod = fleet.rings["prod"]
    with on.operator(account=fleet.account.id):
        fleet.make()
        assert fleet.found()["status"].get("releases", []) == [], "an installation is no release"
        # Those of the last wave first.
        fleet.set_version(NEWER, *prod)
        until(lambda: f"wave canary of {TARGET} has not passed" in fleet.message(prod[0]), 30, "what it waits for")
        blocked = fleet.await_state("Blocked")
        assert f"default/{canary['metadata']['name']}: its spec asks for flux-{OLDER}" in blocked["message"]
        fleet.set_version(NEWER, canary)
        until(lambda: fleet.installed(canary) == NEWER, SECONDS, "the canary's agent")
        soaking = fleet.await_state("Soaking", SECONDS)
        assert (soaking["gate"], soaking["target"], soaking["progress"]) == ("Agent", TARGET, "1/3")
        assert fleet.all_at(OLDER, *prod), "the wave has not passed"
        at_once = []

        def arrives() -> bool:
            at_once.append(fleet.release().get("waves", [{}, {}])[-1].get("inProgress", 0))
            return fleet.all_at(NEWER)

        until(arrives, SECONDS, "all agents")
        assert max(at_once) <= 1, "maxConcurrent"
        release = fleet.await_state("Completed", SECONDS)
        assert release["progress"] == "3/3"
        until(lambda: not fleet.release().get("tickets"), 20, "all tickets are returned")
        until(lambda: all(set(fleet.agent_status(item)) == {"released", "term"} for item in fleet.clusters), 20, "what the clusters say")
        # A lower version is a remedy, and waits for nothing.
        fleet.set_version(OLDER, prod[0])
        until(lambda: fleet.installed(prod[0]) == OLDER, 30, "the older agent")
    fleet.go_away()


def test_agent_that_does_not_become_ready_halts_its_release_and_other_steps_go_on(on):
    fleet = Agents(on, {"canary": 1, "prod": 1}, {"canary": {"progressDeadline": "6s"}})
    (canary, prod) = fleet.clusters
    with on.operator(account=fleet.account.id):
        fleet.make()
        # Its Pods no longer start.
        kubelet = on.cloud.workloads.kubelet(canary["metadata"]["name"], fleet.account.id)
        kubelet.pause()
        fleet.set_version(NEWER)
        halted = fleet.await_state("Halted", SECONDS)
        assert "its step takes longer than 6s" in halted["message"] and f"default/{canary['metadata']['name']}" in halted["message"]
        assert f"keelson.dev/retry to {TARGET}/" in halted["message"]
        until(lambda: "has halted in wave canary" in fleet.message(prod), 20, "WaveHalted")
        stays(lambda: fleet.installed(prod) == OLDER, 4, "the agent of the next wave")
        kubelet.resume()
        until(lambda: set(fleet.agent_status(canary)) == {"released", "term"}, SECONDS, "the canary's agent")
        stays(lambda: fleet.installed(prod) == OLDER, 3, "the halt")
        fleet.annotate(retry=f"{TARGET}/1")
        until(lambda: fleet.installed(prod) == NEWER, SECONDS, "the agent of the next wave")
        fleet.await_state("Completed", SECONDS)
    fleet.go_away()


def test_rollout_with_the_older_default_does_not_hold_agents(on):
    """The default of an earlier Keelson is stored in the object."""
    fleet = Agents(on, {"canary": 1, "prod": 1}, gates=["ControlPlane", "NodeGroups"])
    (_, prod) = fleet.clusters
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.set_version(NEWER, prod)
        until(lambda: fleet.installed(prod) == NEWER, SECONDS, "the agent of the last wave")
        assert fleet.agent_status(prod) == {}
        assert on.api.get(API, "FleetRollout", fleet.name)["spec"]["gates"] == ["ControlPlane", "NodeGroups"]
    fleet.go_away()
