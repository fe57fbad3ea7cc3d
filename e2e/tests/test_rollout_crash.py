"""The operator is killed at every write of a rollout of control planes and node groups to the management cluster: what clusters ask, claim and
return, and what the rollout gives, takes back, halts and continues. `test_rollout.py` kills at the writes to AWS in between.
"""

from __future__ import annotations

from collections import Counter

import pytest

from fleet.environment import environment, stays, until
from fleet.lane_killing import has_returned, killed_until
from fleet.rings import GOAL, Rings
from keelson_harness.aws import Durations

LANE = "wave"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1.5, 0.5, 0.8, 0.2, 0.5)) as started:
        yield started


class Upgraded(Rings):
    """mark: where the calls of the upgrade begin."""

    mark = 0

    def begin(self) -> None:
        with self.on.operator(account=self.account.id):
            self.make()
        self.mark = self.on.mark()
        self.upgrade()

    def is_done(self) -> bool:
        """Every question also asks whether order and limits hold."""
        begun = self.rings_of_updates(self.mark)
        releases = {release["gate"]: release for release in self.found()["status"].get("releases", [])}
        if "prod" in begun:
            assert releases["ControlPlane"]["waves"][0].get("passedAt"), releases
        for release in releases.values():
            assert all(wave.get("inProgress", 0) <= 1 for wave in release.get("waves", [])), release
        is_complete = bool(releases) and all(release["state"] == "Completed" for release in releases.values())
        return is_complete and self.has_arrived() and has_returned(self, LANE, *self.clusters)

    def steps(self) -> list[tuple[str, str]]:
        """What AWS has accepted, in order, with the name of the cluster."""
        calls = [call for call in self.on.writes(self.mark, self.account.id) if call["status"] < 400]
        names = {"UpdateClusterVersion": -1, "UpdateNodegroupVersion": 0}
        return [(call["action"], call["resource"].split("/")[names[call["action"]]]) for call in calls if call["action"] in names]


def test_control_planes_and_nodes_keep_the_order_of_waves_when_killed_at_every_write(on, capsys):
    fleet = Upgraded(on, {"canary": 1, "prod": 1}, nodes=True)
    fleet.begin()
    killed = killed_until(on, fleet, fleet.is_done)
    with capsys.disabled():
        print(f"\n  control planes and nodes: killed at {len(killed.points)} writes: {dict(sorted(killed.words.items()))}")
    names = [item["metadata"]["name"] for item in fleet.clusters]
    steps = fleet.steps()
    once_each = {(action, name): 1 for action in ("UpdateClusterVersion", "UpdateNodegroupVersion") for name in names}
    assert Counter(steps) == once_each, steps
    # The canary is whole before any other cluster begins, and each cluster's control plane goes before its nodes.
    assert steps[:2] == [("UpdateClusterVersion", names[0]), ("UpdateNodegroupVersion", names[0])], steps
    for name in names:
        assert [action for action, of in steps if of == name] == ["UpdateClusterVersion", "UpdateNodegroupVersion"], steps
    assert all(fleet.node_version(item) == GOAL for item in fleet.clusters)
    # Two clusters. Of two writes at the same time, one is stored without a kill.
    for gate in ("ControlPlane", "NodeGroups"):
        words = ("asks", "claimed", "released", "gives", "takes back")
        assert all(killed.words[f"{word} {gate}"] >= 1 for word in words), killed.words
        assert sum(killed.words[f"{word} {gate}"] for word in words) >= 7, killed.words
    fleet.go_away()


def test_halt_and_retry_are_kept_when_killed_at_every_write(on, capsys):
    fleet = Upgraded(on, {"canary": 1, "prod": 1}, gates=["ControlPlane"])
    (canary,), _ = fleet.rings.values()
    match = {"account": fleet.account.id, "action": "UpdateClusterVersion", "resource": f"*{canary['metadata']['name']}"}
    fault = on.aws.add_fault(match, {"health_issue": {"code": "Unknown", "message": "an internal failure"}})
    is_halted = lambda: fleet.release().get("state") == "Halted"  # noqa: E731
    fleet.begin()
    halting = killed_until(on, fleet, is_halted)
    with on.operator(account=fleet.account.id):
        # A process that knows nothing of it.
        on.reconcile(*fleet.clusters)
        stays(lambda: is_halted() and "prod" not in fleet.rings_of_updates(fleet.mark), 2, "the halt")
        on.aws.control("DELETE", "faults", params={"id": fault})
        on.reconcile(canary)
        until(lambda: fleet.has_arrived(canary) and is_halted(), 60, "the canary, which has recovered")
    value = fleet.release()["message"].rpartition(" to ")[2]
    fleet.annotate(retry=value)
    continuing = killed_until(on, fleet, fleet.is_done)
    with capsys.disabled():
        print(f"\n  halt: {dict(sorted(halting.words.items()))}; retry: {dict(sorted(continuing.words.items()))}")
    assert halting.words["halts"] >= 1 and halting.words["claimed ControlPlane"] >= 1, halting.words
    expected = ("continues", "gives ControlPlane", "claimed ControlPlane", "takes back ControlPlane")
    assert all(continuing.words[word] >= 1 for word in expected), continuing.words
    assert fleet.found()["status"]["lastHandledRetry"] == value
    rings = fleet.rings_of_updates(fleet.mark)
    assert rings[-1] == "prod" and rings.count("prod") == 1, rings
    fleet.go_away()
