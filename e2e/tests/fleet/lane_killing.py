"""Kills the operator while it writes what clusters and their rollout say to each other: asks, claims, tickets and returns.

These writes go to the management cluster. An admission webhook kills at them: the write is stored, and nobody receives the answer.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from handover import FIELD_MANAGER
from handover.killing import Killer, is_of_operator, killer

from .environment import Environment
from .rings import Rings

# The field manager of what a cluster says in each lane, and the field.
LANES = {"keelson-wave": "wave", "keelson-agent-wave": "agentWave", "keelson-revision-wave": "revisionWave"}
STATUSES = {"keelson.dev": ["eksclusters/status", "fleetrollouts/status"]}
# Then the operators may finish.
MAX_KILLS = 12
LEASE = ("--lease-duration=2s", "--renew-deadline=1.5s", "--retry-period=300ms")


def said(request: dict, of: str, lane: str) -> dict:
    """What a cluster says, without the term: each leader writes its own before it continues, so one killed there would never get further."""
    found = ((request.get(of) or {}).get("status") or {}).get("upgrade", {}).get(lane, {})
    return {word: value for word, value in found.items() if word != "term"}


def is_of_rollout(request: dict) -> bool:
    """What a cluster says to its rollout, what the rollout decides, or a write to a workload cluster."""
    kind, manager = request["kind"]["kind"], request.get("options", {}).get("fieldManager", "")
    if kind == "EksCluster":
        return manager in LANES and said(request, "object", LANES[manager]) != said(request, "oldObject", LANES[manager])
    if kind == "FleetRollout":
        return manager == FIELD_MANAGER and decided(request, "object") != decided(request, "oldObject")
    return is_of_operator(request)


def releases(request: dict, of: str) -> list[dict]:
    return ((request.get(of) or {}).get("status") or {}).get("releases", [])


def decided(request: dict, of: str) -> list[dict]:
    """What a rollout decides, without its message: that changes as clusters proceed, and as a new process observes them."""
    return [{word: value for word, value in release.items() if word != "message"} for release in releases(request, of)]


def describe(request: dict) -> list[str]:
    """What is new in a write: `asks ControlPlane` of a cluster, `gives NodeGroups`, `takes back NodeGroups`, `halts`, `continues` of a
    rollout."""
    if request["kind"]["kind"] == "EksCluster":
        lane = LANES[request["options"]["fieldManager"]]
        before, after = said(request, "oldObject", lane), said(request, "object", lane)
        return [f"{word} {step.partition('/')[0]}" for word, step in after.items() if before.get(word) != step]
    if request["kind"]["kind"] != "FleetRollout":
        return []

    def tickets(of: str) -> set[tuple[str, str]]:
        return {(release["gate"], ticket["id"] + ticket["uid"]) for release in releases(request, of) for ticket in release.get("tickets", [])}

    before, after = tickets("oldObject"), tickets("object")
    halts = [sum("halt" in release for release in releases(request, of)) for of in ("oldObject", "object")]
    words = [f"gives {gate}" for gate, _ in after - before] + [f"takes back {gate}" for gate, _ in before - after]
    return words + ["halts"] * (halts[0] < halts[1]) + ["continues"] * (halts[0] > halts[1])


class LaneKiller(Killer):
    """Kills at the writes of rollouts, and counts them by what they say."""

    def __init__(self) -> None:
        super().__init__(is_of_rollout)
        self.words: Counter[str] = Counter()

    def killed(self, request: dict) -> None:
        self.words.update(describe(request))


def killed_until(on: Environment, fleet: Rings, done: Callable[[], bool], kinds: dict[str, list[str]] | None = None) -> LaneKiller:
    """Kills at the writes of the rollout until `done`. kinds: also at those of these kinds, in each workload cluster."""
    shared = LaneKiller()
    with ExitStack() as stack:
        stack.enter_context(killer(on, on.cloud.management, STATUSES, shared))
        for item in fleet.clusters if kinds else []:
            plane = on.cloud.workloads.control_plane(item["metadata"]["name"], fleet.account.id)
            stack.enter_context(killer(on, plane, kinds, shared))
        shared.run(on, done, account=fleet.account.id)
    return shared


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


def has_returned(fleet: Rings, lane: str, *items: dict) -> bool:
    """These clusters have finished, and their rollout knows."""
    words = [set(fleet.on.status(item).get("upgrade", {}).get(lane, {})) for item in items]
    out = [release["tickets"] for release in fleet.found()["status"].get("releases", []) if release.get("tickets")]
    return all(one == {"released", "term"} for one in words) and not out
