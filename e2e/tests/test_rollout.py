"""FleetRollouts: one edit raises the version of several clusters, and they are upgraded wave by wave.

No operator writes a spec. Every wave stops by itself when a cluster fails.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from datetime import datetime

import pytest

from fleet import API, command_line
from fleet.environment import Environment, environment, stays, until
from fleet.killing import killed_at
from fleet.manifests import key_of
from fleet.rings import GOAL, START, Rings
from fleet.upgrading import far_window
from gates.scenes import EVICTION_FAILURE
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import ApiError, conditions

# Long enough that concurrent updates overlap.
UPDATE_SECONDS = 1.5
# Then the operators may finish.
MAX_KILLS = 15
THREE = {"canary": 2, "early": 2, "prod": 3}


@pytest.fixture(scope="module")
def on():
    durations = Durations(1, UPDATE_SECONDS, 0.5, 0.8, 0.2, 0.5)
    with environment(workload=False, git=False, durations=durations) as started:
        yield started


def reason(on: Environment, item: dict) -> tuple[str, str]:
    ready = on.condition(item)
    return ready.get("reason", ""), ready.get("message", "")


def metric(operator: Controller, fleet: Rings, name: str) -> str:
    """The value of a metric of the rollout; of those by release, that of the control planes to GOAL."""
    labels = f'name="{fleet.name}"' if name == "members" else f'name="{fleet.name}",gate="ControlPlane",target="{GOAL}"'
    found = re.search(rf"^keelson_rollout_{name}\{{{labels}\}} (\S+)$", operator.metrics(), re.MULTILINE)
    return found[1] if found else ""


def test_waves_follow_one_another_and_an_idle_rollout_writes_nothing(on):
    fleet = Rings(on, THREE, {"canary": {"soak": "3s"}, "prod": {"maxConcurrent": "70%"}})
    with on.operator(account=fleet.account.id) as operator:
        fleet.make()
        until(lambda: conditions(fleet.found()).get("Ready", {}).get("status") == "True", 10, "Ready without an upgrade")
        mark = on.mark()
        # Those of the last wave first: the order of the commits does not matter.
        fleet.upgrade(*reversed(fleet.clusters))
        until(lambda: "wave prod is not open yet" in reason(on, fleet.rings["prod"][0])[1], 20, "what it waits for")
        assert reason(on, fleet.rings["prod"][0])[0] == "WaitingForWave"
        # One canary at a time.
        until(lambda: metric(operator, fleet, "tickets") == "1", 20, "the metric of tickets")
        assert metric(operator, fleet, "members") == "7"
        fleet.await_state("Soaking")
        until(lambda: metric(operator, fleet, "clusters_at_target") == "2", 20, "the metric of clusters at the target")
        until(fleet.has_arrived, 90, "all versions")
        release = fleet.await_state("Completed")
        assert (release["progress"], release["target"]) == ("7/7", GOAL)
        until(lambda: not fleet.await_state("Completed").get("tickets"), 20, "all tickets are returned")
        numbers = {"members": "7", "tickets": "0", "clusters_at_target": "7", "clusters_failed": "0"}
        until(lambda: {name: metric(operator, fleet, name) for name in numbers} == numbers, 20, "the metrics of a complete release")
        fleet.assert_each_was_updated_once(mark)
        fleet.assert_waves_followed_one_another(mark)
        periods = fleet.periods()
        (first, second) = sorted(periods["canary"])
        assert first[1] <= second[0], "maxConcurrent is 1"
        assert (min(begin for begin, _ in periods["early"]) - second[1]).total_seconds() >= 2, "the soak"
        # 70% of three are two.
        begins = sorted(periods["prod"])
        assert begins[2][0] >= min(end for _, end in begins[:2]), periods["prod"]
        assert {event["reason"] for event in on.events(fleet.rollout)} >= {"WavePassed", "RolloutCompleted"}
        versions = lambda: [on.api.get(API, kind, item["metadata"]["name"])["metadata"]["resourceVersion"] for kind, item in objects(fleet)]  # noqa: E731
        # What follows the last step, such as the return of its ticket, has ended once nothing was written for two seconds.
        last = [versions()]

        def is_steady() -> bool:
            time.sleep(2)
            last.append(versions())
            return last[-1] == last[-2]

        until(is_steady, 20, "the end of all writes")
        stays(lambda: versions() == last[-1], 6, "nothing is written while it is idle")
        header, row = on.api.table(API, "FleetRollout", name=fleet.name).splitlines()
        assert header.split() == ["NAME", "TARGET", "WAVE", "PROGRESS", "STATE", "MESSAGE", "AGE"]
        assert row.split()[:2] == [fleet.name, GOAL] and "Completed" in row
    fleet.go_away()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def objects(fleet: Rings) -> list[tuple[str, dict]]:
    return [("FleetRollout", fleet.rollout), *(("EksCluster", item) for item in fleet.clusters)]


def test_failing_canary_halts_every_wave_until_it_is_retried(on):
    fleet = Rings(on, {"canary": 1, "prod": 2})
    (canary,) = fleet.rings["canary"]
    match = {"account": fleet.account.id, "action": "UpdateClusterVersion", "resource": f"*{canary['metadata']['name']}"}
    fault = on.aws.add_fault(match, {"health_issue": {"code": "Unknown", "message": "an internal failure"}})
    with on.operator(account=fleet.account.id) as operator:
        fleet.make()
        mark = on.mark()
        fleet.upgrade()
        halted = fleet.await_state("Halted", 90)
        until(lambda: metric(operator, fleet, "clusters_failed") == "1", 20, "the metric of failed clusters")
        name = f"default/{canary['metadata']['name']}"
        assert name in halted["message"] and "an internal failure" in halted["message"], halted
        assert conditions(fleet.found())["Stalled"]["status"] == "True"
        assert name in on.api.table(API, "FleetRollout", name=fleet.name)
        waiting = fleet.rings["prod"][0]
        until(lambda: reason(on, waiting)[0] == "WaveHalted", 10, "WaveHalted")
        # Its readers may not know the other: only the FleetRollout names it.
        assert name not in str([on.status(waiting), [event["note"] for event in on.events(waiting)]])
        assert [event for event in on.events(fleet.rollout) if event["reason"] == "RolloutHalted" and event["type"] == "Warning"]
        on.aws.control("DELETE", "faults", params={"id": fault})
        before = on.mark()
        stays(lambda: not fleet.rings_of_updates(before), 5, "no update while it has halted")
        # The cluster's own failure is corrected, and it arrives: the release stays halted until a person says so.
        on.reconcile(canary)
        until(lambda: fleet.has_arrived(canary), 40, "the canary's version")
        stays(lambda: fleet.release()["state"] == "Halted" and "prod" not in fleet.rings_of_updates(mark), 3, "the halt")
        fleet.annotate(retry=f"{GOAL}/1")
        until(fleet.has_arrived, 60, "all versions")
        fleet.await_state("Completed")
        assert fleet.found()["status"]["lastHandledRetry"] == f"{GOAL}/1"
    fleet.go_away()


def test_canary_whose_pods_cannot_be_evicted_halts_and_nothing_is_written(on):
    fleet = Rings(on, {"canary": 1, "prod": 1}, nodes=True)
    (canary, _), (nodes, _) = fleet.clusters, fleet.groups
    name = canary["metadata"]["name"]
    match = {"account": fleet.account.id, "action": "UpdateNodegroupVersion", "resource": f"{name}/*"}
    fault = on.aws.add_fault(match, {"health_issue": EVICTION_FAILURE})
    interval = 2
    with on.operator(f"--drift-interval={interval}s", account=fleet.account.id):
        fleet.make()
        fleet.upgrade()
        halted = fleet.await_state("Halted", 120)
        assert f"EksCluster default/{name}: node group" in halted["message"] and "PodEvictionFailure" in halted["message"], halted
        row = on.api.table(API, "FleetRollout", name=fleet.name)
        # The column has as much of it as fits.
        assert f"wave canary has halted: EksCluster default/{name}: node group" in row, row
        mark = on.mark()
        stays(lambda: not on.writes(mark, fleet.account.id), 3 * interval, "no write for three intervals")
        on.aws.control("DELETE", "faults", params={"id": fault})
        on.reconcile(nodes)
        until(lambda: fleet.node_version(canary) == GOAL, 60, "the canary's nodes")
        fleet.annotate(retry=halted["message"].rpartition(" to ")[2])
        until(lambda: fleet.has_arrived() and all(fleet.node_version(item) == GOAL for item in fleet.clusters), 120, "all versions")
        fleet.await_state("Completed")
    fleet.go_away()


def test_commit_is_given_up_during_a_halt(on):
    """Who has the version keeps it, or is rolled back without a ticket; the others ask for nothing any more, and the halt ends by a retry."""
    fleet = Rings(on, {"canary": 2, "prod": 1}, {"canary": {"maxConcurrent": 2}}, nodes=True)
    (rolled, failing), (prod,) = fleet.rings.values()
    # A node group that has the newer version could not be rolled back.
    fleet.groups = [group for group in fleet.groups if group["spec"]["clusterRef"]["name"] != rolled["metadata"]["name"]]
    (nodes,) = [group for group in fleet.groups if group["spec"]["clusterRef"]["name"] == failing["metadata"]["name"]]
    match = {"account": fleet.account.id, "action": "UpdateNodegroupVersion", "resource": f"{failing['metadata']['name']}/*"}
    fault = on.aws.add_fault(match, {"health_issue": EVICTION_FAILURE})
    holders = lambda: {ticket["cluster"] for release in fleet.found()["status"]["releases"] for ticket in release.get("tickets", [])}  # noqa: E731
    with on.operator("--drift-interval=2s", account=fleet.account.id):
        fleet.make()
        fleet.upgrade()
        halted = fleet.await_state("Halted", 120)
        assert halted["halt"]["wave"] == "canary" and f"default/{failing['metadata']['name']}: node group" in halted["message"], halted
        until(lambda: fleet.has_arrived(rolled) and f"default/{rolled['metadata']['name']}" not in holders(), 60, "the end of what had begun")
        # The commit cannot be reverted as a whole.
        with pytest.raises(ApiError, match="cannot be lower than the one that the control plane has"):
            fleet.edit(failing, version=START)
        fleet.edit(prod, version=START)
        on.await_in_sync(prod, 30, "the cluster that asks for nothing any more")
        # The remedy needs no ticket, and gets none.
        mark = on.mark()
        fleet.edit(rolled, version=START, upgrade={"allowRollback": True})
        until(lambda: fleet.version(rolled) == START, 60, "the rollback")
        on.await_in_sync(rolled, 60, "the cluster that was rolled back")
        assert fleet.updates(mark) == [rolled["metadata"]["name"]]
        stays(lambda: "halt" in fleet.release() and holders() == {f"default/{failing['metadata']['name']}"}, 3, "the halt")
        advised = command_line.output(on, "rollout", "status", fleet.name)
        assert f"keelson rollout retry {fleet.name} {GOAL}" in advised, advised
        on.aws.control("DELETE", "faults", params={"id": fault})
        on.reconcile(nodes)
        until(lambda: fleet.node_version(failing) == GOAL, 60, "the nodes")
        assert command_line.run(on, "rollout", "retry", fleet.name, GOAL, "--yes").returncode == 0
        rest = fleet.await_state("Completed", 60)
        assert rest["message"] == f"no cluster of wave canary asks for {GOAL} now" and fleet.version(prod) == START, rest
        found = conditions(fleet.found())
        assert (found["Ready"]["status"], found["Stalled"]["status"]) == ("True", "False"), found
        # Once the commit comes again to prod alone, the canary that was rolled back is in its way.
        fleet.upgrade(prod)
        blocked = fleet.await_state("Blocked", 60)
        assert f"default/{rolled['metadata']['name']}: its spec.version is {START}" in blocked["message"], blocked
        fleet.upgrade(rolled)
        until(fleet.has_arrived, 120, "all versions")
    fleet.go_away()


def test_approval_suspension_and_windows_hold_no_slot(on):
    fleet = Rings(on, {"canary": 1, "prod": 2}, {"prod": {"approval": "Required", "maxConcurrent": 1}})
    waits, goes = fleet.rings["prod"]
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.edit(waits, upgrade={"windows": [far_window()]})
        fleet.upgrade()
        waiting = fleet.await_state("WaitingForApproval", 60)
        code = waiting["waves"][1]["approvalHash"]
        assert code in waiting["message"] and fleet.has_arrived(*fleet.rings["canary"])
        fleet.annotate(approve="0" * 16)
        fleet.edit(fleet.rollout, suspend=True)
        stays(lambda: fleet.rings_of_updates() == ["canary"], 3, "no update without an approval")
        fleet.annotate(approve=code)
        fleet.await_state("Suspended")
        stays(lambda: fleet.rings_of_updates() == ["canary"], 3, "no update while suspended")
        fleet.edit(fleet.rollout, suspend=False)
        # The cluster outside its window does not keep the other one waiting.
        until(lambda: fleet.has_arrived(goes), 40, "the version of the cluster that may begin")
        assert reason(on, waits)[0] == "OutsideMaintenanceWindow" and fleet.version(waits) == START
        fleet.edit(waits, upgrade={"windows": None})
        until(fleet.has_arrived, 40, "all versions")
        events = [event["note"] for event in on.events(fleet.rollout) if event["reason"] == "WaveApproved"]
        assert len(events) == 1 and "written by the field manager" in events[0], events
    fleet.go_away()


def test_cluster_that_waits_for_the_approval_of_its_add_ons_holds_no_slot(on):
    """Its add-on must be updated before the control plane: both are approved before it asks."""
    fleet = Rings(on, {"prod": 2}, each={"addons": [{"name": "vpc-cni"}]}, gates=["ControlPlane"])
    on.aws.publish(account=fleet.account.id, addon="vpc-cni", addonVersion="v1.1.0-eksbuild.1", kubernetesVersions=[START], default=True)
    waits, goes = fleet.clusters
    name = waits["metadata"]["name"]
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.edit(waits, changePolicy="Approval")
        mark = on.mark()
        fleet.upgrade(waits)
        on.await_condition(waits, status="False", reason="WaitingForApproval", timeout=30)
        fleet.upgrade(goes)
        until(lambda: fleet.has_arrived(goes), 60, "the version of the cluster that may begin")
        assert fleet.updates(mark) == [goes["metadata"]["name"]]
        assert on.status(waits).get("upgrade", {}).get("wave", {}).get("asks") is None, "it has not asked"
        version, kind, _, namespace = key_of(waits)
        approval = {"metadata": {"annotations": {"keelson.dev/approve": on.status(waits)["plan"]["hash"]}}}
        on.api.patch(version, kind, name, approval, namespace)
        until(lambda: fleet.has_arrived(waits), 60, "its version, by one approval")
        writes = [call["action"] for call in on.writes(mark, fleet.account.id) if name in call["resource"] and call["status"] < 400]
        assert writes[:2] == ["UpdateAddon", "UpdateClusterVersion"], writes
    fleet.go_away()


def test_clusters_join_leave_and_move_in_the_middle(on):
    fleet = Rings(on, {"canary": 2, "prod": 2}, {"canary": {"soak": "4s"}})
    first, second = fleet.rings["canary"]
    moves, stops = fleet.rings["prod"]
    with on.operator(account=fleet.account.id):
        fleet.make()
        mark = on.mark()
        fleet.upgrade()
        until(lambda: fleet.updates(mark), 30, "the first update")
        begun = fleet.updates(mark)[0]
        in_progress, left = (first, second) if begun == first["metadata"]["name"] else (second, first)
        # In the middle of its step: it finishes. The one that waits leaves its wave by suspension, and returns.
        fleet.label(in_progress, ring="prod")
        asks = lambda: "asks" in on.status(left).get("upgrade", {}).get("wave", {})  # noqa: E731
        until(asks, 20, "the other one to ask")
        fleet.edit(left, suspend=True)
        until(lambda: not asks(), 20, "the suspended one to give up its turn")
        fleet.edit(stops, suspend=True)
        until(lambda: fleet.has_arrived(in_progress, moves), 60, "the version of those that are left")
        fleet.edit(left, suspend=False)
        until(lambda: fleet.has_arrived(left), 40, "the version of the one that returns")
        assert fleet.version(stops) == START
        # Without its finalizers: Keelson deletes nothing of a suspended cluster.
        on.force_delete(stops)
        fleet.await_state("Completed")
        assert sorted(fleet.updates(mark)) == sorted(item["metadata"]["name"] for item in (first, second, moves))
    fleet.go_away()


def test_what_cannot_be_decided_blocks_by_name(on):
    fleet = Rings(on, {"canary": 1, "prod": 1})
    canary, prod = fleet.clusters
    second = {**fleet.rollout, "metadata": {"name": f"{fleet.name}-too"}}
    with on.operator(account=fleet.account.id):
        fleet.make()
        on.apply(second)
        fleet.upgrade(canary)
        until(lambda: reason(on, canary)[0] == "UpgradeBlocked", 20, "a block by two rollouts")
        assert f"FleetRollouts {fleet.name}, {fleet.name}-too select this cluster" in reason(on, canary)[1]
        on.api.delete(API, "FleetRollout", f"{fleet.name}-too")
        until(lambda: fleet.has_arrived(canary), 40, "the version")
        # A rollout that is deleted does not open everything.
        fleet.edit(prod, upgrade={"rollout": fleet.name})
        on.api.delete(API, "FleetRollout", fleet.name)
        fleet.upgrade(prod)
        until(lambda: reason(on, prod)[0] == "UpgradeBlocked", 20, "a block by a missing rollout")
        assert f"FleetRollout {fleet.name}, which spec.upgrade.rollout names, does not exist" in reason(on, prod)[1]
        stays(lambda: fleet.version(prod) == START, 3, "the version")
        on.apply(fleet.rollout)
        until(lambda: fleet.has_arrived(prod), 40, "the version")
    fleet.go_away()


def test_promotion_opens_the_next_wave(on):
    fleet = Rings(on, {"canary": 1, "prod": 1})
    (canary, prod) = fleet.clusters
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.upgrade(prod)
        blocked = fleet.await_state("Blocked")
        assert f"default/{canary['metadata']['name']}: its spec.version is {START}" in blocked["message"]
        stays(lambda: fleet.version(prod) == START, 2, "the version")
        promoted = command_line.run(on, "rollout", "promote", fleet.name, f"{GOAL}/canary", "--yes")
        assert promoted.returncode == 0 and f"wave canary passes for {GOAL}" in promoted.stdout, promoted
        until(lambda: fleet.has_arrived(prod), 40, "the version")
        assert fleet.version(canary) == START
        notes = [event["note"] for event in on.events(fleet.rollout) if event["reason"] == "WavePromoted"]
        assert len(notes) == 2 and all("written by the field manager keelson-cli" in note for note in notes), notes
        # Status has it from the same write, also if a crash loses the event.
        waves = [release["waves"][0] for release in fleet.found()["status"]["releases"]]
        assert [wave["promotedBy"] for wave in waves if wave.get("promotedAt")] == ["keelson-cli"] * 2, waves
        assert "ago by keelson-cli" in command_line.output(on, "rollout", "status", fleet.name)
        # The canary asks for nothing, and nobody waits for it any more.
        rest = fleet.await_state("Completed")
        assert conditions(fleet.found())["Ready"]["status"] == "True", rest
    fleet.go_away()


def test_killed_at_every_write_each_cluster_is_updated_once_and_in_order(on, capsys):
    fleet = Rings(on, THREE, {"prod": {"maxConcurrent": 2}})
    with on.operator(account=fleet.account.id):
        fleet.make()
    mark = on.mark()
    fleet.upgrade()
    run = killed_at(on, fleet.account.id, fleet.has_arrived, timeout=240)
    with capsys.disabled():
        print(f"\n  {run.summary('waves')}")
    fleet.assert_each_was_updated_once(mark)
    fleet.assert_waves_followed_one_another(mark)
    fleet.go_away()


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_and_handed_over_each_cluster_is_updated_once_and_in_order(on, seed):
    """Between any two writes to the API server, by two replicas that take over from each other."""
    chance = random.Random(seed)
    fleet = Rings(on, THREE)
    with on.operator(account=fleet.account.id):
        fleet.make()
    mark = on.mark()
    fleet.upgrade()
    timing = ("--lease-duration=2s", "--renew-deadline=1.5s", "--retry-period=300ms")
    replicas = [on.start(*timing, account=fleet.account.id, name=f"keelson-{number}", wait=False) for number in range(2)]
    deadline = time.monotonic() + 240
    kills = 0
    while not fleet.has_arrived():
        assert time.monotonic() < deadline, f"not done after {kills} kills: {fleet.updates(mark)}"
        time.sleep(chance.uniform(0.3, 4))
        if kills < MAX_KILLS:
            chance.choice(replicas).restart()
            kills += 1
    for replica in replicas:
        replica.stop()
    fleet.assert_each_was_updated_once(mark)
    fleet.assert_waves_followed_one_another(mark)
    fleet.go_away()


def test_node_groups_follow_wave_by_wave(on):
    """Without the gate ControlPlane: all control planes are upgraded at once, and the nodes of a wave follow those of the one before."""
    fleet = Rings(on, {"canary": 1, "prod": 2}, {"canary": {"soak": "2s"}, "prod": {"maxConcurrent": 1}}, nodes=True, gates=["NodeGroups"])
    with on.operator(account=fleet.account.id):
        fleet.make()
        mark = on.mark()
        fleet.upgrade()
        (canary,) = fleet.rings["canary"]
        until(lambda: set(fleet.updates(mark)) == {item["metadata"]["name"] for item in fleet.clusters}, 40, "all control planes")
        until(lambda: all(fleet.node_version(item) == GOAL for item in fleet.clusters) and fleet.has_arrived(), 120, "the nodes")
        release = fleet.await_state("Completed")
        assert (release["gate"], release["target"], release["progress"]) == ("NodeGroups", GOAL, "3/3")
        passed = {wave["name"]: wave["passedAt"] for wave in release["waves"]}
    updates = [call for call in on.writes(mark, fleet.account.id) if call["action"] == "UpdateNodegroupVersion" and call["status"] < 400]
    names = [call["resource"].split("/")[0] for call in updates]
    assert names[0] == canary["metadata"]["name"] and Counter(names) == Counter(item["metadata"]["name"] for item in fleet.clusters)
    assert moment(updates[1]["time"]) >= moment(passed["canary"]), (updates[1], passed)
    fleet.go_away()


def test_standby_continues_a_rollout_in_the_middle_of_a_wave(on):
    """The leader ends in good order while an update runs, and the other replica takes over its tickets."""
    fleet = Rings(on, THREE)
    with on.operator(account=fleet.account.id):
        fleet.make()
    mark = on.mark()
    fleet.upgrade()
    leader = on.start(account=fleet.account.id, name="keelson-0")
    standby = on.start(account=fleet.account.id, name="keelson-1", wait=False)
    until(lambda: fleet.updates(mark), 40, "the first update")
    leader.stop()
    until(fleet.has_arrived, 120, "all versions")
    fleet.await_state("Completed")
    standby.stop()
    fleet.assert_each_was_updated_once(mark)
    fleet.assert_waves_followed_one_another(mark)
    fleet.go_away()
